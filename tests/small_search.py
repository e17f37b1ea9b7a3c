"""A supernet that compiles in seconds, and batches for it."""

import jax
import jax.numpy as jnp
import numpy as np

from nasfas_configs import search as search_config


def small_config(**changes):
  config = search_config.get_config('debug')
  config.data.image_size = 16
  config.data.num_frames = 2
  for part in (config.supernet, config.network):
    part.stem_features = (2, 4)
    part.cell_features = 4
    part.head_features = 4
    part.output_size = 4
  config.supernet.partial_channels = 1
  # One edge a cell: the steps are the same, the compiling is not.
  config.supernet.num_nodes = 1
  config.search.update(changes)
  return config


def make_batch(seed, size=4):
  rng = np.random.default_rng(seed)
  batch = {
    'frames': rng.integers(0, 256, (size, 2, 16, 16, 3), dtype=np.uint8),
    'depth': rng.random((size, 4, 4), dtype=np.float32),
    'face_mask': np.ones((size, 4, 4), np.float32),
    'label': np.arange(size, dtype=np.int32) % 2,
  }
  return jax.tree.map(jnp.asarray, batch)
