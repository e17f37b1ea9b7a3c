"""From a face mesh to a depth map of the crop.

The depth is the mesh's own z. It is relative, scaled to [0, 1] for each face,
and was not compared with measured depth.
"""

import numpy as np
from scipy import spatial

# Pairs of points at the same height left and right (outer corners of the eyes,
# corners of the mouth, temples); the forehead and the chin.
_LEFT, _RIGHT = [33, 61, 234], [263, 291, 454]
_TOP, _BOTTOM = 10, 152
# The stored maps have 256 levels; cells on the face must stay above 0.
_LOWEST = 1 / 255


def frontal(points: np.ndarray) -> np.ndarray:
  """Projects the mesh to its own frontal view.

  The axis across the face is the mean direction between the points left and
  right; the axis down is that from forehead to chin, made orthogonal to it.

  Args:
    points: floats [468, 3].

  Returns:
    float64 [468, 2], x across and y down the face.
  """
  points = np.asarray(points, np.float64)
  across = np.mean(points[_RIGHT] - points[_LEFT], axis=0)
  across /= np.linalg.norm(across)
  down = points[_BOTTOM] - points[_TOP]
  down -= (down @ across) * across
  down /= np.linalg.norm(down)
  return np.stack([points @ across, points @ down], axis=1)


def triangulate(points: np.ndarray) -> np.ndarray:
  """Triangulates the points of a mesh.

  A Delaunay triangulation in the mesh's own frontal view, where a face hardly
  folds, however the head is turned in the picture.

  Returns:
    int [T, 3], places in `points`.
  """
  return spatial.Delaunay(frontal(points)).simplices


def rasterise(
  flat: np.ndarray, height: np.ndarray, triangles: np.ndarray, size: int
) -> np.ndarray:
  """Draws triangles; where several overlap, the highest wins.

  Args:
    flat: floats [N, 2], x and y in cells of the map, whose first cell has its
      centre at (0.5, 0.5).
    height: floats [N].
    triangles: int [T, 3].
    size: side of the map.

  Returns:
    float64 [size, size], the height at the centre of each cell; -inf outside
    all triangles.
  """
  corners = flat[triangles]
  first = np.floor(corners.min(axis=1)).astype(int).clip(0, size)
  last = np.ceil(corners.max(axis=1)).astype(int).clip(0, size)
  # Every triangle gets a window of cells as large as the largest one needs.
  columns, rows = np.meshgrid(*map(np.arange, (last - first).max(axis=0)))
  columns = first[:, :1] + columns.ravel()  # [T, cells of the window]
  rows = first[:, 1:] + rows.ravel()
  a, b, c = np.moveaxis(corners[:, :, None], 1, 0)  # [T, 1, 2]
  (ux, uy), (vx, vy) = np.moveaxis(b - a, -1, 0), np.moveaxis(c - a, -1, 0)
  area = ux * vy - uy * vx
  area = np.where(area == 0, np.nan, area)  # One without area covers no cell.
  x, y = columns + 0.5 - a[..., 0], rows + 0.5 - a[..., 1]
  second = (x * vy - y * vx) / area
  third = (y * ux - x * uy) / area
  weights = np.stack([1 - second - third, second, third], axis=-1)
  levels = np.einsum('tcv,tv->tc', weights, height[triangles])
  covered = np.all(weights >= 0, axis=-1) & (rows < size) & (columns < size)
  drawn = np.full((size, size), -np.inf)
  np.maximum.at(drawn, (rows[covered], columns[covered]), levels[covered])
  return drawn


def depth_map(
  points: np.ndarray, square: tuple[float, float, float], size: int
) -> np.ndarray:
  """The depth of a face over a square of its picture.

  Args:
    points: floats [468, 3], see `face_mesh.Face`.
    square: x0, y0 and side of the region that the map covers, in pixels.
    size: side of the map.

  Returns:
    float32 [size, size] in [0, 1], the depth at the centre of each cell: 0
    outside the face, 1 at the depth of the mesh's nearest point (the tip of the
    nose of a frontal face), 1 / 255 at that of its farthest.
  """
  points = np.asarray(points, np.float64)
  x0, y0, side = square
  flat = (points[:, :2] - np.array([x0, y0], np.float64)) * (size / side)
  z = points[:, 2]
  nearness = (z.max() - z) / (z.max() - z.min())
  height = _LOWEST + (1 - _LOWEST) * nearness
  drawn = rasterise(flat, height, triangulate(points), size)
  return np.where(np.isfinite(drawn), drawn, 0).clip(0, 1).astype(np.float32)
