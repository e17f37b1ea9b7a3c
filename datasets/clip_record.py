"""Decodes one clip of a folder of videos into a record."""

import functools
import math
import os
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from nasfas_datasets import boxes as boxes_lib
from nasfas_datasets import clip_faces, fas_builder, listing
from nasfas_datasets.clip_config import ClipConfig
from nasfas_jax import records, stored_frames
from nasfas_jax.preprocessing import (
  crop,
  frame_folder,
  hdf5,
  picture_folder,
  video,
)

# Nobody is seen in fewer pixels; boxes in other units are smaller.
_MIN_SIDE = 8


def read_boxes(
  clip: listing.Clip, width: int, height: int, limit: int = 0
) -> np.ndarray:
  """The annotated boxes of a clip in the upright frame.

  Args:
    clip: with an annotation.
    width: of the frames.
    height: of the frames.
    limit: only the boxes of this many first frames; 0: of all.

  Returns:
    floats [F, 4], NaN for no face.

  Raises:
    ClipError: if the annotation cannot be used, or is upside down and the clip
      is not.
  """
  source = clip.boxes
  try:
    if source.format == 'hdf5_eyes':
      return boxes_lib.from_eyes(hdf5.eyes(source.path)[: limit or None])
    if source.format == 'frame_folder':
      paths = frame_folder.numbers(source.path, frame_folder.BOX)
      if limit:
        # Those that `frame_folder.sample_frames` reads.
        first = list(frame_folder.usable(source.path, clip.depth))[:limit]
        paths = {number: paths[number] for number in first}
      return np.concatenate(
        [boxes_lib.lines_xywh(path) for path in paths.values()]
      )
    if callable(source.format):
      found = _own_boxes(source)[: limit or None]
    else:
      found = boxes_lib.READERS[source.format](source.path, limit)
    if source.size is not None:
      found = found * (np.array([width, height] * 2) / (source.size * 2))
    turned = source.format == 'frame_corners' and boxes_lib.eyes_below(
      source.path
    )
  except ValueError as error:
    raise listing.ClipError(str(error)) from error
  if not turned:
    return found
  # By the eyes, the boxes refer to the stored frame, which is upside down.
  if clip.turn != 2:
    raise listing.ClipError(
      f'{source.path.name}: the eyes lie in the lower half of the boxes'
    )
  frame = np.array([width, height, width, height], np.float64)
  return (frame - found)[:, [2, 3, 0, 1]]


def _own_boxes(source: listing.Boxes) -> np.ndarray:
  """The boxes that the function of a layout reads."""
  try:
    return source.format(source.path)
  except (TypeError, KeyError, IndexError, AttributeError) as error:
    # A damaged annotation makes a reader raise these, too.
    raise listing.ClipError(
      f'{source.path.name}: {type(error).__name__}: {error}'
    ) from error


def place(
  clip: listing.Clip,
  detected: np.ndarray | None,
  config: ClipConfig,
  width: int,
  height: int,
) -> tuple[np.ndarray, crop.Square | crop.Region]:
  """The one face box of a clip, inside its frames, and the region to crop.

  Args:
    clip: its annotation is read if `detected` is None.
    detected: boxes [F, 4] that were found in the frames; NaN for no face.
    config: of the build.
    width: of the frames.
    height: of the frames.

  Raises:
    ClipError: if no frame has a face, or the face is not in the frame.
  """
  if detected is None and not clip.has_box:
    box = crop.default_box(width, height, config.margin)
  elif detected is None and clip.box is not None:
    try:
      box = crop.check_box(clip.box, width, height)
    except ValueError as error:
      raise listing.ClipError(str(error)) from error
  else:
    limit = 0
    if detected is None:
      limit = _num_read(clip, config)
      detected = read_boxes(clip, width, height, limit)
    box = clip_faces.clip_box(detected, width, height, limit)
  side = max(box[2] - box[0], box[3] - box[1])
  if side < _MIN_SIDE and clip.has_box:
    raise listing.ClipError(
      f'Box {np.round(box, 1).tolist()} is smaller than {_MIN_SIDE} pixels: '
      'no face, or not in pixels.'
    )
  try:
    return box, crop.wide_view(box, config.margin, config.border, width, height)
  except ValueError as error:
    raise listing.ClipError(str(error)) from error


def _num_read(clip: listing.Clip, config: ClipConfig) -> int:
  """The number of first frames of a clip that are read; 0: all."""
  return config.train_frames if clip.split == 'train' else 0


def _sampler(clip: listing.Clip, config: ClipConfig):
  """Makes a function: transform -> the clip's evenly spread, upright frames."""
  limit = _num_read(clip, config)
  if clip.boxes is not None and clip.boxes.format == 'frame_folder':
    read = functools.partial(frame_folder.sample_frames, depth=clip.depth)
  elif clip.path.is_dir():
    read = picture_folder.sample_frames
  else:
    reader = hdf5 if clip.path.suffix == '.hdf5' else video
    read = reader.sample_frames
  turn = clip.turn
  suffix = clip.path.suffix.lower()
  is_video = suffix in video.VIDEO_SUFFIXES and not clip.path.is_dir()
  # The decoder has already turned a file with a rotation tag.
  if turn and is_video and video.orientation(clip.path):
    turn = 0

  def sample(transform: Callable[[np.ndarray], object]) -> video.Clip:
    def upright(frame):
      return transform(np.ascontiguousarray(np.rot90(frame, -turn)))

    return read(clip.path, config.num_frames, upright, limit)

  return sample


def _given_depth(clip, number, view, size) -> np.ndarray:
  """The depth map that the dataset has for a frame: uint8 [32, 32]."""
  depth = frame_folder.read_depth(clip.depth, int(number))
  if depth.shape != size[::-1]:
    raise listing.ClipError(
      f'the depth map of frame {number} is {depth.shape[1]} x '
      f'{depth.shape[0]}, the frame {size[0]} x {size[1]}'
    )
  return crop.cut(depth, view, records.DEPTH_SIZE, border='zero')


def _pictured_depth(clip, view, size) -> np.ndarray:
  """The one depth picture of a clip, over the crop: uint8 [32, 32]."""
  depth = video.read_depth(clip.depth)
  width, height = size
  if not math.isclose(
    depth.shape[1] * height, depth.shape[0] * width, rel_tol=0.02
  ):
    raise listing.ClipError(
      f'depth {clip.depth.name!r} has {depth.shape[1]} x {depth.shape[0]} '
      f'pixels; it must cover the frame of {width} x {height}.'
    )
  shrinks = width < depth.shape[1]
  depth = cv2.resize(
    depth,
    (width, height),
    interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
  )
  return crop.cut(depth, view, records.DEPTH_SIZE, border='zero')


def _has_depth(depth: np.ndarray, inner: np.ndarray, size: int) -> bool:
  """Whether a depth map is above 0 somewhere in the face.

  Args:
    depth: [32, 32], over the crop.
    inner: the face box in the crop.
    size: side of the crop.
  """
  cells = len(depth) / size * np.asarray(inner)
  x0, y0 = np.floor(cells[:2]).astype(int).clip(0, len(depth) - 1)
  x1, y1 = np.ceil(cells[2:]).astype(int).clip(1, len(depth))
  return bool(depth[y0:y1, x0:x1].any())


class _Placed(NamedTuple):
  """Where the face of a frame is, and what of the frame is stored.

  Attributes:
    box: of the face, float64 [4] in pixels of the frame.
    view: the region that is stored.
    size: (width, height) of the frame.
  """

  box: np.ndarray
  view: crop.Square | crop.Region
  size: tuple[int, int]

  def inner(self, size: int) -> np.ndarray:
    """The box in a stored crop of a size."""
    return crop.box_in_crop(self.box, self.view, size)


def _depth(clip, sampled, places, config) -> np.ndarray:
  """Depth maps [K, 32, 32] that need no mesh; `places` [K] is `_Placed`."""
  if clip.depth is not None and clip.depth.is_dir():
    return np.stack(
      [
        _given_depth(clip, number, here.view, here.size)
        for number, here in zip(sampled.frame_index, places, strict=True)
      ]
    )
  maps = {}
  for here in places:
    if here.size in maps:
      continue
    if clip.depth is None:
      # For attacks too: a depth map of live clips only would leak the label.
      maps[here.size] = crop.face_ellipse(
        here.inner(config.size), config.size, records.DEPTH_SIZE
      )
    else:
      maps[here.size] = _pictured_depth(clip, here.view, here.size)
  return np.stack([maps[here.size] for here in places])


def _properties(clip, sampled, box, size, detected) -> dict[str, object]:
  """What a clip's file was, beside what it shows: see `nuisance`."""
  width, height = size
  pixels = width * height * sampled.num_frames
  is_file = clip.path.is_file()
  if detected is not None:
    source = 'detected'
  else:
    source = 'given' if clip.has_box else 'whole_frame'
  found = {
    'box': source,
    'framing': round(
      float(max(box[2] - box[0], box[3] - box[1]) / min(size)), 4
    ),
    'file_type': clip.path.suffix.lower() if is_file else 'folder',
    'width': width,
    'height': height,
    'file_frames': sampled.num_frames,
  }
  if is_file:
    size_of_file = clip.path.stat().st_size
    found['file_bytes_per_pixel'] = float(f'{size_of_file / pixels:.4g}')
  if sampled.num_claimed and sampled.num_claimed != sampled.num_frames:
    found['claimed_frames'] = sampled.num_claimed
  return found


def make_clip(
  clip: listing.Clip,
  *,
  dataset: str,
  config: ClipConfig,
  face_models: str | os.PathLike | None = None,
) -> dict[str, object]:
  """Decodes a clip into a record; decodes twice if faces are to be detected.

  Frames have one size, but for a folder of pictures without a box: there each
  is taken whole, and the record has the median of their boxes.

  Args:
    clip: to decode.
    dataset: name of the dataset.
    config: settings of the build. Depth maps of the dataset override its
      `depth`. A frame of a live clip whose map is 0 all over the face is left
      out.
    face_models: folder of the face models, if the config needs them.

  Returns:
    A record, and `properties`: JSON content about the file, see `nuisance`.

  Raises:
    ClipError, VideoError: if the video or its annotation cannot be used.
    ImportError, FileNotFoundError: if the face models cannot be loaded.
  """
  sample = _sampler(clip, config)
  # A stretched region has nothing past the border.
  border = 'replicate' if config.border == 'stretch' else config.border
  meshed = config.depth == 'mesh' and clip.depth is None
  detected = None
  if config.faces == 'detected':
    find = functools.partial(clip_faces.find_box, face_models)
    detected = np.stack(sample(find).frames)
  # Pictures that were cut for each frame have sizes of their own. A box has
  # its place in frames of one size only, and a video has one size.
  of_each = clip.path.is_dir() and not clip.has_box and detected is None
  first = []

  def cut(frame: np.ndarray):
    size = (frame.shape[1], frame.shape[0])
    if not first:
      first.append(_Placed(*place(clip, detected, config, *size), size))
    (here,) = first
    if size != here.size:
      if not of_each:
        raise listing.ClipError(f'the frame changes from {here.size} to {size}')
      here = _Placed(*place(clip, None, config, *size), size)
    depth = None
    if meshed:
      depth = clip_faces.find_depth(face_models, frame, here.view)
    return crop.cut(frame, here.view, config.size, border=border), depth, here

  sampled = sample(cut)
  pictures, maps, places = zip(*sampled.frames, strict=True)
  (here,) = first
  inner = here.inner(config.size)
  if len({other.size for other in places}) > 1:
    inner = crop.median_box([other.inner(config.size) for other in places])
  depth = (
    clip_faces.fill(maps) if meshed else _depth(clip, sampled, places, config)
  )
  kept = list(range(len(pictures)))
  if clip.depth is not None and clip.label == records.LIVE:
    kept = [
      i
      for i, other in enumerate(places)
      if _has_depth(depth[i], other.inner(config.size), config.size)
    ]
    if not kept:
      raise listing.ClipError(
        f'depth {clip.depth.name!r} is 0 all over the face: a live clip '
        'without depth would be taught as an attack.'
      )
  record = fas_builder.make_record(
    dataset=dataset,
    frames=[stored_frames.encode(pictures[i]) for i in kept],
    frame_index=sampled.frame_index[kept],
    face_box=inner,
    depth=depth[kept],
    fps=sampled.fps,
    **{
      name: getattr(clip, name)
      for name in records.INDEX_FIELDS
      if name != 'dataset'
    },
  )
  record['properties'] = _properties(
    clip, sampled, here.box, here.size, detected
  )
  return record
