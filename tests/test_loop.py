"""The loop on a program that counts."""

import gzip
import json
import pathlib
import re
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasfas_jax import checkpoints, loop, profiles, run_log, stopping


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


def test_batches_are_read_ahead_and_none_beyond_the_last_step(tmp_path):
  opened, seen = [], []
  program = counting(opened=opened)

  def compile_step(state, batch):
    step = program.compile(state, batch)

    def watched(state, batch):
      seen.append((int(batch), opened[0]._next))
      return step(state, batch)

    return watched

  run(program._replace(compile=compile_step), tmp_path)
  # The batch of each step, and the newest one that was read before it.
  assert seen == [(1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 6)]


def test_results_are_waited_for_at_most_two_steps_behind(tmp_path, monkeypatch):
  waited = []
  block = jax.block_until_ready
  monkeypatch.setattr(
    jax,
    'block_until_ready',
    lambda tree: waited.append(float(tree['train_loss'])) or block(tree),
  )
  run(counting(), tmp_path, log_every=6, checkpoint_every=0)
  # Of the steps 1 to 4, the losses: 1, 1 + 2, ...
  assert waited == [1, 3, 6, 10]


@pytest.mark.parametrize(
  ('text', 'start', 'span'),
  [
    ('3', 0, (3, 5)),
    ('3', 100, (103, 105)),
    ('20:30', 0, (20, 30)),
    ('20:30', 25, (26, 30)),
    ('7:7', 0, (7, 7)),
    ('1000', 0, (3, 1002)),
  ],
)
def test_which_steps_a_text_names(text, start, span):
  assert profiles.parse(text).span(start) == span


@pytest.mark.parametrize(
  'text', ['0', '1001', '5:4', '0:3', '1:1001', 'x', '3:', ':3', '-1', '1:2:3']
)
def test_a_text_that_names_no_steps_is_refused(text):
  with pytest.raises(ValueError, match=r'--profile is .*allowed: a number of'):
    profiles.parse(text)


def test_a_trace_of_the_wanted_steps_is_written_and_parses(tmp_path, capsys):
  run(counting(), tmp_path, profile=profiles.parse('3:4'))
  (path,) = (tmp_path / 'profile' / 'train').rglob('perfetto_trace.json.gz')
  assert list(path.parent.glob('*.xplane.pb'))
  with gzip.open(path) as file:
    events = json.load(file)['traceEvents']
  marked = [
    int(event['args']['step_num'])
    for event in events
    if event.get('name') == 'step'
  ]
  assert sorted(marked) == [3, 4]
  assert 'Trace of steps 3 to 4' in capsys.readouterr().err
  # A finished program, and one that begins behind the steps, write none.
  run(counting(num_steps=8), tmp_path, profile=profiles.parse('3:4'))
  assert (
    "No trace of 'train': the steps 3 to 4 of --profile are not among 7 to 8"
    in capsys.readouterr().err
  )
  run(counting(num_steps=8), tmp_path, profile=profiles.parse('3'))
  assert "No trace of 'train': its 8 steps are done" in capsys.readouterr().err
  assert len(list((tmp_path / 'profile' / 'train').rglob('*.xplane.pb'))) == 1


def test_sigterm_saves_the_step_at_work_and_the_same_call_goes_on(
  tmp_path, monkeypatch
):
  watch = stopping.Watch()
  monkeypatch.setattr(stopping, 'sigterm', watch)
  program = counting()

  def batches(start):
    for number in range(start, 100):
      # It is read after step 3, for step 5.
      if number == 4:
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


def test_a_clock_that_jumps_changes_nothing(tmp_path, monkeypatch, capsys):
  """Ten hours ahead or back while each checkpoint is being written."""
  state = run(counting(), tmp_path / 'steady')
  ahead = [0]
  steady, save = time.time, checkpoints.Checkpointer.save
  monkeypatch.setattr(time, 'time', lambda: steady() + 36_000 * ahead[-1])

  def saving(saver, *args):
    save(saver, *args)
    ahead.append(1 - ahead[-1])

  monkeypatch.setattr(checkpoints.Checkpointer, 'save', saving)
  found = run(counting(), tmp_path / 'jumping')
  assert ahead == [0, 1, 0, 1]
  np.testing.assert_array_equal(found['total'], state['total'])
  lines = [
    (tmp_path / name / 'metrics.jsonl').read_bytes()
    for name in ('steady', 'jumping')
  ]
  assert lines[0] == lines[1]
  assert '-' not in capsys.readouterr().err


def test_intervals_are_not_taken_from_the_clock():
  """Only an event of TensorBoard has the time of day."""
  root = pathlib.Path(loop.__file__).parent
  users = [
    path.name
    for path in root.rglob('*.py')
    if re.search(r'\btime\.time\(|\bdatetime\b|st_mtime', path.read_text())
  ]
  assert users == ['run_log.py']
