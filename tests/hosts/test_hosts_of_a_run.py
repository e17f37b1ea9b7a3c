"""Several local processes make the run that one process makes.

They are slow, so they run on demand only:

  pytest -n 0 -m slow_processes tests/hosts
"""

import csv
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import addresses
import fast_compiler
import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
import small

from nasfas_jax import hosts

pytestmark = pytest.mark.slow_processes

# The programs of the session, see tests/conftest.py.
CACHE = jax.config.jax_compilation_cache_dir
HERE = pathlib.Path(__file__).parent
# Of a loss or a score, see docs/hosts.md.
TOLERANCE = 1e-5
# Seconds after which a silent host is given up, in these tests.
TIMEOUT = 15
# Seconds in which the others have then ended; far more than they need, since a
# machine may be loaded.
BOUND = TIMEOUT + 120


def environment(devices=1):
  flags = fast_compiler.flags()
  return {
    **os.environ,
    'JAX_PLATFORMS': 'cpu',
    'XLA_FLAGS': f'{flags} --xla_force_host_platform_device_count={devices}',
    'JAX_COMPILATION_CACHE_DIR': CACHE,
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0.2',
    'PYTHONPATH': os.pathsep.join(
      [str(HERE), str(HERE.parent), os.environ.get('PYTHONPATH', '')]
    ),
    # The main module would start anew to set it.
    'GLIBC_TUNABLES': 'glibc.malloc.hugetlb=0',
  }


def start(command, logs, devices=1):
  """Starts processes, each with a file of what it says."""
  logs.mkdir(parents=True, exist_ok=True)
  started = []
  for number, arguments in enumerate(command):
    with open(logs / f'{number}.txt', 'w') as said:
      started.append(
        subprocess.Popen(
          [sys.executable, *arguments],
          stdout=subprocess.DEVNULL,
          stderr=said,
          env=environment(devices),
        )
      )
  return started


def finish(started, logs, seconds=900):
  """Waits for processes, which must all succeed; what the first one said."""
  try:
    for number, process in enumerate(started):
      status = process.wait(seconds)
      assert status == 0, (logs / f'{number}.txt').read_text()[-3000:]
  finally:
    for process in started:
      process.kill()
  return (logs / '0.txt').read_text()


def main_command(data_dir, workdir, number, *more):
  """The commands of a run over tasks on `number` hosts."""
  address = addresses.free_address()
  return [
    [
      *('-m', 'nasfas_jax.main'),
      f'--config={HERE}/small.py:tasks',
      f'--workdir={workdir}',
      f'--config.data.data_dir={data_dir}',
      f'--compilation_cache={CACHE}',
      f'--host_timeout={TIMEOUT}',
      *more,
      *(
        (f'--hosts={address}', f'--num_hosts={number}', f'--host_id={host}')
        if number > 1
        else ()
      ),
    ]
    for host in range(number)
  ]


@pytest.fixture(scope='module')
def made(tiny_data_dir, tmp_path_factory):
  """(number of processes, devices of each) -> the folder of its runs."""
  found = {}

  def make(processes, devices):
    key = processes, devices
    if key not in found:
      folder = tmp_path_factory.mktemp(f'p{processes}d{devices}')
      address = addresses.free_address()
      command = [
        [
          str(HERE / 'process.py'),
          *(str(tiny_data_dir), str(folder), address),
          *(str(processes), str(host)),
        ]
        for host in range(processes)
      ]
      started = start(command, folder / 'logs', devices)
      finish(started, folder / 'logs')
      found[key] = folder
    return found[key]

  return make


def metrics(workdir):
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


def scores(workdir):
  with open(workdir / 'scores.csv', newline='') as file:
    rows = list(csv.DictReader(file))
  return [row['clip_id'] for row in rows], np.array(
    [float(row['score']) for row in rows]
  )


def state(workdir, phase):
  path = workdir / 'checkpoints' / phase / str(small.STEPS) / 'state'
  return ocp.StandardCheckpointer().restore(path.absolute())


def numbers(entry):
  return {k: v for k, v in entry.items() if isinstance(v, float)}


def difference(ours, theirs):
  """The largest difference of any logged number of two runs, and of a score.

  Everything else must be equal: steps, phases, clips, genotype.
  """
  largest = 0.0
  first, second = metrics(ours), metrics(theirs)
  for a, b in zip(first, second, strict=True):
    assert (a['phase'], a['step']) == (b['phase'], b['step'])
    assert a.keys() == b.keys()
    for name, value in numbers(a).items():
      largest = max(largest, abs(value - b[name]) / max(1.0, abs(value)))
  cells = [
    json.loads((run / 'genotype.json').read_text())['cells']
    for run in (ours, theirs)
  ]
  assert cells[0] == cells[1]
  (ids, mine), (other_ids, other) = scores(ours), scores(theirs)
  assert ids == other_ids
  return max(largest, np.abs(mine - other).max())


@pytest.mark.parametrize('variant', ['plain', 'tasks'])
@pytest.mark.parametrize('processes', [2, 4])
def test_several_processes_make_the_run_of_one(made, processes, variant):
  one, several = made(1, 1) / variant, made(processes, 1) / variant
  found = difference(one, several)
  print(f'{variant}: {processes} processes and one: {found:.1e}')
  assert found <= TOLERANCE
  with np.load(one / 'samples.npz') as a, np.load(several / 'samples.npz') as b:
    np.testing.assert_array_equal(a['clip_id'], b['clip_id'])
    np.testing.assert_array_equal(a['image'], b['image'])
    np.testing.assert_allclose(a['predicted'], b['predicted'], atol=1e-3)
  for name in ('config.json', 'data.json', 'report/index.html'):
    assert (several / name).stat().st_size


@pytest.mark.parametrize('variant', ['plain', 'tasks'])
def test_with_as_many_devices_they_are_as_one_process(made, variant):
  """One process with the devices that the two have together."""
  found = difference(made(1, 2) / variant, made(2, 1) / variant)
  print(f'{variant}: 2 processes and one with 2 devices: {found:.1e}')
  assert found <= TOLERANCE


@pytest.mark.parametrize('processes', [2, 4])
def test_several_processes_judge_as_one_does(made, processes):
  one, several = made(1, 1) / 'judged', made(processes, 1) / 'judged'
  (ids, mine), (other_ids, other) = scores(one), scores(several)
  assert ids == other_ids
  np.testing.assert_allclose(mine, other, atol=TOLERANCE)


def test_only_host_0_speaks(made):
  logs = made(2, 1) / 'logs'
  assert '2 hosts with 2 devices' in (logs / '0.txt').read_text()
  assert (logs / '1.txt').read_text() == ''


def lines(workdir, phase='search'):
  path = workdir / 'metrics.jsonl'
  text = path.read_text() if path.exists() else ''
  return text.count(f'"phase": "{phase}"')


def wait_for(ready, started, logs):
  deadline = time.monotonic() + 600
  while not ready():
    for number, process in enumerate(started):
      assert process.poll() is None, (logs / f'{number}.txt').read_text()
    assert time.monotonic() < deadline
    time.sleep(0.002)


def assert_ends_as_if_undisturbed(made, workdir):
  assert difference(made(1, 1) / 'tasks', workdir) <= TOLERANCE


def test_two_processes_train_several_seeds_as_one_does(tiny_data_dir, tmp_path):
  seeds = '--config.train.num_seeds=2'
  for number in (1, 2):
    command = main_command(
      tiny_data_dir, tmp_path / f'p{number}', number, seeds
    )
    logs = tmp_path / f'logs{number}'
    finish(start(command, logs), logs)
  for seed in ('seed0', 'seed1'):
    one, two = (tmp_path / f'p{number}' / seed for number in (1, 2))
    found = difference(one, two)
    print(f'{seed}: 2 processes and one: {found:.1e}')
    assert found <= TOLERANCE


def lose(how, victim, started, logs):
  """One of two hosts is lost; the other must end in one line.

  Returns:
    The seconds that it took.
  """
  began = time.monotonic()
  started[victim].send_signal(how)
  try:
    status = started[1 - victim].wait(BOUND)
    seconds = time.monotonic() - began
  finally:
    for process in started:
      process.kill()
      process.wait()
  said = (logs / f'{1 - victim}.txt').read_text()
  assert status == hosts.LOST, said
  (line,) = [line for line in said.splitlines() if 'error' in line.lower()]
  assert line.startswith('error: ')
  assert 'is gone' in line
  assert said.splitlines()[-1] == line
  return seconds


@pytest.mark.parametrize('victim', [1, 0])
def test_a_host_that_dies_ends_the_others_and_one_goes_on(
  victim, made, tiny_data_dir, tmp_path
):
  workdir, logs = tmp_path / 'run', tmp_path / 'logs'
  started = start(main_command(tiny_data_dir, workdir, 2), logs)
  wait_for(lambda: lines(workdir) >= 5, started, logs)
  seconds = lose(signal.SIGKILL, victim, started, logs)
  print(f'host {victim} killed: the other ended after {seconds:.1f} s')
  if victim == 0:
    # One restart will do.
    return
  finish(start(main_command(tiny_data_dir, workdir, 1), logs), logs)
  assert_ends_as_if_undisturbed(made, workdir)


@pytest.mark.parametrize('victim', [1, 0])
@pytest.mark.parametrize('how', [signal.SIGSTOP, signal.SIGKILL])
def test_a_host_that_is_lost_during_an_exchange_ends_the_others(
  how, victim, tmp_path
):
  """It falls silent, such as by the loss of its network, or it dies.

  Of a silent one, no connection is closed.
  """
  address = addresses.free_address()
  started = start(
    [
      [str(HERE / 'waiting.py'), address, str(host), str(TIMEOUT)]
      for host in range(2)
    ],
    tmp_path,
  )
  files = [tmp_path / f'{host}.txt' for host in range(2)]
  wait_for(
    lambda: all('ready' in file.read_text() for file in files),
    started,
    tmp_path,
  )
  seconds = lose(how, victim, started, tmp_path)
  print(f'host {victim}, {how.name}: the other ended after {seconds:.1f} s')
  if how is signal.SIGSTOP:
    assert seconds > TIMEOUT / 3


def test_a_run_of_one_process_goes_on_with_two(made, tiny_data_dir, tmp_path):
  workdir, logs = tmp_path / 'run', tmp_path / 'logs'
  started = start(main_command(tiny_data_dir, workdir, 1), logs)
  wait_for(lambda: lines(workdir) >= 5, started, logs)
  started[0].send_signal(signal.SIGKILL)
  started[0].wait()
  finish(start(main_command(tiny_data_dir, workdir, 2), logs), logs)
  assert_ends_as_if_undisturbed(made, workdir)


def test_all_pass_over_a_checkpoint_that_is_damaged(
  made, tiny_data_dir, tmp_path
):
  """Also one whose arrays are split over the hosts."""
  workdir, logs = tmp_path / 'run', tmp_path / 'logs'
  started = start(main_command(tiny_data_dir, workdir, 2), logs)
  folder = workdir / 'checkpoints' / 'search'
  wait_for(lambda: (folder / '3').exists(), started, logs)
  # Told to one of them, saved by both.
  started[1].send_signal(signal.SIGTERM)
  assert [process.wait(BOUND) for process in started] == [hosts.LOST] * 2
  newest = max(
    int(path.name) for path in folder.iterdir() if path.name.isdigit()
  )
  parts = [
    path for path in (folder / str(newest)).rglob('*') if 'd' in path.parts
  ]
  for path in parts:
    if path.is_file():
      content = bytearray(path.read_bytes())
      content[len(content) // 2] ^= 1
      path.write_bytes(content)
  said = finish(start(main_command(tiny_data_dir, workdir, 2), logs), logs)
  assert f'that of step {newest}: ' in said
  assert_ends_as_if_undisturbed(made, workdir)
