"""Renders batches of planned clips: pure functions of (seed, clip)."""

import functools
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from nasfas_datasets.synthetic_fas import (
  appearance,
  camera,
  motion,
  plan,
  recapture,
  scene,
)

BATCH_SIZE = 8

# What XLA's compiler for the CPU hands to its library. Its own default, but
# written down: the flag that the main module sets (`xla_options`) would round
# some pixels another way, and clips depend on the command that renders them.
_CPU_OPTIONS = {
  'xla_cpu_experimental_ynn_fusion_type': (
    'LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE'
  )
}


def _jit(function: Callable) -> Callable:
  """`jax.jit` of a function over a batch, with options of its own."""
  on_cpu = jax.default_backend() == 'cpu'
  return jax.jit(
    jax.vmap(function), compiler_options=_CPU_OPTIONS if on_cpu else None
  )


def _over_frames(function):
  """Maps function(clip, frame, ...) over the clips and frames of a batch."""

  def of_clip(clip, *args):
    return jax.vmap(lambda frame, *a: function(clip, frame, *a))(
      clip['motion'], *args
    )

  return _jit(of_clip)


@functools.cache
def _programs() -> dict[str, Callable]:
  def see(clip, frame):
    return scene.surface(clip, frame, *scene.grid(camera.SIZE))

  def move(key, kind):
    return motion.sample_motion(key, kind, scene.NUM_FRAMES)

  def capture(clip, light):
    return camera.capture(clip['noise_key'], light, clip['camera'])

  return {
    'keys': _jit(scene.clip_keys),
    'person': _jit(appearance.sample_person),
    'camera': _jit(camera.sample_camera),
    'studio': _jit(scene.sample_studio),
    'room_look': _jit(appearance.sample_room),
    'motion': _jit(move),
    'place': _jit(scene.sample_place),
    'medium': _jit(recapture.sample_medium),
    'join': _jit(scene.join),
    'see': _over_frames(see),
    'depth': _over_frames(scene.render_depth),
    'box': _jit(scene.face_box),
    'capture': _jit(capture),
    **{name: _over_frames(stage) for name, stage in scene.STAGES.items()},
  }


def render_batch(clips: scene.Clip):
  """Renders a batch of drawn clips.

  Args:
    clips: from `sample_batch`, N clips.

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
  """Draws planned clips: the pytree of `scene.join` with a leading axis."""
  run = _programs()
  index, subject, domain, kind, variant = (
    jnp.asarray([getattr(clip, name) for clip in clips], jnp.int32)
    for name in ('index', 'subject', 'domain', 'kind', 'variant')
  )
  seeds = jnp.full_like(index, seed)
  keys = run['keys'](seeds, index, subject)
  studio_domain = run['studio'](keys['studio_domain'])
  parts = {
    'identity': run['person'](keys['subject']),
    'attacker': run['person'](keys['attacker']),
    'camera': run['camera'](keys['camera'], domain),
    'studio': run['camera'](keys['studio'], studio_domain),
    'room': run['room_look'](keys['room']),
    'shown_room': run['room_look'](keys['shown_room']),
    'motion': run['motion'](keys['motion'], kind),
    'place': run['place'](keys['place']),
    'medium': run['medium'](keys['medium'], kind, variant),
    'noise_key': keys['noise'],
  }
  return run['join'](kind, parts)


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
