"""The parametric 3D face: its shape, and where a ray of sight meets it.

Head coordinates: x to the right of the picture, y down, z towards the viewer;
the unit is half the height of a face, about 27 pixels of a clip. The surface
is a head ellipsoid shifted in z by a relief of Gaussian bumps (nose, brows, eye
sockets, cheeks, lips, chin), the projection is orthographic.
"""

import jax
import jax.numpy as jnp

from nasfas_datasets.synthetic_fas import draws

# Identity: shape (head units) and looks.
IDENTITY_RANGES = {
  'half_width': (0.74, 0.86),
  'half_height': (1.10, 1.22),
  'half_depth': (0.78, 0.92),
  'nose_height': (0.20, 0.34),
  'nose_width': (0.08, 0.13),
  'nose_length': (0.20, 0.30),
  'brow_height': (0.03, 0.08),
  'socket_depth': (0.07, 0.13),
  'cheek_height': (0.02, 0.10),
  'lip_height': (0.04, 0.08),
  'chin_height': (0.04, 0.14),
  'eye_distance': (0.26, 0.34),
  'eye_width': (0.125, 0.165),
  'eye_height': (0.055, 0.085),
  'mouth_y': (0.49, 0.57),
  'mouth_width': (0.19, 0.27),
  'lip_thickness': (0.035, 0.065),
  'brow_y': (-0.33, -0.27),
  'brow_thickness': (0.02, 0.05),
  'hairline': (-0.72, -0.50),
  'hair_length': (-0.2, 1.5),
  'hair_volume': (0.03, 0.14),
  'melanin': (0.0, 1.0),
  'redness': (0.0, 1.0),
  'hair_tone': (0.0, 1.0),
  'iris_tone': (0.0, 1.0),
  'beard': (-1.0, 1.0),
  'pores': (0.10, 0.17),
  'freckles': (-0.1, 0.12),
  'noise_seed': (0.0, 1e6),
  'cloth_r': (0.08, 0.6),
  'cloth_g': (0.08, 0.5),
  'cloth_b': (0.08, 0.6),
}

EYE_Y = -0.12
CENTRE_Y = -0.15  # of the head ellipsoid
FACE_Y = 0.10  # of the face region
NOSE_Y = 0.24

Identity = dict[str, jax.Array]


def sample_identity(key: jax.Array) -> Identity:
  """Draws a person: float32 scalars by the names of IDENTITY_RANGES."""
  return draws.draw(key, IDENTITY_RANGES)


def rotation_matrix(yaw, pitch, roll) -> jax.Array:
  """Head to camera rotation [3, 3] from angles in radians."""
  cy, sy = jnp.cos(yaw), jnp.sin(yaw)
  cp, sp = jnp.cos(pitch), jnp.sin(pitch)
  cr, sr = jnp.cos(roll), jnp.sin(roll)
  zero, one = jnp.zeros_like(cy), jnp.ones_like(cy)
  turn = jnp.stack(
    [
      jnp.stack([cy, zero, sy]),
      jnp.stack([zero, one, zero]),
      jnp.stack([-sy, zero, cy]),
    ]
  )
  nod = jnp.stack(
    [
      jnp.stack([one, zero, zero]),
      jnp.stack([zero, cp, sp]),
      jnp.stack([zero, -sp, cp]),
    ]
  )
  tilt = jnp.stack(
    [
      jnp.stack([cr, -sr, zero]),
      jnp.stack([sr, cr, zero]),
      jnp.stack([zero, zero, one]),
    ]
  )
  return jnp.matmul(tilt, jnp.matmul(nod, turn, precision='highest'))


def _bumps(identity: Identity, mouth) -> list[tuple]:
  """(height, centre x, centre y, width x, width up, width down) of each bump.

  A bump with centre x > 0 stands on both sides of the face.
  """
  i = identity
  jaw = 0.10 * mouth
  return [
    (i['nose_height'], 0.0, NOSE_Y, i['nose_width'], i['nose_length'], 0.08),
    (0.07, 0.11, NOSE_Y + 0.03, 0.06, 0.07, 0.05),
    (i['brow_height'], 0.28, -0.28, 0.20, 0.08, 0.07),
    (-i['socket_depth'], i['eye_distance'], EYE_Y, 0.16, 0.10, 0.12),
    (0.05, i['eye_distance'], EYE_Y, 0.09, 0.06, 0.06),
    (i['cheek_height'], 0.42, 0.20, 0.20, 0.15, 0.25),
    (i['lip_height'], 0.0, i['mouth_y'] - 0.02, 0.22, 0.06, 0.03),
    (i['lip_height'], 0.0, i['mouth_y'] + 0.05 + jaw, 0.18, 0.03, 0.06),
    (i['chin_height'], 0.0, 0.86 + jaw, 0.20, 0.12, 0.14),
  ]


def relief(identity: Identity, mouth, gain, x: jax.Array, y: jax.Array):
  """Height of the relief over the ellipsoid, and its slopes.

  Args:
    identity: a person.
    mouth: how far the mouth is open, 0 to 1.
    gain: factor on all bumps; 1 for a real face.
    x: float32 [H, W], head coordinates.
    y: the same.

  Returns:
    (height, d height / dx, d height / dy), each [H, W].
  """
  height = slope_x = slope_y = jnp.zeros_like(x)
  for amplitude, cx, cy, wx, up, down in _bumps(identity, mouth):
    paired = not isinstance(cx, float) or cx > 0.0
    dx = (jnp.abs(x) if paired else x) - cx
    dy = y - cy
    wy = jnp.where(dy < 0.0, up, down)
    bump = amplitude * gain * jnp.exp(-((dx / wx) ** 2) - (dy / wy) ** 2)
    sign = jnp.sign(x) if paired else 1.0
    height = height + bump
    slope_x = slope_x - 2.0 * sign * dx / (wx * wx) * bump
    slope_y = slope_y - 2.0 * dy / (wy * wy) * bump
  return (height, slope_x, slope_y)


def front(z: jax.Array) -> jax.Array:
  """Weight of the relief: 1 on the front of the head, 0 at its back."""
  return jnp.clip(4.0 * z, 0.0, 1.0)


def trace(identity: Identity, rotation, mouth, gain, u, v, iterations=4):
  """Where the rays of sight meet the head.

  The ray through (u, v) meets the ellipsoid shifted by the relief: solved
  exactly for the ellipsoid and by fixed-point iteration for the relief.

  Args:
    identity: a person.
    rotation: float32 [3, 3], head to camera.
    mouth: how far the mouth is open, 0 to 1.
    gain: factor on the relief.
    u: float32 [H, W], camera coordinates in head units, head at the origin.
    v: the same.
    iterations: of the fixed point.

  Returns:
    A dict of [H, W] arrays: `x`, `y` head coordinates of the surface point,
    `depth` its camera z (greater = nearer), `cover` in [0, 1] how much of the
    pixel the head covers, `normal` [3, H, W] in camera coordinates.
  """
  a, b, c = (
    identity[name] for name in ('half_width', 'half_height', 'half_depth')
  )
  # Point of the ray at camera depth d: origin + d * direction.
  ox, oy, oz = (rotation[0, k] * u + rotation[1, k] * v for k in range(3))
  dx, dy, dz = rotation[2, 0], rotation[2, 1], rotation[2, 2]
  quadratic = (dx / a) ** 2 + (dy / b) ** 2 + (dz / c) ** 2

  def meet(height):
    px, py, pz = ox / a, (oy - CENTRE_Y) / b, (oz - height) / c
    linear = px * dx / a + py * dy / b + pz * dz / c
    constant = px * px + py * py + pz * pz - 1.0
    inside = (linear * linear - quadratic * constant) / (quadratic**2)
    # Rays that pass the head by keep the point nearest to it.
    depth = -linear / quadratic + jnp.sqrt(jnp.maximum(inside, 1e-6))
    return inside, depth, ox + depth * dx, oy + depth * dy, oz + depth * dz

  def improve(_, height):
    _, _, x, y, z = meet(height)
    bump, _, _ = relief(identity, mouth, gain, x, y)
    return front(z) * bump

  # A loop and not its unrolled steps: XLA keeps the height between the steps.
  height = jax.lax.fori_loop(0, iterations, improve, jnp.zeros_like(u))
  inside, depth, x, y, z = meet(height)
  _, slope_x, slope_y = relief(identity, mouth, gain, x, y)

  # Gradient of (x/a)^2 + ((y-cy)/b)^2 + ((z-height(x,y))/c)^2.
  nz = (z - height) / (c * c)
  nx = x / (a * a) - nz * slope_x
  ny = (y - CENTRE_Y) / (b * b) - nz * slope_y
  norm = jax.lax.rsqrt(nx * nx + ny * ny + nz * nz + 1e-6)
  normal = jnp.stack(
    [
      (rotation[k, 0] * nx + rotation[k, 1] * ny + rotation[k, 2] * nz) * norm
      for k in range(3)
    ]
  )
  # inside is about 1 - r^2 in units of c^2: one pixel at the edge is 0.09.
  cover = draws.step(inside * quadratic, 0.09)
  return ({
      'x': x, 'y': y, 'depth': depth, 'cover': cover, 'normal': normal
  })  # fmt: skip


def face_region(identity: Identity, hit: dict[str, jax.Array]) -> jax.Array:
  """bool [H, W]: the pixels of the face proper (no hair, ears or neck)."""
  oval = (hit['x'] / (0.93 * identity['half_width'])) ** 2 + (
    (hit['y'] - FACE_Y) / 0.90
  ) ** 2
  return (oval < 1.0) & (hit['cover'] > 0.5)
