"""The names and lists of CelebA-Spoof, a dataset of pictures.

`Data/{train,test}/SUBJECT/{live,spoof}/ID.{jpg,png}`, and beside a picture its
face in `ID_BB.txt`. The lists `metas/PROTOCOL/{train,test}_label.json` map the
path of a picture to 44 numbers: 40 attributes of the face, then the kind of
spoof, the light, the environment and the label, which is 0 for live.

A picture is a clip of one frame.
"""

import collections
import pathlib
import re
from collections.abc import Mapping, Sequence

import numpy as np

from nasfas_datasets import list_files, listing

# By the number in the label vector: (attack type, the dataset's own word).
KINDS = (
  ('live', ''),
  ('print', 'photo'),
  ('print', 'poster'),
  ('print', 'a4'),
  ('mask_paper', 'face_mask'),
  ('print_cut', 'upper_body_mask'),
  ('print_cut', 'region_mask'),
  ('replay', 'pc'),
  ('replay', 'pad'),
  ('replay', 'phone'),
  ('mask_rigid', '3d_mask'),
)
# Live pictures, which come from CelebA, have neither light nor environment.
LIGHTS = ('', 'normal', 'strong', 'back', 'dark')
ENVIRONMENTS = ('', 'indoor', 'outdoor')
NUM_LABELS = 44
KIND, LIGHT, ENVIRONMENT, LABEL = 40, 41, 42, 43
SPLITS = ('train', 'test')
SUFFIXES = ('.jpg', '.jpeg', '.png')
# The name of a list in the records -> its folder in `metas`.
LISTS = {
  'intra': 'intra_test',
  'protocol1': 'protocol1',
  **{
    f'protocol2/{quality}': f'protocol2/test_on_{quality}_quality_device'
    for quality in ('high', 'middle', 'low')
  },
}
# Pictures of the lists of `intra_test`, as downloaded: (live, spoof) by label.
PUBLISHED = {'train': (162462, 331943), 'test': (19923, 47247)}
# Boxes are in pixels of the picture scaled to this size.
BOX_FRAME = (224, 224)
GRAMMAR = 'Data/{train,test}/SUBJECT/{live,spoof}/ID.jpg (or .png)'
INSTRUCTIONS = """
CelebA-Spoof is free for research that is not commercial:
https://github.com/ZhangYuanhan-AI/CelebA-Spoof
manual_dir holds the folders Data and metas as unpacked.
"""


def read_box(path: pathlib.Path) -> np.ndarray:
  """The face of a picture: float64 [1, 4], x0, y0, x1, y1 in `BOX_FRAME`.

  The first line is `x y width height score`.

  Raises:
    ClipError: if there is no such line, or the box is empty.
  """
  try:
    lines = list_files.read_lines(path)
    values = [float(word) for word in lines[0][1].split()[:4]]
    x, y, width, height = values
  except (ValueError, IndexError) as error:
    raise listing.ClipError(
      f'{path.name} does not begin with `x y width height`'
    ) from error
  # A part of the box may be outside of the picture, as x and y below 0 are.
  if not (np.all(np.isfinite(values)) and width > 0 and height > 0):
    raise listing.ClipError(f'{path.name}: the box {values} is empty')
  if min(x + width, y + height) <= 0 or max(x, y) >= BOX_FRAME[0]:
    raise listing.ClipError(f'{path.name}: the box {values} is outside')
  return np.array([[x, y, x + width, y + height]])


def read_labels(path: pathlib.Path) -> dict[str, Sequence[int]]:
  """Path of a picture from the root -> its 44 numbers.

  Raises:
    ValueError: for a list that is not of this form; names file and picture.
  """
  found = list_files.read_object(path)
  for name, numbers in found.items():
    if (
      not isinstance(numbers, list)
      or len(numbers) != NUM_LABELS
      or not all(type(number) is int for number in numbers)
    ):
      raise ValueError(
        f'{path}: {name[:80]!r} does not have {NUM_LABELS} integers.'
      )
    kind, light, place, label = numbers[KIND:]
    if not (
      0 <= kind < len(KINDS)
      and 0 <= light < len(LIGHTS)
      and 0 <= place < len(ENVIRONMENTS)
      and label in (0, 1)
    ):
      raise ValueError(
        f'{path}: {name[:80]!r} ends in {numbers[KIND:]}; allowed: kind 0 to '
        f'{len(KINDS) - 1}, light 0 to {len(LIGHTS) - 1}, environment 0 to '
        f'{len(ENVIRONMENTS) - 1}, label 0 or 1.'
      )
  return found


def parse(
  root: pathlib.Path,
  name: str,
  labels: Mapping[str, Sequence[int]] | None = None,
  lists: Mapping[str, set[str]] | None = None,
  shared: frozenset[str] = frozenset(),
) -> dict[str, object]:
  """The fields of a picture from its path and its numbers.

  Args:
    root: the folder of the dataset.
    name: path from the root.
    labels: path -> numbers of its split's list; None: as without any picture.
    lists: path -> names of the lists that hold the picture.
    shared: subjects in both splits.

  Raises:
    ClipError: if the name does not fit, the picture is in no list, path and
      numbers disagree, or its subject is tested too.
  """
  found = listing.match(
    r'Data/(train|test)/(\w+)/(live|spoof)/\w+\.(?:jpg|jpeg|png)',
    name,
    GRAMMAR,
  )
  split, subject, folder = found.groups()
  numbers = (labels or {}).get(name)
  if numbers is None:
    raise listing.ClipError(f'in no list metas/*/{split}_label.json')
  kind, light, place, label = numbers[KIND:]
  live = folder == 'live'
  if live != (label == 0) or live != (kind == 0):
    raise listing.ClipError(
      f'in the folder {folder}, but the list says label {label} and kind {kind}'
    )
  if split == 'train' and subject in shared:
    raise listing.ClipError(f'the subject {subject} is tested too')
  attack_type, detail = KINDS[kind]
  stem = name.rpartition('.')[0]
  return {
    'clip_id': stem,
    'subject': subject,
    'split': split,
    'label': int(live),
    'attack_type': attack_type,
    'attack_detail': detail,
    'session': ENVIRONMENTS[place],
    'light': LIGHTS[light],
    'lists': list_files.join((lists or {}).get(name, ())),
    'boxes': listing.annotation(
      read_box, root, f'{stem}_BB.txt', size=BOX_FRAME
    ),
  }


def list_clips(root: pathlib.Path) -> listing.Listing:
  """Lists the folder; see `listing`.

  Raises:
    FileNotFoundError: if a folder or a list of `metas/intra_test` is missing.
    ValueError: if a list is not as described, or two lists disagree.
  """
  listing.require_folders(
    root, ['Data/train', 'Data/test', 'metas/intra_test'], INSTRUCTIONS
  )
  root = root.resolve()
  labels, lists, notes = _read_lists(root)
  subjects = {split: set() for split in SPLITS}
  for name in labels:
    _, split, subject, _ = name.split('/', 3)
    subjects[split].add(subject)
  shared = frozenset(subjects['train'] & subjects['test'])
  found = listing.make_listing(
    root,
    [
      path
      for split in SPLITS
      for path in listing.files(root, f'Data/{split}', SUFFIXES)
    ],
    lambda name: parse(root, name, labels, lists, shared),
  )
  listing.check_disjoint(found, 'celeba_spoof')
  here = {clip.path.relative_to(root).as_posix() for clip in found.clips}
  here.update(name for name, _ in found.skipped)
  missing = {name.rpartition('.')[0] for name in labels.keys() - here}
  found.missing = sorted(missing - found.names())
  found.notes = notes
  if shared:
    found.notes.append(
      f'the subjects {listing.shorten(sorted(shared))} are in both splits; '
      'their pictures in train are left out'
    )
  reasons = collections.Counter(
    re.sub(r'\d+', 'N', reason) for _, reason in found.skipped
  )
  for reason, count in sorted(reasons.items()):
    found.notes.append(f'{count} pictures left out: {reason}')
  return found


def _read_lists(root: pathlib.Path):
  """(path -> numbers, path -> lists that hold it, notes) of all lists."""
  labels, lists, notes = {}, collections.defaultdict(set), []
  for title, folder in LISTS.items():
    for split in SPLITS:
      path = root / 'metas' / folder / f'{split}_label.json'
      if not path.is_file():
        if title == 'intra':
          raise FileNotFoundError(
            f'{path} is missing. {" ".join(INSTRUCTIONS.split())}'
          )
        notes.append(f'{path.relative_to(root)} is missing')
        continue
      for name, numbers in read_labels(path).items():
        if not re.fullmatch(r'Data/(train|test)/[^/]+/[^/]+/[^/]+', name):
          raise ValueError(f'{path}: {name[:80]!r} is not {GRAMMAR}.')
        if labels.setdefault(name, numbers)[KIND:] != numbers[KIND:]:
          raise ValueError(
            f'{path}: {name!r} has other labels than in another list.'
          )
        if title == 'intra' and name.split('/')[1] != split:
          raise ValueError(f'{path}: {name!r} is not in Data/{split}.')
        lists[name].add(f'{title}/{split}')
      if title == 'intra':
        notes += _check_count(path.relative_to(root), split, labels)
  return labels, lists, notes


def _check_count(path, split: str, labels) -> list[str]:
  """A note of how a list of `intra_test` differs from the published one."""
  spoofs = [
    numbers[LABEL]
    for name, numbers in labels.items()
    if name.split('/')[1] == split
  ]
  have = (spoofs.count(0), spoofs.count(1))
  if have == PUBLISHED[split]:
    return []
  return [
    f'{path} names {have[0]} live and {have[1]} spoof pictures; published: '
    f'{PUBLISHED[split][0]} and {PUBLISHED[split][1]}'
  ]
