"""The names and lists of UniAttackData, a dataset of pictures.

`Data/live/RACE/SUBJECT/CLIP/color/N.jpg`, `Data/spoof/...` likewise (cloth
prints and screens), `Data/adv-attacks/ALGORITHM/.../SUBJECT/N.jpg` and
`Data/ALGORITHM/RACE/SUBJECT-To-OTHER/N.jpg` (faces that were swapped or
driven). The lists `protocol/UniAttackData@pK_image_SPLIT.txt` have lines
`UniAttackData/Data/... LABEL`. What a picture is follows from its path, since
the lists write labels in more than one way, see `CONVENTIONS`.

A picture is a clip of one frame.
"""

import collections
import pathlib
import re
from collections.abc import Iterable, Mapping

from nasfas_datasets import list_files, listing
from nasfas_jax import records

# What a picture is, in the order of the detailed labels.
LIVE, PHYSICAL, ADVERSARIAL, DIGITAL = GROUPS = (
  'live',
  'physical',
  'adversarial',
  'digital',
)
# Label of each of `GROUPS`. The detailed labels are those of protocols 1, 2.1
# and 2.2. Protocols 1.1 to 1.3 have 0 for live, where their readme says 1.
CONVENTIONS = {
  'detailed': ('0', '1', '2', '3'),
  '0 is live': ('0', '1', '1', '1'),
  '1 is live': ('1', '0', '0', '0'),
}
DIGITAL_FOLDERS = (
  'DaGAN',
  'FaceDancer',
  'InsightFace',
  'OneShotTH',
  'SAFA',
  'simswap',
)
# By the first word of a clip's folder in `Data/spoof`.
SPOOFS = {'cloth': 'print', 'screen': 'replay'}
# Protocol -> split -> number of pictures of each of `GROUPS`, as published.
PUBLISHED = {
  '1': {
    'train': (3000, 1800, 1800, 1800),
    'dev': (1500, 900, 1800, 1800),
    'test': (4500, 2700, 7106, 7200),
  },
  '1.1': {
    'train': (3000, 1800, 1200, 0),
    'dev': (1500, 900, 300, 0),
    'test': (4500, 2700, 2606, 5425),
  },
  '1.2': {
    'train': (3000, 1800, 0, 1198),
    'dev': (1500, 900, 0, 300),
    'test': (4500, 2700, 5306, 2725),
  },
  '1.3': {
    'train': (3000, 1800, 600, 600),
    'dev': (1500, 900, 300, 300),
    'test': (4500, 2700, 3506, 3625),
  },
  '2.1': {
    'train': (3000, 0, 9000, 9000),
    'dev': (1500, 0, 1706, 1800),
    'test': (4500, 5400, 0, 0),
  },
  '2.2': {
    'train': (3000, 2700, 0, 0),
    'dev': (1500, 2700, 0, 0),
    'test': (4500, 0, 10706, 10800),
  },
}
SUFFIXES = ('.jpg', '.jpeg', '.png')
GRAMMAR = (
  'Data/{live,spoof}/RACE/SUBJECT/CLIP/color/N.jpg, '
  'Data/adv-attacks/ALGORITHM/.../SUBJECT/N.jpg or '
  'Data/ALGORITHM/RACE/SUBJECT-To-OTHER/N.jpg'
)
INSTRUCTIONS = """
UniAttackData is available under an agreement:
https://sites.google.com/view/face-anti-spoofing-challenge
manual_dir holds Data as unpacked, and protocol, with the lists of
github.com/liuajian/CASIA-FAS-Dataset.
"""
_SUBJECT, _FILE = r'((?:AF|CA|EA)-\d{3})', r'\w+\.(?:jpg|jpeg|png)'
_CAMERA = re.compile(
  rf'Data/(live|spoof)/[\w-]+/{_SUBJECT}/([\w.-]+)/color/{_FILE}'
)
_ADVERSARIAL = re.compile(
  rf'Data/adv-attacks/([\w-]+)/(?:[\w-]+/)*{_SUBJECT}/{_FILE}'
)
_DIGITAL = re.compile(
  rf'Data/({"|".join(DIGITAL_FOLDERS)})/[\w-]+/{_SUBJECT}-To-[\w-]+/{_FILE}'
)


def describe(name: str) -> tuple[str, dict[str, object]]:
  """What a path says: (which of `GROUPS`, fields of the clip).

  Raises:
    ClipError: if the name does not fit.
  """
  if found := _CAMERA.fullmatch(name):
    folder, subject, clip = found.groups()
    group, attack_type, detail = LIVE, 'live', ''
    if folder == 'spoof':
      kind = SPOOFS.get(re.split('[-_.]', clip)[0])
      if kind is None:
        raise listing.ClipError(
          f'the clip {clip!r} begins with none of {", ".join(SPOOFS)}'
        )
      group, attack_type, detail = PHYSICAL, kind, clip
  elif found := _ADVERSARIAL.fullmatch(name):
    group = attack_type = ADVERSARIAL
    detail, subject = found.groups()
  elif found := _DIGITAL.fullmatch(name):
    group = attack_type = DIGITAL
    detail, subject = found.groups()
  else:
    raise listing.ClipError(f'the name does not fit {GRAMMAR}')
  return group, {
    'subject': subject,
    'label': int(group == LIVE),
    'attack_type': attack_type,
    'attack_detail': detail,
    'session': subject[:2],
  }


def parse(
  root: pathlib.Path, name: str, lists: Mapping[str, set[str]] | None = None
) -> dict[str, object]:
  """The fields of a picture from its path.

  Args:
    root: the folder of the dataset.
    name: path from the root.
    lists: path -> names of the lists that hold the picture.

  Raises:
    ClipError: if the name does not fit, or no list has the picture.
  """
  del root
  _, fields = describe(name)
  listed = (lists or {}).get(name, set())
  # The same picture may train in one protocol and be tested in another.
  split = [
    split
    for protocol in PUBLISHED
    for split in records.SPLITS
    if f'{protocol}/{split}' in listed
  ]
  if not split:
    raise listing.ClipError('in no list protocol/UniAttackData@p*_image_*.txt')
  return {
    'clip_id': name.rpartition('.')[0],
    'split': split[0],
    'lists': list_files.join(listed),
    **fields,
  }


def read_list(path: pathlib.Path) -> list[tuple[str, str]]:
  """(path of the picture from the root, its group) of each line of a list.

  Raises:
    ValueError: for a line of another form, or labels that no one of
      `CONVENTIONS` gives to all the paths.
  """
  pictures, possible = [], set(CONVENTIONS)
  for number, line in list_files.read_lines(path):
    found = re.fullmatch(r'(?:.*/)?(Data/\S+)\s+([0-3])', line)
    where = f'{path}, line {number}: {line[:120]!r}'
    if found is None:
      raise ValueError(f'{where} is not PATH LABEL with a label from 0 to 3.')
    name, label = found.groups()
    try:
      group, _ = describe(name)
    except listing.ClipError as error:
      raise ValueError(f'{where}: {error}') from error
    fits = {
      convention
      for convention in possible
      if CONVENTIONS[convention][GROUPS.index(group)] == label
    }
    if not fits:
      raise ValueError(
        f'{where} has the label {label}, but its path is {group}; the lines '
        f'before have labels by {_named(possible)}.'
      )
    pictures.append((name, group))
    possible = fits
  return pictures


def _named(conventions: Iterable[str]) -> str:
  """Names of conventions with their labels."""
  return ' or '.join(
    f'{name!r} ('
    + ', '.join(
      f'{group} {label}'
      for group, label in zip(GROUPS, CONVENTIONS[name], strict=True)
    )
    + ')'
    for name in sorted(conventions)
  )


def _counted(counts: Iterable[int]) -> str:
  """Numbers of pictures of `GROUPS`, in words."""
  return ', '.join(
    f'{count} {group}' for group, count in zip(GROUPS, counts, strict=True)
  )


def read_lists(root: pathlib.Path) -> tuple[dict[str, set[str]], list[str]]:
  """(path -> names of the lists that hold it, notes).

  Raises:
    FileNotFoundError: if a list of protocol 1 is missing.
    ValueError: see `read_list`.
  """
  lists, notes = collections.defaultdict(set), []
  for protocol, published in PUBLISHED.items():
    subjects = {}
    for split in records.SPLITS:
      path = root / 'protocol' / f'UniAttackData@p{protocol}_image_{split}.txt'
      if not path.is_file():
        if protocol == '1':
          raise FileNotFoundError(
            f'{path} is missing. {" ".join(INSTRUCTIONS.split())}'
          )
        notes.append(f'protocol/{path.name} is missing')
        continue
      pictures = read_list(path)
      earlier = [f'{protocol}/{other}' for other in records.SPLITS]
      moved = 0
      for name in {name for name, _ in pictures}:
        # The sets that are judged stay the published ones.
        moved += not lists[name].isdisjoint(earlier)
        lists[name].difference_update(earlier)
        lists[name].add(f'{protocol}/{split}')
      if moved:
        notes.append(
          f'{moved} pictures of {path.name} are in an earlier split of '
          f'protocol {protocol} too, and left out there'
        )
      subjects[split] = {describe(name)[1]['subject'] for name, _ in pictures}
      counts = collections.Counter(group for _, group in pictures)
      have = tuple(counts[group] for group in GROUPS)
      if have != published[split]:
        notes.append(
          f'{path.name} names {_counted(have)} pictures; published: '
          f'{_counted(published[split])}'
        )
    shared = subjects.get('train', set()) & subjects.get('test', set())
    if shared:
      notes.append(
        f'protocol {protocol} tests pictures of {len(shared)} subjects that '
        'it trains on'
      )
  return lists, notes


def list_clips(root: pathlib.Path) -> listing.Listing:
  """Lists the folder; see `listing`.

  Raises:
    FileNotFoundError, ValueError: see `read_lists`.
  """
  listing.require_folders(root, ['Data', 'protocol'], INSTRUCTIONS)
  root = root.resolve()
  lists, notes = read_lists(root)
  unlisted, paths = 0, []
  for path in listing.files(root, 'Data', SUFFIXES):
    listed = path.relative_to(root).as_posix() in lists
    # A link to a folder that is not there has another suffix.
    if listed or not path.name.lower().endswith(SUFFIXES):
      paths.append(path)
    else:
      # The archive has every frame, the lists a few of each clip.
      unlisted += 1
  found = listing.make_listing(
    root, paths, lambda name: parse(root, name, lists)
  )
  here = {path.relative_to(root).as_posix() for path in paths}
  found.missing = sorted(
    name.rpartition('.')[0] for name in lists.keys() - here
  )
  found.notes = notes
  if unlisted:
    found.notes.append(f'{unlisted} pictures are in no list and left out')
  return found
