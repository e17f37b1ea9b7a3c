"""OULU-NPU on disk: its complete list of names, and what they tell."""

from collections.abc import Iterator

from nasfas_datasets.oulu_npu import layout

COUNTS = {
  'clips': 4950,
  'live': 990,
  'subjects': 55,
  'split': {'train': 1800, 'dev': 1350, 'test': 1800},
}
FIELDS = {
  'Dev_files/6_3_21_5': {
    'subject': '21',
    'split': 'dev',
    'attack_type': 'replay',
    'session': '3',
    'camera': '6',
    'light': 'adverse',
    'medium': 'display2',
  }
}
REFUSED = {
  'Train_files/7_1_01_1.avi': 'does not fit P_S_UU_F.avi',
  'Train_files/1_1_21_1.avi': 'user 21 is not of Train_files',
}
PROTOCOL_COUNTS = {
  'oulu_npu/1': ((240, 960), (180, 720), (120, 480)),
  'oulu_npu/2': ((360, 720), (270, 540), (360, 720)),
  **{
    f'oulu_npu/3/{k}': ((300, 1200), (225, 900), (60, 240)) for k in range(1, 7)
  },
  **{
    f'oulu_npu/4/{k}': ((200, 400), (150, 300), (20, 40)) for k in range(1, 7)
  },
}
SMALL_PROTOCOL = 'oulu_npu/1'
TELLS_FACES = True
_USERS = {
  'Train_files': range(1, 21),
  'Dev_files': range(21, 36),
  'Test_files': range(36, 56),
}


def names() -> Iterator[str]:
  """All 4,950 videos."""
  for folder, users in _USERS.items():
    for user in users:
      for phone in range(1, 7):
        for session in range(1, 4):
          for code in layout.TYPES:
            yield f'{folder}/{phone}_{session}_{user:02d}_{code}.avi'


def is_small(name: str) -> bool:
  """Of the first phone, sessions 1 and 3: two users train."""
  return any(
    f'1_{session}_{user}_' in name
    for session in (1, 3)
    for user in ('01', '02', '21', '36')
  )


def annotation(name: str, num_frames: int) -> tuple[str, str]:
  """The eyes, the right one first."""
  lines = [f'{frame},17,17,30,17' for frame in range(num_frames)]
  return name.replace('.avi', '.txt'), '\n'.join(lines) + '\n'
