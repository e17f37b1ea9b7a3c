"""The numbers around the face detector, against loops."""

import math

import numpy as np
import pytest

from nasfas_jax.preprocessing import face_detector


def random_boxes(count, seed=0):
  rng = np.random.default_rng(seed)
  low = rng.uniform(0, 60, (count, 2))
  return np.concatenate([low, low + rng.uniform(5, 50, (count, 2))], axis=1)


def reference_overlap(a, b):
  width = min(a[2], b[2]) - max(a[0], b[0])
  height = min(a[3], b[3]) - max(a[1], b[1])
  shared = width * height if width > 0 and height > 0 else 0.0
  areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
  return shared / (sum(areas) - shared)


def test_anchors_are_the_centres_of_48_rows_of_cells():
  expected = [
    ((j + 0.5) * 4 / 192, (i + 0.5) * 4 / 192)
    for i in range(48)
    for j in range(48)
  ]
  np.testing.assert_allclose(face_detector.anchors(), expected, rtol=1e-12)


def test_overlaps_match_a_loop():
  boxes = random_boxes(30)
  for box in boxes[:5]:
    expected = [reference_overlap(box, other) for other in boxes]
    np.testing.assert_allclose(face_detector.overlaps(box, boxes), expected)


def test_suppression_matches_a_loop():
  boxes = random_boxes(60, seed=1)
  scores = np.random.default_rng(2).uniform(0, 1, 60)
  expected = []
  for i in sorted(range(60), key=lambda i: -scores[i]):
    if all(reference_overlap(boxes[i], boxes[j]) <= 0.3 for j in expected):
      expected.append(i)
  assert 1 < len(expected) < 60
  assert face_detector.suppress(boxes, scores).tolist() == expected
  assert face_detector.suppress(np.zeros((0, 4)), np.zeros(0)).shape == (0,)


@pytest.mark.parametrize('border', [0.0, 0.25])
@pytest.mark.parametrize('height, width', [(60, 200), (300, 90), (50, 50)])
def test_letterbox_maps_back(height, width, border):
  image = np.zeros((height, width, 3), np.uint8)
  x, y = width * 3 // 5, height // 5
  image[y : y + 10, x : x + 10] = 255
  square, (scale, left, top) = face_detector.letterbox(image, 192, border)
  assert square.shape == (192, 192, 3)
  assert scale == pytest.approx(192 / max(height, width) / (1 + 2 * border))
  rows, columns = np.nonzero(square[..., 0] > 127)
  # The middle of the spot, in corners of pixels, there and back.
  found = np.array([columns.mean() + 0.5 - left, rows.mean() + 0.5 - top])
  np.testing.assert_allclose(found / scale, (x + 5, y + 5), atol=0.6 / scale)
  # Black beside the picture.
  bright, _ = face_detector.letterbox(np.full_like(image, 255), 192, border)
  share = min(height, width) / max(height, width) / (1 + 2 * border) ** 2
  assert np.mean(bright > 0) == pytest.approx(share, abs=0.01)


def test_decoding_matches_the_formula():
  regressors = np.zeros((2304, 16), np.float32)
  logits = np.full((2304, 1), -200, np.float32)
  # Cell of row 10 and column 20: its centre is at (82, 42).
  place = 10 * 48 + 20
  regressors[place] = [2, -3, 40, 60, *range(12)]
  logits[place] = 1.5
  # A weaker one of the same face, and one that has no size.
  regressors[place + 1] = [-2, -3, 40, 60, *range(12)]
  logits[place + 1] = 1.0
  logits[5] = 300
  found = face_detector.decode(regressors, logits)
  np.testing.assert_allclose(found.boxes, [[64, 9, 104, 69]])
  expected = np.arange(12).reshape(1, 6, 2) + [82, 42]
  np.testing.assert_allclose(found.keypoints, expected)
  np.testing.assert_allclose(found.scores, [1 / (1 + math.exp(-1.5))])


def test_no_face_is_an_empty_answer():
  found = face_detector.decode(
    np.ones((2304, 16), np.float32), np.full((2304, 1), -1, np.float32)
  )
  assert found.boxes.shape == (0, 4) and found.keypoints.shape == (0, 6, 2)
