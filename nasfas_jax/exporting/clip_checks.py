"""Clips on which an exported program is compared with the network."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from nasfas_jax.data import transforms

# (frames, face_size) -> (score, map), see `signature.program`.
Program = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
# The largest difference of a score or of a map in float32.
TOLERANCE = 1e-4


class Clips(NamedTuple):
  """Snippets as an exported program takes them.

  Attributes:
    frames: uint8 [N, K, S, S, 3].
    face_size: float32 [N, 2], width and height of the face box.
    score_mask: float32 [N, D, D], what the network's score is normalised by.
  """

  frames: np.ndarray
  face_size: np.ndarray
  score_mask: np.ndarray


def generated(
  number: int,
  *,
  num_frames: int,
  image_size: int,
  face_scale: float,
  map_size: int,
) -> Clips:
  """Blocks of colour that move, flicker or stand still; no one's face.

  An export may carry them: they have no licence and no subject.
  """
  generator = np.random.default_rng(0)
  cells = 16
  side = -(-image_size // cells)
  blocks = generator.integers(0, 256, (number, 1, cells, cells, 3))
  flicker = generator.integers(-9, 10, (number, num_frames, cells, cells, 3))
  small = np.clip(blocks + flicker, 0, 255).astype(np.uint8)
  frames = small.repeat(side, 2).repeat(side, 3)
  frames = frames[:, :, :image_size, :image_size]
  for place in range(num_frames):
    # Every second clip moves by one pixel a frame.
    frames[::2, place] = np.roll(frames[::2, place], place, axis=2)
  frames[-1] = frames[-1, :1]
  sizes = np.round(generator.uniform(40, 90, (number, 2))).astype(np.float32)
  masks = [
    transforms.face_ellipse(
      box, transforms.square_around(box, face_scale), map_size
    )
    for box in (np.array([0.0, 0.0, *size]) for size in sizes)
  ]
  return Clips(np.ascontiguousarray(frames), sizes, np.stack(masks))


def joined(parts: Iterable[Clips]) -> Clips:
  """The snippets of several clips, one after another."""
  return Clips(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def difference(
  program: Program, clips: Clips, scores: np.ndarray, maps: np.ndarray
) -> float:
  """The largest difference of a program's scores and maps from the network's.

  Args:
    program: to compare.
    clips: what it takes.
    scores: float32 [N], of the network.
    maps: float32 [N, D, D], of the network.

  Returns:
    Not less than 0; infinite for a result that is not finite or of another
    shape.
  """
  found = [np.asarray(part) for part in program(clips.frames, clips.face_size)]
  worst = 0.0
  for part, wanted in zip(found, (scores, maps), strict=True):
    if part.shape != wanted.shape or not np.isfinite(part).all():
      return float('inf')
    worst = max(worst, float(np.abs(part - wanted).max(initial=0.0)))
  return worst


def check(name: str, worst: float) -> None:
  """Raises ValueError if the difference of a file is not allowed."""
  if not worst <= TOLERANCE:
    raise ValueError(
      f'The export is stopped: {name!r} differs from the network by '
      f'{worst:.3g}; allowed: {TOLERANCE:g}. Please report it.'
    )
