"""The same real input for both frameworks."""

from collections.abc import Sequence

import jax.numpy as jnp
import ml_collections
import numpy as np
import torch

from nasfas_jax import losses, supervised
from nasfas_jax.comparison import twins
from nasfas_jax.data.index import Row


def draw(
  config: ml_collections.ConfigDict,
  rows: Sequence[Row],
  part: str,
) -> list[dict[str, np.ndarray]]:
  """The first batches that a training on the clips would see.

  Args:
    config: of the run.
    rows: the training clips.
    part: 'network' or 'supernet': whose batch and map sizes they have.
  """
  fields = {'network': 'batch_size', 'supernet': 'search_batch_size'}
  stream = supervised.train_stream(
    config,
    rows,
    batch_size=config.compare[fields[part]],
    map_size=config[part].output_size,
    seed=config.seed + 3,
    step=0,
  )
  try:
    return [next(stream) for _ in range(config.compare.adam_steps)]
  finally:
    stream.close()


def pair(
  config: ml_collections.ConfigDict, batch: dict
) -> tuple[np.ndarray, np.ndarray]:
  """Input [N, H, W, C] and target maps [N, S, S] of a batch."""
  target = losses.make_target(
    *(jnp.asarray(batch[name]) for name in ('depth', 'face_mask', 'label')),
    config.supervision,
  )
  return np.asarray(
    supervised.fused_input(config, jnp.asarray(batch['frames']))
  ), np.asarray(target)


def torch_batch(
  config: ml_collections.ConfigDict, batch: dict
) -> tuple[torch.Tensor, torch.Tensor]:
  """`pair` as tensors, the input [N, C, H, W]."""
  images, target = pair(config, batch)
  return twins.to_torch(images), torch.from_numpy(np.array(target))
