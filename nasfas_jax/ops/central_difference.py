"""Central difference convolution (CDC).

y(p0) = sum_n w(p_n) x(p0 + p_n) - theta * x(p0) * sum_n w(p_n)

(Yu et al., "Searching Central Difference Convolutional Networks for Face
Anti-Spoofing", CVPR 2020, arXiv:2003.04092). The second term depends on the
centre pixel only. So CDC is ONE convolution whose centre tap is w(0) - theta *
sum_n w(p_n), for every stride, dilation, number of groups and odd kernel size.
"""

import jax
import jax.numpy as jnp
import numpy as np

from nasfas_jax.ops import convolution

# (row, column) of the five taps in the 3x3 kernel (Yu et al., "Dual-Cross
# Central Difference Network", IJCAI 2021, arXiv:2105.01290).
CROSS_TAPS = {
  'hv': ((0, 1), (1, 0), (1, 1), (1, 2), (2, 1)),
  'dg': ((0, 0), (0, 2), (1, 1), (2, 0), (2, 2)),
}


def fold_kernel(kernel: jax.Array, theta: float | jax.Array) -> jax.Array:
  """Folds the central difference into the centre tap of a kernel.

  Args:
    kernel: [kh, kw, I, O] float, kh and kw odd.
    theta: strength of the central difference, a float or a scalar array, which
      may be traced. 0 is a vanilla convolution.

  Returns:
    [kh, kw, I, O] in the dtype of `kernel`; computed in float32, or in float64
    for a float64 kernel.

  Raises:
    ValueError: if the kernel does not have four axes, kh or kw is even, or
      theta is not a scalar.
  """
  if kernel.ndim != 4 or kernel.shape[0] % 2 == 0 or kernel.shape[1] % 2 == 0:
    raise ValueError(
      f'Kernel shape {kernel.shape}; allowed: [kh, kw, I, O] with odd kh and '
      'kw, which have a centre tap.'
    )
  if jnp.ndim(theta) != 0:
    raise ValueError(
      f'theta has shape {jnp.shape(theta)}; allowed: a float or a scalar.'
    )
  if isinstance(theta, (int, float)) and theta == 0:
    return kernel
  height, width = kernel.shape[:2]
  dtype = jnp.float64 if kernel.dtype == jnp.float64 else jnp.float32
  centre = np.zeros((height, width, 1, 1), dtype)
  centre[height // 2, width // 2] = 1
  taps = kernel.astype(dtype)
  total = jnp.sum(taps, axis=(0, 1), keepdims=True)
  # A mask, not .at[].set: no scatter in the graph or in its derivatives.
  folded = taps - jnp.asarray(theta, dtype) * centre * total
  return folded.astype(kernel.dtype)


def expand_cross(weights: jax.Array, variant: str) -> jax.Array:
  """Expands the five taps of a cross to a 3x3 kernel, zero elsewhere.

  Args:
    weights: [5, I, O], the taps row by row.
    variant: 'hv' (the centre and its horizontal and vertical neighbours) or
      'dg' (the centre and its diagonal neighbours).

  Returns:
    [3, 3, I, O] in the dtype of `weights`.

  Raises:
    ValueError: for an unknown variant or a shape that is not [5, I, O].
  """
  if variant not in CROSS_TAPS:
    raise ValueError(
      f'Unknown cross variant {variant!r}; allowed: {", ".join(CROSS_TAPS)}.'
    )
  if weights.ndim != 3 or weights.shape[0] != 5:
    raise ValueError(f'Cross weights {weights.shape}; allowed: [5, I, O].')
  zero = jnp.zeros_like(weights[0])
  place = {tap: index for index, tap in enumerate(CROSS_TAPS[variant])}
  taps = [
    weights[place[row, column]] if (row, column) in place else zero
    for row in range(3)
    for column in range(3)
  ]
  return jnp.stack(taps).reshape(3, 3, *weights.shape[1:])


def central_difference_conv(
  x: jax.Array,
  kernel: jax.Array,
  *,
  theta: float | jax.Array = 0.7,
  strides: int = 1,
  dilation: int = 1,
  groups: int = 1,
) -> jax.Array:
  """Central difference convolution without bias, as one folded convolution.

  Args:
    x: [N, H, W, C] float.
    kernel: [kh, kw, C // groups, O] float, kh and kw odd. The central
      difference is folded in first; the kernel is then cast to the dtype of
      `x`.
    theta: strength of the central difference, a float or a scalar array.
    strides: step between outputs on both axes, at least 1.
    dilation: step between taps on both axes, at least 1.
    groups: number of channel groups; `C` for a depthwise convolution.

  Returns:
    [N, ceil(H / strides), ceil(W / strides), O] in the dtype of `x`. The input
    is padded with dilation * (k // 2) zeros on every side.

  Raises:
    ValueError: for an even kernel, or if channels and groups do not match.
  """
  if x.ndim != 4:
    raise ValueError(f'Input shape {x.shape}; allowed: [N, H, W, C].')
  for name, value in (
    ('strides', strides),
    ('dilation', dilation),
    ('groups', groups),
  ):
    if value < 1:
      raise ValueError(f'{name} is {value!r}; allowed: 1 or more.')
  # Folded first: this also checks the kernel's shape.
  folded = fold_kernel(kernel, theta).astype(x.dtype)
  channels, features = x.shape[3], kernel.shape[3]
  if channels != kernel.shape[2] * groups:
    raise ValueError(
      f'{channels} input channels in {groups} groups with a kernel '
      f'{kernel.shape}; allowed: C = groups * kernel.shape[2].'
    )
  if features % groups:
    raise ValueError(
      f'{features} output channels in {groups} groups; allowed: a multiple '
      'of the groups.'
    )
  return convolution.convolve(
    x, folded, strides=strides, dilation=dilation, groups=groups
  )
