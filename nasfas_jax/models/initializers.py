"""Initializers of kernels that can be drawn together (`models.initialize`).

A network has hundreds of kernels that start as truncated normals. XLA takes
over a minute to compile as many draws; one large draw takes a second. So that
modules still own their initializers, a kernel's initializer can return a box
that says which distribution it wants, and `models.initialize` fills it.
"""

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax import struct
from flax.core import meta

# With an rng of this name, modules return boxes instead of kernels.
TOGETHER = 'draw_together'
# The standard deviation of a standard normal truncated at +-2.
TRUNCATED_DEVIATION = 0.87962566103423978


class TruncatedNormal(struct.PyTreeNode, meta.AxisMetadata):
  """The box of a kernel that will be drawn from a truncated normal.

  The distribution is truncated at two standard deviations of the normal. Flax
  unboxes the value when a module reads its parameter.

  Attributes:
    value: an array of the kernel's shape and dtype, with any values.
    deviation: standard deviation of the kernel's initial values.
  """

  value: Any
  deviation: float = struct.field(pytree_node=False)

  def unbox(self) -> Any:
    """See `meta.AxisMetadata`."""
    return self.value

  def replace_boxed(self, value: Any) -> 'TruncatedNormal':
    """See `meta.AxisMetadata`."""
    return self.replace(value=value)

  def add_axis(self, index: int, params: dict) -> 'TruncatedNormal':
    """See `meta.AxisMetadata`; every copy starts with the same deviation."""
    del index, params
    return self

  def remove_axis(self, index: int, params: dict) -> 'TruncatedNormal':
    """See `meta.AxisMetadata`."""
    del index, params
    return self


def he_normal(
  module: nn.Module, scale: float = 1.0
) -> nn.initializers.Initializer:
  """The He normal initializer of a kernel of `module`.

  Args:
    module: the kernel's owner, inside its compact method.
    scale: multiplies He's standard deviation.

  Returns:
    (key, shape, dtype) -> a truncated normal of variance scale^2 * 2 / fan in;
    fan in is the product of all axes but the last. If the module has an rng
    named `TOGETHER`, a `TruncatedNormal` box of zeros instead.
  """

  def init(key, shape, dtype):
    if module.has_rng(TOGETHER):
      fan_in = math.prod(shape[:-1])
      return TruncatedNormal(
        jnp.zeros(shape, dtype), scale * math.sqrt(2.0 / fan_in)
      )
    return scale * nn.initializers.he_normal()(key, shape, dtype)

  return init
