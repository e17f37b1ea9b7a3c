"""What every network returns."""

from typing import NamedTuple

import jax


class Outputs(NamedTuple):
  """The map that a network predicts, and features that a loss term may use.

  A feature that nothing reads costs nothing in a compiled program.

  Attributes:
    map: float32 [N, S, S], at least 0.
    features: name -> [N, H, W, C] in the dtype of the computation: 'stem'
      before the cells, 'low', 'mid' and 'high' after each level's pooling; for
      two streams also 'dynamic_stem'.
  """

  map: jax.Array
  features: dict[str, jax.Array]
