"""Rose-Youtu on disk: a part of its names, and what they tell."""

from collections.abc import Iterator

_USERS = (2, 3, 11, 12, 13, 23)
COUNTS = {
  'clips': 108,
  'live': 12,
  'subjects': 6,
  'split': {'train': 36, 'dev': 36, 'test': 36},
}
FIELDS = {
  '11/Mu_NT_HW_wg_E_11_2': {
    'subject': '11',
    'split': 'dev',
    'label': 0,
    'attack_type': 'mask_paper',
    'attack_detail': 'Mu',
    'camera': 'HW',
  },
  '2/G_NT_HW_wg_E_2_1': {'label': 1, 'attack_detail': '', 'split': 'train'},
}
REFUSED = {
  '2/G_NT_HW_wg_E_3_1.mp4': 'user 3 is in the folder 2',
  '8/G_NT_HW_wg_E_8_1.mp4': 'user 8 is of no split',
  '2/Xx_NT_HW_wg_E_2_1.mp4': 'does not fit USER/',
}
PROTOCOL_COUNTS = {
  'rose_youtu/all': ((4, 32), (4, 32), (4, 32)),
  'rose_youtu/leave_out/replay': ((4, 24), (4, 24), (4, 8)),
}
SMALL_PROTOCOL = 'rose_youtu/all'
TELLS_FACES = False


def names() -> Iterator[str]:
  """Two clips of every kind of six users."""
  for user in _USERS:
    for kind in ('G', 'Ps', 'Pq', 'Vl', 'Vm', 'Mc', 'Mf', 'Mu', 'Ml'):
      for number in (1, 2):
        yield f'{user}/{kind}_NT_HW_wg_E_{user}_{number}.mp4'


def is_small(name: str) -> bool:
  return name.endswith('_1.mp4') and ('/G_' in name or '/Ps_' in name)
