"""CASIA-SURF CeFA on disk: its names with one frame a clip.

1,500 subjects have 6,000 clips. Here are the first ones of each split, and a
few of the masks, whose complete list is not public.
"""

from collections.abc import Iterator

_RACES = {'AF': 1, 'CA': 2, 'EA': 3}
_SUBJECTS = (0, 1, 199, 200, 299, 300, 499)
COUNTS = {
  'clips': 84 + 3,
  'live': 21,
  'subjects': 21 + 2,
  'split': {'train': 36, 'dev': 24, 'test': 27},
}
FIELDS = {
  'Ethnicity/CA/CA-299/2_299_3_2_2': {
    'subject': 'CA-299',
    'split': 'dev',
    'label': 0,
    'attack_type': 'print',
    'attack_detail': 'cloth',
    'session': 'CA',
    'light': 'outdoor',
  },
  'Mask/Silicone-Mask/001/2_001_1_1_2_1_3': {
    'attack_type': 'mask_silicone',
    'split': 'test',
    'subject': 'Silicone-Mask-001',
  },
}
REFUSED = {
  'Ethnicity/CA/CA-299/1_299_3_2_2/color/0001.jpg': 'race or subject disagree',
  'Ethnicity/CA/CA-299/2_299_2_1_3/color/0001.jpg': 'does not fit Ethnicity',
  'Mask/3D-Mask/002/1_003_1_1_2_1_3/color/0001.jpg': 'is not of 3D-Mask/002',
}
# Of the published counts, by 3 in place of 200 training subjects a race and so
# on: live, and the attacks.
PROTOCOL_COUNTS = {
  'casia_cefa/1/AF': ((3, 9), (2, 6), (4, 12 + 3)),
  'casia_cefa/2/cloth': ((9, 18), (6, 12), (6, 6 + 3)),
  'casia_cefa/2/screen': ((9, 9), (6, 6), (6, 12 + 3)),
  'casia_cefa/4/EA': ((3, 3), (2, 2), (4, 8 + 3)),
}
SMALL_PROTOCOL = 'casia_cefa/2/cloth'
TELLS_FACES = False
NUM_FRAMES = 1


def names() -> Iterator[str]:
  """Seven subjects of each race, and three clips of masks."""
  for race, code in _RACES.items():
    for number in _SUBJECTS:
      for kind in ('1_1_1', '3_1_2', '3_2_2', '3_1_4'):
        clip = f'{race}-{number:03d}/{code}_{number:03d}_{kind}'
        yield f'Ethnicity/{race}/{clip}/color/0001.jpg'
  yield 'Mask/3D-Mask/002/1_002_1_1_2_1_3/color/0001.jpg'
  yield 'Mask/3D-Mask/002/1_002_0_1_1_2_4/color/0001.jpg'
  yield 'Mask/Silicone-Mask/001/2_001_1_1_2_1_3/color/0001.jpg'


def is_small(name: str) -> bool:
  return name.startswith('Ethnicity/AF') and any(
    f'AF-{number}' in name for number in ('000', '001', '200', '300')
  )
