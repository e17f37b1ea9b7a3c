"""Crops against explicit loops; the box mapping against its inverse."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasfas_jax import records
from nasfas_jax.preprocessing import crop

IMAGE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


def reference_cut(image, square, size, border='replicate'):
  """Area means when shrinking, half-pixel bilinear when enlarging, in loops."""
  height, width = image.shape[:2]

  def pixel(y, x):
    y, x = y + square.y0, x + square.x0
    if border == 'zero' and not (0 <= y < height and 0 <= x < width):
      return np.zeros(image.shape[2:])
    while border == 'reflect' and not (0 <= y < height and 0 <= x < width):
      y, x = (
        -p if p < 0 else 2 * (n - 1) - p if p >= n else p
        for p, n in ((y, height), (x, width))
      )
    return image[min(max(y, 0), height - 1), min(max(x, 0), width - 1)] * 1.0

  def weights(i):
    """Shares of the square's pixels in output pixel i along one axis."""
    step = square.side / size
    if step > 1:
      low, high = i * step, (i + 1) * step
      for p in range(int(low), min(math.ceil(high), square.side)):
        yield p, (min(high, p + 1) - max(low, p)) / step
    else:
      place = (i + 0.5) * step - 0.5
      low = math.floor(place)
      last = square.side - 1
      yield min(max(low, 0), last), low + 1 - place
      yield min(max(low + 1, 0), last), place - low

  result = np.zeros((size, size, *image.shape[2:]))
  for i in range(size):
    for j in range(size):
      for y, wy in weights(i):
        for x, wx in weights(j):
          result[i, j] += wy * wx * pixel(y, x)
  return result


@pytest.mark.parametrize('border', crop.BORDERS)
@pytest.mark.parametrize(
  'square',
  [
    crop.Square(4, 3, 16),  # inside
    crop.Square(-5, 2, 18),  # past the left border
    crop.Square(14, 10, 24),  # past the lower right corner
    crop.Square(-8, -12, 48),  # all around
    crop.Square(-40, 5, 60),  # more than a whole frame past
  ],
)
@pytest.mark.parametrize('size', [8, 16, 27])
def test_cut_matches_loops(square, size, border):
  result = crop.cut(IMAGE, square, size, border=border)
  expected = reference_cut(IMAGE, square, size, border)
  assert result.shape == (size, size, 3) and result.dtype == np.uint8
  np.testing.assert_allclose(result, expected, atol=1.01)


def test_cut_at_the_same_size_is_a_slice():
  result = crop.cut(IMAGE, crop.Square(4, 3, 16), 16)
  np.testing.assert_array_equal(result, IMAGE[3:19, 4:20])


def test_cut_of_a_map_has_no_channel():
  assert crop.cut(IMAGE[..., 0], crop.Square(0, 0, 20), 7).shape == (7, 7)


def test_cut_outside():
  with pytest.raises(ValueError, match='does not overlap.* 32 x 24'):
    crop.cut(IMAGE, crop.Square(40, 0, 10), 8)


def test_square_around_hand_worked():
  # Larger side 20, times 1.6 = 32, about the centre (20, 40).
  assert crop.square_around((10, 35, 30, 45)) == crop.Square(4, 24, 32)
  assert crop.square_around((0, 0, 1, 1), 0.1).side == 1


@pytest.mark.parametrize('width, height', [(64, 48), (48, 64), (50, 50)])
def test_default_box_makes_the_crop_the_frame(width, height):
  box = crop.default_box(width, height)
  square = crop.square_around(box)
  side = max(width, height)
  assert square == crop.Square((width - side) // 2, (height - side) // 2, side)
  np.testing.assert_allclose(
    (box[2:] - box[:2]) * records.WIDE_MARGIN, (width, height)
  )


def test_marked_face_lands_in_the_mapped_box():
  image = np.zeros((90, 120), np.uint8)
  image[30:50, 70:100] = 255
  box = (70, 30, 100, 50)
  square = crop.square_around(box)
  inner = crop.box_in_crop(box, square, 96)
  np.testing.assert_allclose(inner, [18, 28, 78, 68])
  expected = np.zeros((96, 96), np.uint8)
  expected[28:68, 18:78] = 255
  # Enlarged twice, so that the edges are blended: compared at half height.
  result = np.where(crop.cut(image, square, 96) > 127, 255, 0)
  np.testing.assert_array_equal(result, expected)


boxes = st.tuples(
  st.floats(0, 500), st.floats(0, 500), st.floats(1, 300), st.floats(1, 300)
).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))


@settings(deadline=None)
@given(boxes, st.integers(8, 300))
def test_box_maps_there_and_back(box, size):
  square = crop.square_around(box)
  inner = crop.box_in_crop(box, square, size)
  back = inner * square.side / size + [square.x0, square.y0] * 2
  np.testing.assert_allclose(back, box, atol=1e-9, rtol=1e-12)
  # Rounding to the pixel grid moves it by at most a pixel of the frame.
  centre = (inner[:2] + inner[2:]) / 2
  np.testing.assert_allclose(centre, size / 2, atol=1.01 * size / square.side)
  larger = np.max(inner[2:] - inner[:2])
  assert abs(larger * records.WIDE_MARGIN - size) <= 0.51 * size / square.side


@pytest.mark.parametrize(
  'box, message',
  [
    ((0, 0, math.nan, 5), 'finite'),
    ((0, 0, math.inf, 5), 'finite'),
    ((0, 0, 5), 'four'),
    ((5, 0, 5, 5), 'empty'),
    ((6, 0, 5, 5), 'empty'),
    ((0, 0, 0.5, 5), 'empty'),
    ((-1, 0, 5, 5), 'not inside the frame of 20 x 10'),
    ((0, -0.1, 5, 5), 'not inside'),
    ((0, 0, 21, 5), 'not inside'),
    ((0, 0, 5, 10.5), 'not inside'),
  ],
)
def test_check_box(box, message):
  with pytest.raises(ValueError, match=message):
    crop.check_box(box, 20, 10)


def test_check_box_accepts_the_whole_frame():
  assert crop.check_box((0, 0, 20, 10), 20, 10).tolist() == [0, 0, 20, 10]


def test_median_box_ignores_wrong_and_missing_boxes():
  found = [
    (10, 20, 30, 60),
    (12, 20, 32, 60),
    (300, 300, 310, 310),  # A false detection.
    (math.nan,) * 4,  # No face in this frame.
    (14, 20, 34, 60),
    (5, 5, 5, 5),
    (12, 22, 32, 62),
  ]
  # Centres (20|22|305|24|22, 40|40|305|40|42), sizes (20, 40), one of 10.
  assert crop.median_box(found).tolist() == [12, 20, 32, 60]
  with pytest.raises(ValueError, match='No frame'):
    crop.median_box([(math.nan,) * 4])
  with pytest.raises(ValueError, match='shape'):
    crop.median_box((1, 2, 3, 4))


@pytest.mark.parametrize('box', [(20, 10, 60, 70), (15, 15, 65, 65)])
def test_face_ellipse_matches_loops(box):
  mask = crop.face_ellipse(box, 80, 32)
  x0, y0, x1, y1 = box
  for i in range(32):
    for j in range(32):
      y, x = (i + 0.5) * 2.5, (j + 0.5) * 2.5
      u = (x - (x0 + x1) / 2) / ((x1 - x0) / 2)
      v = (y - (y0 + y1) / 2) / ((y1 - y0) / 2)
      assert mask[i, j] == (255 if u * u + v * v <= 1 else 0)


def test_face_ellipse_is_never_empty():
  assert crop.face_ellipse((10.1, 10.1, 10.2, 10.2), 80, 32).sum() >= 255


def reference_stretch(image, box, scale, size):
  """CDCN's crop in loops: floor, clip, then half-pixel bilinear."""
  height, width = image.shape[:2]
  spans = []
  for axis, limit in ((0, width), (1, height)):
    middle = (box[axis] + box[axis + 2]) / 2
    half = (box[axis + 2] - box[axis]) * scale / 2
    low = max(0, math.floor(middle - half))
    high = min(limit, math.floor(middle + half))
    spans.append((low, high))
  result = np.zeros((size, size, *image.shape[2:]))
  (x0, x1), (y0, y1) = spans
  for i in range(size):
    for j in range(size):
      y = (i + 0.5) * (y1 - y0) / size - 0.5
      x = (j + 0.5) * (x1 - x0) / size - 0.5
      for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
          weight = (1 - abs(y - row)) * (1 - abs(x - column))
          result[i, j] += (
            weight
            * image[
              y0 + min(max(row, 0), y1 - y0 - 1),
              x0 + min(max(column, 0), x1 - x0 - 1),
            ]
          )
  return result


@pytest.mark.parametrize(
  'box', [(8, 6, 18, 20), (-3, 2, 9, 30), (20, 4, 31, 9)]
)
def test_the_clipped_region_is_stretched(box):
  region = crop.clipped_region(box, 1.3, 32, 24)
  found = crop.cut(IMAGE, region, 16)
  expected = reference_stretch(IMAGE, box, 1.3, 16)
  np.testing.assert_allclose(found, expected, atol=1)
  inner = crop.box_in_crop(box, region, 16)
  sides = [region.x1 - region.x0, region.y1 - region.y0] * 2
  back = inner * sides / 16 + [region.x0, region.y0] * 2
  np.testing.assert_allclose(back, box)
  # The corners of the region are those of the crop.
  corners = (region.x0, region.y0, region.x1, region.y1)
  np.testing.assert_allclose(
    crop.box_in_crop(corners, region, 16), (0, 0, 16, 16)
  )


def test_a_box_beside_the_frame_has_no_region():
  with pytest.raises(ValueError, match='does not overlap the frame of 32 x 24'):
    crop.clipped_region((40, 2, 50, 9), 1.3, 32, 24)
