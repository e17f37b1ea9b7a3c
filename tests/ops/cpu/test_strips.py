import jax
import jax.numpy as jnp
import numpy as np
import pytest

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
