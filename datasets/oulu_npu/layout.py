"""The names of OULU-NPU: `{Train,Dev,Test}_files/P_S_UU_F.avi`.

Phone 1 to 6, session 1 to 3, user 01 to 55, file 1 (live), 2 and 3 (prints),
4 and 5 (replays).
"""

import pathlib

from nasfas_datasets import listing, text_files

FOLDERS = {'train': 'Train_files', 'dev': 'Dev_files', 'test': 'Test_files'}
USERS = {'train': range(1, 21), 'dev': range(21, 36), 'test': range(36, 56)}
TYPES = {
  '1': ('live', ''),
  '2': ('print', 'printer1'),
  '3': ('print', 'printer2'),
  '4': ('replay', 'display1'),
  '5': ('replay', 'display2'),
}
LIGHT = {'1': 'adverse', '2': 'controlled', '3': 'adverse'}
GRAMMAR = 'P_S_UU_F.avi (phone 1-6, session 1-3, user 01-55, file 1-5)'
INSTRUCTIONS = """
OULU-NPU is available under a signed licence:
https://sites.google.com/site/oulunpudatabase/
manual_dir holds Train_files, Dev_files and Test_files with the videos and eye
positions as shipped, and Protocols.
"""


def fields(split: str, stem: str) -> dict[str, object]:
  """The fields of a clip from its split and its name without suffix.

  Raises:
    ClipError: if the name does not match, or its user is in another split.
  """
  found = listing.match(r'([1-6])_([1-3])_(\d{2})_([1-5])', stem, GRAMMAR)
  phone, session, user, code = found.groups()
  if int(user) not in USERS[split]:
    users = USERS[split]
    raise listing.ClipError(
      f'user {user} is not of {FOLDERS[split]}, which has {users[0]} to '
      f'{users[-1]}'
    )
  attack_type, medium = TYPES[code]
  return {
    'clip_id': f'{FOLDERS[split]}/{stem}',
    'subject': user,
    'split': split,
    'label': int(code == '1'),
    'attack_type': attack_type,
    'attack_detail': code,
    'session': session,
    'camera': phone,
    'light': LIGHT[session],
    'medium': medium,
  }


def parse(root: pathlib.Path, name: str) -> dict[str, object]:
  """The fields of a clip from its path in the dataset."""
  folder, _, file = name.rpartition('/')
  split = next((s for s, path in FOLDERS.items() if path == folder), None)
  if split is None or not file.endswith('.avi'):
    raise listing.ClipError(f'the name does not fit {GRAMMAR}')
  stem = file.removesuffix('.avi')
  return {
    **fields(split, stem),
    'boxes': listing.annotation('frame_eyes', root, f'{folder}/{stem}.txt'),
  }


def list_clips(root: pathlib.Path) -> listing.Listing:
  """Lists the folder; see `listing`.

  Raises:
    FileNotFoundError: if a folder of the dataset is missing.
    ValueError: if a subject is in two splits.
  """
  found = listing.list_folders(
    root,
    FOLDERS.values(),
    ['.avi'],
    parse,
    instructions=INSTRUCTIONS,
    expected=expected(),
    disjoint='oulu_npu',
  )
  found.notes = check_protocols(root.resolve())
  return found


def expected() -> list[str]:
  """The ids of all 4,950 clips."""
  return [
    f'{folder}/{phone}_{session}_{user:02d}_{code}'
    for split, folder in FOLDERS.items()
    for phone in range(1, 7)
    for session in range(1, 4)
    for user in USERS[split]
    for code in TYPES
  ]


def in_protocol(
  protocol: int, fold: int, split: str, phone: int, session: int, code: int
) -> bool:
  """Whether a clip is in a published protocol, 1 to 4, and a split of it.

  Args:
    protocol: 1 to 4.
    fold: 1 to 6, the phone that 3 and 4 leave out; unused by 1 and 2.
    split: of the clip.
    phone: of the clip.
    session: of the clip.
    code: number of the file, 1 to 5.
  """
  test = split == 'test'
  allowed = True
  if protocol in (1, 4):
    allowed &= (session == 3) == test
  if protocol in (3, 4):
    allowed &= (phone == fold) == test
  if protocol in (2, 4):
    allowed &= code in ((1, 3, 5) if test else (1, 2, 4))
  return allowed


def check_protocols(
  root: pathlib.Path, folder_name: str = 'Protocols'
) -> list[str]:
  """Compares the shipped protocol lists with the rules; returns differences."""
  notes = []
  for protocol in range(1, 5):
    for fold in range(1, 7) if protocol > 2 else (0,):
      for split, folder in FOLDERS.items():
        suffix = f'_{fold}' if fold else ''
        path = (
          root
          / folder_name
          / f'Protocol_{protocol}'
          / f'{split.title()}{suffix}.txt'
        )
        if not path.is_file():
          continue
        shipped = read_list(path)
        ruled = {
          name.rpartition('/')[2]: name.endswith('_1')
          for name in expected()
          if name.startswith(folder)
          and in_protocol(
            protocol,
            fold,
            split,
            *(int(name.rpartition('/')[2].split('_')[i]) for i in (0, 1, 3)),
          )
        }
        differ = sorted(
          name
          for name in {*shipped, *ruled}
          if shipped.get(name) != ruled.get(name)
        )
        if differ:
          notes.append(
            f'{path.relative_to(root)} differs from the rule in '
            f'{len(differ)} clips: {listing.shorten(differ)}'
          )
  return notes


def read_list(path: pathlib.Path) -> dict[str, bool]:
  """Reads a protocol list with lines `label,name`, where +1 or 1 is live.

  Returns:
    Name -> whether it is live.

  Raises:
    ValueError: for any other line.
  """
  clips = {}
  for number, line in enumerate(text_files.read(path).splitlines(), 1):
    if not line.strip():
      continue
    label, _, name = line.partition(',')
    try:
      live = int(label) == 1
    except ValueError as error:
      raise ValueError(
        f'{path}, line {number}: {line!r} is not `label,name`.'
      ) from error
    clips[name.strip()] = live
  return clips
