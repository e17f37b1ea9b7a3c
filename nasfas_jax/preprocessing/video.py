"""Decoding of videos and pictures into upright RGB frames (OpenCV)."""

import dataclasses
import math
import os
import pathlib
import re
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from nasfas_jax.preprocessing import container

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
# How a video of these suffixes begins.
_VIDEO_STARTS = re.compile(
  # AVI; MP4, MOV and 3GP; Matroska and WebM; Windows Media; MPEG streams.
  rb'RIFF....AVI |'
  rb'....(ftyp|moov|mdat|wide|free|skip|pnot|uuid|junk|udta|PICT)|'
  rb'\x1a\x45\xdf\xa3|'
  rb'\x30\x26\xb2\x75\x8e\x66\xcf\x11|'
  rb'\x00\x00\x01[\xb3\xba]|'
  rb'\x47.{187}\x47',
  re.DOTALL,
)
_START_BYTES = 256
IMAGE_SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')

# A file is cut off if decoding ends before this share of what the file says.
_MIN_DECODED_SHARE = 0.9
# Time stamps decide if they lead to a frame further away than this; containers
# round them, which moves a choice by one frame.
_MAX_SHIFT = 1

_JPEG = b'\xff\xd8'

Transform = Callable[[np.ndarray], np.ndarray]


class VideoError(ValueError):
  """A file cannot be decoded; the message names it."""


@dataclasses.dataclass(frozen=True)
class Clip:
  """Frames taken from a file.

  Attributes:
    frames: K frames, uint8 RGB [H, W, 3] or what the transform returned.
    frame_index: int32 [K], the place of each frame among those that are shown.
    fps: frames per second; 0 if unknown.
    num_frames: the frames that can be decoded; if only the first ones were
      read, the container's count.
    num_claimed: the container's count; 0 if it has none.
  """

  frames: list[np.ndarray]
  frame_index: np.ndarray
  fps: float
  num_frames: int = 0
  num_claimed: int = 0


def check_start(path: pathlib.Path) -> None:
  """Checks that a file begins as a video does.

  FFmpeg also opens play lists, which name other files and addresses.

  Raises:
    VideoError: if it does not, or cannot be read.
  """
  try:
    with open(path, 'rb') as file:
      start = file.read(_START_BYTES)
  except OSError as error:
    raise VideoError(f'{path}: {error.strerror}.') from error
  if not _VIDEO_STARTS.match(start):
    raise VideoError(f'{path}: its first bytes are not those of a video.')


def capture(path: pathlib.Path) -> cv2.VideoCapture:
  """Opens a file for decoding; whether that worked, the result tells.

  Raises:
    VideoError: for a name that OpenCV cannot take.
  """
  try:
    str(path).encode()
  except UnicodeEncodeError as error:
    # OpenCV ends the process.
    raise VideoError(f'{str(path)!r}: the name is not UTF-8.') from error
  # FFmpeg only: other backends take a name with '%' for a sequence of pictures.
  # It takes what stands before a colon for a protocol, but not in a whole path.
  # OpenCV itself turns frames upright by the container's rotation tag.
  return cv2.VideoCapture(os.path.abspath(path), cv2.CAP_FFMPEG)


def _open(path: pathlib.Path) -> cv2.VideoCapture:
  if not path.is_file():
    raise VideoError(f'{path}: there is no such file.')
  if path.stat().st_size == 0:
    raise VideoError(f'{path}: the file has 0 bytes.')
  check_start(path)
  opened = capture(path)
  if not opened.isOpened():
    raise VideoError(f'{path}: not a video that can be opened.')
  return opened


def _header(path: pathlib.Path) -> tuple[int, float]:
  """(frames, frames per second) as the container says; 0: it does not."""
  opened = _open(path)
  try:
    fps = opened.get(cv2.CAP_PROP_FPS)
    num_frames = opened.get(cv2.CAP_PROP_FRAME_COUNT)
  finally:
    opened.release()
  fps = fps if math.isfinite(fps) and 0 < fps <= 1000 else 0.0
  known = math.isfinite(num_frames) and 1 <= num_frames < 2**31
  return (int(num_frames) if known else 0), fps


def _length(path: pathlib.Path) -> tuple[int, float]:
  """(frames, frames per second) of a video; 0 frames per second: unknown.

  The frames are the container's count, which may be wrong, or counted by
  decoding if it has none.

  Raises:
    VideoError: if there is no frame.
  """
  num_frames, fps = _header(path)
  if not num_frames:
    num_frames = len(_decode(path, (), None, None)[1])
  if not num_frames:
    raise VideoError(f'{path}: no frame can be decoded.')
  return num_frames, fps


def orientation(path: str | os.PathLike) -> int:
  """The rotation tag of a video in degrees; 0 for none.

  The decoder turns frames upright by it.

  Raises:
    VideoError: if the video cannot be opened.
  """
  opened = _open(pathlib.Path(path))
  try:
    return round(opened.get(cv2.CAP_PROP_ORIENTATION_META)) % 360
  finally:
    opened.release()


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


def even_in_time(times: Sequence[float], num_frames: int) -> np.ndarray:
  """The frames shown in the middle of equal parts of the time.

  Time stamps decide only where they lead to other frames than `even_indices`,
  by more than one: videos of a constant rate keep the middles of equal parts of
  their frames, although containers round the time stamps.

  Args:
    times: of all frames, in any unit. Anything but increasing finite numbers
      tells nothing: the frames then count.
    num_frames: wanted.

  Returns:
    int32 [K], ascending.
  """
  times = np.asarray(times, np.float64)
  indices = even_indices(len(times), num_frames)
  steps = np.diff(times)
  usable = np.all(np.isfinite(times)) and np.all(steps >= 0) and steps.any()
  if len(indices) == len(times) or not usable:
    return indices
  # The last frame is shown as long as most others.
  length = times[-1] - times[0] + np.median(steps)
  middles = times[0] + (np.arange(num_frames) + 0.5) / num_frames * length
  chosen = np.searchsorted(times, middles, side='right') - 1
  # One frame that is shown for long is taken once, then its neighbours.
  order = np.arange(num_frames)
  chosen = np.maximum.accumulate(chosen - order) + order
  chosen = np.minimum(chosen, len(times) - num_frames + order)
  if np.all(np.abs(chosen - indices) <= _MAX_SHIFT):
    return indices
  return chosen.astype(np.int32)


def _decode(
  path: pathlib.Path,
  indices: Sequence[int],
  transform: Transform | None,
  end: int | None,
) -> tuple[list[np.ndarray], list[float]]:
  """The frames at the indices that exist, and the times of the frames read.

  Args:
    path: the video.
    indices: ascending.
    transform: see `read_frames`.
    end: number of frames to read; None: all.
  """
  frames, times = [], []
  wanted = set(indices)
  opened = _open(path)
  try:
    # Frame by frame is exact for every codec; a seek by frame number depends
    # on key frames and time stamps.
    while (end is None or len(times) < end) and opened.grab():
      if len(times) in wanted:
        decoded, frame = opened.retrieve()
        if not decoded or frame is None:
          break
        frame = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        frames.append(frame if transform is None else transform(frame))
      times.append(opened.get(cv2.CAP_PROP_POS_MSEC))
  finally:
    opened.release()
  return frames, times


def _check_whole(
  path: pathlib.Path, times: Sequence[float], claimed: int, fps: float
) -> None:
  """Raises VideoError if decoding ended before the video does.

  A wrong count in the header is no reason: an edit list hides frames, and a
  variable rate makes the count a guess. The video is cut off if the file is
  shorter than its own boxes say; or if too few frames come out of it, and the
  last one is shown well before the end of the stated duration.
  """
  outline = container.outline(path)
  whole = outline.share >= _MIN_DECODED_SHARE
  if whole and len(times) < _MIN_DECODED_SHARE * claimed:
    stated = outline.seconds or (claimed / fps if fps else 0.0)
    shown = len(times) / fps if fps else 0.0
    if np.any(np.diff(times) > 0):
      span = times[-1] - times[0] + float(np.median(np.diff(times)))
      shown = max(shown, span / 1000)
    whole = bool(stated) and shown >= _MIN_DECODED_SHARE * stated
  if not whole:
    raise VideoError(
      f'{path}: cut off: {len(times)} of {claimed} frames can be decoded.'
    )


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
  end = wanted[-1] + 1 if wanted else 0
  frames, times = _decode(path, wanted, transform, end)
  if len(frames) < len(wanted):
    raise VideoError(
      f'{path}: frame {wanted[len(frames)]} is wanted, but only {len(times)} '
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
  if data.startswith(_JPEG) and not _jpeg_ends(data):
    raise VideoError(f'{path}: cut off: the picture has no end.')
  try:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
  except cv2.error as error:
    raise VideoError(f'{path}: not a picture: {error.err}.') from error
  if image is None:
    raise VideoError(f'{path}: not a picture that can be decoded.')
  return image


def _jpeg_ends(data: bytes) -> bool:
  """Whether a JPEG has its end marker, as ITU-T T.81, annex B, places it.

  Decoders fill what is missing with grey. What follows the picture, as the film
  of a phone's moving picture, does not count, and neither does a preview, which
  lies in a segment.
  """
  place = len(_JPEG)
  while True:
    # To the next marker. In the data of a scan, 0xFF is followed by 0 or by the
    # number of a restart.
    place = data.find(b'\xff', place)
    if place < 0 or place + 1 >= len(data):
      return False
    code = data[place + 1]
    if code == 0xD9:
      return True
    if code == 0xFF:
      place += 1
    elif code in (0x00, 0x01) or 0xD0 <= code <= 0xD8:
      place += 2
    else:
      place += 2 + int.from_bytes(data[place + 2 : place + 4], 'big')


def sample_frames(
  path: str | os.PathLike,
  num_frames: int,
  transform: Transform | None = None,
  limit: int = 0,
) -> Clip:
  """Takes evenly spread frames of a video, or the one frame of a picture.

  Decoding decides how many frames there are, not the header, and time stamps
  decide what is even where they differ from frame numbers: see `even_in_time`.

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
    return Clip([frame], np.zeros(1, np.int32), 0.0, 1, 1)
  if suffix not in VIDEO_SUFFIXES:
    allowed = ', '.join((*VIDEO_SUFFIXES, *IMAGE_SUFFIXES))
    raise VideoError(f'{path}: unknown suffix {suffix!r}; allowed: {allowed}.')
  claimed, fps = _header(path)
  expected = min(claimed, limit) if limit else claimed
  # Right for most videos, so that they are decoded once.
  guess = even_indices(expected, num_frames) if expected else ()
  frames, times = _decode(path, guess, transform, limit or None)
  if not times:
    raise VideoError(f'{path}: no frame can be decoded.')
  stopped = bool(limit) and len(times) == limit
  if not stopped:
    _check_whole(path, times, claimed, fps)
  indices = even_in_time(times, num_frames)
  if not np.array_equal(indices, guess) or len(frames) < len(indices):
    frames = read_frames(path, indices, transform)
  num_frames = max(claimed, len(times)) if stopped else len(times)
  return Clip(frames, indices, fps, num_frames, claimed)
