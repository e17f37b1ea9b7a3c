"""Screens: sub-pixels that beat with the sensor, refresh, what they emit."""

from collections.abc import Callable

import numpy as np

from nasfas_datasets.synthetic_fas.v2 import light, sensor


def emitted(picture: np.ndarray, screen: dict) -> np.ndarray:
  """Light that a screen sends out, [H, W, 3], 1 = its own white.

  A power law with a black level (the gain-offset-gamma model of Berns,
  Displays 16, 1996), primaries that are less pure than the picture's, and the
  colour of its white.

  Args:
    picture: float32 [H, W, 3], display values in [0, 1].
    screen: from `tables.SCREEN`.
  """
  black = np.float32(screen['black'])
  shown = black + (1 - black) * np.power(
    np.clip(picture, 0, 1), np.float32(screen['gamma'])
  )
  grey = (shown @ sensor.LUMA)[..., None]
  shown = np.maximum(grey + np.float32(screen['gamut']) * (shown - grey), 0)
  return shown * light.planck(screen['kelvin'])


def sub_pixels(
  layout: str, x, y, frequency: float, fill: float, transfer: Callable
) -> np.ndarray:
  """How bright each colour of a screen is where the sensor's pixels look.

  The light-sensitive parts are rectangles in a regular grid; their Fourier
  series up to the second wave, each weakened by lens and pixel. The mean is 1.
  Sampled by the sensor, waves near its own frequency become slow ones: moire
  (Amidror, "The theory of the moire phenomenon", 2000).

  Args:
    layout: 'stripe' (R, G and B side by side) or 'pentile' (R and B take turns
      from pixel to pixel).
    x: float32 [H, W], place on the screen; y: the same.
    frequency: screen pixels a unit of x.
    fill: share of a sub-pixel's cell that shines, along each axis.
    transfer: frequency -> share of the contrast that is left.

  Returns:
    float32 [H, W, 3].
  """
  seen = np.empty((*x.shape, 3), np.float32)
  across, down = np.float32(frequency) * x, np.float32(frequency) * y

  def waves(place, width, rate):
    """The series of a pulse of a width, one a unit of `place`."""
    total = np.ones_like(place)
    for k in (1, 2):
      strength = 2 * np.sinc(k * width) * transfer(k * rate)
      if abs(strength) > 0.004:
        total += np.float32(strength) * np.cos(
          np.float32(2 * np.pi * k) * place
        )
    return total

  rows = waves(down, fill, frequency)
  if layout == 'stripe':
    for k in range(3):
      seen[..., k] = waves(across - np.float32(k / 3), fill / 3, frequency)
    seen *= rows[..., None]
    return seen
  seen[..., 1] = waves(across, fill / 2, frequency) * rows
  # Red and blue stand in a chequered pattern: its diagonals are its axes.
  rate = frequency / np.sqrt(2)
  for k, offset in ((0, 0.5), (2, 1.0)):
    first, second = (across + down) / 2, (across - down) / 2
    seen[..., k] = waves(first + np.float32(offset / 2), fill / 2, rate)
    seen[..., k] *= waves(second + np.float32(offset / 2), fill / 2, rate)
  return seen


def banding(start, shutter: float, refresh: float, duty: float) -> np.ndarray:
  """The light of a pulsed screen that a row collects, relative to its mean.

  A rolling shutter opens each row at its own time (Liang et al., IEEE TIP
  2008); the screen shines for a share `duty` of each period.

  Args:
    start: float array, seconds at which rows begin to expose.
    shutter: seconds for which they do.
    refresh: pulses a second.
    duty: share in (0, 1].

  Returns:
    Array like `start`.
  """

  def collected(time):
    """Seconds of light from 0 to `time`."""
    pulses = np.floor(time * refresh)
    rest = time * refresh - pulses
    return (pulses * duty + np.minimum(rest, duty)) / refresh

  start = np.asarray(start, np.float64)
  seen = collected(start + shutter) - collected(start)
  return (seen / (shutter * duty)).astype(np.float32)
