"""Traces of some steps, for TensorBoard and Perfetto."""

import contextlib
import dataclasses
import pathlib
import re
from typing import Any

import jax

from nasfas_jax import progress

# Steps before a trace that is given by its length: they warm up.
_WARM_UP = 2
# A trace holds every operation; thousands of steps would take gigabytes.
MAX_STEPS = 1000
_FORMS = (
  'a number of steps, such as 20, or the first and the last step, such as '
  f'20:30; at most {MAX_STEPS} steps'
)


@dataclasses.dataclass(frozen=True)
class Steps:
  """Which steps of a program are traced.

  Attributes:
    number: of steps, after the first two of the process; 0 with a range.
    first: first step of a range, counted from 1; 0 without one.
    last: last step of a range, which is traced too; 0 without one.
  """

  number: int
  first: int = 0
  last: int = 0

  def span(self, start: int) -> tuple[int, int]:
    """(first, last) step to trace in a process that has `start` behind it."""
    if self.number:
      first = start + 1 + _WARM_UP
      return first, first + self.number - 1
    return max(self.first, start + 1), self.last


def parse(text: str) -> Steps:
  """The steps that a text such as '20' or '20:30' names.

  Raises:
    ValueError: for another text; says what is allowed.
  """
  if match := re.fullmatch(r'(\d{1,9})(?::(\d{1,9}))?', text):
    first = int(match[1])
    if match[2] is None and 1 <= first <= MAX_STEPS:
      return Steps(first)
    if match[2] and 1 <= first <= int(match[2]) < first + MAX_STEPS:
      return Steps(0, first, int(match[2]))
  raise ValueError(f'--profile is {text!r}; allowed: {_FORMS}.')


class Tracer(contextlib.AbstractContextManager):
  """Writes the trace of the wanted steps into workdir/profile/NAME."""

  def __init__(
    self,
    steps: Steps | None,
    workdir: pathlib.Path,
    name: str,
    start: int,
    end: int,
  ):
    """Starts nothing yet.

    Args:
      steps: to trace; None: none.
      workdir: of the run.
      name: of the program.
      start: steps of the program that are done.
      end: its last step; the trace ends there at the latest.
    """
    self._folder = workdir / 'profile' / name
    first, last = steps.span(start) if steps else (1, 0)
    self._first, self._last = first, min(last, end)
    # One process stands for all; they may share the folder.
    if self._first > self._last or jax.process_index():
      self._first = self._last = 0
    if steps and jax.process_index() == 0 and not self._first:
      wanted = f'{steps.first or first} to {last}'
      progress.say(
        f'No trace of {name!r}: the steps {wanted} of --profile are not among '
        f'{start + 1} to {end}, which this process takes.'
      )
    self._on = False

  def step(self, number: int) -> contextlib.AbstractContextManager:
    """Marks one step; starts the trace where it is due."""
    if number == self._first:
      self._folder.mkdir(parents=True, exist_ok=True)
      jax.profiler.start_trace(str(self._folder), create_perfetto_trace=True)
      self._on = True
    if self._on:
      return jax.profiler.StepTraceAnnotation('step', step_num=number)
    return contextlib.nullcontext()

  def end_step(self, number: int, result: Any) -> None:
    """Writes the trace after its last step, whose result it waits for."""
    if self._on and number == self._last:
      jax.block_until_ready(result)
      self._stop()
      progress.say(
        f'Trace of steps {self._first} to {self._last}: {self._folder}'
      )

  def _stop(self) -> None:
    self._on = False
    jax.profiler.stop_trace()

  def __exit__(self, *_) -> None:
    # Of a run that ends early, what there is.
    if self._on:
      self._stop()
