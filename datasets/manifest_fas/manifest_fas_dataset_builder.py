"""manifest_fas: a user's own videos and pictures, listed in a CSV file."""

import csv
import dataclasses
import functools
import math
import pathlib
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import tensorflow_datasets as tfds

from nasfas_datasets import clip_config, clip_faces, fas_builder, listing
from nasfas_datasets.manifest_fas import manifest
from nasfas_jax import records
from nasfas_jax.preprocessing import crop, video

REPORT_FILE = 'skipped.csv'

# The square crop of a very long and narrow frame would take gigabytes.
_MAX_CROP_SIDE = 16384
# The most reasons that an error lists.
_NUM_REASONS = 5


@dataclasses.dataclass(eq=False)
class ManifestConfig(clip_config.ClipConfig):
  """Settings of a build.

  Attributes:
    manifest: the CSV file, absolute or relative to the manual folder; '' is
      manifest.csv.
  """

  manifest: str = ''


def _depth_map(
  row: manifest.Row,
  box: np.ndarray,
  square: crop.Square,
  frame_size: tuple[int, int],
  size: int,
) -> np.ndarray:
  """The depth map of the crop: uint8 [32, 32].

  It comes from the row's depth picture. Without one it is the ellipse in the
  face box, for attacks too, since otherwise the depth would leak the label.
  """
  if row.depth is None:
    inner = crop.box_in_crop(box, square, size)
    return crop.face_ellipse(inner, size, records.DEPTH_SIZE)
  depth = video.read_depth(row.depth)
  width, height = frame_size
  if not math.isclose(
    depth.shape[1] * height, depth.shape[0] * width, rel_tol=0.02
  ):
    raise manifest.RowError(
      f'depth {row.depth.name!r} has {depth.shape[1]} x {depth.shape[0]} '
      f'pixels; it must cover the frame of {width} x {height}.'
    )
  depth = cv2.resize(
    depth,
    (width, height),
    interpolation=cv2.INTER_AREA
    if width < depth.shape[1]
    else cv2.INTER_LINEAR,
  )
  depth = crop.cut(depth, square, records.DEPTH_SIZE, border='zero')
  if row.label == records.LIVE and not depth.any():
    raise manifest.RowError(
      f'depth {row.depth.name!r} is 0 all over the face: a live clip '
      'without depth would be taught as an attack.'
    )
  return depth


def make_clip(
  row: manifest.Row, config: ManifestConfig, face_models: str | None = None
) -> dict[str, object]:
  """Decodes one row into a record; decodes twice if faces are to be detected.

  Args:
    row: to decode.
    config: settings of the build. A row's depth picture overrides its `depth`.
    face_models: folder of the face models, if the config needs them.

  Raises:
    VideoError, RowError, ClipError: if the file, its box, its depth or its face
      cannot be used.
    ImportError, FileNotFoundError: if the face models cannot be loaded.
  """
  limit = config.train_frames if row.split == 'train' else 0
  # A stretched region has nothing past the border.
  border = 'replicate' if config.border == 'stretch' else config.border
  with_mesh = config.depth == 'mesh' and row.depth is None
  detected = None
  if config.faces == 'detected':
    find = functools.partial(clip_faces.find_box, face_models)
    sampled = video.sample_frames(row.path, config.num_frames, find, limit)
    detected = np.stack(sampled.frames)
  placed = []  # Box, crop and frame size, set at the first frame.

  def cut(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    height, width = frame.shape[:2]
    if not placed:
      placed.extend(_place(row, detected, config, width, height))
    if placed[2] != (width, height):
      raise manifest.RowError(
        f'the frame changes from {placed[2]} to {(width, height)} pixels.'
      )
    depth = None
    if with_mesh:
      depth = clip_faces.find_depth(face_models, frame, placed[1])
    return crop.cut(frame, placed[1], config.size, border=border), depth

  clip = video.sample_frames(row.path, config.num_frames, cut, limit)
  pictures, maps = zip(*clip.frames, strict=True)
  box, square, frame_size = placed
  if with_mesh:
    depth = clip_faces.fill(maps)
  else:
    depth = _depth_map(row, box, square, frame_size, config.size)
    depth = np.repeat(depth[None], len(pictures), axis=0)
  return fas_builder.make_record(
    clip_id=row.clip_id,
    dataset='manifest_fas',
    subject=row.subject,
    split=row.split,
    label=row.label,
    attack_type=row.attack_type,
    attack_detail=row.attack_detail,
    frames=[fas_builder.encode_png(picture) for picture in pictures],
    frame_index=clip.frame_index,
    face_box=crop.box_in_crop(box, square, config.size),
    depth=depth,
    fps=clip.fps,
    **row.domains,
  )


def _place(
  row: manifest.Row,
  detected: np.ndarray | None,
  config: ManifestConfig,
  width: int,
  height: int,
):
  """(box, region to crop, (width, height)) of a clip."""
  if detected is not None:
    box = clip_faces.clip_box(detected, width, height)
  elif row.box is None:
    box = crop.default_box(width, height, config.margin)
  else:
    try:
      box = crop.check_box(row.box, width, height)
    except ValueError as error:
      raise manifest.RowError(str(error)) from error
  if config.border == 'stretch':
    region = crop.clipped_region(box, config.margin, width, height)
    return box, region, (width, height)
  square = crop.square_around(box, config.margin)
  if square.side > _MAX_CROP_SIDE:
    raise manifest.RowError(
      f'the crop of a frame of {width} x {height} pixels has a side of '
      f'{square.side}; at most {_MAX_CROP_SIDE} is possible.'
    )
  return box, square, (width, height)


class Builder(fas_builder.FasBuilder):
  """Builds records from the rows of a manifest."""

  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES = {'1.0.0': 'First version.'}
  MANUAL_DOWNLOAD_INSTRUCTIONS = """
  manual_dir is the folder of your videos and pictures. It holds manifest.csv
  with the columns path, label, attack_type, subject, split (paths relative to
  the folder); see datasets/manifest_fas/README.md.
  """
  BUILDER_CONFIGS = [
    ManifestConfig(name='default', description='Crops of 256 pixels.'),
    ManifestConfig(
      name='small',
      size=80,
      description='Crops of 80 pixels, for training at 64.',
    ),
  ]

  def _split_generators(self, dl_manager: tfds.download.DownloadManager):
    try:
      root = pathlib.Path(dl_manager.manual_dir)
    except AssertionError as error:  # How TFDS says that it is not there.
      raise FileNotFoundError(str(error)) from error
    path = root / (self.builder_config.manifest or 'manifest.csv')
    rows, self._bad_rows = manifest.read_manifest(path, root)
    self._num_rows = len(rows) + len(self._bad_rows)
    self._num_done = len(self._bad_rows)
    self._check_bad_share()
    by_split = {
      split: [row for row in rows if row.split == split]
      for split in records.SPLITS
    }
    return {
      split: self._generate_examples(chosen)
      for split, chosen in by_split.items()
      if chosen
    }

  def _generate_examples(
    self, rows: Sequence[manifest.Row]
  ) -> Iterator[tuple[str, dict[str, object]]]:
    num_clips = 0
    for row in rows:
      try:
        record = make_clip(row, self.builder_config, self.face_models)
      except (
        video.VideoError,
        manifest.RowError,
        listing.ClipError,
      ) as error:
        self._bad_rows.append(manifest.BadRow(row.number, row.name, str(error)))
        self._check_bad_share()
      else:
        num_clips += 1
        yield row.clip_id, record
      self._num_done += 1
      if self.progress is not None:
        self.progress(self._num_done, self._num_rows)
    if not num_clips:
      self._fail(f'no clip of the split {rows[0].split!r} can be decoded')

  def _download_and_prepare(self, dl_manager, download_config) -> None:
    """Builds the shards and, beside them, the report of skipped rows."""
    super()._download_and_prepare(
      dl_manager=dl_manager, download_config=download_config
    )
    # TFDS builds in a temporary folder, now data_dir, and renames it at the
    # end: the report appears together with the shards.
    folder = pathlib.Path(self.data_dir)
    self._write_report(folder)
    (folder.parent / REPORT_FILE).unlink(missing_ok=True)

  def _check_bad_share(self) -> None:
    share = len(self._bad_rows) / self._num_rows
    limit = self.max_bad_share
    if share > limit:
      self._fail(
        f'{len(self._bad_rows)} of {self._num_rows} rows are bad, a share of '
        f'{share:.3g}; max_bad_share allows {limit:g}'
      )

  def _fail(self, problem: str) -> None:
    # TFDS deletes the temporary folder, so the report is in its parent.
    report = self._write_report(pathlib.Path(self.data_dir).parent)
    reasons = '\n'.join(
      f'  row {bad.number}: {bad.path!r}: {bad.reason}'
      for bad in self._sorted_bad_rows()[:_NUM_REASONS]
    )
    raise ValueError(
      f'manifest_fas: {problem}. The first (all found are in {report}):\n'
      f'{reasons}'
    )

  def _sorted_bad_rows(self) -> list[manifest.BadRow]:
    return sorted(self._bad_rows, key=lambda bad: bad.number)

  def _write_report(self, folder: pathlib.Path) -> pathlib.Path:
    path = folder / REPORT_FILE
    with open(path, 'w', encoding='utf-8', newline='') as file:
      writer = csv.writer(file)
      writer.writerow(('row', 'path', 'reason'))
      for bad in self._sorted_bad_rows():
        writer.writerow((bad.number, bad.path, bad.reason))
    return path
