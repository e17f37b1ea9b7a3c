"""An operation that only the tests have; docs/extending.md adds it by hand."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from nasfas_jax.models import layers, operations
from nasfas_jax.ops import pooling


class LearnedAverage(operations.Operation):
  """Mean(x) - theta * x over 3x3 with a learned theta, batch normalization."""

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    start = nn.initializers.constant(self.theta)
    theta = self.param('theta', start, (), jnp.float32)
    return layers.batch_norm(
      pooling.cd_avg_pool(x, theta=theta),
      train=train,
      affine=self.affine,
      dtype=self.dtype,
      name='norm',
    )
