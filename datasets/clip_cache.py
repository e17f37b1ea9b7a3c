"""The finished clips of an unfinished build, so that a restart can resume.

There is one .npz per clip beside the folder of the shards. It also stores what
the clip was made from. A clip whose files, fields or settings have changed
since then is made again.
"""

import contextlib
import dataclasses
import hashlib
import json
import pathlib
import shutil
import zipfile
from collections.abc import Iterator

import numpy as np

from nasfas_datasets import fas_builder, listing
from nasfas_datasets.clip_config import ClipConfig
from nasfas_jax import files, stored_frames

# What reading a missing or truncated file raises, also one of 0 bytes.
_UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
# Files that Windows writes into folders of pictures.
_OF_BROWSERS = ('Thumbs.db', 'desktop.ini')


class ClipCache:
  """A folder of finished clips."""

  def __init__(self, folder: pathlib.Path, config: ClipConfig):
    """folder: created at the first write; config: of the build."""
    self._folder = folder
    # What changes a record beside the clip's own files.
    self._settings = [
      fas_builder.SCHEMA,
      stored_frames.FORM,
      *config.content().values(),
    ]

  def _path(self, clip: listing.Clip) -> pathlib.Path:
    name = hashlib.sha256(clip.clip_id.encode()).hexdigest()[:32]
    return self._folder / f'{name}.npz'

  def get(self, clip: listing.Clip) -> dict[str, object] | None:
    """The record of a clip; None if it is missing or out of date."""
    try:
      # NumPy leaves a file open that it opened but cannot read.
      with (
        open(self._path(clip), 'rb') as raw,
        np.load(raw, allow_pickle=False) as file,
      ):
        stored = {name: file[name] for name in file.files}
      text = json.loads(stored['text'].tobytes())
      if text.pop('source') != self._source(clip):
        return None
      bounds = np.cumsum(stored['lengths'])[:-1]
      frames = np.split(stored['frames'], bounds)
    except _UNREADABLE:
      # Missing or truncated.
      return None
    return {
      **text,
      'frames': [frame.tobytes() for frame in frames],
      'frame_index': stored['frame_index'],
      'face_box': stored['face_box'],
      'depth': stored['depth'],
    }

  def properties(self, clip: listing.Clip) -> dict[str, object] | None:
    """Only the `properties` of the record; None as `get`."""
    try:
      with (
        open(self._path(clip), 'rb') as raw,
        np.load(raw, allow_pickle=False) as file,
      ):
        text = json.loads(file['text'].tobytes())
      return (
        text['properties'] if text['source'] == self._source(clip) else None
      )
    except _UNREADABLE:
      return None

  def take(self, clip: listing.Clip) -> dict[str, object] | None:
    """Like `get`, and deletes what is kept: no clip is on the disk twice."""
    record = self.get(clip)
    self._path(clip).unlink(missing_ok=True)
    return record

  def size(self, clip: listing.Clip) -> int:
    """The bytes that are kept of a finished clip."""
    return self._path(clip).stat().st_size

  def __len__(self) -> int:
    """The number of finished clips, of whatever settings."""
    return sum(1 for _ in self._folder.glob('[!.]*.npz'))

  def put(self, clip: listing.Clip, record: dict[str, object]) -> None:
    """Stores the record of a clip."""
    arrays = ('frame_index', 'face_box', 'depth')
    text = {
      name: value
      for name, value in record.items()
      if name not in (*arrays, 'frames')
    }
    text['source'] = self._source(clip)
    path = self._path(clip)
    with files.replacing(path, suffix='.npz') as partial, _named(path):
      np.savez(
        partial,
        text=np.frombuffer(json.dumps(text).encode(), np.uint8),
        lengths=np.array([len(frame) for frame in record['frames']]),
        frames=np.frombuffer(b''.join(record['frames']), np.uint8),
        **{name: record[name] for name in arrays},
      )

  def _source(self, clip: listing.Clip) -> list:
    """What the record of a clip depends on: JSON content."""
    fields = clip_fields(clip)
    return [
      self._settings,
      # All fields, such as label, split and turn, with paths as text.
      json.loads(json.dumps(fields, default=_text)),
      [status(path) for path in clip_paths(clip)],
    ]

  def clear(self) -> None:
    """Deletes the folder."""
    shutil.rmtree(self._folder, ignore_errors=True)


@contextlib.contextmanager
def _named(path: pathlib.Path) -> Iterator[None]:
  """Names the file in an error of NumPy, as of a full disk."""
  try:
    yield
  except OSError as error:
    if error.filename is None and error.errno is not None:
      raise OSError(error.errno, error.strerror, str(path)) from error
    raise


def clip_fields(clip: listing.Clip) -> dict[str, object]:
  """The fields of a clip that tell it from another: all that are compared."""
  compared = {field.name for field in dataclasses.fields(clip) if field.compare}
  found = dataclasses.asdict(clip)
  return {name: value for name, value in found.items() if name in compared}


def clip_paths(clip: listing.Clip) -> list[pathlib.Path]:
  """The files and folders that a clip is made from."""
  paths = [clip.path, *([clip.boxes.path] if clip.boxes else [])]
  return paths if clip.depth is None else [*paths, clip.depth]


def _text(value: object) -> str:
  """A stable text for a path or for a function that reads boxes."""
  if callable(value):
    return f'{value.__module__}.{value.__qualname__}'
  return str(value)


def status(path: pathlib.Path) -> list[int]:
  """Number, total size and last change of a path's files, hidden ones aside."""
  inside = [path]
  if path.is_dir():
    # What a file browser or an editor leaves in a folder is no frame.
    inside = [
      file
      for file in path.iterdir()
      if not file.name.startswith('.') and file.name not in _OF_BROWSERS
    ]
  statuses = [file.stat() for file in inside]
  return [
    len(inside),
    sum(status.st_size for status in statuses),
    max((status.st_mtime_ns for status in statuses), default=0),
  ]
