"""What a run carries from step to step."""

from typing import Any

import flax.struct
import jax
import optax

PyTree = Any


@flax.struct.dataclass
class TrainState:
  """State of the training of one network."""

  step: jax.Array
  params: PyTree
  batch_stats: PyTree
  opt_state: optax.OptState


@flax.struct.dataclass
class SearchState:
  """State of a search: the supernet's weights and its architecture.

  log_rates and rate_opt_state are those of learned inner rates, {} and empty
  where a search has none.
  """

  step: jax.Array
  params: PyTree
  batch_stats: PyTree
  arch: PyTree
  weight_opt_state: optax.OptState
  arch_opt_state: optax.OptState
  log_rates: PyTree
  rate_opt_state: optax.OptState
