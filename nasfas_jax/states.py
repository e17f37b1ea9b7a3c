"""The states that a training and a search carry from step to step."""

from typing import Any

import flax.struct
import jax
import optax

PyTree = Any


def member(tree: PyTree, place: int | jax.Array) -> PyTree:
  """One member of arrays with a leading axis, such as the state of a seed."""
  return jax.tree.map(lambda leaf: leaf[place], tree)


@flax.struct.dataclass
class TrainState:
  """State of a training.

  A training from S seeds adds a leading axis [S] to every leaf.

  Attributes:
    step: int32 scalar, number of steps done.
    params: float32 pytree, the network's parameters.
    batch_stats: float32 pytree, the running batch statistics.
    opt_state: of the optimizer.
    skipped: int32 scalar, number of steps that were skipped, see `nonfinite`.
    term_params: float32 pytree, the parameters of the terms of the loss, such
      as a discriminator's; () if no term has any.
    term_opt_state: of their optimizer.
  """

  step: jax.Array
  params: PyTree
  batch_stats: PyTree
  opt_state: optax.OptState
  skipped: jax.Array | tuple[()] = ()
  term_params: PyTree = ()
  term_opt_state: optax.OptState = ()


@flax.struct.dataclass
class SearchState:
  """State of a search.

  An evolution over T tasks adds a leading axis [T] to every leaf.

  Attributes:
    step: int32 scalar, number of steps done.
    params: float32 pytree, the supernet's weights.
    batch_stats: float32 pytree, the running batch statistics.
    arch: float32 pytree, the architecture parameters, see
      `models.architecture`.
    weight_opt_state: of the weights' optimizer.
    arch_opt_state: of the architecture's optimizer.
    log_inner_lr: float32 scalars in the tree of `params`, the logarithms of
      learned inner learning rates; {} without them.
    inner_lr_opt_state: of their optimizer; () without them.
    skipped: int32 scalar, number of steps that were skipped, see `nonfinite`.
  """

  step: jax.Array
  params: PyTree
  batch_stats: PyTree
  arch: PyTree
  weight_opt_state: optax.OptState
  arch_opt_state: optax.OptState
  log_inner_lr: PyTree
  inner_lr_opt_state: optax.OptState
  skipped: jax.Array | tuple[()] = ()
