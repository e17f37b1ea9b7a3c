"""The mesh's geometry and the depth raster, against loops."""

import numpy as np
import pytest

from nasfas_jax.preprocessing import face_depth, face_mesh


def dome(yaw=0.0):
  """468 points of half an ellipsoid, turned about the vertical axis.

  The points that the frontal view is found by are where a face has them.
  """
  rng = np.random.default_rng(0)
  angle = rng.uniform(0, 2 * np.pi, 468)
  radius = np.sqrt(rng.uniform(0, 1, 468))
  radius[160:230] = 1  # The rim.
  x, y = radius * np.cos(angle), radius * np.sin(angle)
  named = {33: (-0.5, -0.3), 61: (-0.3, 0.5), 234: (-0.95, 0.0)}
  for left, right in ((33, 263), (61, 291), (234, 454)):
    x[left], y[left] = named[left]
    x[right], y[right] = -x[left], y[left]
  (x[10], y[10]), (x[152], y[152]) = (0, -0.98), (0, 0.98)
  x[face_mesh.NOSE], y[face_mesh.NOSE] = 0, 0
  z = -0.8 * np.sqrt(np.maximum(1 - x**2 - y**2, 0))
  turned = np.cos(yaw) * x + np.sin(yaw) * z
  return np.stack([turned, 1.3 * y, np.cos(yaw) * z - np.sin(yaw) * x], axis=1)


def reference_raster(flat, height, triangles, size):
  """Every cell and triangle in loops; barycentric weights by a solver."""
  result = np.full((size, size), -np.inf)
  for corners in triangles:
    system = np.vstack([flat[corners].T, np.ones(3)])
    if abs(np.linalg.det(system)) < 1e-12:
      continue
    inverse = np.linalg.inv(system)
    for i in range(size):
      for j in range(size):
        weights = inverse @ [j + 0.5, i + 0.5, 1]
        if weights.min() >= -1e-12:
          result[i, j] = max(result[i, j], weights @ height[corners])
  return result


def test_raster_matches_loops():
  rng = np.random.default_rng(3)
  flat, height = rng.uniform(-3, 12, (14, 2)), rng.uniform(0, 1, 14)
  triangles = np.array([rng.permutation(14)[:3] for _ in range(25)])
  triangles = np.concatenate([triangles, [[4, 4, 7]]])  # One without area.
  drawn = face_depth.rasterise(flat, height, triangles, 9)
  expected = reference_raster(flat, height, triangles, 9)
  assert np.isinf(expected).any() and np.isfinite(expected).any()
  np.testing.assert_allclose(drawn, expected, atol=1e-9)


def test_the_nearest_of_two_layers_is_drawn():
  flat = np.array([[0, 0], [9, 0], [0, 9]] * 2, np.float64)
  height = np.array([0.2] * 3 + [0.7] * 3)
  triangles = np.arange(6).reshape(2, 3)
  for order in (triangles, triangles[::-1]):
    drawn = face_depth.rasterise(flat, height, order, 4)
    np.testing.assert_allclose(drawn, 0.7)


def test_frontal_view_undoes_a_turn():
  # Exact where left and right mirror each other, as they do here.
  straight = face_depth.frontal(dome())
  for yaw in (-1.2, 0.5):
    np.testing.assert_allclose(
      face_depth.frontal(dome(yaw)), straight, atol=1e-9
    )
  np.testing.assert_allclose(straight, dome()[:, :2], atol=1e-9)


def test_triangles_do_not_depend_on_the_turn():
  def edges(points):
    return {
      frozenset(corners.tolist()) for corners in face_depth.triangulate(points)
    }

  straight, turned = edges(dome()), edges(dome(1.0))
  # Rounding may flip the diagonal of a few nearly round quadrilaterals.
  assert len(straight & turned) > 0.98 * len(straight)


def test_depth_of_a_dome():
  size, side = 32, 4.0
  drawn = face_depth.depth_map(dome(), (-2, -2, side), size)
  assert drawn.dtype == np.float32 and drawn.shape == (size, size)
  centres = (np.arange(size) + 0.5) * side / size - 2
  x, y = centres[None], centres[:, None] / 1.3
  inside = x**2 + y**2
  analytic = np.sqrt(np.maximum(1 - inside, 0))
  # The straight triangles between random points lie a little below it.
  np.testing.assert_allclose(
    drawn[inside < 0.8], analytic[inside < 0.8], atol=0.12
  )
  np.testing.assert_array_equal(drawn[inside > 1.0], 0)
  assert drawn[drawn > 0].min() >= np.float32(1 / 255)
  assert 0.97 < drawn.max() <= 1
  row, column = np.unravel_index(drawn.argmax(), drawn.shape)
  assert row in (15, 16) and column in (15, 16)


def test_depth_of_a_dome_turned_aside():
  drawn = face_depth.depth_map(dome(1.0), (-2, -2, 4.0), 32)
  # The silhouette of the half ellipsoid reaches as far as its outline to the
  # left, and to the edge of its base on the right.
  columns = (np.nonzero(drawn.any(axis=0))[0] + 0.5) / 8 - 2
  left = np.hypot(np.cos(1.0), 0.8 * np.sin(1.0))
  np.testing.assert_allclose(columns.min(), -left, atol=0.13)
  np.testing.assert_allclose(columns.max(), np.cos(1.0), atol=0.13)


@pytest.mark.parametrize('step', [0, 6])
def test_depth_covers_the_square_that_is_asked_for(step):
  whole = face_depth.depth_map(dome(), (-2, -2, 4.0), 32)
  part = face_depth.depth_map(dome(), (-1 + step / 8, -2, 2.0), 16)
  expected = whole[:16, 8 + step : 24 + step]
  assert expected.any()
  np.testing.assert_allclose(part, expected, atol=1e-6)


def test_region_maps_there_and_back():
  box = np.array([40.0, 60.0, 100.0, 140.0])
  eyes = np.array([[55.0, 90.0], [85.0, 75.0]])
  matrix = face_mesh.region(box, np.concatenate([eyes, np.zeros((4, 2))]))
  centre = face_mesh.to_picture([[96, 96, 5]], matrix)[0]
  # 1.5 times the larger side, 80 pixels, is 192 pixels of the input.
  np.testing.assert_allclose(centre, [70, 100, 5 * 120 / 192])
  inverse = np.linalg.inv(matrix[:, :2])
  left, right = ((inverse @ (eye - matrix[:, 2])) for eye in eyes)
  assert left[1] == pytest.approx(right[1]) and left[0] < right[0]


def test_warp_puts_a_spot_where_the_map_says():
  image = np.zeros((160, 150, 3), np.uint8)
  image[86:94, 51:59] = 255  # About (55, 90).
  box = np.array([40.0, 60.0, 100.0, 140.0])
  eyes = np.array([[55.0, 90.0], [85.0, 75.0]])
  matrix = face_mesh.region(box, np.concatenate([eyes, np.zeros((4, 2))]))
  picture = face_mesh.warp(image, matrix)
  rows, columns = np.nonzero(picture[..., 0] > 127)
  spot = [[columns.mean() + 0.5, rows.mean() + 0.5, 0]]
  np.testing.assert_allclose(
    face_mesh.to_picture(spot, matrix)[0, :2], [55, 90], atol=0.3
  )
