"""What training and searching share: the batches and the loss of one."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections

from nasfas_jax import losses, states
from nasfas_jax.data import pipeline, transforms


def fused_input(
  config: ml_collections.ConfigDict, frames: jax.Array
) -> jax.Array:
  """The input of config.input for frames uint8 [B, K, S, S, 3]."""
  return states.network_input(
    frames,
    fusion_mode=config.input.fusion,
    rank_pooling=config.input.rank_pooling,
    normalization=config.input.normalization,
  )


def batch_loss(
  model: nn.Module,
  config: ml_collections.ConfigDict,
  variables: dict,
  batch: dict[str, jax.Array],
  *model_args,
  rngs: dict[str, jax.Array] | None = None,
) -> tuple[jax.Array, dict]:
  """Mean loss of a batch in training mode.

  Args:
    model: network or supernet.
    config: gives the input's fusion and the supervision.
    variables: dict with 'params' and 'batch_stats'.
    batch: as `pipeline.train_batches` yields it.
    *model_args: further arguments of the model (the supernet's architecture).
    rngs: keys for the model.

  Returns:
    (loss, new batch statistics).
  """
  images = fused_input(config, batch['frames'])
  target = losses.make_target(
    batch['depth'], batch['face_mask'], batch['label'], config.supervision
  )
  prediction, updates = model.apply(
    variables,
    images,
    *model_args,
    train=True,
    mutable=['batch_stats'],
    rngs=rngs,
  )
  loss = jnp.mean(losses.total_loss(prediction.map, target))
  return loss, updates['batch_stats']


def _snippets(config, map_size: int, num_streams: int) -> dict[str, object]:
  """What the streams of a config have in common."""
  return {
    'shape': pipeline.SnippetShape(
      num_frames=config.data.num_frames,
      image_size=config.data.image_size,
      map_size=map_size,
    ),
    'augmentation': transforms.Augmentation(**config.augmentation),
    'num_workers': config.data.num_workers,
    'cache_bytes': (config.data.cache_mib << 20) // num_streams,
  }


def episode_stream(config, rows, *, episodes, map_size, seed, step):
  """An endless stream of the clips of episodes, from a step on."""
  return pipeline.episode_batches(
    rows,
    episodes=episodes,
    seed=seed,
    step=step,
    **_snippets(config, map_size, 1),
  )


def train_stream(
  config, rows, *, batch_size, map_size, seed, step, num_streams=1
):
  """This process's part of an endless stream of training batches.

  Args:
    config: of the run.
    rows: entries of the index.
    batch_size: see `pipeline.train_batches`.
    map_size: side of the maps.
    seed: see `pipeline.train_batches`.
    step: see `pipeline.train_batches`.
    num_streams: streams that are open at a time and share the memory for
      clips.
  """
  return pipeline.train_batches(
    rows,
    batch_size=batch_size,
    seed=seed,
    step=step,
    **_snippets(config, map_size, num_streams),
    process_index=jax.process_index(),
    process_count=jax.process_count(),
  )


def check_finite(loss: float, step: int, stage: str) -> None:
  """Raises FloatingPointError if training has diverged."""
  if not math.isfinite(loss):
    raise FloatingPointError(
      f'The {stage} loss is {loss} at step {step}. Lower the learning rate '
      'or the gradient_clip and start again in another --workdir; the '
      'checkpoints before this step are kept.'
    )
