"""Where rays of sight meet the head, and how the head is lit."""

from typing import NamedTuple

import cv2
import numpy as np

from nasfas_datasets.synthetic_fas.v2 import light, person
from nasfas_datasets.synthetic_fas.v2.draws import step


class Hit(NamedTuple):
  """Where the rays meet the head: float32 [H, W] each.

  Attributes:
    x: head coordinates of the surface; y: likewise.
    depth: distance along the ray, head units; greater is nearer.
    cover: share of the pixel that the head covers.
    normal: [3, H, W], camera coordinates.
    open_sky: share of ambient light that gets there.
  """

  x: np.ndarray
  y: np.ndarray
  depth: np.ndarray
  cover: np.ndarray
  normal: np.ndarray
  open_sky: np.ndarray


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
  """Head to camera rotation [3, 3] from angles in radians."""
  cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
  cr, sr = np.cos(roll), np.sin(roll)
  turn = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
  nod = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
  tilt = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
  return (tilt @ nod @ turn).astype(np.float32)


def look_up(picture: np.ndarray, x, y, density: float) -> np.ndarray:
  """A map of the head at head coordinates, bilinear."""
  return cv2.remap(
    picture,
    (x - person.LEFT) * density - 0.5,
    (y - person.TOP) * density - 0.5,
    cv2.INTER_LINEAR,
    borderMode=cv2.BORDER_REPLICATE,
  )


def trace(who: dict, maps: person.Maps, turn, u, v, gain=1.0, rounds=2) -> Hit:
  """Meets the head: an ellipsoid, shifted in z by the relief of its front.

  Solved exactly for the ellipsoid and by fixed-point iteration for the relief;
  the projection is orthographic.

  Args:
    who: a person.
    maps: of that person.
    turn: float32 [3, 3], head to camera.
    u: float32 [H, W], camera coordinates in head units, head at the origin; v:
      the same.
    gain: factor on the relief.
    rounds: of the iteration.
  """
  a, b, c = (
    np.float32(who[name])
    for name in ('half_width', 'half_height', 'half_depth')
  )
  ox, oy, oz = (turn[0, k] * u + turn[1, k] * v for k in range(3))
  dx, dy, dz = (turn[2, k] for k in range(3))
  quadratic = (dx / a) ** 2 + (dy / b) ** 2 + (dz / c) ** 2
  px, py = ox / a, (oy - np.float32(person.CENTRE_Y)) / b
  linear0 = px * (dx / a) + py * (dy / b)
  constant0 = px * px + py * py - 1

  def meet(height):
    pz = (oz - height) / c
    linear = linear0 + pz * (dz / c)
    inside = linear * linear - quadratic * (constant0 + pz * pz)
    inside /= quadratic * quadratic
    # Rays that pass the head by keep the point nearest to it.
    depth = np.sqrt(np.maximum(inside, 1e-6)) - linear / quadratic
    return inside, depth, ox + depth * dx, oy + depth * dy, oz + depth * dz

  inside, depth, x, y, z = meet(np.float32(0))
  for _ in range(rounds):
    found = look_up(maps.shape, x, y, maps.density)
    height = np.clip(4 * z, 0, 1) * found[..., 0] * np.float32(gain)
    inside, depth, x, y, z = meet(height)
  nz = (z - height) / (c * c)
  steep = nz * np.float32(gain)
  nx = x / (a * a) - steep * found[..., 1]
  ny = (y - np.float32(person.CENTRE_Y)) / (b * b) - steep * found[..., 2]
  scale = 1 / np.sqrt(nx * nx + ny * ny + nz * nz + 1e-6)
  nx, ny, nz = nx * scale, ny * scale, nz * scale
  normal = np.stack(
    [turn[k, 0] * nx + turn[k, 1] * ny + turn[k, 2] * nz for k in range(3)]
  )
  cover = step(inside * quadratic, 0.09)
  return Hit(x, y, depth, cover, normal, found[..., 3])


def face_oval(who: dict, x, y) -> np.ndarray:
  """< 1 on the face proper (no hair, ears or neck), [H, W]."""
  return (x / (0.93 * who['half_width'])) ** 2 + (
    (y - person.FACE_Y) / 0.90
  ) ** 2


class Lamp(NamedTuple):
  """The light of a scene.

  Attributes:
    direction: unit vector [3] to the lamp, camera coordinates.
    key: colour and strength [3] of the lamp.
    sky: colour and strength [3] of the ambient light.
  """

  direction: np.ndarray
  key: np.ndarray
  sky: np.ndarray


def irradiance(normal: np.ndarray, open_sky, lamp: Lamp) -> np.ndarray:
  """Light that falls on a surface, [H, W, 3]; ambient light is from above.

  Args:
    normal: float32 [3, H, W], camera coordinates.
    open_sky: share of ambient light that gets there, [H, W].
    lamp: the light.
  """
  diffuse = np.clip(light.cosine(normal, lamp.direction), 0, 1)
  sky = open_sky * (1 - np.float32(0.3) * normal[1])
  return cv2.merge(
    [diffuse * lamp.key[k] + sky * lamp.sky[k] for k in range(3)]
  )


def glint(lamp: Lamp, strength: float) -> tuple[float, float, float]:
  """The lamp's image in the cornea: the first Purkinje image.

  A sphere of 7.8 mm radius (Gullstrand's eye) mirrors a distant lamp where its
  normal is the half vector.

  Returns:
    Offset x, y from the middle of the iris in head units, and the strength.
  """
  half = lamp.direction + np.array([0, 0, 1], np.float32)
  half = half / np.sqrt(half @ half)
  radius = 7.8 / light.HEAD_UNIT_MM
  return float(radius * half[0]), float(radius * half[1]), strength
