"""CelebA-Spoof on disk: a small part of its names, and what they tell.

The whole of it has 561,575 pictures in lists of 100 megabytes. Here are two
subjects that train and two that are tested, with every kind of spoof.
"""

import json
import pathlib
from collections.abc import Iterator

COUNTS = {
  'clips': 52,
  'live': 12,
  'subjects': 4,
  'split': {'train': 26, 'test': 26},
}
FIELDS = {
  'Data/train/4980/spoof/000003': {
    'subject': '4980',
    'split': 'train',
    'label': 0,
    'attack_type': 'print',
    'attack_detail': 'a4',
    'session': 'outdoor',
    'light': 'dark',
    'lists': (
      'intra/train protocol2/high/train protocol2/low/train '
      'protocol2/middle/train'
    ),
  },
  'Data/test/6301/live/000011': {'label': 1, 'light': '', 'split': 'test'},
}
REFUSED = {
  'Data/train/4980/spoof/999999.jpg': 'in no list metas/',
  'Data/train/4980/real/000001.jpg': 'does not fit',
}
PROTOCOL_COUNTS = {
  'celeba_spoof/intra': ((6, 20), (6, 20), (6, 20)),
  'celeba_spoof/protocol1': ((6, 14), (6, 14), (6, 6)),
}
SMALL_PROTOCOL = 'celeba_spoof/intra'
TELLS_FACES = True
NUM_FRAMES = 1
_SUBJECTS = {'train': ('4980', '5001'), 'test': ('6301', '6302')}


def names() -> Iterator[str]:
  """The pictures: of each subject 3 live ones and every kind of spoof."""
  for split, subjects in _SUBJECTS.items():
    for subject in subjects:
      for kind in range(1, 11):
        yield f'Data/{split}/{subject}/spoof/{kind:06d}.jpg'
      for number in range(11, 14):
        yield f'Data/{split}/{subject}/live/{number:06d}.jpg'


def is_small(name: str) -> bool:
  return True


def annotation(name: str, num_frames: int) -> tuple[str, str]:
  """The face in a picture of 224 x 224 pixels, from one of 96 x 64."""
  del num_frames
  return name.replace('.jpg', '_BB.txt'), '19 28 74 112 0.9997\n'


def write_lists(root: pathlib.Path) -> None:
  """The lists, with made-up attributes.

  `protocol1` tests the kinds that it does not train. The three qualities of
  `protocol2` have the same pictures here.
  """
  crossed = (3, 4, 7)

  def labels(name: str) -> list[int]:
    kind = int(name[-10:-4]) % 11 if '/spoof/' in name else 0
    tail = [kind, kind % 4 + 1, kind % 2 + 1, 1] if kind else [0] * 4
    return [*[0] * 40, *tail]

  for split in _SUBJECTS:
    chosen = {
      name: labels(name) for name in names() if name.startswith(f'Data/{split}')
    }
    folders = {
      'intra_test': chosen,
      'protocol1': {
        name: numbers
        for name, numbers in chosen.items()
        if not numbers[40] or (numbers[40] in crossed) == (split == 'test')
      },
      **{
        f'protocol2/test_on_{quality}_quality_device': chosen
        for quality in ('high', 'middle', 'low')
      },
    }
    for folder, found in folders.items():
      path = root / 'metas' / folder / f'{split}_label.json'
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_text(json.dumps(found), encoding='utf-8')
