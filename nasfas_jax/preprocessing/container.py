"""What a video file says of its own length, without decoding it.

RIFF (AVI), EBML (Matroska, WebM) and ISO BMFF (MP4, MOV, 3GP) nest sized
boxes. A file that was cut off is shorter than its outermost boxes say.
"""

import dataclasses
import os
import struct
from typing import BinaryIO

# More boxes than this on one level are nonsense.
_MAX_BOXES = 4096
_EBML = b'\x1a\x45\xdf\xa3'
_SEGMENT = b'\x18\x53\x80\x67'


@dataclasses.dataclass(frozen=True)
class Outline:
  """The outline of a file.

  Attributes:
    share: size of the file over the size that its boxes say, at most 1; 1 also
      if they do not say it.
    seconds: the duration that is shown, after edit lists (ISO BMFF only); 0 if
      it is unknown.
  """

  share: float = 1.0
  seconds: float = 0.0


def outline(path: str | os.PathLike) -> Outline:
  """Reads the outline of a file of any content.

  Raises:
    OSError: if it cannot be read.
  """
  with open(path, 'rb') as file:
    return read(file, os.fstat(file.fileno()).st_size)


def read(file: BinaryIO, size: int) -> Outline:
  """The outline of an open file of `size` bytes; see `outline`."""
  head = file.read(12)
  file.seek(0)
  if head[:4] == b'RIFF':
    return _riff(file, size)
  if head[:4] == _EBML:
    return _ebml(file, size)
  if head[4:8] in (b'ftyp', b'moov', b'mdat', b'free', b'skip', b'wide'):
    return _bmff(file, size)
  return Outline()


def _share(size: int, stated: int) -> float:
  return min(1.0, size / stated) if stated else 1.0


def _riff(file, size: int) -> Outline:
  """Chunks RIFF, of which long files have several."""
  place = 0
  for _ in range(_MAX_BOXES):
    file.seek(place)
    head = file.read(8)
    if len(head) < 8 or head[:4] != b'RIFF':
      break
    (length,) = struct.unpack('<I', head[4:])
    # A recorder that was switched off leaves 0, or the largest number.
    if length in (0, 0xFFFFFFFF):
      break
    place += 8 + length + length % 2
  return Outline(_share(size, place))


def _ebml_size(file) -> int | None:
  """The size of an EBML element; None: unknown, or no number."""
  first = file.read(1)
  if not first or not first[0]:
    return None
  more = 8 - first[0].bit_length()
  rest = file.read(more)
  if len(rest) < more:
    return None
  bits = 7 * (more + 1)
  value = int.from_bytes(first + rest, 'big') & ((1 << bits) - 1)
  return None if value == (1 << bits) - 1 else value


def _ebml(file, size: int) -> Outline:
  """The header, then the segment."""
  file.seek(4)
  length = _ebml_size(file)
  if length is None or length > size:
    return Outline()
  file.seek(length, os.SEEK_CUR)
  if file.read(4) != _SEGMENT:
    return Outline()
  length = _ebml_size(file)
  # A stream does not know its length.
  return Outline(_share(size, file.tell() + (length or 0)))


def _bmff(file, size: int) -> Outline:
  """The boxes of the top level, and the duration that is shown."""
  stated, seconds = 0, 0.0
  for name, start, end in _boxes(file, 0, size):
    stated = end
    if name == b'moov':
      seconds = _shown(file, start, min(end, size))
  return Outline(_share(size, stated), seconds)


def _shown(file, start: int, end: int) -> float:
  """The seconds of a box moov: of its video's edit list, or of the movie."""
  scale = duration = edited = 0
  for name, inner, stop in _boxes(file, start, end):
    if name == b'mvhd':
      scale, duration = _duration(file, inner)
    if name == b'trak':
      edits, video = 0, False
      for part, place, last in _boxes(file, inner, min(stop, end)):
        if part == b'edts':
          for kind, at, to in _boxes(file, place, min(last, end)):
            if kind == b'elst':
              edits = _edits(file, at, min(to, end))
        if part == b'mdia':
          for kind, at, _ in _boxes(file, place, min(last, end)):
            if kind == b'hdlr':
              file.seek(at + 8)
              video = file.read(4) == b'vide'
      if video:
        edited = edits
  return (edited or duration) / scale if scale else 0.0


def _boxes(file, start: int, end: int):
  """Yields (name, start, end of the content) of ISO BMFF boxes."""
  for _ in range(_MAX_BOXES):
    if start + 8 > end:
      return
    file.seek(start)
    length, name = struct.unpack('>I4s', file.read(8))
    inner = start + 8
    if length == 1:
      data = file.read(8)
      if len(data) < 8:
        return
      (length,) = struct.unpack('>Q', data)
      inner += 8
    elif length == 0:  # To the end of the file.
      length = end - start
    if length < inner - start:
      return
    yield name, inner, start + length
    start += length


def _read(file, form: str) -> tuple[int, ...] | None:
  """Numbers from the file; None at its end."""
  data = file.read(struct.calcsize(form))
  if len(data) < struct.calcsize(form):
    return None
  return struct.unpack(form, data)


def _duration(file, place: int) -> tuple[int, int]:
  """(units a second, units) of a box mvhd; 0: unknown."""
  file.seek(place)
  long = file.read(4)[:1] == b'\x01'
  numbers = _read(file, '>QQIQ' if long else '>IIII')
  if numbers is None:
    return 0, 0
  # All ones: unknown.
  unknown = 2 ** (64 if long else 32) - 1
  return numbers[2], 0 if numbers[3] == unknown else numbers[3]


def _edits(file, place: int, end: int) -> int:
  """The units of the movie that a box elst shows; empty edits show nothing."""
  file.seek(place)
  long = file.read(4)[:1] == b'\x01'
  form = '>QqI' if long else '>IiI'
  (count,) = _read(file, '>I') or (0,)
  count = min(count, (end - place) // struct.calcsize(form))
  shown = 0
  for _ in range(count):
    edit = _read(file, form)
    if edit is None:
      break
    shown += edit[0] if edit[1] != -1 else 0
  return shown
