"""Renders clips in several processes, and keeps what is rendered on disk.

A worker imports NumPy and OpenCV only, beside what the main module of the
process imports. A chunk is a file of some clips, so that a stopped build goes
on where it was.
"""

import functools
import itertools
import os
import pathlib
from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from nasfas_datasets import workers
from nasfas_datasets.synthetic_fas.v2 import plan, scene
from nasfas_jax import files, stored_frames

# Clips of one file; those of a subject lie together and share its maps.
CHUNK = 24
# From so many chunks on, processes are worth their start.
_MIN_CHUNKS = 12
# A clip, its frames as stored, depth maps and face box, see `scene.make`.
Rendered = tuple[plan.Clip, list[bytes], np.ndarray, np.ndarray]


def chunks(clips: Sequence[plan.Clip]) -> list[Sequence[plan.Clip]]:
  """Clips in parts of `CHUNK`, in order."""
  return [clips[k : k + CHUNK] for k in range(0, len(clips), CHUNK)]


def chunk_path(folder: pathlib.Path, clips: Sequence[plan.Clip]):
  """The file of a chunk."""
  return folder / f'clips-{clips[0].index:06d}.npz'


def _one_thread() -> None:
  cv2.setNumThreads(1)


def _write(clips, size: plan.Size, folder: pathlib.Path) -> int:
  """Writes a chunk unless it is there; returns its number of clips."""
  path = chunk_path(folder, clips)
  if not path.exists():
    parts = [scene.make(clip, size) for clip in clips]
    frames, depth, boxes = zip(*parts, strict=True)
    packed = [stored_frames.encode(frame) for part in frames for frame in part]
    with files.replacing(path, '.npz') as partial:
      np.savez(
        partial,
        frames=np.frombuffer(b''.join(packed), np.uint8),
        ends=np.cumsum([len(data) for data in packed]),
        depth=np.stack(depth),
        boxes=np.stack(boxes),
      )
  return len(clips)


def write_chunks(
  clips: Sequence[plan.Clip],
  size: plan.Size,
  folder: pathlib.Path,
  num_workers: int | None = None,
) -> Iterator[int]:
  """Renders what is missing in a folder of chunks.

  Args:
    clips: in order.
    size: of the dataset.
    folder: of the chunks.
    num_workers: processes; None: one for each core that this process may use,
      or none for a few clips.

  Yields:
    The number of clips of each chunk that is done.
  """
  parts = chunks(clips)
  if num_workers is None:
    cores = (
      len(os.sched_getaffinity(0))
      if hasattr(os, 'sched_getaffinity')
      else os.cpu_count()
    )
    num_workers = cores if len(parts) >= _MIN_CHUNKS else 1
  work = functools.partial(_write, size=size, folder=folder)
  if num_workers <= 1:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
      yield from map(work, parts)
    finally:
      cv2.setNumThreads(threads)
    return
  yield from workers.spread(work, parts, num_workers, _one_thread)


def read_chunk(
  folder: pathlib.Path, clips: Sequence[plan.Clip]
) -> Iterator[Rendered]:
  """The clips of a chunk that `write_chunks` wrote."""
  with np.load(chunk_path(folder, clips), allow_pickle=False) as found:
    frames, ends = found['frames'].tobytes(), found['ends'].tolist()
    depth, boxes = found['depth'], found['boxes']
  packed = [
    frames[first:last] for first, last in itertools.pairwise([0, *ends])
  ]
  number = len(packed) // len(clips)
  for k, clip in enumerate(clips):
    yield clip, packed[k * number : (k + 1) * number], depth[k], boxes[k]
