"""Lists the clips in a dataset's folder, and its skipped and missing files.

Listing decodes nothing. Every video dataset has a module `layout` with
`list_clips(root)`, which parses file names by the dataset's own grammar.
"""

import collections
import contextlib
import dataclasses
import fnmatch
import hashlib
import os
import pathlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from nasfas_jax import records
from nasfas_jax.preprocessing import picture_folder

# The most names that a message lists.
_NUM_NAMED = 5
NO_FACE = 'No frame of the clip has a face'


class ClipError(ValueError):
  """A file is not a clip; the message says why."""


class NoFaceError(ClipError):
  """No frame of a clip has a face; the message begins with `NO_FACE`."""


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
    path: the video, the picture or the folder of frames, inside the root.
    lists: the dataset's own lists that name the clip, separated by blanks.
    boxes: the annotation of its face boxes; None: none.
    box: x0, y0, x1, y1, where the list of clips itself gives the one box.
    depth: the folder of its depth maps, or one picture for all frames; None:
      unknown.
    turn: clockwise quarter turns that make the decoded frames upright.
    name: what its list calls it; '': its id.
    row: of a manifest, as in a spreadsheet; 0: there is none. The same clip may
      stand in another row tomorrow.
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
  box: tuple[float, ...] | None = None
  depth: pathlib.Path | None = None
  turn: int = 0
  name: str = dataclasses.field(default='', compare=False)
  row: int = dataclasses.field(default=0, compare=False)

  @property
  def has_box(self) -> bool:
    return self.boxes is not None or self.box is not None

  def bad(self, reason: str, no_face: bool = False) -> 'Bad':
    """This clip, which cannot be used."""
    return Bad(
      self.name or self.clip_id,
      reason,
      self.label,
      self.row,
      no_face,
      self.split,
    )


class Bad(NamedTuple):
  """A clip that cannot be used.

  Attributes:
    name: its id, or its path as a manifest writes it.
    reason: why.
    label: 1 live, 0 spoof; None: unknown.
    row: of a manifest; 0: there is none.
    no_face: whether no face was found in its frames.
    split: its split; '': unknown.
  """

  name: str
  reason: str
  label: int | None = None
  row: int = 0
  no_face: bool = False
  split: str = ''


@dataclasses.dataclass
class Listing:
  """What a dataset's folder holds.

  Attributes:
    clips: sorted by id.
    skipped: files that are no clips: (path from the root, reason).
    bad: clips that cannot be used.
    missing: ids of clips of the dataset that the folder lacks.
    notes: differences between the files and the dataset's rules.
  """

  clips: list[Clip]
  skipped: list[tuple[str, str]]
  bad: list[Bad] = dataclasses.field(default_factory=list)
  missing: list[str] = dataclasses.field(default_factory=list)
  notes: list[str] = dataclasses.field(default_factory=list)

  def names(self) -> set[str]:
    """The ids of the clips that the folder has, usable or not.

    Not of a manifest, whose bad rows are named by their paths.
    """
    return {*(c.clip_id for c in self.clips), *(bad.name for bad in self.bad)}

  def summary(self) -> dict[str, object]:
    """Counts for `prepare --list`: plain JSON content."""

    def count(field: str) -> dict[str, int]:
      values = collections.Counter(str(getattr(c, field)) for c in self.clips)
      return dict(sorted(values.items()))

    labels = count('label')
    if str(records.UNLABELLED) in labels:
      labels['unlabelled'] = labels.pop(str(records.UNLABELLED))
    fields = ('attack_type', 'attack_detail')
    domains = ('session', 'camera', 'light', 'medium')
    return {
      'clips': len(self.clips),
      'subjects': len({clip.subject for clip in self.clips}),
      'split': count('split'),
      'label': labels,
      **{name: count(name) for name in (*fields, *domains)},
      'without_boxes': count_labels(c for c in self.clips if not c.has_box),
      'not_understood': [
        {'path': path, 'reason': reason} for path, reason in self.skipped
      ],
      'unusable': [
        {'row': bad.row, 'path': bad.name, 'reason': bad.reason}
        if bad.row
        else {'path': bad.name, 'reason': bad.reason}
        for bad in self.bad
      ],
      'missing': self.missing,
      'notes': self.notes,
    }


def count_labels(clips: Iterable[Clip]) -> dict[str, int]:
  """The number of live clips and of attacks."""
  labels = collections.Counter(clip.label for clip in clips)
  return {
    'live': labels[records.LIVE],
    'attack': labels[records.SPOOF],
  }


def files(
  root: pathlib.Path, folder: str, suffixes: Iterable[str]
) -> Iterator[pathlib.Path]:
  """The files below a folder with one of the suffixes, sorted.

  Hidden files and folders are left out. Follows links to folders, which may be
  on another disk, each folder once.
  Links that lead nowhere come too, whatever their suffix: behind one may be a
  folder on a disk that is not there. `make_listing` says so.

  Raises:
    OSError: if a folder cannot be read; names it.
  """
  suffixes, seen = tuple(suffixes), set()

  def walk(folder: str) -> Iterator[pathlib.Path]:
    real = os.path.realpath(folder)
    if real in seen:
      # A link to a folder above it, or a second link.
      return
    seen.add(real)
    inner = []
    with os.scandir(folder) as entries:
      entries = sorted(entries, key=lambda entry: entry.name)
    for entry in entries:
      # Also of folders, such as those of a wastebasket or of snapshots.
      if entry.name.startswith('.'):
        continue
      # Of a link that goes round in a circle, `entry.is_dir` is an error.
      if os.path.isdir(entry) if entry.is_symlink() else entry.is_dir():
        inner.append(entry.path)
      elif entry.name.lower().endswith(suffixes) or _is_lost(entry):
        yield pathlib.Path(entry.path)
    for path in inner:
      yield from walk(path)

  if (root / folder).is_dir():
    yield from walk(str(root / folder))


def _is_lost(path: os.DirEntry | pathlib.Path) -> bool:
  """Whether a path is a link to nothing, or to nothing that can be read."""
  return path.is_symlink() and not os.path.exists(path)


def folders(root: pathlib.Path, pattern: str) -> list[pathlib.Path]:
  """The folders below a root that a pattern such as 'Data/*/color' names.

  Sorted. As `files`, it has links that lead nowhere too.

  Raises:
    OSError: if a folder cannot be read; names it.
  """
  found, lost = [root], []
  for part in pattern.split('/'):
    inside = [
      path
      for folder in found
      for path in sorted(folder.iterdir())
      if fnmatch.fnmatchcase(path.name, part) and not path.name.startswith('.')
    ]
    found = [path for path in inside if path.is_dir()]
    lost += [path for path in inside if _is_lost(path)]
  return sorted(found + lost)


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
    The listing. A clip whose file is empty, cannot be read, or is a link that
    leads out of the root, is bad, and so is one whose annotation is a link that
    leads out of it or nowhere. Names that do not match or are not UTF-8, and
    files whose clip id is taken are skipped.
  """
  root = root.resolve()
  clips, bad, skipped = {}, {}, []
  for path in paths:
    name = path.relative_to(root).as_posix()
    fault = _fault(path, root)
    try:
      check_name(name)
      clip = Clip(path=path, **parse(name))
      fault = fault or _annotation_fault(clip, root)
      records.check_labels(
        clip.clip_id, clip.label, clip.attack_type, clip.split
      )
      if clip.clip_id in clips:
        raise ClipError(f'a second file of the clip {clip.clip_id!r}')
    except ClipError as error:
      skipped.append((name, fault or str(error)))
      continue
    if fault:
      bad[clip.clip_id] = (name, clip.bad(fault))
    else:
      clips[clip.clip_id] = clip
  # Another file of the same clip may be good.
  for taken in bad.keys() & clips.keys():
    name, one = bad.pop(taken)
    skipped.append((name, one.reason))
  return Listing(
    [clips[name] for name in sorted(clips)],
    skipped,
    [bad[name][1] for name in sorted(bad)],
  )


def _fault(path: pathlib.Path, root: pathlib.Path) -> str:
  """What `check_file` says of a path; '' if nothing."""
  try:
    check_file(path, root)
  except ClipError as error:
    return str(error)
  return ''


def _annotation_fault(clip: Clip, root: pathlib.Path) -> str:
  """What is wrong with the link that a clip's annotation is; '' if nothing."""
  path = clip.boxes and clip.boxes.path
  if not path or not path.is_symlink() or path.is_dir():
    return ''
  fault = _fault(path, root)
  return fault and f'its annotation {path.name}: {fault}'


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
  have = found.names()
  found.missing = [name for name in expected if name not in have]
  return found


def check_name(name: str) -> None:
  """Raises ClipError for a name that no record can hold: it is not UTF-8."""
  try:
    name.encode()
  except UnicodeEncodeError as error:
    raise ClipError('the name is not UTF-8: rename it') from error


def check_file(path: pathlib.Path, root: pathlib.Path) -> None:
  """Raises ClipError unless a path is a non-empty file inside the root.

  Of a folder of frames every file is looked at: a frame may be a link too.
  """
  if _is_lost(path):
    raise ClipError('a link to a place that is not there or cannot be read')
  try:
    inside = is_inside(path, root)
    size = path.stat().st_size
    linked = _links(path) if path.is_dir() else []
  except (OSError, RuntimeError) as error:
    raise ClipError(f'cannot be read: {error}') from error
  if not inside:
    raise ClipError(
      'a link out of the folder: copy the file, or link its folder'
    )
  # Some file systems say 0 of every folder.
  if size == 0 and not path.is_dir():
    raise ClipError('the file has 0 bytes')
  for inner in linked:
    try:
      check_file(inner, root)
    except ClipError as error:
      raise ClipError(f'{inner.name}: {error}') from error


def _links(folder: pathlib.Path) -> list[pathlib.Path]:
  """The links in a folder, but for those to folders."""
  with os.scandir(folder) as entries:
    names = sorted(entry.name for entry in entries if entry.is_symlink())
  paths = [folder / name for name in names if not name.startswith('.')]
  return [path for path in paths if not path.is_dir()]


def is_inside(path: pathlib.Path, root: pathlib.Path) -> bool:
  """Whether a path below a root is no file that a link takes from elsewhere.

  A folder may be a link to another disk: whoever arranged the data made it.

  Raises:
    OSError, RuntimeError: if a link leads nowhere or round in a circle.
  """
  if not path.is_symlink() or path.is_dir():
    return True
  return path.resolve(strict=True).is_relative_to(root.resolve())


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
  """The first existing annotation file, or None; see `Boxes`.

  One that is a link may lead nowhere: `make_listing` says so.

  Raises:
    FileNotFoundError: if one of its folders is a link that leads nowhere.
  """
  for name in names:
    path = root / name
    if path.is_file() or path.is_symlink() and not path.is_dir():
      return Boxes(format_, path, size)
    _require_targets(path.parent, root)
  return None


def _require_targets(folder: pathlib.Path, root: pathlib.Path) -> None:
  """Raises FileNotFoundError if a folder, or one above it, is a lost link."""
  for path in (folder, *folder.parents):
    if path.is_symlink() and not path.is_dir():
      raise FileNotFoundError(
        f'{str(path)!r} is a link to {str(path.readlink())!r}, which is not a '
        'folder here: mount its disk, or renew the link.'
      )
    if path == root:
      return


def require_folders(
  root: pathlib.Path, folders: Iterable[str], instructions: str
) -> None:
  """Raises FileNotFoundError unless all folders exist."""
  folders = list(folders)
  absent = [name for name in folders if not (root / name).is_dir()]
  for name in absent:
    _require_targets(root / name, root)
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


def plain_name(name: str) -> str:
  """A name without case, spaces, signs, forms of Unicode and leading zeros.

  Two subjects with the same plain name are most likely one person.
  """
  folded = unicodedata.normalize('NFKC', name).casefold()
  kept = ''.join(
    c if c.isalnum() or _is_mark(c) else ' '
    for c in unicodedata.normalize('NFKC', folded)
  )
  words = [
    word.lstrip('0') or '0' if word.isdecimal() else word
    for word in re.findall(r'\d+|[^\s\d]+', kept)
  ]
  # Two numbers stay apart: 1_12 is not 11_2.
  text = ''
  for word in words:
    text += ' ' + word if text[-1:].isdecimal() and word.isdecimal() else word
  return text or folded


def _is_mark(character: str) -> bool:
  """Whether a character is a mark, as many scripts write vowels.

  But not one that only chooses among the pictures of a letter.
  """
  name = unicodedata.name(character, '')
  is_mark = unicodedata.category(character).startswith('M')
  return is_mark and not name.startswith('VARIATION SELECTOR')


def alike_subjects(clips: Iterable[Clip]) -> list[tuple[str, str]]:
  """Pairs of subjects that are most likely one, spelled in two ways."""
  names = collections.defaultdict(set)
  for clip in clips:
    names[plain_name(clip.subject)].add(clip.subject)
  return [
    (first, other)
    for spellings in names.values()
    for first, *others in [sorted(spellings)]
    for other in others
  ]


def same_files(clips: Iterable[Clip]) -> list[tuple[Clip, Clip]]:
  """Pairs of clips whose files hold the same bytes.

  A folder counts as its pictures in their order, whatever their names. Reads
  only files of equal sizes, and of those only three pieces, of a folder those
  of three pictures, unless the pieces agree.
  """
  groups = collections.defaultdict(list)
  for clip in clips:
    with contextlib.suppress(OSError):
      paths = _content(clip.path)
      sizes = tuple(path.stat().st_size for path in paths)
      if sizes:
        groups[sizes].append((clip, paths))
  for digest in (_pieces, _whole):
    parts = collections.defaultdict(list)
    for key, group in groups.items():
      for clip, paths in group if len(group) > 1 else ():
        with contextlib.suppress(OSError):
          parts[key, digest(paths)].append((clip, paths))
    groups = parts
  return [
    (group[0][0], other) for group in groups.values() for other, _ in group[1:]
  ]


def _content(path: pathlib.Path) -> list[pathlib.Path]:
  """A file, or the pictures of a folder in their order."""
  return picture_folder.pictures(path) if path.is_dir() else [path]


def _pieces(paths: Sequence[pathlib.Path]) -> bytes:
  """A hash of the first, middle and last 64 KiB of three of the files."""
  found = hashlib.sha256()
  length = 2**16
  for path in (paths[i] for i in sorted({0, len(paths) // 2, len(paths) - 1})):
    size = path.stat().st_size
    with open(path, 'rb') as file:
      for place in (0, size // 2, max(0, size - length)):
        file.seek(place)
        found.update(file.read(length))
  return found.digest()


def _whole(paths: Sequence[pathlib.Path]) -> bytes:
  found = hashlib.sha256()
  for path in paths:
    with open(path, 'rb') as file:
      found.update(hashlib.file_digest(file, 'sha256').digest())
  return found.digest()


def unlike_published(found: Listing, published: Mapping[str, int]) -> list[str]:
  """A note for each split that has another number of clips than published.

  Args:
    found: the clips.
    published: split -> number of clips.
  """
  counts = collections.Counter(clip.split for clip in found.clips)
  return unlike_counts(
    (f'clips of {split}', counts[split], count)
    for split, count in published.items()
  )


def unlike_counts(counted: Iterable[tuple[str, int, int]]) -> list[str]:
  """A note for each (what is counted, how many, how many as published)."""
  return [
    f'{count} {name}; published: {published}'
    for name, count, published in counted
    if count != published
  ]


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
