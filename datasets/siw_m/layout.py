"""The names of SiW-M and of its successor SiW-Mv2.

The stem of a name says what the clip shows, such as Live_12, Paper_3,
Mask_Half_7 or Makeup_Co_55. It does not identify the subject.
"""

import pathlib
import re
from collections.abc import Mapping

from nasfas_datasets import listing, text_files

# Prefix of the stem -> (attack type, the dataset's own code of its 13 types).
TYPES = {
  'Live': ('live', 'live'),
  'Paper': ('print', 'paper'),
  'Replay': ('replay', 'replay'),
  'Partial_Eye': ('partial_paper', 'partial_paper'),
  'Partial_Mouth': ('partial_paper', 'partial_paper'),
  'Partial_Paperglass': ('partial_paperglasses', 'paperglasses'),
  'Partial_Funnyeye': ('partial_funnyeye', 'funnyeye'),
  'Mask_Half': ('mask_half', 'half_mask'),
  'Mask_Silicone': ('mask_silicone', 'silicone'),
  'Mask_Trans': ('mask_transparent', 'transparent'),
  'Mask_Paper': ('mask_paper', 'paper_mask'),
  'Mask_Mann': ('mannequin', 'mannequin'),
  'Makeup_Co': ('makeup_cosmetic', 'cosmetic'),
  'Makeup_Im': ('makeup_impersonation', 'impersonation'),
  'Makeup_Ob': ('makeup_obfuscation', 'obfuscation'),
}
# The folders of the lists in SiW-Mv2's repository and in a copy of it.
LIST_FOLDERS = ('pro_3_text', 'source_SiW_Mv2/pro_3_text')
GRAMMAR = f'TYPE_N.mov with TYPE one of {", ".join(TYPES)}'
INSTRUCTIONS = """
SiW-M is no longer available. SiW-Mv2 is available under a signed agreement:
https://github.com/CHELSEA234/Multi-domain-learning-FAS
manual_dir holds Live and the folders of the attacks as shipped. Those of SiW-M
are Paper, Replay, Partial, Mask and Makeup. That of SiW-Mv2 is Spoof; add
pro_3_text from its repository, which has the lists of live clips.
"""


def parse(
  root: pathlib.Path, name: str, splits: Mapping[str, str] | None = None
) -> dict[str, object]:
  """The fields of a clip from its path in the dataset.

  Only live clips have a split, by folders (Live/Train, Live/Test) or lists.
  Attacks are 'train', and the leave-one-type-out protocols choose among them.

  Args:
    root: the folder of the dataset.
    name: path from the root.
    splits: see `read_live_lists`.
  """
  folder, _, file = name.rpartition('/')
  stem, _, suffix = file.rpartition('.')
  # Names such as Makeup_Co_55_noLive_546 have a tail.
  found = listing.match(
    r'([A-Za-z]+(?:_[A-Za-z]+)?)_(\d+)(_\w+)?', stem, GRAMMAR
  )
  prefix, number, _ = found.groups()
  if prefix not in TYPES or suffix.lower() not in ('mov', 'mp4'):
    raise listing.ClipError(f'the name does not fit {GRAMMAR}')
  attack_type, code = TYPES[prefix]
  live = attack_type == 'live'
  split = 'test' if live and folder.endswith('Test') else 'train'
  if live and splits:
    split = splits.get(stem, split)
  return {
    'clip_id': name.rpartition('.')[0],
    # Unknown: every clip counts as its own subject.
    'subject': f'{prefix}_{number}',
    'split': split,
    'label': int(live),
    'attack_type': attack_type,
    'attack_detail': code,
    'medium': '' if live else prefix,
    'boxes': listing.annotation(
      'corners', root, f'{name.rpartition(".")[0]}.face'
    ),
  }


def read_live_lists(root: pathlib.Path) -> dict[str, str]:
  """Stem -> split of the live clips, from the lists of SiW-Mv2 if they exist.

  Raises:
    ValueError: for a line that names no live clip, or a clip in both lists.
  """
  splits = {}
  for folder in LIST_FOLDERS:
    for split in ('train', 'test'):
      path = root / folder / f'{split}list_live.txt'
      if not path.is_file():
        continue
      text = text_files.read(path)
      for number, line in enumerate(text.splitlines(), 1):
        # The lists repeat names to balance the classes.
        stem = pathlib.PurePosixPath(line.strip()).name.removesuffix('.mov')
        if not stem:
          continue
        if not re.fullmatch(r'Live_\d+', stem):
          raise ValueError(f'{path}, line {number}: {line!r} is not Live_N.')
        if splits.setdefault(stem, split) != split:
          raise ValueError(f'{path}, line {number}: {stem} is in both lists.')
    if splits:
      return splits
  return splits


def list_clips(root: pathlib.Path) -> listing.Listing:
  """Lists the folder; see `listing`."""
  listing.require_folders(root, ['Live'], INSTRUCTIONS)
  root = root.resolve()
  splits = read_live_lists(root)
  found = listing.make_listing(
    root,
    listing.files(root, '.', ['.mov', '.mp4']),
    lambda name: parse(root, name, splits),
  )
  found.notes = [
    'subjects are not in the names: disjoint subjects cannot be checked'
  ]
  live = [clip for clip in found.clips if clip.label]
  if live and not any(clip.split == 'test' for clip in live):
    found.notes.append(
      'no live clip is for testing: neither Live/Test nor a list '
      f'{LIST_FOLDERS[0]}/testlist_live.txt is there'
    )
  return found
