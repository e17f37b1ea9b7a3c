"""What XLA's compiler for the CPU is told; other backends need no telling."""

import os
from collections.abc import MutableMapping

import jax

_FLAG = '--xla_cpu_experimental_ynn_fusion_type'
# By default XLA also hands convolutions, with what surrounds them, to this
# library. In a step that has gradients its own are faster: two CPU cores took
# 5.8 s instead of 8.0 s for a training step of CDCN++ at 256x256 (before
# `ops.convolution` had forms of its own for that size), and 0.05 s instead of
# 0.09 s for one of the default size. Sums, those of batch normalization above
# all, are faster in the library.
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
  held. The many operations of a supernet gain by it; a chain of layers does
  not, and where activations are computed again to save memory (remat), they
  are computed early and held all the same.

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
