"""A person before a background, as one camera sees them."""

import functools
from typing import NamedTuple

import cv2
import numpy as np

from nasfas_datasets.synthetic_fas.v2 import (
  backdrop,
  draws,
  head,
  light,
  person,
  sensor,
  skin,
  tables,
)
from nasfas_datasets.synthetic_fas.v2.draws import mix, paint, step

# Of head coordinates, at zoom 1 and a face of 50 pixels.
PIXELS_PER_UNIT = 27.0
# Streams of random numbers.
SUBJECTS, CLIPS, ROOMS = range(3)
_PAD = 12  # Pixels around backgrounds, which move.


class Grid(NamedTuple):
  """Where pixels look.

  Attributes:
    x: float32 [N, N], head units from the middle of the face; y: the same.
    density: pixels a head unit.
  """

  x: np.ndarray
  y: np.ndarray
  density: float


class Setting(NamedTuple):
  """What is drawn for a clip before anything is rendered.

  Attributes:
    rng: of the clip.
    place: numbers of the room.
    change: those of the clip.
    dress: clothes of the person before the camera.
    camera: settings of the camera.
    frames: motion of each frame, floats by name.
    shake: of the camera in each frame, head units (x, y).
    fine: grid that is rendered.
    coarse: grid of the sensor.
    scale: side of the face box over 50 pixels.
  """

  rng: np.random.Generator
  place: dict
  change: dict
  dress: dict
  camera: sensor.Camera
  frames: list[dict]
  shake: list[tuple[float, float]]
  fine: Grid
  coarse: Grid
  scale: float


class View(NamedTuple):
  """A person before a background, as one camera sees it.

  Attributes:
    who: the person; maps: of the person.
    lamp: the light.
    u: float32 [N, N], camera coordinates of the pixels; v: the same.
    density: pixels a head unit.
    room: float32 [N + 2 PAD, N + 2 PAD, 3], light from the background.
    body: the same of what is behind the head; mask: [N + 2 PAD, N + 2 PAD].
    oil: strength of the skin's highlights.
    roughness: of the skin.
  """

  who: dict
  maps: person.Maps
  lamp: head.Lamp
  u: np.ndarray
  v: np.ndarray
  density: float
  room: np.ndarray
  body: np.ndarray
  mask: np.ndarray
  oil: float
  roughness: float


class Mask(NamedTuple):
  """A mask that covers the face; None for a bare face.

  Attributes:
    image: float32 map of the reflectance of head and mask.
    gain: factor on the relief.
    facet: steps of the normals of folded card; 0: smooth.
    roughness: of the surface; specular: factor on its highlights.
    attacker: who looks out of the eye holes; shift: of those eyes;
      hole: by which the holes are larger than eyes.
  """

  image: np.ndarray
  gain: float
  facet: float
  roughness: float
  specular: float
  attacker: dict
  shift: float
  hole: float


@functools.lru_cache(maxsize=4)
def subject(seed: int, number: int, density: float):
  """(person, maps): those of a subject, the same in all clips."""
  rng = draws.generator(seed, SUBJECTS, number)
  who = draws.draw(rng, tables.PERSON)
  return who, person.make_maps(who, rng, density)


@functools.lru_cache(maxsize=64)
def room(seed: int, number: int) -> dict:
  """The drawn numbers of a room."""
  return draws.draw(draws.generator(seed, ROOMS, number), tables.ROOM)


def make_grid(pixels: int, size: int, per_unit: float, middle) -> Grid:
  """The grid of a crop of `size` record pixels, sampled pixels x pixels.

  Args:
    pixels: N.
    size: side of the crop in pixels of the record.
    per_unit: pixels of the record a head unit.
    middle: of the face in the crop, pixels of the record (x, y).
  """
  at = (np.arange(pixels, dtype=np.float32) + 0.5) * (size / pixels)
  x, y = np.meshgrid(
    (at - np.float32(middle[0])) / np.float32(per_unit),
    (at - np.float32(middle[1])) / np.float32(per_unit),
  )
  return Grid(x.astype(np.float32), y.astype(np.float32),
              per_unit * pixels / size)  # fmt: skip


def make_lamp(place: dict, change: dict) -> head.Lamp:
  """The light of a clip in a room."""
  direction = np.array(
    [
      place['lamp_x'] + change['lamp_x'],
      place['lamp_y'] + change['lamp_y'],
      place['lamp_z'],
    ]
  )
  direction = direction / np.linalg.norm(direction)
  share = np.clip(place['ambient'] + change['ambient'], 0.15, 0.8)
  key = light.planck(place['lamp_kelvin'] * change['lamp_kelvin'])
  return head.Lamp(
    direction.astype(np.float32),
    np.float32(1 - share) * key,
    np.float32(share) * light.planck(place['sky_kelvin']),
  )


def make_camera(place: dict, change: dict) -> sensor.Camera:
  """The settings of a room's camera in a clip."""
  return sensor.Camera(
    blur=place['blur'] * change['blur'],
    iso=place['iso'] * change['iso'],
    demosaic=place['demosaic'],
    sharpen=place['sharpen'],
    red=place['red'] * change['red'],
    blue=place['blue'] * change['blue'],
    exposure=float(np.clip(place['exposure'] * change['exposure'], 0.25, 0.65)),
    dark=place['dark'] * change['dark'],
    light=min(place['light'] * change['light'], 0.85),
    spread=place['spread'] * change['spread'],
    quality=int(np.clip(place['quality'] + change['quality'], 25, 97)),
    block=(int(change['block_x']) % 16, int(change['block_y']) % 16),
  )


def metered(grid: Grid) -> tuple[slice, slice]:
  """Where a camera meters: 1.28 face sizes about the middle of the face."""
  reach = 1.28 * 25 / PIXELS_PER_UNIT
  across = _between(grid.x[0], -reach, reach)
  return _between(grid.y[:, 0], -reach, reach), across


def make_view(who, maps, setting: Setting, u, v, density, wearer=None) -> View:
  """What stands before the camera of a clip; arguments as in `compose`."""
  return compose(
    who, maps, setting.place, setting.change, setting.dress, setting.rng, u, v,
    density, wearer,
  )  # fmt: skip


def compose(
  who, maps, place, change, dress, rng, u, v, density, wearer=None
) -> View:
  """Draws what stands before a camera.

  Args: as in `View`, but for
    wearer: of a mask, whose skin neck and ears have; None: `who`.
  """
  lamp = make_lamp(place, change)
  size = u.shape[0] + 2 * _PAD
  kind = change['backdrop']
  if kind == 'room':
    kind = place['backdrop']
  tone = np.clip(place['wall_tone'] * change['wall_tone'], 0.05, 0.9)
  behind = backdrop.draw_room(
    kind, tone, place['wall_red'], place['wall_blue'], rng, size, density,
    place['backdrop_blur'] * change['backdrop_blur'],
  )  # fmt: skip
  body, mask = backdrop.draw_body(who, wearer or who, dress, rng, size, density)
  front = max(0.95 * lamp.direction[2] - 0.2 * lamp.direction[1], 0.1)
  oil = float(np.clip(who['oil'] + dress['oil'], 0, 1))
  return View(
    who, maps, lamp, u, v, density,
    draws.tinted(behind, 0.6 * lamp.key + 0.9 * lamp.sky),
    draws.tinted(body, front * lamp.key + lamp.sky), mask, 0.4 + 1.4 * oil,
    0.55 - 0.2 * oil,
  )  # fmt: skip


def _shifted(picture, x, y, size) -> np.ndarray:
  """A padded picture moved by (x, y) pixels, without its padding."""
  return cv2.warpAffine(
    picture,
    np.float32([[1, 0, _PAD - x], [0, 1, _PAD - y]]),
    (size, size),
    flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
    borderMode=cv2.BORDER_REPLICATE,
  )


def see(view: View, frame: dict, shake=(0.0, 0.0), mask: Mask | None = None):
  """Renders a frame of a view.

  Args:
    view: what stands there.
    frame: motion of the frame, floats.
    shake: of the camera, in head units.
    mask: on the face, or None.

  Returns:
    (linear light float32 [N, N, 3], `head.Hit` of the rows and columns near
    the head, and these as slices).
  """
  who, maps, lamp = view.who, view.maps, view.lamp
  at_x, at_y = shake[0] + frame['head_x'], shake[1] + frame['head_y']
  image = behind_head(view, shake, (at_x, at_y))
  zoom = 1 + frame['head_zoom']
  turn = head.rotation(frame['yaw'], frame['pitch'], frame['roll'])
  u = (view.u - np.float32(at_x)) * np.float32(1 / zoom)
  v = (view.v - np.float32(person.FACE_Y + at_y)) * np.float32(1 / zoom)
  v += np.float32(person.FACE_Y)
  # Only where the head may be.
  part = (_between(v[:, 0], -1.6, 1.25), _between(u[0], -1.05, 1.05))
  u, v = np.ascontiguousarray(u[part]), np.ascontiguousarray(v[part])
  hit = head.trace(who, maps, turn, u, v, 1.0 if mask is None else mask.gain)
  look = {
    **frame,
    'soft': 0.03,
    'glint': head.glint(lamp, 3.5 * float(lamp.key[1])),
  }
  if mask is None:
    painted = draws.times(maps.smooth, np.exp(maps.detail))
    person.put_expression(who, maps, painted, look)
  else:
    painted = mask.image.copy()
    _look_through(who, maps, painted, mask, look)
  albedo = head.look_up(painted, hit.x, hit.y, maps.density)
  bare = head.look_up(maps.skin, hit.x, hit.y, maps.density)
  normal = hit.normal
  if mask is None:
    lit = head.irradiance(normal, hit.open_sky, lamp)
    # Under the skin it spreads; hair has none.
    lit = draws.blend(lit, light.scatter(lit, view.density), bare)
    shine = light.highlight(
      normal, lamp.direction, view.roughness, 0.028 * view.oil
    )
    shine *= np.float32(0.15) + np.float32(0.85) * bare
  else:
    inside = step(1 - np.sqrt(mask_oval(who, hit)), 0.06)
    if mask.facet:
      flat = np.round(normal * np.float32(mask.facet)) / np.float32(mask.facet)
      flat /= np.sqrt(np.sum(flat * flat, axis=0) + np.float32(1e-3))
      normal = mix(normal, flat, np.float32(0.7) * inside)
    lit = head.irradiance(normal, hit.open_sky, lamp)
    shine = light.highlight(
      normal, lamp.direction, mask.roughness, 0.04 * mask.specular
    )
    shine *= np.float32(0.15) + np.float32(0.85) * inside
  paint(image[part], albedo * lit + draws.coloured(shine, lamp.key), hit.cover)
  return image, hit, part


def _between(places: np.ndarray, low: float, high: float) -> slice:
  """The slice of ascending places that lie between two values."""
  first, last = np.searchsorted(places, (low, high))
  return slice(int(first), max(int(last), int(first) + 1))


def behind_head(view: View, shake, body) -> np.ndarray:
  """Background and body, moved by head units (x, y) each."""
  size = view.u.shape[0]
  scale = view.density
  room_light = _shifted(view.room, shake[0] * scale, shake[1] * scale, size)
  over = _shifted(view.body, body[0] * scale, body[1] * scale, size)
  mask = _shifted(view.mask, body[0] * scale, body[1] * scale, size)
  return draws.blend(room_light, over, mask)


def mask_oval(who, hit) -> np.ndarray:
  return (hit.x / (0.90 * who['half_width'])) ** 2 + (
    (hit.y - person.FACE_Y) / 0.88
  ) ** 2


def _look_through(who, maps, image, mask: Mask, look) -> None:
  """The attacker's eyes in the holes of a mask; in place."""
  rows, columns = person.window(maps, -0.60, -0.34, 0.60, 0.10)
  x, y = maps.x[rows, columns], maps.y[rows, columns]
  hole = person.almond(who, x, y, 1.0, grow=mask.hole)
  near = {
    **mask.attacker,
    'eye_distance': who['eye_distance'],
    'eye_slant': who['eye_slant'],
  }
  ball_image, ball, lash = person.eyes(
    near, x + mask.shift, y, look['behind'], (-look['gaze_x'], look['gaze_y']),
    look['glint'], look['soft'],
  )  # fmt: skip
  flesh = skin.colour(near['melanin'], near['haemoglobin'])
  behind = mix(flesh, ball_image, ball[..., None]) * (1 - lash)[..., None]
  shadow = 0.6 * (1 - 0.7 * np.exp(-((hole / 0.02) ** 2)))
  paint(image[rows, columns], behind * shadow[..., None], step(hole, 0.035))
