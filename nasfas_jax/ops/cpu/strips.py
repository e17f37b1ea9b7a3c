"""The kernel gradient of a convolution as a sum over strips of rows, for CPU.

On CPU, XLA's own kernel gradient is slow for few large images. It is fast for
`STRIPS` or more images of at most `POSITIONS` output positions each, so larger
images are cut into strips.
"""

import math

import jax
import jax.numpy as jnp

# Tuned by trials.
STRIPS = 8
POSITIONS = 1 << 13
# The fewest rows of a strip.
MIN_ROWS = 8


def count(number: int, height: int, width: int) -> int:
  """The number of strips to cut each image into.

  Args:
    number: of images.
    height: of an image.
    width: of an image.
  """
  strips = max(STRIPS / max(number, 1), height * width / POSITIONS, 1)
  return min(math.ceil(strips), max(height // MIN_ROWS, 1))


def kernel_gradient(
  x: jax.Array, g: jax.Array, *, dilation: int, window: tuple[int, int]
) -> jax.Array:
  """The cotangent of the kernel of a convolution with stride 1.

  Args:
    x: [N, H, W, C] float, the input, without the convolution's padding of
      dilation * (k // 2) zeros on every side.
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
  # The transpose of a convolution: the axes of images and channels swap.
  gradient = jax.lax.conv_general_dilated(
    x,
    g,
    window_strides=(dilation, dilation),
    padding='VALID',
    dimension_numbers=('CHWN', 'IHWO', 'HWNC'),
  )
  # Without the barrier, XLA would fuse it with a following sum over the taps,
  # such as that of the folded kernel, into a library call many times slower.
  return jax.lax.optimization_barrier(gradient)
