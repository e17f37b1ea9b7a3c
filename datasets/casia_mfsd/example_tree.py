"""CASIA-MFSD on disk: its complete list of names, and what they tell."""

from collections.abc import Iterator

COUNTS = {
  'clips': 600,
  'live': 150,
  'subjects': 50,
  'split': {'train': 240, 'test': 360},
}
FIELDS = {
  # The folders count from 1 in each split.
  'train_release/1/1': {'subject': '01', 'camera': 'odd'},
  'test_release/1/HR_3': {
    'subject': '21',
    'camera': 'high',
    'attack_type': 'print_cut',
  },
}
REFUSED = {'train_release/21/1.avi': 'train_release has 1 to 20'}
PROTOCOL_COUNTS = {
  'casia_mfsd/overall': ((60, 180), (60, 180), (90, 270)),
  'casia_mfsd/high': ((20, 60), (20, 60), (30, 90)),
  'casia_mfsd/odd': ((20, 60), (20, 60), (30, 90)),
  'casia_mfsd/cut': ((60, 60), (60, 60), (90, 90)),
  'casia_mfsd/leave_out/cut': ((60, 120), (60, 120), (90, 90)),
}
SMALL_PROTOCOL = 'casia_mfsd/overall'
TELLS_FACES = True


def names() -> Iterator[str]:
  """All 600 videos: twelve a subject."""
  for folder, count in (('train_release', 20), ('test_release', 30)):
    for number in range(1, count + 1):
      for code in range(1, 9):
        yield f'{folder}/{number}/{code}.avi'
      for code in range(1, 5):
        yield f'{folder}/{number}/HR_{code}.avi'


def is_small(name: str) -> bool:
  return name.split('/')[1] in ('1', '2')


def annotation(name: str, num_frames: int) -> tuple[str, str]:
  """The companion's boxes: frame, x, y, width, height."""
  path = f'face-locations/{name.replace(".avi", ".face")}'
  lines = [f'{frame} 8 8 32 32' for frame in range(num_frames)]
  return path, '\n'.join(lines) + '\n'
