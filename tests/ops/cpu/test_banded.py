import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasfas_jax.models import cost
from nasfas_jax.ops import convolution
from nasfas_jax.ops.cpu import banded


def loops(x, kernel, dilation):
  """The convolution from its definition, in float64."""
  rows, columns = kernel.shape[:2]
  pads = [(dilation * (side // 2),) * 2 for side in (rows, columns)]
  padded = np.pad(x, ((0, 0), *pads, (0, 0)))
  y = np.zeros((*x.shape[:3], kernel.shape[3]))
  for row in range(rows):
    for column in range(columns):
      top, left = dilation * row, dilation * column
      shifted = padded[:, top : top + x.shape[1], left : left + x.shape[2]]
      y += shifted @ kernel[row, column]
  return y


def draw(height, width, window, channels=2, features=1, seed=0):
  rng = np.random.default_rng(seed)
  x = rng.normal(size=(3, height, width, channels))
  return x, rng.normal(size=(*window, channels, features))


# Windows wider and higher than the image among them.
@pytest.mark.parametrize(
  ('height', 'width', 'window', 'dilation'),
  [
    (8, 8, (7, 7), 1),
    (5, 9, (3, 5), 1),
    (4, 3, (7, 7), 1),
    (9, 8, (3, 3), 2),
    (1, 6, (1, 3), 1),
  ],
)
def test_equals_loops(height, width, window, dilation):
  x, kernel = draw(height, width, window)
  with jax.enable_x64(True):
    found = banded.banded_convolve(
      jnp.asarray(x), jnp.asarray(kernel), dilation=dilation
    )
  assert found.dtype == np.float64
  np.testing.assert_allclose(found, loops(x, kernel, dilation), atol=1e-12)


def test_channels_and_features_keep_their_order():
  x, kernel = draw(4, 5, (3, 3), channels=3, features=4)
  with jax.enable_x64(True):
    found = banded.banded_convolve(jnp.asarray(x), jnp.asarray(kernel))
  np.testing.assert_allclose(found, loops(x, kernel, 1), atol=1e-12)


def test_is_taken_for_a_spatial_attention_and_no_wider():
  assert banded.suits(8, channels=2, features=1, window=(7, 7))
  assert not banded.suits(8, channels=2, features=2, window=(7, 7))
  assert not banded.suits(8, channels=2, features=1, window=(1, 1))
  assert not banded.suits(257, channels=2, features=1, window=(7, 7))


def test_every_order_and_a_batch_of_kernels_equal_the_library():
  def loss(kernel, x, convolve):
    return jnp.sum(jnp.sin(convolve(x, kernel)))

  def after_a_step(kernel, x, convolve):
    return loss(kernel - 0.1 * jax.grad(loss)(kernel, x, convolve), x, convolve)

  def over_tasks(kernels, xs, convolve):
    return jnp.sum(
      jax.vmap(lambda k, x: after_a_step(k, x, convolve))(kernels, xs)
    )

  pairs = [draw(5, 6, (5, 5), seed=task) for task in range(2)]
  with jax.enable_x64(True):
    xs = jnp.stack([x for x, _ in pairs])
    kernels = jnp.stack([kernel for _, kernel in pairs])
    found, expected = (
      jax.grad(over_tasks, argnums=(0, 1))(kernels, xs, convolve)
      for convolve in (
        convolution.convolve,
        lambda x, k: convolution._library(x, k, dilation=1),
      )
    )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-9), found, expected
  )


def test_costs_what_the_convolution_costs():
  x, kernel = jnp.zeros((2, 8, 6, 2)), jnp.zeros((7, 7, 2, 1))
  assert cost.count_macs(convolution.convolve, x, kernel) == 2 * 8 * 6 * 98
