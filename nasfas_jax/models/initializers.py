"""Kernels whose values are drawn together, see `models.initialize`.

A network has hundreds of kernels that start as truncated normals. XLA takes
over a minute to compile as many draws; one draw that is cut into them takes a
second. So that modules keep their own initializers all the same, a kernel's
initializer may return a box that says which numbers it wants, and whoever makes
the variables fills it.
"""

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax import struct
from flax.core import meta

# An rng of this name asks the modules for boxes instead of kernels.
TOGETHER = 'draw_together'
# The standard deviation of a standard normal truncated at +-2.
TRUNCATED_DEVIATION = 0.87962566103423978


class TruncatedNormal(struct.PyTreeNode, meta.AxisMetadata):
  """A kernel to come: a normal truncated at two standard deviations.

  Flax takes the value out of the box where a module reads its parameter.

  Attributes:
    value: any array of the kernel's shape and dtype.
    deviation: standard deviation of what it starts with.
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
  """He's initializer of a kernel of `module`.

  Args:
    module: that owns the kernel, inside its compact method.
    scale: share of He's standard deviation.

  Returns:
    (key, shape, dtype) -> a truncated normal of variance scale^2 * 2 / fan in,
    where the last axis is that of the outputs; a `TruncatedNormal` box of zeros
    where the module has an rng of the name `TOGETHER`.
  """

  def init(key, shape, dtype):
    if module.has_rng(TOGETHER):
      fan_in = math.prod(shape[:-1])
      return TruncatedNormal(
        jnp.zeros(shape, dtype), scale * math.sqrt(2.0 / fan_in)
      )
    return scale * nn.initializers.he_normal()(key, shape, dtype)

  return init
