"""Flags of XLA's CPU compiler; other backends ignore them."""

import os
from collections.abc import MutableMapping

_FLAG = '--xla_cpu_experimental_ynn_fusion_type'
# By default, XLA also fuses convolutions and matrix products into calls of the
# YNN library. In a step with gradients, XLA's own are faster: without this flag
# the default training step took 1.17 times the CPU time
# (`python -m benchmarks.run --only=cpu_forms`). Reductions, above all those of
# batch normalization, are faster in the library.
_KINDS = 'LIBRARY_FUSION_TYPE_REDUCE'


def prefer_own_convolutions(
  environ: MutableMapping[str, str] = os.environ,
) -> None:
  """Keeps convolutions on CPU out of the YNN library, by a flag in XLA_FLAGS.

  Call it before the first computation. A value that the user has set stays.

  Args:
    environ: the environment, changed in place.
  """
  flags = environ.get('XLA_FLAGS', '')
  if _FLAG not in flags:
    environ['XLA_FLAGS'] = f'{flags} {_FLAG}={_KINDS}'.strip()
