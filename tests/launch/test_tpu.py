"""launch/tpu.sh and launch/tpu_vm.sh, with a gcloud that records."""

import json
import os
import shutil
import signal
import subprocess
import time

import pytest
from stand_ins import NASTY, ROOT

OPTIONS = (
  *('--name=my-tpu', '--zone=us-west4-a', '--accelerator=v5litepod-16'),
  *('--runtime=v2-alpha-tpuv5-lite', '--project=my-project', '--poll=0'),
)
REMOTE = '--workdir=gs://bucket/run'
WHERE = ['--zone=us-west4-a', '--project=my-project']

# The interpreter on the TPU: writes down its arguments, ends as FAKE/plan says.
PYTHON = """
import json, os, pathlib, sys
fake = pathlib.Path(os.environ['FAKE'])
with open(fake / 'runs', 'a') as file:
  file.write(json.dumps(sys.argv[1:]) + '\\n')
print('step 7')
plan = json.loads((fake / 'plan').read_text())
turn = sum(1 for _ in open(fake / 'runs')) - 1
status = plan[min(turn, len(plan) - 1)]
if status == 'sleep':
  # The machine goes, and takes its home with it.
  import time
  (fake / 'home/nasfas_source').rename(fake / 'gone')
  time.sleep(2)
sys.exit(status)
"""


@pytest.fixture
def tpu(machine):
  """A TPU of one host that is there once asked for; its run succeeds."""
  venv = machine.home / 'nasfas_venv/bin'
  machine.script(venv / 'python', PYTHON)
  machine.script(venv / 'nasfas_ready', '')
  machine.write(plan='[0]', created='WAITING_FOR_RESOURCES PROVISIONING ACTIVE')
  return machine


def launch(machine, *args, options=OPTIONS, **more):
  return machine.launch('tpu.sh', *options, '--', *args, **more)


def verbs(machine):
  """What gcloud was asked to do, without the looks."""
  found = []
  for call in machine.calls():
    words = [word for word in call if not word.startswith('-')]
    verb = 'rsync' if 'storage' in words else words[4]
    if verb == 'ssh':
      verb = 'look' if call[-1].endswith('--status') else 'start'
    if verb not in ('describe', 'look'):
      found.append(verb)
  return found


def runs(machine):
  lines = (machine.fake / 'runs').read_text().splitlines()
  return list(map(json.loads, lines))


def test_a_run_is_started_followed_fetched_and_the_tpu_deleted(tpu):
  done = launch(tpu, '--config=search:debug', REMOTE, f'--config.note={NASTY}')
  assert done.returncode == 0, done.stderr
  assert verbs(tpu) == ['create', 'scp', 'start', 'scp', 'rsync', 'delete']
  (create,) = tpu.named('create')
  assert create == [
    *('gcloud', 'compute', 'tpus', 'queued-resources', 'create', 'my-tpu'),
    *(*WHERE, '--node-id=my-tpu', '--accelerator-type=v5litepod-16'),
    *('--runtime-version=v2-alpha-tpuv5-lite', '--quiet'),
  ]
  assert tpu.named('queued-resources delete') == [
    [
      *('gcloud', 'compute', 'tpus', 'queued-resources', 'delete', 'my-tpu'),
      *(*WHERE, '--force', '--quiet'),
    ]
  ]
  assert all('--worker=all' in call for call in tpu.named('tpu-vm ssh'))
  # As it was given, through two shells.
  assert runs(tpu) == [
    ['-m', 'nasfas_jax.main', '--config=search:debug', REMOTE]
    + [f'--config.note={NASTY}']
  ]
  # All that the installation there needs.
  for name in (
    'setup.py',
    'README.md',
    'nasfas_jax/main.py',
    'configs/search.py',
  ):
    assert (tpu.home / 'nasfas_source' / name).exists()
  assert (tpu.cwd / 'runs/my-tpu/run.log').read_text() == 'step 7\n'
  assert tpu.named('storage rsync')[0][-2:] == [
    'gs://bucket/run',
    'runs/my-tpu',
  ]


def test_a_local_workdir_is_copied_from_the_tpu(tpu):
  (tpu.home / 'nasfas_source/runs/x').mkdir(parents=True)
  (tpu.home / 'nasfas_source/runs/x/results.json').write_text('{}')
  done = launch(
    tpu,
    '--config=train',
    '--workdir=runs/x',
    options=(*OPTIONS, '--results=out'),
  )
  assert done.returncode == 0, done.stderr
  assert (tpu.cwd / 'out/x/results.json').exists()


def test_a_failed_run_gives_its_status_and_log_and_the_tpu_is_deleted(tpu):
  tpu.write(plan='[3]')
  done = launch(tpu, '--config=search', REMOTE)
  assert done.returncode == 3
  assert 'the run failed with status 3; see runs/my-tpu/run.log' in done.stderr
  assert verbs(tpu)[-1] == 'delete'
  assert len(runs(tpu)) == 1


def test_a_run_that_was_told_to_stop_is_started_again_in_place(tpu):
  tpu.write(plan='[75, 0]')
  done = launch(tpu, '--config=search', REMOTE)
  assert done.returncode == 0, done.stderr
  assert verbs(tpu).count('create') == 1
  assert len(runs(tpu)) == 2


def test_a_preempted_tpu_is_created_again_and_the_run_resumed(tpu):
  # Taken while the run was at work.
  tpu.write(created='ACTIVE SUSPENDING\nACTIVE', plan='["sleep", 0]')
  done = launch(
    tpu, '--config=search', REMOTE, options=(*OPTIONS, '--spot', '--restarts=1')
  )
  assert done.returncode == 0, done.stderr
  assert 'my-tpu: preempted; starting again (1 of 1)' in done.stderr
  assert [v for v in verbs(tpu) if v in ('create', 'delete')] == [
    'create',
    'delete',
  ] * 2
  assert all('--spot' in call for call in tpu.named('create'))
  first, second = runs(tpu)
  assert first == second


def test_a_tpu_that_is_taken_too_often_is_given_up(tpu):
  tpu.write(created='SUSPENDED')
  done = launch(
    tpu, '--config=search', REMOTE, options=(*OPTIONS, '--restarts=1')
  )
  assert done.returncode == 2
  assert 'my-tpu: preempted again after 1 restarts' in done.stderr
  assert verbs(tpu) == ['create', 'delete'] * 2


@pytest.mark.parametrize(
  ('refused', 'message'),
  [
    ('queued-resources create', 'my-tpu could not be created'),
    ('tpu-vm scp', 'the run could not be started on my-tpu'),
    ('--detach', 'the run could not be started on my-tpu'),
    (
      'storage rsync',
      'the results could not be fetched; they are in gs://bucket',
    ),
  ],
)
def test_what_fails_in_the_middle_leaves_no_tpu(tpu, refused, message):
  tpu.write(refused=refused)
  done = launch(tpu, '--config=search', REMOTE)
  assert done.returncode == 2
  assert message in done.stderr
  assert verbs(tpu)[-1] == 'delete'
  assert not (tpu.fake / 'states').exists()


def test_hosts_that_do_not_answer_may_go_on_with_the_run(tpu):
  tpu.write(refused='--command=bash')
  done = launch(tpu, '--config=search', REMOTE)
  assert done.returncode == 2
  assert 'the hosts of my-tpu do not answer, but the run may go on' in (
    done.stderr
  )
  assert 'my-tpu is kept and goes on costing' in done.stderr
  assert 'delete' not in verbs(tpu)


def test_a_lost_connection_is_waited_for(tpu):
  # That of the copying and starting is there; then gcloud cannot say.
  tpu.write(states='ACTIVE\nACTIVE\nUNKNOWN', refused='--command=bash')
  options = [o for o in OPTIONS if not o.startswith('--poll')]
  process = tpu.begin(
    'tpu.sh', *options, '--poll=0', '--', '--config=search', REMOTE
  )
  tpu.until(lambda: len(tpu.named('--command=bash')) >= 25)
  assert process.poll() is None
  (tpu.fake / 'refused').unlink()
  _, said = process.communicate(timeout=120)
  assert process.returncode == 0, said
  assert 'gcloud does not answer for my-tpu; waiting for it' in said
  assert verbs(tpu) == ['scp', 'start', 'scp', 'rsync', 'delete']


@pytest.mark.parametrize('times', [1, 2])
def test_ctrl_c_deletes_it_also_if_nobody_reads_the_output(tpu, times):
  tpu.write(plan='[0]', states='WAITING_FOR_RESOURCES', slow='delete')
  process = tpu.begin('tpu.sh', *OPTIONS, '--', '--config=search', REMOTE)
  tpu.until(lambda: tpu.named('describe'))
  # As where it goes to a program that Ctrl-C has ended.
  process.stderr.close()
  process.stdout.close()
  process.send_signal(signal.SIGINT)
  if times > 1:
    tpu.until(lambda: tpu.named('queued-resources delete'))
    os.killpg(process.pid, signal.SIGINT)
  assert process.wait(timeout=120) == 130
  assert tpu.named('queued-resources delete')
  assert not (tpu.fake / 'states').exists()


def test_results_of_something_else_are_not_written_over(tpu):
  (tpu.cwd / 'runs/my-tpu').mkdir(parents=True)
  (tpu.cwd / 'runs/my-tpu/config.json').write_text('{}')
  done = launch(tpu, '--config=search', REMOTE)
  assert done.returncode == 2
  assert "--results is 'runs/my-tpu', which holds something else" in done.stderr
  assert tpu.calls() == []
  (tpu.cwd / 'runs/my-tpu/config.json').unlink()
  for _ in range(2):
    # The second time they are of this very run.
    assert launch(tpu, '--config=search', REMOTE).returncode == 0
  again = launch(tpu, '--config=search', '--workdir=gs://bucket/other')
  assert again.returncode == 2


def test_what_cannot_be_deleted_is_said_with_its_command(tpu):
  tpu.write(refused='queued-resources delete')
  done = launch(tpu, '--config=search', REMOTE)
  assert 'my-tpu could NOT be deleted and may go on costing' in done.stderr
  command = (
    'gcloud compute tpus queued-resources delete my-tpu --zone=us-west4-a '
    '--project=my-project --force --quiet'
  )
  assert f'tpu.sh:   {command}\n' in done.stderr
  assert len(tpu.named('queued-resources delete')) == 3


def test_results_that_are_only_on_the_tpu_keep_it(tpu):
  tpu.write(refused='--recurse')
  done = launch(tpu, '--config=search', '--workdir=w')
  assert done.returncode == 2
  assert 'could not be fetched from my-tpu, so it is kept' in done.stderr
  assert 'my-tpu is kept and goes on costing' in done.stderr
  assert 'delete' not in verbs(tpu)


def test_a_failed_run_whose_results_are_only_on_the_tpu_keeps_it(tpu):
  tpu.write(refused='tpu-vm scp my-tpu:', plan='[3]')
  done = launch(tpu, '--config=search', '--workdir=w')
  assert done.returncode == 3
  assert 'could not be fetched from my-tpu, so it is kept' in done.stderr
  assert 'failed with status 3; see its log on my-tpu' in done.stderr
  assert 'delete' not in verbs(tpu)


def test_a_run_at_work_keeps_its_source(tpu):
  tpu.write(states='ACTIVE')
  source = tpu.home / 'nasfas_source'
  (source / 'launch').mkdir(parents=True)
  (source / 'nasfas_jax').mkdir()
  old = source / 'nasfas_jax/old.py'
  old.write_text('')
  script = source / 'launch/tpu_vm.sh'
  shutil.copy(ROOT / 'launch/tpu_vm.sh', script)
  sleeper = subprocess.Popen(['sleep', '600'])
  (source / 'run.pid').write_text(str(sleeper.pid))
  (source / 'run.log').write_text('step 7\n')
  process = tpu.begin('tpu.sh', *OPTIONS, '--', '--config=search', REMOTE)
  try:
    tpu.until(lambda: len(tpu.named('--command=bash')) >= 2)
    assert old.exists() and not (source / 'setup.py').exists()
  finally:
    sleeper.kill()
    sleeper.wait()
  # It ended without a word, as with its machine: it is started again.
  _, said = process.communicate(timeout=120)
  assert process.returncode == 0, said
  assert not old.exists() and (source / 'setup.py').exists()


def test_a_tpu_that_is_there_is_used_and_its_run_not_started_twice(tpu):
  tpu.write(states='ACTIVE')
  done = launch(tpu, '--config=search', REMOTE, options=(*OPTIONS, '--keep'))
  assert done.returncode == 0, done.stderr
  assert 'is there already (ACTIVE)' in done.stderr
  assert verbs(tpu) == ['scp', 'start', 'scp', 'rsync']


def test_no_answer_at_the_start_makes_nothing(tpu):
  tpu.write(refused='describe')
  done = launch(tpu, '--config=search', REMOTE)
  assert done.returncode == 2
  assert verbs(tpu) == []


def test_delete_only_deletes(machine):
  machine.write(states='ACTIVE')
  done = machine.launch('tpu.sh', '--name=a', '--zone=z', '--delete')
  assert done.returncode == 0, done.stderr
  assert [call[4] for call in machine.calls()] == ['delete']


def test_deleting_what_is_not_there_is_an_error(machine):
  machine.write(refused='delete')
  options = ('--name=a', '--zone=z', '--poll=0', '--delete')
  done = machine.launch('tpu.sh', *options)
  assert done.returncode == 2
  assert done.stderr.endswith('error: there is no a in z\n')


def test_a_dry_run_prints_every_command_and_calls_nothing(machine):
  done = launch(
    machine,
    '--config=search',
    REMOTE,
    options=(*OPTIONS, '--dry-run', '--spot'),
  )
  assert done.returncode == 0, done.stderr
  assert machine.calls() == []
  lines = [li for li in done.stderr.splitlines() if li.startswith('+ ')]
  texts = (
    *('describe', 'create', 'describe', 'tar -czf', 'scp', '--detach'),
    *('--status', 'mkdir', 'scp', 'storage rsync', 'delete'),
  )
  assert len(lines) == len(texts)
  for line, text in zip(lines, texts, strict=True):
    assert text in line


FAKE_PYTHON = """
import os, pathlib, sys
words = sys.argv[1:]
with open(os.environ['FAKE'] + '/pythons', 'a') as file:
  print(pathlib.Path(sys.argv[0]).name, *words, file=file)
if words[0] == '-c':
  sys.exit({status})
if 'venv' in words:
  folder = pathlib.Path(words[-1], 'bin')
  folder.mkdir(parents=True)
  for name in ('pip', 'python'):
    (folder / name).write_text('#!/bin/sh')
    (folder / name).chmod(0o755)
"""


@pytest.mark.parametrize('newer', ['python3.12', ''])
def test_a_host_with_an_older_python3_takes_a_newer_one(machine, newer):
  # As far as is known, the image of a TPU has Python 3.10.
  for name in ('python3', 'python3.11', 'python3.12', 'python3.13'):
    status = int(name != newer)
    machine.script(machine.bin / name, FAKE_PYTHON.format(status=status))
  command = ['bash', str(ROOT / 'launch/tpu_vm.sh'), '--config=search:debug']
  subprocess.run(command, env=machine.env, check=True)
  lines = (machine.fake / 'pythons').read_text().splitlines()
  venv = machine.home / 'nasfas_venv'
  made = [line for line in lines if ' -c ' not in line]
  if newer:
    assert made == [f'python3.12 -m venv {venv}']
  else:
    assert made == [
      'python3 -m pip install --quiet --user uv',
      f'python3 -m uv venv --quiet --seed --python 3.12 {venv}',
    ]
  assert (venv / 'bin/nasfas_ready').exists()


def test_a_second_start_on_a_host_runs_once(machine):
  """tpu_vm.sh --detach, as after a lost connection."""
  waiting = """
import time
while not (fake / 'go').exists():
  time.sleep(0.05)
"""
  venv = machine.home / 'nasfas_venv/bin'
  machine.script(venv / 'python', PYTHON.replace("print('step 7')", waiting))
  machine.script(venv / 'nasfas_ready', '')
  machine.write(plan='[0]')
  script = machine.cwd / 'launch/tpu_vm.sh'
  script.parent.mkdir()
  shutil.copy(ROOT / 'launch/tpu_vm.sh', script)

  def call(*args):
    command = ['bash', str(script), *args]
    return subprocess.check_output(command, env=machine.env, text=True)

  call('--detach', 'a')
  call('--detach', 'a')
  assert call('--status').startswith('nasfas-status: running')
  machine.write(go='')
  deadline = time.monotonic() + 120
  while (said := call('--status')).startswith('nasfas-status: running'):
    assert time.monotonic() < deadline
  assert said == 'nasfas-status: 0\n'
  assert len(runs(machine)) == 1
