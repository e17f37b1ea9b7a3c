"""Draws contact_sheet.png: clips by attack type (columns) and domain (rows).

python -m nasfas_datasets.synthetic_fas.contact_sheet
"""

import pathlib

import cv2
import numpy as np
from absl import app

from nasfas_datasets.synthetic_fas import plan, render, rooms

_FRAMES = (0, 4)
_ZOOM = 2
_MARGIN = 28


def choose() -> list[plan.Clip]:
  """One test clip of every type in every domain, each of another subject."""
  clips = plan.make_plan(plan.SIZES['default'])
  chosen = []
  for domain in range(len(rooms.DOMAINS)):
    for kind in range(len(plan.KINDS)):
      candidates = [
        clip
        for clip in clips
        if (clip.split, clip.domain, clip.kind) == ('test', domain, kind)
      ]
      chosen.append(candidates[(7 * kind + 3 * domain) % len(candidates)])
  return chosen


def draw() -> np.ndarray:
  """uint8 [H, W, 3], RGB."""
  cells = [
    np.concatenate([frames[k] for k in _FRAMES], axis=1)
    for _, frames, _, _ in render.render(choose())
  ]
  columns = len(plan.KINDS)
  rows = [
    np.concatenate(cells[first : first + columns], axis=1)
    for first in range(0, len(cells), columns)
  ]
  picture = np.concatenate(rows, axis=0).repeat(_ZOOM, 0).repeat(_ZOOM, 1)
  sheet = cv2.copyMakeBorder(
    picture, _MARGIN, 0, _MARGIN, 0, cv2.BORDER_CONSTANT, value=(255,) * 3
  )
  font = (cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 0, 0), 1, cv2.LINE_AA)
  width = picture.shape[1] // columns
  for i, name in enumerate(plan.KINDS):
    cv2.putText(sheet, name, (_MARGIN + i * width + 8, 20), *font)
  height = picture.shape[0] // len(rooms.DOMAINS)
  for i, domain in enumerate(rooms.DOMAINS):
    label = np.full((_MARGIN, height, 3), 255, np.uint8)
    cv2.putText(label, domain.name, (8, 20), *font)
    top = _MARGIN + i * height
    sheet[top : top + height, :_MARGIN] = np.rot90(label)
  return sheet


def main(argv) -> None:
  if len(argv) > 1:
    raise app.UsageError(f'Unknown arguments: {argv[1:]}')
  path = pathlib.Path(__file__).with_name('contact_sheet.png')
  cv2.imwrite(str(path), draw()[..., ::-1], (cv2.IMWRITE_PNG_COMPRESSION, 9))
  print(path)


if __name__ == '__main__':
  app.run(main)
