"""Rank pooling: the frames of a clip as one dynamic image.

A dynamic image is a weighted sum of the frames, d = sum_i a_i x_i, whose
weights rank later frames above earlier ones (Fernando et al. 2015; Bilen et
al. 2016). The weights sum to 0, so what stands still vanishes.
"""

import jax
import jax.numpy as jnp
import numpy as np

KINDS = ('approximate', 'linear')


def _check_frames(num_frames: int) -> None:
  if num_frames < 1:
    raise ValueError(f'num_frames is {num_frames}; allowed: an int >= 1.')


def approximate_coefficients(num_frames: int) -> np.ndarray:
  """Weights of approximate rank pooling.

  Bilen et al. 2016, on the running means of the frames:
  a_i = sum_{t = i..K} (2t - K - 1) / t, for i = 1..K.

  Args:
    num_frames: K >= 1.

  Returns:
    float32 [K], of sum 0.
  """
  _check_frames(num_frames)
  t = np.arange(1, num_frames + 1, dtype=np.float64)
  terms = (2 * t - num_frames - 1) / t
  return np.cumsum(terms[::-1])[::-1].astype(np.float32)


def linear_coefficients(num_frames: int) -> np.ndarray:
  """Weights of linear rank pooling, on the frames: a_i = 2i - K - 1.

  Args:
    num_frames: K >= 1.

  Returns:
    float32 [K], of sum 0.
  """
  _check_frames(num_frames)
  i = np.arange(1, num_frames + 1, dtype=np.float32)
  return 2 * i - num_frames - 1


def coefficients(num_frames: int, kind: str) -> np.ndarray:
  """The weights of a kind of rank pooling, float32 [K].

  Raises:
    ValueError: for an unknown kind.
  """
  if kind == 'approximate':
    return approximate_coefficients(num_frames)
  if kind == 'linear':
    return linear_coefficients(num_frames)
  raise ValueError(
    f'Unknown rank pooling {kind!r}; allowed: {", ".join(KINDS)}.'
  )


def rank_pool(frames: jax.Array, kind: str = 'approximate') -> jax.Array:
  """The weighted sum of the frames, not scaled.

  Args:
    frames: float [..., K, H, W, C].
    kind: one of `KINDS`.

  Returns:
    float [..., H, W, C].
  """
  weights = jnp.asarray(coefficients(frames.shape[-4], kind), frames.dtype)
  return jnp.einsum('k,...khwc->...hwc', weights, frames)


def dynamic_image(
  frames: jax.Array, kind: str = 'approximate', epsilon: float = 1e-5
) -> jax.Array:
  """The dynamic image of each clip, min-max scaled to [-1, 1].

  Args:
    frames: float [..., K, H, W, C].
    kind: one of `KINDS`.
    epsilon: a range of values below it counts as stillness.

  Returns:
    float [..., H, W, C] in [-1, 1]. The scaling is one per clip, over all
    pixels and channels. A clip that stands still gives zeros (mid-grey): its
    pooled image is constant, so there is no range to scale.
  """
  pooled = rank_pool(frames, kind)
  axes = (-3, -2, -1)
  low = jnp.min(pooled, axis=axes, keepdims=True)
  high = jnp.max(pooled, axis=axes, keepdims=True)
  middle = (low + high) / 2
  half_range = jnp.maximum((high - low) / 2, jnp.asarray(epsilon, frames.dtype))
  return (pooled - middle) / half_range
