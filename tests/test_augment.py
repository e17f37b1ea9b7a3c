"""The device's crop and augmentation against NumPy and OpenCV."""

import dataclasses
import functools

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageOps

from nasfas_jax import augment
from nasfas_jax.data import pipeline, transforms

NOTHING = augment.Augmentation(
  face_scale=(1.0, 1.0),
  shift=0.0,
  flip=0.0,
  colour=0.0,
  gamma=(1.0, 1.0),
  erase=0.0,
  erase_area=(0.01, 0.05),
  cutout=0.0,
  cutout_side=0.2,
  noise=0.0,
  blur=0.0,
  compression=0.0,
)
EVERYTHING = dataclasses.replace(
  NOTHING,
  face_scale=(0.8, 1.4),
  shift=0.1,
  flip=0.5,
  colour=40.0,
  gamma=(0.5, 1.5),
  erase=0.5,
  cutout=0.5,
  noise=5.0,
  blur=1.0,
  compression=60.0,
)
SHAPE = pipeline.SnippetShape(num_frames=3, image_size=24, map_size=8)
BOX = np.array([10.0, 8.0, 30.0, 32.0], np.float32)


def record(side=40, depth=True, seed=0, box=BOX):
  """A record, its frames decoded."""
  rng = np.random.default_rng(seed)
  maps = rng.integers(1, 256, (3, 32, 32), dtype=np.uint8)
  return {
    'frames': rng.integers(0, 256, (3, side, side, 3), dtype=np.uint8),
    'depth': maps if depth else np.zeros((0, 32, 32), np.uint8),
    'face_box': box,
  }


def raw_batch(records, padded=48):
  """What the pipeline makes of records; the padding is noise."""
  rng = np.random.default_rng(9)
  clips = []
  for place, one in enumerate(records):
    side = one['frames'].shape[1]
    frames = rng.integers(0, 256, (3, padded, padded, 3), dtype=np.uint8)
    frames[:, :side, :side] = one['frames']
    has_depth = len(one['depth']) > 0
    clips.append(
      {
        'frames': frames,
        'frame_size': np.full(2, side, np.int32),
        'depth': one['depth'][1] if has_depth else np.zeros((32, 32), np.uint8),
        'has_depth': np.bool_(has_depth),
        'face_box': one['face_box'],
        'place': np.int32(place),
        'label': np.int32(place % 2),
      }
    )
  return {name: np.stack([c[name] for c in clips]) for name in clips[0]}


@functools.cache
def program(augmentation, shape=SHAPE):
  return jax.jit(
    functools.partial(
      augment.prepare_step, shape=shape, augmentation=augmentation
    )
  )


def prepare(raw, augmentation, step=0, seed=0):
  made = program(augmentation)(raw, np.int32(step), seed)
  return {name: np.asarray(array) for name, array in made.items()}


def bilinear(picture, square, size):
  """Reference by loops: samples at pixel centres, the border clamped."""
  x0, y0, side = square
  height, width = picture.shape[:2]
  result = np.zeros((size, size, *picture.shape[2:]))
  for i in range(size):
    for j in range(size):
      x = x0 + (j + 0.5) * side / size - 0.5
      y = y0 + (i + 0.5) * side / size - 0.5
      left, top = int(np.floor(x)), int(np.floor(y))
      for row, wy in ((top, 1 - (y - top)), (top + 1, y - top)):
        for column, wx in ((left, 1 - (x - left)), (left + 1, x - left)):
          pixel = picture[
            min(max(row, 0), height - 1), min(max(column, 0), width - 1)
          ]
          result[i, j] += wy * wx * pixel.astype(np.float64)
  return result


SQUARES = [(3.3, 5.2, 16.9), (-4.0, 30.1, 20.0), (2.0, 3.0, 8.0), (0, 0, 40)]


@pytest.mark.parametrize('flip', [False, True])
def test_crop_equals_bilinear_sampling_by_loops_in_both_forms(flip):
  pictures = record()['frames']
  padded = np.pad(pictures, ((0, 0), (0, 7), (0, 3), (0, 0)))
  available = jnp.array([40, 40])
  for square in SQUARES:
    x0, y0, side = map(np.float32, square)
    found = augment.crop(padded, (x0, y0, side), available, 8, jnp.bool_(flip))
    for one, picture in zip(found, pictures, strict=True):
      expected = bilinear(picture, square, 8)
      expected = expected[:, ::-1] if flip else expected
      np.testing.assert_allclose(one, expected, atol=2e-3)
    rows = augment._taps(y0, side, 8, 40, jnp.bool_(False))
    columns = augment._taps(x0, side, 8, 40, jnp.bool_(flip))
    product = augment._crop_by_products(padded, rows, columns)
    values = augment._taps(x0, side, 8, 40, jnp.bool_(flip), 3)
    gather = augment._crop_by_gather(padded, rows, values)
    np.testing.assert_array_equal(gather, found)
    np.testing.assert_allclose(product, found, atol=1e-3)


def test_a_tpu_gets_products_and_other_devices_gathers():
  lowered = {}
  for platform in ('tpu', 'cuda', 'cpu'):
    traced = jax.jit(augment.crop, static_argnums=3).trace(
      record()['frames'],
      (np.float32(1), np.float32(2), np.float32(9)),
      np.array([40, 40], np.int32),
      *(8, np.bool_(False)),
    )
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    lowered[platform] = ('dot_general' in text, 'gather' in text)
  assert lowered['tpu'] == (True, False)
  assert lowered['cuda'] == lowered['cpu'] == (False, True)


@pytest.mark.parametrize('flip', [False, True])
def test_a_crop_of_the_same_size_on_the_grid_is_a_copy(flip):
  # The box is 20 x 24, the square 24 around (20, 20).
  records = [record(), record(depth=False, seed=1)]
  made = prepare(
    raw_batch(records), dataclasses.replace(NOTHING, flip=float(flip))
  )
  for number, one in enumerate(records):
    for frame, picture in zip(
      made['frames'][number], one['frames'], strict=True
    ):
      expected = Image.fromarray(picture).crop((8, 8, 32, 32))
      expected = ImageOps.mirror(expected) if flip else expected
      np.testing.assert_array_equal(frame, np.asarray(expected))
  assert made['frames'].dtype == np.uint8
  assert made['label'].tolist() == [0, 1]


def test_at_128_clips_of_the_rendered_dataset_are_copied():
  # As stored: 80 pixels, the face box 50 in the middle.
  one = record(side=80, box=np.array([15, 15, 65, 65], np.float32))
  shape = dataclasses.replace(SHAPE, image_size=64)
  same = dataclasses.replace(NOTHING, face_scale=(1.28, 1.28))
  made = program(same, shape)(raw_batch([one], padded=80), np.int32(0), 0)
  np.testing.assert_array_equal(made['frames'][0], one['frames'][:, 8:72, 8:72])


@pytest.mark.parametrize('scale', [0.83, 1.31])
def test_without_augmentation_a_batch_is_what_evaluation_reads(scale):
  records = [
    record(),
    record(depth=False, seed=1),
    record(side=48, box=np.array([11.3, 9.9, 36.1, 34.2], np.float32)),
  ]
  made = prepare(
    raw_batch(records), dataclasses.replace(NOTHING, face_scale=(scale, scale))
  )
  for number, one in enumerate(records):
    expected = transforms.make_snippet(
      one, np.arange(3), image_size=24, map_size=8, face_scale=scale
    )
    apart = np.abs(made['frames'][number] - expected['frames'].astype(float))
    # OpenCV before version 5 samples on a grid of 1/32 pixel.
    assert apart.mean() < 1.5 and apart.max() < 12
    np.testing.assert_array_equal(
      made['score_mask'][number], expected['score_mask']
    )
    np.testing.assert_allclose(
      made['depth'][number], expected['depth'], atol=0.05
    )
    np.testing.assert_array_equal(
      made['face_mask'][number], expected['face_mask']
    )
  assert {made[n].dtype for n in ('depth', 'face_mask')} == {np.dtype('f4')}


def test_flips_mirror_pictures_and_maps_alike_for_half_of_the_clips():
  box = np.array([6.0, 8.0, 27.0, 32.0], np.float32)
  records = [record(box=box)] * 64
  plain = prepare(raw_batch(records), NOTHING)
  made = prepare(raw_batch(records), dataclasses.replace(NOTHING, flip=0.5))
  flipped = 0
  for number in range(64):
    mirrored = not np.array_equal(
      made['frames'][number], plain['frames'][number]
    )
    flipped += mirrored
    for name in ('frames', 'depth', 'face_mask', 'score_mask'):
      axis = -2 if name == 'frames' else -1
      expected = plain[name][number]
      expected = np.flip(expected, axis) if mirrored else expected
      np.testing.assert_allclose(made[name][number], expected, atol=1e-6)
  assert 20 <= flipped <= 44


def test_face_scales_are_uniform_between_their_limits():
  ramp = np.zeros((3, 40, 40, 3), np.uint8)
  ramp[:] = 6 * np.arange(40)[:, None]
  one = {**record(), 'frames': ramp}
  raw = raw_batch([one] * 256)
  made = prepare(raw, dataclasses.replace(NOTHING, face_scale=(0.8, 1.4)))
  left, right = (made['frames'][:, 0, 0, i, 0].astype(float) for i in (0, -1))
  # The outer pixel centres are 23/24 of the side apart; the face has 24.
  scales = (right - left) / 6 / (23 / 24) / 24
  assert 0.79 < scales.min() < 0.83 and 1.37 < scales.max() < 1.41
  assert scales.mean() == pytest.approx(1.1, abs=0.04)


def test_shifts_are_whole_pixels_each_way_and_move_pictures_and_maps():
  # Without a shift the crop is 24 pixels at (8, 8) of 40.
  one = record()
  raw = raw_batch([one] * 256)
  made = prepare(raw, dataclasses.replace(NOTHING, shift=0.25))
  places = {
    one['frames'][:, y : y + 24, x : x + 24].tobytes(): (x, y)
    for x in range(17)
    for y in range(17)
  }
  found = np.array([places[clip.tobytes()] for clip in made['frames']]) - 8
  np.testing.assert_array_equal(
    found,
    [np.round(drawn(key, 'shift', -6, 6, (2,))) for key in clip_keys(256)],
  )
  # A quarter of 24 pixels; the outermost are as wide as half a pixel.
  assert found.min(axis=0).tolist() == [-6, -6]
  assert found.max(axis=0).tolist() == [6, 6]
  assert np.abs(found.mean(axis=0)).max() < 0.7
  assert abs(np.corrcoef(found.T)[0, 1]) < 0.2
  for number, (x, y) in enumerate(found[:8]):
    square = (8.0 + x, 8.0 + y, 24.0)
    ellipse = transforms.face_ellipse(BOX, square, 8)
    np.testing.assert_array_equal(made['score_mask'][number], ellipse)
    depth = transforms.crop_square(
      one['depth'][1], tuple(value * 32 / 40 for value in square), 8
    )
    np.testing.assert_allclose(made['depth'][number], depth / 255, atol=0.05)


def clip_keys(number, seed=0):
  """The keys of the clips of a batch, as `prepare_step` makes them."""
  key = jax.random.fold_in(jax.random.key(seed), augment._STREAM)
  key = jax.random.fold_in(key, 0)
  return [jax.random.fold_in(key, place) for place in range(number)]


def drawn(key, part, low, high, shape=()):
  return np.asarray(augment._uniform(key, part, low, high, shape), np.float64)


def test_colour_change_equals_the_formula_and_is_shared_by_frames():
  records = [record(seed=seed) for seed in range(4)]
  plain = prepare(raw_batch(records), NOTHING)['frames'].astype(np.float64)
  strengths = dataclasses.replace(NOTHING, colour=40.0, gamma=(0.5, 1.5))
  made = prepare(raw_batch(records), strengths)['frames']
  for number, key in enumerate(clip_keys(4)):
    gamma = drawn(key, 'gamma', 0.5, 1.5)
    shift = drawn(key, 'colour', -40, 40, (1, 1, 1, 3))
    curve = 255 * (plain[number] / 255) ** gamma + shift
    expected = np.clip(np.round(curve), 0, 255)
    apart = np.abs(made[number] - expected)
    # A value within float32's error of a half is rounded either way.
    assert apart.max() <= 1 and (apart > 0).mean() < 1e-3


def test_gamma_alone_and_colour_alone_keep_the_grey_levels_they_should():
  levels = np.arange(256, dtype=np.float32).reshape(1, 16, 16, 1).repeat(3, -1)
  key = jax.random.key(0)
  # A gamma of 1 with a shift near 0 goes through exp and log and back.
  tiny = dataclasses.replace(NOTHING, colour=1e-6)
  np.testing.assert_array_equal(augment.augment(levels, key, tiny), levels)
  curved = augment.augment(
    levels, key, dataclasses.replace(NOTHING, gamma=(0.5, 0.5))
  )
  expected = np.round(255 * np.sqrt(levels / 255))
  np.testing.assert_allclose(curved, expected, atol=1)
  assert curved[0, 0, 0, 0] == 0 and curved[0, 15, 15, 0] == 255


def test_blur_is_that_of_opencv_with_the_drawn_strength():
  records = [record(seed=seed) for seed in range(4)]
  plain = prepare(raw_batch(records), NOTHING)['frames']
  made = prepare(raw_batch(records), dataclasses.replace(NOTHING, blur=3.0))
  sigmas = []
  for number, key in enumerate(clip_keys(4)):
    sigma = float(drawn(key, 'blur', 0, 3))
    sigmas.append(sigma)
    for frame, picture in zip(
      made['frames'][number], plain[number], strict=True
    ):
      expected = picture.astype(np.float32)
      if sigma > 0.3:
        expected = cv2.GaussianBlur(
          expected, (25, 25), sigma, borderType=cv2.BORDER_REFLECT_101
        )
      np.testing.assert_allclose(frame, expected, atol=0.51)
  assert max(sigmas) > 1


def test_a_blur_wider_than_the_picture_mirrors_more_than_once():
  row = np.random.default_rng(0).random(5).astype(np.float32)
  weights = augment._blur_weights(5, jnp.float32(2.5), 2.5)
  period = np.concatenate([row, row[-2:0:-1]])
  endless = np.tile(period, 9)
  start = 4 * len(period)
  reach = np.arange(-10, 11)
  kernel = np.exp(-0.5 * (reach / 2.5) ** 2)
  kernel /= kernel.sum()
  expected = [endless[start + i + reach] @ kernel for i in range(5)]
  np.testing.assert_allclose(weights @ row, expected, rtol=1e-5)


@functools.cache
def changed(augmentation, number=200, side=32, frames=2, grey=200.0):
  """Grey clips after a change, each with its own key: [N, K, S, S, 3]."""
  keys = jax.random.split(jax.random.key(3), number)
  picture = jnp.full((frames, side, side, 3), grey)
  made = jax.jit(
    jax.vmap(lambda key: augment.augment(picture, key, augmentation))
  )(keys)
  return np.asarray(made)


def holes(made, grey=200):
  """Rows, columns and the mask of the rectangle that is not grey."""
  for clip in made:
    np.testing.assert_array_equal(clip, np.broadcast_to(clip[:1], clip.shape))
    mask = np.any(clip[0] != grey, axis=-1)
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(mask.any(axis=0))
    yield rows, columns, mask, clip[0]


def test_cutout_is_a_grey_square_of_every_size_up_to_the_largest():
  strengths = dataclasses.replace(NOTHING, cutout=1.0, cutout_side=0.5)
  sides, places = [], set()
  for rows, columns, mask, picture in holes(changed(strengths, side=40)):
    assert mask.sum() == len(rows) * len(columns) == len(rows) ** 2
    np.testing.assert_array_equal(picture[mask], 128)
    sides.append(len(rows))
    places.add((rows[0], columns[0]))
  # Uniform in [0, 20], but for the rounding; at least one pixel.
  assert max(sides) in (19, 20) and min(sides) == 1
  assert np.mean(sides) == pytest.approx(10, abs=3 * 5.8 / np.sqrt(200))
  # They reach every border.
  assert len(places) > 100
  assert min(row for row, _ in places) == min(c for _, c in places) == 0


def test_erasing_is_noise_in_a_rectangle_of_the_drawn_area():
  strengths = dataclasses.replace(NOTHING, erase=1.0, erase_area=(0.02, 0.06))
  areas, aspects, values = [], [], []
  made = changed(strengths, side=100, frames=1)
  for rows, columns, mask, picture in holes(made):
    areas.append(len(rows) * len(columns) / 100**2)
    aspects.append(len(rows) / len(columns))
    values.append(picture[mask].mean())
  # Uniform, but for the rounding of the sides.
  assert 0.017 < min(areas) < 0.024 and 0.056 < max(areas) < 0.065
  assert np.mean(areas) == pytest.approx(0.04, abs=0.003)
  assert 1 / 3.5 < min(aspects) < 0.5 and 2 < max(aspects) < 3.5
  assert np.mean(np.log(aspects)) == pytest.approx(0, abs=0.2)
  # The mean of the grey levels, over hundreds of pixels.
  np.testing.assert_allclose(values, 127.5, atol=16)


@pytest.mark.parametrize('part', ['erase', 'cutout'])
def test_a_part_of_probability_a_quarter_hits_a_quarter_of_the_clips(part):
  made = changed(dataclasses.replace(NOTHING, **{part: 0.25}))
  hit = np.mean([mask.any() for *_, mask, _ in holes(made)])
  assert hit == pytest.approx(0.25, abs=0.1)


def test_noise_is_new_in_every_frame_and_of_the_drawn_strength():
  made = changed(dataclasses.replace(NOTHING, noise=20.0), grey=128.0)
  apart = made.astype(np.float64) - 128
  spreads = apart.std(axis=(1, 2, 3, 4))
  # Strengths are uniform in [0, 20]: mean 10, deviation 5.8.
  assert spreads.mean() == pytest.approx(10, abs=1.5)
  assert 18 < spreads.max() < 20.5
  strong = apart[spreads > 10]
  same = np.corrcoef(strong[:, 0].ravel(), strong[:, 1].ravel())[0, 1]
  assert abs(same) < 0.02
  # Normal: as many within one deviation.
  standard = strong / strong.std(axis=(1, 2, 3, 4), keepdims=True)
  assert np.mean(np.abs(standard) < 1) == pytest.approx(0.683, abs=0.02)


def test_zero_strengths_change_nothing():
  frames = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3))
  out = augment.augment(frames.astype(np.float32), jax.random.key(0), NOTHING)
  np.testing.assert_array_equal(out, frames)


def assert_same(first, second):
  assert first.keys() == second.keys()
  for name in first:
    np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def test_a_clip_is_the_same_wherever_it_lies_in_whatever_batch():
  raw = raw_batch([record(seed=seed) for seed in range(4)])
  whole = prepare(raw, EVERYTHING, step=5)
  order = np.array([2, 0, 3, 1])
  shuffled = prepare({n: a[order] for n, a in raw.items()}, EVERYTHING, step=5)
  assert_same({n: a[order] for n, a in whole.items()}, shuffled)
  # As two processes have it, and two tasks.
  half = prepare({n: a[1::2] for n, a in raw.items()}, EVERYTHING, step=5)
  assert_same({n: a[1::2] for n, a in whole.items()}, half)
  tasks = {n: a.reshape(2, 2, *a.shape[1:]) for n, a in raw.items()}
  apart = prepare(tasks, EVERYTHING, step=5)
  assert_same(
    {n: a.reshape(2, 2, *a.shape[1:]) for n, a in whole.items()}, apart
  )


def test_two_devices_make_the_same_batch():
  raw = raw_batch([record(seed=seed) for seed in range(4)])
  mesh = jax.make_mesh((2,), ('data',), devices=jax.devices()[:2])
  spec = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec('data'))
  spread = prepare(jax.device_put(raw, spec), EVERYTHING)
  assert_same(prepare(raw, EVERYTHING), spread)


def test_seed_step_and_place_change_the_augmentation():
  raw = raw_batch([record()] * 3)
  first = prepare(raw, EVERYTHING)['frames']
  assert_same({'frames': first}, {'frames': prepare(raw, EVERYTHING)['frames']})
  assert not np.array_equal(first[0], first[1])
  for changes in ({'step': 1}, {'seed': 1}):
    other = prepare(raw, EVERYTHING, **changes)['frames']
    assert not any(map(np.array_equal, first, other))


def test_the_draws_are_those_of_every_platform():
  # Threefry's, as JAX computes them anywhere; a change would change all runs.
  key = clip_keys(2, seed=3)[1]
  found = [drawn(key, part, 0, 1) for part in ('face_scale', 'flip', 'gamma')]
  np.testing.assert_allclose(found, DRAWS, rtol=1e-6)


DRAWS = (0.4837716817855835, 0.022095680236816406, 0.29829680919647217)
