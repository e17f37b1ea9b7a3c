"""Printed pictures: inks, halftone, dot gain."""

import numpy as np

from nasfas_datasets.synthetic_fas.v2 import sensor

# Reflectance of solid cyan, magenta and yellow ink on white, R, G, B. They are
# purer than real ones: the driver makes up for what those absorb too much.
INKS = np.array(
  [[0.07, 0.72, 0.88], [0.84, 0.07, 0.70], [0.94, 0.90, 0.10]], np.float32
)
# Pixels a head unit to which periods are given, see `tables`.
UNIT = 27.0
# Angles of the screens of the three inks relative to that of yellow.
ANGLES = (np.pi / 12, 5 * np.pi / 12, 0.0)


def dot_areas(picture: np.ndarray, gamut: float, gain: float) -> np.ndarray:
  """The shares of paper that each ink covers, [H, W, 3] (C, M, Y).

  A printer's small gamut draws colours towards grey. Dots spread: the area a
  becomes a + 4 gain a (1 - a), most in the middle tones (tone value increase,
  ISO 12647-2).

  Args:
    picture: float32 [H, W, 3], linear, in [0, 1].
    gamut: factor on the differences from grey.
    gain: increase of an area of one half.
  """
  grey = (picture @ sensor.LUMA)[..., None]
  picture = np.clip(grey + np.float32(gamut) * (picture - grey), 0, 1)
  # The driver allows for the light that spreads in the paper (n = 2).
  area = 1 - np.sqrt(picture)
  return area + np.float32(4 * gain) * area * (1 - area)


def reflectance(
  areas: np.ndarray, order: int, density: float, white: np.ndarray
) -> np.ndarray:
  """Reflectance of inks on paper, [H, W, 3].

  The Yule-Nielsen modified Neugebauer equation: R = (sum_i w_i R_i^(1/n))^n
  over the eight overprints, whose weights are Demichel's products of areas
  (Yule and Nielsen, TAGA Proceedings 1951; Viggiano, TAGA Proceedings 1985).
  With n = 1 and one ink it is Murray and Davies' (Journal of the Franklin
  Institute, 1936). Overprints multiply, so the sum over eight is a product
  over three inks.

  Args:
    areas: float32 [H, W, 3], shares of C, M and Y.
    order: n.
    density: of the inks; their reflectance to this power.
    white: [3], of the paper.
  """
  rooted = INKS ** np.float32(density / order)
  found = np.ones_like(areas)
  for k in range(3):
    found *= 1 - areas[..., k, None] * (1 - rooted[k])
  return white * found**order


def halftone(
  areas: np.ndarray, x, y, frequency: float, angle: float, contrast: float
) -> np.ndarray:
  """Dot areas as a sensor sees them: with the first wave of each screen.

  A screen of square dots of area a (side s, in a cell of side 1) has the waves
  2 s sin(pi s) / pi along both axes (its Fourier series). The pixels of the
  sensor sample them, so that they beat with the sensor's grid.

  Args:
    areas: float32 [H, W, 3].
    x: float32 [H, W], place on the paper; y: the same.
    frequency: cells a unit of x.
    angle: of the yellow screen.
    contrast: share of the wave that lens and pixel leave.

  Returns:
    [H, W, 3] in [0, 1].
  """
  side = np.sqrt(np.clip(areas, 0, 1))
  wave = np.float32(contrast * 2 / np.pi) * side * np.sin(np.pi * side)
  seen = np.empty_like(areas)
  for k, turn in enumerate(ANGLES):
    rate = np.float32(2 * np.pi * frequency)
    c, s = np.float32(np.cos(angle + turn)), np.float32(np.sin(angle + turn))
    dots = np.cos(rate * (c * x + s * y)) + np.cos(rate * (c * y - s * x))
    seen[..., k] = areas[..., k] + wave[..., k] * dots
  return np.clip(seen, 0, 1)


def dots(
  areas: np.ndarray, x, y, stock: dict, density: float, blur: float
) -> np.ndarray | None:
  """Factor [H, W, 3] by which halftone dots change a print's reflectance.

  Args:
    areas: float32 [H, W, 3] where the pixels of the sensor look.
    x: float32 [H, W], place on the paper in head units; y: the same.
    stock: from `tables.PAPER`.
    density: pixels of the sensor a head unit.
    blur: of the lens, in pixels of the sensor.

  Returns:
    None if the camera does not resolve the dots.
  """
  frequency = UNIT / stock['screen_period']
  contrast = float(sensor.transfer(frequency / density, blur))
  if abs(contrast) < 0.01:
    return None
  inks = (stock['yule_nielsen'], stock['ink_density'], np.float32(1))
  dotted = halftone(areas, x, y, frequency, stock['screen_angle'], contrast)
  return reflectance(dotted, *inks) / reflectance(areas, *inks)


def white(stock: dict) -> np.ndarray:
  """Reflectance [3] of the bare paper."""
  tint = stock['paper_tint']
  return np.float32(stock['paper_white'] * np.array([1 - tint, 1, 1 + tint]))
