"""Random access to the records of selected clips, with a cache in memory.

Decoding the frames is half of a training clip's cost, and training sees each
clip many times. So decoded clips stay in memory, up to a limit.
"""

import collections
import pathlib
import sys
import threading
from collections.abc import Sequence

import numpy as np
import tensorflow_datasets as tfds

from nasfas_jax import stored_frames
from nasfas_jax.data.index import Row


class Room:
  """The bytes that a cache may hold; safe to share between threads.

  Picklable: the copy starts empty.
  """

  def __init__(self, size: int):
    """size: the limit in bytes."""
    self._size = size
    self._left = size
    self._lock = threading.Lock()

  def __reduce__(self):
    # Another process starts with an empty cache.
    return Room, (self._size,)

  def take(self, size: int) -> bool:
    """Reserves `size` bytes (frees them if negative); False if too many."""
    with self._lock:
      if size > self._left:
        return False
      self._left -= size
      return True


class Frames(Sequence):
  """The frames of a clip: uint8 RGB [H, W, 3], decoded on access."""

  def __init__(
    self, files: Sequence[bytes], room: Room | None = None, name: str = ''
  ):
    """Keeps the files; decodes nothing yet.

    Args:
      files: of the frames, see `stored_frames`.
      room: for decoded frames, beyond the bytes of their files, which are
        already counted. A frame that finds no room is decoded at every access.
      name: of the clip, for messages.
    """
    # Each entry is a file or, once decoded, its picture.
    self._frames = list(files)
    # Threads that want the same clip do not decode it twice.
    self._lock = threading.Lock()
    self._room = room or Room(0)
    self.name = name

  def __len__(self) -> int:
    return len(self._frames)

  def __getitem__(self, i: int) -> np.ndarray:
    """Frame i; see `take`."""
    return self.take([i])[0]

  def take(self, places: Sequence[int]) -> list[np.ndarray]:
    """Some frames at once, which costs less than one by one.

    Args:
      places: of the frames, in any order.

    Raises:
      ValueError: if a file cannot be decoded; names the clip.
    """
    with self._lock:
      found = {int(i): self._frames[i] for i in places}
      files = {i: data for i, data in found.items() if isinstance(data, bytes)}
      if files:
        try:
          pictures = stored_frames.decode(list(files.values()))
        except ValueError as error:
          raise ValueError(f'Clip {self.name!r}: {error}') from error
        # Read-only, since it may be handed out again.
        pictures.setflags(write=False)
        for (i, data), picture in zip(files.items(), pictures, strict=True):
          found[i] = picture
          if self._room.take(picture.nbytes - len(data)):
            self._frames[i] = picture
    return [found[int(i)] for i in places]


class Neighbours:
  """The clips that were read last, with their decoded frames.

  For readers that come back to a clip soon, such as the snippets of an
  evaluation. Picklable: the copy starts empty.
  """

  def __init__(self, clips: 'ClipSource', number: int):
    """number: of clips that stay in memory."""
    self._clips = clips
    self._number = number
    self._kept = collections.OrderedDict()
    self._lock = threading.Lock()

  def __reduce__(self):
    return Neighbours, (self._clips, self._number)

  def __len__(self) -> int:
    return len(self._clips)

  def __getitem__(self, i: int) -> dict[str, object]:
    """As that of the clips. Other threads wait for the one that reads it."""
    with self._lock:
      slot = self._kept.setdefault(i, _Slot())
      if len(self._kept) > self._number:
        self._kept.popitem(last=False)
    with slot.lock:
      if slot.record is None:
        slot.record = self._clips.read(i, Room(sys.maxsize))
      return slot.record


class _Slot:
  """Of one clip: its record, once it is read."""

  def __init__(self):
    self.lock = threading.Lock()
    self.record = None


class ClipSource:
  """Random access to the records of selected clips.

  Picklable. Each process opens the shards at its first access and has a cache
  of its own.
  """

  def __init__(self, rows: Sequence[Row], cache_bytes: int = 0):
    """Keeps the places of the records; reads nothing yet.

    Args:
      rows: of the index; clip i is that of rows[i].
      cache_bytes: limit of the cache. The clips that are read first stay, and
        none is evicted: an epoch reads every clip once, so no other choice
        would give more hits.
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
      ValueError: if the shards are damaged or do not match the index; names
        folder and clip.
    """
    if i in self._kept:
      return self._kept[i]
    record = self._read(i)
    size = sum(map(len, record['frames'])) + record['depth'].nbytes
    kept = self._room.take(size)
    record = self._lazy(i, record, self._room if kept else None)
    if kept:
      first = self._kept.setdefault(i, record)
      if first is not record:
        # Another thread was faster.
        self._room.take(-size)
      return first
    return record

  def read(self, i: int, room: Room | None = None) -> dict[str, object]:
    """As `__getitem__`, beside the cache: its decoded frames go to `room`."""
    return self._lazy(i, self._read(i), room)

  def _lazy(self, i, record, room) -> dict[str, object]:
    frames = Frames(record['frames'], room, name=self._clip_ids[i])
    return {**record, 'index': i, 'frames': frames}

  def largest_side(self) -> int:
    """The largest side of a stored picture in pixels.

    A build stores all clips in one size, so one clip of each is read.
    """
    first = {}
    for i, (folder, _, _) in enumerate(self._places):
      first.setdefault(folder, i)
    return max(max(self[i]['frames'][0].shape[:2]) for i in first.values())

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
