"""Renders batches of planned clips: pure functions of (seed, clip)."""

import functools
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from nasfas_datasets.synthetic_fas import camera, plan, scene

BATCH_SIZE = 8
# Subjects and clips draw from streams of their own.
_SUBJECTS, _CLIPS = 0, 1


def sample_clip(seed, index, subject, domain, kind, variant) -> scene.Clip:
  """Draws a clip; all arguments are int32 scalars (see `plan.Clip`)."""
  key = jax.random.key(seed)
  subject_key = jax.random.fold_in(jax.random.fold_in(key, _SUBJECTS), subject)
  clip_key = jax.random.fold_in(jax.random.fold_in(key, _CLIPS), index)
  return scene.sample_clip(clip_key, subject_key, domain, kind, variant)


def _over_frames(function):
  """Maps function(clip, frame, ...) over the clips and frames of a batch."""

  def of_clip(clip, *args):
    return jax.vmap(lambda frame, *a: function(clip, frame, *a))(
      clip['motion'], *args
    )

  return jax.jit(jax.vmap(of_clip))


@functools.cache
def _programs() -> dict[str, Callable]:
  def see(clip, frame):
    return scene.surface(clip, frame, *scene.grid(camera.SIZE))

  def capture(clip, light):
    return camera.capture(clip['noise_key'], light, clip['camera'])

  return {
    'sample': jax.jit(jax.vmap(sample_clip, in_axes=(None, 0, 0, 0, 0, 0))),
    'see': _over_frames(see),
    'depth': _over_frames(scene.render_depth),
    'box': jax.jit(jax.vmap(scene.face_box)),
    'capture': jax.jit(jax.vmap(capture)),
    **{name: _over_frames(stage) for name, stage in scene.STAGES.items()},
  }


def render_batch(clips: scene.Clip):
  """Renders a batch of drawn clips.

  Args:
    clips: `sample_clip` mapped over a batch of N.

  Returns:
    (frames uint8 [N, F, 80, 80, 3], depth uint8 [N, F, 32, 32], face_box
    float32 [N, 4]).
  """
  run = _programs()
  seen = run['see'](clips)
  images = {}
  for name in scene.STAGES:
    images[name] = run[name](clips, seen, images)
  frames = run['capture'](clips, images['scene'])
  return frames, run['depth'](clips), run['box'](clips)


def sample_batch(seed: int, clips: Sequence[plan.Clip]) -> scene.Clip:
  """Draws planned clips: `sample_clip` mapped over a batch."""
  return _programs()['sample'](jnp.int32(seed), *_fields(clips))


def _fields(clips: Sequence[plan.Clip]) -> tuple[jax.Array, ...]:
  rows = [(c.index, c.subject, c.domain, c.kind, c.variant) for c in clips]
  return tuple(jnp.asarray(np.array(rows, np.int32)).T)


def render(
  clips: Sequence[plan.Clip], seed: int = 0
) -> Iterator[tuple[plan.Clip, np.ndarray, np.ndarray, np.ndarray]]:
  """Renders clips in batches of one size, so that one program does them all.

  The next batch is rendered while the caller is busy with the last.

  Args:
    clips: what to render.
    seed: of the whole dataset.

  Yields:
    (clip, frames uint8 [8, 80, 80, 3], depth uint8 [8, 32, 32], face_box
    float32 [4]), in order.
  """

  def start(first):
    batch = list(clips[first : first + BATCH_SIZE])
    filled = batch + [batch[-1]] * (BATCH_SIZE - len(batch))
    return batch, render_batch(sample_batch(seed, filled))

  ahead = start(0) if clips else None
  for first in range(0, len(clips), BATCH_SIZE):
    batch, arrays = ahead
    if first + BATCH_SIZE < len(clips):
      ahead = start(first + BATCH_SIZE)
    arrays = [np.asarray(array) for array in arrays]
    for i, clip in enumerate(batch):
      yield clip, *(array[i] for array in arrays)
