"""launch/local.sh: several processes on this machine."""

import json
import os
import shutil
import signal
import subprocess
import time

import pytest
from stand_ins import NASTY, ROOT

# Far more than a loaded machine needs.
SECONDS = 120
# A stand-in for the interpreter: writes down its arguments, then does as its
# host is told in FAKE/plan: a list of [status, seconds] for each turn.
PYTHON = """
import json, os, pathlib, signal, sys, time
fake = pathlib.Path(os.environ['FAKE'])
if sys.argv[1] == '-c':
  print(12345)
  sys.exit()
host = sys.argv[-1].removeprefix('--host_id=')

def stop(*_):
  (fake / f'stopped{host}').touch()
  sys.exit(75)

signal.signal(signal.SIGTERM, stop)
with open(fake / f'host{host}', 'a') as file:
  file.write(json.dumps(sys.argv[1:]) + '\\n')
turn = len((fake / f'host{host}').read_text().splitlines())
plan = json.loads((fake / 'plan').read_text())[int(host)]
status, seconds = plan[min(turn, len(plan)) - 1]
print(f'host {host} says')
sys.stdout.flush()
time.sleep(seconds)
sys.exit(status)
"""


def launch(machine, plan, *args, **more):
  machine.write(plan=json.dumps(plan))
  python = machine.script(machine.bin / 'fake python', PYTHON)
  return machine.launch('local.sh', *args, PYTHON=str(python), **more)


def wait_for(machine, *names):
  deadline = time.monotonic() + SECONDS
  while not all((machine.fake / name).exists() for name in names):
    assert time.monotonic() < deadline
    time.sleep(0.05)


def given(machine, host):
  lines = (machine.fake / f'host{host}').read_text().splitlines()
  return list(map(json.loads, lines))


RUN = ('--', '--config=search:debug', '--workdir=w')


def test_each_process_gets_the_arguments_and_its_place(machine):
  done = launch(
    machine, [[[0, 0]]] * 2, '-n', '2', *RUN, f'--config.note={NASTY}'
  )
  assert done.returncode == 0, done.stderr
  for host in (0, 1):
    assert given(machine, host) == [
      [
        '-m',
        'nasfas_jax.main',
        '--config=search:debug',
        '--workdir=w',
        f'--config.note={NASTY}',
        '--hosts=127.0.0.1:12345',
        '--num_hosts=2',
        f'--host_id={host}',
      ]
    ]
  assert done.stdout == 'host 0 says\n'


def test_a_failure_stops_the_others_and_is_the_status(machine):
  done = launch(machine, [[[0, 600]], [[7, 0]]], '-n2', '--grace=1', *RUN)
  assert done.returncode == 7, done.stderr
  assert 'process 1 ended with status 7' in done.stderr


def test_a_failure_goes_before_the_stop_of_the_others(machine):
  done = launch(machine, [[[75, 0]], [[7, 0.3]]], '-n2', '--restarts=3', *RUN)
  assert done.returncode == 7
  assert len(given(machine, 0)) == 1


def test_sigterm_reaches_all_and_a_saved_run_is_started_again(machine):
  done = launch(machine, [[[75, 0], [0, 0]]] * 2, '-n2', '--restarts=1', *RUN)
  assert done.returncode == 0, done.stderr
  assert 'starting again (1 of 1)' in done.stderr
  assert len(given(machine, 0)) == len(given(machine, 1)) == 2
  done = launch(machine, [[[75, 0]]] * 2, '-n2', *RUN)
  assert done.returncode == 75


@pytest.mark.parametrize('how', [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_stops_all(how, machine):
  """SIGTERM is passed on; of a killed script, Linux tells its processes."""
  if how is signal.SIGKILL and not shutil.which('setpriv'):
    pytest.skip('setpriv, of util-linux, is not here.')
  machine.write(plan=json.dumps([[[0, 600]]] * 2))
  python = machine.script(machine.bin / 'python', PYTHON)
  process = subprocess.Popen(
    ['bash', str(ROOT / 'launch/local.sh'), '-n2', *RUN],
    env={**machine.env, 'PYTHON': str(python)},
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
    start_new_session=True,
  )
  try:
    # They have a handler by then.
    wait_for(machine, 'host0', 'host1')
    process.send_signal(how)
    wait_for(machine, 'stopped0', 'stopped1')
    status = process.wait(timeout=SECONDS)
  finally:
    if process.poll() is None:
      os.killpg(process.pid, signal.SIGKILL)
  assert status == (75 if how is signal.SIGTERM else -signal.SIGKILL)


def test_a_dry_run_prints_each_command(machine):
  done = launch(machine, [], '-n', '2', '--dry-run', *RUN)
  assert done.returncode == 0
  lines = [li for li in done.stderr.splitlines() if li.startswith('+ ')]
  assert len(lines) == 2
  assert lines[1].endswith(
    ' -m nasfas_jax.main --config=search:debug --workdir=w '
    '--hosts=127.0.0.1:PORT --num_hosts=2 --host_id=1'
  )
  assert not (machine.fake / 'host0').exists()
