"""Steps whose numbers are not finite, in the loop on a tiny regression."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasfas_jax import loop, nonfinite, run_log
from nasfas_jax.states import TrainState

ROWS = [{'clip_id': f'clip-{place}'} for place in range(8)]


def batch(number, bad=()):
  """Two clips; NaN in the second one of the bad batches."""
  x = np.float32([number, number + 1])
  if number in bad:
    x[1] = np.nan
  index = np.int32([number % 8, (number + 1) % 8])
  return {'x': jnp.asarray(x), 'index': jnp.asarray(index)}


def program(
  bad=(), batches=range(1, 9), *, clips=True, steps=None, overflow=None
):
  """Fits a weight by momentum; the batches are numbered from 1."""
  numbers = list(batches)

  def stream(start):
    for number in numbers[start:]:
      yield batch(number, bad)

  @functools.partial(jax.jit, donate_argnums=0)
  def step(state, batch):
    loss = jnp.mean(jnp.square(batch['x'] - state.params['w']))
    gradient = jnp.mean(state.params['w'] - batch['x'])
    if overflow is not None:
      # A finite loss with an infinite gradient.
      gradient = jnp.where(batch['x'][0] == overflow, jnp.inf, gradient)
    momentum = 0.5 * state.opt_state + gradient
    state = state.replace(
      step=state.step + 1,
      params={'w': state.params['w'] - 0.1 * momentum},
      opt_state=momentum,
    )
    return state, {'train_loss': loss}

  return loop.Program(
    name='train',
    title='Fitting',
    num_steps=steps or len(numbers),
    state=TrainState(
      step=jnp.int32(0),
      params={'w': jnp.float32(0)},
      batch_stats={},
      opt_state=jnp.float32(0),
      skipped=jnp.int32(0),
    ),
    compile=lambda state, batch: step,
    batches=stream,
    observe=lambda state, scalars, done: loop.Observed(
      {name: float(value) for name, value in scalars.items()}
    ),
    clips=(lambda batch: [(ROWS, batch)]) if clips else (lambda batch: ()),
  )


def run(program, workdir, **changes):
  workdir.mkdir(exist_ok=True)
  settings = {'log_every': 2, 'checkpoint_every': 2, 'max_skipped': 3}
  return loop.run(program, workdir, **{**settings, **changes})


def lines(workdir):
  return run_log.read_metrics(workdir / 'metrics.jsonl')


def test_a_skipped_step_is_as_if_its_batch_were_not_there(tmp_path, capsys):
  state = run(program(bad=[3]), tmp_path / 'a')
  said = capsys.readouterr().err
  without = run(program(batches=[1, 2, 4, 5, 6, 7, 8]), tmp_path / 'b')
  np.testing.assert_array_equal(state.params['w'], without.params['w'])
  np.testing.assert_array_equal(state.opt_state, without.opt_state)
  assert (int(state.step), int(state.skipped)) == (8, 1)
  assert [line['skipped_steps'] for line in lines(tmp_path / 'a')] == [
    *(0, 1, 1, 1)
  ]
  assert (
    "Skipped step 3 of 'train': train_loss is nan. Of its clips, 'clip-4' hold"
  ) in said
  assert run_log.skipped_steps(tmp_path / 'a') == {
    'skipped_steps': {'train': 1}
  }


def test_a_logged_step_that_was_skipped_has_no_loss(tmp_path):
  run(program(bad=[4]), tmp_path)
  found = [('train_loss' in line, line['step']) for line in lines(tmp_path)]
  assert found == [(True, 2), (False, 4), (True, 6), (True, 8)]


def test_a_gradient_alone_is_enough(tmp_path, capsys):
  state = run(program(overflow=5.0), tmp_path)
  assert np.isfinite(state.params['w']) and int(state.skipped) == 1
  assert 'step 5 of' in (said := capsys.readouterr().err)
  assert 'a gradient or a statistic is not finite. None of its clips' in said


@pytest.mark.parametrize('step', [4, 8])
def test_a_bad_state_is_not_saved_though_its_loss_is_finite(tmp_path, step):
  # The first clip of step N is N; a step is saved every two, and at the end.
  bad = program(overflow=float(step))
  message = rf"state of 'train' after step {step} is not finite, though"
  for _ in range(2):
    with pytest.raises(FloatingPointError, match=message):
      run(bad, tmp_path, max_skipped=0)
    kept = [path.name for path in (tmp_path / 'checkpoints/train').iterdir()]
    assert str(step - 2) in kept and str(step) not in kept
  # As the message advises.
  state = run(bad, tmp_path)
  assert np.isfinite(state.params['w'])
  assert (int(state.step), int(state.skipped)) == (8, 1)


def test_a_resumed_run_counts_on(tmp_path):
  whole = run(program(bad=[2, 6]), tmp_path / 'whole')
  run(program(bad=[2, 6], steps=4), tmp_path / 'cut')
  state = run(program(bad=[2, 6]), tmp_path / 'cut')
  jax.tree.map(np.testing.assert_array_equal, state, whole)
  assert int(state.skipped) == 2
  assert lines(tmp_path / 'cut') == lines(tmp_path / 'whole')


def test_too_many_are_an_error_that_saves_nothing(tmp_path):
  with pytest.raises(
    FloatingPointError, match="2 steps of 'train' were skipped; allowed: 1"
  ):
    run(program(bad=[3, 5]), tmp_path, max_skipped=1)
  kept = (tmp_path / 'checkpoints' / 'train').glob('[0-9]*')
  assert sorted(path.name for path in kept) == ['2', '4']


def test_without_a_bad_step_nothing_changes(tmp_path):
  state = run(program(), tmp_path / 'on')
  plain = run(program(), tmp_path / 'off', max_skipped=0)
  jax.tree.map(np.testing.assert_array_equal, state, plain)
  for on, off in zip(
    lines(tmp_path / 'on'), lines(tmp_path / 'off'), strict=True
  ):
    assert on == {**off, 'skipped_steps': 0}
  assert run_log.skipped_steps(tmp_path / 'off') == {}


def test_the_first_bad_step_and_its_clip_are_named_and_can_be_skipped(tmp_path):
  """Long before the check that finds it, which is at step 8."""
  with pytest.raises(FloatingPointError) as error:
    run(program(bad=[5]), tmp_path, log_every=8, max_skipped=0)
  # Not even the checkpoint of step 6.
  kept = (tmp_path / 'checkpoints' / 'train').glob('[0-9]*')
  assert sorted(path.name for path in kept) == ['2', '4']
  assert "train_loss is nan at step 5 of 'train'. Of its clips, 'clip-6'" in (
    said := str(error.value)
  )
  assert '--config.max_skipped_steps=N' in said
  # The same command with the option goes on from there.
  state = run(program(bad=[5]), tmp_path, log_every=8)
  whole = run(program(bad=[5]), tmp_path / 'whole', log_every=8)
  jax.tree.map(np.testing.assert_array_equal, state, whole)


def test_a_divergence_is_told_from_a_bad_clip(tmp_path):
  # Step 3 is not saved, so the loss of step 4 is the first that tells.
  made = program(overflow=3.0)
  with pytest.raises(
    FloatingPointError,
    match=r"inf at step 4 of .*None of its clips \('clip-4', 'clip-5'\) hold",
  ):
    run(made, tmp_path, max_skipped=0)


def test_arrays_split_over_devices_and_tasks_are_named():
  index = np.arange(8, dtype=np.int32).reshape(2, 4)
  depth = np.zeros((2, 4, 3, 3), np.float32)
  depth[1, 2, 0, 1] = np.inf
  said = nonfinite.name_clips([(ROWS, {'index': index, 'depth': depth})])
  assert said == "Of its clips, 'clip-6' hold numbers that are not finite."
