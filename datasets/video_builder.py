"""The builder of datasets that are folders of named videos.

A subclass names its `layout`, a module with `list_clips(root)` and
INSTRUCTIONS; everything else is alike.
"""

import concurrent.futures
import csv
import functools
import multiprocessing
import pathlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow_datasets as tfds

from nasfas_datasets import boxes as boxes_lib
from nasfas_datasets import clip_faces, fas_builder, listing
from nasfas_datasets.clip_cache import ClipCache
from nasfas_datasets.clip_config import ClipConfig
from nasfas_jax import records
from nasfas_jax.preprocessing import crop, hdf5, video

REPORT_FILE = 'skipped.csv'


CONFIGS = [
  ClipConfig(
    name='default', description='Crops of 256 pixels.', max_bad_share=0.05
  ),
  ClipConfig(
    name='small',
    size=80,
    description='Crops of 80 pixels, to train at 64.',
    max_bad_share=0.05,
  ),
]


def read_boxes(source: listing.Boxes) -> np.ndarray:
  """The boxes of an annotation, [F, 4]; NaN where there is no face.

  Raises:
    ClipError: if the annotation is not usable.
  """
  try:
    if source.format == 'hdf5_eyes':
      return boxes_lib.from_eyes(hdf5.eyes(source.path))
    return boxes_lib.READERS[source.format](source.path)
  except ValueError as error:
    raise listing.ClipError(str(error)) from error


def place(
  clip: listing.Clip,
  detected: np.ndarray | None,
  margin: float,
  width: int,
  height: int,
) -> tuple[np.ndarray, crop.Square]:
  """The one face box of a clip, inside its frames, and the square about it.

  Args:
    clip: whose annotation is read if there is no `detected`.
    detected: boxes [F, 4] that were found in the frames, NaN for none.
    margin: see `ClipConfig`.
    width: of the frames.
    height: of the frames.

  Raises:
    ClipError: if no frame has a face, or the face is not in the frame.
  """
  if detected is None and clip.boxes is None:
    box = crop.default_box(width, height, margin)
  else:
    if detected is None:
      detected = read_boxes(clip.boxes)
    box = clip_faces.clip_box(detected, width, height)
  return box, crop.square_around(box, margin)


def make_clip(
  clip: listing.Clip,
  *,
  dataset: str,
  config: ClipConfig,
  face_models: str | None = None,
) -> dict[str, object]:
  """Decodes a clip into a record; twice where the faces are detected.

  Args:
    clip: what to decode.
    dataset: its name, for the record.
    config: what to store.
    face_models: folder of the face models, where the config needs them.

  Raises:
    ClipError, VideoError: if the video or its annotation is not usable.
    ImportError, FileNotFoundError: if the face models cannot be loaded.
  """
  placed = []  # Box, square and size, once the first frame is there.
  turn = clip.turn
  # A file that says how it is to be turned has been turned by the decoder.
  if turn and video.orientation(clip.path):
    turn = 0

  def sample(transform: Callable[[np.ndarray], object]) -> video.Clip:
    reader = hdf5 if clip.path.suffix == '.hdf5' else video
    return reader.sample_frames(
      clip.path,
      config.num_frames,
      lambda frame: transform(np.ascontiguousarray(np.rot90(frame, -turn))),
    )

  detected = None
  if config.faces == 'detected':
    find = functools.partial(clip_faces.find_box, face_models)
    detected = np.stack(sample(find).frames)

  def cut(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    size = (frame.shape[1], frame.shape[0])
    if not placed:
      placed.extend((*place(clip, detected, config.margin, *size), size))
    if placed[2] != size:
      raise listing.ClipError(f'the frame changes from {placed[2]} to {size}')
    depth = None
    if config.depth == 'mesh':
      depth = clip_faces.find_depth(face_models, frame, placed[1])
    return crop.cut(frame, placed[1], config.size), depth

  sampled = sample(cut)
  pictures, maps = zip(*sampled.frames, strict=True)
  box, square, _ = placed
  inner = crop.box_in_crop(box, square, config.size)
  if config.depth == 'mesh':
    depth = clip_faces.fill(maps)
  else:
    # The ellipse in the box, for attacks as for live clips.
    mask = crop.face_ellipse(inner, config.size, records.DEPTH_SIZE)
    depth = np.repeat(mask[None], len(pictures), axis=0)
  return fas_builder.make_record(
    dataset=dataset,
    frames=[fas_builder.encode_png(picture) for picture in pictures],
    frame_index=sampled.frame_index,
    face_box=inner,
    depth=depth,
    fps=sampled.fps,
    **{
      name: getattr(clip, name)
      for name in records.INDEX_FIELDS
      if name != 'dataset'
    },
  )


def _try_clip(clip, *, cache, **settings):
  """(clip, record or None, why it is not one)."""
  try:
    record = cache.get(clip)
    if record is None:
      record = make_clip(clip, **settings)
      cache.put(clip, record)
    return clip, record, ''
  except (listing.ClipError, video.VideoError) as error:
    return clip, None, str(error)


class VideoBuilder(fas_builder.FasBuilder, skip_registration=True):
  """Builds records from the clips that a layout lists."""

  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES = {'1.0.0': 'First version.'}
  BUILDER_CONFIGS = CONFIGS
  layout = None

  def __init__(self, *, num_workers=1, allow_missing=False, **kwargs):
    """Makes a builder.

    Args:
      num_workers: processes that decode.
      allow_missing: build although clips of the dataset are missing.
      **kwargs: those of `FasBuilder`.
    """
    self.num_workers = num_workers
    self.allow_missing = allow_missing
    super().__init__(**kwargs)

  @classmethod
  def list_clips(cls, root: pathlib.Path) -> listing.Listing:
    return cls.layout.list_clips(pathlib.Path(root))

  def _split_generators(self, dl_manager: tfds.download.DownloadManager):
    try:
      root = pathlib.Path(dl_manager.manual_dir)
    except AssertionError as error:  # How TFDS says that it is not there.
      raise FileNotFoundError(str(error)) from error
    found = self.list_clips(root)
    if found.missing and not self.allow_missing:
      raise FileNotFoundError(
        f'{self.name}: {len(found.missing)} of '
        f'{len(found.missing) + len(found.clips)} clips are missing in '
        f'{str(root)!r}: {listing.shorten(found.missing)}. --list names them '
        'all, --allow_missing builds the others.'
      )
    if not found.clips:
      raise FileNotFoundError(
        f'{self.name}: no clip in {str(root)!r}. '
        f'{" ".join(self.layout.INSTRUCTIONS.split())}'
      )
    self._skipped = list(found.skipped)
    self._num_bad = self._num_done = 0
    self._num_clips = len(found.clips)
    return {
      split: self._generate_examples(chosen)
      for split in records.SPLITS
      if (chosen := [clip for clip in found.clips if clip.split == split])
    }

  def _generate_examples(
    self, clips: Sequence[listing.Clip]
  ) -> Iterator[tuple[str, dict[str, object]]]:
    for clip, record, reason in self._decode(clips):
      self._num_done += 1
      if self.progress is not None:
        self.progress(self._num_done, self._num_clips)
      if record is not None:
        yield clip.clip_id, record
        continue
      self._num_bad += 1
      self._skipped.append((clip.clip_id, reason))
      limit = self.max_bad_share * self._num_clips
      if self._num_bad > limit:
        report = self._write_report(pathlib.Path(self.data_dir).parent)
        raise ValueError(
          f'{self.name}: {self._num_bad} of {self._num_clips} clips cannot be '
          f'used; max_bad_share allows {self.max_bad_share:g}. '
          f'The last: {clip.clip_id}: {reason}. All are in {report}.'
        )

  def _decode(self, clips):
    """The clips in order, by `num_workers` processes."""
    work = functools.partial(
      _try_clip,
      dataset=self.name,
      config=self.builder_config,
      face_models=self.face_models,
      cache=self._cache(),
    )
    if self.num_workers <= 1:
      yield from map(work, clips)
      return
    # Spawned: a fork of a process with threads may hang.
    with concurrent.futures.ProcessPoolExecutor(
      self.num_workers, multiprocessing.get_context('spawn')
    ) as pool:
      try:
        yield from pool.map(work, clips)
      finally:
        pool.shutdown(cancel_futures=True)

  def _cache(self) -> ClipCache:
    """The finished clips, beside the folder of the shards."""
    parent = pathlib.Path(self.data_dir).parent
    return ClipCache(parent / f'finished-{self.version}', self.builder_config)

  def _download_and_prepare(self, dl_manager, download_config) -> None:
    """Builds the shards and, beside them, the report of skipped files."""
    super()._download_and_prepare(
      dl_manager=dl_manager, download_config=download_config
    )
    self._cache().clear()
    folder = pathlib.Path(self.data_dir)
    self._write_report(folder)
    (folder.parent / REPORT_FILE).unlink(missing_ok=True)

  def _write_report(self, folder: pathlib.Path) -> pathlib.Path:
    path = folder / REPORT_FILE
    with open(path, 'w', encoding='utf-8', newline='') as file:
      writer = csv.writer(file)
      writer.writerow(('path', 'reason'))
      writer.writerows(sorted(self._skipped))
    return path
