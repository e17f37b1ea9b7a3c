"""Draws a clip and renders its frames: who or what is before the camera.

A live person and a mask are seen straight. A print and a screen carry a picture
that another camera took elsewhere; their plane moves before the camera. What
any of them sends to the camera goes through the same lens and sensor.
"""

import cv2
import numpy as np

from nasfas_datasets.synthetic_fas.v2 import (
  carriers,
  draws,
  head,
  masks,
  motion,
  person,
  plan,
  sensor,
  tables,
)
from nasfas_datasets.synthetic_fas.v2 import view as views
from nasfas_datasets.synthetic_fas.v2.view import Grid, Setting

NUM_FRAMES = 8
DEPTH_SIZE = 32
DEPTH_RANGE = 1.1  # head units from the nearest point down to depth 1
# Pixels of the rendering along a pixel of the sensor.
FINE = 1.5


def make(clip: plan.Clip, size: plan.Size):
  """Renders a clip: a pure function of the clip and the size.

  Returns:
    (frames uint8 [F, size, size, 3], depth uint8 [F, 32, 32], face_box float32
    [4]: x0, y0, x1, y1 in whole pixels of the crop).
  """
  rng = draws.generator(size.seed, views.CLIPS, clip.index)
  scale = size.face / 50
  who, maps = views.subject(size.seed, clip.subject, 80.0 * scale)
  place = views.room(size.seed, clip.room)
  change = draws.draw(rng, tables.CLIP)
  dress = draws.draw(rng, tables.DRESS)
  camera = views.make_camera(place, change)
  kind = clip.attack_type
  moves = motion.sample(rng, kind, NUM_FRAMES)
  frames = [
    {name: float(value[k]) for name, value in moves.items()}
    for k in range(NUM_FRAMES)
  ]
  per_unit = views.PIXELS_PER_UNIT * scale * change['zoom']
  box = [
    size.pixels / 2 + round(scale * change[name]) for name in ('box_x', 'box_y')
  ]
  middle = [
    box[k] + scale * change[name]
    for k, name in enumerate(('error_x', 'error_y'))
  ]
  sensor_size = 2 * round(
    size.pixels * place['distance'] * change['distance'] / 2
  )
  fine = views.make_grid(
    round(FINE * sensor_size), size.pixels, per_unit, middle
  )
  coarse = views.make_grid(sensor_size, size.pixels, per_unit, middle)
  low = views.make_grid(DEPTH_SIZE, size.pixels, per_unit, middle)
  shake = [
    (scale * f['shake_x'] / per_unit, scale * f['shake_y'] / per_unit)
    for f in frames
  ]
  setting = Setting(
    rng, place, change, dress, camera, frames, shake, fine, coarse, scale
  )
  if kind in ('print', 'print_cut', 'replay'):
    seen, bend = carriers.see(clip, who, maps, setting)
    relief = 1.0
  else:
    seen, relief = _see_head(clip, who, maps, setting)
    bend = None
  depth = [
    _depth(who, maps, frame, low, move, relief, bend)
    for frame, move in zip(frames, shake, strict=True)
  ]
  gain = sensor.meter(seen[0], camera, views.metered(coarse))
  pictures = [
    sensor.develop(sensor.expose(picture, camera, gain, rng), camera, gain)
    for picture in seen
  ]
  pictures = sensor.compress(pictures, camera)
  shrinks = sensor_size > size.pixels
  pictures = [
    cv2.resize(
      picture, (size.pixels, size.pixels),
      interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
    )
    for picture in pictures
  ]  # fmt: skip
  half = size.face / 2
  corners = [box[0] - half, box[1] - half, box[0] + half, box[1] + half]
  return np.stack(pictures), np.stack(depth), np.float32(corners)


def _see_head(clip: plan.Clip, who, maps, setting: Setting):
  """What the sensor gets of a live person or a mask; and the relief's gain."""
  rng, fine, coarse = setting.rng, setting.fine, setting.coarse
  mask = areas = attacker = None
  if clip.kind:
    attacker = draws.draw(rng, tables.PERSON)
  view = views.make_view(
    who, maps, setting, fine.x, fine.y + np.float32(person.FACE_Y),
    fine.density, attacker,
  )  # fmt: skip
  if clip.kind:
    mask, stock, areas = masks.make_mask(
      who, maps, clip.attack_type, clip.medium, attacker, rng
    )
  seen = []
  for frame, move in zip(setting.frames, setting.shake, strict=True):
    picture, hit, part = views.see(view, frame, move, mask)
    picture = sensor.lens(picture, coarse.x.shape[0], setting.camera.blur)
    if areas is not None:
      picture *= masks.dots(who, maps, hit, part, stock, areas, setting)
    seen.append(picture)
  return seen, 1.0 if mask is None else mask.gain


def _depth(who, maps, frame, low: Grid, move, relief, bend) -> np.ndarray:
  """uint8 [32, 32]: 255 at the nearest point of the face, 0 outside it."""
  x, y = low.x - move[0], low.y - move[1]
  plane = None
  if bend is not None:
    plane = carriers.meet_plane(frame, x, y, *bend)
    x, y = plane.u, plane.v
  zoom = 1 + frame['head_zoom']
  turn = head.rotation(frame['yaw'], frame['pitch'], frame['roll'])
  u = (x - frame['head_x']) / zoom
  v = (y - frame['head_y']) / zoom + np.float32(person.FACE_Y)
  hit = head.trace(who, maps, turn, u, v, relief, rounds=4)
  face = (head.face_oval(who, hit.x, hit.y) < 1) & (hit.cover > 0.5)
  depth = hit.depth if plane is None else plane.depth
  nearest = np.max(depth[face]) if face.any() else 0
  value = np.clip(1 - (nearest - depth) / DEPTH_RANGE, 0, 1)
  return np.where(face, np.round(1 + 254 * value), 0).astype(np.uint8)
