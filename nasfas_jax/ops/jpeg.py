"""What JPEG takes from a picture, as arrays: rounded cosine coefficients.

ITU-T T.81 with the tables of its Annex K, scaled by a quality of 1 to 100 as
libjpeg scales them, colour as in JFIF, without subsampling of colour. Coding
the coefficients loses nothing, so it is left out.
"""

import jax
import jax.numpy as jnp
import numpy as np

_SIDE = 8
# Annex K: tables K.1 for luminance and K.2 for chrominance.
_TABLES = np.array(
  [
    [
      [16, 11, 10, 16, 24, 40, 51, 61],
      [12, 12, 14, 19, 26, 58, 60, 55],
      [14, 13, 16, 24, 40, 57, 69, 56],
      [14, 17, 22, 29, 51, 87, 80, 62],
      [18, 22, 37, 56, 68, 109, 103, 77],
      [24, 35, 55, 64, 81, 104, 113, 92],
      [49, 64, 78, 87, 103, 121, 120, 101],
      [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    [
      [17, 18, 24, 47, 99, 99, 99, 99],
      [18, 21, 26, 66, 99, 99, 99, 99],
      [24, 26, 56, 99, 99, 99, 99, 99],
      [47, 66, 99, 99, 99, 99, 99, 99],
      *[[99] * 8] * 4,
    ],
  ],
  np.float32,
)
# Rows: Y, Cb and Cr of red, green and blue (JFIF 1.02).
_TO_YCC = np.array(
  [
    [0.299, 0.587, 0.114],
    [-0.168736, -0.331264, 0.5],
    [0.5, -0.418688, -0.081312],
  ],
  np.float32,
)
_TO_RGB = np.linalg.inv(_TO_YCC.astype(np.float64)).astype(np.float32)


def _cosines() -> np.ndarray:
  """The orthonormal DCT-II of 8 values, as a matrix."""
  place, number = np.arange(_SIDE)[None, :], np.arange(_SIDE)[:, None]
  matrix = np.cos(np.pi * (place + 0.5) * number / _SIDE)
  matrix *= np.sqrt(np.where(number == 0, 1, 2) / _SIDE)
  return matrix.astype(np.float32)


_COSINES = _cosines()


def quantisation(quality: jax.Array) -> jax.Array:
  """The steps of the coefficients: float32 [3, 8, 8] for Y, Cb and Cr.

  Args:
    quality: float scalar, 1 to 100.
  """
  scale = jnp.where(quality < 50, 5000.0 / quality, 200.0 - 2.0 * quality)
  # libjpeg has whole numbers.
  scale = jnp.floor(scale)
  tables = jnp.floor((_TABLES * scale + 50.0) / 100.0)
  return jnp.clip(tables, 1.0, 255.0)[np.array([0, 1, 1])]


def compress(frames: jax.Array, quality: jax.Array) -> jax.Array:
  """Pictures after compression and decompression.

  Args:
    frames: float32 [K, H, W, 3] RGB, 0 to 255.
    quality: float scalar, 1 to 100.

  Returns:
    float32 [K, H, W, 3], not rounded; may leave 0 to 255.
  """
  height, width = frames.shape[1:3]
  pad = [(0, -size % _SIDE) for size in (height, width)]
  frames = jnp.pad(frames, ((0, 0), *pad, (0, 0)), mode='edge')
  counts = [size // _SIDE for size in frames.shape[1:3]]
  # Each block of a picture by itself, as one product with a block matrix.
  down, across = (np.kron(np.eye(n, dtype='f'), _COSINES) for n in counts)
  steps = jnp.tile(quantisation(quality), (1, *counts))

  def product(spec, *arrays):
    return jnp.einsum(spec, *arrays, precision=jax.lax.Precision.HIGHEST)

  # Centred, so that grey is 0; colour differences are so already.
  colours = product('cr,kijr->kijc', _TO_YCC, frames - 128.0)
  found = product('ui,vj,kijc->kcuv', down, across, colours)
  found = jnp.round(found / steps[None]) * steps[None]
  colours = product('ui,vj,kcuv->kijc', down, across, found)
  frames = product('rc,kijc->kijr', _TO_RGB, colours) + 128.0
  return frames[:, :height, :width]
