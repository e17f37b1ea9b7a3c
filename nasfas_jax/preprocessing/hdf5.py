"""Recordings in the HDF5 files of 3DMAD (extra `prepare`: h5py)."""

import os
import pathlib

import numpy as np

from nasfas_jax.preprocessing.video import (
  Clip,
  Transform,
  VideoError,
  even_indices,
)

COLOUR = 'Color_Data'
EYES = 'Eye_Pos'


def _open(path: pathlib.Path):
  try:
    import h5py
  except ImportError as error:
    raise ImportError(
      "Reading .hdf5 files needs h5py: pip install -e '.[prepare]'."
    ) from error
  try:
    return h5py.File(path, 'r')
  except OSError as error:
    raise VideoError(f'{path}: not an HDF5 file: {error}') from error


def _dataset(file, path: pathlib.Path, name: str, shape: tuple):
  """A dataset of a file, of the given shape; None in `shape` is any size."""
  found = file.get(name)
  actual = getattr(found, 'shape', None)
  if (
    actual is None
    or len(actual) != len(shape)
    or any(b is not None and a != b for a, b in zip(actual, shape, strict=True))
  ):
    raise VideoError(
      f'{path}: {name} has shape {actual}; expected {shape} (None: any).'
    )
  return found


def sample_frames(
  path: str | os.PathLike,
  num_frames: int,
  transform: Transform | None = None,
  limit: int = 0,
) -> Clip:
  """Like `video.sample_frames`, for `Color_Data` [N, 3, H, W].

  Raises:
    ImportError: without h5py.
    VideoError: if the file has other content or is truncated.
  """
  path = pathlib.Path(path)
  with _open(path) as file:
    colour = _dataset(file, path, COLOUR, (None, 3, None, None))
    if not len(colour):
      raise VideoError(f'{path}: {COLOUR} has no frame.')
    total = len(colour)
    length = min(total, limit or total)
    indices = even_indices(length, num_frames)
    frames = []
    for index in indices:
      try:
        frame = np.asarray(colour[int(index)], np.uint8)
      except OSError as error:
        raise VideoError(f'{path}: frame {index}: {error}') from error
      frame = np.ascontiguousarray(np.moveaxis(frame, 0, -1))
      frames.append(frame if transform is None else transform(frame))
  # The file does not say its frame rate.
  return Clip(frames, indices, 0.0, total, total)


def eyes(path: str | os.PathLike) -> np.ndarray:
  """`Eye_Pos`: float64 [N, 4], x and y of the right, then of the left eye.

  Raises:
    ImportError, VideoError: as `sample_frames`.
  """
  path = pathlib.Path(path)
  with _open(path) as file:
    found = _dataset(file, path, EYES, (None, 4))
    try:
      return np.asarray(found, np.float64)
    except OSError as error:
      raise VideoError(f'{path}: {EYES}: {error}') from error
