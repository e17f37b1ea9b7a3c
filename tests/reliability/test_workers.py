"""A worker process that decodes clips is killed."""

import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import psutil
import pytest

from nasfas_jax import loop
from nasfas_jax.data import pipeline, protocols

pytestmark = pytest.mark.slow_processes


@pytest.fixture(scope='module')
def rows(tiny_data_dir):
  return protocols.load('synthetic_fas/intra', tiny_data_dir, 'tiny').train


def batches(rows, start, num_workers):
  return pipeline.train_batches(
    rows,
    shape=pipeline.SnippetShape(num_frames=2, image_size=16, map_size=4),
    reading=pipeline.Reading(num_workers, 0),
    domain_field='session',
    batch_size=4,
    seed=0,
    step=start,
  )


def workers():
  found = psutil.Process().children(recursive=True)
  return [one for one in found if 'spawn_main' in ' '.join(one.cmdline())]


def summing(rows, num_workers, kill_at=None, by=signal.SIGKILL):
  """A program that mixes every batch into a number."""

  def stream(start):
    read = batches(rows, start, num_workers)
    number = start
    try:
      while True:
        number += 1
        if number == kill_at:
          for one in workers():
            one.send_signal(by)
        yield {'frames': jnp.asarray(next(read)['frames'])}
    finally:
      read.close()

  @jax.jit
  def step(state, batch):
    mean = jnp.mean(batch['frames'].astype(jnp.float32))
    total = jnp.sin(state['total'] * 3.0 + mean)
    return {'total': total}, {'train_loss': total}

  return loop.Program(
    name='train',
    title='Summing',
    num_steps=120,
    state={'total': jnp.float32(0)},
    compile=lambda state, batch: step,
    batches=stream,
    observe=lambda state, scalars, done: loop.Observed(
      {'train_loss': float(scalars['train_loss'])}
    ),
  )


def run(program, workdir):
  workdir.mkdir(exist_ok=True)
  return loop.run(program, workdir, log_every=1, checkpoint_every=10)


@pytest.mark.parametrize('num_workers', [1, 2])
def test_a_killed_worker_is_an_error_and_the_same_command_ends_bit_equal(
  rows, num_workers, tmp_path
):
  whole = run(summing(rows, 0), tmp_path / 'whole')
  began = []
  made = summing(rows, num_workers, kill_at=30)
  with pytest.raises(
    ChildProcessError, match='was killed, perhaps for want of memory'
  ):
    began.append(time.monotonic())
    run(made, tmp_path / 'killed')
  # With the start of the workers.
  assert time.monotonic() - began[0] < 60
  assert not workers()
  state = run(summing(rows, num_workers), tmp_path / 'killed')
  np.testing.assert_array_equal(state['total'], whole['total'])
  read = [
    (tmp_path / name / 'metrics.jsonl').read_bytes()
    for name in ('whole', 'killed')
  ]
  assert read[0] == read[1]


@pytest.mark.parametrize('by', [signal.SIGINT, signal.SIGTERM])
def test_what_asks_a_whole_run_to_stop_leaves_the_workers_to_it(
  by, rows, tmp_path
):
  whole = run(summing(rows, 0), tmp_path / 'whole')
  asked = run(summing(rows, 1, kill_at=30, by=by), tmp_path / 'asked')
  np.testing.assert_array_equal(asked['total'], whole['total'])
  assert not workers()


READS = """
import sys

from absl import flags

from nasfas_jax.data import pipeline, protocols

if __name__ == '__main__':
  flags.FLAGS.mark_as_parsed()
  found = protocols.load('synthetic_fas/intra', sys.argv[1], 'tiny')
  read = pipeline.train_batches(
    found.train,
    shape=pipeline.SnippetShape(2, 16, 4),
    reading=pipeline.Reading(1, 0),
    domain_field='session',
    batch_size=4,
    seed=0,
  )
  next(read)
  print('reads', flush=True)
  sys.stdin.read()
"""


def test_workers_end_with_a_run_that_is_killed(tiny_data_dir, tmp_path):
  path = tmp_path / 'reads.py'
  path.write_text(READS, encoding='utf-8')
  with subprocess.Popen(
    [sys.executable, str(path), str(tiny_data_dir)],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    stderr=subprocess.DEVNULL,
    text=True,
  ) as reads:
    assert reads.stdout.readline() == 'reads\n'
    started = workers()
    assert started
    reads.kill()
    _, left = psutil.wait_procs(started, timeout=30)
  for one in left:
    one.kill()
  assert not left
