"""From a record to a snippet: choice of frames, crop, augmentation (NumPy).

Crop, flip and colour change are drawn once per snippet and shared by its
frames: rank pooling would take a change between frames for motion.
"""

import dataclasses
from collections.abc import Mapping

import cv2
import numpy as np


@dataclasses.dataclass(frozen=True)
class Augmentation:
  """Strengths of the training augmentation; 0 turns a part off.

  CDCN (arXiv 2003.04092) uses face scales of 1.2 to 1.4, colour +-40, gamma 0.5
  to 1.5, flips, random erasing of 1 to 5 % of the picture, and cutout.

  Attributes:
    face_scale: (low, high) side of the crop over the side of the face box.
    flip: probability of a horizontal flip.
    colour: largest shift of each RGB channel, in grey levels of 0 to 255.
    gamma: (low, high) exponent of the tone curve.
    erase: probability of random erasing, which fills a rectangle with noise.
    erase_area: (low, high) share of the picture that is erased.
    cutout: probability of cutout, which fills a square with mid-grey.
    cutout_side: largest side of that square over the side of the picture.
    noise: largest standard deviation of sensor noise in grey levels. The
      strength is drawn per snippet, the noise per pixel and frame.
    blur: largest standard deviation of a Gaussian blur in pixels.
  """

  face_scale: tuple[float, float]
  flip: float
  colour: float
  gamma: tuple[float, float]
  erase: float
  erase_area: tuple[float, float]
  cutout: float
  cutout_side: float
  noise: float
  blur: float


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


def square_around(face_box: np.ndarray, scale: float) -> tuple:
  """The square about a box's centre, `scale` times its larger side.

  Returns:
    (x0, y0, side) in pixels.
  """
  x0, y0, x1, y1 = (float(value) for value in face_box)
  side = scale * max(x1 - x0, y1 - y0)
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


def face_ellipse(face_box: np.ndarray, square: tuple, size: int) -> np.ndarray:
  """The ellipse inscribed in the face box, on the grid of the map.

  Args:
    face_box: [4] x0, y0, x1, y1 in pixels of the stored crop.
    square: (x0, y0, side) of the region that the map covers.
    size: side of the map.

  Returns:
    float32 [size, size], 1 inside, 0 outside; at least one cell is inside.
  """
  x0, y0, x1, y1 = (float(value) for value in face_box)
  left, top, side = square
  centres = (np.arange(size) + 0.5) * side / size
  u = (left + centres - (x0 + x1) / 2) / ((x1 - x0) / 2)
  v = (top + centres - (y0 + y1) / 2) / ((y1 - y0) / 2)
  distance = v[:, None] ** 2 + u[None, :] ** 2
  return (distance <= max(1.0, distance.min())).astype(np.float32)


def _change_colour(frames, augmentation, rng):
  """Shifts the channels and applies a gamma curve to uint8 [K, H, W, 3]."""
  low, high = augmentation.gamma
  gamma = rng.uniform(low, high)
  shift = rng.uniform(-augmentation.colour, augmentation.colour, size=3)
  levels = 255.0 * (np.arange(256) / 255.0) ** gamma
  table = np.clip(np.round(levels[:, None] + shift), 0, 255).astype(np.uint8)
  tall = frames.reshape(-1, *frames.shape[2:])
  return cv2.LUT(tall, table[np.newaxis]).reshape(frames.shape)


def _hole(size: int, height: float, width: float, rng) -> tuple[slice, slice]:
  """A random rectangle inside a square picture, of at least one pixel."""
  height = int(np.clip(round(height), 1, size))
  width = int(np.clip(round(width), 1, size))
  top = int(rng.integers(size - height + 1))
  left = int(rng.integers(size - width + 1))
  return slice(top, top + height), slice(left, left + width)


def augment(
  frames: np.ndarray, augmentation: Augmentation, rng: np.random.Generator
) -> np.ndarray:
  """Applies colour, gamma, blur, noise, random erasing and cutout.

  All frames get the same change, but for the pixels of the noise.

  Args:
    frames: uint8 [K, S, S, 3].
    augmentation: the strengths.
    rng: source of randomness.

  Returns:
    uint8 [K, S, S, 3].
  """
  size = frames.shape[1]
  frames = _change_colour(frames, augmentation, rng)
  if augmentation.blur:
    sigma = rng.uniform(0.0, augmentation.blur)
    # A blur below a third of a pixel is invisible.
    if sigma > 0.3:
      frames = np.stack(
        [cv2.GaussianBlur(frame, (0, 0), sigma) for frame in frames]
      )
  if augmentation.noise:
    noise = rng.standard_normal(frames.shape, np.float32)
    noise *= rng.uniform(0.0, augmentation.noise)
    frames = np.clip(np.rint(frames + noise), 0, 255).astype(np.uint8)
  if rng.uniform() < augmentation.erase:
    area = rng.uniform(*augmentation.erase_area) * size * size
    aspect = np.exp(rng.uniform(np.log(1 / 3), np.log(3)))
    rows, columns = _hole(
      size, np.sqrt(area * aspect), np.sqrt(area / aspect), rng
    )
    shape = frames[0, rows, columns].shape
    frames[:, rows, columns] = rng.integers(0, 256, shape, dtype=np.uint8)
  if rng.uniform() < augmentation.cutout:
    side = rng.uniform(0.0, augmentation.cutout_side) * size
    rows, columns = _hole(size, side, side, rng)
    frames[:, rows, columns] = 128
  return frames


def make_snippet(
  record: Mapping[str, object],
  frame_indices: np.ndarray,
  *,
  image_size: int,
  map_size: int,
  face_scale: float,
  flip: bool,
) -> dict[str, np.ndarray]:
  """Crops the chosen frames of a record, and its maps.

  Args:
    record: in the schema of `nasfas_jax.records`, with `frames` as
      `clips.Frames`.
    frame_indices: int [K], places in the record's frames.
    image_size: S, side of the crops.
    map_size: D, side of the maps.
    face_scale: side of the crop over the larger side of the face box.
    flip: mirror left and right.

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
  if flip:
    frames, depth, score_mask = (
      np.flip(array, axis=-2 if array.ndim == 4 else -1)
      for array in (frames, depth, score_mask)
    )
  return {
    'frames': np.ascontiguousarray(frames),
    'depth': np.ascontiguousarray(depth, np.float32),
    'face_mask': (depth > 0).astype(np.float32),
    'score_mask': np.ascontiguousarray(score_mask),
  }
