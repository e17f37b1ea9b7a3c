"""Named random draws from written distributions, and smooth noise (NumPy)."""

from collections.abc import Mapping
from typing import NamedTuple

import cv2
import numpy as np


class Uniform(NamedTuple):
  """Evenly between two numbers."""

  low: float
  high: float

  def draw(self, rng: np.random.Generator) -> float:
    return self.low + (self.high - self.low) * rng.random()

  def __str__(self) -> str:
    return f'{self.low:g} to {self.high:g}'


class LogUniform(NamedTuple):
  """Evenly in the logarithm between two positive numbers."""

  low: float
  high: float

  def draw(self, rng: np.random.Generator) -> float:
    return self.low * (self.high / self.low) ** rng.random()

  def __str__(self) -> str:
    return f'{self.low:g} to {self.high:g}, even in the logarithm'


class Choice(NamedTuple):
  """One of some values, evenly; a value may be there twice."""

  values: tuple

  def draw(self, rng: np.random.Generator):
    return self.values[int(rng.random() * len(self.values))]

  def __str__(self) -> str:
    total = len(self.values)
    return ', '.join(
      str(value)
      if total == len(set(self.values))
      else f'{value} ({self.values.count(value) / total:.0%})'
      for value in dict.fromkeys(self.values)
    )


Table = Mapping[str, Uniform | LogUniform | Choice]


def generator(seed: int, *numbers: int) -> np.random.Generator:
  """A stream of its own for every (seed, numbers); the same on any machine."""
  return np.random.Generator(np.random.PCG64([seed, *numbers]))


def draw(rng: np.random.Generator, table: Table) -> dict:
  """One value for each name of a table, in its order."""
  return {name: spread.draw(rng) for name, spread in table.items()}


def mix(a, b, t):
  """a where t = 0, b where t = 1."""
  return a + (b - a) * t


def step(distance: np.ndarray, width: float) -> np.ndarray:
  """Anti-aliased edge: 1 where distance >> 0, 0 where << 0, linear between."""
  return np.clip(distance * np.float32(1.0 / width) + np.float32(0.5), 0, 1)


def blend(first: np.ndarray, second: np.ndarray, mask: np.ndarray):
  """`first` where the mask is 0, `second` where it is 1.

  OpenCV's: NumPy is slow where the last axis has three elements.

  Args:
    first: float32 [H, W, C].
    second: the same.
    mask: float32 [H, W] in [0, 1].
  """
  return cv2.blendLinear(first, second, 1 - mask, mask)


def times(image: np.ndarray, factor: np.ndarray) -> np.ndarray:
  """An image [H, W, 3] times a factor for each pixel [H, W]; float32."""
  return cv2.multiply(image, cv2.merge((factor, factor, factor)))


def tinted(image: np.ndarray, colour) -> np.ndarray:
  """An image [H, W, 3] times a colour [3]; float32."""
  return cv2.multiply(image, (*(float(c) for c in colour), 0.0))


def coloured(strength: np.ndarray, colour) -> np.ndarray:
  """A strength for each pixel [H, W] times a colour [3]: [H, W, 3]."""
  return cv2.merge([strength * np.float32(c) for c in colour])


def paint(image: np.ndarray, colour, mask: np.ndarray) -> None:
  """Lays a colour ([3] or [H, W, 3]) over an image where the mask is 1.

  Args:
    image: float32 [H, W, 3]; changed in place.
    colour: float32 [3] or [H, W, 3].
    mask: float32 [H, W] in [0, 1].
  """
  colour = np.asarray(colour, np.float32)
  if colour.ndim == 1:
    colour = np.broadcast_to(colour, image.shape)
  mask = np.ascontiguousarray(mask, np.float32)
  image[...] = blend(
    np.ascontiguousarray(image), np.ascontiguousarray(colour), mask
  )


def noise(rng: np.random.Generator, height: int, width: int, cell: float):
  """Smooth noise, about normal, with one lattice point every `cell` pixels.

  Returns:
    float32 [height, width].
  """
  rows, columns = int(height / cell) + 3, int(width / cell) + 3
  lattice = rng.standard_normal((rows, columns), np.float32)
  large = cv2.resize(
    lattice,
    (int(np.ceil(columns * cell)), int(np.ceil(rows * cell))),
    interpolation=cv2.INTER_CUBIC,
  )
  return large[:height, :width]
