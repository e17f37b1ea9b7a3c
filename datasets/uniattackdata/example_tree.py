"""UniAttackData on disk: a part of its names, and made-up lists.

The whole of its lists names some 50,000 pictures. Here are five subjects with
every group of attacks.
"""

import pathlib
from collections.abc import Iterator

_SUBJECTS = {
  'train': (('EA', '321'), ('CA', '183')),
  'dev': (('AF', '422'),),
  'test': (('EA', '579'), ('CA', '557')),
}
_RACES = {'AF': 'africa', 'CA': 'central-asia', 'EA': 'east-asia'}
# What a list writes for live, physical, adversarial and digital pictures.
_DETAILED, _BINARY = '0123', '0111'
COUNTS = {
  'clips': 35,
  'live': 10,
  'subjects': 5,
  'split': {'train': 14, 'dev': 7, 'test': 14},
}
FIELDS = {
  'Data/live/central-asia/CA-183/real.rssdk/color/0057': {
    'subject': 'CA-183',
    'split': 'train',
    'label': 1,
    'attack_type': 'live',
    'attack_detail': '',
    'session': 'CA',
    'lists': ('1.1/train 1.2/train 1.3/train 1/train 2.1/train 2.2/train'),
  },
  'Data/spoof/east-asia/EA-579/screen-rs/color/0012': {
    'label': 0,
    'attack_type': 'replay',
    'attack_detail': 'screen-rs',
    'lists': '1.1/test 1.2/test 1.3/test 1/test 2.1/test',
  },
  'Data/adv-attacks/ssah/ssah_africa-112x112/AF-422/0027': {
    'subject': 'AF-422',
    'split': 'dev',
    'attack_type': 'adversarial',
    'attack_detail': 'ssah',
    'lists': '1.1/dev 1.3/dev 1/dev 2.1/dev',
  },
  'Data/DaGAN/east-asia_faces/EA-321-To-AF-491/27': {
    'subject': 'EA-321',
    'attack_type': 'digital',
    'attack_detail': 'DaGAN',
    'session': 'EA',
  },
  'Data/OneShotTH/central-asia/CA-557-To-ref2/27': {
    'subject': 'CA-557',
    'attack_detail': 'OneShotTH',
  },
}
# A picture in no list is counted, not named.
REFUSED = {}
PROTOCOL_COUNTS = {
  'uniattackdata/1': ((4, 10), (2, 5), (4, 10)),
  'uniattackdata/1_1': ((4, 6), (2, 3), (4, 10)),
  'uniattackdata/2/1': ((4, 6), (2, 3), (4, 4)),
  'uniattackdata/2/2': ((4, 4), (2, 2), (4, 6)),
}
SMALL_PROTOCOL = 'uniattackdata/1'
TELLS_FACES = False
NUM_FRAMES = 1


def _pictures(race: str, number: str) -> Iterator[tuple[int, str]]:
  """(group, path) of a subject: two live ones, two physical, three others."""
  subject, folder = f'{race}-{number}', _RACES[race]
  for frame in ('0012', '0057'):
    yield 0, f'live/{folder}/{subject}/real.rssdk/color/{frame}.jpg'
  yield 1, f'spoof/{folder}/{subject}/cloth-indoor/color/0042.jpg'
  yield 1, f'spoof/{folder}/{subject}/screen-rs/color/0012.jpg'
  yield 2, f'adv-attacks/ssah/ssah_{folder}-112x112/{subject}/0027.jpg'
  yield 3, f'DaGAN/{folder}_faces/{subject}-To-AF-491/27.jpg'
  yield 3, f'OneShotTH/{folder}/{subject}-To-ref2/27.jpg'


def names() -> Iterator[str]:
  for subjects in _SUBJECTS.values():
    for subject in subjects:
      for _, name in _pictures(*subject):
        yield f'Data/{name}'


def is_small(name: str) -> bool:
  return True


def write_lists(root: pathlib.Path) -> None:
  """The lists, with the labels of each as they are published."""
  folder = root / 'protocol'
  folder.mkdir(exist_ok=True)
  attacks = {
    '1': ('123', '123'),
    '1.1': ('12', '123'),
    '1.2': ('13', '123'),
    '1.3': ('123', '123'),
    '2.1': ('23', '1'),
    '2.2': ('1', '23'),
  }
  for protocol, (trained, tested) in attacks.items():
    labels = _BINARY if protocol.startswith('1.') else _DETAILED
    for split, subjects in _SUBJECTS.items():
      kept = '0' + (tested if split == 'test' else trained)
      lines = [
        f'UniAttackData/Data/{name} {labels[group]}'
        for subject in subjects
        for group, name in _pictures(*subject)
        if str(group) in kept
      ]
      path = folder / f'UniAttackData@p{protocol}_image_{split}.txt'
      path.write_text('\n'.join(lines) + '\n', encoding='utf-8')
