import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasfas_jax.ops import convolution
from nasfas_jax.ops.cpu import strips


def by_loops(x, g, window, dilation):
  """The kernel's gradient from its definition, in float64."""
  pads = [(dilation * (side // 2),) * 2 for side in window]
  padded = np.pad(x, ((0, 0), *pads, (0, 0)))
  taps = np.zeros((*window, x.shape[3], g.shape[3]))
  for row in range(window[0]):
    for column in range(window[1]):
      top, left = dilation * row, dilation * column
      shifted = padded[:, top : top + x.shape[1], left : left + x.shape[2]]
      taps[row, column] = np.einsum('nhwc,nhwo->co', shifted, g)
  return taps


# Rows that the strips divide and do not; windows that are not square.
@pytest.mark.parametrize(
  ('height', 'window', 'dilation', 'expected'),
  [
    (16, (3, 3), 1, 4),
    (17, (5, 3), 1, 4),
    (23, (3, 5), 2, 4),
    (7, (3, 3), 1, 1),
  ],
)
def test_equals_loops(height, window, dilation, expected, monkeypatch):
  monkeypatch.setattr(strips, 'MIN_ROWS', 4)
  rng = np.random.default_rng(height)
  x = rng.normal(size=(2, height, 6, 3))
  g = rng.normal(size=(2, height, 6, 2))
  assert strips.count(2, height, 6) == expected
  with jax.enable_x64(True):
    found = strips.kernel_gradient(
      jnp.asarray(x), jnp.asarray(g), dilation=dilation, window=window
    )
  np.testing.assert_allclose(
    found, by_loops(x, g, window, dilation), atol=1e-11
  )


def test_few_images_and_large_ones_are_cut():
  assert strips.count(8, 64, 64) == 1
  assert strips.count(2, 64, 64) == 4
  assert strips.count(8, 256, 256) == 8
  # No strip of fewer rows than this, and an empty batch has no number.
  assert strips.count(1, 16, 16) == 16 // strips.MIN_ROWS
  assert strips.count(0, 64, 64) == 8


def spiky(rng, shape, kind):
  """Activations of which a few are far larger than the rest."""
  x = rng.lognormal(sigma=3.0, size=shape) if kind == 'lognormal' else None
  if x is None:
    x = rng.normal(size=shape)
    if kind == 'zeros':
      x *= rng.uniform(size=shape) < 0.2
      x[:, 8:16] = 0.0
    else:
      # In one channel; the other channels' gradients do not see it.
      x[0, 3, 5, 1] *= float(kind)
  return x.astype(np.float32)


@pytest.mark.parametrize('kind', ['1e4', '1e6', 'lognormal', 'zeros'])
def test_every_tap_is_as_exact_as_that_of_xla(kind):
  """By the sum of the sizes of what is added up, entry by entry."""
  rng = np.random.default_rng(0)
  x = spiky(rng, (2, 32, 8, 3), kind)
  g = spiky(rng, (2, 32, 8, 2), 'zeros' if kind == 'zeros' else '1')
  assert strips.count(2, 32, 8) > 1
  form = {'dilation': 1, 'window': (3, 3)}
  want = by_loops(x.astype(np.float64), g.astype(np.float64), (3, 3), 1)
  size = by_loops(np.abs(x), np.abs(g), (3, 3), 1)
  size = np.where(size == 0, 1.0, size)

  def error(function):
    found = np.asarray(function(x, g, **form), np.float64)
    return np.abs(found - want) / size

  of_xla = error(convolution._library_kernel_gradient).max()
  assert error(strips.kernel_gradient).max() <= 10 * of_xla
  assert of_xla < 1e-6


def test_what_sees_only_zeros_is_zero():
  x = np.random.default_rng(0).normal(size=(2, 32, 8, 3)).astype(np.float32)
  x[..., 1] = 0.0
  found = strips.kernel_gradient(x, x, dilation=1, window=(3, 3))
  found = np.asarray(found)
  assert not found[:, :, 1].any() and not found[..., 1].any()
  assert found[:, :, 0, 0].all()
