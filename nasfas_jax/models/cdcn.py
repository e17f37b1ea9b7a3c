"""CDCN (arXiv 2003.04092), a hand-designed network to compare with."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from nasfas_jax.models.layers import (
  CDConvBlock,
  FusionHead,
  halve,
  padded_width,
)
from nasfas_jax.models.outputs import Between, Outputs, unchanged
from nasfas_jax.models.search_spaces import LEVELS


class CDCN(nn.Module):
  """Stem, three blocks of three CDCs each, fusion without attention, head.

  The defaults are the published sizes, with 2.245 M parameters.

  Attributes:
    stem_features: channels of the stem.
    block_features: channels of the three CDCs of each block.
    head_features: channels of the head's two blocks.
    output_size: side of the map.
    theta: strength of the central difference.
    dtype: of the computation.
  """

  stem_features: int = 64
  block_features: tuple[int, int, int] = (128, 196, 128)
  head_features: tuple[int, int] = (128, 64)
  output_size: int = 32
  theta: float = 0.7
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, x: jax.Array, *, train: bool, between: Between = unchanged
  ) -> Outputs:
    """Predicts a map.

    Args:
      x: float [N, H, W, C], the fused input.
      train: whether batch normalization uses the batch.
      between: what is done to the features of a stage.

    Returns:
      `Outputs`; the map is [N, output_size, output_size].
    """
    x = CDConvBlock(
      self.stem_features, theta=self.theta, dtype=self.dtype, name='stem_0'
    )(x, train=train)
    x = between('stem', x)
    features = {'stem': x}
    for level in LEVELS:
      entering = x.shape[-1]
      last = len(self.block_features) - 1
      for i, leaving in enumerate(self.block_features):
        x = CDConvBlock(
          leaving,
          in_features=entering,
          width=None if i == last else padded_width(leaving, self.dtype),
          theta=self.theta,
          dtype=self.dtype,
          name=f'{level}_{i}',
        )(x, train=train)
        entering = leaving
      x = between(level, halve(x))
      features[level] = x
    predicted = FusionHead(
      self.head_features,
      self.output_size,
      self.theta,
      dtype=self.dtype,
      name='head',
    )(tuple(features[level] for level in LEVELS), train=train)
    return Outputs(predicted, features)
