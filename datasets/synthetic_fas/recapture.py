"""What presentation attacks are made of: paper, screens and masks."""

import jax
import jax.numpy as jnp

from nasfas_datasets.synthetic_fas import appearance, camera, draws, face
from nasfas_datasets.synthetic_fas.draws import mix, step, value_noise

MEDIUM_RANGES: draws.Ranges = {
  'dot_strength': (0.20, 0.42),
  'dot_period': (2.5, 4.0),  # pixels
  'dot_angle': (0.0, 1.57),
  'grid_strength': (0.20, 0.42),
  'grid_period': (2.4, 4.4),
  'grid_angle': (-0.12, 0.12),
  'moire_strength': (0.05, 0.16),
  'moire_period': (8.0, 24.0),
  'moire_angle': (0.0, 3.14),
  'moire_bend': (-0.6, 0.6),
  'grain': (0.03, 0.08),
  'ink_black': (0.01, 0.05),
  'ink_fade': (0.0, 0.5),
  'bend': (0.35, 0.9),
  'bend_axis': (0.0, 3.14),
  'edge_left': (0.85, 2.2),
  'edge_right': (0.85, 2.2),
  'edge_top': (1.05, 2.2),
  'edge_bottom': (1.0, 2.2),
  'bezel': (0.04, 0.25),
  'paper_gloss': (0.0, 0.15),
  'glare': (0.0, 0.55),
  'glare_x': (-1.2, 1.2),
  'glare_y': (-1.2, 1.2),
  'glare_size': (0.25, 0.7),
  'flicker': (0.02, 0.08),
  'band': (0.01, 0.05),
  'tint': (-0.12, 0.12),
  'screen_gamma': (0.7, 1.15),
  'gloss': (0.30, 0.60),
  'shininess': (12.0, 30.0),
  'print_soft': (0.05, 0.085),
  'screen_soft': (0.045, 0.07),
  'eye_shift': (-0.03, 0.03),
  'noise_seed': (0.0, 1e6),
  'ink_gamma': (0.7, 1.05),
  'white': (0.35, 0.8),
}


def _wave(period, angle) -> jax.Array:
  """Wave vector [2, ...], radians a head unit, of a period in pixels."""
  rate = 2.0 * jnp.pi * camera.PIXELS_PER_UNIT / period
  return rate * jnp.stack([jnp.cos(angle), jnp.sin(angle)])


def sample_medium(key, kind, variant) -> dict[str, jax.Array]:
  """Draws the material of a clip; strengths of what its kind lacks are 0.

  Args:
    key: PRNG key.
    kind: int32 scalar, index into plan.KINDS.
    variant: int32 scalar, index into plan.VARIANTS of the kind.
  """
  drawn = draws.draw(key, MEDIUM_RANGES)
  cut, replay, rigid, card = (
    (kind == k).astype(jnp.float32) for k in (2, 3, 4, 5)
  )
  paper = (kind == 1).astype(jnp.float32) + cut
  second = (variant == 1).astype(jnp.float32)

  def per_kind(live, on_paper, on_screen, on_rigid, on_card):
    choices = jnp.stack(
      [
        jnp.asarray(value, jnp.float32)
        for value in (live, on_paper, on_paper, on_screen, on_rigid, on_card)
      ]
    )
    return choices[kind]

  return {
      **drawn,
      'paper': paper,
      'cut': cut,
      'screen': replay,
      'mask': rigid + card,
      'card': card,
      'planar': paper + replay,
      'bend': paper * second * drawn['bend'],
      'bezel': replay * mix(drawn['bezel'], 0.5 * drawn['bezel'], second),
      'head_dots': card * drawn['dot_strength'],
      'head_grain': card * drawn['grain'],
      'relief': per_kind(1.0, 1.0, 1.0, 1.0, 0.35),
      'skin_gain': per_kind(1.0, 0.25, 0.4, 0.1, 0.25),
      'soft': per_kind(
          0.04, drawn['print_soft'], drawn['screen_soft'], 0.045,
          drawn['print_soft'],
      ),
      'gloss': per_kind(
          0.06, 0.06, 0.06, drawn['gloss'] * mix(0.6, 1.5, second), 0.03
      ),
      'shininess': per_kind(8.0, 8.0, 8.0, drawn['shininess'], 5.0),
      'flicker': replay * drawn['flicker'],
      'band': replay * drawn['band'],
      'bend_across': jnp.cos(drawn['bend_axis']),
      'bend_along': jnp.sin(drawn['bend_axis']),
      'dot_wave': _wave(
          drawn['dot_period'],
          drawn['dot_angle'] + jnp.array([0.0, 0.52, 1.05], jnp.float32),
      ),
      'grid_wave': _wave(drawn['grid_period'], drawn['grid_angle']),
      'moire_wave': _wave(drawn['moire_period'], drawn['moire_angle']),
  }  # fmt: skip


def plane(medium, frame, x, y):
  """Where the rays of sight meet the carrier: paper or screen.

  The carrier is the surface z = bend * s^2 / 2 (s along `bend_axis`) turned and
  moved as `frame` says; a live head's carrier is the plane z = 0 at rest.

  Args:
    medium: from `sample_medium`.
    frame: motion of one frame.
    x: float32 [H, W], camera coordinates in head units; y: the same.

  Returns:
    (u, v, depth, slope): coordinates of the picture (lengths along the bent
    paper), camera z, and slope of the bend.
  """
  turn = frame['plane_turn']
  zoom = 1.0 + frame['plane_zoom']
  x = (x - frame['plane_x']) / zoom
  y = (y - frame['plane_y']) / zoom
  determinant = turn[0, 0] * turn[1, 1] - turn[0, 1] * turn[1, 0]
  across, along = medium['bend_across'], medium['bend_along']
  height = jnp.zeros_like(x)
  for _ in range(3):
    left, up = x - turn[0, 2] * height, y - turn[1, 2] * height
    p = (turn[1, 1] * left - turn[0, 1] * up) / determinant
    q = (turn[0, 0] * up - turn[1, 0] * left) / determinant
    s = across * p + along * q
    height = -0.5 * medium['bend'] * s * s
  depth = turn[2, 0] * p + turn[2, 1] * q + turn[2, 2] * height
  slope = medium['bend'] * s
  # Arc length of the parabola, to third order, minus s.
  extra = slope * slope * s / 6.0
  return p + across * extra, q + along * extra, depth, slope


def print_texture(medium, image, u, v, strength, grain) -> jax.Array:
  """Halftone dots (one screen a colour), grain and pale ink on an image.

  Args:
    medium: from `sample_medium`.
    image: [3, H, W].
    u: [H, W], coordinates on the paper; v: the same.
    strength: of the dots; 0 leaves the image as it is.
    grain: of the paper.
  """
  inks = []
  for k in range(3):
    c, s = medium['dot_wave'][0, k], medium['dot_wave'][1, k]
    dots = jnp.cos(c * u + s * v) * jnp.cos(c * v - s * u)
    inks.append(image[k] * (1.0 + strength * dots))
  seed = medium['noise_seed'].astype(jnp.int32)
  fibre = 1.0 + grain * value_noise(16.0 * u, 16.0 * v, seed)
  return jnp.stack(inks) * fibre[None]


def _pale(medium, image) -> jax.Array:
  """The gamut of ink on paper: no deep black, weaker colours."""
  grey = sum((0.3, 0.55, 0.15)[k] * image[k] for k in range(3))
  image = mix(image, grey[None], 0.5 * medium['ink_fade'])
  black = medium['ink_black']
  image = jnp.clip(image, 1e-3, 1.1) ** medium['ink_gamma']
  return black + (0.85 - black) * image


def _screen(medium, image, u, v) -> jax.Array:
  """A display photographed: sub-pixel grid, moire, gamma and tint."""
  c, s = medium['grid_wave'][0], medium['grid_wave'][1]
  mc, ms = medium['moire_wave'][0], medium['moire_wave'][1]
  arc = medium['moire_bend'] * (u * u + v * v)
  rows = 0.65 + 0.35 * jnp.cos(c * v - s * u)
  colours = []
  for k in range(3):
    phase = 2.0 * jnp.pi * k / 3.0
    cells = jnp.cos(c * u + s * v + phase) * rows
    beat = jnp.cos(mc * (u + arc) + ms * v + 0.7 * phase)
    tint = 1.0 + medium['tint'] * (1.0, 0.0, -1.0)[k]
    level = jnp.clip(image[k], 1e-3, 1.0) ** medium['screen_gamma']
    colours.append(
      tint
      * level
      * (1.0 + medium['grid_strength'] * cells)
      * (1.0 + medium['moire_strength'] * beat)
    )
  return jnp.stack(colours)


def show_on_paper(clip, image, seen) -> jax.Array:
  """The picture printed and lit: [3, H, W]."""
  medium = clip['medium']
  # Bent paper is darker where it turns off the lamp.
  lamp = clip['lamp']
  across, along = medium['bend_across'], medium['bend_along']
  tilt = seen['plane_slope'] * (lamp[0] * across + lamp[1] * along)
  lit = jnp.maximum(1.0 + 0.8 * tilt, 0.2) + medium['paper_gloss'] * jnp.exp(
    -(((tilt - 0.2) / 0.15) ** 2)
  ) * jnp.minimum(4.0 * medium['bend'], 1.0)
  printed = print_texture(
      medium, _pale(medium, image), seen['u'], seen['v'],
      medium['dot_strength'], medium['grain'],
  )  # fmt: skip
  return printed * lit[None]


def show_on_screen(clip, image, seen) -> jax.Array:
  """The picture on a display, with the room reflected in it: [3, H, W]."""
  medium = clip['medium']
  spot = (seen['at_x'] - medium['glare_x']) ** 2 + (
    seen['at_y'] - medium['glare_y']
  ) ** 2
  spot = jnp.exp(-2.0 * spot / medium['glare_size'] ** 2)
  shown = _screen(medium, image, seen['u'], seen['v'])
  return shown + (0.03 + medium['glare'] * spot)[None]


def place_carrier(clip, image, on_paper, on_screen, seen) -> jax.Array:
  """Puts paper or screen before the room; live and masks: the image."""
  medium = clip['medium']
  u, v = seen['u'], seen['v']
  picture = mix(on_paper, on_screen, medium['screen'])
  inside = jnp.minimum(
    jnp.minimum(u + medium['edge_left'], medium['edge_right'] - u),
    jnp.minimum(v + medium['edge_top'], medium['edge_bottom'] - v + 0.2),
  )
  room = appearance.background(clip['room'], seen['at_x'], seen['at_y'])
  # Paper has a white margin, a screen its bezel; both end at the room.
  border = mix(medium['white'], 0.02, medium['screen'])
  carrier = mix(room, border, step(inside + medium['bezel'], 0.05)[None])
  picture = mix(carrier, picture, step(inside, 0.05)[None])
  return mix(image, picture, medium['planar'])


def flicker(medium, frame, py) -> jax.Array:
  """Gain [1, H, W] of a screen that flickers before a rolling shutter."""
  beat = jnp.sin(2.0 * jnp.pi * frame['phase'])
  roll = jnp.cos(2.0 * jnp.pi * (py / 55.0 + frame['phase']))
  return (1.0 + medium['flicker'] * beat + medium['band'] * roll)[None]


def mask_oval(identity, seen) -> jax.Array:
  """< 1 on the mask, [H, W]; the mask covers the face region."""
  return jnp.sqrt(
    (seen['x'] / (0.90 * identity['half_width'])) ** 2
    + ((seen['y'] - face.FACE_Y) / 0.88) ** 2
  )


def fold_normal(medium, seen) -> jax.Array:
  """Normals [3, H, W]; those of cardboard are those of flat facets."""
  normal = seen['normal']
  facet = jnp.round(normal * 2.2) / 2.2
  facet = facet / jnp.sqrt(jnp.sum(facet * facet, axis=0, keepdims=True) + 1e-3)
  return mix(normal, facet, 0.7 * medium['card'])


def mask_rim(medium, identity, image, seen) -> jax.Array:
  """Darkens the edge of a mask."""
  oval = mask_oval(identity, seen)
  rim = jnp.exp(-(((oval - 1.0) / 0.035) ** 2))
  return image * (1.0 - 0.6 * medium['mask'] * rim)[None]


def eye_holes(clip, frame, image, seen) -> jax.Array:
  """Cuts the eyes out of a mask or a print; the attacker looks through."""
  medium, attacker = clip['medium'], clip['attacker']
  amount = jnp.maximum(medium['cut'], medium['mask'])
  x, y = seen['x'], seen['y']
  hole = (
    step(appearance.almond(clip['identity'], x, y, 1.0, grow=0.028), 0.05)
    * seen['cover']
  )
  # The attacker's eyes stand where the holes are, a little off.
  near = {**attacker, 'eye_distance': clip['identity']['eye_distance']}
  ball_image, ball, lash = appearance.eyes(
      near, x + medium['eye_shift'], y, frame['attacker_openness'],
      -frame['gaze_x'], frame['gaze_y'], 0.04,
  )  # fmt: skip
  skin = attacker['skin'][:, None, None]
  behind = mix(skin, ball_image, ball[None]) * (1.0 - lash)[None]
  ring = appearance.almond(clip['identity'], x, y, 1.0, grow=0.028)
  shadow = 0.5 * (1.0 - 0.7 * jnp.exp(-((ring / 0.02) ** 2)))
  behind = behind * shadow[None]
  return mix(image, behind, (amount * hole)[None])
