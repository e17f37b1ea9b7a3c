"""How a person looks: skin, eyes, brows, lips, hair, body, and the light.

Images are float32 [3, H, W], linear RGB, about 0 to 1. `soft` is the width of
an anti-aliased edge in head units: 0.037 is one pixel of a clip.
"""

import jax
import jax.numpy as jnp

from nasfas_datasets.synthetic_fas import draws, face
from nasfas_datasets.synthetic_fas.draws import mix, paint, step, value_noise


def _colour(*rgb: float) -> jax.Array:
  return jnp.array(rgb, jnp.float32)


def sample_person(key: jax.Array) -> face.Identity:
  """Draws a person: `face.sample_identity`, and the skin and hair colour."""
  identity = face.sample_identity(key)
  light, dark = _colour(0.86, 0.62, 0.50), _colour(0.23, 0.13, 0.085)
  # Dark skin goes with dark hair.
  tone = identity['hair_tone'] * (1.0 - 0.9 * identity['melanin'])
  return {
    **identity,
    'skin': light * (dark / light) ** identity['melanin'],
    'hair': _colour(0.02, 0.017, 0.015) + tone * _colour(0.42, 0.27, 0.13),
  }


def sample_room(key: jax.Array) -> dict[str, jax.Array]:
  """Draws what is behind a person."""
  return draws.draw(key, BACKGROUND_RANGES)


def almond(identity: face.Identity, x, y, openness, grow=0.0):
  """Signed distance-like measure of the eye openings; > 0 inside; [H, W]."""
  ex = jnp.abs(x) - identity['eye_distance']
  width = identity['eye_width'] + grow
  height = (identity['eye_height'] + grow) * openness
  return height * (1.0 - (ex / width) ** 2) - jnp.abs(y - face.EYE_Y)


def eyes(identity: face.Identity, x, y, openness, gaze_x, gaze_y, soft):
  """Paints eyeballs, lids and lashes.

  Args:
    identity: a person.
    x: float32 [H, W], head coordinates; y: the same.
    openness: 1 open, 0 closed.
    gaze_x: offset of the irises, head units; gaze_y: the same.
    soft: width of edges.

  Returns:
    (image [3, H, W], mask [H, W] of the eyeball, mask [H, W] of the lashes).
  """
  ex = (jnp.abs(x) - identity['eye_distance']) * jnp.sign(x)
  ey = y - face.EYE_Y
  radius = jnp.sqrt((ex - gaze_x) ** 2 + (ey - gaze_y) ** 2 + 1e-9)
  tone = identity['iris_tone'] * (1.0 - identity['melanin'])
  iris = mix(_colour(0.05, 0.025, 0.012), _colour(0.16, 0.24, 0.32), tone)
  image = jnp.broadcast_to(
    _colour(0.74, 0.71, 0.69)[:, None, None], (3, *x.shape)
  )
  image = image * (1.0 - 2.5 * jnp.maximum(jnp.abs(ex) - 0.05, 0.0))[None]
  image = paint(image, iris, step(0.064 - radius, soft))
  image = paint(image, _colour(0.01, 0.01, 0.01), step(0.027 - radius, soft))
  glint = jnp.sqrt((ex - gaze_x + 0.02) ** 2 + (ey - gaze_y + 0.022) ** 2)
  image = paint(image, _colour(0.95, 0.95, 0.95), step(0.014 - glint, soft))

  inside = almond(identity, x, y, openness)
  ball = step(inside, soft) * step(openness - 0.15, 0.1)
  # The lash line lies on the upper lid: below the eye where it is closed.
  lid = mix(0.025, -identity['eye_height'], openness) * (
    1.0 - (ex / identity['eye_width']) ** 2
  )
  reach = step(1.08 * identity['eye_width'] - jnp.abs(ex), 0.05)
  upper = 0.85 * jnp.exp(-(((ey - lid) / 0.020) ** 2)) * reach
  lower = 0.30 * jnp.exp(-(((ey + lid) / 0.016) ** 2)) * reach * openness
  crease = 0.30 * jnp.exp(-(((ey - lid + 0.05) / 0.022) ** 2)) * reach
  lash = jnp.maximum(jnp.maximum(upper, lower), crease)
  return (image, ball, lash)


def albedo(identity: face.Identity, hit, look, skin_gain) -> jax.Array:
  """Reflectance of the head, [3, H, W].

  Args:
    identity: a person.
    hit: what `face.trace` returns.
    look: `mouth`, `openness`, `gaze_x`, `gaze_y` and `soft`.
    skin_gain: factor on the fine skin texture (pores, freckles, stubble).
  """
  x, y, soft, mouth = hit['x'], hit['y'], look['soft'], look['mouth']
  seed = identity['noise_seed'].astype(jnp.int32)
  skin = identity['skin']
  image = jnp.broadcast_to(skin[:, None, None], (3, *x.shape))

  # Blood under the skin: cheeks, nose, lips' surround.
  side = jnp.abs(x)
  flush = jnp.exp(
    -(((side - 0.38) / 0.2) ** 2) - ((y - 0.22) / 0.18) ** 2
  ) + 0.7 * jnp.exp(-((x / 0.13) ** 2) - ((y - 0.2) / 0.12) ** 2)
  tint = _colour(0.04, -0.28, -0.24)[:, None, None]
  image = image * (1.0 + (0.2 + 0.6 * identity['redness']) * flush[None] * tint)

  # Pores and blotches; freckles are the deep end of the fine noise.
  fine = value_noise(18.0 * x, 18.0 * y, seed)
  blotch = value_noise(5.0 * x, 5.0 * y, seed + 1)
  freckle = jnp.maximum(identity['freckles'], 0.0) * step(fine - 0.45, 0.3)
  texture = identity['pores'] * fine + 0.05 * blotch - 3.0 * freckle
  stubble = jnp.maximum(identity['beard'], 0.0) * step(
    jnp.maximum(y - 0.30, 0.7 * (side - 0.3) + 0.5 * (y - 0.3)), 0.2
  )
  stubble = stubble * step(0.35 - jnp.abs(y - 0.70), 0.3)
  texture = texture - stubble * (0.35 - 0.5 * fine * skin_gain)
  image = (
    image
    * jnp.exp(
      jnp.where(texture < 0.0, 1.0, 0.8)
      * mix(0.05 * blotch, texture, skin_gain)
    )[None]
  )

  # Shade that the light model does not see: sockets, under nose and lips.
  nose_shade = jnp.exp(
    -((x / 0.15) ** 2) - ((y - face.NOSE_Y - 0.10) / 0.05) ** 2
  )
  lip_shade = jnp.exp(
    -((x / 0.2) ** 2) - ((y - identity['mouth_y'] - 0.17) / 0.05) ** 2
  )
  nose_side = jnp.exp(
    -(((side - 0.14) / 0.04) ** 2) - ((y - face.NOSE_Y + 0.12) / 0.16) ** 2
  )
  fold = jnp.exp(
    -(((side - 0.20 - 0.35 * (y - 0.25)) / 0.03) ** 2)
    - ((y - 0.36) / 0.12) ** 2
  )
  socket = jnp.exp(-(((side - 0.19) / 0.10) ** 2) - ((y + 0.16) / 0.09) ** 2)
  shade = (
    0.35 * nose_shade
    + 0.22 * lip_shade
    + 0.16 * nose_side
    + 0.22 * fold
    + 0.22 * socket
  )
  image = image * (1.0 - shade)[None]
  nostril = step(
    1.0 - ((side - 0.065) / 0.040) ** 2 - ((y - 0.315) / 0.022) ** 2, 1.0
  )
  image = paint(image, 0.12 * skin, 0.8 * nostril)

  image = _paint_mouth(identity, image, x, y, mouth, skin, soft)

  ball_image, ball, lash = eyes(
    identity, x, y, look['openness'], look['gaze_x'], look['gaze_y'], soft
  )
  image = paint(image, ball_image, ball)
  image = image * (1.0 - lash)[None]

  hair = identity['hair']
  bow = identity['brow_y'] + 0.9 * (side - 0.30) ** 2 - 0.06 * side
  brow = step(identity['brow_thickness'] - jnp.abs(y - bow), 0.03) * step(
    0.17 - jnp.abs(side - 0.30), 0.06
  )
  image = paint(image, 0.7 * hair, (0.75 + 0.2 * skin_gain * fine) * brow)

  line = identity['hairline'] + 0.10 * value_noise(5.0 * x, y, seed + 2)
  edge = jnp.maximum(
    line + 0.45 * x * x - y,
    jnp.minimum(side - 0.90 * identity['half_width'], 0.10 - y),
  )
  strand = 0.8 + 0.35 * value_noise(16.0 * x, 3.0 * y, seed + 3)
  return paint(image, hair[:, None, None] * strand[None], step(edge, 0.06))


def _paint_mouth(identity, image, x, y, mouth, skin, soft):
  """Lips, the line between them, and teeth and throat of an open mouth."""
  half = identity['mouth_width']
  shape = jnp.maximum(1.0 - (x / half) ** 2, 0.0)
  opening = 0.075 * mouth * shape
  middle = identity['mouth_y'] + 0.02 + 0.02 * (x / half) ** 2 + 0.06 * mouth
  thick = identity['lip_thickness']
  bow = 1.0 - 0.25 * jnp.exp(-((x / 0.05) ** 2))
  upper = middle - opening - thick * bow * jnp.sqrt(shape + 1e-6)
  lower = middle + opening + 1.25 * thick * jnp.sqrt(shape + 1e-6)
  lip = step(jnp.minimum(y - upper, lower - y), soft) * step(shape, 0.1)
  colour = skin * mix(
    _colour(0.88, 0.55, 0.55), _colour(0.85, 0.40, 0.42), identity['redness']
  )
  image = paint(image, colour, 0.9 * lip)
  seam = jnp.exp(-(((y - middle) / (0.018 + opening)) ** 2)) * step(shape, 0.3)
  image = paint(image, 0.10 * skin, 0.85 * seam)
  teeth = step(opening - 0.012 - jnp.abs(y - middle + 0.6 * opening), soft)
  return paint(image, _colour(0.70, 0.66, 0.60), 0.8 * teeth)


def shade(albedo_image, normal, light, gloss, shininess) -> jax.Array:
  """Lambert and Blinn-Phong shading under one distant lamp and ambient light.

  Args:
    albedo_image: [3, H, W].
    normal: [3, H, W], camera coordinates.
    light: `direction` [3] (unit), `ambient` scalar.
    gloss: strength of the highlight.
    shininess: its exponent.
  """
  direction = light['direction']
  cosine = sum(normal[k] * direction[k] for k in range(3))
  diffuse = jnp.maximum(cosine, 0.0)
  half = direction + jnp.array([0.0, 0.0, 1.0], jnp.float32)
  half = half * jax.lax.rsqrt(jnp.sum(half * half))
  toward = jnp.maximum(sum(normal[k] * half[k] for k in range(3)), 1e-3)
  highlight = gloss * jnp.exp(shininess * jnp.log(toward))
  # Ambient light comes more from above (y points down).
  sky = light['ambient'] * (1.0 - 0.3 * normal[1])
  lit, glint = (
    sky + (1.0 - light['ambient']) * diffuse,
    highlight * step(cosine, 0.3),
  )
  return albedo_image * lit[None] + glint[None]


def body(identity: face.Identity, image, u, v, yaw, pitch) -> jax.Array:
  """Paints what is behind the face: long hair, shoulders, neck.

  u, v: float32 [H, W], camera coordinates in head units, head at the origin.
  """
  seed = identity['noise_seed'].astype(jnp.int32)
  hair = identity['hair']
  volume = identity['hair_volume']
  wide = identity['half_width'] + volume
  top = jnp.sqrt(
    (u / wide) ** 2
    + ((v - face.CENTRE_Y) / (identity['half_height'] + volume)) ** 2
  )
  fall = jnp.minimum(
    wide * 0.98 - jnp.abs(u), jnp.minimum(v + 0.2, identity['hair_length'] - v)
  )
  upper = jnp.minimum((1.0 - top) * wide, identity['hair_length'] + 0.2 - v)
  strand = 0.7 + 0.4 * value_noise(14.0 * u, 2.5 * v, seed + 4)
  image = paint(
    image,
    hair[:, None, None] * strand[None],
    step(jnp.maximum(upper, fall), 0.06),
  )
  skin = identity['skin']
  neck = 0.5 * identity['half_width'] - jnp.abs(u - 0.1 * yaw)
  under = 0.35 + 0.3 * jnp.clip((v - 1.0 - pitch) / 0.4, 0.0, 1.0)
  round_off = 1.0 - 0.5 * (u / 0.5) ** 2
  image = paint(
    image,
    skin[:, None, None] * (under * jnp.maximum(round_off, 0.2))[None],
    step(jnp.minimum(neck, v - 0.5), 0.05),
  )
  cloth = jnp.stack(
    [identity['cloth_r'], identity['cloth_g'], identity['cloth_b']]
  )
  collar = 1.0 - ((u / 1.55) ** 2 + ((v - 2.1) / 0.85) ** 2)
  weave = 0.5 + 0.06 * value_noise(9.0 * u, 9.0 * v, seed + 5)
  weave = weave + 0.1 * jnp.sign(jnp.sin(20.0 * identity['cloth_r'] * v))
  return paint(image, cloth[:, None, None] * weave[None], step(collar, 0.06))


BACKGROUND_RANGES: draws.Ranges = {
  'tone': (0.12, 0.75),
  'red': (-0.22, 0.22),
  'blue': (-0.22, 0.22),
  'slope_x': (-0.25, 0.25),
  'slope_y': (-0.25, 0.25),
  'box_x': (-1.5, 1.5),
  'box_y': (-1.3, 0.5),
  'box_w': (0.2, 0.8),
  'box_h': (0.2, 1.2),
  'box_tone': (0.3, 1.9),
  'line_x': (-1.5, 1.5),
  'line_tone': (0.4, 1.6),
  'shelf_y': (-1.4, 1.4),
  'shelf_tone': (0.4, 1.6),
  'noise_seed': (0.0, 1e6),
}


def background(room: dict[str, jax.Array], x, y) -> jax.Array:
  """A wall with a window or picture, a post and a shelf; [3, H, W]."""
  wall = room['tone'] * (
    1.0 + jnp.stack([room['red'], jnp.zeros_like(room['red']), room['blue']])
  )
  light = 1.0 + room['slope_x'] * x + room['slope_y'] * y
  seed = room['noise_seed'].astype(jnp.int32)
  light = light * (1.0 + 0.12 * value_noise(2.5 * x, 2.5 * y, seed))
  light = light * (1.0 + 0.05 * value_noise(20.0 * x, 20.0 * y, seed + 1))
  box = jnp.minimum(
    room['box_w'] - jnp.abs(x - room['box_x']),
    room['box_h'] - jnp.abs(y - room['box_y']),
  )
  light = light * mix(1.0, room['box_tone'], step(box, 0.08))
  frame = step(0.04 - jnp.abs(box), 0.05)
  light = light * (1.0 - 0.6 * frame)
  post = step(0.12 - jnp.abs(x - room['line_x']), 0.08)
  light = light * mix(1.0, room['line_tone'], post)
  shelf = step(0.05 - jnp.abs(y - room['shelf_y']), 0.06)
  light = light * mix(1.0, room['shelf_tone'], shelf)
  light = jnp.maximum(light, 0.02)
  return wall[:, None, None] * light[None]
