"""The outputs of every network."""

from collections.abc import Callable
from typing import NamedTuple

import jax

# (name of a stage, its features) -> what the next stage gets, in the same shape
# and dtype.
Between = Callable[[str, jax.Array], jax.Array]


def unchanged(stage: str, features: jax.Array) -> jax.Array:
  """Hands the features of a stage on."""
  del stage
  return features


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
