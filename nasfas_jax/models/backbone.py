"""The skeleton that the supernet and the derived network share (CDCN++)."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from nasfas_jax.models.layers import CDConvBlock, FusionHead, halve
from nasfas_jax.models.search_spaces import LEVELS

# Windows of the spatial attention of the low, mid and high level.
ATTENTION_WINDOWS = (7, 5, 3)


def predict_map(
  module: nn.Module,
  x: jax.Array,
  level: Callable[[str, jax.Array, str], jax.Array],
  *,
  stem_features: Sequence[int],
  cell_features: int,
  head_features: Sequence[int],
  output_size: int,
  theta: float,
  two_stream: bool,
  dtype: Any,
  train: bool,
) -> jax.Array:
  """Stem, three levels each followed by pooling, attention fusion, head.

  Args:
    module: the owner, inside its compact method; keeps the outputs of the
      stem and of the levels as 'intermediates'.
    x: float [N, H, W, C].
    level: (name, x, prefix) -> applies the cells of the level of a name, in
      modules whose names start with the prefix.
    stem_features: channels of the stem's blocks.
    cell_features: channels of the cells; a 1x1 convolution adapts the stem's
      where they differ.
    head_features: channels of the head's blocks.
    output_size: side of the map.
    theta: strength of the central difference.
    two_stream: x holds the static and the dynamic image, C / 2 channels each.
      Each has a stem and a low level of its own, with the same cells; a 1x1
      convolution of both goes on.
    dtype: of the computation.
    train: whether batch normalization uses the batch.

  Returns:
    float32 [N, output_size, output_size], at least 0.
  """

  def stem(x, prefix):
    for i, features in enumerate(stem_features):
      x = CDConvBlock(
        features, theta=theta, dtype=dtype, name=f'{prefix}stem_{i}'
      )(x, train=train)
    module.sow('intermediates', f'{prefix}stem', x)
    if x.shape[-1] != cell_features:
      x = CDConvBlock(
        cell_features,
        window=1,
        theta=0.0,
        dtype=dtype,
        name=f'{prefix}projection',
      )(x, train=train)
    return x

  outputs = []
  if two_stream:
    streams = zip(('', 'dynamic_'), jnp.split(x, 2, axis=-1), strict=True)
    lows = [level('low', stem(part, name), name) for name, part in streams]
    x = CDConvBlock(
      cell_features, window=1, theta=0.0, dtype=dtype, name='stream_fusion'
    )(jnp.concatenate(lows, axis=-1), train=train)
  else:
    x = level('low', stem(x, ''), '')
  for name in LEVELS:
    if name != 'low':
      x = level(name, x, '')
    x = halve(x)
    module.sow('intermediates', name, x)
    outputs.append(x)
  return FusionHead(
    tuple(head_features),
    output_size,
    theta,
    ATTENTION_WINDOWS,
    dtype,
    name='head',
  )(tuple(outputs), train=train)
