"""The scores of clips as a CSV file: the one reader and the one writer.

A row is a clip. Our own files have the columns `COLUMNS`; a file of another
system may call two of them as in `ALIASES`, and may leave out `OPTIONAL` ones.
Further columns are ignored.
"""

import csv
import io
import os
import pathlib
import re
from collections.abc import Iterator, Mapping

import numpy as np

from nasfas_jax import files, records

COLUMNS = (
  'clip_id',
  'split',
  'label',
  'attack_type',
  'domain',
  'subject',
  'score',
)
ALIASES = {'clip': 'clip_id', 'type': 'attack_type'}
OPTIONAL = ('clip_id', 'split', 'domain', 'subject')
LABELS = {
  '1': records.LIVE,
  'live': records.LIVE,
  '0': records.SPOOF,
  'spoof': records.SPOOF,
  '': records.UNLABELLED,
}
# What a clip is called in a file that does not name it.
NAMELESS = re.compile(r'row \d+')
# Two million rows.
MAX_BYTES = 128 * 2**20

# Column -> array [N]: 'label' int64 (1 live, 0 spoof, -1 unlabelled), 'score'
# float64, all others strings. The attack type of live clips is 'live', that of
# clips without a label ''.
Columns = dict[str, np.ndarray]


def read(path: str | os.PathLike[str]) -> dict[str, Columns]:
  """Reads the scores of clips.

  Args:
    path: of a CSV file in UTF-8 with a header. Without a column 'split' all
      clips are of 'test', without 'clip_id' they are named by their row, and
      without 'subject' every clip is a subject of its own. A row without a
      label is scored only.

  Returns:
    Split -> its columns, in the order of the file.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: in one line, which names the file and, of a bad cell, its row
      (the header is row 1), its column and its value.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise FileNotFoundError(f'There is no file of scores {str(path)!r}.')
  if path.stat().st_size > MAX_BYTES:
    raise ValueError(
      f'{str(path)!r} has {path.stat().st_size} bytes; a file of scores has at '
      f'most {MAX_BYTES}.'
    )
  try:
    # utf-8-sig: spreadsheets put a byte order mark before the first column.
    with open(path, encoding='utf-8-sig', newline='') as file:
      return _read_rows(csv.reader(file, strict=True))
  except UnicodeDecodeError as error:
    raise ValueError(f'{str(path)!r} is not UTF-8 text: {error}.') from error
  except csv.Error as error:
    raise ValueError(f'{str(path)!r} is not a CSV file: {error}.') from error
  except _BadCell as error:
    raise ValueError(f'{str(path)!r}: {error}') from error


class _BadCell(Exception):
  """What is wrong with a header or a row; `read` adds the file's name."""


def _read_rows(lines: Iterator[list[str]]) -> dict[str, Columns]:
  header = [
    ALIASES.get(name, name)
    for name in (cell.strip().lower() for cell in next(lines, []))
  ]
  for name in COLUMNS:
    if header.count(name) > 1:
      raise _BadCell(f'the column {name!r} stands twice.')
    if name not in header and name not in OPTIONAL:
      raise _BadCell(
        f'the column {name!r} is missing; found: '
        f'{", ".join(map(repr, header)) or "none"}.'
      )
  places = {name: header.index(name) for name in COLUMNS if name in header}
  found, taken = {}, {}
  for number, line in enumerate(lines, start=2):
    if not any(line):
      continue
    if len(line) != len(header):
      raise _BadCell(
        f'row {number} has {len(line)} cells, the header {len(header)}.'
      )
    cells = {name: line[place].strip() for name, place in places.items()}
    row = _parse(number, cells)
    key = row['split'], row['clip_id'], row['subject']
    if taken.setdefault(key, number) != number:
      raise _BadCell(
        f'row {number}, clip_id {row["clip_id"]!r}: the same clip as in row '
        f'{taken[key]}.'
      )
    columns = found.setdefault(row['split'], {name: [] for name in COLUMNS})
    for name, value in row.items():
      columns[name].append(value)
  if not found:
    raise _BadCell('there are no rows under the header.')
  return {
    split: {
      name: np.array(values)
      for name, values in columns.items()
      if name != 'split'
    }
    for split, columns in found.items()
  }


def _parse(number: int, cells: Mapping[str, str]) -> dict[str, object]:
  """The values of a row."""

  def refuse(column, allowed):
    raise _BadCell(
      f'row {number}, {column} {cells[column]!r}; allowed: {allowed}.'
    )

  label = cells['label'].lower()
  if label not in LABELS:
    refuse('label', '1 or live, 0 or spoof, empty (not labelled)')
  label = LABELS[label]
  kind = cells['attack_type']
  if label == records.LIVE:
    if kind not in ('', 'live'):
      refuse('attack_type', "'live' or empty for a live clip")
    kind = 'live'
  elif label == records.SPOOF and kind in ('', 'live'):
    refuse('attack_type', "the attack's type for a spoof, such as print")
  elif label == records.UNLABELLED and kind:
    refuse('attack_type', 'empty for a clip without a label')
  split = cells.get('split', 'test')
  if split not in records.SPLITS:
    refuse('split', ', '.join(records.SPLITS))
  # See `NAMELESS`.
  clip = cells.get('clip_id', f'row {number}')
  if not clip:
    refuse('clip_id', 'any text')
  subject = cells.get('subject', clip)
  if not subject:
    refuse('subject', 'any text')
  return {
    'clip_id': clip,
    'split': split,
    'label': label,
    'attack_type': kind,
    'domain': cells.get('domain', ''),
    'subject': subject,
    'score': _number(cells['score'], refuse),
  }


def _number(text: str, refuse) -> float:
  # float() also takes '1_0' and the digits of any script.
  if text.isascii() and '_' not in text:
    try:
      value = float(text)
    except ValueError:
      value = np.nan
    if np.isfinite(value):
      return value
  return refuse('score', 'finite numbers')


def has_column(path: str | os.PathLike[str], name: str) -> bool:
  """Whether a file that `read` accepts has a column."""
  with open(path, encoding='utf-8-sig', newline='') as file:
    header = [cell.strip().lower() for cell in next(csv.reader(file))]
  return name in [ALIASES.get(cell, cell) for cell in header]


def write(path: str | os.PathLike[str], scored: Mapping[str, Columns]) -> None:
  """Writes scores, so that `read` returns them.

  Args:
    path: of the file.
    scored: split -> its columns.
  """
  text = io.StringIO()
  writer = csv.writer(text, lineterminator='\n')
  writer.writerow(COLUMNS)
  for split, columns in scored.items():
    labels = columns['label'].tolist()
    listed = {name: column.tolist() for name, column in columns.items()}
    listed['split'] = [split] * len(labels)
    listed['label'] = [
      '' if label == records.UNLABELLED else label for label in labels
    ]
    writer.writerows(zip(*(listed[name] for name in COLUMNS), strict=True))
  files.write_whole(path, text.getvalue())


def where(columns: Columns, mask: np.ndarray) -> Columns:
  """The rows of a mask."""
  return {name: column[mask] for name, column in columns.items()}


def labelled(columns: Columns) -> Columns:
  """The rows that have a label."""
  return where(columns, columns['label'] != records.UNLABELLED)
