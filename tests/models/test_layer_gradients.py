"""Layers with a gradient of their own, and channels of zeros."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasfas_jax.models import cdcn, layers, operations


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


def test_in_float64_batch_normalization_keeps_float32_variables():
  with jax.enable_x64(True):
    x = np.random.default_rng(0).normal(2.0, 3.0, (4, 6, 6, 5))
    norm = layers.BatchNorm(5, dtype=jnp.float64)
    variables = norm.init(jax.random.key(0), x, True)
    assert {str(v.dtype) for v in jax.tree.leaves(variables)} == {'float32'}
    y, changed = norm.apply(variables, x, True, mutable=['batch_stats'])
    assert y.dtype == jnp.float64
    deviation = np.sqrt(x.var((0, 1, 2)) + layers.BATCH_NORM_EPSILON)
    expected = (x - x.mean((0, 1, 2))) / deviation
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-12)
    mean = changed['batch_stats']['mean']
    assert mean.dtype == jnp.float32
    np.testing.assert_allclose(mean, 0.1 * x.mean((0, 1, 2)), rtol=1e-6)
    expected = (x - np.asarray(mean, np.float64)) / np.sqrt(
      np.asarray(changed['batch_stats']['var'], np.float64)
      + layers.BATCH_NORM_EPSILON
    )
    y = norm.apply({**variables, **changed}, x, False)
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-12)


def block(affine):
  return operations.make('cdc_2_1.2', affine=affine, dtype=jnp.bfloat16)


def small_cdcn():
  return cdcn.CDCN(
    stem_features=16,
    block_features=(16, 19, 16),
    head_features=(16, 8),
    output_size=1,
    dtype=jnp.bfloat16,
  )


@pytest.mark.parametrize(
  ('owner', 'module', 'padded_map'),
  [
    (operations, block(affine=True), 'tensor<2x8x8x24xbf16>'),
    (operations, block(affine=False), 'tensor<2x8x8x24xbf16>'),
    (cdcn, small_cdcn(), 'x24xbf16>'),
  ],
  ids=['block', 'block without scale', 'cdcn'],
)
def test_in_16_bits_the_channels_between_two_convolutions_are_padded(
  owner, module, padded_map, monkeypatch
):
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.normal(size=(2, 8, 8, 16)), jnp.bfloat16)
  variables = module.init(jax.random.key(0), x, train=True)
  # Those of the parameters are the features.
  assert all(24 not in leaf.shape for leaf in jax.tree.leaves(variables))
  variables = jax.tree.map(
    lambda leaf: leaf + jnp.asarray(rng.uniform(0, 0.3, leaf.shape), 'f'),
    variables,
  )

  def step(train):
    def loss(params):
      y, changed = module.apply(
        {**variables, 'params': params}, x, train=train, mutable=['batch_stats']
      )
      y = getattr(y, 'map', y).astype(jnp.float32)
      return jnp.sum(jnp.sin(y)), (y, changed)

    return jax.grad(loss, has_aux=True)

  for train in (True, False):
    text = jax.jit(step(train)).lower(variables['params']).as_text()
    assert padded_map in text
    padded = step(train)(variables['params'])
    with monkeypatch.context() as patch:
      patch.setattr(owner, 'padded_width', lambda features, *_: features)
      plain = step(train)(variables['params'])
    assert jax.tree.structure(padded) == jax.tree.structure(plain)
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(
        np.asarray(a, 'f'), np.asarray(b, 'f'), rtol=0.05, atol=0.05
      ),
      *(padded, plain),
    )


def test_the_width_of_a_padded_map():
  assert layers.padded_width(204, jnp.bfloat16) == 208
  assert layers.padded_width(208, jnp.bfloat16) == 208
  # A CPU would compute every zero, other norms would change them, and few
  # channels are left as they are.
  assert layers.padded_width(204, jnp.float32) == 204
  assert layers.padded_width(204, jnp.bfloat16, 'group') == 204
  assert layers.padded_width(5, jnp.bfloat16) == 5
