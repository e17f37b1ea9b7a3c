"""Runs on several local processes, and what two runs differ by."""

import csv
import json
import os
import pathlib
import subprocess
import sys
import time

import addresses
import fast_compiler
import jax
import numpy as np

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


def metrics(workdir):
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


def scores(workdir):
  with open(workdir / 'scores.csv', newline='') as file:
    rows = list(csv.DictReader(file))
  return [row['clip_id'] for row in rows], np.array(
    [float(row['score']) for row in rows]
  )


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
