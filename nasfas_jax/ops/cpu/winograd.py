"""3x3 convolution with half the products: Winograd's F(4, 3) along the height.

Four outputs of a filter of three taps take six products instead of twelve:

  y = A' [(G w) * (B' x)]

(Winograd 1980; Lavin and Gray, "Fast Algorithms for Convolutional Neural
Networks", 2015, arXiv:1509.09308). Here x are six rows of the image, w the
three rows of the kernel, and each of the six products a convolution of 1x3. The
width stays as it is: along both axes the transforms would cost what the
products save, and round three times as coarsely.

The error is about 1e-5 of the result's standard deviation, ten times that of
the plain sum.
"""

import jax
import jax.numpy as jnp
import numpy as np

# The polynomials' points are 0, 1, -1, 2, -2 and infinity.
_INPUT = np.array(
  [
    [4, 0, -5, 0, 1, 0],
    [0, -4, -4, 1, 1, 0],
    [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0],
    [0, 2, -1, -2, 1, 0],
    [0, 4, 0, -5, 0, 1],
  ]
)
_KERNEL = np.array(
  [
    [1 / 4, 0, 0],
    [-1 / 6, -1 / 6, -1 / 6],
    [-1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6],
    [1 / 24, -1 / 12, 1 / 6],
    [0, 0, 1],
  ]
)
_OUTPUT = np.array(
  [
    [1, 1, 1, 1, 1, 0],
    [0, 1, -1, 2, -2, 0],
    [0, 1, 1, 4, 4, 0],
    [0, 1, -1, 8, -8, 1],
  ]
)
_ROWS = len(_OUTPUT)

# Of the long sum over positions in the kernel's gradient: so many fit a cache.
_BLOCK = 4096


# A call in the program of whoever traces it, so that its cost can be counted
# as that of the convolution that it is (`models.cost`).
@jax.jit
def winograd_convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """Convolution with stride 1 and one zero on every side.

  Args:
    x: [N, H, W, C] float.
    kernel: [3, 3, C, O] in the dtype of `x`.

  Returns:
    [N, H, W, O] in the dtype of `x`.
  """
  height = x.shape[1]
  rows = _input_rows(x)
  transformed = jnp.einsum(
    'pr,rsco->psco', _KERNEL.astype(kernel.dtype), kernel
  )
  products = [
    jax.lax.conv_general_dilated(
      _combine(weights, rows),
      part[None],
      window_strides=(1, 1),
      padding=((0, 0), (1, 1)),
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    )
    for weights, part in zip(_INPUT, transformed, strict=True)
  ]
  y = jnp.stack([_combine(weights, products) for weights in _OUTPUT], axis=2)
  return y.reshape(len(x), -1, *y.shape[3:])[:, :height]


def kernel_gradient(x: jax.Array, g: jax.Array) -> jax.Array:
  """The kernel's cotangent in `winograd_convolve`.

  Args:
    x: [N, H, W, C] float.
    g: [N, H, W, O] in the dtype of `x`, the cotangent of the result.

  Returns:
    [3, 3, C, O] in the dtype of `x`.
  """
  width = x.shape[2]
  rows = [
    jnp.pad(row, ((0, 0), (0, 0), (1, 1), (0, 0))) for row in _input_rows(x)
  ]
  outputs = _every_fourth(g, rows[0].shape[1])
  products = []
  for of_input, of_output in zip(_INPUT, _OUTPUT.T, strict=True):
    # Kept, not computed anew for every column of the kernel.
    cotangent = jax.lax.optimization_barrier(_combine(of_output, outputs))
    columns = [
      _combine(of_input, [row[:, :, column : column + width] for row in rows])
      for column in range(3)
    ]
    products.append(
      jnp.stack([sum_of_products(column, cotangent) for column in columns])
    )
  return jnp.einsum(
    'pr,psco->rsco', _KERNEL.astype(x.dtype), jnp.stack(products)
  )


def _input_rows(x: jax.Array) -> list[jax.Array]:
  """Rows 4t - 1 to 4t + 4 of the image, six arrays [N, ceil(H / 4), W, C]."""
  tiles = -(-x.shape[1] // _ROWS)
  padded = jnp.pad(
    x, ((0, 0), (1, _ROWS * tiles - x.shape[1] + 1), (0, 0), (0, 0))
  )
  return [
    padded[:, row : row + _ROWS * (tiles - 1) + 1 : _ROWS] for row in range(6)
  ]


def _every_fourth(g: jax.Array, tiles: int) -> list[jax.Array]:
  """Rows 4t to 4t + 3, four arrays [N, tiles, W, O]."""
  below = _ROWS * tiles - g.shape[1]
  padded = jnp.pad(g, ((0, 0), (0, below), (0, 0), (0, 0)))
  return [padded[:, row::_ROWS] for row in range(_ROWS)]


def _combine(weights: np.ndarray, arrays: list[jax.Array]) -> jax.Array:
  """The weighted sum, without the terms of weight 0."""
  terms = [
    array if weight == 1 else float(weight) * array
    for weight, array in zip(weights, arrays, strict=True)
    if weight
  ]
  return sum(terms[1:], start=terms[0])


def sum_of_products(x: jax.Array, g: jax.Array) -> jax.Array:
  """[C, O], the products of x [..., C] and g [..., O] summed over the rest.

  Block by block: a product of two matrices of few columns and very many rows
  runs out of the cache.
  """
  x, g = (array.reshape(-1, array.shape[-1]) for array in (x, g))
  number = -(-len(x) // _BLOCK)
  block = -(-len(x) // number)
  # Rows of zeros, fewer than there are blocks, make them all of one length.
  blocks = [
    jnp.pad(array, ((0, number * block - len(array)), (0, 0))).reshape(
      number, block, -1
    )
    for array in (x, g)
  ]
  return jnp.sum(jnp.einsum('bpc,bpo->bco', *blocks), axis=0)
