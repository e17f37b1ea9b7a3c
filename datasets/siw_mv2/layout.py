"""The names and lists of SiW-Mv2.

`Live/Live_N.mov` and `Spoof/FOLDER/TYPE_N.mov`. The stem of a name says what a
clip shows, such as Paper_3 or Mask_Half_7; it does not identify the subject.
The lists of the protocols, a stem a line, are in `pro_3_text`.
"""

import pathlib
import re
from collections.abc import Mapping

from nasfas_datasets import list_files, listing

# Prefix of the stem -> attack type. Live first, then the 14 types.
TYPES = {
  'Live': 'live',
  'Makeup_Co': 'makeup_cosmetic',
  'Makeup_Im': 'makeup_impersonation',
  'Makeup_Ob': 'makeup_obfuscation',
  'Mask_Half': 'mask_half',
  'Mask_Mann': 'mannequin',
  'Mask_Paper': 'mask_paper',
  'Mask_Silicone': 'mask_silicone',
  'Mask_Trans': 'mask_transparent',
  'Paper': 'print',
  'Partial_Eye': 'partial_paper',
  'Partial_Mouth': 'partial_paper',
  'Partial_Funnyeye': 'partial_funnyeye',
  'Partial_Paperglass': 'partial_paperglasses',
  'Replay': 'replay',
}
# The folder of the lists, as it is in the repository or copied out of it.
LIST_FOLDERS = ('pro_3_text', 'source_SiW_Mv2/pro_3_text')
# File -> the name of the list in the records, and whether its clips are live
# (None: both). The lists of protocol I must be there.
LISTS = {
  'trainlist_live': ('1/train', True),
  'trainlist_all': ('1/train', False),
  'testlist_live': ('1/test', True),
  'testlist_all': ('1/test', False),
  'train_A_pretrain': ('3/train', None),
  'test_A_pretrain': ('3/test_A', None),
  'test_B_spoof': ('3/test_B', None),
  'test_C_race': ('3/test_C', None),
  'test_D_age': ('3/test_D', None),
  'test_E_ill': ('3/test_E', None),
}
# Different names in the lists of protocol I, as published.
PUBLISHED = {
  'trainlist_live': 531,
  'trainlist_all': 533,
  'testlist_live': 265,
  'testlist_all': 362,
}
GRAMMAR = f'TYPE_N.mov with TYPE one of {", ".join(TYPES)}'
INSTRUCTIONS = """
SiW-Mv2 is available under a signed agreement:
https://github.com/CHELSEA234/Multi-domain-learning-FAS
manual_dir holds Live and Spoof as shipped, and pro_3_text, the lists from the
folder source_SiW_Mv2 of that repository.
"""


def type_of(stem: str) -> str:
  """The prefix of a stem, a key of `TYPES`.

  Raises:
    ClipError: for a stem that has none.
  """
  # One name has a tail: Makeup_Co_55_noLive_546.
  found = listing.match(
    r'([A-Za-z]+(?:_[A-Za-z]+)?)_\d+(?:_\w+)?', stem, GRAMMAR
  )
  if found.group(1) not in TYPES:
    raise listing.ClipError(f'the name does not fit {GRAMMAR}')
  return found.group(1)


def parse(
  root: pathlib.Path, name: str, lists: Mapping[str, set[str]] | None = None
) -> dict[str, object]:
  """The fields of a clip from its path in the dataset.

  Args:
    root: the folder of the dataset.
    name: path from the root.
    lists: see `read_lists`; None: there are none.

  Raises:
    ClipError: if the name does not fit, the folder contradicts it, or it is a
      live clip in no list.
  """
  folder, _, file = name.rpartition('/')
  stem, _, suffix = file.rpartition('.')
  kind = type_of(stem)
  if suffix.lower() not in ('mov', 'mp4'):
    raise listing.ClipError(f'the name does not fit {GRAMMAR}')
  attack_type = TYPES[kind]
  live = attack_type == 'live'
  if folder.partition('/')[0] != ('Live' if live else 'Spoof'):
    raise listing.ClipError(f'{kind} is not in the folder {folder}')
  listed = (lists or {}).get(stem, set())
  if live and not listed:
    raise listing.ClipError('in no list of pro_3_text')
  # An attack in no list does not train: protocol II tests it.
  trains = '1/train' in listed or (
    '3/train' in listed and '1/test' not in listed
  )
  return {
    'clip_id': name.rpartition('.')[0],
    # Unknown: every clip counts as its own subject.
    'subject': stem,
    'split': 'train' if trains else 'test',
    'label': int(live),
    'attack_type': attack_type,
    'attack_detail': '' if live else kind,
    'lists': list_files.join(listed),
    'boxes': listing.annotation(
      'corners', root, f'{name.rpartition(".")[0]}.face'
    ),
  }


def read_list(path: pathlib.Path, live: bool | None = None) -> set[str]:
  """The different stems of a list.

  Args:
    path: the list.
    live: whether all its clips are live, or all are attacks; None: mixed.

  Raises:
    ValueError: for a line that is no stem or has another label.
  """
  stems = set()
  for number, line in list_files.read_lines(path):
    stem = re.sub(r'\.(mov|mp4)$', '', line.rpartition('/')[2], flags=re.I)
    where = f'{path}, line {number}: {line[:80]!r}'
    try:
      kind = type_of(stem)
    except listing.ClipError as error:
      raise ValueError(f'{where}: {error}.') from error
    if live is not None and live != (kind == 'Live'):
      raise ValueError(
        f'{where} is not {"live" if live else "an attack"}, as its list says.'
      )
    # trainlist_all and train_A_pretrain repeat names to balance the classes.
    stems.add(stem)
  return stems


def read_lists(root: pathlib.Path) -> tuple[dict[str, set[str]], list[str]]:
  """Reads the lists of the protocols.

  Returns:
    (stem -> names of the lists that hold it, differences from the published
    lists).

  Raises:
    FileNotFoundError: if the lists of protocol I are missing.
    ValueError: for a line that is no stem or has another label than its list,
      or a clip that protocol I both trains and tests.
  """
  folders = [root / name for name in LIST_FOLDERS if (root / name).is_dir()]
  folder = folders[0] if folders else root / LIST_FOLDERS[0]
  lists, notes = {}, []
  for title, (name, live) in LISTS.items():
    path = folder / f'{title}.txt'
    if not path.is_file():
      if title in PUBLISHED:
        raise FileNotFoundError(
          f'{path} is missing. {" ".join(INSTRUCTIONS.split())}'
        )
      notes.append(f'{path.relative_to(root)} is missing')
      continue
    stems = read_list(path, live)
    for stem in sorted(stems):
      lists.setdefault(stem, set()).add(name)
      if {'1/train', '1/test'} <= lists[stem]:
        raise ValueError(f'{path}: {stem} is in a train list too.')
    if title in PUBLISHED and len(stems) != PUBLISHED[title]:
      notes.append(
        f'{path.relative_to(root)} names {len(stems)} clips; published: '
        f'{PUBLISHED[title]}'
      )
  return lists, notes


def list_clips(root: pathlib.Path) -> listing.Listing:
  """Lists the folder; see `listing`."""
  listing.require_folders(root, ['Live', 'Spoof'], INSTRUCTIONS)
  root = root.resolve()
  lists, notes = read_lists(root)
  found = listing.make_listing(
    root,
    [
      path
      for folder in ('Live', 'Spoof')
      for path in listing.files(root, folder, ['.mov', '.mp4'])
    ],
    lambda name: parse(root, name, lists),
  )
  here = {name.rpartition('/')[2] for name in found.names()}
  found.missing = sorted(lists.keys() - here)
  unlisted = [clip.subject for clip in found.clips if not clip.lists]
  if unlisted:
    notes.append(
      f'{len(unlisted)} attacks are in no list; they never train, and only the '
      f'protocol that leaves their type out tests them: {", ".join(unlisted)}'
    )
  found.notes = [
    'subjects are not in the names: disjoint subjects cannot be checked',
    *notes,
  ]
  return found
