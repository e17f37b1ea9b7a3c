"""3DMAD on disk: its complete list of names, and what they tell."""

import pathlib
from collections.abc import Iterator

import numpy as np

COUNTS = {
  'clips': 255,
  'live': 170,
  'subjects': 17,
  'split': {'train': 105, 'dev': 75, 'test': 75},
}
FIELDS = {'13_03_05': {'label': 0, 'split': 'test'}}
REFUSED = {'18_01_01.hdf5': 'subject 18'}
PROTOCOL_COUNTS = {
  'three_d_mad/classification': ((70, 35), (50, 25), (50, 25)),
  **{
    f'three_d_mad/leave_one_subject_out/{k:02d}': ((80, 40), (80, 40), (10, 5))
    for k in (1, 9, 17)
  },
}
SMALL_PROTOCOL = 'three_d_mad/classification'
TELLS_FACES = True


def names() -> Iterator[str]:
  """All 255 recordings."""
  for subject in range(1, 18):
    for session in range(1, 4):
      for shot in range(1, 6):
        yield f'{subject:02d}_{session:02d}_{shot:02d}.hdf5'


def is_small(name: str) -> bool:
  return name[:2] in ('01', '02', '08', '13') and name[6:8] == '01'


def write_clip(path: pathlib.Path, frames: np.ndarray) -> None:
  """Frames, uint8 RGB [F, H, W, 3], as the recordings hold them (extra [test]).

  The eyes are in it too, the right one, left in the picture, first.
  """
  import h5py

  with h5py.File(path, 'w') as file:
    file['Color_Data'] = np.moveaxis(frames, 3, 1)
    file['Eye_Pos'] = np.tile([17, 17, 30, 17], (len(frames), 1))
