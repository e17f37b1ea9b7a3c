"""The names of CASIA-SURF 3DMask: `Real/<subject>/<c>.MOV`,
`Fake/<subject>/<decoration>/<c>.MOV`.

A subject is two numbers, such as 0927_016. Six conditions: 1 to 6 for masks;
1, 15, 16, 17, 22 and 23, in this order, for live clips.
"""

import pathlib

from nasfas_datasets import listing

FOLDER = 'CASIA_SURF_3DMask'
NUM_SUBJECTS = 48
CONDITIONS = dict(
  zip(('1', '15', '16', '17', '22', '23'), '123456', strict=True)
)
GRAMMAR = (
  'Real/<subject>/<c>.MOV (c 1, 15, 16, 17, 22 or 23) or '
  'Fake/<subject>/<d>/<c>.MOV (d 1-3, c 1-6)'
)
INSTRUCTIONS = """
CASIA-SURF 3DMask is available from CASIA under a signed agreement. manual_dir
is or contains CASIA_SURF_3DMask, with Real and Fake as shipped.
"""


def parse(root: pathlib.Path, name: str) -> dict[str, object]:
  """The fields of a clip from its path in the dataset."""
  del root
  found = listing.match(
    r'(?:Real/(\d+_\d+)/(\d+)|Fake/(\d+_\d+)/([123])/([1-6]))\.(?:MOV|mov|mp4)',
    name,
    GRAMMAR,
  )
  real, code, fake, decoration, condition = found.groups()
  live = real is not None
  if live and code not in CONDITIONS:
    raise listing.ClipError(
      f'condition {code} of a live clip; allowed: {", ".join(CONDITIONS)}'
    )
  return {
    'clip_id': name.rpartition('.')[0],
    'subject': real or fake,
    'split': 'test',
    'label': int(live),
    'attack_type': 'live' if live else 'mask_rigid',
    'attack_detail': decoration or '',
    'session': CONDITIONS[code] if live else condition,
    'medium': '' if live else f'decoration{decoration}',
  }


def list_clips(root: pathlib.Path) -> listing.Listing:
  """Lists the folder; see `listing`."""
  found = listing.list_folders(
    root / FOLDER if (root / FOLDER).is_dir() else root,
    ['Real', 'Fake'],
    ['.mov', '.mp4'],
    parse,
    instructions=INSTRUCTIONS,
  )
  # Subjects have no predictable names, so only clips of the subjects that exist
  # can be found missing.
  have = found.names()
  subjects = sorted({clip.subject for clip in found.clips})
  found.missing = [
    name
    for subject in subjects
    for name in (
      *(f'Real/{subject}/{code}' for code in CONDITIONS),
      *(f'Fake/{subject}/{d}/{c}' for d in (1, 2, 3) for c in range(1, 7)),
    )
    if name not in have
  ]
  if len(subjects) != NUM_SUBJECTS:
    found.notes.append(
      f'{len(subjects)} subjects; the dataset has {NUM_SUBJECTS}'
    )
  return found
