"""CASIA-SURF HiFiMask on disk: a part of its names, and made-up lists.

The whole of it has 54,223 clips.
"""

import pathlib
from collections.abc import Iterator

_SUBJECTS = {'train': (1, 2), 'dev': (5,), 'test': (7, 8)}
COUNTS = {
  'clips': 40,
  'live': 10,
  'subjects': 5,
  'split': {'train': 16, 'dev': 8, 'test': 16},
}
FIELDS = {
  'Data/1_05_2_3_1_8': {
    'subject': '05',
    'split': 'dev',
    'label': 0,
    'attack_type': 'mask_rigid',
    'attack_detail': 'plaster',
    'session': 'tricolor',
    'camera': '8',
    'lists': '1/dev 2.1/dev 2.3/dev 3/dev',
  }
}
REFUSED = {
  'Data/1_05_2_3_1_7/0000.png': 'in no list of protocol 1',
  'Data/4_05_2_3_1_8/0000.png': 'does not fit Data/C_SS',
}
PROTOCOL_COUNTS = {
  'hifimask/1': ((4, 12), (2, 6), (4, 12)),
  'hifimask/2/2': ((4, 8), (2, 4), (4, 4)),
}
SMALL_PROTOCOL = 'hifimask/1'
TELLS_FACES = False
NUM_FRAMES = 2


def names() -> Iterator[str]:
  """Two frames of two clips of every kind of five subjects."""
  for subjects in _SUBJECTS.values():
    for subject in subjects:
      for kind in range(4):
        for sensor in (1, 8):
          for frame in (0, 1):
            clip = f'1_{subject:02d}_{kind}_3_1_{sensor}'
            yield f'Data/{clip}/{frame:04d}.png'


def is_small(name: str) -> bool:
  return '_8/' in name


def write_lists(root: pathlib.Path) -> None:
  """The lists of the clips that are there, a line a frame."""
  folder = root / 'protocol'
  folder.mkdir(exist_ok=True)
  here = {path.name for path in (root / 'Data').iterdir()}
  for protocol in ('1', '2.1', '2.2', '2.3', '3'):
    left_out = protocol.removeprefix('2.') if protocol[:2] == '2.' else ''
    for split, subjects in _SUBJECTS.items():
      lines = []
      for name in names():
        clip = name.split('/')[1]
        _, subject, kind, *_ = clip.split('_')
        if int(subject) not in subjects or clip not in here:
          continue
        if left_out and kind != '0' and (kind == left_out) != (split == 'test'):
          continue
        lines.append(f'CASIA_HiFiMask/{name} {int(kind != "0")}')
      path = folder / f'CASIA_HiFiMask@p{protocol}_image_{split}.txt'
      path.write_text('\n'.join(lines) + '\n', encoding='utf-8')
