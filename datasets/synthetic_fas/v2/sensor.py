"""The camera: lens, Bayer sensor with its noise, and what makes a picture.

Published models in the order in which light meets them. Arrays are float32
[H, W, 3], linear light with 1 = a white surface, until `develop`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

# Electrons of a white pixel at ISO 100, and those of the read-out noise.
WHITE_ELECTRONS = 6000.0
READ_ELECTRONS = 3.0


class Camera(NamedTuple):
  """Settings of a clip's camera.

  Attributes:
    blur: standard deviation of the lens, in pixels of the sensor.
    iso: of the sensor.
    demosaic: 'bilinear' or 'malvar'.
    sharpen: strength of the sharpening.
    red: mean red of the metered area over its mean green, display values.
    blue: likewise.
    exposure: display value of its median luma.
    dark: that of the 5th percentile over the exposure.
    light: where the 95th percentile lies between exposure and 1.
    spread: mean HSV saturation over that of the mean colour.
    quality: of JPEG, 1 to 100.
    block: where the grid of compressed blocks starts, pixels (x, y).
  """

  blur: float
  iso: float
  demosaic: str
  sharpen: float
  red: float
  blue: float
  exposure: float
  dark: float
  light: float
  spread: float
  quality: int
  block: tuple[int, int]


LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def lens(fine: np.ndarray, size: int, sigma: float) -> np.ndarray:
  """The picture that a lens throws on a sensor of size x size pixels.

  A Gaussian point spread function, then the square aperture of each pixel
  (Boreman, "Modulation transfer function in optical and electro-optical
  systems", SPIE 2001, chapters 1 and 2).

  Args:
    fine: float32 [k * size, k * size, C].
    size: of the sensor.
    sigma: of the point spread function, in pixels of the sensor.
  """
  ratio = fine.shape[0] / size
  fine = cv2.GaussianBlur(fine, (0, 0), sigma * ratio)
  return cv2.resize(fine, (size, size), interpolation=cv2.INTER_AREA)


def transfer(frequency, sigma: float, aperture: float = 1.0):
  """The share of a wave's contrast that lens and pixel leave.

  The Fourier transform of what `lens` does: exp(-2 pi^2 sigma^2 f^2) sinc(f).

  Args:
    frequency: cycles a pixel of the sensor.
    sigma: of the point spread function, in pixels.
    aperture: side of a pixel's light-sensitive area, in pixels.
  """
  return np.exp(-2 * (np.pi * sigma * frequency) ** 2) * np.sinc(
    aperture * frequency
  )


def bayer(image: np.ndarray) -> np.ndarray:
  """One colour a pixel: R G / G B (Bayer, US patent 3971065, 1976); [H, W]."""
  raw = np.ascontiguousarray(image[..., 1])
  raw[0::2, 0::2] = image[0::2, 0::2, 0]
  raw[1::2, 1::2] = image[1::2, 1::2, 2]
  return raw


def add_noise(raw: np.ndarray, iso: float, rng) -> np.ndarray:
  """Photon and read-out noise.

  Poisson-Gaussian: the variance is a y + b (Foi et al., "Practical
  Poissonian-Gaussian noise modeling and fitting for single-image raw-data",
  IEEE TIP 2008), the Poisson part by its normal limit. The gain a grows with
  the ISO, b with its square.
  """
  gain = iso / 100.0 / WHITE_ELECTRONS
  variance = gain * np.maximum(raw, 0) + (gain * READ_ELECTRONS) ** 2
  normal = rng.standard_normal(raw.shape, np.float32)
  return raw + np.sqrt(variance, dtype=np.float32) * normal


def _kernel(*rows: Sequence[float]) -> np.ndarray:
  return np.array(rows, np.float32) / 8


# Malvar, He and Cutler, "High-quality linear interpolation for demosaicing of
# Bayer-patterned color images", ICASSP 2004, figure 2, in eighths: green at red
# or blue; red at green in a red row; red at green in a blue row; red at blue.
_GREEN = _kernel(
  (0, 0, -1, 0, 0), (0, 0, 2, 0, 0), (-1, 2, 4, 2, -1), (0, 0, 2, 0, 0),
  (0, 0, -1, 0, 0),
)  # fmt: skip
_ALONG = _kernel(
  (0, 0, 0.5, 0, 0), (0, -1, 0, -1, 0), (-1, 4, 5, 4, -1), (0, -1, 0, -1, 0),
  (0, 0, 0.5, 0, 0),
)  # fmt: skip
_ACROSS = np.ascontiguousarray(_ALONG.T)
_CORNER = _kernel(
  (0, 0, -1.5, 0, 0), (0, 2, 0, 2, 0), (-1.5, 0, 6, 0, -1.5), (0, 2, 0, 2, 0),
  (0, 0, -1.5, 0, 0),
)  # fmt: skip
# Bilinear interpolation, the same four places.
_MEAN4 = _kernel((0, 2, 0), (2, 0, 2), (0, 2, 0))
_MEAN_ALONG = _kernel((0, 0, 0), (4, 0, 4), (0, 0, 0))
_MEAN_ACROSS = np.ascontiguousarray(_MEAN_ALONG.T)
_MEAN_CORNER = _kernel((2, 0, 2), (0, 0, 0), (2, 0, 2))
DEMOSAIC = {
  'bilinear': (_MEAN4, _MEAN_ALONG, _MEAN_ACROSS, _MEAN_CORNER),
  'malvar': (_GREEN, _ALONG, _ACROSS, _CORNER),
}


def demosaic(raw: np.ndarray, method: str) -> np.ndarray:
  """Fills in the two colours that each pixel of a Bayer sensor lacks.

  Args:
    raw: float32 [H, W], even sides.
    method: of `DEMOSAIC`.

  Returns:
    float32 [H, W, 3].
  """
  green, along, across, corner = (
    cv2.filter2D(raw, -1, kernel, borderType=cv2.BORDER_REFLECT_101)
    for kernel in DEMOSAIC[method]
  )
  image = np.empty((*raw.shape, 3), np.float32)
  image[..., 1] = raw
  image[0::2, 0::2, 1] = green[0::2, 0::2]
  image[1::2, 1::2, 1] = green[1::2, 1::2]
  for k, (row, column) in ((0, (0, 0)), (2, (1, 1))):
    image[row::2, column::2, k] = raw[row::2, column::2]
    image[row::2, 1 - column :: 2, k] = along[row::2, 1 - column :: 2]
    image[1 - row :: 2, column::2, k] = across[1 - row :: 2, column::2]
    image[1 - row :: 2, 1 - column :: 2, k] = corner[
      1 - row :: 2, 1 - column :: 2
    ]
  return image


def srgb(linear: np.ndarray) -> np.ndarray:
  """Display values of linear light, both in [0, 1]: IEC 61966-2-1 (1999)."""
  linear = np.clip(linear, 0, 1)
  return np.where(
    linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055
  ).astype(np.float32)


def from_srgb(value: np.ndarray) -> np.ndarray:
  """The inverse of `srgb`."""
  return np.where(
    value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4
  ).astype(np.float32)


# The curve by interpolation in a table: a power for every pixel is slow.
_STEPS = 4096
_SRGB_TABLE = srgb(np.linspace(0, 1, _STEPS + 1, dtype=np.float32))


class Levels(NamedTuple):
  """What a camera has set by itself.

  Attributes:
    gain: factors of R, G, B on linear light: white balance and exposure.
    saturation: factor on the differences from grey.
    table: display values of evenly spaced linear light from 0 to 1.
  """

  gain: np.ndarray
  saturation: float
  table: np.ndarray


def tone(image: np.ndarray, table: np.ndarray) -> np.ndarray:
  """Display values of linear light by the table of `Levels`."""
  return table[(np.clip(image, 0, 1) * _STEPS + 0.5).astype(np.int32)]


# A tone curve is at most so steep: it would show the noise.
_STEEPEST = 4.0


def _tone_points(luma: np.ndarray, camera: Camera):
  """The tone curve that brings three percentiles of the luma to their goals."""
  ranks = [int(share * (len(luma) - 1)) for share in (0.05, 0.5, 0.95)]
  low, middle, high = (float(v) for v in np.partition(luma, ranks)[ranks])
  goal = camera.exposure
  goals = (goal * camera.dark, goal, goal + (1 - goal) * camera.light)
  middle = min(max(middle, 0.02), 0.95)
  low = min(low, middle - (goals[1] - goals[0]) / _STEEPEST)
  high = max(high, middle + (goals[2] - goals[1]) / _STEEPEST)
  ends = (min(low, 0) - 0.01, max(high, 1) + 0.01)
  return (ends[0], low, middle, high, ends[1]), (0, *goals, 1)


def meter(image: np.ndarray, camera: Camera, area) -> Levels:
  """White balance, exposure, saturation and tone curve of a clip.

  Metered on the first frame, as a camera that has settled, over the face, as
  cameras that find faces do. The mean colour, three percentiles of the luma and
  the saturation are brought to those that are drawn for the clip: histogram
  specification (Gonzalez and Woods, "Digital image processing", section 3.3)
  with three points. Solved by damped iteration.

  Args:
    image: float32 [H, W, 3], without noise.
    camera: has the goals.
    area: rows and columns (two slices) of the face and a little around it.
  """
  part = np.ascontiguousarray(image[area][::2, ::2].reshape(-1, 3).T)
  gain = np.ones(3, np.float32)
  goal = float(from_srgb(np.float32(camera.exposure)))
  ratios = np.array([camera.red, 1, camera.blue])
  wanted = (1 - ratios.min() / ratios.max()) * camera.spread
  saturation = 1.0
  mean = part.mean(1)
  for _ in range(6):
    gain *= goal / max(float(gain * LUMA @ mean), 1e-4)
    matrix = np.float32(mix_colours(saturation) * gain)
    value = tone(matrix @ part, _SRGB_TABLE)
    points = _tone_points(LUMA @ value, camera)
    value = np.interp(value, *points)
    shown = np.maximum(value.mean(1), 0.02)
    gain *= np.float32((ratios * shown[1] / shown) ** 1.3)
    share = value.min(0) / np.maximum(value.max(0), 1e-3)
    found = max(float(np.mean(1 - share)), 0.01)
    saturation = min(max(saturation * (wanted / found) ** 0.7, 0.3), 3.0)
  table = np.interp(_SRGB_TABLE, *points).astype(np.float32)
  return Levels(gain, saturation, table)


def develop(raw: np.ndarray, camera: Camera, levels: Levels) -> np.ndarray:
  """The picture that a camera makes of a raw one: uint8 [H, W, 3]."""
  image = demosaic(raw, camera.demosaic)
  # Gains, then the saturation about grey, as one matrix.
  matrix = mix_colours(levels.saturation) * levels.gain
  image = tone(cv2.transform(image, np.float32(matrix)), levels.table)
  if camera.sharpen > 0.02:
    soft = cv2.GaussianBlur(image, (0, 0), 1.0)
    image = image + np.float32(camera.sharpen) * (image - soft)
  return np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8)


def mix_colours(saturation: float) -> np.ndarray:
  """The matrix [3, 3] that scales differences from grey."""
  return saturation * np.eye(3) + (1 - saturation) * LUMA


def expose(image: np.ndarray, camera: Camera, levels: Levels, rng):
  """A raw picture with its noise, [H, W].

  The sensor gets less light where the exposure has to lift the picture: the
  noise is that of the light, so the gain is taken into it.
  """
  level = float(levels.gain[1])
  return add_noise(bayer(image * level), camera.iso, rng) / level


def compress(frames: Sequence[np.ndarray], camera: Camera) -> list[np.ndarray]:
  """What JPEG leaves of the frames: libjpeg's own encoder and decoder.

  The grid of blocks starts anywhere, as in a picture that is cropped later.

  Args:
    frames: uint8 [H, W, 3], RGB.
    camera: its quality and block.
  """
  left, top = camera.block
  height, width = frames[0].shape[:2]
  options = (
    cv2.IMWRITE_JPEG_QUALITY,
    camera.quality,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
  )
  found = []
  for frame in frames:
    padded = cv2.copyMakeBorder(
      frame, top, 15 - top, left, 15 - left, cv2.BORDER_REFLECT_101
    )
    _, data = cv2.imencode('.jpg', padded[..., ::-1], options)
    padded = cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]
    found.append(padded[top : top + height, left : left + width])
  return found
