"""The backbone of CDCN++, shared by the supernet and derived networks."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from nasfas_jax.models.layers import CDConvBlock, FusionHead, halve
from nasfas_jax.models.outputs import Between, Outputs, unchanged
from nasfas_jax.models.search_spaces import LEVELS

# Of the spatial attention at the low, mid and high level.
ATTENTION_KERNEL_SIZES = (7, 5, 3)


def predict_map(
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
  norm: str = 'batch',
  between: Between = unchanged,
) -> Outputs:
  """Stem, three levels each followed by pooling, attention fusion, head.

  To be called in the compact method of a network, which then owns the modules.

  Args:
    x: float [N, H, W, C].
    level: (name, x, prefix) -> the output of the cells of a level. The names of
      their modules start with the prefix.
    stem_features: channels of the stem's blocks.
    cell_features: channels of the cells; if the stem's differ, a 1x1
      convolution follows the stem.
    head_features: channels of the head's blocks.
    output_size: side of the map.
    theta: strength of the central difference.
    two_stream: x holds the static and the dynamic image, C / 2 channels each.
      Each passes through its own stem and low level, with the same cells but
      separate weights; a 1x1 convolution fuses the two.
    dtype: of the computation.
    train: whether batch normalization uses the batch.
    norm: kind of the normalization of stem and head.
    between: what is done to the features of a stage.

  Returns:
    `Outputs`; the map is [N, output_size, output_size].
  """

  features = {}

  def stem(x, prefix):
    for i, width in enumerate(stem_features):
      x = CDConvBlock(
        width, theta=theta, dtype=dtype, norm=norm, name=f'{prefix}stem_{i}'
      )(x, train=train)
    x = between(f'{prefix}stem', x)
    features[f'{prefix}stem'] = x
    if x.shape[-1] != cell_features:
      x = CDConvBlock(
        cell_features,
        kernel_size=1,
        theta=0.0,
        dtype=dtype,
        norm=norm,
        name=f'{prefix}projection',
      )(x, train=train)
    return x

  if two_stream:
    streams = zip(('', 'dynamic_'), jnp.split(x, 2, axis=-1), strict=True)
    lows = [level('low', stem(part, name), name) for name, part in streams]
    x = CDConvBlock(
      cell_features,
      kernel_size=1,
      theta=0.0,
      dtype=dtype,
      norm=norm,
      name='stream_fusion',
    )(jnp.concatenate(lows, axis=-1), train=train)
  else:
    x = level('low', stem(x, ''), '')
  for name in LEVELS:
    if name != 'low':
      x = level(name, x, '')
    x = between(name, halve(x))
    features[name] = x
  predicted = FusionHead(
    tuple(head_features),
    output_size,
    theta,
    ATTENTION_KERNEL_SIZES,
    dtype,
    norm,
    name='head',
  )(tuple(features[name] for name in LEVELS), train=train)
  return Outputs(predicted, features)
