"""CASIA-SURF on disk: a part of its names, and what they tell."""

from collections.abc import Iterator

_SUBJECTS = {
  'Training': ('CLKJ_AS0005', 'CLKJ_AS0011', 'CLKJ_AS0013'),
  'Val': ('CLKJ_BS1245', 'CLKJ_CS0013'),
  'Testing': ('CLKJ_CS0054', 'CLKJ_CS0055'),
}
_ATTACKS = {'Training': ('04_en_b', '05_enm_s', '06_enm_b')}
_OTHERS = ('01_e_s', '02_e_b', '03_en_s')
COUNTS = {
  'clips': 28,
  'live': 7,
  'subjects': 7,
  'split': {'train': 12, 'dev': 8, 'test': 8},
}
FIELDS = {
  'Val/fake_part/CLKJ_BS1245/02_e_b.rssdk': {
    'subject': 'CLKJ_BS1245',
    'split': 'dev',
    'label': 0,
    'attack_type': 'print_cut',
    'attack_detail': '02_e_b',
  }
}
REFUSED = {
  'Data/Val/fake_part/CLKJ_BS1245/06_enm_b.rssdk/color/0001.jpg': '06_enm_b in',
  'Data/Val/real_part/CLKJ_BS1245/01_e_s.rssdk/color/0001.jpg': 'allowed: real',
}
PROTOCOL_COUNTS = {'casia_surf/official': ((3, 9), (2, 6), (2, 6))}
SMALL_PROTOCOL = 'casia_surf/official'
TELLS_FACES = False
NUM_FRAMES = 2


def names() -> Iterator[str]:
  """Two frames of every clip of seven subjects; depth frames are not used."""
  for folder, subjects in _SUBJECTS.items():
    for subject in subjects:
      clips = [f'real_part/{subject}/real']
      clips += [
        f'fake_part/{subject}/{code}' for code in _ATTACKS.get(folder, _OTHERS)
      ]
      for clip in clips:
        for kind, frame in (('color', 15), ('color', 133), ('depth', 15)):
          yield f'Data/{folder}/{clip}.rssdk/{kind}/{frame:04d}.jpg'


def is_small(name: str) -> bool:
  return 'CLKJ_AS0013' not in name
