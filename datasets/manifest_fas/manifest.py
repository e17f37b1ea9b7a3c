"""Reads manifest.csv; each row becomes a clip or a reason why it is not one."""

import collections
import csv
import dataclasses
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from nasfas_jax import records
from nasfas_jax.preprocessing import crop, video

REQUIRED_COLUMNS = ('path', 'label', 'attack_type', 'subject', 'split')
DOMAIN_COLUMNS = ('session', 'camera', 'light', 'medium')
BOX_COLUMNS = ('box_x0', 'box_y0', 'box_x1', 'box_y1')
COLUMNS = (
  *REQUIRED_COLUMNS,
  *DOMAIN_COLUMNS,
  'attack_detail',
  *BOX_COLUMNS,
  'depth',
)
LABELS = {
  'live': records.LIVE,
  'bonafide': records.LIVE,
  '1': records.LIVE,
  'spoof': records.SPOOF,
  'attack': records.SPOOF,
  '0': records.SPOOF,
}
# A manifest of a million rows has about 100 MB.
MAX_BYTES = 256 * 2**20


class RowError(ValueError):
  """A row is not a clip; the message says why."""


@dataclasses.dataclass(frozen=True)
class Row:
  """A row of the manifest whose text is valid.

  Attributes:
    number: of the row, as in a spreadsheet; the header is row 1.
    name: the path from the root, as written.
    path: the file, resolved.
    clip_id: its path from the root, without the suffix if that is unique.
    label: 1 live, 0 spoof.
    attack_type: one of `records.ATTACK_TYPES`.
    subject: identity of the person.
    split: one of `records.SPLITS`.
    attack_detail: the user's own code of the attack.
    domains: domain column -> its value, '' if it is not given.
    box: face box in pixels of the upright frame, or None.
    depth: the depth picture, resolved, or None.
  """

  number: int
  name: str
  path: pathlib.Path
  clip_id: str
  label: int
  attack_type: str
  subject: str
  split: str
  attack_detail: str
  domains: Mapping[str, str]
  box: tuple[float, ...] | None
  depth: pathlib.Path | None


@dataclasses.dataclass(frozen=True)
class BadRow:
  """A skipped row: its number, its path as written, and the reason."""

  number: int
  path: str
  reason: str


def _resolve(text: str, root: pathlib.Path, column: str) -> pathlib.Path:
  """The file that a cell names, which must be inside the resolved root."""
  relative = pathlib.Path(text)
  if relative.is_absolute() or '..' in relative.parts:
    raise RowError(
      f'{column} {text!r} must be relative to the folder of the data and '
      "must not hold '..'."
    )
  try:
    path = (root / relative).resolve()
    inside = path.is_relative_to(root)
    is_file = inside and path.is_file()
    num_bytes = path.stat().st_size if is_file else 0
  # Such as a name that is too long, has a NUL, or is a loop of symbolic links.
  except (OSError, RuntimeError, ValueError) as error:
    raise RowError(f'{column} {text!r} is not a path: {error}.') from error
  if not inside:
    raise RowError(f'{column} {text!r} is a link out of the folder.')
  if not is_file:
    raise RowError(f'{column} {text!r}: there is no such file.')
  if num_bytes == 0:
    raise RowError(f'{column} {text!r}: the file has 0 bytes.')
  return path


def _choose(column: str, text: str, allowed: Iterable[str]) -> str:
  """The cell in lower case, which must be one of the allowed words."""
  word = text.lower()
  if word not in allowed:
    raise RowError(f'{column} {text!r}; allowed: {", ".join(allowed)}.')
  return word


def _parse_box(cells: Mapping[str, str]) -> tuple[float, ...] | None:
  texts = [cells.get(column, '') for column in BOX_COLUMNS]
  if not any(texts):
    return None
  try:
    box = [float(text) for text in texts]
  except ValueError as error:
    raise RowError(f'box {texts} is not four numbers.') from error
  try:
    # The size of the frame is not known before it is decoded.
    return tuple(crop.check_box(box, np.inf, np.inf).tolist())
  except ValueError as error:
    raise RowError(str(error)) from error


def parse_row(number: int, cells: Mapping[str, str], root: pathlib.Path) -> Row:
  """Checks the cells of one row.

  Args:
    number: of the row.
    cells: column -> its text, stripped.
    root: the folder of the data, resolved.

  Raises:
    RowError: for an invalid cell; says what is allowed.
  """
  label = LABELS[_choose('label', cells['label'], LABELS)]
  attack_type = cells['attack_type']
  if not attack_type and label == records.LIVE:
    attack_type = 'live'
  attack_type = _choose('attack_type', attack_type, records.ATTACK_TYPES)
  if (label == records.LIVE) != (attack_type == 'live'):
    raise RowError(
      f'label {cells["label"]!r} does not go with attack_type '
      f'{attack_type!r}: live clips have the attack_type live or none, '
      'attacks any other.'
    )
  split = _choose('split', cells['split'], records.SPLITS)
  if not cells['subject']:
    raise RowError('subject is empty.')
  if not cells['path']:
    raise RowError('path is empty.')
  path = _resolve(cells['path'], root, 'path')
  suffixes = (*video.VIDEO_SUFFIXES, *video.IMAGE_SUFFIXES)
  if path.suffix.lower() not in suffixes:
    raise RowError(
      f'path {cells["path"]!r} has the suffix {path.suffix!r}; allowed: '
      f'{", ".join(suffixes)}.'
    )
  depth = cells.get('depth', '')
  return Row(
    number=number,
    name=cells['path'],
    path=path,
    clip_id=pathlib.Path(cells['path']).as_posix(),
    label=label,
    attack_type=attack_type,
    subject=cells['subject'],
    split=split,
    attack_detail=cells.get('attack_detail', ''),
    domains={name: cells.get(name, '') for name in DOMAIN_COLUMNS},
    box=_parse_box(cells),
    depth=_resolve(depth, root, 'depth') if depth else None,
  )


def _check_header(path: pathlib.Path, header: Sequence[str]) -> None:
  allowed = f'allowed: {", ".join(COLUMNS)}'
  for column in REQUIRED_COLUMNS:
    if column not in header:
      raise ValueError(
        f'{path}: the column {column!r} is missing; found: '
        f'{", ".join(header)}; {allowed}.'
      )
  for column in header:
    if column not in COLUMNS:
      raise ValueError(f'{path}: unknown column {column!r}; {allowed}.')
    if header.count(column) > 1:
      raise ValueError(f'{path}: the column {column!r} stands twice.')
  given = [column for column in BOX_COLUMNS if column in header]
  if given and len(given) < len(BOX_COLUMNS):
    raise ValueError(
      f'{path}: of the box only {", ".join(given)} is given; it needs all '
      f'of {", ".join(BOX_COLUMNS)}.'
    )


def _read_lines(path: pathlib.Path) -> list[tuple[int, list[str]]]:
  """(number, stripped cells) of the rows that are not blank."""
  if not path.is_file():
    raise FileNotFoundError(
      f'There is no manifest {path}; it is a CSV file with the columns '
      f'{", ".join(REQUIRED_COLUMNS)} and, where known, '
      f'{", ".join(COLUMNS[len(REQUIRED_COLUMNS) :])}.'
    )
  num_bytes = path.stat().st_size
  if num_bytes > MAX_BYTES:
    raise ValueError(
      f'{path} has {num_bytes} bytes; a manifest has at most {MAX_BYTES}.'
    )
  try:
    # utf-8-sig: spreadsheets put a byte order mark before the first column.
    with open(path, encoding='utf-8-sig', newline='') as file:
      lines = [
        (number, [cell.strip() for cell in line])
        for number, line in enumerate(csv.reader(file, strict=True), start=1)
      ]
  except UnicodeDecodeError as error:
    raise ValueError(f'{path} is not UTF-8 text: {error}.') from error
  except csv.Error as error:
    raise ValueError(f'{path} is not a CSV file: {error}.') from error
  return [(number, line) for number, line in lines if any(line)]


def _check_subjects(path: pathlib.Path, rows: Sequence[Row]) -> None:
  first = {}
  for row in rows:
    known = first.setdefault(row.subject, row)
    if known.split != row.split:
      raise ValueError(
        f'{path}: subject {row.subject!r} is in the split {known.split!r} '
        f'(row {known.number}) and in {row.split!r} (row {row.number}); the '
        'clips of a subject must be in one split.'
      )


def _shorten_clip_ids(rows: Sequence[Row]) -> list[Row]:
  """Drops the suffixes of clip ids, unless they distinguish clips."""
  short = [pathlib.Path(row.clip_id).with_suffix('').as_posix() for row in rows]
  taken = collections.Counter((*short, *(row.clip_id for row in rows)))
  return [
    dataclasses.replace(row, clip_id=name) if taken[name] == 1 else row
    for row, name in zip(rows, short, strict=True)
  ]


def read_manifest(
  path: str | os.PathLike, root: str | os.PathLike
) -> tuple[list[Row], list[BadRow]]:
  """Reads a manifest and checks everything that needs no decoding.

  Args:
    path: the CSV file.
    root: the folder that all paths are relative to and must be inside.

  Returns:
    (valid rows, skipped rows), in the order of the file.

  Raises:
    FileNotFoundError: if there is no manifest.
    ValueError: if it is not CSV in UTF-8, a column is missing or unknown,
      there are no rows, or a subject is in two splits.
  """
  path, root = pathlib.Path(path), pathlib.Path(root).resolve()
  lines = _read_lines(path)
  if len(lines) < 2:
    raise ValueError(f'{path}: there are no rows under the header.')
  header = [column.lower() for column in lines[0][1]]
  _check_header(path, header)
  rows, bad, files = [], [], {}
  for number, line in lines[1:]:
    cells = dict(zip(header, line, strict=False))
    try:
      if len(line) != len(header):
        raise RowError(
          f'the row has {len(line)} cells, the header {len(header)}.'
        )
      row = parse_row(number, cells, root)
      if row.path in files:
        raise RowError(f'the same file as in row {files[row.path]}.')
      files[row.path] = number
    except RowError as error:
      bad.append(BadRow(number, cells.get('path', ''), str(error)))
    else:
      rows.append(row)
  _check_subjects(path, rows)
  return _shorten_clip_ids(rows), bad
