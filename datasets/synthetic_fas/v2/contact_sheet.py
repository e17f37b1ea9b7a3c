"""Draws contact_sheet_2.png: clips by attack type (columns) and room (rows).

python -m nasfas_datasets.synthetic_fas.v2.contact_sheet
"""

import pathlib

import cv2
import numpy as np
from absl import app

from nasfas_datasets.synthetic_fas.v2 import plan, scene

_FRAMES = (0, 4)
_ROOMS = (0, 3, 5, 8, 10)
_MARGIN = 28


def choose(size: plan.Size) -> list[plan.Clip]:
  """One test clip of every type in some rooms."""
  clips = [clip for clip in plan.make_plan(size) if clip.split == 'test']
  chosen = []
  for room in _ROOMS:
    for kind in range(len(plan.KINDS)):
      found = [c for c in clips if (c.room, c.kind) == (room, kind)]
      chosen.append(found[(7 * kind + 3 * room) % len(found)])
  return chosen


def draw() -> np.ndarray:
  """uint8 [H, W, 3], RGB."""
  size = plan.SIZES['default']
  cells = []
  for clip in choose(size):
    frames, _, _ = scene.make(clip, size)
    cells.append(np.concatenate([frames[k] for k in _FRAMES], axis=1))
  columns = len(plan.KINDS)
  rows = [
    np.concatenate(cells[first : first + columns], axis=1)
    for first in range(0, len(cells), columns)
  ]
  picture = np.concatenate(rows, axis=0).repeat(2, 0).repeat(2, 1)
  sheet = cv2.copyMakeBorder(
    picture, _MARGIN, 0, _MARGIN, 0, cv2.BORDER_CONSTANT, value=(255,) * 3
  )
  font = (cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 0, 0), 1, cv2.LINE_AA)
  width = picture.shape[1] // columns
  for i, name in enumerate(plan.KINDS):
    cv2.putText(sheet, name, (_MARGIN + i * width + 8, 20), *font)
  height = picture.shape[0] // len(_ROOMS)
  for i, room in enumerate(_ROOMS):
    label = np.full((_MARGIN, height, 3), 255, np.uint8)
    cv2.putText(label, plan.room_name(room), (8, 20), *font)
    top = _MARGIN + i * height
    sheet[top : top + height, :_MARGIN] = np.rot90(label)
  return sheet


def main(argv) -> None:
  if len(argv) > 1:
    raise app.UsageError(f'Unknown arguments: {argv[1:]}')
  path = pathlib.Path(__file__).parents[1] / 'contact_sheet_2.png'
  cv2.imwrite(str(path), draw()[..., ::-1], (cv2.IMWRITE_PNG_COMPRESSION, 9))
  print(path)


if __name__ == '__main__':
  app.run(main)
