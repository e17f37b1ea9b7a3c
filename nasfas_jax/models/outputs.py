"""The outputs of every network."""

from typing import NamedTuple

import jax


class Outputs(NamedTuple):
  """The predicted map, and features for further loss terms.

  XLA removes features that nothing reads from a compiled program.

  Attributes:
    map: float32 [N, S, S], at least 0.
    features: name -> [N, H, W, C] in the dtype of the computation. 'stem' is
      before the cells; 'low', 'mid' and 'high' are after each level's pooling.
      A two-stream network also has 'dynamic_stem'.
  """

  map: jax.Array
  features: dict[str, jax.Array]
