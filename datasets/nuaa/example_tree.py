"""NUAA on disk: a part of its names, and lists of them."""

import pathlib
from collections.abc import Iterator

COUNTS = {
  'clips': 36,
  'live': 18,
  'subjects': 3,
  'split': {'train': 24, 'test': 12},
}
FIELDS = {
  'ImposterRaw/0002/0002_00_00_03_1': {
    'subject': '0002',
    'split': 'test',
    'label': 0,
    'attack_type': 'print',
    'session': '03',
  },
  # The same name as an imposter.
  'ClientRaw/0002/0002_00_00_03_1': {'label': 1, 'split': 'test'},
}
REFUSED = {
  'raw/ClientRaw/0001/0002_00_00_01_0.jpg': 'is in the folder 0001',
  'raw/ClientRaw/0001/0001.jpg': 'does not fit {ClientRaw,ImposterRaw}',
}
PROTOCOL_COUNTS = {'nuaa/official': ((12, 12), (12, 12), (6, 6))}
SMALL_PROTOCOL = 'nuaa/official'
TELLS_FACES = False
NUM_FRAMES = 1


def names() -> Iterator[str]:
  """Two pictures of each session of three subjects, live and printed."""
  for folder in ('ClientRaw', 'ImposterRaw'):
    for subject in ('0001', '0002', '0003'):
      for session in ('01', '02', '03'):
        for number in (0, 1):
          yield f'raw/{folder}/{subject}/{subject}_00_00_{session}_{number}.jpg'


def is_small(name: str) -> bool:
  return True


def write_lists(root: pathlib.Path) -> None:
  """Lists with the separators of Windows, as shipped."""
  for folder, word in (('ClientRaw', 'client'), ('ImposterRaw', 'imposter')):
    for split in ('train', 'test'):
      lines = [
        '\\'.join(name.split('/')[2:])
        for name in names()
        if f'/{folder}/' in name and ('_03_' in name) == (split == 'test')
      ]
      path = root / 'raw' / f'{word}_{split}_raw.txt'
      path.write_text('\r\n'.join(lines) + '\r\n', encoding='utf-8')
