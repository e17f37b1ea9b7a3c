"""From stored clips to training batches, on the device.

The host reads and stacks stored pictures (see `data.pipeline`); `prepare_batch`
crops, flips and changes them inside the compiled step. Every draw comes from
one key for the seed, the step and the clip's place in the global batch, so a
clip's augmentation depends neither on the number of processes and devices nor
on what a run has done before.

Crop, flip and colour change are drawn once per clip and shared by its frames:
rank pooling would take a change between frames for motion.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from nasfas_jax.data import pipeline, transforms
from nasfas_jax.ops import jpeg

Batch = dict[str, jax.Array]
# (raw batch, step, seed) -> batch.
Prepare = Callable[[Mapping[str, jax.Array], jax.Array, int], Batch]

# Separates these draws from others of the same seed.
_STREAM = 100
# What a clip's key is folded with, for each part. They do not change, so that a
# part that is added changes no other.
_PARTS = {
  name: number
  for number, name in enumerate(
    (
      *('face_scale', 'flip', 'gamma', 'colour', 'blur', 'noise_strength'),
      *('noise', 'erase', 'erase_area', 'erase_aspect', 'erase_place'),
      *('erase_fill', 'cutout', 'cutout_side', 'cutout_place', 'quality'),
      'shift',
    )
  )
}
# A blur below a third of a pixel is invisible.
_LEAST_SIGMA = 0.3
# Used by the preparation alone; the rest of a raw batch is handed on.
_RAW = ('frames', 'frame_size', 'depth', 'has_depth', 'face_box', 'place')


@dataclasses.dataclass(frozen=True)
class Augmentation:
  """Strengths of the training augmentation; 0 turns a part off.

  CDCN (arXiv 2003.04092) uses face scales of 1.2 to 1.4, colour +-40, gamma 0.5
  to 1.5, flips, random erasing of 1 to 5 % of the picture, and cutout.

  Attributes:
    face_scale: (low, high) side of the crop over the side of the face box.
    shift: largest shift of the crop along each axis, over its side. A shift is
      one of whole stored pixels: what is not resampled stays so.
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
    compression: by how much the quality of JPEG may fall from 100.
  """

  face_scale: tuple[float, float]
  shift: float
  flip: float
  colour: float
  gamma: tuple[float, float]
  erase: float
  erase_area: tuple[float, float]
  cutout: float
  cutout_side: float
  noise: float
  blur: float
  compression: float


def prepare_step(
  raw: Mapping[str, jax.Array],
  step: jax.Array,
  seed: int,
  *,
  shape: pipeline.SnippetShape,
  augmentation: Augmentation,
) -> Batch:
  """`prepare_batch` with the key of a seed and a step.

  Args:
    raw: see `prepare_batch`.
    step: int32 scalar, steps done before this one.
    seed: of the stream; streams that are read side by side have their own.
    shape: sizes of a snippet.
    augmentation: strengths.
  """
  key = jax.random.fold_in(jax.random.key(seed), _STREAM)
  return prepare_batch(raw, jax.random.fold_in(key, step), shape, augmentation)


def prepare_batch(
  raw: Mapping[str, jax.Array],
  key: jax.Array,
  shape: pipeline.SnippetShape,
  augmentation: Augmentation,
) -> Batch:
  """Crops and augments the clips of a raw batch.

  Args:
    raw: see `data.pipeline.train_batches`. Instead of one axis of clips [B] it
      may have several, such as [tasks, clips].
    key: of the step. A clip's key is this one folded with its `place`.
    shape: S and D.
    augmentation: strengths.

  Returns:
    frames: uint8 [B, K, S, S, 3] RGB.
    depth: float32 [B, D, D] in [0, 1], of the static frame; the face ellipse if
      the clip has no depth.
    face_mask: float32 [B, D, D], 1 where the depth is above 0.
    score_mask: float32 [B, D, D], the face ellipse. It depends on the face box
      only. Some datasets have depth for live clips alone, and a score must not
      be normalised by a region that depends on the label.
    What else the raw batch has: label, index, attack_type, domain.
  """

  def of_clip(clip):
    return _prepare_clip(
      clip, jax.random.fold_in(key, clip['place']), shape, augmentation
    )

  for _ in raw['place'].shape:
    of_clip = jax.vmap(of_clip)
  made = of_clip({name: raw[name] for name in _RAW})
  return {**{n: a for n, a in raw.items() if n not in _RAW}, **made}


def _prepare_clip(clip, key, shape, augmentation: Augmentation) -> Batch:
  low, high = augmentation.face_scale
  scale = _uniform(key, 'face_scale', low, high)
  flip = _uniform(key, 'flip') < augmentation.flip
  box = clip['face_box']
  x0, y0, side = transforms.square_around(box, scale, xp=jnp)
  if augmentation.shift:
    limit = augmentation.shift * side
    across, down = jnp.round(_uniform(key, 'shift', -limit, limit, (2,)))
    x0, y0 = x0 + across, y0 + down
  square = (x0, y0, side)
  frames = crop(
    clip['frames'], square, clip['frame_size'], shape.image_size, flip
  )
  score_mask = transforms.face_ellipse(box, square, shape.map_size, xp=jnp)
  score_mask = jnp.where(flip, score_mask[:, ::-1], score_mask)
  # The depth map covers the stored picture on a coarser grid.
  stored = clip['depth'].shape[0]
  ratio = stored / clip['frame_size'][0].astype(jnp.float32)
  cropped = crop(
    clip['depth'][None, :, :, None],
    tuple(value * ratio for value in square),
    jnp.full(2, stored),
    shape.map_size,
    flip,
  )[0, :, :, 0]
  depth = jnp.where(clip['has_depth'], cropped / 255.0, score_mask)
  return {
    'frames': augment(jnp.round(frames), key, augmentation),
    'depth': depth,
    'face_mask': (depth > 0).astype(jnp.float32),
    'score_mask': score_mask,
  }


def _uniform(key, part: str, low=0.0, high=1.0, shape=()) -> jax.Array:
  """Uniform draws for a part of the augmentation."""
  return jax.random.uniform(
    jax.random.fold_in(key, _PARTS[part]), shape, minval=low, maxval=high
  )


def _taps(start, side, size: int, available, flip, channels: int = 1):
  """The two source values of each target value along an axis of pixels.

  The centre of target pixel i is at start + (i + 0.5) * side / size, or, with
  flip, as far from the other end. Pixels past the border are the border pixel.

  Args:
    start: of the region, in pixels.
    side: of the region, in pixels.
    size: pixels of the target.
    available: pixels of the source.
    flip: bool scalar.
    channels: values of a pixel, which lie side by side.

  Returns:
    (first, second, share of the second), each [size * channels].
  """
  step = side / size
  start = jnp.where(flip, start + side, start)
  step = jnp.where(flip, -step, step)
  values = jnp.arange(size * channels, dtype=jnp.int32)
  pixels, channel = values // channels, values % channels
  places = start + (pixels.astype(jnp.float32) + 0.5) * step - 0.5
  below = jnp.floor(places)
  first, second = (
    jnp.clip(below.astype(jnp.int32) + i, 0, available - 1) for i in (0, 1)
  )
  return (
    first * channels + channel,
    second * channels + channel,
    places - below,
  )


def _pinned(arrays):
  """The arrays themselves, as the result of a sort by their place.

  XLA for CPU computes what it can inside the loop that uses it: a tap anew for
  every pixel, which took six times as long. It keeps the result of a sort.
  """
  place = jnp.arange(len(arrays[0]), dtype=jnp.int32)
  return tuple(jax.lax.sort((place, *arrays), num_keys=1)[1:])


def crop(
  pictures: jax.Array,
  square: tuple[jax.Array, jax.Array, jax.Array],
  available: jax.Array,
  size: int,
  flip: jax.Array,
) -> jax.Array:
  """Crops a square and resizes it bilinearly, as `transforms.crop_square`.

  A square of `size` pixels on the pixel grid is copied.

  Args:
    pictures: uint8 [K, P, Q, C].
    square: (x0, y0, side) in pixels.
    available: int32 [2], height and width of what the pictures hold; the rest
      is padding. The square may reach past it; the border pixels are then
      replicated.
    size: side of the result in pixels.
    flip: bool scalar, mirror left and right.

  Returns:
    float32 [K, size, size, C], not rounded.
  """
  x0, y0, side = square
  channels = pictures.shape[3]
  rows = _taps(y0, side, size, available[0], jnp.bool_(False))
  columns = functools.partial(_taps, x0, side, size, available[1], flip)
  by_gather = functools.partial(_crop_by_gather, pictures)
  # A gather is what CPU and GPU do fastest, a matrix product what a TPU does.
  return jax.lax.platform_dependent(
    rows,
    columns(),
    columns(channels),
    cpu=lambda rows, _, values: by_gather(_pinned(rows), _pinned(values)),
    tpu=lambda rows, columns, _: _crop_by_products(pictures, rows, columns),
    default=lambda rows, _, values: by_gather(rows, values),
  )


def _crop_by_gather(pictures, rows, values):
  """rows: the taps of rows; values: those of columns and their channels."""
  number, height, width, channels = pictures.shape
  # Rows of all channels, so that what is gathered lies together.
  lines = pictures.reshape(number, height, width * channels)
  first, second, share = rows
  share = share[None, :, None]
  lines = _at(lines, first, 1) * (1 - share) + _at(lines, second, 1) * share
  first, second, share = values
  share = share[None, None, :]
  cut = _at(lines, first, 2) * (1 - share) + _at(lines, second, 2) * share
  return cut.reshape(number, len(rows[0]), -1, channels)


def _at(array, places, axis: int) -> jax.Array:
  found = jnp.take(array, places, axis, mode='clip')
  return found.astype(jnp.float32)


def _crop_by_products(pictures, rows, columns):
  down = _weights(rows, pictures.shape[1])
  across = _weights(columns, pictures.shape[2])
  return _resample(pictures.astype(jnp.float32), down, across)


def _weights(taps, available: int) -> jax.Array:
  """The taps as a matrix [size, available]."""
  places = jnp.arange(available)[None, :]
  first, second, share = (part[:, None] for part in taps)
  return jnp.where(places == first, 1 - share, 0.0) + jnp.where(
    places == second, share, 0.0
  )


def _resample(pictures, down, across) -> jax.Array:
  """Rows and columns as weighted sums: [K, P, Q, C] to [K, S, T, C]."""
  highest = jax.lax.Precision.HIGHEST
  lines = jnp.einsum('sp,kpqc->ksqc', down, pictures, precision=highest)
  return jnp.einsum('tq,ksqc->kstc', across, lines, precision=highest)


def augment(
  frames: jax.Array, key: jax.Array, augmentation: Augmentation
) -> jax.Array:
  """Colour, gamma, blur, noise, compression, erasing and cutout of a clip.

  All frames get the same change, but for the pixels of the noise. After each
  part the pixels are whole grey levels of 0 to 255.

  Args:
    frames: float32 [K, S, S, 3], whole grey levels.
    key: of the clip.
    augmentation: the strengths.

  Returns:
    uint8 [K, S, S, 3].
  """
  size = frames.shape[1]
  if augmentation.colour or tuple(augmentation.gamma) != (1.0, 1.0):
    gamma = _uniform(key, 'gamma', *augmentation.gamma)
    limit = augmentation.colour
    shift = _uniform(key, 'colour', -limit, limit, (1, 1, 1, 3))
    # A power through exp and log, which are several times faster on CPU.
    curve = jnp.exp(gamma * jnp.log(frames / 255.0))
    frames = _levels(255.0 * curve + shift)
  if augmentation.blur:
    sigma = _uniform(key, 'blur', 0.0, augmentation.blur)
    kernel = _blur_weights(size, sigma, augmentation.blur)
    blurred = _levels(_resample(frames, kernel, kernel))
    frames = jnp.where(sigma > _LEAST_SIGMA, blurred, frames)
  if augmentation.noise:
    strength = _uniform(key, 'noise_strength', 0.0, augmentation.noise)
    noise = jax.random.normal(
      jax.random.fold_in(key, _PARTS['noise']), frames.shape
    )
    frames = _levels(frames + strength * noise)
  if augmentation.compression:
    lowest = 100.0 - augmentation.compression
    quality = _uniform(key, 'quality', lowest, 100.0)
    frames = _levels(jpeg.compress(frames, quality))
  if augmentation.erase:
    area = _uniform(key, 'erase_area', *augmentation.erase_area) * size * size
    limit = math.log(3)
    aspect = jnp.exp(_uniform(key, 'erase_aspect', -limit, limit))
    hole = _hole(
      key, 'erase', size, jnp.sqrt(area * aspect), jnp.sqrt(area / aspect)
    )
    fill = jax.random.bits(
      jax.random.fold_in(key, _PARTS['erase_fill']), (1, size, size, 3), 'uint8'
    )
    hole &= _uniform(key, 'erase') < augmentation.erase
    frames = jnp.where(hole[None, :, :, None], fill.astype(jnp.float32), frames)
  if augmentation.cutout:
    side = _uniform(key, 'cutout_side', 0.0, augmentation.cutout_side) * size
    hole = _hole(key, 'cutout', size, side, side)
    hole &= _uniform(key, 'cutout') < augmentation.cutout
    frames = jnp.where(hole[None, :, :, None], 128.0, frames)
  return frames.astype(jnp.uint8)


def _levels(frames) -> jax.Array:
  return jnp.clip(jnp.round(frames), 0.0, 255.0)


def _hole(key, name: str, size: int, height, width) -> jax.Array:
  """A random rectangle inside a square picture: bool [S, S], some of it set."""
  sides = jnp.clip(jnp.round(jnp.stack([height, width])), 1, size)
  # Every place with the same probability.
  share = _uniform(key, f'{name}_place', shape=(2,))
  first = jnp.minimum(jnp.floor(share * (size - sides + 1)), size - sides)
  places = jnp.arange(size, dtype=jnp.float32)[None, :]
  inside = (places >= first[:, None]) & (places < (first + sides)[:, None])
  return inside[0][:, None] & inside[1][None, :]


def _blur_weights(size: int, sigma: jax.Array, largest: float) -> jax.Array:
  """A Gaussian blur along an axis as a matrix [size, size].

  The picture is mirrored at its border, without the border pixel.
  """
  reach = math.ceil(4 * largest)
  period = max(1, 2 * (size - 1))
  places = np.arange(-reach, size + reach) % period
  source = np.minimum(places, period - places) if size > 1 else 0 * places
  fold = np.zeros((len(places), size), np.float32)
  fold[np.arange(len(places)), source] = 1.0
  apart = np.arange(-reach, size + reach) - np.arange(size)[:, None]
  near = (np.abs(apart) <= reach).astype(np.float32)
  # A strength of 0 is not used; it must not divide.
  sigma = jnp.maximum(sigma, _LEAST_SIGMA)
  kernel = jnp.exp(-0.5 * jnp.square(apart.astype(np.float32) / sigma)) * near
  kernel = kernel / jnp.sum(kernel, axis=1, keepdims=True)
  return jnp.matmul(kernel, fold, precision=jax.lax.Precision.HIGHEST)
