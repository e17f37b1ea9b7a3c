"""Layers with a gradient of their own, and channels of zeros."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasfas_jax.models import layers, operations


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


@pytest.mark.parametrize('affine', [True, False])
@pytest.mark.parametrize('train', [True, False])
def test_batch_normalization_is_that_of_flax(affine, train):
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.normal(2.0, 3.0, (4, 6, 6, 5)), jnp.float32)
  theirs = nn.BatchNorm(
    use_running_average=not train,
    momentum=layers.BATCH_NORM_MOMENTUM,
    epsilon=layers.BATCH_NORM_EPSILON,
    use_scale=affine,
    use_bias=affine,
  )
  ours = layers.BatchNorm(5, affine)
  variables = theirs.init(jax.random.key(0), x)
  own = ours.init(jax.random.key(0), x, train)
  assert jax.tree.structure(own) == jax.tree.structure(variables)
  variables = jax.tree.map(
    lambda leaf: jnp.asarray(rng.uniform(0.5, 2.0, leaf.shape), leaf.dtype),
    variables,
  )

  def grad(apply):
    def loss(variables, x):
      y, changed = apply(variables, x)
      return jnp.sum(jnp.sin(y)), (y, changed)

    return jax.grad(loss, argnums=(0, 1), has_aux=True)(variables, x)

  changes = {'mutable': ['batch_stats'] if train else []}
  slopes, (y, changed) = grad(lambda v, x: ours.apply(v, x, train, **changes))
  expected = grad(lambda v, x: theirs.apply(v, x, **changes))
  np.testing.assert_array_equal(y, expected[1][0])
  for found, wanted in (
    (changed, expected[1][1]),
    (slopes[1], expected[0][1]),
    (slopes[0].get('params'), expected[0][0].get('params')),
  ):
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
      *(found, wanted),
    )


def test_in_16_bits_the_channels_between_two_convolutions_are_padded(
  monkeypatch,
):
  assert layers.padded_width(204, jnp.bfloat16) == 208
  assert layers.padded_width(208, jnp.bfloat16) == 208
  # A CPU would compute every zero, other norms would change them, and few
  # channels are left as they are.
  assert layers.padded_width(204, jnp.float32) == 204
  assert layers.padded_width(204, jnp.bfloat16, 'group') == 204
  assert layers.padded_width(5, jnp.bfloat16) == 5
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.normal(size=(2, 8, 8, 16)), jnp.bfloat16)
  module = operations.make('cdc_2_1.2', dtype=jnp.bfloat16)
  variables = module.init(jax.random.key(0), x, train=True)
  assert variables['params']['block_0']['conv']['kernel'].shape[-1] == 19
  variables = jax.tree.map(
    lambda leaf: leaf + jnp.asarray(rng.uniform(0, 0.3, leaf.shape), 'f'),
    variables,
  )

  def step(train):
    def loss(params):
      y, changed = module.apply(
        {**variables, 'params': params}, x, train=train, mutable=['batch_stats']
      )
      return jnp.sum(jnp.sin(y.astype(jnp.float32))), (y, changed)

    return jax.grad(loss, has_aux=True)

  for train in (True, False):
    text = jax.jit(step(train)).lower(variables['params']).as_text()
    assert 'tensor<2x8x8x24xbf16>' in text
    padded = step(train)(variables['params'])
    with monkeypatch.context() as patch:
      patch.setattr(operations, 'padded_width', lambda features, *_: features)
      plain = step(train)(variables['params'])
    assert jax.tree.structure(padded) == jax.tree.structure(plain)
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(
        np.asarray(a, 'f'), np.asarray(b, 'f'), rtol=0.05, atol=0.05
      ),
      *(padded, plain),
    )
