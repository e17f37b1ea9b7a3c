"""The names of SiW-M and of its successor SiW-Mv2.

What a clip shows is told by the stem of its name alone, such as Live_12,
Paper_3, Mask_Half_7, Makeup_Co_55. Subjects are not in the names.
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
GRAMMAR = f'TYPE_N.mov with TYPE one of {", ".join(TYPES)}'
INSTRUCTIONS = """
SiW-M is no longer given out; SiW-Mv2 is, by a signed agreement, see
https://github.com/CHELSEA234/Multi-domain-learning-FAS. manual_dir holds Live
and the folders of the attacks (SiW-M: Paper, Replay, Partial, Mask, Makeup;
SiW-Mv2: Spoof) as shipped.
"""


def parse(root: pathlib.Path, name: str) -> dict[str, object]:
  """The fields of a clip from its path in the dataset.

  SiW-M has a split of its live clips only (Live/Train, Live/Test); attacks are
  'train' here and the leave-one-type-out protocols choose among them.
  """
  folder, _, file = name.rpartition('/')
  stem, _, suffix = file.rpartition('.')
  # Makeup_Co_55_noLive_546 has a tail of its own.
  found = listing.match(
    r'([A-Za-z]+(?:_[A-Za-z]+)?)_(\d+)(_\w+)?', stem, GRAMMAR
  )
  prefix, number, _ = found.groups()
  if prefix not in TYPES or suffix.lower() not in ('mov', 'mp4'):
    raise listing.ClipError(f'the name does not fit {GRAMMAR}')
  attack_type, code = TYPES[prefix]
  live = attack_type == 'live'
  return {
    'clip_id': name.rpartition('.')[0],
    # Not known: every clip counts as a subject of its own.
    'subject': f'{prefix}_{number}',
    'split': 'test' if live and folder.endswith('Test') else 'train',
    'label': int(live),
    'attack_type': attack_type,
    'attack_detail': code,
    'medium': '' if live else prefix,
    'boxes': listing.annotation(
      'corners', root, f'{name.rpartition(".")[0]}.face'
    ),
  }


def list_clips(root: pathlib.Path) -> listing.Listing:
  """Lists the folder; see `oulu_npu.layout.list_clips`."""
  listing.require_folders(root, ['Live'], INSTRUCTIONS)
  root = root.resolve()
  found = listing.make_listing(
    root,
    listing.files(root, '.', ['.mov', '.mp4']),
    lambda name: parse(root, name),
  )
  found.notes = [
    'subjects are not in the names: disjoint subjects cannot be checked'
  ]
  return found
