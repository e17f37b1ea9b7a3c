import numpy as np
import pytest

from nasfas_jax import stored_frames
from nasfas_jax.data import clips, transforms


def record(num_frames=5, side=40, depth=True, seed=0):
  rng = np.random.default_rng(seed)
  images = rng.integers(0, 256, (num_frames, side, side, 3), dtype=np.uint8)
  maps = rng.integers(1, 256, (num_frames, 32, 32), dtype=np.uint8)
  return {
    'frames': clips.Frames([stored_frames.encode(image) for image in images]),
    'images': images,
    'depth': maps if depth else np.zeros((0, 32, 32), np.uint8),
    'face_box': np.array([10.0, 8.0, 30.0, 32.0], np.float32),
  }


def bilinear(image, x, y):
  """Reference: bilinear sample at pixel-centre coordinates, border clamped."""
  height, width = image.shape[:2]
  x0, y0 = int(np.floor(x)), int(np.floor(y))
  total = 0.0
  for i, wy in ((y0, 1 - (y - y0)), (y0 + 1, y - y0)):
    for j, wx in ((x0, 1 - (x - x0)), (x0 + 1, x - x0)):
      pixel = image[min(max(i, 0), height - 1), min(max(j, 0), width - 1)]
      total = total + wy * wx * pixel.astype(np.float64)
  return total


@pytest.mark.parametrize('square', [(3.0, 5.0, 16.0), (-4.0, 30.0, 20.0)])
def test_crop_square_equals_bilinear_sampling_by_loops(square):
  image = np.random.default_rng(0).random((40, 40)).astype(np.float32)
  size = 8
  expected = np.zeros((size, size))
  x0, y0, side = square
  for i in range(size):
    for j in range(size):
      x = x0 + (j + 0.5) * side / size - 0.5
      y = y0 + (i + 0.5) * side / size - 0.5
      expected[i, j] = bilinear(image, x, y)
  actual = transforms.crop_square(image, square, size)
  # OpenCV interpolates on a grid of 1/32 pixel.
  np.testing.assert_allclose(actual, expected, atol=0.06)


def test_crop_of_the_same_size_copies_pixels():
  image = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
  actual = transforms.crop_square(image, (2.0, 3.0, 10.0), 10)
  np.testing.assert_array_equal(actual, image[3:13, 2:12])


def test_square_around_is_centred_and_scaled_by_the_larger_side():
  assert transforms.square_around(np.array([10, 8, 30, 32]), 1.5) == (
    20 - 18,
    20 - 18,
    36,
  )


@pytest.mark.parametrize(
  ('available', 'wanted', 'snippet', 'snippets', 'expected'),
  [
    (8, 8, 0, 1, [0, 1, 2, 3, 4, 5, 6, 7]),
    (10, 4, 0, 1, [3, 4, 5, 6]),
    (12, 4, 0, 2, [2, 3, 4, 5]),
    (12, 4, 1, 2, [6, 7, 8, 9]),
    (1, 3, 0, 1, [0, 0, 0]),
    (3, 5, 0, 1, [0, 0, 1, 2, 2]),
  ],
)
def test_even_frame_indices(available, wanted, snippet, snippets, expected):
  actual = transforms.even_frame_indices(available, wanted, snippet, snippets)
  assert actual.tolist() == expected


def test_train_frame_indices_are_runs_that_reach_both_ends():
  rng = np.random.default_rng(0)
  starts = set()
  for _ in range(200):
    places = transforms.train_frame_indices(12, 8, rng)
    np.testing.assert_array_equal(np.diff(places), 1)
    starts.add(int(places[0]))
  assert starts == {0, 1, 2, 3, 4}


def test_face_ellipse_equals_a_loop():
  box, square, size = np.array([10.0, 8.0, 30.0, 32.0]), (2.0, 2.0, 36.0), 9
  expected = np.zeros((size, size), np.float32)
  for i in range(size):
    for j in range(size):
      x, y = 2 + (j + 0.5) * 4, 2 + (i + 0.5) * 4
      inside = ((x - 20) / 10) ** 2 + ((y - 20) / 12) ** 2 <= 1
      expected[i, j] = inside
  actual = transforms.face_ellipse(box, square, size)
  np.testing.assert_array_equal(actual, expected)
  assert 0 < expected.mean() < 1


def test_face_ellipse_is_never_empty():
  tiny = np.array([10.0, 10.0, 10.5, 10.5])
  assert transforms.face_ellipse(tiny, (0.0, 0.0, 32.0), 4).sum() >= 1


def snippet(example, places, **changes):
  options = {
    'image_size': 24,
    'map_size': 16,
    'face_scale': 1.0,
    **changes,
  }
  return transforms.make_snippet(example, np.array(places), **options)


def test_snippet_holds_the_chosen_frames_of_one_crop():
  example = record()
  out = snippet(example, [1, 2, 2])
  # The box is 20 x 24: a square of 24 around (20, 20), no resampling.
  expected = example['images'][[1, 2, 2], 8:32, 8:32]
  np.testing.assert_array_equal(out['frames'], expected)
  assert out['frames'].dtype == np.uint8


def test_depth_is_that_of_the_static_frame_in_the_same_crop():
  example = record(side=32)
  example['face_box'] = np.array([8.0, 8.0, 24.0, 24.0], np.float32)
  out = snippet(example, [0, 1, 3, 4], image_size=16)
  expected = example['depth'][3, 8:24, 8:24] / 255.0
  np.testing.assert_allclose(out['depth'], expected, atol=1e-6)
  assert out['depth'].dtype == np.float32
  np.testing.assert_array_equal(out['face_mask'], np.ones((16, 16)))


def test_without_depth_the_face_ellipse_stands_in():
  out = snippet(record(depth=False), [0, 1])
  np.testing.assert_array_equal(out['depth'], out['score_mask'])


def test_score_mask_does_not_depend_on_depth():
  with_depth = snippet(record(depth=True), [0, 1])
  without = snippet(record(depth=False), [0, 1])
  np.testing.assert_array_equal(with_depth['score_mask'], without['score_mask'])
