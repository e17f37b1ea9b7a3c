"""The operations of the search spaces, by name.

`CONVOLUTIONS` are one CDC-BN-ReLU; `cdc_2_r` is two of them, C -> int(r C) ->
C. The search evaluates many operations at once from the same descriptions
(see `mixed_edges.OutgoingEdges`), the derived network one at a time.
"""

import dataclasses
import re
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from nasfas_jax.models.layers import CDConv, CDConvBlock, batch_norm
from nasfas_jax.models.search_spaces import NONE, SKIP_CONNECT, SPACES
from nasfas_jax.ops import pooling


@dataclasses.dataclass(frozen=True)
class Convolution:
  """A CDC that keeps the number of channels.

  Attributes:
    window: side of the kernel.
    dilation: step between taps.
    variant: '' for all taps, 'hv' or 'dg' for a cross.
  """

  window: int = 3
  dilation: int = 1
  variant: str = ''


CONVOLUTIONS = {
  'cdc_3x3': Convolution(),
  'cdc_5x5': Convolution(window=5),
  'dil_cdc_3x3': Convolution(dilation=2),
  'cdc_cross_hv': Convolution(variant='hv'),
  'cdc_cross_dg': Convolution(variant='dg'),
}
POOLS = {
  'cd_max_pool_3x3': pooling.cd_max_pool,
  'cd_avg_pool_3x3': pooling.cd_avg_pool,
}
SEPARABLE = 'sep_cdc_3x3'
OPERATIONS = tuple(dict.fromkeys(name for s in SPACES.values() for name in s))


def expansion(name: str) -> float | None:
  """The r of an operation cdc_2_r; None for any other operation."""
  match = re.fullmatch(r'cdc_2_(\d+\.\d+)', name)
  return float(match[1]) if match else None


def middle_features(features: int, ratio: float) -> int:
  """Channels between the two convolutions of cdc_2_r: int(r C), at least 1."""
  return max(1, int(features * ratio))


class Operation(nn.Module):
  """One operation, which keeps the shape of its input.

  Attributes:
    operation: one of `OPERATIONS`.
    theta: strength of the central difference.
    dtype: of the computation.
  """

  operation: str
  theta: float = 0.7
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """x: [N, H, W, C]; returns the same shape in `dtype`.

    Raises:
      ValueError: for an unknown operation.
    """
    name = self.operation
    x = x.astype(self.dtype)
    features = x.shape[-1]
    if name == SKIP_CONNECT:
      return x
    if name == NONE:
      return jnp.zeros_like(x)
    if name in CONVOLUTIONS:
      return CDConvBlock(
        features,
        theta=self.theta,
        dtype=self.dtype,
        name='block',
        **dataclasses.asdict(CONVOLUTIONS[name]),
      )(x, train=train)
    ratio = expansion(name)
    if ratio is not None:
      widths = (middle_features(features, ratio), features)
      for i, width in enumerate(widths):
        x = CDConvBlock(
          width, theta=self.theta, dtype=self.dtype, name=f'block_{i}'
        )(x, train=train)
      return x
    if name == SEPARABLE:
      return Separable(self.theta, dtype=self.dtype, name='block')(
        x, train=train
      )
    if name in POOLS:
      x = POOLS[name](x, theta=self.theta)
      return batch_norm(x, train=train, dtype=self.dtype, name='norm')
    raise ValueError(
      f'Unknown operation {name!r}; allowed: {", ".join(OPERATIONS)}.'
    )


class Separable(nn.Module):
  """Depthwise CDC 3x3, pointwise convolution, batch normalization, ReLU."""

  theta: float = 0.7
  affine: bool = True
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """x: [N, H, W, C]; returns the same shape in `dtype`."""
    features = x.shape[-1]
    x = CDConv(
      features,
      theta=self.theta,
      depthwise=True,
      dtype=self.dtype,
      name='depthwise',
    )(x)
    x = CDConv(
      features, window=1, theta=0.0, dtype=self.dtype, name='pointwise'
    )(x)
    x = batch_norm(
      x, train=train, affine=self.affine, dtype=self.dtype, name='norm'
    )
    return nn.relu(x)
