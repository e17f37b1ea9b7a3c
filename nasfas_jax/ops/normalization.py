"""Normalization by the statistics of a batch, with its gradient in closed form.

JAX's own gradient of the same formulas reads the features and their cotangent
in two passes, of which one writes what the other reads. In closed form they are
read once for both sums, and once more for the result. In a program compiled for
a GPU that is a fifth less of what a normalization reads and writes in a
training step.
"""

import functools

import jax
import jax.numpy as jnp

# Those of a batch: all axes but the channels'.
_AXES = (0, 1, 2)


def statistics(x: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Mean and biased variance over a batch.

  Args:
    x: [N, H, W, C].

  Returns:
    (mean, variance), [C] each; float32, or float64 for float64 `x`.
  """
  wide = widen(x)
  mean = jnp.mean(wide, axis=_AXES)
  square = jnp.mean(jax.lax.square(wide), axis=_AXES)
  # Rounding may leave a constant channel with a negative one.
  return mean, jnp.maximum(0.0, square - jax.lax.square(mean))


def widen(x: jax.Array) -> jax.Array:
  """x as float32, or float64 if it is that."""
  return x.astype(wide_dtype(x))


def wide_dtype(x: jax.Array) -> jnp.dtype:
  """The dtype of statistics: float32, or float64 for float64 `x`."""
  return jnp.dtype(jnp.float64 if x.dtype == jnp.float64 else jnp.float32)


def apply(
  x: jax.Array,
  mean: jax.Array,
  variance: jax.Array,
  scale: jax.Array | None,
  bias: jax.Array | None,
  epsilon: float,
) -> jax.Array:
  """(x - mean) / sqrt(variance + epsilon) * scale + bias.

  Args:
    x: [N, H, W, C].
    mean: [C].
    variance: [C].
    scale: [C]; None: 1.
    bias: [C]; None: 0.
    epsilon: added to the variance.

  Returns:
    [N, H, W, C], float32, or float64 for float64 `x`.
  """
  wide = widen(x)
  shape = (1, 1, 1, x.shape[-1])
  factor = _over_deviation(variance, epsilon)
  if scale is not None:
    factor = factor * scale
  y = (wide - mean.reshape(shape)) * factor.reshape(shape)
  return y if bias is None else y + bias.reshape(shape)


def _over_deviation(variance, epsilon):
  return jax.lax.rsqrt(variance + jnp.asarray(epsilon, variance.dtype))


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def normalize_batch(
  x: jax.Array,
  scale: jax.Array | None,
  bias: jax.Array | None,
  epsilon: float,
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
  """Batch normalization (arXiv 1502.03167, algorithm 1).

  Args:
    x: [N, H, W, C].
    scale: [C]; None: 1.
    bias: [C]; None: 0.
    epsilon: added to the variance.

  Returns:
    ([N, H, W, C] in the dtype of `x`, mean and variance of the batch [C]). No
    gradient goes through the statistics that are returned. Differentiable in
    reverse mode, to any order; not in forward mode.
  """
  return _forward(x, scale, bias, epsilon)[0]


def _forward(x, scale, bias, epsilon):
  mean, variance = statistics(x)
  y = apply(x, mean, variance, scale, bias, epsilon).astype(x.dtype)
  kept = jax.lax.stop_gradient((mean, variance))
  return (y, kept), (x, mean, variance, scale, bias)


def _backward(epsilon, residuals, cotangents):
  x, mean, variance, scale, bias = residuals
  g = widen(cotangents[0])
  shape = (1, 1, 1, x.shape[-1])
  over_deviation = _over_deviation(variance, epsilon)
  normal = (widen(x) - mean.reshape(shape)) * over_deviation.reshape(shape)
  of_bias = jnp.sum(g, axis=_AXES)
  of_scale = jnp.sum(g * normal, axis=_AXES)
  number = x.size // x.shape[-1]
  factor = over_deviation if scale is None else over_deviation * scale
  centred = (
    g
    - (of_bias / number).reshape(shape)
    - normal * (of_scale / number).reshape(shape)
  )
  of_x = (factor.reshape(shape) * centred).astype(x.dtype)
  return (
    of_x,
    None if scale is None else of_scale.astype(scale.dtype),
    None if bias is None else of_bias.astype(bias.dtype),
  )


normalize_batch.defvjp(_forward, _backward)
