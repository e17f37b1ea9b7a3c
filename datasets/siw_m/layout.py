"""The names of SiW-M.

The stem of a name says what the clip shows, such as Live_12, Paper_3,
Mask_Half_7 or Makeup_Co_55. It does not identify the subject.
"""

import pathlib

from nasfas_datasets import listing

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
# Live clips and attacks, as published; public lists differ by a few.
PUBLISHED = {'live clips': 660, 'attacks': 968}
# The folders of the lists of SiW-Mv2, which is a dataset of its own.
LIST_FOLDERS = ('pro_3_text', 'source_SiW_Mv2/pro_3_text')
GRAMMAR = f'TYPE_N.mov with TYPE one of {", ".join(TYPES)}'
INSTRUCTIONS = """
SiW-M is no longer available; its successor SiW-Mv2 is, as the dataset siw_mv2.
manual_dir holds Live, Paper, Replay, Partial, Mask and Makeup as shipped.
"""


def parse(root: pathlib.Path, name: str) -> dict[str, object]:
  """The fields of a clip from its path in the dataset.

  Only live clips have a split, by folders (Live/Train, Live/Test). Attacks are
  'train', and the leave-one-type-out protocols choose among them.
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


def list_clips(root: pathlib.Path) -> listing.Listing:
  """Lists the folder; see `listing`.

  Raises:
    ValueError: if it is that of SiW-Mv2.
  """
  listing.require_folders(root, ['Live'], INSTRUCTIONS)
  root = root.resolve()
  for folder in (*LIST_FOLDERS, 'Spoof'):
    if (root / folder).is_dir():
      raise ValueError(
        f'{root} is SiW-Mv2, as its folder {folder} says: prepare it with '
        '--dataset=siw_mv2.'
      )
  found = listing.make_listing(
    root,
    listing.files(root, '.', ['.mov', '.mp4']),
    lambda name: parse(root, name),
  )
  found.notes = [
    'subjects are not in the names: disjoint subjects cannot be checked'
  ]
  live = [clip for clip in found.clips if clip.label]
  counts = len(live), len(found.clips) - len(live)
  found.notes += listing.unlike_counts(
    (name, have, count)
    for have, (name, count) in zip(counts, PUBLISHED.items(), strict=True)
  )
  if live and not any(clip.split == 'test' for clip in live):
    found.notes.append('no live clip is for testing: Live/Test is not there')
  return found
