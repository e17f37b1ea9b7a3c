"""Whether a file from outside may be decoded, before memory is taken for it.

The kind of a file must be known by its suffix, its first bytes must be of that
kind (`video.check_start`), and its header must be within the limits.
"""

import dataclasses
import os
import pathlib
import stat
import warnings

import cv2
import PIL.Image

from nasfas_jax.preprocessing import video

PICTURE_FORMATS = ('BMP', 'JPEG', 'PNG', 'TIFF', 'WEBP')


class TooLargeError(video.VideoError):
  """A file is beyond the limits; the message says which."""


@dataclasses.dataclass(frozen=True)
class Limits:
  """The largest input that is read, each at least 1.

  Attributes:
    file_bytes: of a file.
    pixels: of a picture or of a frame.
    frames: of a video.
  """

  file_bytes: int = 2**30
  pixels: int = 50_000_000
  frames: int = 36_000

  def __post_init__(self):
    for field in dataclasses.fields(self):
      value = getattr(self, field.name)
      if value < 1:
        raise ValueError(f'{field.name} is {value}; it must be at least 1.')

  def check_frame(self, path: str, width: int, height: int) -> None:
    """Raises TooLargeError for a frame of too many pixels."""
    if width * height > self.pixels:
      raise TooLargeError(
        f'{path}: {width} x {height} pixels; allowed are {self.pixels}.'
      )

  def check_frames(self, path: str, number: float) -> None:
    """Raises TooLargeError for a video of too many frames."""
    if number > self.frames:
      raise TooLargeError(
        f'{path}: {number:.0f} frames or more; allowed are {self.frames}.'
      )


def check(path: str | os.PathLike, limits: Limits) -> str:
  """Checks a file before it is decoded.

  A picture is decoded once, by another library than the one that reads it
  later, since that one fills the rest of a truncated picture with grey.

  Returns:
    'picture' or 'video'.

  Raises:
    TooLargeError: if it is beyond the limits.
    VideoError: if it is no regular file, is empty, has an unknown suffix, or is
      not of the kind that its suffix says.
  """
  path = pathlib.Path(path)
  suffix = path.suffix.lower()
  if suffix not in (*video.IMAGE_SUFFIXES, *video.VIDEO_SUFFIXES):
    allowed = ', '.join((*video.VIDEO_SUFFIXES, *video.IMAGE_SUFFIXES))
    raise video.VideoError(
      f'{path}: unknown suffix {suffix!r}; allowed: {allowed}.'
    )
  try:
    status = path.stat()
    # Before it is opened: that of a pipe would wait.
    if not stat.S_ISREG(status.st_mode):
      raise video.VideoError(f'{path}: not a file.')
    if not status.st_size:
      raise video.VideoError(f'{path}: the file has 0 bytes.')
    if status.st_size > limits.file_bytes:
      raise TooLargeError(
        f'{path}: {status.st_size} bytes; allowed are {limits.file_bytes}.'
      )
  except (OSError, ValueError) as error:
    if isinstance(error, video.VideoError):
      raise
    # A ValueError is that of a name with a NUL byte.
    raise video.VideoError(
      f'{path}: {getattr(error, "strerror", None) or error}.'
    ) from error
  if suffix in video.IMAGE_SUFFIXES:
    _check_picture(path, limits)
    return 'picture'
  video.check_start(path)
  _check_video(path, limits)
  return 'video'


def _check_picture(path: pathlib.Path, limits: Limits) -> None:
  try:
    with warnings.catch_warnings():
      # Pillow warns of large pictures; the limit is checked below.
      warnings.simplefilter('ignore')
      with PIL.Image.open(path, formats=PICTURE_FORMATS) as picture:
        limits.check_frame(str(path), *picture.size)
        # An eighth of the size, where the format (JPEG) allows it.
        picture.draft(None, (picture.width // 8, picture.height // 8))
        picture.load()
  except PIL.Image.DecompressionBombError as error:
    raise TooLargeError(f'{path}: {error}') from error
  except video.VideoError:
    raise
  except Exception as error:
    # Pillow's readers raise whatever a damaged file makes them raise.
    raise video.VideoError(
      f'{path}: not a picture that can be decoded: {error}.'
    ) from error


def _check_video(path: pathlib.Path, limits: Limits) -> None:
  capture = video.capture(path)
  try:
    if not capture.isOpened():
      raise video.VideoError(f'{path}: not a video that can be opened.')
    limits.check_frame(
      str(path),
      int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
      int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
    )
    number = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    if not number >= 1:
      # The container does not say: count, but not for ever.
      number = 0
      while number <= limits.frames and capture.grab():
        number += 1
    limits.check_frames(str(path), number)
  finally:
    capture.release()
