"""Convolution of one or two channels as one matrix product, for CPU.

XLA's convolution on CPU takes a spatial attention's 7x7 window of two channels
at a hundredth of the rate of a matrix product. A whole row of the result is
linear in the rows under its window,

  y[n, h] = concat_r x[n, h + r] . B,   B[r, v, c, u, o] = w[r, v - u, c, o],

with a band matrix B that is zero outside the window. The product takes width /
kw times as many operations, which only pays where there are few channels.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

# Pairs of an input and an output channel, and columns, up to which it is the
# faster form. Set by trials; what comes out is measured by
# `python -m benchmarks.run --only=operators`.
MAX_PAIRS = 2
MAX_WIDTH = 256


def suits(
  width: int, channels: int, features: int, window: tuple[int, int]
) -> bool:
  """Whether `banded_convolve` is the form to take, on CPU."""
  return (
    window != (1, 1) and channels * features <= MAX_PAIRS and width <= MAX_WIDTH
  )


# A call by name, so that its cost can be counted as that of the convolution
# that it is (`models.cost`).
@functools.partial(jax.jit, static_argnames='dilation')
def banded_convolve(
  x: jax.Array, kernel: jax.Array, *, dilation: int = 1
) -> jax.Array:
  """Convolution with stride 1 and zeros of dilation * (k // 2) on every side.

  Args:
    x: [N, H, W, C] float.
    kernel: [kh, kw, C, O] in the dtype of `x`, kh and kw odd.
    dilation: step between taps.

  Returns:
    [N, H, W, O] in the dtype of `x`. Differentiable to any order. A value that
    is not finite spreads over the rows under its window.
  """
  number, height, width, channels = x.shape
  rows, columns, _, features = kernel.shape
  places = _places(width, columns, dilation).astype(kernel.dtype)
  band = jnp.einsum('rsco,svu->rvcuo', kernel, places)
  pad = dilation * (rows // 2)
  padded = jnp.pad(x, ((0, 0), (pad, pad), (0, 0), (0, 0)))
  under = jnp.concatenate(
    [
      padded[:, dilation * row : dilation * row + height].reshape(
        number * height, width * channels
      )
      for row in range(rows)
    ],
    axis=-1,
  )
  y = under @ band.reshape(rows * width * channels, width * features)
  return y.reshape(number, height, width, features)


def _places(width: int, columns: int, dilation: int) -> np.ndarray:
  """bool [columns, width, width]: where tap s of output u is at input v."""
  tap, source, target = np.ogrid[:columns, :width, :width]
  offset = dilation * (tap - columns // 2)
  return source - target == offset
