"""The one loop: batches, step, logging, finite check, checkpoint, stop.

An experiment hands it a `Program`. The loop knows nothing about networks or
faces.

The loop works ahead of the devices. It hands them the next `AHEAD` batches and
as many steps without waiting for a result; only what is logged is read back.
"""

import collections
import math
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from nasfas_jax import (
  checkpoints,
  nonfinite,
  profiles,
  progress,
  remote,
  run_log,
  stopping,
)

PyTree = Any
Scalars = Mapping[str, jax.Array]
Step = Callable[[PyTree, PyTree], tuple[PyTree, Scalars]]


# Batches that wait on the devices, and steps that are handed to them, before
# a result is waited for. Two hide the reading of a batch; more take memory.
AHEAD = 2
# Steps between two checks whose scalars are kept. Of more, the last ones are.
_MAX_UNCHECKED = 1000


class Observed(NamedTuple):
  """What is logged for a step.

  Attributes:
    numbers: name -> value; each must be finite.
    other: further JSON content of the line.
  """

  numbers: dict[str, float]
  other: dict[str, Any] = {}


class Program(NamedTuple):
  """What an experiment hands to the loop.

  Attributes:
    name: 'search' or 'train'; names the checkpoints and the phase in
      metrics.jsonl.
    title: label of the progress bar.
    num_steps: total number of steps.
    state: the initial pytree, sharded over the devices. The first step may
      donate its buffers.
    compile: (state, batch) -> step, compiled for their shapes. step(state,
      batch) -> (state, scalars) may donate the state's buffers.
    batches: number of steps done -> an endless iterator with close(). Batch n
      is the same wherever the iterator starts.
    observe: (state, scalars, number of steps done) -> what is logged.
    clips: batch -> its clips, see `nonfinite.name_clips`.
    members: names of S programs that run side by side, (): it is one. With
      members every leaf of the state and every scalar has a leading axis [S],
      `observe` gets the scalars of one member, and `clips` gives one part for
      each.
  """

  name: str
  title: str
  num_steps: int
  state: PyTree
  compile: Callable[[PyTree, PyTree], Step]
  batches: Callable[[int], Iterator[PyTree]]
  observe: Callable[[PyTree, Scalars, int], Observed]
  clips: Callable[[PyTree], Sequence[nonfinite.Clips]] = lambda batch: ()
  members: tuple[str, ...] = ()


class _Feed:
  """The next batches of an iterator, read before their step."""

  def __init__(self, batches: Iterator[PyTree], total: int):
    """Reads the first ones; never more than `total`."""
    self._batches = batches
    self._left = total
    self._waiting = collections.deque()
    self.fill()

  def fill(self) -> None:
    """Reads until `AHEAD` batches wait, or none is left."""
    while self._left and len(self._waiting) < AHEAD:
      self._waiting.append(next(self._batches))
      self._left -= 1

  @property
  def first(self) -> PyTree:
    """The batch that `take` gives next."""
    return self._waiting[0]

  def take(self) -> PyTree:
    """The next batch, which is then no longer held here."""
    return self._waiting.popleft()


def run(
  program: Program,
  workdir: pathlib.Path,
  *,
  log_every: int,
  checkpoint_every: int,
  max_skipped: int = 0,
  profile: profiles.Steps | None = None,
) -> PyTree:
  """Runs a program to its end, starting from its newest checkpoint.

  SIGTERM ends it after the step that is at work, which is saved. With several
  processes all of them save the same step, whichever got the signal.

  Args:
    program: see `Program`.
    workdir: receives checkpoints/NAME, metrics.jsonl and tensorboard/NAME.
    log_every: steps between lines of metrics.jsonl.
    checkpoint_every: steps between checkpoints; 0 saves only the last step.
    max_skipped: steps that may be skipped, see `nonfinite.skipping`; 0: none is
      skipped. With members each may skip as many, and one that is over it ends
      the run.
    profile: steps to trace into workdir/profile/NAME; None: none.

  Returns:
    The final state.

  Raises:
    FloatingPointError: if a logged number or a state to be saved is not finite,
      or too many steps were skipped; names step and clips. Nothing is then
      saved.
    ValueError: if the newest checkpoint does not match the state.
    stopping.Preempted: after SIGTERM.
  """
  last = program.num_steps
  folder = checkpoints.folder(workdir, program.name)
  with checkpoints.Checkpointer(folder) as saver:
    state, start = saver.restore_or(program.state)
    if start >= last:
      if profile:
        progress.say(
          f'No trace of {program.name!r}: its {last} steps are done. Another '
          '--workdir takes them.'
        )
      return state
    batches = program.batches(start)
    try:
      feed = _Feed(batches, last - start)
      with progress.stage(f'Compiling: {program.title.lower()}'):
        step = program.compile(state, feed.first)
        if max_skipped:
          step = nonfinite.skipping(step, state, members=bool(program.members))
      began = time.monotonic()
      unfinished = collections.deque()
      # The scalars of the steps that are not yet checked.
      recent = collections.deque(maxlen=_MAX_UNCHECKED)
      with (
        stopping.sigterm.saving(alone=jax.process_count() == 1),
        run_log.MetricWriter(workdir, program.name, start) as writer,
        progress.bar(program.title, last, start) as bar,
        profiles.Tracer(profile, workdir, program.name, start, last) as tracer,
      ):
        for done in range(start + 1, last + 1):
          with tracer.step(done):
            state, scalars = step(state, feed.take())
            feed.fill()
            unfinished.append(scalars)
            if len(unfinished) > AHEAD:
              jax.block_until_ready(unfinished.popleft())
          tracer.end_step(done, scalars)
          recent.append((done, scalars))
          stops = _preempted(done)
          logs = done % log_every == 0 or done == last
          saves = stops or checkpoints.save_due(done, checkpoint_every, last)
          if logs or saves:
            # Check before saving: a resume could not recover from a checkpoint
            # of a diverged run.
            observe = _observe_members if program.members else _observe
            observed = observe(program, state, recent, max_skipped)
            recent.clear()
          if logs:
            bar.update(done, **_short(observed.numbers))
            writer.write(done, observed.numbers, **observed.other)
            seconds = time.monotonic() - began
            writer.write_speed(done, (done - start) / seconds)
          if saves:
            _check_state(program, state, done)
            # What was logged is in the bucket before the step that it led to.
            remote.push(workdir)
            saver.save(done, state)
          if stops:
            break
        # What is being saved is not lost to a SIGTERM either.
        saver.wait()
        if stops or _asked_anywhere():
          raise stopping.Preempted
    finally:
      batches.close()
  return state


def read(scalars: Scalars) -> dict[str, float]:
  """The scalars of a step on the host, in one transfer."""
  return {k: float(v) for k, v in jax.device_get(dict(scalars)).items()}


def _preempted(done: int) -> bool:
  """Whether to save this step and stop; the same on all hosts."""
  if jax.process_count() == 1:
    return stopping.sigterm.asked
  # JAX tells the other hosts of a SIGTERM, and finds a step that none of them
  # has passed. Orbax asks with the same number at every save.
  return multihost_utils.reached_preemption_sync_point(done)


def _asked_anywhere() -> bool:
  """Whether any host got SIGTERM, too late for a step that all of them save."""
  if jax.process_count() == 1:
    return stopping.sigterm.asked
  asked = multihost_utils.process_allgather(np.array(stopping.sigterm.asked))
  return bool(np.any(asked))


def _short(numbers: Mapping[str, float]) -> dict[str, float]:
  """The losses only: the progress bar has no room for more."""
  return {k: v for k, v in numbers.items() if k.endswith('_loss')}


def _observe(
  program: Program,
  state: PyTree,
  recent: Sequence[tuple[int, Scalars]],
  max_skipped: int,
) -> Observed:
  """What is logged for the last of the recent steps.

  Its numbers must be finite. With `max_skipped`, those of the recent steps that
  were skipped are told.

  Raises:
    FloatingPointError: see `run`.
  """
  done, scalars = recent[-1]
  if not max_skipped:
    observed = program.observe(state, scalars, done)
    _check_finite(program, observed.numbers, recent)
    return observed
  for step, reason in nonfinite.skipped(recent):
    clips = _clips_of(program, step)
    progress.say(f'Skipped step {step} of {program.name!r}: {reason}. {clips}')
  total = nonfinite.count(state)
  if total > max_skipped:
    raise FloatingPointError(
      f'{total} steps of {program.name!r} were skipped; allowed: '
      f'{max_skipped}, config.max_skipped_steps. The earlier checkpoints are '
      'kept.'
    )
  skipped = int(scalars[nonfinite.SKIPPED])
  given = {k: v for k, v in scalars.items() if k != nonfinite.SKIPPED}
  observed = program.observe(state, given, done)
  numbers = {
    name: value
    for name, value in observed.numbers.items()
    # A skipped step has no loss to log.
    if not (skipped and name in given and not math.isfinite(value))
  }
  _check_finite(program, numbers, [recent[-1]])
  numbers['skipped_steps'] = total
  return Observed(numbers, observed.other)


# Of the members' numbers, those whose sum is logged, not the mean.
_SUMMED = ('skipped_steps',)


def _observe_members(
  program: Program,
  state: PyTree,
  recent: Sequence[tuple[int, Scalars]],
  max_skipped: int,
) -> Observed:
  """As `_observe`, for each member by itself.

  Returns:
    The means of the members' numbers, and under 'members' those of each.
  """
  fetched = jax.device_get([(step, dict(scalars)) for step, scalars in recent])
  counts = np.asarray(state.skipped) if max_skipped else ()
  found = []
  for place, name in enumerate(program.members):
    alone = program._replace(
      name=f'{program.name} of {name}',
      clips=lambda batch, place=place: [program.clips(batch)[place]],
    )
    of_member = [
      (step, {key: value[place] for key, value in scalars.items()})
      for step, scalars in fetched
    ]
    with_count = state.replace(skipped=counts[place]) if max_skipped else state
    observed = _observe(alone, with_count, of_member, max_skipped)
    found.append(observed.numbers)
  numbers = {}
  for name in dict.fromkeys(name for one in found for name in one):
    values = [one[name] for one in found if name in one]
    total = math.fsum(values)
    numbers[name] = total if name in _SUMMED else total / len(values)
  return Observed(numbers, {'members': found})


_ADVICE = (
  'The same command with --config.max_skipped_steps=N skips up to N such '
  'steps. A divergence needs a lower learning rate or gradient_clip, and '
  'another --workdir. The earlier checkpoints are kept.'
)


def _check_finite(
  program: Program,
  numbers: Mapping[str, float],
  recent: Sequence[tuple[int, Scalars]],
) -> None:
  """Raises FloatingPointError for a number that is not finite; names it."""
  for name, value in numbers.items():
    if not math.isfinite(value):
      found = nonfinite.first(recent) or (recent[-1][0], name, value)
      step, name, value = found
      raise FloatingPointError(
        f'{name} is {value} at step {step} of {program.name!r}. '
        f'{_clips_of(program, step)} {_ADVICE}'
      )


def _check_state(program: Program, state: PyTree, done: int) -> None:
  """Raises FloatingPointError for a state that is not to be saved.

  A step's scalars are of before its update, so the last one's may be finite
  and its gradients not.
  """
  if bool(nonfinite.is_finite(state)):
    return
  raise FloatingPointError(
    f'The state of {program.name!r} after step {done} is not finite, though '
    'its losses are: a gradient or a statistic is not. '
    f'{_clips_of(program, done)} {_ADVICE}'
  )


def _clips_of(program: Program, step: int) -> str:
  """Says which clips of a step's batch are to blame, by reading it again."""
  batches = program.batches(step - 1)
  try:
    return nonfinite.name_clips(program.clips(next(batches)))
  finally:
    batches.close()
