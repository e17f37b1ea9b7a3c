"""MediaPipe's face mesh of 468 points, and the faces of a picture.

Kartynnik et al., Real-time Facial Surface Geometry from Monocular Video on
Mobile GPUs, 2019 (arXiv 1907.06724). The third coordinate is relative to the
head, in the scale of x and y. It was learnt from a 3D face model, is not
metric, and was not compared with measured depth.
"""

import dataclasses
import math

import cv2
import numpy as np

from nasfas_jax.preprocessing import face_detector, face_models

INPUT_SIZE = 192
NUM_POINTS = 468
# The place of the tip of the nose among them.
NOSE = 1
# The mesh's input is a square of 1.5 times the larger side of the box.
_REGION_SCALE = 1.5
# The lowest probability of a face according to the mesh; the detector alone
# also finds things that are not faces.
MIN_PRESENCE = 0.5
# Borders around the picture, as shares of its larger side.
_BORDERS = (0.0, 0.25, 0.5)
# Side of the parts in which small faces are searched; their overlap holds a
# face that lies between them.
_PART = 0.6


@dataclasses.dataclass(frozen=True)
class Face:
  """A face that both models agree on.

  Attributes:
    box: float64 [4], the box about the points, in pixels of the picture; may
      reach past its border.
    points: float64 [468, 3], x and y in pixels of the picture, z in the same
      scale, smaller = nearer.
    score: of the detector, in [0, 1].
    presence: of the mesh, in [0, 1].
  """

  box: np.ndarray
  points: np.ndarray
  score: float
  presence: float


def region(box: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
  """The affine map from the mesh's input to the picture.

  The input is a square about the box, rotated so that the eyes are level.

  Args:
    box: floats [4] in pixels.
    keypoints: floats [6, 2], the eyes first.

  Returns:
    float64 [2, 3], for pixel coordinates in which the upper left corner of a
    pixel is at integers.
  """
  across = keypoints[1] - keypoints[0]
  angle = np.arctan2(across[1], across[0])
  scale = _REGION_SCALE * np.max(box[2:] - box[:2]) / INPUT_SIZE
  cos, sin = scale * np.cos(angle), scale * np.sin(angle)
  linear = np.array([[cos, -sin], [sin, cos]])
  centre = (box[:2] + box[2:]) / 2
  offset = centre - linear @ np.full(2, INPUT_SIZE / 2)
  return np.concatenate([linear, offset[:, None]], axis=1)


def warp(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
  """Crops a region to uint8 [192, 192, 3], black past the border."""
  # OpenCV counts from the centre of a pixel, the map from its corner.
  shifted = matrix.copy()
  shifted[:, 2] += matrix[:, :2] @ np.full(2, 0.5) - 0.5
  return cv2.warpAffine(
    image,
    shifted,
    (INPUT_SIZE, INPUT_SIZE),
    flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
  )


def to_picture(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
  """Maps points [N, 3] of the mesh's input into the picture: float64 [N, 3]."""
  points = np.asarray(points, np.float64)
  flat = points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
  scale = np.hypot(matrix[0, 0], matrix[1, 0])
  return np.concatenate([flat, scale * points[:, 2:]], axis=1)


def find_faces(models: face_models.FaceModels, image: np.ndarray) -> list[Face]:
  """The faces of a picture that both models agree on, the largest first.

  The picture is searched at several scales: as it is, for most faces; with
  borders, for faces that fill the picture or reach past it; and, if there is
  none, in parts of it, for small faces.

  Args:
    models: see `face_models.load`.
    image: uint8 RGB [H, W, 3].
  """
  faces = []
  for border in _BORDERS:
    _add(faces, _search(models, image, border))
  if not faces:
    for x, y, part in _parts(image):
      shift = np.array([x, y], np.float64)
      _add(
        faces,
        [
          dataclasses.replace(
            face,
            box=face.box + np.tile(shift, 2),
            points=face.points + np.append(shift, 0),
          )
          for face in _search(models, part)
        ],
      )
  return sorted(faces, key=lambda face: -np.prod(face.box[2:] - face.box[:2]))


def _add(faces: list[Face], found: list[Face]) -> None:
  """Adds the faces that are not already known from another scale."""
  for face in found:
    known = np.array([other.box for other in faces]).reshape(-1, 4)
    overlap = face_detector.overlaps(face.box, known)
    if not np.any(overlap > face_detector.MAX_OVERLAP):
      faces.append(face)


def _parts(image: np.ndarray):
  """Four overlapping parts: (x, y, the part)."""
  height, width = image.shape[:2]
  high, wide = math.ceil(height * _PART), math.ceil(width * _PART)
  for y in (0, height - high):
    for x in (0, width - wide):
      yield x, y, np.ascontiguousarray(image[y : y + high, x : x + wide])


def _search(
  models: face_models.FaceModels, image: np.ndarray, border: float = 0.0
) -> list[Face]:
  """The faces that both models agree on, at one scale."""
  found = face_detector.detect(models.detector, image, border)
  faces = []
  for box, keypoints, score in zip(
    found.boxes, found.keypoints, found.scores, strict=True
  ):
    matrix = region(box, keypoints)
    picture = warp(image, matrix).astype(np.float32) / np.float32(255)
    points, logit = face_models.run(models.mesh, picture)
    presence = 1 / (1 + np.exp(-np.clip(float(logit.item()), -80, 80)))
    if presence < MIN_PRESENCE:
      continue
    points = to_picture(points.reshape(NUM_POINTS, 3), matrix)
    flat = points[:, :2]
    faces.append(
      Face(
        box=np.concatenate([flat.min(axis=0), flat.max(axis=0)]),
        points=points,
        score=float(score),
        presence=float(presence),
      )
    )
  return faces
