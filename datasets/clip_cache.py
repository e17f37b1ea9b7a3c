"""Finished clips of a build that is not finished: a restart goes on.

One .npz a clip, beside the folder of the shards, with the sizes and times of
the files it was made of: a file that has changed since is read again.
"""

import hashlib
import json
import os
import pathlib
import shutil
import zipfile

import numpy as np

from nasfas_datasets import listing


class ClipCache:
  """A folder of finished clips."""

  def __init__(self, folder: pathlib.Path):
    """folder: made at the first write."""
    self._folder = folder

  def _path(self, clip: listing.Clip) -> pathlib.Path:
    name = hashlib.sha256(clip.clip_id.encode()).hexdigest()[:32]
    return self._folder / f'{name}.npz'

  def get(self, clip: listing.Clip) -> dict[str, object] | None:
    """The record of a clip, or None if it is not there or out of date."""
    try:
      with np.load(self._path(clip), allow_pickle=False) as file:
        stored = {name: file[name] for name in file.files}
      text = json.loads(stored['text'].tobytes())
      if text.pop('source') != signature(clip):
        return None
      bounds = np.cumsum(stored['lengths'])[:-1]
      frames = np.split(stored['frames'], bounds)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
      # Missing, or cut off by a kill.
      return None
    return {
      **text,
      'frames': [frame.tobytes() for frame in frames],
      'frame_index': stored['frame_index'],
      'face_box': stored['face_box'],
      'depth': stored['depth'],
    }

  def put(self, clip: listing.Clip, record: dict[str, object]) -> None:
    """Keeps the record of a clip."""
    self._folder.mkdir(parents=True, exist_ok=True)
    arrays = ('frame_index', 'face_box', 'depth')
    text = {
      name: value
      for name, value in record.items()
      if name not in (*arrays, 'frames')
    }
    text['source'] = signature(clip)
    path = self._path(clip)
    partial = path.with_suffix(f'.{os.getpid()}.tmp')
    with open(partial, 'wb') as file:
      np.savez(
        file,
        text=np.frombuffer(json.dumps(text).encode(), np.uint8),
        lengths=np.array([len(frame) for frame in record['frames']]),
        frames=np.frombuffer(b''.join(record['frames']), np.uint8),
        **{name: record[name] for name in arrays},
      )
    os.replace(partial, path)

  def clear(self) -> None:
    """Deletes the folder."""
    shutil.rmtree(self._folder, ignore_errors=True)


def signature(clip: listing.Clip) -> list:
  """Sizes and times of the files that a clip is made of: JSON content."""
  paths = [clip.path, *([clip.boxes.path] if clip.boxes else [])]
  found = []
  for path in paths:
    status = path.stat()
    found.append([str(path), status.st_size, status.st_mtime_ns])
  return found
