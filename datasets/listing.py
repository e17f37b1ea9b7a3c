"""What lies in a dataset's folder: clips, files left out, files missing.

Listing a folder decodes nothing. Every dataset of videos has a `layout` with
`list_clips(root)`, which turns names into clips by its own grammar.
"""

import collections
import dataclasses
import os
import pathlib
import re
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from nasfas_jax import records

# How many names of a kind a message gives.
_NUM_NAMED = 5


class ClipError(ValueError):
  """Why a file is not a clip."""


@dataclasses.dataclass(frozen=True)
class Boxes:
  """Where the face of a clip is found.

  Attributes:
    format: key of `boxes.READERS`, 'hdf5_eyes' or 'frame_folder'; or a
      function of a dataset's own module, path -> floats [F, 4] as the readers
      there, which raises ValueError for a file that is not usable.
    path: the annotation file, or the folder that holds one a frame.
  """

  format: str | Callable[[pathlib.Path], np.ndarray]
  path: pathlib.Path


@dataclasses.dataclass(frozen=True)
class Clip:
  """A clip of a dataset, by its name alone; text fields as in the record.

  Attributes:
    path: the video, or the folder of its frames, resolved, inside the root.
    boxes: where its face is found; None: not known, the whole frame is it.
    depth: the folder of its frames' depth maps; None: not known.
    turn: quarter turns clockwise that make the decoded frame upright.
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
  boxes: Boxes | None = None
  depth: pathlib.Path | None = None
  turn: int = 0


@dataclasses.dataclass
class Listing:
  """Everything found in a folder.

  Attributes:
    clips: in the order of their ids.
    skipped: (path from the root, why it is not a clip).
    missing: names that the dataset should hold and the folder does not.
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

  Links to folders are not followed.
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
    parse: the path from the root, with '/' -> the fields of a `Clip` but its
      path; raises ClipError for a name that does not fit.

  Returns:
    The listing; a link out of the root, an empty file, and a second file with
    the id of another are skipped.
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
  """Lists the files of a dataset that is made of folders.

  Args:
    root: the folder of the dataset.
    folders: those that must be there; only files below them are read.
    suffixes: of the clips, in lower case.
    parse: (root, path from the root) -> fields, see `make_listing`.
    instructions: how to get the dataset, for the error.
    expected: the ids of all clips, to tell which are missing.
    disjoint: name of a dataset that promises disjoint subjects; '' for none.

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
  """Raises ClipError unless a path is a file with content inside the root."""
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
  """Matches a whole name, or raises ClipError that tells the grammar."""
  found = re.fullmatch(pattern, name)
  if found is None:
    raise ClipError(f'the name does not fit {grammar}')
  return found


def annotation(
  format_: str | Callable[[pathlib.Path], np.ndarray],
  root: pathlib.Path,
  *names: str,
) -> Boxes | None:
  """The first of the annotation files that exists, or None; see `Boxes`."""
  for name in names:
    path = root / name
    if path.is_file() and path.resolve().is_relative_to(root.resolve()):
      return Boxes(format_, path)
  return None


def require_folders(
  root: pathlib.Path, folders: Iterable[str], instructions: str
) -> None:
  """Raises FileNotFoundError if none or not all of the folders are there."""
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
  """The first names of a list, and how many more there are."""
  names = list(names)
  text = ', '.join(names[:_NUM_NAMED])
  more = len(names) - _NUM_NAMED
  return text + (f' and {more} more' if more > 0 else '')


def check_disjoint(listing: Listing, dataset: str) -> None:
  """Raises ValueError if a subject is in two splits.

  For datasets that promise disjoint subjects.
  """
  splits = collections.defaultdict(set)
  for clip in listing.clips:
    splits[clip.subject].add(clip.split)
  shared = sorted(name for name, found in splits.items() if len(found) > 1)
  if shared:
    raise ValueError(
      f'{dataset}: the subjects {shorten(shared)} are in more than one split; '
      'the dataset promises disjoint subjects.'
    )
