"""A worker process that decodes clips is killed."""

import contextlib
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
  name = 'synthetic_fas/unseen_rooms'
  return protocols.load(name, tiny_data_dir, 'tiny').train


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


# Far more than a loaded machine needs.
SECONDS = 300


def workers():
  found = []
  for one in psutil.Process().children(recursive=True):
    # It may end meanwhile.
    with contextlib.suppress(psutil.NoSuchProcess):
      if 'spawn_main' in ' '.join(one.cmdline()):
        found.append(one)
  return found


def wait_for_the_end_of_workers():
  deadline = time.monotonic() + SECONDS
  while workers():
    assert time.monotonic() < deadline
    time.sleep(0.05)


def summing(rows, num_workers, kill_at=None, by=signal.SIGKILL, killed=None):
  """A program that mixes every batch into a number.

  Args:
    rows: of the clips.
    num_workers: that decode them.
    kill_at: number of the batch before which all of them get a signal.
    by: the signal.
    killed: receives the time of that.
  """

  def stream(start):
    read = batches(rows, start, num_workers)
    number = start
    try:
      while True:
        number += 1
        if number == kill_at:
          killed.append(time.monotonic())
          found = workers()
          assert found
          for one in found:
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
  killed = []
  made = summing(rows, num_workers, kill_at=30, killed=killed)
  with pytest.raises(
    ChildProcessError, match='was killed, perhaps for want of memory'
  ):
    run(made, tmp_path / 'killed')
  # Not after the time that a reader may wait for a slow disk.
  assert time.monotonic() - killed[0] < 60
  wait_for_the_end_of_workers()
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
  made = summing(rows, 1, kill_at=30, by=by, killed=[])
  asked = run(made, tmp_path / 'asked')
  np.testing.assert_array_equal(asked['total'], whole['total'])
  wait_for_the_end_of_workers()


READS = """
import sys

from absl import flags

from nasfas_jax.data import pipeline, protocols

if __name__ == '__main__':
  flags.FLAGS.mark_as_parsed()
  found = protocols.load('synthetic_fas/unseen_rooms', sys.argv[1], 'tiny')
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
    _, left = psutil.wait_procs(started, timeout=SECONDS)
  for one in left:
    one.kill()
  assert not left
