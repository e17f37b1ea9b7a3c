"""The same real input for both frameworks."""

from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import torch

from nasfas_jax import augment, inputs
from nasfas_jax.baseline import steps
from nasfas_jax.comparison import parity, twins
from nasfas_jax.data.index import Row

# What a loss needs of a batch beside the prediction.
MAPS = ('depth', 'face_mask', 'label')


def draw(
  train_batches: Callable[..., Iterator[dict[str, np.ndarray]]],
  prepare: augment.Prepare,
  rows: Sequence[Row],
  *,
  batch_size: int,
  seed: int,
  number: int,
) -> list[dict[str, np.ndarray]]:
  """The first batches that a training on the clips would see.

  Args:
    train_batches: (rows, batch_size, seed, step) -> a stream of raw batches.
    prepare: makes batches of them.
    rows: the training clips.
    batch_size: clips of a batch.
    seed: of a training's stream.
    number: of the batches.
  """
  stream = train_batches(rows, batch_size=batch_size, seed=seed, step=0)
  try:
    return [
      jax.tree.map(np.asarray, jax.jit(prepare)(next(stream), step, seed))
      for step in range(number)
    ]
  finally:
    stream.close()


def pair(batch: dict[str, np.ndarray], form: inputs.InputForm) -> parity.Pair:
  """The network's input of a batch, and what a loss needs beside."""
  images = inputs.network_input(jnp.asarray(batch['frames']), form)
  return np.asarray(images), {name: np.asarray(batch[name]) for name in MAPS}


def to_torch(pair: parity.Pair) -> steps.Batch:
  """A pair as tensors, the input [N, C, H, W]."""
  images, maps = pair
  return twins.to_torch(images), {
    name: torch.from_numpy(np.array(array)) for name, array in maps.items()
  }
