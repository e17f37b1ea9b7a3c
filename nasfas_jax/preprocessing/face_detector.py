"""Face boxes by the full-range BlazeFace model of MediaPipe.

Bazarevsky et al., BlazeFace, 2019 (arXiv 1907.05047). The full-range variant
has one anchor in each of 48 x 48 cells and predicts a box and six keypoints
relative to it. Boxes are x0, y0, x1, y1 in pixels, as in `crop`.
"""

import dataclasses

import cv2
import numpy as np

from nasfas_jax.preprocessing import face_models

INPUT_SIZE = 192
_STRIDE = 4
_NUM_KEYPOINTS = 6
# The lowest score of a face, and the largest overlap (IoU) of two.
MIN_SCORE = 0.5
MAX_OVERLAP = 0.3


@dataclasses.dataclass(frozen=True)
class Detections:
  """Faces, ordered by descending score.

  Attributes:
    boxes: float64 [N, 4] in pixels of the picture; may reach past its border.
    keypoints: float64 [N, 6, 2], x and y of the eye on the left of an upright
      picture, the eye on its right, the tip of the nose, the mouth, the ears.
    scores: float64 [N] in [0, 1].
  """

  boxes: np.ndarray
  keypoints: np.ndarray
  scores: np.ndarray


def anchors() -> np.ndarray:
  """The centres of the cells, float64 [2304, 2] in [0, 1], row by row."""
  cells = INPUT_SIZE // _STRIDE
  centres = (np.arange(cells) + 0.5) / cells
  x, y = np.meshgrid(centres, centres)
  return np.stack([x.ravel(), y.ravel()], axis=1)


def letterbox(
  image: np.ndarray, size: int, border: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
  """Fits a picture into a square without distortion, with black bars.

  Args:
    image: uint8 [H, W, 3].
    size: side of the square.
    border: black border on each side, as a share of the picture's larger side.

  Returns:
    uint8 [size, size, 3] and float64 [3] (scale, x, y): a point p of the
    square lies at (p - (x, y)) / scale in the picture.
  """
  height, width = image.shape[:2]
  scale = size / (max(height, width) * (1 + 2 * border))
  small_width = max(1, round(width * scale))
  small_height = max(1, round(height * scale))
  left, top = (size - small_width) // 2, (size - small_height) // 2
  square = np.zeros((size, size, 3), np.uint8)
  square[top : top + small_height, left : left + small_width] = cv2.resize(
    image,
    (small_width, small_height),
    interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR,
  )
  return square, np.array([scale, left, top], np.float64)


def overlaps(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
  """Intersection over union of one box [4] with others [N, 4]: float64 [N]."""
  low = np.maximum(box[:2], boxes[:, :2])
  high = np.minimum(box[2:], boxes[:, 2:])
  shared = np.prod(np.maximum(high - low, 0), axis=1)
  areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
  return shared / (np.prod(box[2:] - box[:2]) + areas - shared)


def suppress(boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
  """Greedy non-maximum suppression.

  Args:
    boxes: floats [N, 4], none of them empty.
    scores: floats [N].

  Returns:
    int64 [K], places of the kept boxes, by descending score. A box is kept
    unless it overlaps a better kept one by more than `MAX_OVERLAP`.
  """
  order = np.argsort(-scores, kind='stable')
  kept = []
  while len(order):
    best, order = order[0], order[1:]
    kept.append(best)
    order = order[overlaps(boxes[best], boxes[order]) <= MAX_OVERLAP]
  return np.array(kept, np.int64)


def decode(regressors: np.ndarray, logits: np.ndarray) -> Detections:
  """Decodes the model's outputs into faces, in pixels of its input.

  Args:
    regressors: floats [2304, 16], for each anchor the centre and size of a box
      and its keypoints, in pixels; centre and keypoints are relative to the
      anchor.
    logits: floats [2304, 1].
  """
  # A logit past 80 is a score of 1 in any case.
  scores = 1 / (1 + np.exp(-np.clip(logits[:, 0].astype(np.float64), -80, 80)))
  sizes = regressors[:, 2:4]
  good = (scores >= MIN_SCORE) & np.all(sizes > 0, axis=1)
  scores = scores[good]
  values = regressors[good].astype(np.float64)
  origin = anchors()[good] * INPUT_SIZE
  centre, half = values[:, :2] + origin, values[:, 2:4] / 2
  boxes = np.concatenate([centre - half, centre + half], axis=1)
  keypoints = values[:, 4:].reshape(-1, _NUM_KEYPOINTS, 2) + origin[:, None]
  kept = suppress(boxes, scores)
  return Detections(boxes[kept], keypoints[kept], scores[kept])


def detect(model, image: np.ndarray, border: float = 0.0) -> Detections:
  """Finds the faces of a picture at one scale.

  Args:
    model: the detector of `face_models.FaceModels`.
    image: uint8 RGB [H, W, 3].
    border: see `letterbox`. The model misses faces that fill the picture, and
      finds them with a border.
  """
  square, (scale, left, top) = letterbox(image, INPUT_SIZE, border)
  picture = square.astype(np.float32) / np.float32(127.5) - np.float32(1)
  found = decode(*face_models.run(model, picture))
  offset = np.array([left, top])
  return Detections(
    (found.boxes - np.tile(offset, 2)) / scale,
    (found.keypoints - offset) / scale,
    found.scores,
  )
