"""The one square crop of a clip, and the face box and maps inside it.

Boxes are x0, y0, x1, y1 in pixels; x1 and y1 are exclusive, so that the whole
frame is (0, 0, width, height). A square is on the pixel grid of the frame, so
that the mapping between frame and crop is exact.
"""

import dataclasses
import math

import cv2
import numpy as np

from nasfas_jax import records


@dataclasses.dataclass(frozen=True)
class Square:
  """A square region of the frame; it may reach past the frame's border.

  Attributes:
    x0: left edge, in pixels of the frame.
    y0: top edge.
    side: in pixels, at least 1.
  """

  x0: int
  y0: int
  side: int


@dataclasses.dataclass(frozen=True)
class Region:
  """A rectangle inside the frame, to be stretched to a square.

  Attributes:
    x0: left edge, in pixels of the frame.
    y0: top edge.
    x1: right edge, exclusive.
    y1: bottom edge, exclusive.
  """

  x0: int
  y0: int
  x1: int
  y1: int


# The pixels past the border of the frame: the border pixel, the mirrored frame,
# or 0.
BORDERS = ('replicate', 'reflect', 'zero')
# The square crop of a very long and narrow frame would take gigabytes.
_MAX_SIDE = 16384


def check_box(box, width: int, height: int) -> np.ndarray:
  """Checks a box and returns it as float64 [4].

  Raises:
    ValueError: if a value is not finite, the box is not in pixels but a share
      of the frame, a side is below one pixel, or the box is not inside the
      frame.
  """
  box = np.asarray(box, np.float64)
  if box.shape != (4,) or not np.all(np.isfinite(box)):
    raise ValueError(f'Box {box.tolist()} is not four finite numbers.')
  x0, y0, x1, y1 = box
  if box.any() and np.all((box >= 0) & (box <= 1)):
    raise ValueError(
      f'Box {box.tolist()} is a share of the frame; boxes are in pixels.'
    )
  if x1 - x0 < 1 or y1 - y0 < 1:
    raise ValueError(
      f'Box {box.tolist()} is empty: x1 - x0 and y1 - y0 must be at least 1.'
    )
  if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
    raise ValueError(
      f'Box {box.tolist()} is not inside the frame of {width} x {height} '
      'pixels.'
    )
  return box


def default_box(
  width: int, height: int, margin: float = records.WIDE_MARGIN
) -> np.ndarray:
  """The box of a clip without one: the frame, shrunk by the margin.

  The square of `square_around` then just covers the whole frame.

  Returns:
    float64 [4].
  """
  centre = np.array([width, height], np.float64) / 2
  half = centre / margin
  return np.concatenate([centre - half, centre + half])


def median_box(boxes) -> np.ndarray:
  """One box for a clip: the medians of centre and size over its frames.

  Robust to wrong boxes in single frames. Frames without a face, whose box is
  empty or not finite, do not count.

  Args:
    boxes: floats [F, 4].

  Returns:
    float64 [4].

  Raises:
    ValueError: if no frame has a box.
  """
  boxes = np.asarray(boxes, np.float64)
  if boxes.ndim != 2 or boxes.shape[1] != 4:
    raise ValueError(f'Boxes have shape {boxes.shape}; expected (frames, 4).')
  boxes = boxes[np.all(np.isfinite(boxes), axis=1)]
  boxes = boxes[np.all(boxes[:, 2:] > boxes[:, :2], axis=1)]
  if not len(boxes):
    raise ValueError('No frame of the clip has a face box.')
  centre = np.median((boxes[:, :2] + boxes[:, 2:]) / 2, axis=0)
  half = np.median(boxes[:, 2:] - boxes[:, :2], axis=0) / 2
  return np.concatenate([centre - half, centre + half])


def square_around(box, margin: float = records.WIDE_MARGIN) -> Square:
  """The square about a box's centre, `margin` times its larger side."""
  x0, y0, x1, y1 = (float(value) for value in box)
  side = max(1, round(margin * max(x1 - x0, y1 - y0)))
  return Square(
    x0=round((x0 + x1 - side) / 2), y0=round((y0 + y1 - side) / 2), side=side
  )


def clipped_region(box, scale: float, width: int, height: int) -> Region:
  """The region that CDCN's code crops, which distorts the face.

  Width and height of the box are scaled about its centre; the corners are then
  rounded down and clipped to the frame.

  Args:
    box: floats [4] in pixels of the frame.
    scale: sides of the region over the sides of the box.
    width: of the frame.
    height: of the frame.

  Raises:
    ValueError: if nothing is left.
  """
  x0, y0, x1, y1 = (float(value) for value in box)
  middle_x, middle_y = (x0 + x1) / 2, (y0 + y1) / 2
  half_x, half_y = (x1 - x0) * scale / 2, (y1 - y0) * scale / 2
  region = Region(
    x0=max(0, math.floor(middle_x - half_x)),
    y0=max(0, math.floor(middle_y - half_y)),
    x1=min(width, math.floor(middle_x + half_x)),
    y1=min(height, math.floor(middle_y + half_y)),
  )
  if region.x0 >= region.x1 or region.y0 >= region.y1:
    raise ValueError(
      f'Box {[x0, y0, x1, y1]} does not overlap the frame of {width} x '
      f'{height} pixels.'
    )
  return region


def wide_view(
  box, margin: float, border: str, width: int, height: int
) -> Square | Region:
  """What a builder stores of a frame.

  Args:
    box: of the face, four floats in pixels of the frame.
    margin: side of the view over the larger side of the box.
    border: one of `BORDERS`, or 'stretch', which clips the view to the frame.
    width: of the frame.
    height: of the frame.

  Raises:
    ValueError: if the view is too large.
  """
  if border == 'stretch':
    return clipped_region(box, margin, width, height)
  square = square_around(box, margin)
  if square.side > _MAX_SIDE:
    raise ValueError(
      f'the crop of a frame of {width} x {height} pixels has a side of '
      f'{square.side}; at most {_MAX_SIDE} is possible.'
    )
  return square


def cut(
  image: np.ndarray,
  view: Square | Region,
  size: int,
  *,
  border: str = 'replicate',
) -> np.ndarray:
  """Crops a square, or a region that is stretched to one, and resizes it.

  A square is shrunk by area averaging, since aliasing would change the texture
  that gives attacks away, and enlarged bilinearly with half-pixel centres. A
  region is always resized bilinearly, as in CDCN's code.

  Args:
    image: uint8 [H, W] or [H, W, C].
    view: what to crop; must overlap the image.
    size: side of the result in pixels.
    border: one of `BORDERS`, for a square.

  Returns:
    uint8 [size, size] or [size, size, C].

  Raises:
    ValueError: if the view does not overlap the image.
  """
  if isinstance(view, Region):
    part = image[view.y0 : view.y1, view.x0 : view.x1]
    return cv2.resize(part, (size, size), interpolation=cv2.INTER_LINEAR)
  height, width = image.shape[:2]
  left, right = max(0, view.x0), min(width, view.x0 + view.side)
  top, bottom = max(0, view.y0), min(height, view.y0 + view.side)
  if left >= right or top >= bottom:
    raise ValueError(
      f'{view} does not overlap the image of {width} x {height} pixels.'
    )
  if border == 'reflect':
    padded = _reflect(image, view)
  else:
    padded = cv2.copyMakeBorder(
      image[top:bottom, left:right],
      top - view.y0,
      view.y0 + view.side - bottom,
      left - view.x0,
      view.x0 + view.side - right,
      cv2.BORDER_CONSTANT if border == 'zero' else cv2.BORDER_REPLICATE,
    )
  shrinks = size < view.side
  return cv2.resize(
    padded,
    (size, size),
    interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
  )


def _reflect(image: np.ndarray, square: Square) -> np.ndarray:
  """Crops a square of an image that is mirrored endlessly at its borders."""

  def places(start: int, length: int) -> np.ndarray:
    # The period of a mirror that does not repeat the border pixel.
    period = max(1, 2 * (length - 1))
    place = np.arange(start, start + square.side) % period
    return np.minimum(place, period - place) if length > 1 else 0 * place

  height, width = image.shape[:2]
  return image[places(square.y0, height)][:, places(square.x0, width)]


def _frame_of(
  view: Square | Region, size: int
) -> tuple[np.ndarray, np.ndarray]:
  """(offset, scale) of x0, y0, x1, y1: crop = (frame - offset) * scale."""
  offset = np.array([view.x0, view.y0] * 2, np.float64)
  if isinstance(view, Region):
    sides = np.array([view.x1 - view.x0, view.y1 - view.y0] * 2, np.float64)
  else:
    sides = np.full(4, float(view.side))
  return offset, size / sides


def box_in_crop(box, view: Square | Region, size: int) -> np.ndarray:
  """Maps a box of the frame into the crop: float64 [4]."""
  offset, scale = _frame_of(view, size)
  return (np.asarray(box, np.float64) - offset) * scale


def face_ellipse(box, size: int, map_size: int) -> np.ndarray:
  """The ellipse inscribed in a face box, on the grid of a map.

  Args:
    box: floats [4] in pixels of the crop.
    size: side of the crop.
    map_size: side of the map.

  Returns:
    uint8 [map_size, map_size], 255 in cells whose centre is inside, else 0; at
    least one cell is 255.
  """
  x0, y0, x1, y1 = (float(value) for value in box)
  centres = (np.arange(map_size) + 0.5) * size / map_size
  u = (2 * centres - x0 - x1) / (x1 - x0)
  v = (2 * centres - y0 - y1) / (y1 - y0)
  distance = v[:, None] ** 2 + u[None, :] ** 2
  inside = distance <= max(1.0, distance.min())
  return np.where(inside, 255, 0).astype(np.uint8)
