"""The names of CASIA-MFSD: `{train,test}_release/<subject>/X.avi`.

X is 1 to 8 or HR_1 to HR_4. The folders count from 1 in each split.
"""

import pathlib

from nasfas_datasets import listing

SPLITS = {'train_release': ('train', 20), 'test_release': ('test', 30)}
# X -> (attack type, the dataset's name of the attack).
CODES = {
  **dict.fromkeys(('1', '2', 'HR_1'), ('live', 'real')),
  **dict.fromkeys(('3', '4', 'HR_2'), ('print', 'warped')),
  **dict.fromkeys(('5', '6', 'HR_3'), ('print_cut', 'cut')),
  **dict.fromkeys(('7', '8', 'HR_4'), ('replay', 'video')),
}
GRAMMAR = '{train,test}_release/<number>/X.avi with X 1-8 or HR_1-HR_4'
INSTRUCTIONS = """
CASIA-MFSD (CASIA-FASD) is available under an agreement:
http://www.cbsr.ia.ac.cn/english/FaceAntiSpoofDatabases.asp
manual_dir holds train_release and test_release as shipped and, if you have the
companion boxes, face-locations.
"""


def quality(code: str) -> str:
  """The camera: 'high', or whether the file's number is 'odd' or 'even'.

  Odd files are landscape, even ones portrait. Sources disagree on which of them
  the paper calls low and which normal quality.
  """
  if code.startswith('HR_'):
    return 'high'
  return 'odd' if int(code) % 2 else 'even'


def parse(root: pathlib.Path, name: str) -> dict[str, object]:
  """The fields of a clip from its path in the dataset."""
  found = listing.match(
    r'(train_release|test_release)/(\d{1,2})/([1-8]|HR_[1-4])\.avi',
    name,
    GRAMMAR,
  )
  folder, number, code = found.groups()
  split, count = SPLITS[folder]
  if not 1 <= int(number) <= count:
    raise listing.ClipError(f'subject {number}; {folder} has 1 to {count}')
  attack_type, detail = CODES[code]
  # Unique over both splits, whose folders both start at 1.
  subject = int(number) + (20 if split == 'test' else 0)
  stem = name.removesuffix('.avi')
  return {
    'clip_id': stem,
    'subject': f'{subject:02d}',
    'split': split,
    'label': int(attack_type == 'live'),
    'attack_type': attack_type,
    'attack_detail': detail,
    'camera': quality(code),
    'boxes': listing.annotation(
      'frame_xywh', root, f'face-locations/{stem}.face'
    ),
  }


def list_clips(root: pathlib.Path) -> listing.Listing:
  """Lists the folder; see `listing`."""
  return listing.list_folders(
    root,
    SPLITS,
    ['.avi'],
    parse,
    instructions=INSTRUCTIONS,
    expected=[
      f'{folder}/{number}/{code}'
      for folder, (_, count) in SPLITS.items()
      for number in range(1, count + 1)
      for code in CODES
    ],
    disjoint='casia_mfsd',
  )
