import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasfas_jax.ops import pooling


def reference_pool(x, reduce, window, strides, theta):
  """Pool(x) - theta * x(p0) by explicit windows cut off at the border."""
  batch, height, width, channels = x.shape
  half = window // 2
  rows, columns = range(0, height, strides), range(0, width, strides)
  y = np.zeros((batch, len(rows), len(columns), channels))
  for (i, row), (j, column) in itertools.product(
    enumerate(rows), enumerate(columns)
  ):
    patch = x[
      :,
      max(row - half, 0) : row + half + 1,
      max(column - half, 0) : column + half + 1,
    ]
    y[:, i, j] = reduce(patch, axis=(1, 2)) - theta * x[:, row, column]
  return y


@pytest.mark.parametrize('theta', [0.0, 0.7])
@pytest.mark.parametrize(
  'window, strides', [(1, 1), (3, 1), (3, 2), (5, 1), (5, 3)]
)
@pytest.mark.parametrize(
  'pool, reduce',
  [(pooling.cd_max_pool, np.max), (pooling.cd_avg_pool, np.mean)],
)
def test_equals_explicit_windows(pool, reduce, window, strides, theta):
  # Negative inputs too: padding must be neither the maximum nor counted.
  x = np.random.default_rng(0).normal(-2, 1, (2, 7, 6, 3)).astype(np.float32)
  y = pool(x, window=window, strides=strides, theta=theta)
  expected = reference_pool(x, reduce, window, strides, theta)
  assert y.shape == expected.shape
  np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


def test_hand_worked():
  x = jnp.arange(1.0, 10.0).reshape(1, 3, 3, 1)
  maximum = pooling.cd_max_pool(x, strides=2, theta=0.5)[0, :, :, 0]
  np.testing.assert_array_equal(
    maximum, [[5 - 0.5, 6 - 1.5], [8 - 3.5, 9 - 4.5]]
  )
  average = pooling.cd_avg_pool(x, strides=2, theta=0.5)[0, :, :, 0]
  np.testing.assert_array_equal(
    average, [[3 - 0.5, 4 - 1.5], [6 - 3.5, 7 - 4.5]]
  )


@pytest.mark.parametrize('pool', [pooling.cd_max_pool, pooling.cd_avg_pool])
def test_full_difference_of_a_constant_is_zero(pool):
  x = jnp.full((1, 5, 5, 2), -3.0)
  np.testing.assert_allclose(pool(x, theta=1.0), 0, atol=1e-6)


def test_max_gradient_goes_to_the_maximum_and_the_centre():
  x = jnp.zeros((1, 3, 3, 1)).at[0, 0, 2, 0].set(1.0)

  def centre_output(x):
    return pooling.cd_max_pool(x, theta=0.7)[0, 1, 1, 0]

  batch = jnp.stack([x, jnp.flip(x, axis=2)])
  gradient = jax.vmap(jax.grad(centre_output))(batch)[:, 0, :, :, 0]
  expected = np.zeros((2, 3, 3), np.float32)
  expected[0, 0, 2] = expected[1, 0, 0] = 1
  expected[:, 1, 1] = -0.7
  np.testing.assert_allclose(gradient, expected)


def test_one_of_equal_values_gets_the_gradient():
  # As after a ReLU, where most windows hold several zeros.
  x = jnp.zeros((1, 4, 4, 1))
  gradient = jax.grad(
    lambda x: pooling.cd_max_pool(x, strides=2, theta=0).sum()
  )(x)[0, :, :, 0]
  expected = np.zeros((4, 4))
  # The first pixel of the windows around (0, 0), (0, 2), (2, 0) and (2, 2).
  expected[0, 0] = expected[0, 1] = expected[1, 0] = expected[1, 1] = 1
  np.testing.assert_array_equal(gradient, expected)


@pytest.mark.parametrize('place', [0, 2, 4])
def test_max_does_not_swallow_a_nan(place):
  x = jnp.arange(5.0).at[place].set(jnp.nan).reshape(1, 1, 5, 1)
  y = pooling.cd_max_pool(x, window=5, theta=0)
  assert np.isnan(y[0, 0, 2, 0])


def test_learned_theta():
  x = jnp.arange(16.0).reshape(1, 4, 4, 1)
  gradient = jax.grad(lambda theta: pooling.cd_max_pool(x, theta=theta).sum())
  assert gradient(jnp.float32(0.7)) == -120


def test_average_of_bfloat16_is_taken_in_float32():
  # A running bfloat16 sum of 25 ones and a 256 stops at 256.
  x = jnp.ones((1, 5, 5, 1), jnp.bfloat16).at[0, 0, 0, 0].set(256)
  y = pooling.cd_avg_pool(x, window=5, theta=0.0)
  assert y[0, 2, 2, 0] == jnp.bfloat16((256 + 24) / 25)


def test_float64_stays_float64():
  with jax.enable_x64(True):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 5, 6, 2)))
    pooled = pooling.cd_avg_pool(x, theta=0.5)
    resized = pooling.resize_bilinear(x, 10, 6)
    # Float32 would leave errors of about 1e-8.
    window = np.asarray(x)[0, 1:4, 2:5]
    expected = window.mean(axis=(0, 1)) - 0.5 * window[1, 1]
    np.testing.assert_allclose(pooled[0, 2, 3], expected, rtol=1e-13)
    # Row 3 lies a quarter past row 1 of the old ones.
    expected = 0.75 * np.asarray(x)[0, 1] + 0.25 * np.asarray(x)[0, 2]
    np.testing.assert_allclose(resized[0, 3], expected, rtol=1e-13)


def test_resize_hand_worked():
  x = jnp.asarray([0.0, 4.0]).reshape(1, 1, 2, 1)
  # Half-pixel centres of 4 outputs over 2 inputs: -0.25, 0.25, 0.75, 1.25.
  np.testing.assert_array_equal(
    pooling.resize_bilinear(x, 1, 4).ravel(), [0, 1, 3, 4]
  )
  # Shrinking 4 -> 2 without antialias: centres 0.5 and 2.5.
  x = jnp.asarray([1.0, 3.0, 5.0, 9.0]).reshape(1, 4, 1, 1)
  np.testing.assert_array_equal(
    pooling.resize_bilinear(x, 2, 1).ravel(), [2, 7]
  )
  # 5 -> 2: centres 0.75 and 3.25; a filter with antialias would mix more.
  x = jnp.asarray([0.0, 4.0, 8.0, 20.0, 40.0]).reshape(1, 5, 1, 1)
  np.testing.assert_array_equal(
    pooling.resize_bilinear(x, 2, 1).ravel(), [3, 25]
  )


@pytest.mark.parametrize(
  'size', [(8, 6), (16, 12), (32, 32), (4, 3), (5, 7), (1, 1)]
)
def test_resize_equals_jax_image_resize(size):
  x = np.random.default_rng(0).normal(size=(2, 8, 6, 3)).astype(np.float32)
  expected = jax.image.resize(x, (2, *size, 3), 'bilinear', antialias=False)
  y = pooling.resize_bilinear(jnp.asarray(x), *size)
  np.testing.assert_allclose(y, expected, rtol=1e-5, atol=5e-6)


@pytest.mark.parametrize('pool', [pooling.cd_max_pool, pooling.cd_avg_pool])
@pytest.mark.parametrize(
  'shape, settings, message',
  [
    ((1, 4, 4, 1), {'window': 2}, 'window 2; allowed: an odd'),
    ((1, 4, 4, 1), {'window': -1}, 'window -1; allowed: an odd'),
    ((1, 4, 4, 1), {'strides': 0}, 'strides is 0; allowed: 1 or more'),
    ((4, 4, 1), {}, r'\(4, 4, 1\); allowed: \[N, H, W, C\]'),
    ((1, 4, 4, 1), {'theta': np.ones(1)}, r'theta has shape \(1,\)'),
  ],
)
def test_pooling_errors(pool, shape, settings, message):
  with pytest.raises(ValueError, match=message):
    pool(jnp.zeros(shape), **settings)


def test_resize_errors():
  with pytest.raises(ValueError, match='0 x 3; allowed: 1 or more'):
    pooling.resize_bilinear(jnp.zeros((1, 4, 4, 1)), 0, 3)
  with pytest.raises(ValueError, match=r'\(4, 4\); allowed: \[N, H, W, C\]'):
    pooling.resize_bilinear(jnp.zeros((4, 4)), 2, 2)
