"""The lists that datasets ship: lines of text, and JSON objects."""

import json
import pathlib
from collections.abc import Iterable

from nasfas_datasets import text_files

# The largest known list, that of CelebA-Spoof's training pictures, has about
# 100 MB.
MAX_BYTES = 512 * 2**20


def read_lines(path: pathlib.Path) -> list[tuple[int, str]]:
  """(number from 1, line without blanks around it) of lines that are not blank.

  Raises:
    ValueError: see `text_files.read`.
  """
  lines = enumerate(text_files.read(path, MAX_BYTES).splitlines(), 1)
  return [(number, line.strip()) for number, line in lines if line.strip()]


def read_object(path: pathlib.Path) -> dict[str, object]:
  """The JSON object of a file.

  Raises:
    ValueError: see `text_files.read`; and for a file that is not one JSON
      object, or has a key twice with different values.
  """
  twice = []

  def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) < len(pairs):
      twice.extend(key for key, value in pairs if made[key] != value)
    return made

  text = text_files.read(path, MAX_BYTES)
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
