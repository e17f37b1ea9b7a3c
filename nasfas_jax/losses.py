"""Supervision, losses and the score of a depth map.

Losses are per example, [B]; the caller reduces. Whatever the input dtype, they
are computed in float32.
"""

import jax
import jax.numpy as jnp

from nasfas_jax import records

SUPERVISIONS = ('depth', 'binary_mask')

# The 8 neighbours of a pixel in its 3x3 window, row by row.
_NEIGHBOURS = tuple(
  (row, column)
  for row in range(3)
  for column in range(3)
  if (row, column) != (1, 1)
)


def make_target(
  depth: jax.Array,
  face_mask: jax.Array,
  labels: jax.Array,
  supervision: str,
) -> jax.Array:
  """The map that a network should give for each example.

  Args:
    depth: [B, S, S] float in [0, 1], 1 = nearest.
    face_mask: [B, S, S] float or bool, 1 on the face.
    labels: [B] integers, 1 live, 0 spoof.
    supervision: 'depth' (live clips: their depth) or 'binary_mask' (live
      clips: their face mask).

  Returns:
    float32 [B, S, S]; zeros for every spoof.

  Raises:
    ValueError: for an unknown supervision, depth that is not float, or shapes
      that do not match.
  """
  if supervision not in SUPERVISIONS:
    raise ValueError(
      f'Unknown supervision {supervision!r}; allowed: '
      f'{", ".join(SUPERVISIONS)}.'
    )
  _check_maps('depth', depth, 'face_mask', face_mask)
  if not jnp.issubdtype(depth.dtype, jnp.floating):
    raise ValueError(f'depth is {depth.dtype}; allowed: a float in [0, 1].')
  if labels.shape != depth.shape[:1]:
    raise ValueError(
      f'labels have shape {labels.shape}; allowed: {depth.shape[:1]}, one '
      'for each map.'
    )
  live = depth if supervision == 'depth' else face_mask
  is_live = (labels == records.LIVE)[:, jnp.newaxis, jnp.newaxis]
  return jnp.where(is_live, live.astype(jnp.float32), 0.0)


def depth_mse(prediction: jax.Array, target: jax.Array) -> jax.Array:
  """Mean squared error of each map.

  Args:
    prediction: [B, S, S] float.
    target: [B, S, S] float.

  Returns:
    float32 [B].

  Raises:
    ValueError: if the shapes differ or are not [B, S, S].
  """
  return jnp.mean(jnp.square(_error(prediction, target)), axis=(1, 2))


def contrastive_depth_loss(
  prediction: jax.Array, target: jax.Array
) -> jax.Array:
  """Contrastive depth loss (CDL; Wang et al. 2020, arXiv:2003.08061).

  The mean squared error between the responses of eight fixed 3x3 kernels on
  prediction and target. Each kernel is 1 at one neighbour, -1 at the centre;
  no padding. It is linear, so it is applied once, to the error map.

  Args:
    prediction: [B, S, S] float, S at least 3.
    target: [B, S, S] float.

  Returns:
    float32 [B], the mean over the kernels and the (S - 2)^2 positions.

  Raises:
    ValueError: if the shapes differ, are not [B, S, S], or S is below 3.
  """
  error = _error(prediction, target)
  height, width = error.shape[1] - 2, error.shape[2] - 2
  if height < 1 or width < 1:
    raise ValueError(
      f'Maps have shape {prediction.shape}; allowed: sides of 3 or more.'
    )
  centre = error[:, 1:-1, 1:-1]
  responses = [
    error[:, row : row + height, column : column + width] - centre
    for row, column in _NEIGHBOURS
  ]
  return jnp.mean(jnp.square(jnp.stack(responses, axis=1)), axis=(1, 2, 3))


def total_loss(prediction: jax.Array, target: jax.Array) -> jax.Array:
  """Depth MSE plus contrastive depth loss, 1:1 (Yu et al. 2020).

  Args:
    prediction: [B, S, S] float, S at least 3.
    target: [B, S, S] float.

  Returns:
    float32 [B].

  Raises:
    ValueError: as `contrastive_depth_loss`.
  """
  mse = depth_mse(prediction, target)
  return mse + contrastive_depth_loss(prediction, target)


def map_score(prediction: jax.Array, mask: jax.Array) -> jax.Array:
  """Evidence for live: the sum of a map over the size of the face.

  Args:
    prediction: [B, S, S] float, the predicted map.
    mask: [B, S, S] float or bool, 1 on the face, all 0 where it is not known.

  Returns:
    float32 [B], sum(map) / sum(mask), or mean(map) where the mask is empty.

  Raises:
    ValueError: if the shapes differ or are not [B, S, S].
  """
  _check_maps('prediction', prediction, 'mask', mask)
  total = jnp.sum(prediction, axis=(1, 2), dtype=jnp.float32)
  face = jnp.sum(mask, axis=(1, 2), dtype=jnp.float32)
  pixels = prediction.shape[1] * prediction.shape[2]
  return total / jnp.where(face > 0, face, float(pixels))


def _error(prediction: jax.Array, target: jax.Array) -> jax.Array:
  _check_maps('prediction', prediction, 'target', target)
  return prediction.astype(jnp.float32) - target.astype(jnp.float32)


def _check_maps(
  name: str, maps: jax.Array, other_name: str, other: jax.Array
) -> None:
  if maps.ndim != 3 or maps.shape != other.shape:
    raise ValueError(
      f'{name} has shape {maps.shape}, {other_name} {other.shape}; allowed: '
      'two equal shapes [B, S, S].'
    )
