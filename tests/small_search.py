"""A supernet that compiles in seconds, and batches for it."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nasfas_configs import search as search_config
from nasfas_jax import settings
from nasfas_jax.models import search_spaces
from nasfas_jax.models.supernet import Supernet
from nasfas_jax.searchers import supernet_program
from nasfas_jax.states import SearchState

# The steps are the same in any space, the compiling is not.
search_spaces.SPACES['small'] = search_spaces.Space(
  operations=('none', 'skip_connect', 'cdc_3x3'),
  theta=None,
  edges_per_node=1,
  output='strongest',
)


def small_config(**changes):
  """The debug config on the least network; changes are of config.search."""
  config = search_config.get_config('debug')
  config.supernet.space = 'small'
  config.data.image_size = 16
  config.data.num_frames = 2
  for part in (config.supernet, config.network):
    part.stem_features = (2, 4)
    part.cell_features = 4
    part.head_features = 4
    part.output_size = 4
  config.supernet.partial_channels = 1
  # One edge a cell.
  config.supernet.num_nodes = 1
  # Locked, a wrong name is an error and no new field.
  config.lock()
  config.search.update(changes)
  config.unlock()
  return config


class Parts(NamedTuple):
  """What a config's search is made of."""

  model: Supernet
  search: supernet_program.SearchSettings
  loss_fn: supernet_program.SupernetLoss
  state: SearchState


def make_parts(config) -> Parts:
  model = settings.supernet(config)
  shared = settings.search(config)
  loss_fn = supernet_program.supernet_loss(
    model, settings.input_form(config), settings.objective(config), shared
  )
  # A step calls it often; traced once.
  loss_fn = jax.jit(loss_fn)
  rates = {}
  if config.search.hold_out != 'none' and config.meta.learn_inner_lr:
    meta = settings.meta(config)
    rates = {
      'inner_lr': meta.inner_lr,
      'inner_lr_optimizer': meta.inner_lr_optimizer(),
    }
  state = jax.jit(
    functools.partial(
      supernet_program.initial_state,
      *(model, settings.example_input(config), shared),
      **rates,
    )
  )()
  return Parts(model, shared, loss_fn, state)


def make_batch(seed, size=4):
  rng = np.random.default_rng(seed)
  batch = {
    'frames': rng.integers(0, 256, (size, 2, 16, 16, 3), dtype=np.uint8),
    'depth': rng.random((size, 4, 4), dtype=np.float32),
    'face_mask': np.ones((size, 4, 4), np.float32),
    'label': np.arange(size, dtype=np.int32) % 2,
  }
  return jax.tree.map(jnp.asarray, batch)
