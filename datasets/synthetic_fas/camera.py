"""What the camera of a domain does to a picture.

The camera sets its exposure, white balance, contrast and saturation by
itself, and every clip, live or spoof, is given its own tint, gain and
contrast after that: the global statistics of colour and contrast tell the
domain and the clip, not whether a face is live.
"""

import jax
import jax.numpy as jnp
import numpy as np

from nasfas_datasets.synthetic_fas import draws, rooms

SIZE = 80  # pixels, of the side of a clip
FACE_PIXELS = 50  # of the side of a face box: SIZE / records.WIDE_MARGIN
PIXELS_PER_UNIT = 27.0  # of head coordinates, at zoom 1
LUMA = (0.299, 0.587, 0.114)


# Draws of a clip around the values of its domain.
CAMERA_RANGES: draws.Ranges = {
  'lamp_x': (-0.25, 0.25),
  'lamp_y': (-0.2, 0.2),
  'ambient': (-0.08, 0.08),
  'blur': (0.85, 1.2),
  'noise': (0.6, 1.4),
  'quality': (0.6, 1.5),
  'gamma': (0.7, 1.35),
  'mean': (-0.10, 0.10),
  'contrast': (0.75, 1.3),
  'saturation': (0.6, 1.5),
  'warmth': (-0.06, 0.06),
  'green': (-0.03, 0.03),
  'block_x': (0.0, 8.0),
  'block_y': (0.0, 8.0),
}

Camera = dict[str, jax.Array]


def sample_camera(key: jax.Array, domain: jax.Array) -> Camera:
  """Settings of a clip: float32 scalars and `direction` [3] of the lamp.

  Args:
    key: PRNG key of the clip.
    domain: int32 scalar, an index into `rooms.DOMAINS`.
  """

  def of_domain(name):
    values = np.array([getattr(d, name) for d in rooms.DOMAINS], np.float32)
    return jnp.asarray(values)[domain]

  drawn = draws.draw(key, CAMERA_RANGES)
  camera = {
      name: of_domain(name) * drawn[name]
      for name in (
          'blur', 'noise', 'quality', 'gamma', 'contrast', 'saturation'
      )
  }  # fmt: skip
  for name in ('ambient', 'mean', 'warmth'):
    camera[name] = of_domain(name) + drawn[name]
  camera['green'] = drawn['green']
  camera['block_x'], camera['block_y'] = drawn['block_x'], drawn['block_y']
  direction = jnp.stack(
    [
      of_domain('lamp_x') + drawn['lamp_x'],
      of_domain('lamp_y') + drawn['lamp_y'],
      of_domain('lamp_z'),
    ]
  )
  camera['direction'] = direction / jnp.sqrt(jnp.sum(direction * direction))
  return camera


def luma(image: jax.Array) -> jax.Array:
  """[..., 3, H, W] -> [..., H, W]."""
  return sum(LUMA[k] * image[..., k, :, :] for k in range(3))


def expose(image: jax.Array, camera: Camera) -> jax.Array:
  """Tone curve, then exposure, contrast, saturation and tint of the clip.

  Over the middle 64 x 64 pixels of all frames the mean of each channel, the
  standard deviation of the luma and the root mean square of the chroma are
  set to the camera's values, whatever the scene was.

  Args:
    image: [F, 3, H, W], linear.
    camera: from `sample_camera`.

  Returns:
    [F, 3, H, W], display values, not clipped.
  """
  image = jnp.maximum(image, 1e-3) ** camera['gamma']
  edge = (image.shape[-1] - 64) // 2
  window = image[..., edge : edge + 64, edge : edge + 64]

  mean = jnp.mean(window, axis=(0, 2, 3))[None, :, None, None]
  image, window = image - mean, window - mean
  grey, grey_window = luma(image)[:, None], luma(window)[:, None]
  chroma, chroma_window = image - grey, window - grey_window
  contrast = camera['contrast'] / jnp.sqrt(jnp.mean(grey_window**2) + 1e-6)
  saturation = camera['saturation'] / jnp.sqrt(
    jnp.mean(chroma_window**2) + 1e-6
  )
  warmth, green = camera['warmth'], camera['green']
  tint = jnp.stack([
      camera['mean'] + warmth, camera['mean'] + green, camera['mean'] - warmth
  ])  # fmt: skip
  # A grey scene would ask for an endless saturation.
  saturation = jnp.minimum(saturation, 3.0 * contrast)
  return tint[None, :, None, None] + contrast * grey + saturation * chroma


def _blur_matrix(sigma: jax.Array, size: int) -> jax.Array:
  """[size, size] Gaussian weights, rows sum to 1."""
  place = jnp.arange(size, dtype=jnp.float32)
  offset = place[:, None] - place[None, :]
  weight = jnp.exp(-0.5 * (offset / sigma) ** 2)
  return weight / jnp.sum(weight, axis=1, keepdims=True)


def _dct_matrix(size: int) -> np.ndarray:
  """[size, size] orthonormal block diagonal matrix of 8-point DCTs."""
  k, n = np.mgrid[0:8, 0:8]
  block = np.sqrt(2 / 8) * np.cos(np.pi * (2 * n + 1) * k / 16)
  block[0] /= np.sqrt(2)
  return np.kron(np.eye(size // 8), block).astype(np.float32)


def compress(image: jax.Array, camera: Camera) -> jax.Array:
  """Loses detail as JPEG does: 8 x 8 blocks of quantised DCT coefficients.

  Luma and chroma are quantised apart, high frequencies and chroma more
  coarsely. Where the block grid starts is drawn for every clip.

  Args:
    image: [F, 3, H, W], H = W a multiple of 8.
    camera: from `sample_camera`.
  """
  size = image.shape[-1]
  dct = jnp.asarray(_dct_matrix(size))
  shift_x = camera['block_x'].astype(jnp.int32)
  shift_y = camera['block_y'].astype(jnp.int32)
  rows, columns = jnp.roll(dct, shift_y, axis=1), jnp.roll(dct, shift_x, axis=1)
  frequency = jnp.arange(size) % 8
  slope = 1.0 + 0.3 * (frequency[:, None] + frequency[None, :]).astype(
    jnp.float32
  )

  def quantise(plane, base):
    values = jnp.matmul(jnp.matmul(rows, plane), columns.T)
    width = base * slope
    values = jnp.round(values / width[None]) * width[None]
    return jnp.matmul(jnp.matmul(rows.T, values), columns)

  grey = luma(image)
  red = quantise(image[:, 0] - grey, 2.5 * camera['quality'])
  blue = quantise(image[:, 2] - grey, 2.5 * camera['quality'])
  grey = quantise(grey, camera['quality'])
  green = -(LUMA[0] * red + LUMA[2] * blue) / LUMA[1]
  return jnp.stack([grey + red, grey + green, grey + blue], axis=1)


def capture(key: jax.Array, image: jax.Array, camera: Camera) -> jax.Array:
  """What the camera stores of a scene.

  Args:
    key: PRNG key of the noise.
    image: float32 [F, 3, H, W], linear light.
    camera: from `sample_camera`.

  Returns:
    uint8 [F, H, W, 3].
  """
  blur = _blur_matrix(camera['blur'], image.shape[-1])
  image = jnp.matmul(jnp.matmul(blur, image), blur.T)
  image = expose(image, camera)
  # The sum of four bytes is near enough to a Gaussian.
  noise = jax.random.bits(key, image.shape, jnp.uint32)
  total = sum(((noise >> (8 * k)) & 0xFF).astype(jnp.float32) for k in range(4))
  noise = (total - 510.0) / 147.8
  image = image + camera['noise'] * noise
  image = compress(image, camera)
  image = jnp.clip(jnp.round(image * 255.0), 0.0, 255.0)
  return jnp.moveaxis(image, 1, -1).astype(jnp.uint8)
