"""Lists the clips in a dataset's folder, and its skipped and missing files.

Listing decodes nothing. Every video dataset has a module `layout` with
`list_clips(root)`, which parses file names by the dataset's own grammar.
"""

import collections
import dataclasses
import os
import pathlib
import re
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from nasfas_jax import records

# The most names that a message lists.
_NUM_NAMED = 5


class ClipError(ValueError):
  """A file is not a clip; the message says why."""


@dataclasses.dataclass(frozen=True)
class Boxes:
  """The annotation of a clip's face boxes.

  Attributes:
    format: a key of `boxes.READERS`, 'hdf5_eyes' or 'frame_folder'; or a
      dataset's own reader, path -> floats [F, 4], like those in `boxes`, which
      raises ValueError for a file that it cannot use.
    path: the annotation file, or a folder with one file per frame.
    size: (width, height) of the picture that the boxes refer to; None: of the
      clip's own frames.
  """

  format: str | Callable[[pathlib.Path], np.ndarray]
  path: pathlib.Path
  size: tuple[int, int] | None = None


@dataclasses.dataclass(frozen=True)
class Clip:
  """A clip of a dataset, as far as its name says; other fields as in a record.

  Attributes:
    path: the video, the picture or the folder of frames, resolved, inside the
      root.
    lists: the dataset's own lists that name the clip, separated by blanks.
    boxes: its face boxes; None: unknown, the whole frame is the face.
    depth: the folder of its depth maps; None: unknown.
    turn: clockwise quarter turns that make the decoded frames upright.
  """

  path: pathlib.Path
  clip_id: str
  subject: str
  split: str
  label: int
  attack_type: str
  attack_detail: str = ''
  session: str = ''
  camera: str = ''
  light: str = ''
  medium: str = ''
  lists: str = ''
  boxes: Boxes | None = None
  depth: pathlib.Path | None = None
  turn: int = 0


@dataclasses.dataclass
class Listing:
  """What a dataset's folder holds.

  Attributes:
    clips: sorted by id.
    skipped: (path from the root, why it is not a clip).
    missing: ids of clips of the dataset that the folder lacks.
    notes: differences between the files and the dataset's rules.
  """

  clips: list[Clip]
  skipped: list[tuple[str, str]]
  missing: list[str] = dataclasses.field(default_factory=list)
  notes: list[str] = dataclasses.field(default_factory=list)

  def summary(self) -> dict[str, object]:
    """Counts for `prepare --list`: plain JSON content."""

    def count(field: str) -> dict[str, int]:
      values = collections.Counter(str(getattr(c, field)) for c in self.clips)
      return dict(sorted(values.items()))

    fields = ('split', 'label', 'attack_type', 'attack_detail')
    domains = ('session', 'camera', 'light', 'medium')
    return {
      'clips': len(self.clips),
      'subjects': len({clip.subject for clip in self.clips}),
      **{name: count(name) for name in (*fields, *domains)},
      'without_boxes': sum(clip.boxes is None for clip in self.clips),
      'not_understood': [
        {'path': path, 'reason': reason} for path, reason in self.skipped
      ],
      'missing': self.missing,
      'notes': self.notes,
    }


def files(
  root: pathlib.Path, folder: str, suffixes: Iterable[str]
) -> Iterator[pathlib.Path]:
  """The files below a folder with one of the suffixes, sorted.

  Does not follow links to folders.
  """
  suffixes = tuple(suffixes)
  for parent, folders, names in os.walk(root / folder):
    folders.sort()
    for name in sorted(names):
      if name.lower().endswith(suffixes) and not name.startswith('.'):
        yield pathlib.Path(parent) / name


def make_listing(
  root: pathlib.Path,
  paths: Iterable[pathlib.Path],
  parse: Callable[[str], dict[str, object]],
) -> Listing:
  """Parses the names of files.

  Args:
    root: the folder of the dataset.
    paths: files below it.
    parse: path from the root, with '/' -> the fields of a `Clip` except `path`;
      raises ClipError for a name that does not match.

  Returns:
    The listing. Links that lead out of the root, empty files, and files whose
    clip id is taken are skipped.
  """
  root = root.resolve()
  clips, skipped = {}, []
  for path in paths:
    name = path.relative_to(root).as_posix()
    try:
      check_file(path, root)
      clip = Clip(path=path, **parse(name))
      records.check_labels(clip.clip_id, clip.label, clip.attack_type)
      if clip.clip_id in clips:
        raise ClipError(f'a second file of the clip {clip.clip_id!r}')
    except ClipError as error:
      skipped.append((name, str(error)))
    else:
      clips[clip.clip_id] = clip
  return Listing([clips[name] for name in sorted(clips)], skipped)


def list_folders(
  root: pathlib.Path,
  folders: Iterable[str],
  suffixes: Iterable[str],
  parse: Callable[[pathlib.Path, str], dict[str, object]],
  *,
  instructions: str,
  expected: Iterable[str] = (),
  disjoint: str = '',
) -> Listing:
  """Lists the files in a dataset's folders.

  Args:
    root: the folder of the dataset.
    folders: required subfolders; only files below them are listed.
    suffixes: of the clips, in lower case.
    parse: (root, path from the root) -> fields, see `make_listing`.
    instructions: how to get the dataset, for messages.
    expected: the ids of all clips, to find the missing ones.
    disjoint: name of the dataset if it promises that no subject is in two
      splits, else ''.

  Raises:
    FileNotFoundError: if a folder is missing.
    ValueError: if a subject is in two splits of a dataset that promises
      otherwise.
  """
  folders = list(folders)
  require_folders(root, folders, instructions)
  root = root.resolve()
  paths = [path for name in folders for path in files(root, name, suffixes)]
  found = make_listing(root, paths, lambda name: parse(root, name))
  if disjoint:
    check_disjoint(found, disjoint)
  have = {clip.clip_id for clip in found.clips}
  found.missing = [name for name in expected if name not in have]
  return found


def check_file(path: pathlib.Path, root: pathlib.Path) -> None:
  """Raises ClipError unless a path is a non-empty file inside the root."""
  try:
    resolved = path.resolve()
    size = path.stat().st_size
  except (OSError, RuntimeError) as error:
    raise ClipError(f'cannot be read: {error}') from error
  if not resolved.is_relative_to(root):
    raise ClipError('a link out of the folder')
  if size == 0:
    raise ClipError('the file has 0 bytes')


def match(pattern: str, name: str, grammar: str) -> re.Match:
  """Matches a whole name; a ClipError for a mismatch gives the grammar."""
  found = re.fullmatch(pattern, name)
  if found is None:
    raise ClipError(f'the name does not fit {grammar}')
  return found


def annotation(
  format_: str | Callable[[pathlib.Path], np.ndarray],
  root: pathlib.Path,
  *names: str,
  size: tuple[int, int] | None = None,
) -> Boxes | None:
  """The first existing annotation file, or None; see `Boxes`."""
  for name in names:
    path = root / name
    if path.is_file() and path.resolve().is_relative_to(root.resolve()):
      return Boxes(format_, path, size)
  return None


def require_folders(
  root: pathlib.Path, folders: Iterable[str], instructions: str
) -> None:
  """Raises FileNotFoundError unless all folders exist."""
  folders = list(folders)
  absent = [name for name in folders if not (root / name).is_dir()]
  if absent:
    found = (
      sorted(path.name for path in root.iterdir()) if root.is_dir() else []
    )
    raise FileNotFoundError(
      f'{str(root)!r} lacks the folders {", ".join(absent)} (of '
      f'{", ".join(folders)}); found: {shorten(found) or "nothing"}. '
      f'{" ".join(instructions.split())}'
    )


def shorten(names: Iterable[str]) -> str:
  """The first names of a list, and the number of the others."""
  names = list(names)
  text = ', '.join(names[:_NUM_NAMED])
  more = len(names) - _NUM_NAMED
  return text + (f' and {more} more' if more > 0 else '')


def check_disjoint(listing: Listing, dataset: str) -> None:
  """Raises ValueError if a subject is in two splits."""
  splits = collections.defaultdict(set)
  for clip in listing.clips:
    splits[clip.subject].add(clip.split)
  shared = sorted(name for name, found in splits.items() if len(found) > 1)
  if shared:
    raise ValueError(
      f'{dataset}: the subjects {shorten(shared)} are in more than one split; '
      'the dataset promises disjoint subjects.'
    )
