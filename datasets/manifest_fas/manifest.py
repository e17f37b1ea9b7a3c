"""Reads manifest.csv; each row becomes a clip or a reason why it is not one."""

import collections
import csv
import dataclasses
import io
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from nasfas_datasets import listing, text_files
from nasfas_datasets.listing import ClipError
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
# A test row may have none: it is scored and not judged.
LABELS = {
  'live': records.LIVE,
  'bonafide': records.LIVE,
  '1': records.LIVE,
  'spoof': records.SPOOF,
  'attack': records.SPOOF,
  '0': records.SPOOF,
}
INSTRUCTIONS = """
manual_dir is the folder of your videos and pictures. It holds manifest.csv with
the columns path, label, attack_type, subject, split (paths relative to the
folder); see datasets/manifest_fas/README.md.
"""
# A manifest of a million rows has about 100 MB.
MAX_BYTES = 256 * 2**20


def _resolve(text: str, root: pathlib.Path, column: str) -> pathlib.Path:
  """The file that a cell names, which must be inside the resolved root."""
  relative = pathlib.Path(text)
  if relative.is_absolute() or '..' in relative.parts:
    raise ClipError(
      f'{column} {text!r} must be relative to the folder of the data and '
      "must not hold '..'."
    )
  path = root / relative
  try:
    inside = listing.is_inside(path, root)
    is_file = inside and path.is_file()
    num_bytes = path.stat().st_size if is_file else 0
  # Such as a name that is too long, has a NUL, or is a loop of symbolic links.
  except FileNotFoundError:
    inside, is_file = True, False
  except (OSError, RuntimeError, ValueError) as error:
    raise ClipError(f'{column} {text!r} is not a path: {error}.') from error
  if not inside:
    raise ClipError(
      f'{column} {text!r} is a link out of the folder: copy the file, or link '
      'its folder.'
    )
  if not is_file:
    raise ClipError(f'{column} {text!r}: there is no such file.')
  if num_bytes == 0:
    raise ClipError(f'{column} {text!r}: the file has 0 bytes.')
  return path


def _choose(column: str, text: str, allowed: Iterable[str]) -> str:
  """The cell in lower case, which must be one of the allowed words."""
  word = text.lower()
  if word not in allowed:
    raise ClipError(f'{column} {text!r}; allowed: {", ".join(allowed)}.')
  return word


def _parse_box(cells: Mapping[str, str]) -> tuple[float, ...] | None:
  texts = [cells.get(column, '') for column in BOX_COLUMNS]
  if not any(texts):
    return None
  try:
    box = [float(text) for text in texts]
  except ValueError as error:
    raise ClipError(f'box {texts} is not four numbers.') from error
  try:
    # The size of the frame is not known before it is decoded.
    return tuple(crop.check_box(box, np.inf, np.inf).tolist())
  except ValueError as error:
    raise ClipError(str(error)) from error


def _parse_label(cells: Mapping[str, str], split: str) -> tuple[int, str]:
  """(label, attack type) of a row of a split."""
  attack_type = cells['attack_type']
  if not cells['label']:
    if split != 'test':
      raise ClipError(
        f'label is empty in the split {split}; allowed: {", ".join(LABELS)}. '
        'Only rows of test may have none.'
      )
    for column in ('attack_type', 'attack_detail'):
      if cells.get(column):
        raise ClipError(
          f'{column} {cells[column]!r} in a row without a label; allowed: none.'
        )
    return records.UNLABELLED, ''
  label = LABELS[_choose('label', cells['label'], LABELS)]
  if not attack_type and label == records.LIVE:
    attack_type = 'live'
  attack_type = _choose('attack_type', attack_type, records.ATTACK_TYPES)
  if (label == records.LIVE) != (attack_type == 'live'):
    raise ClipError(
      f'label {cells["label"]!r} does not go with attack_type '
      f'{attack_type!r}: live clips have the attack_type live or none, '
      'attacks any other.'
    )
  return label, attack_type


def parse_row(
  number: int, cells: Mapping[str, str], root: pathlib.Path
) -> listing.Clip:
  """Checks the cells of one row.

  Args:
    number: of the row.
    cells: column -> its text, stripped.
    root: the folder of the data, resolved.

  Raises:
    ClipError: for an invalid cell; says what is allowed.
  """
  split = _choose('split', cells['split'], records.SPLITS)
  label, attack_type = _parse_label(cells, split)
  if not cells['subject']:
    raise ClipError('subject is empty.')
  if not cells['path']:
    raise ClipError('path is empty.')
  path = _resolve(cells['path'], root, 'path')
  suffixes = (*video.VIDEO_SUFFIXES, *video.IMAGE_SUFFIXES)
  if path.suffix.lower() not in suffixes:
    raise ClipError(
      f'path {cells["path"]!r} has the suffix {path.suffix!r}; allowed: '
      f'{", ".join(suffixes)}.'
    )
  depth = cells.get('depth', '')
  return listing.Clip(
    path=path,
    clip_id=pathlib.Path(cells['path']).as_posix(),
    subject=cells['subject'],
    split=split,
    label=label,
    attack_type=attack_type,
    attack_detail=cells.get('attack_detail', ''),
    **{name: cells.get(name, '') for name in DOMAIN_COLUMNS},
    box=_parse_box(cells),
    depth=_resolve(depth, root, 'depth') if depth else None,
    name=cells['path'],
    row=number,
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


def _read(path: pathlib.Path) -> str:
  """The text of a manifest."""
  if not path.is_file():
    raise FileNotFoundError(
      f'There is no manifest {path}; it is a CSV file with the columns '
      f'{", ".join(REQUIRED_COLUMNS)} and, where known, '
      f'{", ".join(COLUMNS[len(REQUIRED_COLUMNS) :])}.'
    )
  return text_files.read(path, MAX_BYTES)


def _split_lines(path: pathlib.Path, text: str) -> list[tuple[int, list[str]]]:
  """(number, stripped cells) of the rows that are not blank."""
  try:
    lines = [
      (number, [cell.strip() for cell in line])
      for number, line in enumerate(
        csv.reader(io.StringIO(text, newline=''), strict=True), start=1
      )
    ]
  except csv.Error as error:
    raise ValueError(f'{path} is not a CSV file: {error}.') from error
  return [(number, line) for number, line in lines if any(line)]


def _check_subjects(path: pathlib.Path, clips: Sequence[listing.Clip]) -> None:
  first = {}
  for clip in clips:
    known = first.setdefault(listing.plain_name(clip.subject), clip)
    if known.split == clip.split:
      continue
    if known.subject == clip.subject:
      raise ValueError(
        f'{path}: subject {clip.subject!r} is in the split {known.split!r} '
        f'(row {known.row}) and in {clip.split!r} (row {clip.row}); the clips '
        'of a subject must be in one split.'
      )
    raise ValueError(
      f'{path}: the subjects {known.subject!r} (row {known.row}, '
      f'{known.split}) and {clip.subject!r} (row {clip.row}, {clip.split}) '
      'look like one person in two splits: spell them alike, or give them '
      'names that differ in more than case, signs and zeros.'
    )


def _shorten_clip_ids(clips: Sequence[listing.Clip]) -> list[listing.Clip]:
  """Drops the suffixes of clip ids, unless they distinguish clips."""
  short = [
    pathlib.Path(clip.clip_id).with_suffix('').as_posix() for clip in clips
  ]
  taken = collections.Counter((*short, *(clip.clip_id for clip in clips)))
  return [
    dataclasses.replace(clip, clip_id=name) if taken[name] == 1 else clip
    for clip, name in zip(clips, short, strict=True)
  ]


def list_clips(
  root: str | os.PathLike, path: str | os.PathLike = ''
) -> listing.Listing:
  """Reads a manifest and checks everything that needs no decoding.

  Args:
    root: the folder that all paths are relative to and must be inside.
    path: the CSV file, from the root; '' is manifest.csv.

  Returns:
    The listing, in the order of the rows; `bad` are the skipped rows.

  Raises:
    FileNotFoundError: if there is no manifest.
    ValueError: if it is not CSV in UTF-8, a column is missing or unknown,
      there are no rows, or a subject is in two splits.
  """
  root = pathlib.Path(root).resolve()
  path = root / (path or 'manifest.csv')
  return parse_text(_read(path), path, root)


def parse_text(
  text: str, path: pathlib.Path, root: pathlib.Path
) -> listing.Listing:
  """The listing of a manifest's text; see `list_clips`."""
  lines = _split_lines(path, text)
  if len(lines) < 2:
    raise ValueError(f'{path}: there are no rows under the header.')
  header = [column.lower() for column in lines[0][1]]
  _check_header(path, header)
  clips, bad, files = [], [], {}
  for number, line in lines[1:]:
    cells = dict(zip(header, line, strict=False))
    try:
      if len(line) != len(header):
        raise ClipError(
          f'the row has {len(line)} cells, the header {len(header)}.'
        )
      clip = parse_row(number, cells, root)
      real = clip.path.resolve()
      if real in files:
        raise ClipError(f'the same file as in row {files[real]}.')
      files[real] = number
    except ClipError as error:
      split = cells.get('split', '').lower()
      bad.append(
        listing.Bad(
          cells.get('path', ''),
          str(error),
          LABELS.get(cells.get('label', '').lower()),
          row=number,
          split=split if split in records.SPLITS else '',
        )
      )
    else:
      clips.append(clip)
  _check_subjects(path, clips)
  return listing.Listing(_shorten_clip_ids(clips), [], bad)
