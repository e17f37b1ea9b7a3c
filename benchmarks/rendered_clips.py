"""Clips of the simulator in the sizes of real datasets."""

import numpy as np

from nasfas_datasets.synthetic_fas import camera, plan, render

NUM_CLIPS = 8


def render_clips(size: int) -> np.ndarray:
  """Rendered clips, uint8 [NUM_CLIPS, 8, S, S, 3]; rooms and types in turn."""
  camera.SIZE = size
  camera.FACE_PIXELS = size * 50 // 80
  render._programs.cache_clear()
  clips = plan.make_plan(plan.SIZES['default'])
  # Every so manyth clip is of another room; one more is of another type.
  step = len(clips) // NUM_CLIPS
  chosen = [clips[i * (step + 5) % len(clips)] for i in range(NUM_CLIPS)]
  return np.stack([frames for _, frames, _, _ in render.render(chosen)])
