"""What XLA's compiler for the CPU is told before it starts."""

import os
from collections.abc import MutableMapping

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
