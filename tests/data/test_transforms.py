import dataclasses

import numpy as np
import pytest

from nasfas_jax import stored_frames
from nasfas_jax.data import clips, transforms

NOTHING = transforms.Augmentation(
  face_scale=(1.0, 1.0),
  flip=0.0,
  colour=0.0,
  gamma=(1.0, 1.0),
  erase=0.0,
  erase_area=(0.01, 0.05),
  cutout=0.0,
  cutout_side=0.2,
  noise=0.0,
  blur=0.0,
)


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
    'flip': False,
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


def test_flip_mirrors_pictures_and_maps_alike():
  example = record()
  example['face_box'] = np.array([6.0, 8.0, 27.0, 32.0], np.float32)
  plain, flipped = snippet(example, [0, 1]), snippet(example, [0, 1], flip=True)
  np.testing.assert_array_equal(flipped['frames'], plain['frames'][:, :, ::-1])
  for name in ('depth', 'face_mask', 'score_mask'):
    np.testing.assert_array_equal(flipped[name], plain[name][:, ::-1])


def test_colour_change_equals_the_formula_and_is_shared_by_frames():
  frames = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
  strengths = dataclasses.replace(NOTHING, colour=40.0, gamma=(0.5, 1.5))
  out = transforms.augment(frames, strengths, np.random.default_rng(7))
  rng = np.random.default_rng(7)
  gamma = rng.uniform(0.5, 1.5)
  shift = rng.uniform(-40, 40, size=3)
  expected = np.clip(np.round(255 * (frames / 255) ** gamma + shift), 0, 255)
  np.testing.assert_array_equal(out, expected)


def test_erasing_and_cutout_hit_the_same_place_of_every_frame():
  frames = np.full((4, 32, 32, 3), 200, np.uint8)
  strengths = dataclasses.replace(NOTHING, erase=1.0, cutout=1.0)
  for seed in range(20):
    out = transforms.augment(frames, strengths, np.random.default_rng(seed))
    np.testing.assert_array_equal(out, np.broadcast_to(out[:1], out.shape))


def hole(picture, grey):
  """Rows and columns of the rectangle that is not grey, and its mask."""
  changed = np.any(picture != grey, axis=-1)
  rows = np.flatnonzero(changed.any(axis=1))
  columns = np.flatnonzero(changed.any(axis=0))
  return rows, columns, changed


def test_cutout_is_a_grey_square_of_every_size_up_to_the_largest():
  frames = np.full((2, 40, 40, 3), 200, np.uint8)
  settings = dataclasses.replace(NOTHING, cutout=1.0, cutout_side=0.5)
  sides, places = [], set()
  for seed in range(60):
    out = transforms.augment(frames, settings, np.random.default_rng(seed))
    rows, columns, changed = hole(out[0], 200)
    assert changed.sum() == len(rows) * len(columns) == len(rows) ** 2
    np.testing.assert_array_equal(out[0][changed], 128)
    sides.append(len(rows))
    places.add((rows[0], columns[0]))
  # Uniform in [0, 20], but for the rounding; at least one pixel.
  assert max(sides) in (19, 20) and min(sides) in (1, 2)
  assert np.mean(sides) == pytest.approx(10, abs=3 * 5.8 / np.sqrt(60))
  assert len(places) > 30


def test_erasing_is_noise_in_a_rectangle_of_the_drawn_area():
  frames = np.full((2, 100, 100, 3), 200, np.uint8)
  settings = dataclasses.replace(NOTHING, erase=1.0, erase_area=(0.02, 0.06))
  areas, aspects, values = [], [], []
  for seed in range(60):
    out = transforms.augment(frames, settings, np.random.default_rng(seed))
    rows, columns, changed = hole(out[0], 200)
    areas.append(len(rows) * len(columns) / 100**2)
    aspects.append(len(rows) / len(columns))
    values.append(out[0][changed].mean())
  # Uniform, but for the rounding of the sides.
  assert 0.017 < min(areas) < 0.024 and 0.056 < max(areas) < 0.065
  assert 1 / 3.5 < min(aspects) < 0.5 and 2 < max(aspects) < 3.5
  # The mean of the grey levels, over hundreds of pixels.
  np.testing.assert_allclose(values, 127.5, atol=12)


def test_noise_is_new_in_every_frame_and_of_the_drawn_strength():
  frames = np.full((4, 32, 32, 3), 128, np.uint8)
  settings = dataclasses.replace(NOTHING, noise=20.0)
  spreads = []
  for seed in range(200):
    noisy = transforms.augment(frames, settings, np.random.default_rng(seed))
    spreads.append((noisy.astype(np.float64) - 128).std())
  assert np.any(noisy[0] != noisy[1])
  # Strengths are uniform in [0, 20]: mean 10, deviation 5.8.
  assert np.mean(spreads) == pytest.approx(10, abs=1.5)
  assert max(spreads) < 20.5


def test_blur_is_one_gaussian_for_all_frames():
  frames = np.zeros((3, 33, 33, 3), np.uint8)
  frames[:, 16, 16] = 250
  settings = dataclasses.replace(NOTHING, blur=4.0)
  blurred = transforms.augment(frames, settings, np.random.default_rng(0))
  np.testing.assert_array_equal(blurred[0], blurred[2])
  spot = blurred[0, :, :, 0].astype(np.float64)
  offsets = np.arange(33) - 16
  variance = (spot.sum(axis=0) * offsets**2).sum() / spot.sum()
  assert 0.3 < np.sqrt(variance) <= 4.0
  assert spot[16, 16] == spot.max() < 250


def test_zero_strengths_change_nothing():
  frames = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
  out = transforms.augment(frames, NOTHING, np.random.default_rng(0))
  np.testing.assert_array_equal(out, frames)
