"""Reads the lists that datasets ship: lines of text, and JSON objects.

An error names the file. A byte-order mark is accepted, since editors on Windows
write one.
"""

import codecs
import json
import pathlib
from collections.abc import Iterable

# The largest known list, that of CelebA-Spoof's training pictures, has about
# 100 MB.
MAX_BYTES = 512 * 2**20
_MARKS = {
  codecs.BOM_UTF8: 'utf-8-sig',
  codecs.BOM_UTF16_LE: 'utf-16',
  codecs.BOM_UTF16_BE: 'utf-16',
}


def read_text(path: pathlib.Path) -> str:
  """The text of a list in UTF-8, or in UTF-16 with a byte-order mark.

  Raises:
    ValueError: for a file that cannot be read, is too large or is not text.
  """
  try:
    size = path.stat().st_size
    if size > MAX_BYTES:
      raise ValueError(f'{path} has {size} bytes; at most {MAX_BYTES}.')
    data = path.read_bytes()
  except OSError as error:
    raise ValueError(f'{path} cannot be read: {error.strerror}.') from error
  encoding = next(
    (name for mark, name in _MARKS.items() if data.startswith(mark)), 'utf-8'
  )
  try:
    return data.decode(encoding)
  except UnicodeDecodeError as error:
    raise ValueError(
      f'{path} is not text in UTF-8, or in UTF-16 with a byte-order mark.'
    ) from error


def read_lines(path: pathlib.Path) -> list[tuple[int, str]]:
  """(number from 1, line without blanks around it) of lines that are not blank.

  Raises:
    ValueError: see `read_text`.
  """
  lines = enumerate(read_text(path).splitlines(), 1)
  return [(number, line.strip()) for number, line in lines if line.strip()]


def read_object(path: pathlib.Path) -> dict[str, object]:
  """The JSON object of a file.

  Raises:
    ValueError: see `read_text`; and for a file that is not one JSON object, or
      has a key twice with different values.
  """

  twice = []

  def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) < len(pairs):
      twice.extend(key for key, value in pairs if made[key] != value)
    return made

  text = read_text(path)
  try:
    found = json.loads(text, object_pairs_hook=once)
  except (ValueError, RecursionError) as error:
    raise ValueError(f'{path} is not JSON: {error}') from error
  if twice:
    raise ValueError(
      f'{path}: {twice[0][:80]!r} is there twice, with different values.'
    )
  if not isinstance(found, dict):
    raise ValueError(
      f'{path} is not a JSON object but of type {type(found).__name__}.'
    )
  return found


def join(names: Iterable[str]) -> str:
  """The `lists` field of a clip: sorted names, separated by blanks."""
  return ' '.join(sorted(names))
