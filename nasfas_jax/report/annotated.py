"""The picture of one judged clip: face, what the network saw, score over time.

Drawn with OpenCV. Pictures are RGB; text is ASCII, since its fonts have no
other letters.
"""

import errno
import os
from collections.abc import Iterable, Mapping, Sequence

import cv2
import numpy as np

from nasfas_jax import files
from nasfas_jax.report import style

_WHITE, _INK, _PALE = (255, 255, 255), (30, 34, 40), (205, 210, 216)
# As on the pages.
COLOURS = {
  decision: tuple(bytes.fromhex(colour[1:]))
  for decision, colour in (('live', style.LIVE), ('spoof', style.SPOOF))
}
_UNDECIDED = (95, 100, 108)
_MARGIN = 16
_VIEW = (640, 420)
_INSET = 128
_LEAST_WIDTH = 420
_CHART = 130


def _write(image, text, place, colour=_INK, size=0.45):
  plain = text.encode('ascii', 'replace').decode()
  cv2.putText(
    image,
    plain,
    place,
    cv2.FONT_HERSHEY_SIMPLEX,
    size,
    colour,
    2 if size > 0.6 else 1,
    cv2.LINE_AA,
  )


def _lines(text: str, width: int) -> list[str]:
  """Breaks a text at its spaces."""
  lines = ['']
  for word in text.split():
    if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
      lines.append('')
    lines[-1] = f'{lines[-1]} {word}'.strip()[:width]
  return lines


def colour_map(image: np.ndarray) -> np.ndarray:
  """A map of floats [D, D] in [0, 1] as uint8 RGB [D, D, 3]."""
  levels = (255 * np.clip(np.nan_to_num(image), 0, 1)).astype(np.uint8)
  return cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS)[..., ::-1]


def _chart(image, left, top, width, parts, threshold, now):
  """Draws scores over the frames, with the threshold as a dashed line.

  A thin line marks the frame `now`, unless that is None.
  """
  scores = [score for _, _, score in parts]
  high = 1.1 * max(*scores, threshold, 1e-9)
  low = min(0.0, *scores, threshold)
  last = max(1, parts[-1][1])
  bottom = top + _CHART

  def point(frame, score):
    x = left + round(width * frame / last)
    return x, bottom - round(_CHART * (score - low) / (high - low))

  cv2.rectangle(image, (left, top), (left + width, bottom), _PALE, 1)
  y = point(0, threshold)[1]
  for x in range(left, left + width, 12):
    cv2.line(image, (x, y), (min(x + 6, left + width), y), _INK, 1)
  if now is not None:
    x = point(min(now, last), threshold)[0]
    cv2.line(image, (x, top), (x, bottom), _UNDECIDED, 1)
  points = [point((a + b) / 2, score) for a, b, score in parts]
  cv2.polylines(
    image, [np.array(points, np.int32)], False, _UNDECIDED, 2, cv2.LINE_AA
  )
  for place, score in zip(points, scores, strict=True):
    colour = COLOURS['live' if score > threshold else 'spoof']
    cv2.circle(image, place, 5, colour, -1, cv2.LINE_AA)
  _write(image, f'{high:.3g}', (left + 4, top + 14), size=0.38)
  _write(
    image,
    f'score over time, frames 0 to {last}; dashed: threshold {threshold:.4g}',
    (left, bottom + 18),
    size=0.42,
  )


def framed(
  frame: np.ndarray, box: np.ndarray | None, decision: str | None
) -> np.ndarray:
  """A frame with the face box, as large as there is room for.

  Args:
    frame: uint8 RGB [H, W, 3].
    box: floats [4] in pixels of the frame; None draws none.
    decision: sets the colour of the box: 'live', 'spoof' or None.

  Returns:
    uint8 RGB [H, W, 3].
  """
  scale = min(_VIEW[0] / frame.shape[1], _VIEW[1] / frame.shape[0])
  sides = [max(1, round(scale * side)) for side in frame.shape[1::-1]]
  view = cv2.resize(
    np.ascontiguousarray(frame),
    sides,
    interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR,
  )
  if box is not None:
    x0, y0, x1, y1 = (round(float(value) * scale) for value in box)
    colour = COLOURS.get(decision, _UNDECIDED)
    cv2.rectangle(view, (x0, y0), (x1, y1), _WHITE, 4)
    cv2.rectangle(view, (x0, y0), (x1, y1), colour, 2)
  return view


def draw(
  *,
  title: str,
  texts: Sequence[str],
  decision: str | None,
  threshold: float,
  frame: np.ndarray | None = None,
  box: np.ndarray | None = None,
  insets: Mapping[str, np.ndarray] | None = None,
  parts: Sequence[tuple[int, int, float]] = (),
  now: int | None = None,
) -> np.ndarray:
  """Draws the picture of one item.

  Args:
    title: the outcome, large.
    texts: paragraphs below it.
    decision: sets the colour: 'live', 'spoof' or None.
    threshold: of the score, for the chart.
    frame: uint8 RGB [H, W, 3]; None if there is none.
    box: floats [4] in pixels of the frame.
    insets: name -> uint8 RGB [H, W, 3], a column beside the frame.
    parts: (first frame, last frame, score), for the chart; empty: no chart.
    now: number of the frame, marked in the chart; None: no mark.

  Returns:
    uint8 RGB [H, W, 3].
  """
  colour = COLOURS.get(decision, _UNDECIDED)
  insets = insets or {}
  view = None if frame is None else framed(frame, box, decision)
  column = max(_LEAST_WIDTH, 0 if view is None else view.shape[1])
  width = column + 2 * _MARGIN + (_INSET + _MARGIN if insets else 0)
  texts = [line for text in texts for line in _lines(text, width // 8 - 4)]
  head = 52 + 20 * len(texts)
  middle = max(
    view.shape[0] if view is not None else 0,
    len(insets) * (_INSET + 24) - 6,
    0,
  )
  foot = _CHART + 28 if parts else 0
  image = np.full((head + middle + foot + _MARGIN, width, 3), 255, np.uint8)
  _write(image, title, (_MARGIN, 34), colour, 0.9)
  for number, text in enumerate(texts):
    _write(image, text, (_MARGIN, 58 + 20 * number))
  if view is not None:
    image[head : head + view.shape[0], _MARGIN : _MARGIN + view.shape[1]] = view
  left = width - _MARGIN - _INSET
  for number, (name, picture) in enumerate(insets.items()):
    top = head + number * (_INSET + 24)
    image[top : top + _INSET, left : left + _INSET] = cv2.resize(
      picture, (_INSET, _INSET), interpolation=cv2.INTER_NEAREST
    )
    _write(image, name, (left, top + _INSET + 14), size=0.4)
  if parts:
    _chart(
      image,
      _MARGIN,
      head + middle + 8,
      width - 2 * _MARGIN,
      parts,
      threshold,
      now,
    )
  return image


def write_video(
  path: str | os.PathLike[str], pictures: Iterable[np.ndarray], fps: float
) -> None:
  """Writes pictures as Motion JPEG in an AVI file, whole or not at all.

  Args:
    path: of the file.
    pictures: uint8 RGB [H, W, 3], all of one size, at least one; an odd side
      loses a pixel.
    fps: pictures per second; OpenCV rounds it to a whole number of 1 or more.

  Raises:
    OSError: if the file cannot be written.
  """
  with files.replacing(path, suffix='.avi') as partial:
    writer, number = None, 0
    try:
      for picture in pictures:
        height, width = (side // 2 * 2 for side in picture.shape[:2])
        if writer is None:
          writer = cv2.VideoWriter(
            str(partial),
            cv2.CAP_OPENCV_MJPEG,
            cv2.VideoWriter_fourcc(*'MJPG'),
            max(1.0, fps),
            (width, height),
          )
        writer.write(np.ascontiguousarray(picture[:height, :width, ::-1]))
        number += 1
    finally:
      if writer is not None:
        writer.release()
    # The writer says nothing of a full disk.
    capture = cv2.VideoCapture(str(partial))
    written = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    capture.release()
    if written != number:
      raise OSError(
        errno.EIO, f'{written} of {number} pictures written', str(partial)
      )
