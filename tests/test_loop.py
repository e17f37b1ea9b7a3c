"""The loop on a program that counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasfas_jax import loop, run_log, stopping


def counting(num_steps=6, *, poison=None, opened=None):
  """A program whose state is the sum of its batches, which are 1, 2, 3, ..."""

  class Numbers:
    def __init__(self, start):
      self._next = start
      self.closed = False
      if opened is not None:
        opened.append(self)

    def __next__(self):
      self._next += 1
      return jnp.float32(self._next)

    def close(self):
      self.closed = True

  def compile_step(state, batch):
    del state, batch

    def step(state, batch):
      total = state['total'] + batch
      loss = jnp.where(batch == poison, jnp.nan, total) if poison else total
      return {'total': total}, {'train_loss': loss}

    return jax.jit(step)

  def observe(state, scalars, done):
    del state
    numbers = {name: float(value) for name, value in scalars.items()}
    return loop.Observed(numbers, {'done': done})

  return loop.Program(
    name='train',
    title='Counting',
    num_steps=num_steps,
    state={'total': jnp.float32(0)},
    compile=compile_step,
    batches=Numbers,
    observe=observe,
  )


def run(program, workdir, **changes):
  workdir.mkdir(exist_ok=True)
  return loop.run(
    program, workdir, **{'log_every': 2, 'checkpoint_every': 2, **changes}
  )


def test_every_batch_is_used_once_and_every_so_many_steps_are_logged(tmp_path):
  opened = []
  state = run(counting(opened=opened), tmp_path, log_every=4)
  assert state['total'] == sum(range(1, 7))
  entries = run_log.read_metrics(tmp_path / 'metrics.jsonl')
  assert [entry['step'] for entry in entries] == [4, 6]
  assert [entry['train_loss'] for entry in entries] == [10, 21]
  assert [entry['done'] for entry in entries] == [4, 6]
  assert [numbers.closed for numbers in opened] == [True]


def test_a_finished_program_opens_no_batches(tmp_path):
  run(counting(), tmp_path)
  opened = []
  state = run(counting(opened=opened), tmp_path)
  assert state['total'] == 21
  assert not opened


def test_a_divergence_is_named_and_the_checkpoint_before_it_goes_on(tmp_path):
  opened = []
  with pytest.raises(
    FloatingPointError, match="train_loss is nan at step 4 of 'train'"
  ):
    run(counting(poison=4.0, opened=opened), tmp_path)
  assert opened[0].closed
  # Step 2 was saved, the diverged step 4 was not.
  state = run(counting(), tmp_path)
  entries = run_log.read_metrics(tmp_path / 'metrics.jsonl')
  assert [entry['step'] for entry in entries] == [2, 4, 6]
  np.testing.assert_array_equal(state['total'], 21)


def test_a_divergence_between_logs_is_not_saved(tmp_path):
  with pytest.raises(FloatingPointError, match='at step 3'):
    run(counting(poison=3.0), tmp_path, log_every=6, checkpoint_every=3)
  assert not [
    path
    for path in (tmp_path / 'checkpoints' / 'train').iterdir()
    if path.name.isdigit()
  ]


def test_sigterm_saves_the_step_at_work_and_the_same_call_goes_on(
  tmp_path, monkeypatch
):
  watch = stopping.Watch()
  monkeypatch.setattr(stopping, 'sigterm', watch)
  program = counting()

  def batches(start):
    for number in range(start, 100):
      if number == 3:
        watch._asked.set()
      yield jnp.float32(number + 1)

  with pytest.raises(stopping.Preempted):
    run(
      program._replace(batches=batches),
      tmp_path,
      log_every=2,
      checkpoint_every=0,
    )
  folder = tmp_path / 'checkpoints' / 'train'
  assert [path.name for path in folder.iterdir() if path.name.isdigit()] == [
    '3'
  ]
  monkeypatch.setattr(stopping, 'sigterm', stopping.Watch())
  opened = []
  state = run(counting(opened=opened), tmp_path, checkpoint_every=0)
  assert state['total'] == 21
  entries = run_log.read_metrics(tmp_path / 'metrics.jsonl')
  assert [entry['step'] for entry in entries] == [2, 4, 6]


def test_sigterm_does_not_save_a_diverged_step(tmp_path, monkeypatch):
  watch = stopping.Watch()
  monkeypatch.setattr(stopping, 'sigterm', watch)
  watch._asked.set()
  with pytest.raises(FloatingPointError, match='at step 1 of'):
    run(counting(poison=1.0), tmp_path)
  assert not list((tmp_path / 'checkpoints' / 'train').glob('[0-9]*'))


def test_sigterm_in_the_last_step_ends_too(tmp_path, monkeypatch):
  """Its evaluation would begin, and be cut off."""
  watch = stopping.Watch()
  monkeypatch.setattr(stopping, 'sigterm', watch)
  wait = loop.checkpoints.Checkpointer.wait

  def late(saver):
    watch._asked.set()
    wait(saver)

  monkeypatch.setattr(loop.checkpoints.Checkpointer, 'wait', late)
  with pytest.raises(stopping.Preempted):
    run(counting(), tmp_path)
  assert (tmp_path / 'checkpoints' / 'train' / '6').is_dir()
