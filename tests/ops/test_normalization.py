"""Batch normalization against its formula, and its gradient against JAX's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasfas_jax.ops import normalization

EPSILON = 1e-5


def draw(seed=0, shape=(3, 4, 5, 2)):
  rng = np.random.default_rng(seed)
  x = rng.normal(size=shape) * [1.5, 0.5] + [4.0, -1.0]
  return x, rng.normal(size=2), rng.normal(size=2)


def formula(x, scale, bias):
  """Algorithm 1 of the paper, in float64 and two passes."""
  mean = x.mean((0, 1, 2))
  variance = ((x - mean) ** 2).mean((0, 1, 2))
  return (x - mean) / (variance + EPSILON) ** 0.5 * scale + bias


def ours(x, scale, bias):
  return normalization.normalize_batch(x, scale, bias, EPSILON)[0]


@pytest.mark.parametrize(
  ('dtype', 'error'),
  [('float64', 1e-12), ('float32', 2e-6), ('bfloat16', 0.02)],
)
def test_values_and_statistics_are_those_of_the_formula(dtype, error):
  x, scale, bias = draw()
  with jax.enable_x64(True):
    given = jnp.asarray(x, dtype)
    wide = jnp.float64 if dtype == 'float64' else jnp.float32
    y, (mean, variance) = normalization.normalize_batch(
      given, jnp.asarray(scale, wide), jnp.asarray(bias, wide), EPSILON
    )
    assert y.dtype == given.dtype and mean.dtype == variance.dtype == wide
    x = np.asarray(given, np.float64)
  np.testing.assert_allclose(
    np.asarray(y, np.float64), formula(x, scale, bias), rtol=0, atol=5 * error
  )
  np.testing.assert_allclose(mean, x.mean((0, 1, 2)), rtol=1e-6)
  np.testing.assert_allclose(variance, x.var((0, 1, 2)), rtol=1e-4)


@pytest.mark.parametrize('affine', [True, False])
def test_the_gradient_is_that_of_the_formula_to_second_order(affine):
  x, scale, bias = draw()
  weights = np.random.default_rng(1).normal(size=x.shape)

  def first(function):
    def loss(x, scale, bias):
      return jnp.sum(weights * jnp.tanh(function(x, scale, bias)))

    if not affine:
      return jax.grad(lambda args: loss(args[0], *rest(function)))
    return jax.grad(lambda args: loss(*args))

  def rest(function):
    return (None, None) if function is ours else (1.0, 0.0)

  def second(function):
    of_first = first(function)

    def loss(args):
      return sum(jnp.sum(jnp.sin(leaf)) for leaf in of_first(args))

    return jax.grad(loss)

  with jax.enable_x64(True), jax.numpy_rank_promotion('allow'):
    args = tuple(map(jnp.asarray, (x, scale, bias)[: 3 if affine else 1]))
    for order in (first, second):
      for found, expected in zip(
        order(ours)(args), order(formula)(args), strict=True
      ):
        assert np.abs(expected).max() > 0.01
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-10)


def test_no_gradient_goes_through_the_statistics():
  x = jnp.asarray(draw()[0], jnp.float32)

  def of_statistics(x):
    _, (mean, variance) = normalization.normalize_batch(x, None, None, EPSILON)
    return jnp.sum(mean) + jnp.sum(variance)

  np.testing.assert_array_equal(jax.grad(of_statistics)(x), 0.0)


def test_a_constant_channel_has_no_negative_variance():
  x = jnp.full((2, 8, 8, 1), 1000.1, jnp.float32)
  y, (_, variance) = normalization.normalize_batch(x, None, None, EPSILON)
  assert variance[0] >= 0 and np.isfinite(np.asarray(y)).all()


def test_under_vmap_each_has_its_own_statistics():
  x = np.stack([draw(seed)[0] for seed in range(3)]).astype(np.float32)
  found = jax.vmap(lambda x: ours(x, None, None))(jnp.asarray(x))
  for one, own in zip(found, x, strict=True):
    np.testing.assert_allclose(one, formula(own, 1.0, 0.0), atol=1e-4)
