"""The stored form of frames: lossless, small and fast to decode.

Frames of new records are 'planes' files, one file a frame:

  4 bytes, a magic number; height and width, 2 bytes each, least significant
  byte first; one Zstandard frame, with a checksum, of the planes R - G, G and
  B - G, uint8 [3, H, W], in which each row is the difference to the row above.
  All differences are modulo 256.

Neighbours are alike and so are colours: the differences are small numbers, and
small files. To undo them takes a few additions of whole rows (figures are in
benchmarks/README.md). Records of earlier versions hold PNG files; they are read
as before.

Data may be damaged or hostile: sizes are checked before anything is allocated.
"""

import itertools
import struct
from collections.abc import Sequence

import cv2
import numpy as np
import zstandard

# The form of new records.
FORM = 'planes'
# Of a stored frame, in pixels: a file cannot ask for more memory than that of
# such a picture.
MAX_SIDE = 2048

_MAGIC = b'\x93FPL'
_HEADER = struct.Struct('<4sHH')
_PNG_MAGIC = b'\x89PNG\r\n\x1a\n'
# Magic, length and name of the first chunk, width and height.
_PNG_HEADER = struct.Struct('>8sI4sII')
# More packs little more and takes twice as long.
_LEVEL = 5


def encode(frame: np.ndarray) -> bytes:
  """Encodes a frame, uint8 RGB [H, W, 3], as a planes file.

  Raises:
    ValueError: for another dtype or shape, or a side of 0 or above `MAX_SIDE`.
  """
  if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
    raise ValueError(
      f'A frame is {frame.dtype} {frame.shape}; expected uint8 [H, W, 3].'
    )
  height, width, _ = frame.shape
  _check_sides(height, width)
  planes = np.array(frame.transpose(2, 0, 1), order='C')
  planes[0::2] -= planes[1]
  planes[:, 1:] -= planes[:, :-1].copy()
  packer = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
  return _HEADER.pack(_MAGIC, height, width) + packer.compress(planes.data)


def form(data: bytes) -> str:
  """'planes' or 'png'; '' for another file. Looks at the first bytes only."""
  if data.startswith(_MAGIC):
    return FORM
  return 'png' if data.startswith(_PNG_MAGIC) else ''


def size(data: bytes) -> tuple[int, int]:
  """The height and the width of a frame, without decoding it.

  Raises:
    ValueError: if it is no such file, or a side is 0 or above `MAX_SIDE`.
  """
  kind = form(data)
  header = _PNG_HEADER if kind == 'png' else _HEADER
  if not kind or len(data) < header.size:
    raise _not_a_picture(data)
  if kind == 'png':
    width, height = header.unpack_from(data)[-2:]
  else:
    height, width = header.unpack_from(data)[-2:]
  _check_sides(height, width)
  return height, width


def decode(files: Sequence[bytes]) -> np.ndarray:
  """Decodes frames of one size; those of a clip together cost less than singly.

  Args:
    files: K planes or PNG files, at least one.

  Returns:
    uint8 RGB [K, H, W, 3].

  Raises:
    ValueError: if a file cannot be decoded, or they differ in size or form.
  """
  kinds = {form(data) for data in files}
  sizes = {size(data) for data in files}
  if len(sizes) != 1 or len(kinds) != 1:
    raise ValueError(
      f'{len(files)} frames have the sizes {sorted(sizes)} and the forms '
      f'{sorted(kinds)}; expected one of each.'
    )
  (height, width) = sizes.pop()
  if kinds == {FORM}:
    _check_claims(files, 3 * height * width)
  frames = np.empty((len(files), height, width, 3), np.uint8)
  if kinds == {'png'}:
    for frame, data in zip(frames, files, strict=True):
      frame[:] = _decode_png(data)
    return frames
  rows = _unpack(files, height, width)
  # `np.add.accumulate` would take ten times as long.
  for above, row in itertools.pairwise(rows):
    np.add(above, row, out=row)
  rows[:, :, 0::2] += rows[:, :, 1:2]
  for i, frame in enumerate(frames):
    cv2.merge([rows[:, i, channel] for channel in range(3)], frame)
  return frames


def _packed(data: bytes) -> memoryview:
  return memoryview(data)[_HEADER.size :]


def _check_claims(files: Sequence[bytes], length: int) -> None:
  """Raises ValueError unless each frame claims `length` bytes of planes.

  The unpacker allocates what a frame claims.
  """
  for data in files:
    try:
      claimed = zstandard.get_frame_parameters(_packed(data)).content_size
    except zstandard.ZstdError as error:
      raise _not_a_picture(data) from error
    if claimed != length:
      raise ValueError(
        f'A frame of {len(data)} bytes claims {claimed} bytes of planes; '
        f'expected {length}.'
      )


def _unpack(files: Sequence[bytes], height: int, width: int) -> np.ndarray:
  """The differences, uint8 [H, K, 3, W]: a row of all frames lies together."""
  rows = np.empty((height, len(files), 3, width), np.uint8)
  # Not shared: threads must not unpack with the same one at once.
  unpacker = zstandard.ZstdDecompressor()
  for i, data in enumerate(files):
    try:
      unpacked = unpacker.decompress(_packed(data), allow_extra_data=False)
    except zstandard.ZstdError as error:
      raise _not_a_picture(data) from error
    planes = np.frombuffer(unpacked, np.uint8).reshape(3, height, width)
    rows[:, i] = planes.transpose(1, 0, 2)
  return rows


def _decode_png(data: bytes) -> np.ndarray:
  image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
  if image is None or image.shape != (*size(data), 3):
    raise _not_a_picture(data)
  return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _check_sides(height: int, width: int) -> None:
  if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
    raise ValueError(
      f'A frame has {width} x {height} pixels; allowed: sides of 1 to '
      f'{MAX_SIDE}.'
    )


def _not_a_picture(data: bytes) -> ValueError:
  return ValueError(f'A frame of {len(data)} bytes is not a picture.')
