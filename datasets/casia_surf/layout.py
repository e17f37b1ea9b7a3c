"""The names of CASIA-SURF, of which the colour frames are used.

`{Training,Val,Testing}/{real,fake}_part/SUBJECT/CLIP.rssdk/color/0015.jpg`; a
live clip is `real`. An attack's code, such as 04_en_b, says which parts of the
printed face are cut out (eyes, nose, mouth), and whether it is still or bent.
"""

import pathlib

from nasfas_datasets import listing

SPLITS = {'Training': 'train', 'Val': 'dev', 'Testing': 'test'}
ATTACKS = {
  'train': ('04_en_b', '05_enm_s', '06_enm_b'),
  'dev': ('01_e_s', '02_e_b', '03_en_s'),
  'test': ('01_e_s', '02_e_b', '03_en_s'),
}
# Clips, as published.
PUBLISHED = {'train': 1200, 'dev': 400, 'test': 2391}
GRAMMAR = (
  '{Training,Val,Testing}/{real,fake}_part/SUBJECT/CLIP.rssdk/color (CLIP real '
  'or the code of an attack of the split)'
)
INSTRUCTIONS = """
CASIA-SURF is available under an agreement:
https://sites.google.com/view/face-anti-spoofing-challenge
manual_dir, or Data in it, holds Training, Val and Testing as unpacked.
"""


def parse(root: pathlib.Path, name: str) -> dict[str, object]:
  """The fields of a clip from the path of its folder of colour frames."""
  del root
  found = listing.match(
    r'(?:Data/)?(Training|Val|Testing)/(real|fake)_part/(\w+)/(\w+)\.rssdk/color',
    name,
    GRAMMAR,
  )
  folder, part, subject, clip = found.groups()
  split, live = SPLITS[folder], part == 'real'
  allowed = ('real',) if live else ATTACKS[split]
  if clip not in allowed:
    raise listing.ClipError(
      f'{clip} in {folder}/{part}_part; allowed: {", ".join(allowed)}'
    )
  return {
    'clip_id': name.removeprefix('Data/').removesuffix('/color'),
    'subject': subject,
    'split': split,
    'label': int(live),
    'attack_type': 'live' if live else 'print_cut',
    'attack_detail': '' if live else clip,
  }


def list_clips(root: pathlib.Path) -> listing.Listing:
  """Lists the folder; see `listing`."""
  if (root / 'Data').is_dir():
    root = root / 'Data'
  listing.require_folders(root, SPLITS, INSTRUCTIONS)
  root = root.resolve()
  folders = [
    path
    for split in SPLITS
    for path in listing.folders(root, f'{split}/*_part/*/*/color')
  ]
  found = listing.make_listing(root, folders, lambda name: parse(root, name))
  listing.check_disjoint(found, 'casia_surf')
  found.notes = listing.unlike_published(found, PUBLISHED)
  return found
