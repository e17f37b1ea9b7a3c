"""Draws a clip and renders its frames: who or what is before the camera.

A live person and a mask are seen straight; a print and a screen carry a
picture of another rendering, whose plane moves before the camera. All kinds
go through the same code, so that they differ only in what they are.
"""

import jax
import jax.numpy as jnp

from nasfas_datasets.synthetic_fas import (
  appearance,
  camera,
  draws,
  face,
  recapture,
  rooms,
)
from nasfas_datasets.synthetic_fas.draws import mix, paint, step

NUM_FRAMES = 8
DEPTH_SIZE = 32
DEPTH_RANGE = 1.1  # head units from the nearest point down to depth 1

LIVE, PRINT, PRINT_CUT, REPLAY, MASK_RIGID, MASK_PAPER = range(6)

PLACE_RANGES: draws.Ranges = {
  'box_x': (-2.499, 2.499),  # pixels off the middle of the crop, rounded
  'box_y': (-2.499, 2.499),
  'error_x': (-1.5, 1.5),  # of the detector, pixels
  'error_y': (-1.5, 1.5),
  'zoom': (0.93, 1.05),
}

Clip = dict[str, jax.Array]


def clip_keys(seed, index, subject) -> dict[str, jax.Array]:
  """The PRNG keys of a clip, one for each thing that is drawn.

  Args:
    seed: int32 scalar, of the dataset.
    index: int32 scalar, of the clip.
    subject: int32 scalar; all clips of a subject draw the same identity.
  """
  key = jax.random.key(seed)
  # Subjects and clips draw from streams of their own.
  subjects, clips = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
  names = (
    'attacker', 'camera', 'studio', 'studio_domain', 'room', 'shown_room',
    'motion', 'place', 'medium', 'noise',
  )  # fmt: skip
  split = jax.random.split(jax.random.fold_in(clips, index), len(names))
  keys = {name: split[k] for k, name in enumerate(names)}
  keys['subject'] = jax.random.fold_in(subjects, subject)
  return keys


def sample_studio(key: jax.Array) -> jax.Array:
  """The domain (int32) under whose light a shown picture was taken."""
  return jax.random.randint(key, (), 0, len(rooms.DOMAINS))


def sample_place(key: jax.Array) -> dict[str, jax.Array]:
  """Where the face is in the crop."""
  return draws.draw(key, PLACE_RANGES)


def join(kind, parts) -> Clip:
  """The clip of what was drawn.

  A picture that is shown was taken elsewhere, under other light.

  Args:
    kind: int32 scalar, index into plan.KINDS.
    parts: identity, attacker, camera, studio (a camera), room, shown_room,
      motion, place, medium, noise_key.

  Returns:
    A pytree of float32 arrays. 'motion' holds [F, ...] arrays, one a frame.
  """
  parts = dict(parts)
  studio, shown_room = parts.pop('studio'), parts.pop('shown_room')
  planar = (kind == PRINT) | (kind == PRINT_CUT) | (kind == REPLAY)

  def pick(seen, shown):
    return jnp.where(planar, shown, seen)

  names = ('direction', 'ambient')
  lamp = {name: parts['camera'][name] for name in names}
  return {
    **parts,
    'lamp': lamp['direction'],
    'light': jax.tree.map(pick, lamp, {name: studio[name] for name in names}),
    'head_room': jax.tree.map(pick, parts['room'], shown_room),
  }


def grid(size: int) -> tuple[jax.Array, jax.Array]:
  """Pixel centres of the crop sampled size x size; two [size, size] arrays."""
  place = (jnp.arange(size, dtype=jnp.float32) + 0.5) * (camera.SIZE / size)
  x, y = jnp.meshgrid(place, place)
  return x, y


def face_box(clip: Clip) -> jax.Array:
  """float32 [4]: x0, y0, x1, y1 in whole pixels of the crop."""
  half = camera.FACE_PIXELS / 2
  x = camera.SIZE / 2 + jnp.round(clip['place']['box_x'])
  y = camera.SIZE / 2 + jnp.round(clip['place']['box_y'])
  return jnp.stack([x - half, y - half, x + half, y + half])


def surface(clip: Clip, frame, px, py) -> dict[str, jax.Array]:
  """What the pixels see: the carrier plane and the head shown there.

  Args:
    clip: from `join`.
    frame: clip['motion'] of one frame (scalars).
    px: float32 [H, W], pixels of the crop.
    py: the same.

  Returns:
    The dict of `face.trace` and `u`, `v` (coordinates in the plane in which
    the head stands), `plane_depth`, `plane_slope`, `at_x`, `at_y` (where the
    pixel is in the room, head units) and `face` (bool, the face region).
  """
  place = clip['place']
  scale = camera.PIXELS_PER_UNIT * place['zoom']
  x = px - camera.SIZE / 2 - jnp.round(place['box_x']) - place['error_x']
  y = py - camera.SIZE / 2 - jnp.round(place['box_y']) - place['error_y']
  at_x = (x - frame['shake_x']) / scale
  at_y = (y - frame['shake_y']) / scale + face.FACE_Y
  u, v, plane_depth, slope = recapture.plane(
    clip['medium'], frame, at_x, at_y - face.FACE_Y
  )
  v = v + face.FACE_Y
  zoom = 1.0 + frame['head_zoom']
  head_u = (u - frame['head_x']) / zoom
  head_v = (v - face.FACE_Y - frame['head_y']) / zoom + face.FACE_Y
  hit = face.trace(
    clip['identity'],
    frame['head_turn'],
    frame['mouth'],
    clip['medium']['relief'],
    head_u,
    head_v,
  )
  return {
    **hit,
    'u': head_u,
    'v': head_v,
    'plane_depth': plane_depth,
    'plane_slope': slope,
    'at_x': at_x,
    'at_y': at_y,
    'face': face.face_region(clip['identity'], hit),
  }


def render_depth(clip: Clip, frame) -> jax.Array:
  """uint8 [32, 32]: 255 at the nearest point of the face, 0 outside it."""
  px, py = grid(DEPTH_SIZE)
  seen = surface(clip, frame, px, py)
  planar = clip['medium']['planar']
  depth = mix(seen['depth'], seen['plane_depth'], planar)
  nearest = jnp.max(jnp.where(seen['face'], depth, -1e3))
  value = 1.0 - (nearest - depth) / DEPTH_RANGE
  value = jnp.round(1.0 + 254.0 * jnp.clip(value, 0.0, 1.0))
  return jnp.where(seen['face'], value, 0.0).astype(jnp.uint8)


# The frame is rendered in stages (clip, frame, seen, images) -> image, each of
# which is a program of its own: XLA fuses the whole into few loops that compute
# most of it again for every use, fifty times slower.


def _draw_room(clip, frame, seen, images):
  del frame, images
  return appearance.background(clip['head_room'], seen['u'], seen['v'])


def _draw_body(clip, frame, seen, images):
  return appearance.body(
      clip['identity'], images['room'], seen['u'], seen['v'], frame['yaw'],
      frame['pitch'],
  )  # fmt: skip


def _draw_skin(clip, frame, seen, images):
  del images
  look = {name: frame[name] for name in
          ('mouth', 'openness', 'gaze_x', 'gaze_y')}  # fmt: skip
  look['soft'] = clip['medium']['soft']
  return appearance.albedo(
    clip['identity'], seen, look, clip['medium']['skin_gain']
  )


def _draw_head(clip, frame, seen, images):
  del frame
  medium, identity = clip['medium'], clip['identity']
  head = recapture.print_texture(
      medium, images['skin'], seen['x'], seen['y'], medium['head_dots'],
      medium['head_grain'],
  )  # fmt: skip
  on_face = step(1.0 - recapture.mask_oval(identity, seen), 0.08)
  head = appearance.shade(
    head,
    recapture.fold_normal(medium, seen),
    clip['light'],
    mix(0.06, medium['gloss'], on_face),
    medium['shininess'],
  )
  head = recapture.mask_rim(medium, identity, head, seen)
  return paint(images['body'], head, seen['cover'])


def _draw_eyes(clip, frame, seen, images):
  return recapture.eye_holes(clip, frame, images['head'], seen)


def _draw_paper(clip, frame, seen, images):
  del frame
  return recapture.show_on_paper(clip, images['eyes'], seen)


def _draw_screen(clip, frame, seen, images):
  del frame
  return recapture.show_on_screen(clip, images['eyes'], seen)


def _draw_carrier(clip, frame, seen, images):
  image = recapture.place_carrier(
    clip, images['eyes'], images['paper'], images['screen'], seen
  )
  return image * recapture.flicker(clip['medium'], frame, grid(camera.SIZE)[1])


STAGES = {
  'room': _draw_room,
  'body': _draw_body,
  'skin': _draw_skin,
  'head': _draw_head,
  'eyes': _draw_eyes,
  'paper': _draw_paper,
  'screen': _draw_screen,
  'scene': _draw_carrier,
}
