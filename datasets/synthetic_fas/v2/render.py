"""Renders clips in several processes, and keeps what is rendered on disk.

A worker imports NumPy and OpenCV only, beside what the main module of the
process imports. A chunk is a file of some clips, so that a stopped build goes
on where it was.
"""

import concurrent.futures
import functools
import multiprocessing
import os
import pathlib
import signal
from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from nasfas_datasets.synthetic_fas.v2 import plan, scene
from nasfas_jax import files

# Clips of one file; those of a subject lie together and share its maps.
CHUNK = 24
# From so many chunks on, processes are worth their start.
_MIN_CHUNKS = 12
# A clip, its frames, depth maps and face box, see `scene.make`.
Rendered = tuple[plan.Clip, np.ndarray, np.ndarray, np.ndarray]


def chunks(clips: Sequence[plan.Clip]) -> list[Sequence[plan.Clip]]:
  """Clips in parts of `CHUNK`, in order."""
  return [clips[k : k + CHUNK] for k in range(0, len(clips), CHUNK)]


def chunk_path(folder: pathlib.Path, clips: Sequence[plan.Clip]):
  """The file of a chunk."""
  return folder / f'clips-{clips[0].index:06d}.npz'


def _start_worker() -> None:
  """Leaves Ctrl-C, which reaches all processes, to the one that started us."""
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  cv2.setNumThreads(1)


def _write(clips, size: plan.Size, folder: pathlib.Path) -> int:
  """Writes a chunk unless it is there; returns its number of clips."""
  path = chunk_path(folder, clips)
  if not path.exists():
    parts = [scene.make(clip, size) for clip in clips]
    frames, depth, boxes = (np.stack(part) for part in zip(*parts, strict=True))
    with files.replacing(path, '.npz') as partial:
      np.savez(partial, frames=frames, depth=depth, boxes=boxes)
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
  # Spawned: a fork of a process with threads may hang.
  with concurrent.futures.ProcessPoolExecutor(
    num_workers,
    multiprocessing.get_context('spawn'),
    initializer=_start_worker,
  ) as pool:
    try:
      yield from pool.map(work, parts)
    finally:
      pool.shutdown(cancel_futures=True)


def read_chunk(
  folder: pathlib.Path, clips: Sequence[plan.Clip]
) -> Iterator[Rendered]:
  """The clips of a chunk that `write_chunks` wrote."""
  with np.load(chunk_path(folder, clips), allow_pickle=False) as found:
    frames, depth, boxes = (
      found[name] for name in ('frames', 'depth', 'boxes')
    )
  for k, clip in enumerate(clips):
    yield clip, frames[k], depth[k], boxes[k]
