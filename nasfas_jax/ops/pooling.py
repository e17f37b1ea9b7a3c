"""Central difference pooling and bilinear resizing."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn


def cd_max_pool(
  x: jax.Array,
  *,
  window: int = 3,
  strides: int = 1,
  theta: float | jax.Array = 0.7,
) -> jax.Array:
  """Central difference max pooling, Max(x) - theta * x(p0).

  The central difference of CDC, carried over to pooling: a constant commutes
  with the maximum. p0 is the centre of each window.

  Args:
    x: [N, H, W, C] float. The maximum of a window with a NaN is NaN.
    window: odd side of the window. Each side is padded by `window // 2`; the
      padding is never the maximum.
    strides: step between windows on both axes, at least 1.
    theta: share of the centre, a float or a scalar array. 0 is max pooling.

  Returns:
    [N, ceil(H / strides), ceil(W / strides), C] in the dtype of `x`.

  Raises:
    ValueError: for an even window, a stride below 1 or an input that is not
      [N, H, W, C].
  """
  _check(x, window, strides)
  # A square window is the maximum over rows of the maximum over columns.
  pooled = _max_along(x, 2, window, strides)
  pooled = _max_along(pooled, 1, window, strides)
  return _minus_centre(pooled, x, strides, theta)


def cd_avg_pool(
  x: jax.Array,
  *,
  window: int = 3,
  strides: int = 1,
  theta: float | jax.Array = 0.7,
) -> jax.Array:
  """Central difference average pooling, Mean(x) - theta * x(p0).

  Args:
    x: [N, H, W, C] float.
    window: odd side of the window. Each side is padded by `window // 2`; the
      padding does not count in the average.
    strides: step between windows on both axes, at least 1.
    theta: share of the centre, a float or a scalar array. 0 is average pooling.

  Returns:
    [N, ceil(H / strides), ceil(W / strides), C] in the dtype of `x`; computed
    in float32, or in float64 for float64 inputs.

  Raises:
    ValueError: for an even window, a stride below 1 or an input that is not
      [N, H, W, C].
  """
  _check(x, window, strides)
  wide = _widen(x)
  pooled = nn.avg_pool(
    wide,
    window_shape=(window, window),
    strides=(strides, strides),
    padding=((window // 2, window // 2),) * 2,
    count_include_pad=False,
  )
  return _minus_centre(pooled, wide, strides, theta).astype(x.dtype)


def resize_bilinear(x: jax.Array, height: int, width: int) -> jax.Array:
  """Resizes by bilinear interpolation with half-pixel centres, no antialias.

  The same as `jax.image.resize(..., antialias=False)` and PyTorch's
  `interpolate(mode='bilinear', align_corners=False)`. Written as two matrix
  products, which work under `jax.vmap` and with a symbolic batch size.

  Args:
    x: [N, H, W, C] float.
    height: rows of the result, at least 1.
    width: columns of the result, at least 1.

  Returns:
    [N, height, width, C] in the dtype of `x`; computed in float32, or in
    float64 for float64 inputs.

  Raises:
    ValueError: for a size below 1 or an input that is not [N, H, W, C].
  """
  if x.ndim != 4:
    raise ValueError(f'Input shape {x.shape}; allowed: [N, H, W, C].')
  if height < 1 or width < 1:
    raise ValueError(f'Size {height} x {width}; allowed: 1 or more.')
  y = _widen(x)
  # An accelerator's default precision (bfloat16 or TF32) would round values
  # that are only interpolated.
  if height != x.shape[1]:
    rows = interpolation_weights(x.shape[1], height).astype(y.dtype)
    y = jnp.einsum('oh,nhwc->nowc', rows, y, precision='highest')
  if width != x.shape[2]:
    columns = interpolation_weights(x.shape[2], width).astype(y.dtype)
    y = jnp.einsum('pw,nowc->nopc', columns, y, precision='highest')
  return y.astype(x.dtype)


def _max_along(x: jax.Array, axis: int, window: int, strides: int) -> jax.Array:
  """Sliding maximum along one axis, as a chain of element-wise selections.

  Of equal values, the first gets the gradient. The gradient of XLA's own
  windowed maximum (select-and-scatter) is 5 to 25 times slower on CPU.
  """
  half = window // 2
  size = x.shape[axis]
  padding = [(0, 0)] * x.ndim
  padding[axis] = (half, half)
  padded = jnp.pad(x, padding, constant_values=-jnp.inf)
  last = (size - 1) // strides * strides
  best = jax.lax.slice_in_dim(padded, 0, last + 1, strides, axis)
  for offset in range(1, window):
    shifted = jax.lax.slice_in_dim(
      padded, offset, offset + last + 1, strides, axis
    )
    wins = (shifted > best) | jnp.isnan(shifted)
    best = jnp.where(wins, shifted, best)
  return best


def _widen(x: jax.Array) -> jax.Array:
  return x if x.dtype == jnp.float64 else x.astype(jnp.float32)


def interpolation_weights(size: int, new_size: int) -> np.ndarray:
  """Bilinear weights [new_size, size] of half-pixel centres, edges clamped."""
  centres = (np.arange(new_size) + 0.5) * size / new_size - 0.5
  centres = np.clip(centres, 0, size - 1)
  distance = np.abs(centres[:, np.newaxis] - np.arange(size)[np.newaxis])
  return np.maximum(0, 1 - distance)


def _check(x: jax.Array, window: int, strides: int) -> None:
  if x.ndim != 4:
    raise ValueError(f'Input shape {x.shape}; allowed: [N, H, W, C].')
  if window < 1 or window % 2 == 0:
    raise ValueError(
      f'Pooling window {window!r}; allowed: an odd number, which has a centre.'
    )
  if strides < 1:
    raise ValueError(f'strides is {strides!r}; allowed: 1 or more.')


def _minus_centre(
  pooled: jax.Array, x: jax.Array, strides: int, theta: float | jax.Array
) -> jax.Array:
  """pooled - theta * x(p0), with p0 at the window centres."""
  if jnp.ndim(theta) != 0:
    raise ValueError(
      f'theta has shape {jnp.shape(theta)}; allowed: a float or a scalar.'
    )
  if isinstance(theta, (int, float)) and theta == 0:
    return pooled
  # An odd window padded by window // 2 is centred on every strides-th pixel.
  centre = x[:, ::strides, ::strides, :]
  return pooled - jnp.asarray(theta, x.dtype) * centre
