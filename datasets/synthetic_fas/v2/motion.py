"""How heads, papers, screens and hands move during a clip."""

import numpy as np

from nasfas_datasets.synthetic_fas.v2 import tables

HEAD = ('yaw', 'pitch', 'roll', 'head_x', 'head_y', 'head_zoom')
GAZE = ('gaze_x', 'gaze_y')


def sample(rng, kind: str, num_frames: int) -> dict[str, np.ndarray]:
  """Draws the motion of a clip: float32 [F] by name.

  Live heads and masks turn, planes keep still; a print shows one still picture
  on a moving plane; a replay shows a turning head on a moving plane. Live and
  replayed faces blink and speak, behind a cut print the attacker's eyes blink
  (`behind`), the others do not.

  Args:
    rng: of the clip.
    kind: of `plan.KINDS`.
    num_frames: F.

  Returns:
    The names of `tables.SWINGS`, and `openness`, `behind` and `mouth` in
    [0, 1].
  """
  still = kind in ('print', 'print_cut')
  planar = still or kind == 'replay'
  time = np.arange(num_frames) / num_frames
  motion = {}
  for name, (middle, low, high) in tables.SWINGS.items():
    rest, size, turns, phase = rng.random(4)
    swing = 2 * np.pi * ((0.4 + 0.7 * turns) * time + phase)
    if still and (name in HEAD or name in GAZE):
      swing = np.full(num_frames, swing[0])
    value = middle * (2 * rest - 1) + (low + (high - low) * size) * np.sin(
      swing
    )
    if name.startswith('plane') and not planar:
      value = np.zeros(num_frames)
    motion[name] = value.astype(np.float32)
  frame = np.arange(num_frames)
  lid = np.exp(
    -(
      ((frame - rng.uniform(0.8, num_frames - 1.8)) / rng.uniform(0.7, 1.1))
      ** 2
    )
  )
  blink = np.clip(1 - 1.15 * lid, 0, 1)
  # Some people do not blink in a second.
  blink = blink if rng.random() < 0.75 else np.ones(num_frames)
  moves = kind in ('live', 'replay')
  motion['openness'] = rng.uniform(0.75, 1) * (blink if moves else 1)
  motion['behind'] = rng.uniform(0.75, 1) * (
    blink if kind == 'print_cut' or kind.startswith('mask') else 1
  )
  speech = 0.5 + 0.5 * np.sin(
    2 * np.pi * (rng.uniform(0.6, 2.5) * time + rng.random())
  )
  mouth = max(rng.uniform(-0.5, 0.9), 0) * speech
  if still:
    mouth = np.full(num_frames, mouth[0])
  motion['mouth'] = mouth * (not kind.startswith('mask'))
  return {
    name: np.broadcast_to(np.float32(value), (num_frames,))
    for name, value in motion.items()
  }
