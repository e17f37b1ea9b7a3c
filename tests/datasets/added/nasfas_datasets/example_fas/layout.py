"""The names of Example-FAS: `SPLIT/KIND/SUBJECT_ROOM.avi`.

Split train, dev or test; kind live, print or mask; subject 01 to 08; room hall
or attic. Beside a video, `SUBJECT_ROOM.json` has its faces.
"""

import json
import pathlib

import numpy as np

from nasfas_datasets import listing

SUBJECTS = {'train': range(1, 5), 'dev': range(5, 7), 'test': range(7, 9)}
ROOMS = ('hall', 'attic')
# Folder -> attack type, one of `nasfas_jax.records.ATTACK_TYPES`.
KINDS = {'live': 'live', 'print': 'print', 'mask': 'mask_rigid'}
GRAMMAR = '{train,dev,test}/{live,print,mask}/SUBJECT_ROOM.avi'
INSTRUCTIONS = """
Example-FAS is made up. manual_dir holds train, dev and test as shipped.
"""


def read_boxes(path: pathlib.Path) -> np.ndarray:
  """The faces of a clip: floats [F, 4], x0, y0, x1, y1; NaN for no face.

  Raises:
    ValueError: for a file of another form.
  """
  boxes = json.loads(path.read_text(encoding='utf-8'))
  return np.asarray(boxes, np.float64).reshape(-1, 4)


def parse(root: pathlib.Path, name: str) -> dict[str, object]:
  """The fields of a clip from its path in the dataset.

  Raises:
    ClipError: if the name does not fit, or its subject is of another split.
  """
  found = listing.match(
    r'(train|dev|test)/(live|print|mask)/(\d{2})_(hall|attic)\.avi',
    name,
    GRAMMAR,
  )
  split, kind, subject, room = found.groups()
  if int(subject) not in SUBJECTS[split]:
    raise listing.ClipError(f'subject {subject} is not of {split}')
  stem = name.removesuffix('.avi')
  return {
    'clip_id': stem,
    'subject': subject,
    'split': split,
    'label': int(kind == 'live'),
    'attack_type': KINDS[kind],
    'attack_detail': '' if kind == 'live' else kind,
    'session': room,
    'boxes': listing.annotation(read_boxes, root, f'{stem}.json'),
  }


def list_clips(root: pathlib.Path) -> listing.Listing:
  """Lists the folder; see `listing`."""
  return listing.list_folders(
    root,
    SUBJECTS,
    ['.avi'],
    parse,
    instructions=INSTRUCTIONS,
    expected=[
      f'{split}/{kind}/{subject:02d}_{room}'
      for split, subjects in SUBJECTS.items()
      for kind in KINDS
      for subject in subjects
      for room in ROOMS
    ],
    disjoint='example_fas',
  )
