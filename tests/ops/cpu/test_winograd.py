import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasfas_jax.ops import convolution
from nasfas_jax.ops.cpu import winograd


def loops(x, kernel):
  """The convolution from its definition, in float64."""
  padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
  y = np.zeros((*x.shape[:3], kernel.shape[3]))
  for row in range(3):
    for column in range(3):
      shifted = padded[:, row : row + x.shape[1], column : column + x.shape[2]]
      y += shifted @ kernel[row, column]
  return y


def gradient_by_loops(x, g):
  padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
  taps = np.zeros((3, 3, x.shape[3], g.shape[3]))
  for row in range(3):
    for column in range(3):
      shifted = padded[:, row : row + x.shape[1], column : column + x.shape[2]]
      taps[row, column] = np.einsum('nhwc,nhwo->co', shifted, g)
  return taps


def draw(height, width, channels=3, features=5):
  rng = np.random.default_rng(height)
  x = rng.normal(size=(2, height, width, channels))
  kernel = rng.normal(size=(3, 3, channels, features))
  g = rng.normal(size=(2, height, width, features))
  return x, kernel, g


# Heights that four divides, and others; one row; more columns than rows.
@pytest.mark.parametrize(('height', 'width'), [(8, 8), (5, 3), (1, 4), (7, 9)])
def test_both_equal_loops(height, width):
  x, kernel, g = draw(height, width)
  with jax.enable_x64(True):
    y = winograd.winograd_convolve(jnp.asarray(x), jnp.asarray(kernel))
    gradient = winograd.kernel_gradient(jnp.asarray(x), jnp.asarray(g))
  np.testing.assert_allclose(y, loops(x, kernel), atol=1e-12)
  np.testing.assert_allclose(gradient, gradient_by_loops(x, g), atol=1e-12)


def test_the_hand_worked_column():
  # One column 1..4 and a kernel whose middle column is (1, 10, 100).
  x = jnp.arange(1.0, 5.0).reshape(1, 4, 1, 1)
  kernel = (
    jnp.zeros((3, 3, 1, 1)).at[:, 1, 0, 0].set(jnp.array([1.0, 10.0, 100.0]))
  )
  y = winograd.winograd_convolve(x, kernel)[0, :, 0, 0]
  np.testing.assert_allclose(y, [210, 321, 432, 43], rtol=1e-5)


def test_float32_rounds_to_the_promised_share_of_the_spread():
  x, kernel, g = draw(16, 16, channels=128, features=64)
  y = winograd.winograd_convolve(
    jnp.asarray(x, jnp.float32), jnp.float32(kernel)
  )
  gradient = winograd.kernel_gradient(jnp.float32(x), jnp.float32(g))
  for found, expected in (
    (y, loops(x, kernel)),
    (gradient, gradient_by_loops(x, g)),
  ):
    assert found.dtype == jnp.float32
    assert np.abs(found - expected).max() < 5e-5 * expected.std()


def test_the_long_sum_is_whole_where_blocks_do_not_divide_it():
  rng = np.random.default_rng(0)
  x, g = rng.normal(size=(4099, 2)), rng.normal(size=(4099, 3))
  with jax.enable_x64(True):
    found = winograd.sum_of_products(jnp.asarray(x), jnp.asarray(g))
  np.testing.assert_allclose(found, x.T @ g, atol=1e-11)


@pytest.mark.parametrize(
  ('shape', 'features', 'dtype', 'expected'),
  [
    ((1, 16, 16, 64), 64, jnp.float32, True),
    ((1, 16, 16, 16), 512, jnp.float32, False),
    ((1, 8, 16, 64), 64, jnp.float32, False),
    ((1, 16, 16, 64), 64, jnp.bfloat16, False),
  ],
)
def test_it_is_chosen_for_many_channels_and_rows_only(
  shape, features, dtype, expected, monkeypatch
):
  calls = []
  monkeypatch.setattr(
    winograd, 'winograd_convolve', lambda x, k: calls.append(x) or x
  )
  x = jnp.ones(shape, dtype)
  kernel = jnp.ones((3, 3, shape[3], features), dtype)
  convolution._cpu_conv(x, kernel, dilation=1, window=(3, 3))
  convolution._cpu_conv(x, kernel, dilation=2, window=(3, 3))
  assert len(calls) == expected
