"""Parts of layers that have a gradient of their own."""

import jax
import jax.numpy as jnp
import numpy as np

from nasfas_jax.models import layers


def test_the_gradient_of_the_highest_channel_is_shared_by_equals():
  x = jnp.array([[[[1.0, 3.0, 2.0]], [[5.0, 0.0, 5.0]]]])
  np.testing.assert_array_equal(layers.highest_channel(x), [[[[3.0]], [[5.0]]]])
  gradient = jax.grad(lambda x: jnp.sum(layers.highest_channel(x)))(x)
  expected = [[[[0.0, 1.0, 0.0]], [[0.5, 0.0, 0.5]]]]
  np.testing.assert_array_equal(gradient, expected)
  np.testing.assert_array_equal(
    gradient, jax.grad(lambda x: jnp.sum(jnp.max(x, axis=-1)))(x)
  )


def test_where_no_channel_is_equal_to_the_highest_the_gradient_is_zero():
  """As in another rounding of the same values; here by a NaN."""
  x = jnp.full((1, 1, 1, 2), jnp.nan)
  moved = jnp.ones_like(x)
  _, slope = jax.jvp(layers.highest_channel, (x,), (moved,))
  np.testing.assert_array_equal(slope, 0.0)
