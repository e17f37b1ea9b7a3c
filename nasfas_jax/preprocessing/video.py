"""Decoding of videos and pictures into upright RGB frames (OpenCV)."""

import dataclasses
import math
import os
import pathlib
from collections.abc import Callable, Sequence

import cv2
import numpy as np

VIDEO_SUFFIXES = (
  '.3gp',
  '.avi',
  '.m4v',
  '.mkv',
  '.mov',
  '.mp4',
  '.mpeg',
  '.mpg',
  '.webm',
  '.wmv',
)
IMAGE_SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')

# A container may claim a few frames more than can be decoded, as the count
# often comes from the duration. A file with less than this share of its frames
# is truncated.
_MIN_DECODED_SHARE = 0.9

Transform = Callable[[np.ndarray], np.ndarray]


class VideoError(ValueError):
  """A file cannot be decoded; the message names it."""


@dataclasses.dataclass(frozen=True)
class VideoInfo:
  """The properties of a video.

  Attributes:
    width: of the upright frame, in pixels.
    height: of the upright frame, in pixels.
    fps: frames per second; 0 if unknown.
    num_frames: the container's count, which may be slightly off; counted by
      decoding if it has none.
  """

  width: int
  height: int
  fps: float
  num_frames: int


@dataclasses.dataclass(frozen=True)
class Clip:
  """Frames taken from a file.

  Attributes:
    frames: K frames, uint8 RGB [H, W, 3] or what the transform returned.
    frame_index: int32 [K], the place of each frame in the file.
    fps: frames per second; 0 if unknown.
  """

  frames: list[np.ndarray]
  frame_index: np.ndarray
  fps: float


def _open(path: pathlib.Path) -> cv2.VideoCapture:
  if not path.is_file():
    raise VideoError(f'{path}: there is no such file.')
  if path.stat().st_size == 0:
    raise VideoError(f'{path}: the file has 0 bytes.')
  # FFmpeg only: other backends take a name with '%' for a sequence of pictures.
  # OpenCV itself turns frames upright by the container's rotation tag.
  capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
  if not capture.isOpened():
    raise VideoError(f'{path}: not a video that can be opened.')
  return capture


def probe(path: str | os.PathLike) -> VideoInfo:
  """Opens a video and decodes its first frame.

  Raises:
    VideoError: if there is no frame to decode.
  """
  path = pathlib.Path(path)
  capture = _open(path)
  try:
    decoded, frame = capture.read()
    if not decoded or frame is None:
      raise VideoError(f'{path}: no frame can be decoded.')
  finally:
    capture.release()
  num_frames, fps = _length(path)
  return VideoInfo(
    width=frame.shape[1],
    height=frame.shape[0],
    fps=fps,
    num_frames=num_frames,
  )


def _length(path: pathlib.Path) -> tuple[int, float]:
  """(frames, frames per second) of a video, see `VideoInfo`.

  Raises:
    VideoError: if there is no frame.
  """
  capture = _open(path)
  try:
    fps = capture.get(cv2.CAP_PROP_FPS)
    num_frames = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    if not (math.isfinite(num_frames) and num_frames >= 1):
      num_frames = 0
      while capture.grab():
        num_frames += 1
  finally:
    capture.release()
  if not num_frames:
    raise VideoError(f'{path}: no frame can be decoded.')
  fps = fps if math.isfinite(fps) and 0 < fps <= 1000 else 0.0
  return int(num_frames), fps


def orientation(path: str | os.PathLike) -> int:
  """The rotation tag of a video in degrees; 0 for none.

  The decoder turns frames upright by it.

  Raises:
    VideoError: if the video cannot be opened.
  """
  capture = _open(pathlib.Path(path))
  try:
    return round(capture.get(cv2.CAP_PROP_ORIENTATION_META)) % 360
  finally:
    capture.release()


def even_indices(num_available: int, num_frames: int) -> np.ndarray:
  """The middle frames of `num_frames` equal parts: int32 [K], ascending.

  Middles avoid the first and the last frames, which are most likely to be black
  or missing. All frames, if there are at most `num_frames`.
  """
  if num_available < 1 or num_frames < 1:
    raise ValueError(
      f'Cannot take {num_frames} of {num_available} frames; both must be at '
      'least 1.'
    )
  if num_available <= num_frames:
    return np.arange(num_available, dtype=np.int32)
  parts = np.arange(num_frames, dtype=np.int64)
  return ((2 * parts + 1) * num_available // (2 * num_frames)).astype(np.int32)


def _decode(
  path: pathlib.Path, indices: Sequence[int], transform: Transform | None
) -> tuple[list[np.ndarray], int]:
  """The frames at the indices that exist, and the number of frames read."""
  frames = []
  capture = _open(path)
  position = 0
  try:
    for index in indices:
      # Frame by frame is exact for every codec; a seek by frame number depends
      # on key frames and time stamps.
      while position < index and capture.grab():
        position += 1
      decoded, frame = capture.read() if position == index else (False, None)
      if not decoded or frame is None:
        break
      position += 1
      frame = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
      frames.append(frame if transform is None else transform(frame))
  finally:
    capture.release()
  return frames, position


def read_frames(
  path: str | os.PathLike,
  indices: Sequence[int],
  transform: Transform | None = None,
) -> list[np.ndarray]:
  """Decodes the frames at given places.

  Args:
    path: the video.
    indices: places in the video, ascending, from 0.
    transform: applied to each frame when it is decoded, so that only one full
      frame is in memory; None keeps the frames.

  Returns:
    For each index uint8 RGB [H, W, 3], or what the transform returned.

  Raises:
    ValueError: if the indices are not ascending from 0.
    VideoError: if the video cannot be opened or ends too early.
  """
  path = pathlib.Path(path)
  wanted = [int(index) for index in indices]
  if any(a >= b for a, b in zip([-1, *wanted], wanted, strict=False)):
    raise ValueError(f'Indices {wanted} are not ascending from 0.')
  frames, end = _decode(path, wanted, transform)
  if len(frames) < len(wanted):
    raise VideoError(
      f'{path}: frame {wanted[len(frames)]} is wanted, but only {end} '
      'frames can be decoded.'
    )
  return frames


def read_image(path: str | os.PathLike) -> np.ndarray:
  """Decodes a picture to uint8 RGB [H, W, 3], upright by its EXIF tag.

  Raises:
    VideoError: if it is not a picture.
  """
  return cv2.cvtColor(_read_picture(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def read_depth(path: str | os.PathLike) -> np.ndarray:
  """Decodes a grey depth picture to uint8 [H, W], 255 = nearest.

  Raises:
    VideoError: if it is not a picture of 8-bit grey levels.
  """
  depth = _read_picture(path, cv2.IMREAD_UNCHANGED)
  if depth.dtype != np.uint8:
    raise VideoError(f'{path}: depth is {depth.dtype}; it must be 8-bit grey.')
  if depth.ndim == 3:
    colours = depth[..., :3]
    if np.any(colours != colours[..., :1]):
      raise VideoError(f'{path}: depth is in colour; it must be 8-bit grey.')
    depth = colours[..., 0]
  return depth


def _read_picture(path: str | os.PathLike, flags: int) -> np.ndarray:
  path = pathlib.Path(path)
  try:
    data = path.read_bytes()
  except OSError as error:
    raise VideoError(f'{path}: {error.strerror}.') from error
  if not data:
    raise VideoError(f'{path}: the file has 0 bytes.')
  try:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
  except cv2.error as error:
    raise VideoError(f'{path}: not a picture: {error.err}.') from error
  if image is None:
    raise VideoError(f'{path}: not a picture that can be decoded.')
  return image


def sample_frames(
  path: str | os.PathLike,
  num_frames: int,
  transform: Transform | None = None,
  limit: int = 0,
) -> Clip:
  """Takes evenly spread frames of a video, or the one frame of a picture.

  Args:
    path: a video or a picture, distinguished by the suffix.
    num_frames: the number of frames; all frames if the file has fewer.
    transform: see `read_frames`.
    limit: take them from the first `limit` frames only; 0: from all.

  Raises:
    VideoError: if the suffix is unknown, or the file cannot be decoded or is
      truncated.
  """
  path = pathlib.Path(path)
  suffix = path.suffix.lower()
  if suffix in IMAGE_SUFFIXES:
    image = read_image(path)
    frame = image if transform is None else transform(image)
    return Clip([frame], np.zeros(1, np.int32), 0.0)
  if suffix not in VIDEO_SUFFIXES:
    allowed = ', '.join((*VIDEO_SUFFIXES, *IMAGE_SUFFIXES))
    raise VideoError(f'{path}: unknown suffix {suffix!r}; allowed: {allowed}.')
  length, fps = _length(path)
  if limit:
    length = min(length, limit)
  indices = even_indices(length, num_frames)
  frames, end = _decode(path, indices, transform)
  if len(frames) < len(indices):
    if not end:
      raise VideoError(f'{path}: no frame can be decoded.')
    if end < _MIN_DECODED_SHARE * length:
      raise VideoError(
        f'{path}: cut off: {end} of {length} frames can be decoded.'
      )
    indices = even_indices(end, num_frames)
    frames = read_frames(path, indices, transform)
  return Clip(frames, indices, fps)
