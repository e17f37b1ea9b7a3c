"""MSU-MFSD on disk: its complete list of names, and what they tell."""

from collections.abc import Iterator

from nasfas_datasets.msu_mfsd import layout

COUNTS = {
  'clips': 280,
  'live': 70,
  'subjects': 35,
  'split': {'train': 120, 'test': 160},
}
FIELDS = {
  # Two digits in the lists of subjects, three in the names.
  'scene01/real/real_client003_android_SD_scene01': {
    'split': 'train',
    'turn': 2,
  },
  'scene01/real/real_client003_laptop_SD_scene01': {'turn': 0},
}
REFUSED = {
  'scene01/real/real_client099_android_SD_scene01.mp4': (
    'subject 099 is in no list'
  )
}
PROTOCOL_COUNTS = {
  'msu_mfsd': ((30, 90), (30, 90), (40, 120)),
  'msu_mfsd/leave_out/printed_photo': ((30, 60), (30, 60), (40, 40)),
}
SMALL_PROTOCOL = 'msu_mfsd'
TELLS_FACES = True


def names() -> Iterator[str]:
  """All 280 videos: two live ones and six attacks a subject."""
  for numbers in layout.SUBJECTS.values():
    for number in numbers.split():
      client = f'{int(number):03d}'
      for camera, suffix in (('android', 'mp4'), ('laptop', 'mov')):
        yield f'scene01/real/real_client{client}_{camera}_SD_scene01.{suffix}'
        for code in ('ipad_video', 'iphone_video', 'printed_photo'):
          yield (
            f'scene01/attack/attack_client{client}_{camera}_SD_{code}_'
            f'scene01.{suffix}'
          )


def is_small(name: str) -> bool:
  return any(f'client{c}' in name for c in ('002', '003', '001'))


def annotation(name: str, num_frames: int) -> tuple[str, str]:
  """Frame, corners of the face, eyes."""
  path = f'{name.rpartition(".")[0]}.face'
  lines = [f'{frame},8,8,40,40,17,17,30,17' for frame in range(num_frames)]
  return path, '\n'.join(lines) + '\n'
