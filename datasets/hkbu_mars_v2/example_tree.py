"""HKBU-MARs V2 on disk: its complete list of names, and what they tell."""

from collections.abc import Iterator

COUNTS = {
  'clips': 1008,
  'live': 504,
  'subjects': 12,
  'split': {'test': 1008},
}
FIELDS = {
  # attack/09 is written with one digit.
  'attack/09/05_06_09': {'subject': '09', 'turn': 3, 'label': 0},
  'real/01/04_01_01': {'turn': 1},
}
REFUSED = {'HKBU_MARs_V2/real/02/01_01_03.avi': 'subject 03 in'}
PROTOCOL_COUNTS = {}
SMALL_PROTOCOL = 'cross/oulu+siw-hkbu'
TELLS_FACES = False


def names() -> Iterator[str]:
  """All 1,008 videos."""
  for folder in ('real', 'attack'):
    for subject in range(1, 13):
      # attack/09 writes its subject with one digit.
      number = '9' if (folder, subject) == ('attack', 9) else f'{subject:02d}'
      for camera in range(1, 8):
        for light in range(1, 7):
          yield (
            f'HKBU_MARs_V2/{folder}/{subject:02d}/{camera:02d}_{light:02d}_'
            f'{number}.avi'
          )


def is_small(name: str) -> bool:
  return '/01/' in name or '/09/' in name
