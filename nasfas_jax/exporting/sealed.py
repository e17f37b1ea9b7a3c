"""A folder whose files are known by their sums, and reading it again.

A JSON file lists the size and the SHA-256 of every file that is read, and
carries a digest of itself. So accidental damage and careless edits are found.
Who can write the folder can also write new sums: a checksum is no signature.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from nasfas_jax import files
from nasfas_jax.models.schema_checks import (
  check_fields,
  check_integer,
  check_type,
)

MAX_JSON_BYTES = 8 * 2**20
MAX_FILE_BYTES = 4 * 2**30
MAX_FILES = 10_000


@dataclasses.dataclass(frozen=True)
class Kind:
  """A kind of folder.

  Attributes:
    file: name of the JSON file.
    format: what that file says under 'format'.
    version: of its schema.
    name: what errors call the folder, with 'an' before it.
    arrays: name of the folder that Orbax reads.
    again: what to do about a damaged one, a sentence.
  """

  file: str
  format: str
  version: int
  name: str
  arrays: str
  again: str


def write(
  folder: pathlib.Path, kind: Kind, content: dict[str, Any], names: list[str]
) -> None:
  """Writes the JSON file, with the sums of the files, as the last file.

  Args:
    folder: to seal.
    kind: of the folder.
    content: JSON content.
    names: files and folders in it whose sums are kept.

  Raises:
    ValueError: for a NaN or an infinity in the content.
  """
  listed = {}
  for name in names:
    path = folder / name
    found = sorted(p for p in path.rglob('*') if p.is_file())
    for file in found if path.is_dir() else [path]:
      relative = file.relative_to(folder).as_posix()
      listed[relative] = {'bytes': file.stat().st_size, 'sha256': _sum(file)}
  whole = {
    'format': kind.format,
    'schema_version': kind.version,
    **content,
    'files': listed,
  }
  files.write_json(folder / kind.file, {**whole, 'digest': digest(whole)})


def digest(content: dict[str, Any]) -> str:
  """SHA-256 of the content of a JSON file, without its own digest."""
  kept = {key: value for key, value in content.items() if key != 'digest'}
  text = json.dumps(kept, sort_keys=True, allow_nan=False)
  return hashlib.sha256(text.encode()).hexdigest()


def _sum(path: pathlib.Path) -> str:
  with open(path, 'rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


def read(folder: str | os.PathLike[str], kind: Kind) -> dict[str, Any]:
  """Reads the JSON file and verifies every file that it lists.

  Args:
    folder: a sealed one.
    kind: of the folder.

  Returns:
    The content; only the fields of the list of files are checked.

  Raises:
    FileNotFoundError: if there is no JSON file.
    ValueError: if it is too large, damaged or of another version, or a file is
      missing, changed or outside the folder; one line that names it.
  """
  folder = pathlib.Path(folder)
  path = folder / kind.file
  name = repr(str(path))
  if path.is_symlink():
    raise ValueError(f'{name} is a link; allowed: a file in the folder.')
  with open(path, 'rb') as file:
    data = file.read(MAX_JSON_BYTES + 1)
  if len(data) > MAX_JSON_BYTES:
    raise ValueError(f'{name} is larger than {MAX_JSON_BYTES} bytes.')
  try:
    content = json.loads(data, parse_constant=_refuse)
  except (ValueError, RecursionError) as error:
    raise ValueError(f'{name} is truncated or not JSON: {error}.') from error
  if not isinstance(content, dict) or content.get('format') != kind.format:
    raise ValueError(
      f'{name} is not of an {kind.name}: no "format": {kind.format!r}.'
    )
  version = content.get('schema_version')
  if version != kind.version:
    raise ValueError(
      f'{name} has schema_version {version!r}; allowed: {kind.version} (a '
      f'newer {kind.name} needs a newer nasfas_jax).'
    )
  try:
    found = digest(content)
  except ValueError as error:
    # A number such as 1e999, which is read as infinite.
    raise ValueError(f'{name}: {error}') from error
  if content.get('digest') != found:
    raise ValueError(
      f'{name} was changed after the {kind.name}: its digest does not fit. '
      f'{kind.again}'
    )
  try:
    for file, entry in _entries(content.get('files')):
      _verify(folder, file, entry, kind)
    _nothing_else(folder, content['files'], kind)
  except ValueError as error:
    raise ValueError(f'{str(folder)!r} is refused: {error}') from error
  return content


def _refuse(name: str) -> None:
  raise ValueError(f'{name} is not allowed')


def _entries(listed: Any) -> Iterator[tuple[str, dict]]:
  check_type('files', listed, dict, 'an object')
  if len(listed) > MAX_FILES:
    raise ValueError(f'files: {len(listed)}; allowed: {MAX_FILES} or fewer.')
  for file, entry in listed.items():
    check_fields(f'files[{file!r}]', entry, ('bytes', 'sha256'))
    check_integer(f'files[{file!r}].bytes', entry['bytes'], 0, MAX_FILE_BYTES)
    check_type(f'files[{file!r}].sha256', entry['sha256'], str, 'a string')
    yield file, entry


def _verify(folder: pathlib.Path, file: str, entry: dict, kind: Kind) -> None:
  parts = file.split('/')
  outside = any(part in ('', '.', '..') for part in parts)
  if outside or '\\' in file or ':' in file or '\0' in file or len(file) > 512:
    raise ValueError(f'the name {file!r} leads outside the folder.')
  path = folder.joinpath(*parts)
  for place in (path, *list(path.parents)[: len(parts) - 1]):
    if place.is_symlink():
      raise ValueError(f'{file!r} is a link; allowed: files in the folder.')
  if not path.is_file():
    raise ValueError(f'the file {file!r} is missing.')
  size = path.stat().st_size
  if size != entry['bytes']:
    raise ValueError(
      f'the file {file!r} has {size} bytes, not {entry["bytes"]} as written.'
    )
  if _sum(path) != entry['sha256']:
    raise ValueError(
      f'the file {file!r} was changed after the {kind.name}: its SHA-256 does '
      'not fit.'
    )


def _nothing_else(folder: pathlib.Path, listed: dict, kind: Kind) -> None:
  """Orbax looks for files by name, so none may lie beside those listed."""
  for path in (folder / kind.arrays).rglob('*'):
    file = path.relative_to(folder).as_posix()
    if file not in listed and (path.is_symlink() or not path.is_dir()):
      raise ValueError(f'the file {file!r} is not of the {kind.name}.')
