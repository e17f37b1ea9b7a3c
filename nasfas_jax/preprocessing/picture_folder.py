"""Clips that are folders of pictures, one picture a frame, in order of name."""

import pathlib
import re
from collections.abc import Callable

import numpy as np

from nasfas_jax.preprocessing import video


def pictures(folder: pathlib.Path) -> list[pathlib.Path]:
  """The pictures of a folder by the numbers in their names: 2 before 10."""
  return sorted(
    (
      path
      for path in folder.iterdir()
      if path.suffix.lower() in video.IMAGE_SUFFIXES
      and not path.name.startswith('.')
      and path.is_file()
    ),
    key=lambda path: (_order(path.stem), path.name),
  )


def _order(stem: str) -> list[tuple[int, str]]:
  """A key that puts runs of digits in order of their value."""
  return [
    (int(part), '') if part.isdecimal() else (-1, part)
    for part in re.findall(r'\d{1,18}|\D+', stem)
  ]


def sample_frames(
  folder: pathlib.Path,
  num_frames: int,
  transform: Callable[[np.ndarray], np.ndarray] | None = None,
  limit: int = 0,
) -> video.Clip:
  """Takes evenly spread frames of a folder; see `video.sample_frames`.

  Args:
    folder: of the pictures.
    num_frames: the number of frames; all frames if the folder has fewer.
    transform: applied to each frame.
    limit: take them from the first `limit` frames only; 0: from all.

  Returns:
    The frames; their indices are their places in the folder.

  Raises:
    VideoError: if there is no picture or one cannot be decoded.
  """
  found = pictures(folder)
  chosen = found[: limit or None]
  if not chosen:
    raise video.VideoError(f'{folder}: there is no picture.')
  places = video.even_indices(len(chosen), num_frames)
  frames = []
  for place in places:
    frame = video.read_image(chosen[place])
    frames.append(frame if transform is None else transform(frame))
  return video.Clip(frames, places, 0.0, num_frames=len(found))
