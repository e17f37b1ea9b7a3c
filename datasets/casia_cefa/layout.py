"""The names of CASIA-SURF CeFA, of which the colour frames are used.

`Ethnicity/RACE/RACE-III/R_III_D_S_P/color/0001.jpg`: R the race (1 AF, 2 CA, 3
EA), D the device, S the session, P what is shown (1 live, 2 cloth print, 4
screen). `Mask/{3D-Mask,Silicone-Mask}/III/K_III_.../color/0001.jpg`.
"""

import pathlib

from nasfas_datasets import listing

RACES = {'AF': '1', 'CA': '2', 'EA': '3'}
# (device, session, what is shown) -> (attack type, the word for it, session).
KINDS = {
  ('1', '1', '1'): ('live', '', 'indoor'),
  ('3', '1', '2'): ('print', 'cloth', 'indoor'),
  ('3', '2', '2'): ('print', 'cloth', 'outdoor'),
  ('3', '1', '4'): ('replay', 'screen', 'indoor'),
}
MASKS = {
  '3D-Mask': ('1', 'mask_rigid', '3d_mask'),
  'Silicone-Mask': ('2', 'mask_silicone', 'silicone_mask'),
}
# Clips of masks, as published.
PUBLISHED_MASKS = {'3d_mask': 1079, 'silicone_mask': 44}
NUM_SUBJECTS = 500
GRAMMAR = (
  'Ethnicity/RACE/RACE-III/R_III_D_S_P/color (D_S_P 1_1_1, 3_1_2, 3_2_2 or '
  '3_1_4) or Mask/{3D-Mask,Silicone-Mask}/III/.../color'
)
INSTRUCTIONS = """
CASIA-SURF CeFA is available under an agreement:
https://sites.google.com/view/face-anti-spoofing-challenge
manual_dir holds Ethnicity and Mask as unpacked.
"""


def split_of(number: int) -> str:
  """The split of a subject of any race, 0 to 499."""
  if number < 200:
    return 'train'
  return 'dev' if number < 300 else 'test'


def parse(root: pathlib.Path, name: str) -> dict[str, object]:
  """The fields of a clip from the path of its folder of colour frames."""
  del root
  clip_id = name.removesuffix('/color')
  if name.startswith('Mask/'):
    found = listing.match(
      r'Mask/(3D-Mask|Silicone-Mask)/(\d{3})/([12])_(\d{3})_([01])_([01])_([12])'
      r'_([12])_([1-4])/color',
      name,
      GRAMMAR,
    )
    folder, subject, kind, other, dressed, glasses, *rest = found.groups()
    code, attack_type, detail = MASKS[folder]
    if subject != other or kind != code:
      raise listing.ClipError(f'{clip_id} is not of {folder}/{subject}')
    camera, session, light = rest
    return {
      'clip_id': clip_id,
      'subject': f'{folder}-{subject}',
      'split': 'test',
      'label': 0,
      'attack_type': attack_type,
      'attack_detail': detail,
      'camera': f'mask{camera}',
      'light': ('indoor', 'outdoor')[int(session) - 1] + light,
      'medium': f'dressed{dressed}_glasses{glasses}',
    }
  found = listing.match(
    r'Ethnicity/(AF|CA|EA)/(AF|CA|EA)-(\d{3})(?:-\w+)?/([123])_(\d{3})_'
    r'(\d)_(\d)_(\d)/color',
    name,
    GRAMMAR,
  )
  folder, race, subject, number, other, *code = found.groups()
  if folder != race or RACES[race] != number or subject != other:
    raise listing.ClipError(f'{clip_id}: race or subject disagree')
  if tuple(code) not in KINDS or int(subject) >= NUM_SUBJECTS:
    raise listing.ClipError(f'the name does not fit {GRAMMAR}')
  attack_type, detail, light = KINDS[tuple(code)]
  return {
    'clip_id': clip_id,
    'subject': f'{race}-{subject}',
    'split': split_of(int(subject)),
    'label': int(attack_type == 'live'),
    'attack_type': attack_type,
    'attack_detail': detail,
    'session': race,
    'camera': code[0],
    'light': light,
  }


def list_clips(root: pathlib.Path) -> listing.Listing:
  """Lists the folder; see `listing`."""
  listing.require_folders(root, ['Ethnicity'], INSTRUCTIONS)
  root = root.resolve()
  folders = [
    path
    for pattern in ('Ethnicity/*/*/*/color', 'Mask/*/*/*/color')
    for path in listing.folders(root, pattern)
  ]
  found = listing.make_listing(root, folders, lambda name: parse(root, name))
  listing.check_disjoint(found, 'casia_cefa')
  fields = [parse(root, f'{name}/color') for name in found.names()]
  have = {(f['subject'], f['attack_detail'], f['light']) for f in fields}
  # Subjects that have no clip at all are counted, not named.
  subjects = sorted({c.subject for c in found.clips if c.session})
  found.missing = [
    f'{subject}: {detail or "live"} {light}'
    for subject in subjects
    for _, detail, light in KINDS.values()
    if (subject, detail, light) not in have
  ]
  total = NUM_SUBJECTS * len(RACES)
  if len(subjects) != total:
    found.notes.append(f'{len(subjects)} subjects; published: {total}')
  for kind, count in PUBLISHED_MASKS.items():
    have = sum(clip.attack_detail == kind for clip in found.clips)
    if have != count:
      found.notes.append(f'{have} clips of {kind}; published: {count}')
  return found
