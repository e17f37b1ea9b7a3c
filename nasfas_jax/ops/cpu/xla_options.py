"""What XLA's compiler for the CPU is told; other backends need no telling."""

import os
from collections.abc import MutableMapping

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
