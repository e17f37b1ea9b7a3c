"""The face models' files, and both models on pictures where they are there."""

import sys

import numpy as np
import pytest

from nasfas_jax.preprocessing import crop, face_depth, face_mesh, face_models


@pytest.fixture(scope='module')
def models(needs_face_models):
  return face_models.load()


@pytest.fixture(scope='module')
def astronaut(models):
  from skimage import data

  (face,) = face_mesh.find_faces(models, data.astronaut())
  return face


def test_a_missing_file_names_the_command(tmp_path):
  with pytest.raises(
    FileNotFoundError, match='nasfas_datasets.fetch_face_models --folder=.*'
  ):
    face_models.read(tmp_path, face_models.MESH)


def test_another_file_is_refused(tmp_path):
  (tmp_path / face_models.MESH).write_bytes(b'another model')
  with pytest.raises(ValueError, match='SHA-256 sum .*; expected 2efcb4f4'):
    face_models.read(tmp_path, face_models.MESH)


def test_a_missing_runtime_names_the_extra(monkeypatch, tmp_path):
  monkeypatch.setitem(sys.modules, 'ai_edge_litert', None)
  with pytest.raises(ImportError, match=r"pip install -e '.\[prepare\]'"):
    face_models.load(str(tmp_path))


def test_the_face_of_the_astronaut(astronaut):
  # Read off the picture by eye: hairline to chin, cheek to cheek.
  np.testing.assert_allclose(astronaut.box, [175, 68, 273, 175], atol=8)
  assert astronaut.points.shape == (468, 3)
  assert astronaut.score > 0.8 and astronaut.presence > 0.9
  # Pupils and the tip of the nose, by eye; the mesh has the eyes' corners.
  for corners, pupil in (((33, 133), (203, 102)), ((362, 263), (248, 104))):
    middle = astronaut.points[list(corners), :2].mean(axis=0)
    np.testing.assert_allclose(middle, pupil, atol=4)
  nose = astronaut.points[face_mesh.NOSE]
  np.testing.assert_allclose(nose[:2], (224, 129), atol=6)
  assert nose[2] < np.quantile(astronaut.points[:, 2], 0.05)


def test_the_depth_of_the_astronaut(astronaut):
  square = crop.square_around(astronaut.box)
  place = (square.x0, square.y0, square.side)
  depth = face_depth.depth_map(astronaut.points, place, 32)
  inner = crop.box_in_crop(astronaut.box, square, 256)
  ellipse = crop.face_ellipse(inner, 256, 32) > 0
  face = depth > 0
  assert (face & ellipse).sum() / (face | ellipse).sum() > 0.8
  row, column = np.unravel_index(depth.argmax(), depth.shape)
  nose = (astronaut.points[face_mesh.NOSE, :2] - place[:2]) * 32 / place[2]
  np.testing.assert_allclose((column + 0.5, row + 0.5), nose, atol=1.5)
  assert not depth[:3].any() and not depth[-3:].any()
  assert not depth[:, :3].any() and not depth[:, -3:].any()
  # Cheeks lie behind the nose and before the edges of the face.
  edge = face & ~np.roll(face, 1, axis=1)
  assert np.median(depth[edge]) < np.median(depth[face]) < depth.max()


def test_points_turn_with_the_picture(models, astronaut):
  import cv2
  from skimage import data

  matrix = cv2.getRotationMatrix2D((224, 130), 30, 0.8)
  turned = cv2.warpAffine(data.astronaut(), matrix, (512, 512))
  (face,) = face_mesh.find_faces(models, turned)
  expected = astronaut.points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
  # Within 6 % of the distance of the eyes, 37 pixels.
  error = np.linalg.norm(face.points[:, :2] - expected, axis=1)
  assert error.mean() < 2.5
  depths = np.corrcoef(face.points[:, 2], astronaut.points[:, 2])
  assert depths[0, 1] > 0.98


@pytest.mark.parametrize('name', ['coffee', 'cat', 'rocket'])
def test_no_face_where_there_is_none(models, name):
  from skimage import data

  assert face_mesh.find_faces(models, getattr(data, name)()) == []


def test_the_mesh_gates_what_the_detector_takes_for_a_face(models, monkeypatch):
  from skimage import data

  # A detector that takes anything for a face, as some do with a cup.
  monkeypatch.setattr(face_mesh.face_detector, 'MIN_SCORE', 0.0)
  found = face_mesh.face_detector.detect(models.detector, data.coffee())
  assert len(found.boxes) > 0
  # One scale will do: each of its many finds goes to the mesh.
  monkeypatch.setattr(face_mesh, '_BORDERS', (0.0,))
  monkeypatch.setattr(face_mesh, '_parts', lambda image: ())
  assert face_mesh.find_faces(models, data.coffee()) == []


def test_two_faces_come_the_larger_first(models):
  import cv2
  from skimage import data

  face = data.astronaut()[:260, 100:360]
  both = np.zeros((260, 460, 3), np.uint8)
  both[:200, :200] = cv2.resize(face, (200, 200))
  both[:, 200:] = face
  first, second = face_mesh.find_faces(models, both)
  assert first.box[0] > 200 and second.box[2] < 200


def overlap(first, second):
  return face_mesh.face_detector.overlaps(first, second[None])[0]


@pytest.mark.parametrize('cut', [0, 8, 14])
def test_a_face_that_fills_the_picture_or_reaches_past_it(
  models, astronaut, cut
):
  """The detector alone finds none of these."""
  from skimage import data

  x0, y0, x1, y1 = np.round(astronaut.box).astype(int)
  image = data.astronaut()[y0 + cut : y1 - cut, x0 + cut : x1 - cut]
  image = np.ascontiguousarray(image)
  assert not len(face_mesh.face_detector.detect(models.detector, image).boxes)
  (face,) = face_mesh.find_faces(models, image)
  expected = astronaut.box - np.tile([x0 + cut, y0 + cut], 2)
  assert overlap(face.box, expected) > 0.75


@pytest.mark.parametrize('side', [24, 60, 150])
def test_a_small_face(models, astronaut, side):
  """Of 512 pixels; the smallest is found in parts of the picture only."""
  import cv2
  from skimage import data

  scale = side / np.max(astronaut.box[2:] - astronaut.box[:2])
  face = cv2.resize(
    data.astronaut()[30:215, 135:315],
    None,
    fx=scale,
    fy=scale,
    interpolation=cv2.INTER_AREA,
  )
  image = np.full((512, 512, 3), 90, np.uint8)
  image[200 : 200 + len(face), 300 : 300 + len(face[0])] = face[:312, :212]
  (found,) = face_mesh.find_faces(models, image)
  expected = (astronaut.box - [135, 30, 135, 30]) * scale + [300, 200, 300, 200]
  assert overlap(found.box, expected) > 0.7


@pytest.mark.parametrize('degrees', [-45, 60, 90])
def test_a_turned_face(models, astronaut, degrees):
  import cv2
  from skimage import data

  centre = tuple((astronaut.box[:2] + astronaut.box[2:]) / 2)
  matrix = cv2.getRotationMatrix2D(centre, degrees, 1.0)
  image = cv2.warpAffine(data.astronaut(), matrix, (512, 512))
  found = face_mesh.find_faces(models, image)
  assert len(found) == 1
  middle = (found[0].box[:2] + found[0].box[2:]) / 2
  np.testing.assert_allclose(middle, centre, atol=12)
