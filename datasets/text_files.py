"""Text files of others: lists and annotations, in the usual encodings."""

import codecs
import pathlib

# The annotation of an hour of video has a few megabytes.
MAX_BYTES = 64 * 2**20
# The longer mark first, since that of UTF-16 begins that of UTF-32.
_MARKS = (
  (codecs.BOM_UTF32_LE, 'utf-32'),
  (codecs.BOM_UTF32_BE, 'utf-32'),
  (codecs.BOM_UTF8, 'utf-8-sig'),
  (codecs.BOM_UTF16_LE, 'utf-16'),
  (codecs.BOM_UTF16_BE, 'utf-16'),
)


def read(path: pathlib.Path, max_bytes: int = MAX_BYTES) -> str:
  """Reads UTF-8, or the encoding that a byte order mark tells.

  Args:
    path: the file.
    max_bytes: the largest file that is read.

  Raises:
    ValueError: if the file is missing, too large or not such text; names it.
  """
  path = pathlib.Path(path)
  try:
    size = path.stat().st_size
    if size > max_bytes:
      raise ValueError(
        f'{path} has {size} bytes; at most {max_bytes} are read.'
      )
    data = path.read_bytes()
  except OSError as error:
    raise ValueError(f'{path}: not a text file: {error.strerror}.') from error
  return decode(data, path)


def decode(data: bytes, path: pathlib.Path) -> str:
  """The text of a file's bytes; see `read`."""
  encoding = next((name for mark, name in _MARKS if data.startswith(mark)), '')
  try:
    text = data.decode(encoding or 'utf-8')
  except UnicodeDecodeError as error:
    raise ValueError(
      f'{path} is not UTF-8 text: byte {error.start} cannot be read.'
    ) from error
  if '\0' in text:
    raise ValueError(
      f'{path} is not UTF-8 text: it holds zeros, as UTF-16 without a byte '
      'order mark does.'
    )
  return text
