"""kill -9 at any moment; the same command goes on to the very same end."""

import os
import signal
import subprocess
import sys
import time

import fast_compiler
import numpy as np
import orbax.checkpoint as ocp
import pytest

# Longer than the debug variant, so that a kill hits in the middle.
STEPS = 12


def command(workdir, data_dir, cache):
  return [
    sys.executable,
    '-m',
    'nasfas_jax.main',
    '--config=configs/search.py:debug',
    f'--workdir={workdir}',
    f'--compilation_cache={cache}',
    f'--config.data.data_dir={data_dir}',
    f'--config.search.num_steps={STEPS}',
    f'--config.train.num_steps={STEPS}',
    # Small, so that it compiles fast.
    '--config.data.image_size=16',
    '--config.data.num_frames=2',
    '--config.supernet.num_nodes=1',
    '--config.supernet.output_size=4',
    '--config.network.output_size=4',
    '--config.checkpoint_every=3',
    '--config.log_every=1',
  ]


def environment():
  # One device, compiled fast.
  flags = {'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': fast_compiler.flags()}
  return {**os.environ, **flags}


def finish(arguments):
  result = subprocess.run(
    arguments,
    capture_output=True,
    text=True,
    env=environment(),
    check=False,
    timeout=400,
  )
  assert result.returncode == 0, result.stderr[-2000:]


def kill_when(arguments, ready):
  """Starts a run and sends SIGKILL as soon as ready() is true."""
  process = subprocess.Popen(
    arguments,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
    env=environment(),
  )
  deadline = time.monotonic() + 400
  while not ready():
    assert process.poll() is None, 'the run ended before it was killed'
    assert time.monotonic() < deadline
    time.sleep(0.002)
  process.send_signal(signal.SIGKILL)
  assert process.wait() == -signal.SIGKILL


@pytest.fixture(scope='module')
def never_killed(tiny_data_dir, tmp_path_factory):
  folder = tmp_path_factory.mktemp('resume')
  workdir, cache = folder / 'whole', folder / 'cache'
  finish(command(workdir, tiny_data_dir, cache))
  return workdir, cache


def state_of(workdir, phase):
  folder = (workdir / 'checkpoints' / phase / str(STEPS) / 'state').absolute()
  return ocp.StandardCheckpointer().restore(folder)


def assert_same_end(first, second):
  import jax

  for phase in ('search', 'train'):
    jax.tree.map(
      np.testing.assert_array_equal,
      state_of(first, phase),
      state_of(second, phase),
    )
  for name in ('genotype.json', 'metrics.jsonl', 'scores.csv', 'results.json'):
    assert (first / name).read_bytes() == (second / name).read_bytes(), name


def lines(workdir, phase):
  path = workdir / 'metrics.jsonl'
  text = path.read_text(encoding='utf-8') if path.exists() else ''
  return text.count(f'"phase": "{phase}"')


def test_killed_three_times_ends_bit_equal(
  never_killed, tiny_data_dir, tmp_path
):
  whole, cache = never_killed
  workdir = tmp_path / 'killed'
  arguments = command(workdir, tiny_data_dir, cache)
  # In the middle of the search, just after a checkpoint began, in training.
  kill_when(arguments, lambda: lines(workdir, 'search') >= 5)
  checkpoint = workdir / 'checkpoints' / 'search'
  kill_when(arguments, lambda: list(checkpoint.glob('9*')))
  kill_when(arguments, lambda: lines(workdir, 'train') >= 8)
  finish(arguments)
  assert_same_end(whole, workdir)


def test_another_config_in_the_same_workdir_is_refused(
  never_killed, tiny_data_dir
):
  whole, cache = never_killed
  result = subprocess.run(
    [*command(whole, tiny_data_dir, cache), '--config.seed=1'],
    capture_output=True,
    text=True,
    env=environment(),
    check=False,
    timeout=300,
  )
  assert result.returncode == 2
  assert 'seed: 0 there, 1 now' in result.stderr
