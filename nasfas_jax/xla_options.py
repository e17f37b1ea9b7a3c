"""What XLA's compiler for the CPU is told; other backends need no telling."""

import os
from collections.abc import MutableMapping

import jax

_FLAG = '--xla_cpu_experimental_ynn_fusion_type'
# By default XLA also hands convolutions, with what surrounds them, to this
# library. In a step that has gradients its own are faster: two CPU cores take
# 5.8 s instead of 8.0 s for a training step of CDCN++ at 256x256, and 0.05 s
# instead of 0.09 s for one of the default size. Sums, those of batch
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


def compile_step(lowered: jax.stages.Lowered, *, remat: bool):
  """Compiles a step; where it recomputes to save memory, in that spirit.

  On CPU XLA schedules for concurrency, which starts the recomputation early
  and holds its results: remat then saves nothing. The schedule for memory
  halves what the published search holds, and its steps take longer.

  Args:
    lowered: the step.
    remat: whether its model recomputes activations in the backward pass.

  Returns:
    The compiled step.
  """
  options = None
  if remat and jax.default_backend() == 'cpu':
    options = {'xla_cpu_enable_concurrency_optimized_scheduler': False}
  return lowered.compile(compiler_options=options)
