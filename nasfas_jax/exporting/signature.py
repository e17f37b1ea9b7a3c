"""What every exported program takes and gives, written in JAX.

It takes the frames of the crops and the size of the face, and gives the score
and the map. A crop is a square about the face box, so the face ellipse on the
map depends only on the box's width and height, and on the scale of the crop.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from nasfas_jax import inputs, losses, scoring
from nasfas_jax.data import transforms

# The names of inputs and outputs in every format.
INPUTS = ('frames', 'face_size')
OUTPUTS = ('score', 'map')


def ellipse_places(face_scale: float, map_size: int) -> np.ndarray:
  """The centres of the map's cells, in half sides of a square face box.

  Args:
    face_scale: side of the crop over the larger side of the face box.
    map_size: D, side of the map.

  Returns:
    float64 [D], about 0, ascending.
  """
  return (np.arange(map_size) + 0.5 - map_size / 2) * (
    2 * face_scale / map_size
  )


def face_mask(
  face_size: jax.Array, face_scale: float, map_size: int
) -> jax.Array:
  """The ellipse inscribed in the face box, as `data.transforms.face_ellipse`.

  Args:
    face_size: float32 [B, 2], width and height of the face box in the wide
      crops, in any unit; 0 where the face is unknown. A wide crop that
      stretches the frame gives the box other proportions.
    face_scale, map_size: see `ellipse_places`.

  Returns:
    float32 [B, D, D], 1 inside, 0 outside; all 0 where the face is unknown.
  """
  places = jnp.asarray(ellipse_places(face_scale, map_size), jnp.float32)
  known = jnp.min(face_size, axis=1, keepdims=True) > 0
  safe = jnp.where(known, face_size, jnp.ones_like(face_size))
  stretch = jnp.max(safe, axis=1, keepdims=True) / safe
  squares = jnp.square(stretch[:, :, None] * places[None, None, :])
  distance = squares[:, 1, :, None] + squares[:, 0, None, :]
  nearest = jnp.min(distance, axis=(1, 2), keepdims=True)
  limit = (1.0 + transforms.ELLIPSE_SLACK) * jnp.maximum(nearest, 1.0)
  inside = (distance <= limit) & known[:, :, None]
  return inside.astype(jnp.float32)


def program(
  model: nn.Module,
  variables: dict,
  form: inputs.InputForm,
  *,
  face_scale: float,
  map_size: int,
) -> Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
  """A trained network as a function of frames, with its weights inside.

  Args:
    model: maps an input to `models.outputs.Outputs`.
    variables: dict with 'params' and 'batch_stats'.
    form: of the input.
    face_scale: side of the crop over the larger side of the face box.
    map_size: D, side of the map.

  Returns:
    (frames uint8 [B, K, S, S, 3] RGB, face_size float32 [B, 2], see
    `face_mask`) -> (score float32 [B], see `losses.map_score`, map float32
    [B, D, D]).
  """

  def score(frames, face_size):
    images = inputs.network_input(frames, form)
    with jax.default_matmul_precision(scoring.PRECISION):
      maps = model.apply(variables, images, train=False).map
    mask = face_mask(face_size, face_scale, map_size)
    return losses.map_score(maps, mask), maps

  return score
