"""Records of selected clips by their place, kept in memory while there is room.

Half of what a training clip costs is to decode its pictures, and a training
sees every clip many times: what was read stays, decoded, up to a limit.
"""

import pathlib
import threading
from collections.abc import Sequence

import cv2
import numpy as np
import tensorflow_datasets as tfds

from nasfas_jax.data.index import Row


class Room:
  """Bytes that may be kept, taken by several threads; picklable when full."""

  def __init__(self, size: int):
    """size: bytes in all."""
    self._size = size
    self._left = size
    self._lock = threading.Lock()

  def __reduce__(self):
    # In another process nothing is kept yet.
    return Room, (self._size,)

  def take(self, size: int) -> bool:
    """Takes `size` bytes, which may be negative, if there are as many left."""
    with self._lock:
      if size > self._left:
        return False
      self._left -= size
      return True


class Frames(Sequence):
  """The pictures of a clip: uint8 RGB [H, W, 3], decoded when asked for."""

  def __init__(self, files: Sequence[bytes], room: Room | None = None):
    """Does not decode.

    Args:
      files: PNG files.
      room: for pictures in place of their files, which have theirs already; a
        picture without room is decoded every time.
    """
    # A file, or the picture in its place.
    self._frames = list(files)
    self._room = room or Room(0)

  def __len__(self) -> int:
    return len(self._frames)

  def __getitem__(self, i: int) -> np.ndarray:
    """The picture at a place.

    Raises:
      ValueError: if its file is not a picture.
    """
    frame = self._frames[i]
    if not isinstance(frame, bytes):
      return frame
    picture = decode_png(frame)
    # It may be handed out again.
    picture.setflags(write=False)
    if self._room.take(picture.nbytes - len(frame)):
      self._frames[i] = picture
    return picture


class ClipSource:
  """Random access to the records of selected clips.

  Picklable; opens the shards at first use, in the process that reads them, and
  keeps what it has read there.
  """

  def __init__(self, rows: Sequence[Row], cache_bytes: int = 0):
    """Does not read.

    Args:
      rows: entries of the index, in the order they are numbered in.
      cache_bytes: how much is kept. The first clips that are read stay and no
        other takes their place: an epoch reads every clip once, so that those
        read last are as far from being read again as any.
    """
    self._places = [
      (row['folder'], row['tfds_split'], row['position']) for row in rows
    ]
    self._clip_ids = [row['clip_id'] for row in rows]
    self._sources = {}
    self._room = Room(cache_bytes)
    self._kept = {}

  def __len__(self) -> int:
    return len(self._places)

  def __getstate__(self):
    return {**self.__dict__, '_sources': {}, '_kept': {}}

  def __getitem__(self, i: int) -> dict[str, object]:
    """The record of clip i, with `frames` as `Frames` and `index` = i.

    Raises:
      ValueError: if the shards no longer hold what the index says.
    """
    if i in self._kept:
      return self._kept[i]
    record = self._read(i)
    files = record['frames']
    size = sum(map(len, files)) + record['depth'].nbytes
    kept = self._room.take(size)
    record = {
      **record,
      'index': i,
      'frames': Frames(files, self._room if kept else None),
    }
    if kept:
      self._kept[i] = record
    return record

  def _read(self, i: int) -> dict[str, object]:
    folder, split, position = self._places[i]
    if (folder, split) not in self._sources:
      builder = tfds.builder_from_directory(folder)
      self._sources[folder, split] = builder.as_data_source(split)
    record = self._sources[folder, split][position]
    if record['clip_id'].decode() != self._clip_ids[i]:
      raise ValueError(
        f'{pathlib.Path(folder)} holds clip {record["clip_id"].decode()!r} '
        f'where its index says {self._clip_ids[i]!r}: the index is stale; '
        'delete the folder and prepare the dataset again.'
      )
    return record


def decode_png(data: bytes) -> np.ndarray:
  """Decodes a PNG file to uint8 RGB [H, W, 3].

  Raises:
    ValueError: if the bytes are not a picture.
  """
  image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
  if image is None:
    raise ValueError(f'A frame of {len(data)} bytes is not a picture.')
  return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
