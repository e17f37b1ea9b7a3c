"""The operations of the search spaces, by name.

`OPERATIONS` is the only table. A derived network has an operation's module on
each of its edges. A search computes some operations for all edges together
instead (`mixed_edges.OutgoingEdges` finds them by the class of their module).
docs/extending.md says how to add an operation.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from nasfas_jax.models.layers import (
  CDConvBlock,
  SeparableBlock,
  normalization,
  padded_width,
)
from nasfas_jax.models.search_spaces import NONE, SKIP_CONNECT
from nasfas_jax.ops import pooling


class Operation(nn.Module):
  """The base of all operations: a module that keeps the shape of its input.

  A subclass has `__call__(x, *, train)`, which takes x [N, H, W, C] in `dtype`
  and returns the same shape and dtype. Its variables are in 'params' and
  'batch_stats'.

  Attributes:
    theta: strength of the central difference.
    affine: the normalization has a scale and a bias. False in a search, where
      the architecture weights scale the operations.
    dtype: of the computation; parameters are float32.
    norm: kind of the normalization, one of `search_spaces.NORMS`.
  """

  theta: float = 0.7
  affine: bool = True
  dtype: Any = jnp.float32
  norm: str = 'batch'


class Zero(Operation):
  """'none': zeros."""

  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """See `Operation`."""
    return jnp.zeros_like(x)


class Identity(Operation):
  """'skip_connect': the input."""

  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """See `Operation`."""
    return x


class Convolution(Operation):
  """CDC, batch normalization, ReLU.

  Attributes:
    kernel_size: side of the kernel.
    dilation: step between taps.
    variant: '' for all taps, 'hv' or 'dg' for a cross.
  """

  kernel_size: int = 3
  dilation: int = 1
  variant: str = ''

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """See `Operation`."""
    return CDConvBlock(
      x.shape[-1],
      kernel_size=self.kernel_size,
      theta=self.theta,
      dilation=self.dilation,
      variant=self.variant,
      affine=self.affine,
      dtype=self.dtype,
      norm=self.norm,
      name='block',
    )(x, train=train)


class Expansion(Operation):
  """cdc_2_r: two blocks of CDC 3x3, batch normalization and ReLU.

  Attributes:
    ratio: r; the channels are C -> int(r C) -> C.
  """

  ratio: float = 1.0

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """See `Operation`."""
    features = x.shape[-1]
    middle = middle_features(features, self.ratio)
    width = padded_width(middle, self.dtype, self.norm)
    for i, sizes in enumerate(
      (
        {'features': middle, 'width': width},
        {'features': features, 'in_features': middle},
      )
    ):
      x = CDConvBlock(
        **sizes,
        theta=self.theta,
        affine=self.affine,
        dtype=self.dtype,
        norm=self.norm,
        name=f'block_{i}',
      )(x, train=train)
    return x


class Separable(Operation):
  """Depthwise CDC 3x3, pointwise convolution, batch normalization, ReLU."""

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """See `Operation`."""
    return SeparableBlock(
      theta=self.theta,
      affine=self.affine,
      dtype=self.dtype,
      norm=self.norm,
      name='block',
    )(x, train=train)


class Pool(Operation):
  """Pooling and batch normalization.

  Attributes:
    pool: (x, theta=) -> the same shape.
  """

  pool: Callable[..., jax.Array] = pooling.cd_max_pool

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """See `Operation`."""
    return normalization(
      self.pool(x, theta=self.theta),
      kind=self.norm,
      train=train,
      affine=self.affine,
      dtype=self.dtype,
      name='norm',
    )


# Name -> a callable that makes the module from the fields of `Operation`.
OPERATIONS: dict[str, Callable[..., Operation]] = {
  NONE: Zero,
  SKIP_CONNECT: Identity,
  'cdc_3x3': Convolution,
  'cdc_5x5': functools.partial(Convolution, kernel_size=5),
  'dil_cdc_3x3': functools.partial(Convolution, dilation=2),
  'cdc_cross_hv': functools.partial(Convolution, variant='hv'),
  'cdc_cross_dg': functools.partial(Convolution, variant='dg'),
  'sep_cdc_3x3': Separable,
  'cd_max_pool_3x3': functools.partial(Pool, pool=pooling.cd_max_pool),
  'cd_avg_pool_3x3': functools.partial(Pool, pool=pooling.cd_avg_pool),
  'cdc_2_0.8': functools.partial(Expansion, ratio=0.8),
  'cdc_2_1.0': functools.partial(Expansion, ratio=1.0),
  'cdc_2_1.2': functools.partial(Expansion, ratio=1.2),
  'cdc_2_1.4': functools.partial(Expansion, ratio=1.4),
  'cdc_2_1.6': functools.partial(Expansion, ratio=1.6),
}


def make(operation: str, **fields: Any) -> Operation:
  """Makes the module of an operation.

  Args:
    operation: a key of `OPERATIONS`.
    **fields: of the module: those of `Operation`, and Flax's name and parent.

  Raises:
    ValueError: for an unknown operation.
  """
  if operation not in OPERATIONS:
    raise ValueError(
      f'Unknown operation {operation!r}; allowed: {", ".join(OPERATIONS)}.'
    )
  return OPERATIONS[operation](**fields)


def middle_features(features: int, ratio: float) -> int:
  """Channels between the two convolutions of cdc_2_r: int(r C), at least 1."""
  return max(1, int(features * ratio))
