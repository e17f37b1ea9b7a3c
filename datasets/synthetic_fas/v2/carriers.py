"""Carriers of pictures: sheets of paper and screens before the camera."""

from typing import NamedTuple

import cv2
import numpy as np

from nasfas_datasets.synthetic_fas.v2 import (
  draws,
  head,
  light,
  paper,
  person,
  plan,
  screen,
  sensor,
  skin,
  tables,
)
from nasfas_datasets.synthetic_fas.v2 import view as views
from nasfas_datasets.synthetic_fas.v2.draws import mix, paint, step
from nasfas_datasets.synthetic_fas.v2.view import Grid, Setting, View

# Head units from the middle of a shown picture to its edge.
SHOWN_REACH = 1.7
FPS = 8.0


class Plane(NamedTuple):
  """Where rays meet a carrier: float32 [H, W] each.

  Attributes:
    u: coordinates of the picture (lengths along bent paper); v: the same.
    depth: camera z.
    slope: of the bend.
  """

  u: np.ndarray
  v: np.ndarray
  depth: np.ndarray
  slope: np.ndarray


def meet_plane(frame, x, y, bend: float, axis: float) -> Plane:
  """Meets the surface z = -bend s^2 / 2, s along `axis`, as `frame` moves it.

  Args:
    frame: motion of the frame.
    x: float32 [H, W], camera coordinates in head units from the middle of the
      face; y: the same.
    bend: curvature.
    axis: direction in which it bends, radians.
  """
  turn = head.rotation(
    frame['plane_yaw'], frame['plane_pitch'], frame['plane_roll']
  )
  zoom = 1 + frame['plane_zoom']
  x = (x - frame['plane_x']) / zoom
  y = (y - frame['plane_y']) / zoom
  determinant = turn[0, 0] * turn[1, 1] - turn[0, 1] * turn[1, 0]
  across, along = np.float32(np.cos(axis)), np.float32(np.sin(axis))
  height = np.float32(0)
  for _ in range(3 if bend else 1):
    left, up = x - turn[0, 2] * height, y - turn[1, 2] * height
    p = (turn[1, 1] * left - turn[0, 1] * up) / determinant
    q = (turn[0, 0] * up - turn[1, 0] * left) / determinant
    s = across * p + along * q
    height = np.float32(-0.5 * bend) * s * s
  depth = turn[2, 0] * p + turn[2, 1] * q + turn[2, 2] * height
  slope = np.float32(bend) * s
  # Arc length of the parabola, to third order, minus s.
  extra = slope * slope * s / 6
  return Plane(
    p + across * extra, q + along * extra, np.broadcast_to(depth, p.shape),
    np.broadcast_to(slope, p.shape),
  )  # fmt: skip


class Shot(NamedTuple):
  """A picture that another camera took: for prints and screens.

  Attributes:
    pictures: one or F of float32 [P, P, 3], display values in [0, 1].
    head: float32 [2, P, P], head coordinates in the first one; 9 beside it.
    density: pixels a head unit.
    view: what was taken.
  """

  pictures: list[np.ndarray]
  head: np.ndarray
  density: float
  view: View


class Carrier(NamedTuple):
  """A carrier and what it shows.

  Attributes:
    shot: the picture.
    edges: where the picture ends.
    view: the room and the attacker behind the carrier.
    bend: curvature and its axis.
    stock: the paper; display: the screen.
  """

  shot: Shot
  edges: dict
  view: View
  bend: tuple[float, float]
  stock: dict
  display: dict


def take_pictures(who, maps, frames, rng, scale: float) -> Shot:
  """Takes the pictures that an attack shows, with a camera of its own.

  Args:
    who: the person shown; maps: of the person.
    frames: motion of the frames that are needed.
    rng: of the clip.
    scale: sides of faces over 50 pixels.
  """
  place = draws.draw(rng, tables.ROOM)
  change = draws.draw(rng, tables.CLIP)
  dress = draws.draw(rng, tables.DRESS)
  size = 2 * round(64 * scale)
  density = size / (2 * SHOWN_REACH)
  at = (np.arange(size, dtype=np.float32) + 0.5 - size / 2) / np.float32(
    density
  )
  u, v = np.meshgrid(at, at + np.float32(person.FACE_Y))
  view = views.compose(who, maps, place, change, dress, rng, u, v, density)
  camera = views.make_camera(place, change)._replace(
    # A picture worth showing: more light, better balanced.
    iso=100.0 + 0.15 * place['iso'], block=(0, 0),
    quality=int(rng.integers(70, 97)),
  )  # fmt: skip
  area = views.metered(Grid(u, v - np.float32(person.FACE_Y), density))
  taken, gain, first = [], None, None
  for frame in frames:
    seen, hit, part = views.see(view, frame)
    if first is None:
      first = np.full((2, *u.shape), 9, np.float32)
      first[0][part], first[1][part] = hit.x, hit.y
    seen = cv2.GaussianBlur(seen, (0, 0), max(camera.blur, 0.4))
    if gain is None:
      gain = sensor.meter(seen, camera, area)
    taken.append(
      sensor.develop(sensor.expose(seen, camera, gain, rng), camera, gain)
    )
  taken = sensor.compress(taken, camera)
  return Shot(
    [picture.astype(np.float32) / 255 for picture in taken], first, density,
    view,
  )  # fmt: skip


def _from_shot(picture, shot: Shot, u, v) -> np.ndarray:
  """A picture at places of the carrier."""
  middle = picture.shape[0] / 2 - 0.5
  return cv2.remap(
    picture,
    u * np.float32(shot.density) + np.float32(middle),
    v * np.float32(shot.density) + np.float32(middle),
    cv2.INTER_LINEAR,
    borderMode=cv2.BORDER_REPLICATE,
  )


def see(clip: plan.Clip, who, maps, setting: Setting):
  """What the sensor gets of paper or a screen, and how that is bent.

  Args:
    clip: a print, a cut print or a replay.
    who: the person shown; maps: of the person.
    setting: of the clip.

  Returns:
    (F of float32 [n, n, 3], (curvature, axis)).
  """
  rng, frames, camera = setting.rng, setting.frames, setting.camera
  fine, coarse = setting.fine, setting.coarse
  replay = clip.attack_type == 'replay'
  shot = take_pictures(
    who, maps, frames if replay else frames[:1], rng, setting.scale
  )
  stock = draws.draw(rng, tables.PAPER)
  display = draws.draw(rng, tables.SCREEN)
  edges = draws.draw(rng, tables.EDGES)
  attacker = draws.draw(rng, tables.PERSON)
  bent = clip.medium == 'paper_bent'
  bend = (stock['bend'] if bent else 0.0, stock['bend_axis'])
  view = views.make_view(attacker, maps, setting, fine.x, fine.y, fine.density)
  carrier = Carrier(shot, edges, view, bend, stock, display)
  if replay:
    shown = [
      np.float32(display['brightness']) * screen.emitted(picture, display)
      for picture in shot.pictures
    ]
  else:
    linear = sensor.from_srgb(shot.pictures[0])
    areas = paper.dot_areas(
      np.clip(stock['brightness'] * linear, 0, 1), stock['gamut'],
      stock['dot_gain'],
    )  # fmt: skip
    grain = draws.noise(rng, *linear.shape[:2], 1.6 * setting.scale)
    printed = draws.times(
      paper.reflectance(
        areas, stock['yule_nielsen'], stock['ink_density'], paper.white(stock)
      ),
      1 + np.float32(stock['grain']) * grain,
    )
  seen = []
  for k, (frame, move) in enumerate(zip(frames, setting.shake, strict=True)):
    plane, near = (
      meet_plane(frame, grid.x - move[0], grid.y - move[1], *bend)
      for grid in (fine, coarse)
    )
    if replay:
      picture = _screen_light(shown[k], plane, fine, move, carrier)
      picture = sensor.lens(picture, coarse.x.shape[0], camera.blur)
      picture *= _screen_pattern(clip.medium, near, k, carrier, setting)
    else:
      cut = clip.attack_type == 'print_cut'
      picture = _paper_light(printed, plane, move, frame, cut, carrier)
      picture = sensor.lens(picture, coarse.x.shape[0], camera.blur)
      there = _from_shot(areas, shot, near.u, near.v)
      dots = paper.dots(
        there, near.u, near.v, stock, coarse.density, camera.blur
      )
      if dots is not None:
        picture *= 1 + draws.times(dots - 1, _inside(edges, near, 0.06))
    seen.append(picture)
  return seen, bend


def _inside(edges, plane, soft, margin=0.0) -> np.ndarray:
  """1 on the picture of a carrier, [H, W]; `margin` beyond it too."""
  return step(
    margin
    + np.minimum(
      np.minimum(plane.u + edges['left'], edges['right'] - plane.u),
      np.minimum(plane.v + edges['top'], edges['bottom'] - plane.v),
    ),
    soft,
  )


def _paper_light(printed, plane, move, frame, cut, carrier: Carrier):
  """Light from a print and what is around it, [N, N, 3]."""
  view, edges, stock = carrier.view, carrier.edges, carrier.stock
  lamp, axis = view.lamp, carrier.bend[1]
  turn = head.rotation(
    frame['plane_yaw'], frame['plane_pitch'], frame['plane_roll']
  )
  # The normal of the bent sheet, turned as the plane is.
  upright = 1 / np.sqrt(1 + plane.slope * plane.slope)
  lean = plane.slope * upright
  across = turn @ np.float32([np.cos(axis), np.sin(axis), 0])
  normal = np.stack([lean * across[k] + upright * turn[k, 2] for k in range(3)])
  lit = head.irradiance(normal, np.float32(1), lamp)
  shine = light.highlight(
    normal, lamp.direction, stock['roughness'], 0.04 * stock['sheen']
  )
  reflects = _from_shot(printed, carrier.shot, plane.u, plane.v)
  paint(reflects, paper.white(stock), 1 - _inside(edges, plane, 0.03))
  sheet = reflects * lit + draws.coloured(shine, lamp.key)
  if cut:
    _cut_eyes(sheet, lit, frame, plane, carrier)
  image = views.behind_head(view, move, move)
  paint(image, sheet, _inside(edges, plane, 0.03, edges['margin']))
  return image


def _cut_eyes(sheet, lit, frame, plane, carrier: Carrier) -> None:
  """The attacker's eyes behind the holes of a cut print; in place."""
  shot, view, edges = carrier.shot, carrier.view, carrier.edges
  who = shot.view.who
  x, y = (_from_shot(place, shot, plane.u, plane.v) for place in shot.head)
  rows = np.flatnonzero(np.any(np.abs(y - person.EYE_Y) < 0.2, axis=1))
  if not len(rows):
    return
  part = slice(rows[0], rows[-1] + 1)
  x, y = x[part], y[part]
  hole = person.almond(who, x, y, 1.0, grow=edges['hole'])
  other = {
    **view.who,
    'eye_distance': who['eye_distance'],
    'eye_slant': who['eye_slant'],
  }
  ball_image, ball, lash = person.eyes(
    other, x, y, frame['behind'], (frame['gaze_x'], frame['gaze_y']),
    head.glint(view.lamp, 2.0 * float(view.lamp.key[1])), 0.04,
  )  # fmt: skip
  flesh = skin.colour(other['melanin'], other['haemoglobin'])
  behind = mix(flesh, ball_image, ball[..., None]) * (1 - lash)[..., None]
  shadow = 0.65 * (1 - 0.6 * np.exp(-((hole / 0.02) ** 2)))
  paint(sheet[part], behind * shadow[..., None] * lit[part], step(hole, 0.04))


def _screen_light(shown, plane, fine: Grid, move, carrier: Carrier):
  """Light from a screen and what is around it, without its sub-pixels."""
  view, edges, display = carrier.view, carrier.edges, carrier.display
  lamp = view.lamp
  glass = _from_shot(shown, carrier.shot, plane.u, plane.v)
  spot = (fine.x - display['glare_x']) ** 2 + (fine.y - display['glare_y']) ** 2
  spot = np.exp(-2 * spot / display['glare_size'] ** 2)
  frame = np.float32(0.02) * (lamp.key + lamp.sky)
  paint(glass, frame, 1 - _inside(edges, plane, 0.02))
  panel = cv2.add(
    glass + draws.coloured(np.float32(display['glare']) * spot, lamp.key),
    (*(display['reflection'] * lamp.sky.astype(float)), 0.0),
  )
  image = views.behind_head(view, move, move)
  paint(image, panel, _inside(edges, plane, 0.03, display['bezel']))
  return image


def _screen_pattern(medium, near, number, carrier: Carrier, setting: Setting):
  """Factor [H, W, 3] of sub-pixels and refresh at the sensor's pixels."""
  display, coarse = carrier.display, setting.coarse
  frequency = views.PIXELS_PER_UNIT / display['pitch']
  layout = 'pentile' if medium == 'phone_oled' else 'stripe'
  c, s = np.cos(display['angle']), np.sin(display['angle'])
  pattern = screen.sub_pixels(
    layout,
    (c * near.u + s * near.v).astype(np.float32),
    (c * near.v - s * near.u).astype(np.float32),
    frequency,
    display['fill'],
    lambda rate: sensor.transfer(rate / coarse.density, setting.camera.blur),
  )
  rows = coarse.x.shape[0]
  start = number / FPS + np.arange(rows) * display['row_time']
  band = screen.banding(
    start, display['shutter'], display['refresh'], display['duty']
  )
  pattern *= band[:, None, None]
  return 1 + draws.times(pattern - 1, _inside(carrier.edges, near, 0.06))
