"""Face boxes from the annotation files of datasets.

Every reader returns floats [F, 4], x0, y0, x1, y1 in pixels of the upright
frame, one row per annotated frame; a row without a face is NaN. With a limit
it reads the boxes of the first frames only, those of a number below it; 0: of
all. Rows without a number count from 0.
"""

import math
import pathlib

import numpy as np

from nasfas_datasets import text_files

# A face box from the eyes, in eye distances: its side, and how far below the
# middle of the eyes its centre lies.
EYE_SIDE = 2.4
EYE_DROP = 0.5


class AnnotationError(ValueError):
  """An annotation file cannot be used; the message says why."""


def _rows(path: pathlib.Path, separator: str | None, columns: int):
  """The numbers of a text file, one list per line, without blank lines."""
  try:
    text = text_files.read(path)
  except ValueError as error:
    raise AnnotationError(str(error)) from error
  rows = []
  for number, line in enumerate(text.splitlines(), 1):
    parts = line.split(separator) if line.strip() else []
    parts = [part.strip() for part in parts]
    if not parts:
      continue
    try:
      values = [float(part) for part in parts]
    except ValueError:
      values = []
    if len(values) < columns or not all(map(math.isfinite, values)):
      raise AnnotationError(
        f'{path.name}, line {number}: {line[:60]!r} is not {columns} numbers'
      )
    rows.append(values)
  return rows


def _clean(boxes) -> np.ndarray:
  """Boxes [F, 4]; rows without width or height, which mean no face, are NaN."""
  boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
  empty = np.any(boxes[:, 2:] <= boxes[:, :2], axis=1)
  boxes[empty] = np.nan
  return boxes


def _numbered(path: pathlib.Path, separator: str | None, limit: int):
  """The four columns after the frame's number, of frames below a limit."""
  return [
    row[1:5] for row in _rows(path, separator, 5) if not limit or row[0] < limit
  ]


def corners(path: pathlib.Path, limit: int = 0) -> np.ndarray:
  """SiW and SiW-M `.face`: `x1 y1 x2 y2` a line, zeros for no face."""
  return _clean([row[:4] for row in _rows(path, None, 4)[: limit or None]])


def frame_xywh(path: pathlib.Path, limit: int = 0) -> np.ndarray:
  """Replay-Attack and CASIA companion `.face`: `frame x y w h` a line."""
  rows = _numbered(path, None, limit)
  return _clean([[x, y, x + w, y + h] for x, y, w, h in rows])


def frame_corners(path: pathlib.Path, limit: int = 0) -> np.ndarray:
  """MSU-MFSD `.face`: CSV `frame,x1,y1,x2,y2,` and the eyes."""
  return _clean(_numbered(path, ',', limit))


def eyes_below(path: pathlib.Path) -> bool:
  """Whether the annotated frames were upside down (MSU-MFSD).

  That is, whether the eyes are in the lower half of most boxes. Rows without
  the eyes, the last four of nine columns, do not count.
  """
  votes = [
    (row[6] + row[8]) / 2 > (row[2] + row[4]) / 2
    for row in _rows(path, ',', 5)
    if len(row) >= 9
  ]
  return 2 * sum(votes) > len(votes)


def frame_eyes(path: pathlib.Path, limit: int = 0) -> np.ndarray:
  """OULU-NPU `.txt`: `frame,x_right,y_right,x_left,y_left`."""
  rows = _numbered(path, ',', limit)
  return from_eyes(np.asarray(rows, np.float64).reshape(-1, 4))


def lines_xywh(path: pathlib.Path, limit: int = 0) -> np.ndarray:
  """CDCN's `.dat`: left, top, width, height on a line each, of one frame."""
  del limit
  rows = _rows(path, None, 1)
  if len(rows) < 4:
    raise AnnotationError(f'{path.name}: {len(rows)} lines; 4 are needed')
  x, y, w, h = (row[0] for row in rows[:4])
  return _clean([[x, y, x + w, y + h]])


def from_eyes(eyes: np.ndarray) -> np.ndarray:
  """Square face boxes from eye positions.

  Args:
    eyes: [F, 4], x and y of the subject's right eye (left in the picture), then
      of the left eye.

  Returns:
    [F, 4]; NaN where the eyes coincide or are missing. By our own convention
    the side is 2.4 eye distances, and the centre is half a distance below the
    eyes.
  """
  eyes = np.asarray(eyes, np.float64)
  distance = np.hypot(eyes[:, 0] - eyes[:, 2], eyes[:, 1] - eyes[:, 3])
  centre_x = (eyes[:, 0] + eyes[:, 2]) / 2
  centre_y = (eyes[:, 1] + eyes[:, 3]) / 2 + EYE_DROP * distance
  half = EYE_SIDE * distance / 2
  return _clean(
    np.stack(
      [centre_x - half, centre_y - half, centre_x + half, centre_y + half],
      axis=1,
    )
  )


READERS = {
  'corners': corners,
  'frame_xywh': frame_xywh,
  'frame_corners': frame_corners,
  'frame_eyes': frame_eyes,
  'lines_xywh': lines_xywh,
}
