"""What is behind a person: rooms, and the person's own neck and shoulders."""

import cv2
import numpy as np

from nasfas_datasets.synthetic_fas.v2 import draws, person, skin
from nasfas_datasets.synthetic_fas.v2.draws import paint, step


def draw_room(kind, tone, red, blue, rng, size: int, density: float, blur):
  """A background: float32 [size, size, 3].

  Args:
    kind: a value of `backdrop` in the table of rooms.
    tone: reflectance of the wall.
    red: more red than green, a share; blue: likewise.
    rng: for what stands there.
    size: of the picture in pixels.
    density: pixels a head unit.
    blur: of what is out of focus, head units.
  """
  # Out of focus as it is, half the pixels will do.
  small = max(size // 2, 8)
  scale = density * small / size

  def noise(cell):
    return draws.noise(rng, small, small, max(cell * scale, 1.3))

  wall = np.clip(tone * np.array([1 + red, 1.0, 1 + blue]), 0.02, 1).astype(
    np.float32
  )
  ramp = np.linspace(-1, 1, small, dtype=np.float32)
  slope = rng.uniform(-0.3, 0.3, 2)
  light = 1 + slope[0] * ramp[:, None] + slope[1] * ramp[None]
  light = light + 0.06 * noise(0.8) + 0.03 * noise(0.08)
  image = draws.coloured(np.clip(light, 0.05, None).astype(np.float32), wall)
  if kind == 'shelf':
    _put_books(image, rng, small, scale)
  elif kind == 'window':
    _put_window(image, rng, small, scale)
  elif kind == 'curtain':
    rate = rng.uniform(8, 20)
    fold = 1 + 0.35 * np.sin(rate * np.arange(small) / scale + 1.5 * noise(1.0))
    image *= fold.astype(np.float32)[..., None]
  elif kind == 'bokeh':
    for _ in range(int(rng.integers(10, 40))):
      centre = tuple(int(v) for v in rng.integers(0, small, 2))
      radius = int(max(rng.uniform(0.05, 0.4) * scale, 1))
      colour = np.float32(rng.uniform(0.05, 1.2, 3) * rng.uniform(0.2, 1.2))
      cv2.circle(image, centre, radius, colour.tolist(), -1, cv2.LINE_AA)
  if rng.random() < 0.6:  # A picture on the wall, a door, a board.
    x0, y0 = rng.integers(-small // 3, small, 2)
    w, h = (rng.uniform(0.3, 1.5, 2) * scale).astype(int)
    colour = np.float32(rng.uniform(0.03, 0.9) * rng.uniform(0.6, 1.4, 3))
    corner = (int(x0 + w), int(y0 + h))
    cv2.rectangle(image, (int(x0), int(y0)), corner, colour.tolist(), -1)
  image = cv2.GaussianBlur(image, (0, 0), max(blur * scale, 0.4))
  image = cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR)
  return np.clip(image, 0.005, 3)


def _put_books(image, rng, size, scale) -> None:
  top = int(rng.uniform(-0.5, 0) * scale)
  while top < size:
    height = int(rng.uniform(0.5, 0.9) * scale) + 2
    left = 0
    while left < size:
      width = int(rng.uniform(0.06, 0.22) * scale) + 1
      rise = int(rng.uniform(0, 0.25) * height)
      colour = rng.uniform(0.02, 0.7) * rng.uniform(0.4, 1.5, 3)
      cv2.rectangle(
        image, (left, top + rise), (left + width - 1, top + height),
        np.float32(colour).tolist(), -1,
      )  # fmt: skip
      left += width
    top += height + max(int(0.06 * scale), 1)


def _put_window(image, rng, size, scale) -> None:
  left = int(rng.uniform(-1.2, 1.0) * scale + size / 2)
  top = int(rng.uniform(-1.6, -0.4) * scale + size / 2)
  width, height = (rng.uniform(0.9, 2.2, 2) * scale).astype(int)
  bright = np.float32(rng.uniform(0.9, 2.2) * np.array([0.92, 1.0, 1.08]))
  corner = (left + int(width), top + int(height))
  cv2.rectangle(image, (left, top), corner, bright.tolist(), -1)
  bars = int(rng.integers(1, 4))
  for k in range(1, bars + 1):
    x = left + int(width) * k // (bars + 1)
    cv2.line(image, (x, top), (x, corner[1]), (0.4, 0.4, 0.4), 2)


def draw_body(
  who: dict, wearer: dict, dress: dict, rng, size: int, density: float
):
  """Hair behind the head, ears, neck and shoulders of a head at rest.

  Returns:
    (reflectance float32 [size, size, 3], mask [size, size]); the middle of the
    picture is the middle of the face region.
  """
  # Half the pixels will do: it is a little out of focus.
  whole, size = size, (size + 1) // 2
  density = np.float32(density * size / whole)
  place = np.arange(size, dtype=np.float32) + np.float32(0.5 - size / 2)
  place /= density
  u, v = np.meshgrid(place, place + person.FACE_Y)
  image = np.zeros((size, size, 3), np.float32)
  mask = np.zeros((size, size), np.float32)

  def put(colour, cover):
    paint(image, colour, cover)
    np.maximum(mask, cover, out=mask)

  def noise(cell):
    return draws.noise(rng, size, size, max(cell * density, 1.3))

  hair, side = person.hair_colour(who), np.abs(u)
  length = {
    'long': 1.6, 'bob': 0.55, 'curly': 0.4, 'short': -0.1, 'tied': -0.1,
    'bald': -9.0,
  }[who['hair']]  # fmt: skip
  volume = {'curly': 0.2, 'long': 0.1, 'bob': 0.12}.get(who['hair'], 0.045)
  wide = who['half_width'] + volume
  top = np.sqrt(
    (u / wide) ** 2
    + ((v - person.CENTRE_Y) / (who['half_height'] + volume)) ** 2
  )
  fall = np.minimum(
    0.98 * wide - side, np.minimum(v + 0.2, length - v + 0.08 * noise(0.2))
  )
  upper = np.minimum((1 - top) * wide, length + 0.3 - v)
  strand = np.exp(0.25 * noise(0.04))
  edge = np.maximum(upper, fall)
  if who['hair'] == 'curly':
    edge = edge + 0.05 * noise(0.08)
  put(hair * strand[..., None], step(edge, 0.06))
  flesh = skin.colour(wearer['melanin'], wearer['haemoglobin'])
  ear = 1 - ((side - who['half_width'] - 0.02) / 0.09) ** 2
  ear = ear - ((v + 0.02) / 0.2) ** 2
  if who['hair'] in ('short', 'bald', 'tied'):
    put(0.8 * flesh, step(ear, 0.3))
  neck = 0.48 * who['half_width'] - side + 0.1 * np.maximum(v - 1.2, 0)
  under = 0.4 + 0.35 * np.clip((v - 1.0) / 0.4, 0, 1)
  round_off = np.maximum(1 - 0.5 * (u / 0.5) ** 2, 0.2)
  put(
    flesh * (under * round_off)[..., None],
    step(np.minimum(neck, v - 0.5), 0.05),
  )
  cloth = np.float32([dress[f'cloth_{name}'] for name in 'rgb'])
  # Round above, straight below.
  rise = np.minimum(v - 2.1 - dress['collar'], 0)
  shoulder = 1 - ((u / 1.55) ** 2 + (rise / 0.85) ** 2)
  weave = 1 + 0.10 * noise(0.3) + 0.05 * noise(0.03)
  if dress['pattern'] in ('stripes', 'check'):
    weave = weave * (1 + 0.35 * np.sign(np.sin(22 * v)))
  if dress['pattern'] == 'check':
    weave = weave * (1 + 0.3 * np.sign(np.sin(22 * u)))
  put(cloth * weave[..., None], step(shoulder, 0.06))
  image, mask = (
    cv2.resize(part, (whole, whole), interpolation=cv2.INTER_LINEAR)
    for part in (image, mask)
  )
  return image, mask
