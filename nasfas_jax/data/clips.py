"""Random access to the records of selected clips."""

import pathlib
from collections.abc import Sequence

import numpy as np
import tensorflow_datasets as tfds

from nasfas_jax import stored_frames
from nasfas_jax.data.index import Row


class Frames(Sequence):
  """The frames of a clip: uint8 RGB [H, W, 3], decoded on access."""

  def __init__(self, files: Sequence[bytes], name: str = ''):
    """Keeps the files; decodes nothing yet.

    Args:
      files: of the frames, see `stored_frames`.
      name: of the clip, for messages.
    """
    self._files = list(files)
    self._name = name

  def __len__(self) -> int:
    return len(self._files)

  def __getitem__(self, i: int) -> np.ndarray:
    """Frame i; see `take`."""
    return self.take([i])[0]

  def take(self, places: Sequence[int]) -> np.ndarray:
    """Some frames at once, which costs less than one by one.

    Args:
      places: K places of frames, in any order; one that comes again is decoded
        once.

    Returns:
      uint8 [K, H, W, 3].

    Raises:
      IndexError: for a place that is not there.
      ValueError: if a file cannot be decoded; names the clip.
    """
    chosen = sorted(set(places))
    try:
      frames = stored_frames.decode([self._files[i] for i in chosen])
    except ValueError as error:
      raise ValueError(
        f'Clip {self._name!r}, frames {_span(chosen)}: {error}'
      ) from error
    if chosen == list(places):
      return frames
    return frames[[chosen.index(i) for i in places]]


def _span(places: Sequence[int]) -> str:
  """Such as '0' or '2 to 9'."""
  first, last = places[0], places[-1]
  return str(first) if first == last else f'{first} to {last}'


class ClipSource:
  """Random access to the records of selected clips.

  Picklable. Each process opens the shards at its first access. Nothing is kept:
  clips are read and decoded again faster than a step takes them.
  """

  def __init__(self, rows: Sequence[Row]):
    """Keeps the places of the records; reads nothing yet.

    Args:
      rows: of the index; clip i is that of rows[i].
    """
    self._places = [
      (row['folder'], row['tfds_split'], row['position']) for row in rows
    ]
    self._clip_ids = [row['clip_id'] for row in rows]
    self._sources = {}

  def __len__(self) -> int:
    return len(self._places)

  def __getstate__(self):
    return {**self.__dict__, '_sources': {}}

  def __getitem__(self, i: int) -> dict[str, object]:
    """The record of clip i, with `frames` as `Frames` and `index` = i.

    Raises:
      ValueError: if the shards are damaged or do not match the index; names
        folder and clip.
    """
    record = self._read(i)
    return {
      **record,
      'index': i,
      'frames': Frames(record['frames'], name=self._clip_ids[i]),
    }

  def _read(self, i: int) -> dict[str, object]:
    folder, split, position = self._places[i]
    try:
      if (folder, split) not in self._sources:
        builder = tfds.builder_from_directory(folder)
        self._sources[folder, split] = builder.as_data_source(split)
      record = self._sources[folder, split][position]
    except (MemoryError, PermissionError):
      raise
    except Exception as error:
      # Of JSON, protocol buffers and shards; they have no common base class.
      reason = (str(error).strip() or type(error).__name__).splitlines()[0]
      raise ValueError(
        f'{str(folder)!r} is damaged: clip {self._clip_ids[i]!r} of {split!r} '
        f'cannot be read ({reason[:200]}). Prepare the dataset again, with '
        '--replace.'
      ) from error
    if record['clip_id'].decode() != self._clip_ids[i]:
      raise ValueError(
        f'{pathlib.Path(folder)} holds clip {record["clip_id"].decode()!r} '
        f'where its index says {self._clip_ids[i]!r}: the index is stale; '
        'delete the folder and prepare the dataset again.'
      )
    return record
