"""A person: the shape and the colour of the head, as maps over its front.

Head coordinates: x to the right of the picture, y down, z towards the viewer,
in head units. A map covers x from -1 to 1 and y from -1.45 to 1.15.
"""

from typing import NamedTuple

import cv2
import numpy as np

from nasfas_datasets.synthetic_fas.v2 import draws, skin
from nasfas_datasets.synthetic_fas.v2.draws import mix, paint, step

EYE_Y = -0.12
CENTRE_Y = -0.15  # of the head ellipsoid
FACE_Y = 0.10  # of the face region
NOSE_Y = 0.24
LEFT, TOP, RIGHT, BOTTOM = -1.0, -1.45, 1.0, 1.15

IRIS = {
  'brown': (0.10, 0.05, 0.025),
  'dark': (0.035, 0.02, 0.015),
  'blue': (0.14, 0.22, 0.34),
  'green': (0.13, 0.17, 0.08),
  'grey': (0.18, 0.20, 0.21),
}


class Maps(NamedTuple):
  """What is known of each point of the head's front.

  Attributes:
    density: pixels a head unit.
    x: float32 [H, W], head coordinates.
    y: likewise.
    shape: float32 [H, W, 4]: height of the relief over the ellipsoid, its
      slopes along x and y, and the share of ambient light that gets there.
    smooth: float32 [H, W, 3], reflectance without fine detail.
    detail: float32 [H, W], logarithm of the fine detail.
    skin: float32 [H, W], 1 on skin, 0 on hair.
    fine: float32 [H, W], noise of unit deviation.
  """

  density: float
  x: np.ndarray
  y: np.ndarray
  shape: np.ndarray
  smooth: np.ndarray
  detail: np.ndarray
  skin: np.ndarray
  fine: np.ndarray


def bumps(person: dict) -> list[tuple]:
  """(height, centre x, centre y, width x, width up, width down) of each bump.

  A bump with centre x > 0 stands on both sides of the face.
  """
  p = person
  return [
    (p['nose_height'], 0.0, NOSE_Y, p['nose_width'], p['nose_length'], 0.08),
    (0.07, 0.11, NOSE_Y + 0.03, 0.06, 0.07, 0.05),
    (p['brow_height'], 0.28, -0.28, 0.20, 0.08, 0.07),
    (-p['socket_depth'], p['eye_distance'], EYE_Y, 0.16, 0.10, 0.12),
    (0.05, p['eye_distance'], EYE_Y, 0.09, 0.06, 0.06),
    (p['cheek_height'], 0.42, 0.20, 0.20, 0.15, 0.25),
    (p['lip_height'], 0.0, p['mouth_y'] - 0.02, 0.22, 0.06, 0.03),
    (p['lip_height'], 0.0, p['mouth_y'] + 0.05, 0.18, 0.03, 0.06),
    (p['chin_height'], 0.0, 0.86, 0.20, 0.12, 0.14),
    # A slender jaw: the sides of the lower face lie back.
    (-p['jaw'], 0.62, 0.75, 0.24, 0.40, 0.40),
  ]


def relief(person: dict, x: np.ndarray, y: np.ndarray):
  """Height of the relief and its slopes along x and y, each [H, W]."""
  height, slope_x, slope_y = (np.zeros_like(x) for _ in range(3))
  side, sign = np.abs(x), np.sign(x)
  for amplitude, cx, cy, wx, up, down in bumps(person):
    paired = cx > 0
    dx = (side if paired else x) - np.float32(cx)
    dy = y - np.float32(cy)
    wy = np.where(dy < 0, np.float32(up), np.float32(down))
    bump = np.float32(amplitude) * np.exp(-((dx / wx) ** 2) - (dy / wy) ** 2)
    height += bump
    slope_x -= (2 / (wx * wx)) * dx * bump * (sign if paired else 1)
    slope_y -= 2 * dy / (wy * wy) * bump
  return height, slope_x, slope_y


def hair_colour(person: dict) -> np.ndarray:
  """Reflectance of the hair, [3]; dark skin goes with dark hair."""
  tone = person['hair_tone'] * np.exp(-2.5 * person['melanin'])
  colour = np.array([0.02, 0.016, 0.014]) + tone * np.array([0.4, 0.25, 0.12])
  grey = max(person['hair_grey'], 0) * person['age']
  return mix(colour, np.array([0.45, 0.44, 0.43]), grey).astype(np.float32)


def make_maps(person: dict, rng, density: float) -> Maps:
  """Draws the maps of a person.

  Args:
    person: from `tables.PERSON`.
    rng: for the pattern of the skin.
    density: pixels a head unit.
  """
  width, height = round(density * (RIGHT - LEFT)), round(density * 2.6)
  x, y = np.meshgrid(
    (np.arange(width, dtype=np.float32) + 0.5) / density + LEFT,
    (np.arange(height, dtype=np.float32) + 0.5) / density + TOP,
  )
  side = np.abs(x)

  def noise(cell):
    return draws.noise(rng, height, width, max(cell * density, 1.3))

  def spot(cx, cy, wx, wy, mirrored=True):
    across = side if mirrored else x
    return np.exp(-(((across - cx) / wx) ** 2) - ((y - cy) / wy) ** 2)

  hollow, slope_x, slope_y = relief(person, x, y)
  around = cv2.GaussianBlur(hollow, (0, 0), 0.07 * density)
  open_sky = np.clip(1 + 2.6 * (hollow - around), 0.35, 1.1)

  # Blood in cheeks, nose and lips; melanin in blotches, freckles and moles.
  fine, blotch = noise(0.022), noise(0.12)
  blood = person['haemoglobin'] * (
    1
    + 0.7 * spot(0.38, 0.22, 0.2, 0.18)
    + 0.6 * spot(0, 0.2, 0.13, 0.12)
    + 0.12 * blotch
  )
  melanin = person['melanin'] * (1 + 0.12 * noise(0.2) + 0.06 * blotch)
  age = person['age']
  melanin += 0.35 * age * spot(person['eye_distance'], -0.02, 0.13, 0.05)
  freckled = max(person['freckles'], 0)
  melanin += freckled * step(noise(0.03) - 1.2, 0.5) * spot(0, 0.1, 0.6, 0.4)
  for _ in range(int(rng.integers(0, 5))):
    cx, cy = rng.uniform(-0.6, 0.6), rng.uniform(-0.5, 0.8)
    size = rng.uniform(0.012, 0.028)
    melanin += rng.uniform(0.4, 1.2) * spot(cx, cy, size, size, False)
  detail = person['pores'] * fine + 0.03 * noise(0.05)
  # Wrinkles: the forehead, crow's feet, from nose to mouth.
  for cy in (-0.44, -0.52, -0.60):
    line = cy + 0.03 * np.cos(5 * x) + 0.012 * blotch
    detail -= (
      0.16 * age * np.exp(-(((y - line) / 0.012) ** 2)) * spot(0, cy, 0.45, 0.2)
    )
  fold = side - 0.20 - 0.35 * (y - 0.25)
  detail -= (0.10 + 0.35 * age) * np.exp(
    -((fold / 0.025) ** 2) - ((y - 0.36) / 0.12) ** 2
  )
  smooth = skin.colour(np.maximum(melanin, 0.02), np.maximum(blood, 0.02))
  # Creases that light does not reach.
  shade = (
    0.30 * spot(0, NOSE_Y + 0.10, 0.15, 0.05)
    + 0.20 * spot(0, person['mouth_y'] + 0.17, 0.2, 0.05)
    + 0.12 * spot(0.14, NOSE_Y - 0.12, 0.04, 0.16)
    + 0.16 * spot(0.19, -0.16, 0.10, 0.09)
  )
  nostril = step(
    1 - ((side - 0.065) / 0.040) ** 2 - ((y - 0.315) / 0.022) ** 2, 1.0
  )
  smooth *= ((1 - shade) * (1 - 0.75 * nostril))[..., None]

  hair = hair_colour(person)
  strand = np.exp(
    0.25 * cv2.resize(noise(0.03)[::4], (width, height)) + 0.1 * fine
  )
  _paint_beard(person, smooth, detail, side, x, y, hair, fine)
  bow = person['brow_y'] + person['brow_bow'] * (side - 0.30) ** 2 - 0.06 * side
  brow = step(person['brow_thickness'] - np.abs(y - bow), 0.03) * step(
    0.17 - np.abs(side - 0.30), 0.06
  )
  paint(smooth, 0.8 * hair, np.clip((0.7 + 0.2 * fine) * brow, 0, 1))

  cover = _hair_cover(person, x, y, side, noise(0.25))
  if person['hair'] == 'curly':
    strand = np.exp(0.5 * noise(0.05))
  paint(smooth, hair * strand[..., None], cover)
  if person['cap'] == 'cap':
    cover = step(-0.50 + 0.25 * x * x - y, 0.03)
    cloth = np.array(rng.uniform(0.03, 0.6, 3), np.float32)
    fold = 1 + 0.12 * noise(0.2) + 0.05 * fine
    paint(smooth, cloth * fold[..., None], cover)
  detail *= 1 - cover
  bare = 1 - cover
  _paint_glasses(person, smooth, detail, bare, side, y)
  shape = np.dstack([hollow, slope_x, slope_y, open_sky]).astype(np.float32)
  return Maps(
    density, x, y, shape, smooth, detail.astype(np.float32), bare, fine
  )


def _hair_cover(person, x, y, side, wave) -> np.ndarray:
  if person['hair'] == 'bald':
    return np.zeros_like(x)
  line = person['hairline'] + 0.05 * wave
  line = line + 0.5 * (x - 0.25 * person['parting']) ** 2
  temple = {'long': 0.5, 'bob': 0.35, 'curly': 0.2, 'short': 0.0, 'tied': -0.1}
  edge = np.maximum(
    line - y,
    np.minimum(
      side - 0.88 * person['half_width'] + 0.05 * wave,
      temple[person['hair']] - y,
    ),
  )
  return step(edge, 0.06)


def _paint_beard(person, smooth, detail, side, x, y, hair, fine) -> None:
  kind = person['beard']
  if kind == 'none':
    return
  jaw = np.minimum(
    np.maximum(y - 0.62, 0.9 * (side - 0.42) + 0.4 * (y - 0.3)), 0.15
  )
  lip = 0.05 - np.abs(y - person['mouth_y'] + 0.11 - 0.1 * side)
  lip = np.minimum(lip, 0.24 - side)
  edge = lip if kind == 'moustache' else np.maximum(jaw, lip)
  amount = {'stubble': 0.35, 'full': 0.9, 'moustache': 0.85}[kind]
  cover = np.clip(amount * step(edge, 0.10) * (1 + 0.35 * fine), 0, 0.95)
  paint(smooth, hair, cover * (y < 1.05) * (y > -0.1 + 0.2 * (side < 0.6)))
  detail += 0.10 * fine * step(edge, 0.10)


def _paint_glasses(person, smooth, detail, bare, side, y) -> None:
  if person['glasses'] == 'none':
    return
  dx, dy = side - person['eye_distance'], y - EYE_Y - 0.02
  if person['glasses'] == 'round':
    ring = np.sqrt(dx * dx + dy * dy) - 0.19
  else:
    ring = np.maximum(np.abs(dx) - 0.21, np.abs(dy) - 0.14)
  frame = step(0.018 - np.abs(ring), 0.02)
  bridge = step(0.014 - np.abs(dy + 0.03), 0.02) * step(
    person['eye_distance'] - 0.19 - side, 0.02
  )
  arm = step(0.014 - np.abs(dy + 0.04), 0.02) * step(dx - 0.2, 0.02)
  frame = np.maximum(frame, np.maximum(bridge, arm))
  tone = 0.02 if person['hair_tone'] < 0.7 else 0.25
  paint(smooth, np.float32((tone, 0.8 * tone, 0.7 * tone)), frame)
  detail *= 1 - frame
  bare *= 1 - frame


def window(maps: Maps, left, top, right, bottom) -> tuple[slice, slice]:
  """The rows and columns of a map that cover a rectangle of the head."""

  def place(value, first):
    return int(round((value - first) * maps.density))

  return (
    slice(max(place(top, TOP), 0), place(bottom, TOP)),
    slice(max(place(left, LEFT), 0), place(right, LEFT)),
  )


def almond(person: dict, x, y, openness, grow=0.0) -> np.ndarray:
  """Signed measure of the eye openings; > 0 inside."""
  ex = np.abs(x) - person['eye_distance']
  width = person['eye_width'] + grow
  height = (person['eye_height'] + grow) * openness
  middle = EYE_Y - person['eye_slant'] * ex
  return height * (1 - (ex / width) ** 2) - np.abs(y - middle)


def eyes(person: dict, x, y, openness, gaze, glint, soft):
  """Eyeballs, lids and lashes.

  Args:
    person: whose eyes.
    x: float32 [H, W], head coordinates; y: the same.
    openness: 1 open, 0 closed.
    gaze: offset (x, y) of the irises.
    glint: offset (x, y) and strength of the lamp's image in the cornea.
    soft: width of edges.

  Returns:
    (reflectance [H, W, 3], mask of the eyeball, mask of lashes and crease).
  """
  ex = (np.abs(x) - person['eye_distance']) * np.sign(x)
  ey = y - EYE_Y + person['eye_slant'] * np.abs(ex) * np.sign(ex * x)
  radius = np.sqrt((ex - gaze[0]) ** 2 + (ey - gaze[1]) ** 2)
  image = np.empty((*x.shape, 3), np.float32)
  image[:] = (0.62, 0.58, 0.56)
  image *= np.clip(1 - 2.5 * np.maximum(np.abs(ex) - 0.05, 0), 0, 1)[..., None]
  # The upper lid shades the ball.
  image *= np.clip(1 + 6 * (ey + 0.01), 0.45, 1)[..., None]
  iris = np.array(IRIS[person['iris']], np.float32)
  paint(image, iris, step(0.064 - radius, soft))
  paint(image, 0.35 * iris, step(0.008 - np.abs(radius - 0.061), soft))
  paint(image, (0.008, 0.008, 0.008), step(0.027 - radius, soft))
  spot = np.sqrt(
    (ex - gaze[0] - glint[0]) ** 2 + (ey - gaze[1] - glint[1]) ** 2
  )
  image += (glint[2] * step(0.016 - spot, 0.02))[..., None]

  ball = step(almond(person, x, y, openness), soft)
  ball = ball * min(max((openness - 0.1) * 10, 0), 1)
  lid = mix(0.025, -person['eye_height'], openness) * (
    1 - (ex / person['eye_width']) ** 2
  )
  reach = step(1.08 * person['eye_width'] - np.abs(ex), 0.05)
  upper = 0.8 * np.exp(-(((ey - lid) / 0.018) ** 2))
  lower = 0.25 * openness * np.exp(-(((ey + lid) / 0.014) ** 2))
  crease = 0.28 * np.exp(-(((ey - lid + 0.05) / 0.02) ** 2))
  return image, ball, reach * np.maximum(np.maximum(upper, lower), crease)


def put_expression(person, maps: Maps, image, look) -> None:
  """Paints eyes and mouth of a frame onto a copy of the map; in place.

  Args:
    person: whose.
    maps: their maps.
    image: float32 [H, W, 3], reflectance.
    look: `openness`, `gaze_x`, `gaze_y`, `mouth`, `glint`, `soft`.
  """
  rows, columns = window(maps, -0.60, -0.34, 0.60, 0.10)
  x, y = maps.x[rows, columns], maps.y[rows, columns]
  ball_image, ball, lash = eyes(
    person, x, y, look['openness'], (look['gaze_x'], look['gaze_y']),
    look['glint'], look['soft'],
  )  # fmt: skip
  part = image[rows, columns]
  bare = maps.skin[rows, columns]
  paint(part, ball_image, ball * bare)
  part *= (1 - lash * bare)[..., None]
  rows, columns = window(maps, -0.34, 0.36, 0.34, 0.84)
  _paint_mouth(
    person, image[rows, columns], maps.x[rows, columns], maps.y[rows, columns],
    look['mouth'], look['soft'],
  )  # fmt: skip


def _paint_mouth(person, image, x, y, mouth, soft) -> None:
  """Lips, the line between them, teeth and throat of an open mouth."""
  half = person['mouth_width']
  shape = np.maximum(1 - (x / half) ** 2, 0)
  opening = 0.075 * mouth * shape
  middle = person['mouth_y'] + 0.02 + 0.02 * (x / half) ** 2 + 0.06 * mouth
  thick = person['lip_thickness']
  root = np.sqrt(shape + 1e-6)
  bow = 1 - 0.25 * np.exp(-((x / 0.05) ** 2))
  upper = middle - opening - thick * bow * root
  lower = middle + opening + 1.25 * thick * root
  lip = step(np.minimum(y - upper, lower - y), soft) * step(shape, 0.1)
  red = skin.colour(
    0.7 * person['melanin'], person['haemoglobin'] + person['lip_blood']
  )
  paint(image, red, 0.85 * lip)
  seam = np.exp(-(((y - middle) / (0.018 + opening)) ** 2)) * step(shape, 0.3)
  paint(image, 0.15 * red, 0.85 * seam)
  teeth = step(opening - 0.012 - np.abs(y - middle + 0.6 * opening), soft)
  paint(image, (0.60, 0.56, 0.50), 0.8 * teeth)
