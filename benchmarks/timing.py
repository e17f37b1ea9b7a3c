"""Timing of compiled functions, in turns, so that all see the same machine."""

import statistics
import time
from collections.abc import Callable, Mapping

import jax


def medians(
  functions: Mapping[str, Callable[[], object]], *, rounds: int = 9
) -> dict[str, float]:
  """Median seconds of each function, called in turns after one warm call.

  In its turn a function is called twice and the second call counts, as step
  follows step in training: another one leaves other memory behind.

  Args:
    functions: each returns arrays, which are waited for.
    rounds: turns of each.
  """
  for function in functions.values():
    jax.block_until_ready(function())
  seconds = {name: [] for name in functions}
  for _ in range(rounds):
    for name, function in functions.items():
      jax.block_until_ready(function())
      start = time.perf_counter()
      jax.block_until_ready(function())
      seconds[name].append(time.perf_counter() - start)
  return {name: statistics.median(times) for name, times in seconds.items()}


def compile_seconds(lower: Callable[[], jax.stages.Lowered]):
  """(compiled function, seconds to trace and compile it)."""
  start = time.perf_counter()
  compiled = lower().compile()
  return compiled, time.perf_counter() - start
