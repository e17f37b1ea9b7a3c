"""Rank pooling: the motion of a clip as one image, the dynamic image.

A weighted sum of the frames whose weights grow with time, after Fernando et
al. ("Modeling Video Evolution for Action Recognition", CVPR 2015) and Bilen et
al. ("Dynamic Image Networks for Action Recognition", CVPR 2016).
"""

import jax
import jax.numpy as jnp
import numpy as np


def approximate_coefficients(num_frames: int) -> np.ndarray:
  """Approximate rank pooling (Bilen et al. 2016).

  a_i = sum_{t=i..K} (2 t - K - 1) / t, the first gradient step of the ranking
  machine on the running means of the frames.

  Args:
    num_frames: K, at least 1.

  Returns:
    float32 [K] of sum 0.

  Raises:
    ValueError: if there is no frame.
  """
  _check_num_frames(num_frames)
  t = np.arange(1, num_frames + 1)
  terms = (2 * t - num_frames - 1) / t
  return np.cumsum(terms[::-1])[::-1].astype(np.float32)


def linear_coefficients(num_frames: int) -> np.ndarray:
  """Approximate rank pooling without running means: a_i = 2 i - K - 1.

  Args:
    num_frames: K, at least 1.

  Returns:
    float32 [K] of sum 0, odd under time reversal.

  Raises:
    ValueError: if there is no frame.
  """
  _check_num_frames(num_frames)
  return (2 * np.arange(1, num_frames + 1) - num_frames - 1).astype(np.float32)


COEFFICIENTS = {
  'approximate': approximate_coefficients,
  'linear': linear_coefficients,
}


def dynamic_image(
  frames: jax.Array, kind: str = 'approximate', epsilon: float = 1e-5
) -> jax.Array:
  """Rank-pools the frames of each clip and scales the result to [-1, 1].

  Args:
    frames: [..., K, H, W, C] float, K at least 1.
    kind: 'approximate' or 'linear'.
    epsilon: added to half the range of a clip before it divides. A range far
      above it is stretched to [-1, 1], one far below it stays near 0.

  Returns:
    [..., H, W, C] in the dtype of `frames`, computed in float32: min-max
    scaled over H, W and C of each clip. A clip without motion is exactly 0,
    mid-grey.

  Raises:
    ValueError: for an unknown kind or fewer than four axes.
  """
  if kind not in COEFFICIENTS:
    raise ValueError(
      f'Unknown rank pooling {kind!r}; allowed: {", ".join(COEFFICIENTS)}.'
    )
  if frames.ndim < 4:
    raise ValueError(
      f'Frames have shape {frames.shape}; allowed: [..., K, H, W, C].'
    )
  coefficients = COEFFICIENTS[kind](frames.shape[-4])
  wide = frames.astype(jnp.float32)
  # The coefficients sum to 0, so the first frame can be taken off all others.
  # Without this, rounding leaves noise in a still clip, and the scaling below
  # blows it up.
  motion = wide - wide[..., :1, :, :, :]
  pooled = jnp.einsum(
    'k,...khwc->...hwc', coefficients, motion, precision='highest'
  )
  low = jnp.min(pooled, axis=(-3, -2, -1), keepdims=True)
  high = jnp.max(pooled, axis=(-3, -2, -1), keepdims=True)
  scaled = (pooled - (high + low) / 2) / ((high - low) / 2 + epsilon)
  return scaled.astype(frames.dtype)


def _check_num_frames(num_frames: int) -> None:
  if num_frames < 1:
    raise ValueError(f'num_frames is {num_frames!r}; allowed: 1 or more.')
