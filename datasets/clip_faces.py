"""Boxes and depth maps of a clip's frames, from the face models."""

import os
from collections.abc import Sequence

import numpy as np

from nasfas_datasets.listing import NO_FACE, ClipError, NoFaceError
from nasfas_jax import records
from nasfas_jax.preprocessing import crop, face_depth, face_mesh, face_models

# Side in pixels of the crop in which a mesh is searched. At the margin of the
# stored crops, the face then has about the size of the mesh's input.
_SEARCH_SIZE = 256
# The least share of a face box inside the frame: below it the box was most
# likely made for another resolution.
_MIN_INSIDE = 0.4


def clip_box(
  boxes: np.ndarray, width: int, height: int, limit: int = 0
) -> np.ndarray:
  """The one face box of a clip, inside its frames: float64 [4].

  Args:
    boxes: floats [F, 4], from an annotation or `find_box`; NaN for no face.
    width: of the frames.
    height: of the frames.
    limit: the boxes are of so many first frames; 0: of all.

  Raises:
    NoFaceError: if no frame has a face.
    ClipError: if the face is mostly outside the frame, or no face at all.
  """
  boxes = np.asarray(boxes, np.float64)
  if not np.all(np.isfinite(boxes), axis=-1).any():
    among = f' among its first {limit}' if limit else ''
    raise NoFaceError(f'{NO_FACE} box{among}.')
  try:
    box = crop.median_box(boxes)
    frame = np.array([width, height, width, height], np.float64)
    # The box of a face at the border may reach past it.
    inside = crop.check_box(np.clip(box, 0, frame), width, height)
  except ValueError as error:
    raise ClipError(str(error)) from error
  share = np.prod(inside[2:] - inside[:2]) / np.prod(box[2:] - box[:2])
  if share < _MIN_INSIDE:
    raise ClipError(
      f'Box {np.round(box).tolist()} lies mostly outside the frame of {width} '
      f'x {height} pixels.'
    )
  return inside


def find_box(folder: str | os.PathLike | None, frame: np.ndarray) -> np.ndarray:
  """The box of the largest face of a frame.

  Args:
    folder: of the face models, see `face_models.load`.
    frame: uint8 RGB [H, W, 3], upright.

  Returns:
    float64 [4] in pixels; NaN without a face.
  """
  faces = face_mesh.find_faces(face_models.load(folder), frame)
  return faces[0].box if faces else np.full(4, np.nan)


def find_depth(
  folder: str | os.PathLike | None, frame: np.ndarray, square: crop.Square
) -> np.ndarray | None:
  """The depth of the most central face of a crop.

  Args:
    folder: of the face models, see `face_models.load`.
    frame: uint8 RGB [H, W, 3], upright.
    square: the stored crop of the frame.

  Returns:
    uint8 [32, 32] over the square, 255 = nearest, 0 = not the face; None
    without a face.
  """
  image = crop.cut(frame, square, _SEARCH_SIZE)
  faces = face_mesh.find_faces(face_models.load(folder), image)
  if not faces:
    return None

  def distance(face: face_mesh.Face) -> float:
    centre = (face.box[:2] + face.box[2:]) / 2
    return np.linalg.norm(centre - _SEARCH_SIZE / 2)

  depth = face_depth.depth_map(
    min(faces, key=distance).points,
    (0, 0, _SEARCH_SIZE),
    records.DEPTH_SIZE,
  )
  return np.rint(255 * depth).astype(np.uint8)


def fill(maps: Sequence[np.ndarray | None]) -> np.ndarray:
  """The maps of all frames; a frame without a face gets the nearest one's.

  Args:
    maps: K results of `find_depth`.

  Returns:
    uint8 [K, 32, 32].

  Raises:
    NoFaceError: if no frame has a map.
  """
  known = [i for i, found in enumerate(maps) if found is not None]
  if not known:
    raise NoFaceError(f'{NO_FACE} for a depth map.')
  distances = np.abs(np.arange(len(maps))[:, None] - np.array(known))
  return np.stack([maps[known[j]] for j in distances.argmin(axis=1)])
