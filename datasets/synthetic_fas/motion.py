"""How heads, papers, screens and hands move during a clip."""

import jax
import jax.numpy as jnp

from nasfas_datasets.synthetic_fas import draws, face

# Angles in radians; head_x, head_y, plane_x, plane_y in head units; shake_x,
# shake_y in pixels. (name, middle +- , amplitude from, to)
_SWINGS = (
  ('yaw', 0.22, 0.09, 0.24),
  ('pitch', 0.12, 0.02, 0.10),
  ('roll', 0.08, 0.01, 0.06),
  ('head_x', 0.0, 0.01, 0.06),
  ('head_y', 0.0, 0.01, 0.05),
  ('head_zoom', 0.0, 0.0, 0.03),
  ('plane_yaw', 0.22, 0.05, 0.20),
  ('plane_pitch', 0.16, 0.03, 0.14),
  ('plane_roll', 0.07, 0.01, 0.07),
  ('plane_x', 0.0, 0.01, 0.08),
  ('plane_y', 0.0, 0.01, 0.07),
  ('plane_zoom', 0.0, 0.0, 0.04),
  ('shake_x', 0.0, 0.0, 0.6),
  ('shake_y', 0.0, 0.0, 0.6),
  ('gaze_x', 0.03, 0.0, 0.03),
  ('gaze_y', 0.012, 0.0, 0.012),
)

HEAD = ('yaw', 'pitch', 'roll', 'head_x', 'head_y', 'head_zoom')
PLANE = ('plane_yaw', 'plane_pitch', 'plane_roll', 'plane_x', 'plane_y',
         'plane_zoom')  # fmt: skip
GAZE = ('gaze_x', 'gaze_y')


def sample_motion(key, kind, num_frames) -> dict[str, jax.Array]:
  """Draws the motion of a clip.

  Live heads and masks turn, planes keep still; a print shows one still
  picture on a moving plane; a replay shows a turning head on a moving plane.
  Live and replayed faces blink once and move their mouths, in a cut print the
  eyes behind the holes blink (`attacker_openness`), the others do not.

  Args:
    key: PRNG key.
    kind: int32 scalar, index into plan.KINDS.
    num_frames: F.

  Returns:
    float32 [F] arrays by name, with `openness` and `attacker_openness` of the
    eyes and `mouth` in [0, 1], and `phase` in [0, 1) of the flicker,
    and the rotations `head_turn`, `plane_turn` [F, 3, 3].
  """
  live, still, cut, replay = kind == 0, kind == 1, kind == 2, kind == 3
  picture = still | cut
  planar = picture | replay
  swing_key, blink_key = jax.random.split(key)
  draw = jax.random.uniform(swing_key, (len(_SWINGS), 4))
  time = jnp.arange(num_frames, dtype=jnp.float32) / num_frames
  motion = {}
  for i, (name, middle, low, high) in enumerate(_SWINGS):
    rest = middle * (2.0 * draw[i, 0] - 1.0)
    amplitude = low + (high - low) * draw[i, 1]
    turns = 0.5 + 0.7 * draw[i, 2]
    angle = 2.0 * jnp.pi * (turns * time + draw[i, 3])
    if name in HEAD or name in GAZE:
      # A still picture holds the head as it was at one moment.
      angle = jnp.where(picture, angle[0], angle)
    motion[name] = rest + amplitude * jnp.sin(angle)
    if name in PLANE:
      motion[name] = jnp.where(planar, motion[name], 0.0)

  drawn = draws.draw(blink_key, {
      'blink_at': (0.8, num_frames - 1.8),
      'blink_width': (0.7, 1.1),
      'open_eyes': (0.8, 1.0),
      'speak': (-0.2, 0.9),
      'speak_turns': (1.0, 2.5),
      'speak_phase': (0.0, 1.0),
      'attacker_open': (0.8, 1.0),
      'phase': (0.0, 1.0),
      'beat': (0.05, 0.45),
  })  # fmt: skip
  frame = jnp.arange(num_frames, dtype=jnp.float32)
  lid = jnp.exp(-(((frame - drawn['blink_at']) / drawn['blink_width']) ** 2))
  blink = jnp.clip(1.0 - 1.15 * lid, 0.0, 1.0)
  motion['openness'] = drawn['open_eyes'] * jnp.where(live | replay, blink, 1.0)
  motion['attacker_openness'] = drawn['attacker_open'] * jnp.where(
    cut, blink, 1.0
  )
  speech = 0.5 + 0.5 * jnp.sin(
    2.0 * jnp.pi * (drawn['speak_turns'] * time + drawn['speak_phase'])
  )
  mouth = jnp.maximum(drawn['speak'], 0.0) * speech
  mouth = jnp.where(picture, mouth[0], mouth)
  # A mask has its mouth shut.
  motion['mouth'] = jnp.where(kind >= 4, 0.0, mouth)
  motion['phase'] = drawn['phase'] + drawn['beat'] * frame
  # Here and not where they are used: there XLA would work the sines and cosines
  # out again for every pixel.
  turn = jax.vmap(face.rotation_matrix)
  motion['head_turn'] = turn(motion['yaw'], motion['pitch'], motion['roll'])
  motion['plane_turn'] = turn(
    motion['plane_yaw'], motion['plane_pitch'], motion['plane_roll']
  )
  return motion
