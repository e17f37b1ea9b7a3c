"""The one loop: batches, step, logging, finite check, checkpoint, stop.

An experiment hands it a `Program`. The loop knows nothing of networks or faces.
"""

import math
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax

from nasfas_jax import checkpoints, progress, run_log

PyTree = Any
Scalars = Mapping[str, jax.Array]
Step = Callable[[PyTree, PyTree], tuple[PyTree, Scalars]]


class Observed(NamedTuple):
  """What a step is logged with.

  Attributes:
    numbers: by name; each must be finite.
    other: JSON content beside them.
  """

  numbers: dict[str, float]
  other: dict[str, Any] = {}


class Program(NamedTuple):
  """What an experiment hands to the loop.

  Attributes:
    name: 'search' or 'train': names its checkpoints and its metrics.
    title: what the progress bar calls it.
    num_steps: steps in all.
    state: the initial pytree, laid out over the devices. The first step may
      give its buffers away.
    compile: (state, batch) -> step, compiled for their shapes; step(state,
      batch) -> (state, scalars), which may give the state's buffers away.
    batches: number of steps done -> an endless iterator with close(), the same
      from there on wherever it begins.
    observe: (state, scalars, number of steps done) -> what is logged.
  """

  name: str
  title: str
  num_steps: int
  state: PyTree
  compile: Callable[[PyTree, PyTree], Step]
  batches: Callable[[int], Iterator[PyTree]]
  observe: Callable[[PyTree, Scalars, int], Observed]


def run(
  program: Program,
  workdir: pathlib.Path,
  *,
  log_every: int,
  checkpoint_every: int,
) -> PyTree:
  """Runs a program to its end, from its newest checkpoint on.

  Args:
    program: see there.
    workdir: gets checkpoints/NAME, metrics.jsonl and tensorboard/NAME.
    log_every: steps between lines of metrics.jsonl.
    checkpoint_every: steps between checkpoints; 0 saves at the end only.

  Returns:
    The final state.

  Raises:
    FloatingPointError: if what is logged or saved is not finite.
    ValueError: if the newest checkpoint does not fit the state.
  """
  last = program.num_steps
  folder = checkpoints.folder(workdir, program.name)
  with checkpoints.Checkpointer(folder) as saver:
    state, start = saver.restore_or(program.state)
    if start >= last:
      return state
    batches = program.batches(start)
    try:
      batch = next(batches)
      with progress.stage(f'Compiling: {program.title.lower()}'):
        step = program.compile(state, batch)
      began = time.monotonic()
      with (
        run_log.MetricWriter(workdir, program.name, start) as writer,
        progress.bar(program.title, last, start) as bar,
      ):
        for done in range(start + 1, last + 1):
          state, scalars = step(state, batch)
          if done < last:
            batch = next(batches)
          logs = done % log_every == 0 or done == last
          saves = checkpoints.save_due(done, checkpoint_every, last)
          if logs or saves:
            # A checkpoint of a diverged run would be where a resume ends.
            observed = program.observe(state, scalars, done)
            check_finite(observed.numbers, done, program.name)
          if logs:
            bar.update(done, **_short(observed.numbers))
            writer.write(done, observed.numbers, **observed.other)
            seconds = time.monotonic() - began
            writer.write_speed(done, (done - start) / seconds)
          if saves:
            saver.save(done, state)
    finally:
      batches.close()
  return state


def _short(numbers: Mapping[str, float]) -> dict[str, float]:
  """The losses, which is what the progress bar has room for."""
  return {k: v for k, v in numbers.items() if k.endswith('_loss')}


def check_finite(numbers: Mapping[str, float], step: int, name: str) -> None:
  """Raises FloatingPointError, which names the number, if one is not finite."""
  for number, value in numbers.items():
    if not math.isfinite(value):
      raise FloatingPointError(
        f'The {number} of the {name} is {value} at step {step}. Lower the '
        'learning rate or the gradient_clip and start again in another '
        '--workdir; the checkpoints before this step are kept.'
      )
