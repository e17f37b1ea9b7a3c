"""A kernel's gradient as a sum over strips of rows, for CPU.

XLA's own is slow there for few large images: it is fast for at least `STRIPS`
of at most `POSITIONS` output positions. Other batches are cut.
"""

import math

import jax
import jax.numpy as jnp

# Set by trials.
STRIPS = 8
POSITIONS = 1 << 13
# Rows that a strip has at least.
MIN_ROWS = 8


def count(number: int, height: int, width: int) -> int:
  """How many strips each of so many images is cut into."""
  strips = max(STRIPS / max(number, 1), height * width / POSITIONS, 1)
  return min(math.ceil(strips), max(height // MIN_ROWS, 1))


def kernel_gradient(
  x: jax.Array, g: jax.Array, *, dilation: int, window: tuple[int, int]
) -> jax.Array:
  """The kernel's cotangent in a convolution with stride 1.

  Args:
    x: [N, H, W, C] float, padded by zeros of dilation * (k // 2) there.
    g: [N, H, W, O] in the dtype of `x`, the cotangent of the result.
    dilation: step between taps.
    window: (kh, kw), both odd.

  Returns:
    [kh, kw, C, O] in the dtype of `x`.
  """
  number, height, width, _ = x.shape
  pads = [dilation * (side // 2) for side in window]
  strips = count(number, height, width)
  rows = -(-height // strips)
  below = rows * strips - height
  x = jnp.pad(x, ((0, 0), (pads[0], pads[0] + below), (pads[1],) * 2, (0, 0)))
  g = jnp.pad(g, ((0, 0), (0, below), (0, 0), (0, 0)))
  x = jnp.stack(
    [
      jax.lax.slice_in_dim(
        x, rows * strip, rows * (strip + 1) + 2 * pads[0], axis=1
      )
      for strip in range(strips)
    ],
    axis=1,
  )
  x = x.reshape(number * strips, *x.shape[2:])
  g = g.reshape(number * strips, rows, width, g.shape[-1])
  # The convolution's transpose: images are channels, channels are images.
  gradient = jax.lax.conv_general_dilated(
    x,
    g,
    window_strides=(dilation, dilation),
    padding='VALID',
    dimension_numbers=('CHWN', 'IHWO', 'HWNC'),
  )
  # By itself: XLA would fuse it with a sum over the taps that follows (that of
  # the folded kernel has one) into a kernel of its library, many times slower.
  return jax.lax.optimization_barrier(gradient)
