"""What all searches share: the supernet's state, loss, log and genotype.

A searcher is a function of plain values and rows of the index. It returns a
`Search`: a program for the loop, and a function that derives the genotype from
the program's final state.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from nasfas_jax import (
  augment,
  inputs,
  loop,
  losses,
  models,
  optimizers,
  supervised,
)
from nasfas_jax.models import architecture, genotypes
from nasfas_jax.models.search_spaces import LEVELS
from nasfas_jax.models.supernet import Supernet
from nasfas_jax.searchers import meta
from nasfas_jax.states import SearchState

PyTree = Any
# (params, arch, batch, state, purpose) -> (loss, new batch statistics).
# `purpose` is an integer that separates the random draws within one step; it
# may be traced.
SupernetLoss = Callable[..., tuple[jax.Array, PyTree]]


@dataclasses.dataclass(frozen=True)
class SearchSettings:
  """The settings that all searches share.

  Attributes:
    seed: same seed, same search.
    num_steps: total number of steps.
    warmup_steps: first steps, which update the weights only.
    second_order: differentiate through the inner steps of the weights.
    gumbel: mix the operations by a Gumbel-softmax sample, not by the softmax.
    arch_every: steps between snapshots of the operations' weights, of the
      steps that are logged.
    weights: optimizer and schedule of the supernet's weights.
    arch: optimizer and schedule of the architecture parameters.
    cost_weight: weight of the derived network's expected cost in the loss of
      the architecture.
    expected_cost: of architecture parameters; None if its weight is 0.
  """

  seed: int
  num_steps: int
  warmup_steps: int
  second_order: bool
  gumbel: bool
  arch_every: int
  weights: optimizers.Descent
  arch: optimizers.Descent
  cost_weight: float = 0.0
  expected_cost: Callable[[architecture.Arch], jax.Array] | None = None


class Search(NamedTuple):
  """A search.

  Attributes:
    program: see `loop.Program`.
    derive: the program's final state -> the genotype.
  """

  program: loop.Program
  derive: Callable[[SearchState], genotypes.Genotype]


def initial_state(
  model: Supernet,
  example: jax.Array,
  settings: SearchSettings,
  *,
  inner_lr: float | None = None,
  inner_lr_optimizer: optax.GradientTransformation | None = None,
) -> SearchState:
  """The initial state; the same for the same seed.

  Args:
    model: the supernet.
    example: an input of the supernet; only its shape is used.
    settings: see `SearchSettings`.
    inner_lr: initial value of learned inner learning rates; None: they are not
      learned.
    inner_lr_optimizer: of the logarithms of the inner learning rates.
  """
  key = jax.random.fold_in(jax.random.key(settings.seed), 0)
  arch_key, params_key = jax.random.split(key)
  arch = architecture.init_arch(
    arch_key,
    space=model.space,
    num_cells=model.num_cells,
    num_nodes=model.num_nodes,
  )
  variables = models.initialize(model, params_key, example, arch)
  log_inner_lr, inner_lr_opt_state = {}, ()
  if inner_lr is not None:
    log_inner_lr = meta.constant_inner_lrs(
      variables['params'], math.log(inner_lr)
    )
    inner_lr_opt_state = inner_lr_optimizer.init(log_inner_lr)
  return SearchState(
    step=jnp.zeros((), jnp.int32),
    params=variables['params'],
    batch_stats=variables['batch_stats'],
    arch=arch,
    weight_opt_state=settings.weights.optimizer().init(variables['params']),
    arch_opt_state=settings.arch.optimizer().init(arch),
    log_inner_lr=log_inner_lr,
    inner_lr_opt_state=inner_lr_opt_state,
    skipped=jnp.zeros((), jnp.int32),
  )


def supernet_loss(
  model: Supernet,
  form: inputs.InputForm,
  objective: losses.Objective,
  settings: SearchSettings,
) -> SupernetLoss:
  """Makes the supernet's loss function in training mode.

  The Gumbel key depends on the seed, the step and the purpose alone, so it is
  not part of the state.

  Args:
    model: the supernet.
    form: of the input.
    objective: see `losses.make_objective`.
    settings: see `SearchSettings`.

  Returns:
    See `SupernetLoss`; the loss is a float32 scalar.
  """
  loss_fn = supervised.network_loss(model, form, objective)

  def of_state(params, arch, batch, state, purpose):
    rngs = None
    if settings.gumbel:
      key = jax.random.fold_in(jax.random.key(settings.seed), 2 + purpose)
      rngs = {'gumbel': jax.random.fold_in(key, state.step)}
    loss, (batch_stats, _) = loss_fn(
      params, state.batch_stats, batch, arch, rngs=rngs
    )
    return loss, batch_stats

  return of_state


def priced(
  gradients: architecture.Arch,
  arch: architecture.Arch,
  settings: SearchSettings,
) -> architecture.Arch:
  """The gradients of the architecture's loss with the expected cost added.

  Args:
    gradients: of the loss on clips.
    arch: where they were taken.
    settings: of the search.
  """
  if settings.expected_cost is None:
    return gradients
  of_cost = jax.grad(settings.expected_cost)(arch)
  return jax.tree.map(
    lambda loss, cost: loss + settings.cost_weight * cost, gradients, of_cost
  )


def jit_prepare(prepare: augment.Prepare, shardings) -> augment.Prepare:
  """Jits what makes batches of raw ones; a program of its own.

  So a batch that several programs of a step use is made once.

  Args:
    prepare: see `augment.Prepare`.
    shardings: of the clips, raw or not.

  Returns:
    A jitted function.
  """
  return jax.jit(
    prepare, in_shardings=(shardings, None, None), out_shardings=shardings
  )


def observe(
  model: Supernet, settings: SearchSettings
) -> Callable[[SearchState, loop.Scalars, int], loop.Observed]:
  """Makes the `observe` function of a gradient search's program.

  It logs the losses, the weights' learning rate, the signs of a collapsing
  search (the operations' entropy and the shares of skip-connect), the expected
  cost if it has a weight and, every `arch_every` steps, the operations'
  weights.
  """
  rate = settings.weights.rate()

  # As one program: by themselves, its dozens of operations take seconds to
  # compile.
  @jax.jit
  def more(arch, step):
    tempered = architecture.temper(arch, model.temperature)
    scalars = {
      'learning_rate': rate(step - 1),
      'alpha_entropy': architecture.alpha_entropy(tempered),
      'skip_share': architecture.skip_share(tempered, model.space),
      'skip_edge_share': architecture.skip_edge_share(tempered, model.space),
    }
    if settings.expected_cost is not None:
      scalars['expected_cost'] = settings.expected_cost(arch)
    return scalars

  def of_step(state, scalars, step):
    numbers = loop.read({**scalars, **more(state.arch, step)})
    other = {}
    if step % settings.arch_every == 0 or step == settings.num_steps:
      alphas = mixing_weights(model, state.arch)['alphas']
      other['alphas'] = {
        level: np.round(alphas[level].astype(np.float64), 6).tolist()
        for level in LEVELS
      }
    return loop.Observed(numbers, other)

  return of_step


def mixing_weights(model: Supernet, arch: architecture.Arch) -> dict:
  """See `architecture.mixing_weights`; NumPy arrays."""
  weights = architecture.mixing_weights(
    arch, num_nodes=model.num_nodes, temperature=model.temperature
  )
  return jax.tree.map(np.asarray, weights)


def derive(model: Supernet, arch: architecture.Arch) -> genotypes.Genotype:
  """Derives the genotype from architecture parameters."""
  weights = mixing_weights(model, arch)
  return genotypes.derive(
    weights['alphas'],
    model.space,
    theta=model.theta,
    edge_weights=weights['betas'] if model.edge_normalization else None,
    node_weights=weights['nodes'] if model.node_attention else None,
  )
