"""From a record to a snippet: choice of frames, geometry, crop without chance.

Evaluation and `predict` crop here, on the host. Training crops on the device
(see `augment`), about the same square and with the same face ellipse.
"""

from collections.abc import Mapping

import cv2
import numpy as np

# How much further than the border of the face ellipse the centre of a cell may
# lie to be inside, as a share of the squared distance. Boxes of whole pixels
# put centres on the border itself, where rounding would decide.
ELLIPSE_SLACK = 1e-5


def train_frame_indices(
  num_available: int, num_frames: int, rng: np.random.Generator
) -> np.ndarray:
  """A random run of consecutive frames: int [num_frames], ascending.

  A clip with fewer frames repeats them evenly.
  """
  if num_available <= num_frames:
    return even_frame_indices(num_available, num_frames, 0, 1)
  start = int(rng.integers(num_available - num_frames + 1))
  return np.arange(start, start + num_frames)


def even_frame_indices(
  num_available: int, num_frames: int, snippet: int, num_snippets: int
) -> np.ndarray:
  """The frames of one of several evenly placed snippets: int [num_frames].

  A snippet is a run of consecutive frames; the starts are spread evenly over
  the clip. A clip with fewer frames repeats them evenly.
  """
  if num_available <= num_frames:
    places = np.linspace(0, num_available - 1, num_frames)
    return np.round(places).astype(np.int64)
  last = num_available - num_frames
  start = round(last * (snippet + 0.5) / num_snippets) if num_snippets else 0
  return np.arange(start, start + num_frames)


def square_around(face_box, scale, xp=np) -> tuple:
  """The square about a box's centre, `scale` times its larger side.

  Args:
    face_box: [4] x0, y0, x1, y1 in pixels.
    scale: side of the square over the larger side of the box.
    xp: module of the arrays, numpy or jax.numpy.

  Returns:
    (x0, y0, side) in pixels.
  """
  x0, y0, x1, y1 = xp.asarray(face_box, dtype=float)
  side = scale * xp.maximum(x1 - x0, y1 - y0)
  return (x0 + x1 - side) / 2, (y0 + y1 - side) / 2, side


def crop_square(image: np.ndarray, square: tuple, size: int) -> np.ndarray:
  """Crops a square and resizes it bilinearly, with half-pixel centres.

  Args:
    image: [H, W] or [H, W, C].
    square: (x0, y0, side) in pixels. It may reach past the border; the border
      pixels are then replicated.
    size: side of the result in pixels.

  Returns:
    [size, size] or [size, size, C], dtype of the image.
  """
  x0, y0, side = square
  step = side / size
  # Output pixel centre (i + 0.5) maps to x0 + (i + 0.5) * step; pixel
  # coordinates count from the centre of the first pixel, hence the - 0.5.
  matrix = np.array(
    [
      [step, 0.0, x0 + 0.5 * step - 0.5],
      [0.0, step, y0 + 0.5 * step - 0.5],
    ]
  )
  return cv2.warpAffine(
    image,
    matrix,
    (size, size),
    flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
    borderMode=cv2.BORDER_REPLICATE,
  )


def face_ellipse(face_box, square: tuple, size: int, xp=np):
  """The ellipse inscribed in the face box, on the grid of the map.

  Args:
    face_box: [4] x0, y0, x1, y1 in pixels of the stored crop.
    square: (x0, y0, side) of the region that the map covers.
    size: side of the map.
    xp: module of the arrays, numpy or jax.numpy.

  Returns:
    float32 [size, size], 1 inside, 0 outside; at least one cell is inside.
  """
  x0, y0, x1, y1 = xp.asarray(face_box, dtype=float)
  left, top, side = square
  centres = (xp.arange(size, dtype=float) + 0.5) * side / size
  u = (left + centres - (x0 + x1) / 2) / ((x1 - x0) / 2)
  v = (top + centres - (y0 + y1) / 2) / ((y1 - y0) / 2)
  distance = v[:, None] ** 2 + u[None, :] ** 2
  limit = (1.0 + ELLIPSE_SLACK) * xp.maximum(1.0, distance.min())
  return (distance <= limit).astype(xp.float32)


def make_snippet(
  record: Mapping[str, object],
  frame_indices: np.ndarray,
  *,
  image_size: int,
  map_size: int,
  face_scale: float,
) -> dict[str, np.ndarray]:
  """Crops the chosen frames of a record, and its maps.

  Args:
    record: in the schema of `nasfas_jax.records`, with `frames` as
      `clips.Frames`.
    frame_indices: int [K], places in the record's frames.
    image_size: S, side of the crops.
    map_size: D, side of the maps.
    face_scale: side of the crop over the larger side of the face box.

  Returns:
    frames: uint8 [K, S, S, 3] RGB.
    depth: float32 [D, D] in [0, 1], of the static frame (K // 2); the face
      ellipse if the record has no depth.
    face_mask: float32 [D, D], 1 where the depth is above 0.
    score_mask: float32 [D, D], the face ellipse. It depends on the face box
      only. Some datasets have depth for live clips alone, and a score must not
      be normalised by a region that depends on the label.
  """
  square = square_around(record['face_box'], face_scale)
  pictures = {int(i): record['frames'][int(i)] for i in frame_indices}
  cropped = {
    i: crop_square(picture, square, image_size)
    for i, picture in pictures.items()
  }
  frames = np.stack([cropped[int(i)] for i in frame_indices])
  score_mask = face_ellipse(record['face_box'], square, map_size)
  depth = score_mask
  if len(record['depth']):
    # The depth map covers the stored crop on a coarser grid.
    static = int(frame_indices[len(frame_indices) // 2])
    stored = record['depth'][static]
    ratio = stored.shape[0] / pictures[static].shape[0]
    scaled = tuple(value * ratio for value in square)
    depth = crop_square(stored.astype(np.float32) / 255.0, scaled, map_size)
  return {
    'frames': frames,
    'depth': depth,
    'face_mask': (depth > 0).astype(np.float32),
    'score_mask': score_mask,
  }
