"""The names of SiW: `{Train,Test}/{live,spoof}/SSS/SSS-c-t-m-s.mov`.

Subject, sensor (1 Canon EOS T6, 2 webcam), type (1 live, 2 print, 3 replay),
medium, session. Some live files of the test set end in `.m.mov`.
"""

import pathlib

from nasfas_datasets import listing

TYPES = {'1': 'live', '2': 'print', '3': 'replay'}
LIGHT = {'1': 'controlled', '2': 'adverse'}
# As published; public lists differ from it by a few clips.
NUM_CLIPS, NUM_SUBJECTS = 4478, 165
# SiW has no dev set; these ten training subjects are a common choice.
DEV_SUBJECTS = frozenset('003 006 007 011 014 016 017 022 028 030'.split())
GRAMMAR = (
  'SSS-sensor-type-medium-session.mov (three digits, 1-2, 1-3, 1-4, 1-2)'
)
INSTRUCTIONS = """
SiW is available under a signed agreement:
http://cvlab.cse.msu.edu/siw-spoof-in-the-wild-database.html
manual_dir holds Train and Test with live and spoof in each, videos and .face
files as shipped.
"""


def parse(root: pathlib.Path, name: str) -> dict[str, object]:
  """The fields of a clip from its path in the dataset."""
  parts = name.split('/')
  if len(parts) != 4 or parts[0] not in ('Train', 'Test'):
    raise listing.ClipError('not in {Train,Test}/{live,spoof}/SSS')
  found = listing.match(
    r'(\d{3})[-_]([12])[-_]([123])[-_]([1-4])[-_](\d)(\.m)?\.(mov|mp4)',
    parts[3],
    GRAMMAR,
  )
  subject, sensor, kind, medium, session = found.groups()[:5]
  attack_type = TYPES[kind]
  live = attack_type == 'live'
  if subject != parts[2]:
    raise listing.ClipError(f'subject {subject} in the folder {parts[2]}')
  if live != (parts[1] == 'live'):
    raise listing.ClipError(f'type {kind} ({attack_type}) in {parts[1]}')
  stem = name.rpartition('.')[0]
  split = 'test' if parts[0] == 'Test' else 'train'
  if split == 'train' and subject in DEV_SUBJECTS:
    split = 'dev'
  return {
    'clip_id': stem.removesuffix('.m'),
    'subject': subject,
    'split': split,
    'label': int(live),
    'attack_type': attack_type,
    'attack_detail': f'{kind}-{medium}',
    'session': session,
    'camera': sensor,
    'light': LIGHT.get(medium, '') if live else '',
    'medium': '' if live else f'{attack_type}{medium}',
    'boxes': listing.annotation(
      'corners', root, f'{stem}.face', f'{stem.removesuffix(".m")}.face'
    ),
  }


def list_clips(root: pathlib.Path) -> listing.Listing:
  """Lists the folder; see `listing`."""
  found = listing.list_folders(
    root,
    [f'{s}/{k}' for s in ('Train', 'Test') for k in ('live', 'spoof')],
    ['.mov', '.mp4'],
    parse,
    instructions=INSTRUCTIONS,
    disjoint='siw',
  )
  # No list says which clips there are, and not all subjects have all of them.
  subjects = {clip.subject for clip in found.clips}
  found.notes = listing.unlike_counts(
    [
      ('clips', len(found.clips), NUM_CLIPS),
      ('subjects', len(subjects), NUM_SUBJECTS),
    ]
  )
  return found
