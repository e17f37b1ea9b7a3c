"""What XLA's compiler for the CPU is told; other backends need no telling."""

import os
from collections.abc import MutableMapping

import jax

_FLAG = '--xla_cpu_experimental_ynn_fusion_type'
# By default XLA also hands convolutions and products, with what surrounds them,
# to this library. In a step that has gradients its own are faster: the default
# training step took 1.17 times the processors' time without this
# (`python -m benchmarks.run --only=cpu_forms`). Sums, those of batch
# normalization above all, are faster in the library.
_KINDS = 'LIBRARY_FUSION_TYPE_REDUCE'


def prefer_own_convolutions(
  environ: MutableMapping[str, str] = os.environ,
) -> None:
  """Keeps XLA's convolutions out of its library of fused kernels, on CPU.

  To be called before the first computation; other backends do not read the
  flag. A flag that the user has set stays.

  Args:
    environ: the environment, changed in place.
  """
  flags = environ.get('XLA_FLAGS', '')
  if _FLAG not in flags:
    environ['XLA_FLAGS'] = f'{flags} {_FLAG}={_KINDS}'.strip()


def compile_step(lowered: jax.stages.Lowered, *, in_sequence: bool):
  """Compiles a step, on CPU with a choice of what XLA schedules for.

  By default that is concurrency: what can run early does, and its results are
  held. Neither choice showed in the time or the memory of a whole step
  (benchmarks/README.md).

  Args:
    lowered: the step.
    in_sequence: schedule one operation after the other, for little memory.

  Returns:
    The compiled step.
  """
  options = None
  if in_sequence and jax.default_backend() == 'cpu':
    options = {'xla_cpu_enable_concurrency_optimized_scheduler': False}
  return lowered.compile(compiler_options=options)
