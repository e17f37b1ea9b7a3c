"""Progress on stderr: a bar on a terminal, plain lines elsewhere.

What a command is asked to print, and no more, goes to stdout.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator

import tqdm

from nasfas_jax import remote

_SECONDS_BETWEEN_LINES = 10.0
# Whether this process says nothing, see `mute`.
_muted = False


def mute() -> None:
  """Says nothing from now on: one of several processes speaks for all."""
  global _muted
  _muted = True


class Bar:
  """The progress of one stage."""

  def __init__(self, stage: str, total: int, initial: int = 0):
    """Shows the stage.

    Args:
      stage: its name.
      total: number of steps.
      initial: number of steps that were done before.
    """
    self._stage = stage
    self._total = total
    self._done = initial
    self._initial = initial
    self._start = self._last_line = time.monotonic()
    self._tqdm = None
    if sys.stderr.isatty() and not _muted:
      self._tqdm = tqdm.tqdm(
        desc=stage, total=total, initial=initial, file=sys.stderr
      )
    else:
      self._line()

  def update(self, done: int, **figures: float) -> None:
    """Sets the number of steps done and the figures to show with it."""
    text = {name: f'{value:.4g}' for name, value in figures.items()}
    if self._tqdm is not None:
      self._tqdm.set_postfix(text, refresh=False)
      self._tqdm.update(done - self._done)
      self._done = done
      return
    self._done = done
    now = time.monotonic()
    if now - self._last_line >= _SECONDS_BETWEEN_LINES or done == self._total:
      self._last_line = now
      self._line(**text)

  def close(self) -> None:
    if self._tqdm is not None:
      self._tqdm.close()

  def _line(self, **text: str) -> None:
    if _muted:
      return
    seconds = time.monotonic() - self._start
    parts = [f'{self._stage}: {self._done}/{self._total}']
    if self._done > self._initial:
      parts.append(f'{seconds:.0f} s')
      rate = (self._done - self._initial) / max(seconds, 1e-9)
      left = (self._total - self._done) / rate
      if left >= 1:
        parts.append(f'about {left:.0f} s left')
    parts += [f'{name} {value}' for name, value in text.items()]
    print(', '.join(parts), file=sys.stderr, flush=True)


@contextlib.contextmanager
def bar(stage: str, total: int, initial: int = 0) -> Iterator[Bar]:
  """Yields a Bar and closes it at the end."""
  counter = Bar(stage, total, initial)
  try:
    yield counter
  finally:
    counter.close()


@contextlib.contextmanager
def lazy_bar(stage: str) -> Iterator[Callable[[int, int], None]]:
  """Yields a callable (done, total) that opens a Bar at its first call."""
  bars = []

  def update(done: int, total: int) -> None:
    if not bars:
      bars.append(Bar(stage, total))
    bars[0].update(done)

  try:
    yield update
  finally:
    for counter in bars:
      counter.close()


def say(text: str) -> None:
  """Prints one line to stderr, above an open bar."""
  if _muted:
    return
  tqdm.tqdm.write(remote.shown(text), file=sys.stderr)
  sys.stderr.flush()


def answer(text: str) -> None:
  """Prints what a command was asked for, one or more lines, to stdout."""
  if not _muted:
    print(remote.shown(text), flush=True)


@contextlib.contextmanager
def reader_may_leave() -> Iterator[None]:
  """Ends the block without an error if nobody reads stdout any more."""
  try:
    yield
  except BrokenPipeError:
    # The reader has seen enough. Python would complain again at its end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def stage(text: str) -> Iterator[None]:
  """Announces work without steps, such as compiling, and reports its time."""
  say(f'{text} ...')
  start = time.monotonic()
  yield
  say(f'{text}: {time.monotonic() - start:.1f} s')
