"""The names of HKBU-MARs V2: `{real,attack}/SS/CC_LL_SS.avi`.

Camera 01 to 07, lighting 01 to 06, subject 01 to 12. The subject is taken from
the folder, since the files in attack/09 write it with one digit.
"""

import pathlib

from nasfas_datasets import listing

FOLDER = 'HKBU_MARs_V2'
NUM_SUBJECTS, NUM_CAMERAS, NUM_LIGHTS = 12, 7, 6
# Quarter turns clockwise that make the clips of a camera upright.
TURNS = {'04': 1, '05': 3, '06': 3}
GRAMMAR = (
  '{real,attack}/SS/CC_LL_SS.avi (subject 01-12, camera 01-07, light 01-06)'
)
INSTRUCTIONS = """
HKBU-MARs V2 is available under an agreement: http://rds.comp.hkbu.edu.hk/mars/
manual_dir is or contains HKBU_MARs_V2, with real and attack as shipped.
"""


def parse(root: pathlib.Path, name: str) -> dict[str, object]:
  """The fields of a clip from its path in the dataset."""
  del root
  found = listing.match(
    r'(real|attack)/(0[1-9]|1[0-2])/(0[1-7])_(0[1-6])_(\d{1,2})\.avi',
    name,
    GRAMMAR,
  )
  folder, subject, camera, light, number = found.groups()
  if int(number) != int(subject):
    raise listing.ClipError(f'subject {number} in the folder {subject}')
  live = folder == 'real'
  return {
    'clip_id': f'{folder}/{subject}/{camera}_{light}_{subject}',
    'subject': subject,
    # There is no official split: the whole dataset is for testing.
    'split': 'test',
    'label': int(live),
    'attack_type': 'live' if live else 'mask_rigid',
    'attack_detail': '' if live else 'mask',
    'camera': camera,
    'light': light,
    'turn': TURNS.get(camera, 0),
  }


def list_clips(root: pathlib.Path) -> listing.Listing:
  """Lists the folder; see `listing`."""
  return listing.list_folders(
    root / FOLDER if (root / FOLDER).is_dir() else root,
    ['real', 'attack'],
    ['.avi'],
    parse,
    instructions=INSTRUCTIONS,
    expected=[
      f'{folder}/{subject:02d}/{camera:02d}_{light:02d}_{subject:02d}'
      for folder in ('real', 'attack')
      for subject in range(1, NUM_SUBJECTS + 1)
      for camera in range(1, NUM_CAMERAS + 1)
      for light in range(1, NUM_LIGHTS + 1)
    ],
  )
