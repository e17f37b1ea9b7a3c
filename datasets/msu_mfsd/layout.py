"""The names of MSU-MFSD.

`scene01/real/real_clientNNN_{android,laptop}_SD_scene01.{mp4,mov}` and
`scene01/attack/attack_clientNNN_{android,laptop}_SD_ATTACK_scene01.{mp4,mov}`.
The lists of subjects have two digits, the file names three.
"""

import pathlib
from collections.abc import Mapping

from nasfas_datasets import listing, text_files

# The lists of the public release, used if the files are missing.
SUBJECTS = {
  'train': '02 03 05 06 07 08 09 11 12 21 22 34 53 54 55',
  'test': ('01 13 14 23 24 26 28 29 30 32 33 35 36 37 39 42 48 49 50 51'),
}
ATTACKS = {
  'printed_photo': ('print', 'photo'),
  'ipad_video': ('replay', 'ipad'),
  'iphone_video': ('replay', 'iphone'),
}
# Live clips that are stored upside down without a rotation tag.
UPSIDE_DOWN = frozenset(
  f'real_client{number}_android_SD_scene01'
  for number in ('003', '005', '006', '007', '008', '009')
)
GRAMMAR = (
  'real_clientNNN_{android,laptop}_SD_scene01 or attack_clientNNN_'
  f'{{android,laptop}}_SD_{{{",".join(ATTACKS)}}}_scene01'
)
INSTRUCTIONS = """
MSU-MFSD is available under an agreement:
http://www.cse.msu.edu/rgroups/biometrics/Publications/Databases/MSUMobileFaceSpoofing/index.htm
manual_dir holds scene01 and the lists train_sub_list.txt and test_sub_list.txt
as shipped.
"""


def read_subjects(root: pathlib.Path) -> tuple[dict[str, str], list[str]]:
  """Reads the shipped lists of subjects.

  Returns:
    (subject -> split, differences from `SUBJECTS`).

  Raises:
    ValueError: for a line that is not a number, or a subject in both lists.
  """
  splits, notes = {}, []
  for split, numbers in SUBJECTS.items():
    path = root / f'{split}_sub_list.txt'
    known = {f'{int(number):03d}' for number in numbers.split()}
    listed = known
    if path.is_file():
      words = text_files.read(path).split()
      bad = [word for word in words if not word.isdecimal()]
      if bad:
        raise ValueError(f'{path}: {bad[0]!r} is not a subject number.')
      listed = {f'{int(word):03d}' for word in words}
      if listed != known:
        notes.append(
          f'{path.name} differs from the public release in '
          f'{listing.shorten(sorted(listed ^ known))}'
        )
    for subject in listed:
      if subject in splits:
        raise ValueError(f'MSU-MFSD: subject {subject} is in both lists.')
      splits[subject] = split
  return splits, notes


def parse(
  root: pathlib.Path, name: str, splits: Mapping[str, str] | None = None
) -> dict[str, object]:
  """The fields of a clip from its path in the dataset.

  Args:
    root: the folder of the dataset.
    name: path from the root.
    splits: see `read_subjects`; None reads the lists.
  """
  if splits is None:
    splits, _ = read_subjects(root)
  folder, _, file = name.rpartition('/')
  stem, _, suffix = file.rpartition('.')
  if folder == 'scene01/real':
    found = listing.match(
      r'real_client(\d{3})_(android|laptop)_SD_scene01', stem, GRAMMAR
    )
    subject, camera = found.groups()
    code, attack_type, medium = '', 'live', ''
  elif folder == 'scene01/attack':
    found = listing.match(
      rf'attack_client(\d{{3}})_(android|laptop)_SD_({"|".join(ATTACKS)})'
      r'_scene01',
      stem,
      GRAMMAR,
    )
    subject, camera, code = found.groups()
    attack_type, medium = ATTACKS[code]
  else:
    raise listing.ClipError('not in scene01/real or scene01/attack')
  if subject not in splits:
    raise listing.ClipError(f'subject {subject} is in no list of subjects')
  return {
    'clip_id': f'{folder}/{stem}',
    'subject': subject,
    'split': splits[subject],
    'label': int(attack_type == 'live'),
    'attack_type': attack_type,
    'attack_detail': code,
    'camera': camera,
    'medium': medium,
    'turn': 2 if stem in UPSIDE_DOWN else 0,
    'boxes': listing.annotation(
      'frame_corners', root, f'{folder}/{stem}.face', f'{folder}/{file}.face'
    ),
  }


def list_clips(root: pathlib.Path) -> listing.Listing:
  """Lists the folder; see `listing`."""
  listing.require_folders(
    root, ['scene01/real', 'scene01/attack'], INSTRUCTIONS
  )
  root = root.resolve()
  splits, notes = read_subjects(root)
  found = listing.make_listing(
    root,
    listing.files(root, 'scene01', ['.mp4', '.mov']),
    lambda name: parse(root, name, splits),
  )
  listing.check_disjoint(found, 'msu_mfsd')
  have = found.names()
  found.missing = [
    name
    for subject in sorted(splits)
    for camera in ('android', 'laptop')
    for name in (
      f'scene01/real/real_client{subject}_{camera}_SD_scene01',
      *(
        f'scene01/attack/attack_client{subject}_{camera}_SD_{code}_scene01'
        for code in ATTACKS
      ),
    )
    if name not in have
  ]
  found.notes = notes
  return found
