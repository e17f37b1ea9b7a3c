"""Example-FAS on disk: its complete list of names, and what they tell."""

from collections.abc import Iterator

COUNTS = {
  'clips': 48,
  'live': 16,
  'subjects': 8,
  'split': {'train': 24, 'dev': 12, 'test': 12},
}
FIELDS = {
  'test/mask/07_attic': {
    'subject': '07',
    'label': 0,
    'attack_type': 'mask_rigid',
    'session': 'attic',
  }
}
REFUSED = {
  'train/live/07_hall.avi': 'subject 07 is not of train',
  'train/live/01_cellar.avi': 'does not fit',
}
PROTOCOL_COUNTS = {
  'example_fas/official': ((8, 16), (4, 8), (4, 8)),
  'example_fas/cross_room/hall': ((4, 8), (2, 4), (2, 4)),
}
SMALL_PROTOCOL = 'example_fas/official'
TELLS_FACES = True


def names() -> Iterator[str]:
  """All 48 videos."""
  for split, subjects in (('train', '1234'), ('dev', '56'), ('test', '78')):
    for kind in ('live', 'print', 'mask'):
      for subject in subjects:
        for room in ('hall', 'attic'):
          yield f'{split}/{kind}/0{subject}_{room}.avi'


def is_small(name: str) -> bool:
  """Two subjects that train, for a search, and one of each other split."""
  return any(f'/{subject}_' in name for subject in ('01', '02', '05', '07'))


def annotation(name: str, num_frames: int) -> tuple[str, str]:
  """The face, x and y from 8 to 40, in every frame."""
  faces = ', '.join(['[8, 8, 40, 40]'] * num_frames)
  return name.replace('.avi', '.json'), f'[{faces}]'
