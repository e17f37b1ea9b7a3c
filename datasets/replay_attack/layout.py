"""The names of Replay-Attack (Idiap).

`{train,devel,test}/real/clientNNN_session01_webcam_authenticate_LIGHT_K.mov`,
`{train,devel,test}/attack/{fixed,hand}/attack_DEVICE_clientNNN_session01_
RESOLUTION_{photo,video}_LIGHT.mov`. Enrolment clips are not used.
"""

import pathlib

from nasfas_datasets import listing

SPLITS = {'train': 'train', 'devel': 'dev', 'test': 'test'}
CLIENTS = {
  'train': '001 002 004 006 007 008 012 016 018 025 027 103 105 108 110',
  'devel': '003 005 010 015 017 022 029 030 101 111 113 114 116 118 119',
  'test': (
    '009 011 013 014 019 020 021 023 024 026 028 031 102 104 106 107 109 112 '
    '115 117'
  ),
}
LIGHTS = ('controlled', 'adverse')
# (device, resolution in the name, what is shown).
ATTACKS = (
  ('print', 'highdef', 'photo'),
  ('mobile', 'mobile', 'photo'),
  ('mobile', 'mobile', 'video'),
  ('highdef', 'highdef', 'photo'),
  ('highdef', 'highdef', 'video'),
)
GRAMMAR = (
  'clientNNN_session01_webcam_authenticate_{controlled,adverse}_{1,2}.mov or '
  'attack_{print,mobile,highdef}_clientNNN_session01_{highdef,mobile}_'
  '{photo,video}_{controlled,adverse}.mov'
)
INSTRUCTIONS = """
Replay-Attack is available under an end user licence:
https://www.idiap.ch/dataset/replayattack
manual_dir holds train, devel and test as shipped, and face-locations.
"""


def parse(root: pathlib.Path, name: str) -> dict[str, object]:
  """The fields of a clip from its path in the dataset."""
  parts = name.split('/')
  folder, file = parts[0], parts[-1]
  support = ''
  if parts[1:-1] == ['real']:
    found = listing.match(
      r'client(\d{3})_session01_webcam_authenticate_(controlled|adverse)_[12]'
      r'\.mov',
      file,
      GRAMMAR,
    )
    client, light = found.groups()
    attack_type, detail, medium = 'live', '', ''
  elif (
    len(parts) == 4 and parts[1] == 'attack' and parts[2] in ('fixed', 'hand')
  ):
    found = listing.match(
      r'attack_(print|mobile|highdef)_client(\d{3})_session01_'
      r'(highdef|mobile)_(photo|video)_(controlled|adverse)\.mov',
      file,
      GRAMMAR,
    )
    medium, client, resolution, shown, light = found.groups()
    if (medium, resolution, shown) not in ATTACKS:
      raise listing.ClipError(
        f'there is no attack {medium} {resolution} {shown}'
      )
    attack_type = 'print' if medium == 'print' else 'replay'
    detail = f'{medium}_{shown}'
    # The support is in the folder's name only.
    support = parts[2]
  else:
    raise listing.ClipError('not in SPLIT/real or SPLIT/attack/{fixed,hand}')
  if client not in CLIENTS.get(folder, '').split():
    raise listing.ClipError(f'client {client} is not of the set {folder}')
  stem = name.removesuffix('.mov')
  return {
    'clip_id': stem,
    'subject': client,
    'split': SPLITS[folder],
    'label': int(attack_type == 'live'),
    'attack_type': attack_type,
    'attack_detail': detail,
    'session': support,
    'light': light,
    'medium': medium,
    'boxes': listing.annotation(
      'frame_xywh', root, f'face-locations/{stem}.face'
    ),
  }


def list_clips(root: pathlib.Path) -> listing.Listing:
  """Lists the folder; see `listing`."""
  return listing.list_folders(
    root,
    SPLITS,
    ['.mov'],
    parse,
    instructions=INSTRUCTIONS,
    expected=expected(),
    disjoint='replay_attack',
  )


def expected() -> list[str]:
  """The ids of all 1,200 clips, without enrolment."""
  names = []
  for folder, clients in CLIENTS.items():
    for client in clients.split():
      names += [
        f'{folder}/real/client{client}_session01_webcam_authenticate_{light}_{k}'
        for light in LIGHTS
        for k in (1, 2)
      ]
      names += [
        f'{folder}/attack/{support}/attack_{device}_client{client}_session01_'
        f'{resolution}_{shown}_{light}'
        for support in ('fixed', 'hand')
        for device, resolution, shown in ATTACKS
        for light in LIGHTS
      ]
  return names
