"""Replay-Attack on disk: its complete list of names, and what they tell."""

from collections.abc import Iterator

from nasfas_datasets.replay_attack import layout

COUNTS = {
  'clips': 1200,
  'live': 200,
  'subjects': 50,
  'split': {'train': 360, 'dev': 360, 'test': 480},
}
FIELDS = {
  # The support is a folder, not in the name.
  'devel/attack/hand/attack_mobile_client003_session01_mobile_photo_adverse': {
    'session': 'hand',
    'split': 'dev',
    'attack_type': 'replay',
    'attack_detail': 'mobile_photo',
    'light': 'adverse',
  }
}
REFUSED = {
  'test/real/client001_session01_webcam_authenticate_adverse_1.mov': (
    'client 001 is not of the set test'
  )
}
PROTOCOL_COUNTS = {
  'replay_attack/grandtest': ((60, 300), (60, 300), (80, 400)),
  'replay_attack/print': ((60, 60), (60, 60), (80, 80)),
  'replay_attack/mobile': ((60, 120), (60, 120), (80, 160)),
  'replay_attack/highdef': ((60, 120), (60, 120), (80, 160)),
  'replay_attack/photo': ((60, 180), (60, 180), (80, 240)),
  'replay_attack/video': ((60, 120), (60, 120), (80, 160)),
  'replay_attack/digitalphoto': ((60, 120), (60, 120), (80, 160)),
  'replay_attack/leave_out/print': ((60, 240), (60, 240), (80, 80)),
}
SMALL_PROTOCOL = 'replay_attack/grandtest'
TELLS_FACES = True


def names() -> Iterator[str]:
  """All 1,300 videos: 1,200 clips and the enrolment, which is left out."""
  for folder, clients in layout.CLIENTS.items():
    for client in clients.split():
      for light in ('controlled', 'adverse'):
        for k in (1, 2):
          yield (
            f'{folder}/real/client{client}_session01_webcam_authenticate_'
            f'{light}_{k}.mov'
          )
        yield (
          f'enroll/{folder}/client{client}_session01_webcam_enroll_{light}.mov'
        )
        for support in ('fixed', 'hand'):
          for device, resolution, shown in (
            ('print', 'highdef', 'photo'),
            ('mobile', 'mobile', 'photo'),
            ('mobile', 'mobile', 'video'),
            ('highdef', 'highdef', 'photo'),
            ('highdef', 'highdef', 'video'),
          ):
            yield (
              f'{folder}/attack/{support}/attack_{device}_client{client}_'
              f'session01_{resolution}_{shown}_{light}.mov'
            )


def is_small(name: str) -> bool:
  return any(f'client{c}' in name for c in ('001', '002', '003', '009'))


def annotation(name: str, num_frames: int) -> tuple[str, str]:
  """The companion's boxes: frame, x, y, width, height."""
  path = f'face-locations/{name.replace(".mov", ".face")}'
  lines = [f'{frame} 8 8 32 32' for frame in range(num_frames)]
  return path, '\n'.join(lines) + '\n'
