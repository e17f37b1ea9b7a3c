"""Dynamic images in the jitted step against the input pipeline's way.

In the step a batch of clips is pooled at once; in the pipeline NumPy would pool
clip by clip, in a worker process. Default sizes; the training step of CDCN++
says what either costs beside the rest.
"""

import functools

import jax
import numpy as np

from benchmarks import meta, pipeline, timing
from nasfas_configs import train as train_config
from nasfas_jax.ops import rank_pooling


def numpy_exact_coefficients(frames: np.ndarray) -> np.ndarray:
  """`rank_pooling.exact_coefficients` of one clip [K, H, W, C], on the host."""
  number = len(frames)
  motion = (frames - frames[:1]).reshape(number, -1)
  means = np.tril(np.ones((number, number), np.float32))
  means /= np.arange(1, number + 1, dtype=np.float32)[:, np.newaxis]
  later, earlier = np.tril_indices(number, -1)
  differences = means[later] - means[earlier]
  gram = motion @ motion.T / motion.shape[1]
  quadratic = differences @ gram @ differences.T
  step = 1 / max(np.linalg.norm(quadratic), 1e-12)
  point = ahead = np.zeros(len(quadratic), np.float32)
  momentum = 1.0
  for _ in range(500):
    moved = np.clip(ahead + step * (1 - quadratic @ ahead), 0, 100)
    if (ahead - moved) @ (moved - point) > 0:
      momentum, inertia = 1.0, 0.0
    else:
      following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
      inertia = (momentum - 1) / following
      momentum = following
    point, ahead = moved, moved + inertia * (moved - point)
  return point @ differences


def numpy_dynamic_image(frames: np.ndarray, kind: str) -> np.ndarray:
  """`rank_pooling.dynamic_image` of one clip [K, H, W, C], on the host."""
  if kind == 'exact':
    coefficients = numpy_exact_coefficients(frames)
  else:
    coefficients = rank_pooling.COEFFICIENTS[kind](len(frames))
  pooled = np.tensordot(coefficients, frames - frames[:1], axes=1)
  low, high = pooled.min(), pooled.max()
  return (pooled - (high + low) / 2) / ((high - low) / 2 + 1e-5)


def measure() -> dict[str, dict[str, float]]:
  """Fills 'ratios' and 'seconds', see `benchmarks.run`.

  Raises:
    AssertionError: if the two ways do not agree.
  """
  config = train_config.get_config()
  config.model = 'cdcnpp'
  clips = config.train.batch_size
  batch = meta.make_batch(config, clips)
  frames = batch['frames'].astype(np.float32) / 127.5 - 1
  functions = {'training step': pipeline.train_step(config, batch)}
  for kind in rank_pooling.KINDS:
    in_step = jax.jit(functools.partial(rank_pooling.dynamic_image, kind=kind))

    def on_host(kind=kind):
      return np.stack([numpy_dynamic_image(clip, kind) for clip in frames])

    np.testing.assert_allclose(in_step(frames), on_host(), atol=2e-3)
    functions[f'{kind}, jitted'] = functools.partial(in_step, frames)
    functions[f'{kind}, NumPy'] = on_host
  seconds = timing.medians(functions, rounds=7)
  ratios = {}
  for kind in rank_pooling.KINDS:
    jitted = seconds[f'{kind}, jitted']
    title = f'{kind} rank pooling'
    ratios[f'{title}, NumPy / jitted'] = seconds[f'{kind}, NumPy'] / jitted
    ratios[f'{title}, jitted / training step'] = (
      jitted / seconds['training step']
    )
  return {
    'ratios': ratios,
    'seconds': {f'{name}, {clips} clips': s for name, s in seconds.items()},
  }
