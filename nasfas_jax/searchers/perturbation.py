"""Derives a genotype by perturbation of the searched supernet.

The strength of an operation, its weight in the mixture, says little about what
the supernet loses without it (DARTS-PT; Wang et al., Rethinking Architecture
Selection in Differentiable NAS, ICLR 2021, algorithm 1). Here every operation
of an edge is removed in turn, and the edge keeps the one whose removal raises
the loss most. Edges come in random order; one that is decided has its operation
alone from then on, and the weights may be fine-tuned before the next. Then
every node keeps the incoming edges whose removal raises the loss most, and a
cell of one output the node of which this is true.

What is removed has weight 0; the others of its softmax share its weight. Only
logits change, an argument of the compiled loss: nothing is compiled twice.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nasfas_jax import augment, inputs, losses, progress, sharding, supervised
from nasfas_jax.data import index
from nasfas_jax.models import genotypes, search_spaces
from nasfas_jax.models.search_spaces import LEVELS, STRONGEST, cell_edges
from nasfas_jax.models.supernet import Supernet
from nasfas_jax.searchers import bilevel, supernet_program
from nasfas_jax.searchers.supernet_program import SearchSettings
from nasfas_jax.states import SearchState

Arch = dict[str, dict[str, np.ndarray]]
# (state, arch) -> a loss. The state holds the weights.
Loss = Callable[[Any, Arch], float]
# (state, arch) -> the state with its weights tuned to these logits.
Tune = Callable[[Any, Arch], Any]

# The softmax of them against any other logit is 0 and 1 in float32.
_REMOVED = -1e9
_CHOSEN = 1e4
# Separates the order of the edges from other draws of the same seed.
_STREAM = 11


@dataclasses.dataclass(frozen=True)
class SelectionSettings:
  """How much a selection by perturbation looks at.

  Attributes:
    num_batches: whose mean loss is compared, at least 1.
    fine_tune_steps: steps of the weights after each edge; 0: none.
  """

  num_batches: int
  fine_tune_steps: int


def select(
  model: Supernet,
  arch: Arch,
  state: Any,
  loss: Loss,
  *,
  seed: int,
  tune: Tune | None = None,
) -> genotypes.Genotype:
  """Derives a genotype by the loss that each removal causes.

  Of equal losses the earlier operation, edge or node stays.

  Args:
    model: the supernet, which says what its logits mean.
    arch: its logits.
    state: handed to `loss` and `tune`.
    loss: lower is better.
    seed: of the order of the edges.
    tune: called after each decided edge; None: the weights stay.

  Raises:
    ValueError: if nodes keep some edges only, but the supernet can remove none:
      it has neither edge normalization nor the operation 'none'.
  """
  space = search_spaces.get_space(model.space)
  edges = cell_edges(model.num_nodes)
  arch = {
    part: {level: np.array(arch[part][level], np.float32) for level in LEVELS}
    for part in ('alphas', 'betas', 'nodes')
  }
  cells = [(level, cell) for level in LEVELS for cell in range(model.num_cells)]
  order = [(*cell, edge) for cell in cells for edge in range(len(edges))]
  rng = np.random.default_rng((seed, _STREAM))
  order = [order[place] for place in rng.permutation(len(order))]
  with progress.bar('Selecting', len(order)) as bar:
    for number, place in enumerate(order, 1):
      _choose_operation(model, space, arch, place, state, loss)
      if tune is not None:
        state = tune(state, arch)
      bar.update(number)
  kept = {
    level: np.ones((model.num_cells, len(edges)), np.float32)
    for level in LEVELS
  }
  for level, cell in cells:
    for node in range(1, model.num_nodes + 1):
      entering = [i for i, (_, target) in enumerate(edges) if target == node]
      if len(entering) <= space.edges_per_node:
        continue
      found = [
        loss(state, _without_edge(model, space, arch, (level, cell, edge)))
        for edge in entering
      ]
      # A stable sort: of equal losses the earlier edge stays.
      worst = sorted(range(len(entering)), key=lambda i: -found[i])
      for place in worst[space.edges_per_node :]:
        edge = (level, cell, entering[place])
        arch = _without_edge(model, space, arch, edge)
        kept[level][cell, entering[place]] = 0.0
  if space.output == STRONGEST and model.node_attention:
    for level, cell in cells:
      found = [
        loss(state, _changed(arch, 'nodes', (level, cell, node), _REMOVED))
        for node in range(model.num_nodes)
      ]
      best = int(np.argmax(found))
      arch['nodes'][level][cell] = 0.0
      arch['nodes'][level][cell, best] = _CHOSEN
  weights = supernet_program.mixing_weights(model, arch)
  return genotypes.derive(
    weights['alphas'],
    model.space,
    theta=model.theta,
    edge_weights=kept,
    node_weights=weights['nodes'] if model.node_attention else None,
  )


def _choose_operation(model, space, arch, place, state, loss) -> None:
  """Leaves an edge the operation whose removal raises the loss most."""
  level, cell, edge = place
  choices = search_spaces.derivable(space)
  if len(choices) > 1:
    found = [
      loss(state, _changed(arch, 'alphas', (*place, choice), _REMOVED))
      for choice in choices
    ]
    best = choices[int(np.argmax(found))]
  else:
    (best,) = choices
  row = arch['alphas'][level][cell, edge]
  row[:] = 0.0
  row[best] = _CHOSEN * model.temperature


def _changed(arch: Arch, part: str, place: tuple, value: float) -> Arch:
  """A copy of the logits with another value at (level, *indices)."""
  level, *indices = place
  changed = arch[part][level].copy()
  changed[tuple(indices)] = value
  return {**arch, part: {**arch[part], level: changed}}


def _without_edge(model, space, arch: Arch, place: tuple) -> Arch:
  """A copy of the logits in which an edge passes nothing."""
  if model.edge_normalization:
    return _changed(arch, 'betas', place, _REMOVED)
  if search_spaces.NONE not in space.operations:
    raise ValueError(
      f'space {model.space!r} has no {search_spaces.NONE!r} and '
      'edge_normalization is False; a selection by perturbation needs one of '
      'them to remove an edge.'
    )
  level, *indices = place
  row = np.zeros(len(space.operations), np.float32)
  row[space.operations.index(search_spaces.NONE)] = _CHOSEN * model.temperature
  changed = arch['alphas'][level].copy()
  changed[tuple(indices)] = row
  return {**arch, 'alphas': {**arch['alphas'], level: changed}}


def derive_by_perturbation(
  model: Supernet,
  rows: Sequence[index.Row],
  *,
  form: inputs.InputForm,
  objective: losses.Objective,
  search: SearchSettings,
  settings: SelectionSettings,
  batch_size: int,
  train_batches: Callable[..., Iterator[dict]],
  prepare: augment.Prepare,
) -> Callable[[SearchState], genotypes.Genotype]:
  """Makes the `derive` function of a gradient search.

  The losses are in training mode, on fixed batches of the second half of the
  training subjects: those that a plain search does not train its weights on.
  Fine-tuning takes the first half, at the search's first learning rate.

  Args:
    model: the supernet.
    rows: the training clips.
    form: of the input.
    objective: see `losses.make_objective`.
    search: the settings that all searches share.
    settings: of the selection.
    batch_size: clips per batch.
    train_batches: (rows, batch_size, seed, step) -> a stream of raw batches.
    prepare: makes batches of them.

  Raises:
    ValueError: if the clips cannot be split, see `index.split_halves`.
  """
  first, second = index.split_halves(rows)
  mesh = sharding.make_mesh()
  replicated = sharding.replicated(mesh)
  clips = sharding.batch_sharding(mesh)

  def derive(state: SearchState) -> genotypes.Genotype:
    make = supernet_program.jit_prepare(prepare, clips)

    def stream(half, seed):
      raw_batches = train_batches(
        half, batch_size=batch_size, seed=seed, step=0
      )
      try:
        for step, raw in enumerate(raw_batches):
          raw = sharding.put_batch(raw, mesh)
          yield make(raw, jnp.asarray(step, jnp.int32), seed)
      finally:
        raw_batches.close()

    judged = stream(second, search.seed + 3)
    batches = [next(judged) for _ in range(settings.num_batches)]
    judged.close()
    network_loss = supervised.network_loss(model, form, objective)
    loss_of = jax.jit(
      lambda params, batch_stats, batch, arch: network_loss(
        params, batch_stats, batch, arch
      )[0],
      in_shardings=(replicated, replicated, clips, replicated),
      out_shardings=replicated,
    )

    def loss(state, arch):
      # All are under way before the first is waited for.
      found = [
        loss_of(state.params, state.batch_stats, batch, arch)
        for batch in batches
      ]
      mean = float(np.mean([float(value) for value in found]))
      if not np.isfinite(mean):
        raise FloatingPointError(
          f'The loss of the supernet is {mean} while its operations are '
          'removed; config.search.selection_steps may be too many.'
        )
      return mean

    logits = jax.tree.map(np.asarray, state.arch)
    # A search over tasks has its state on a mesh of another form.
    state = jax.device_put(state, replicated)
    if not settings.fine_tune_steps:
      return select(model, logits, state, loss, seed=search.seed)
    tuned = stream(first, search.seed + 4)
    constant = dataclasses.replace(search.weights, schedule='constant')
    tuning = dataclasses.replace(search, gumbel=False, weights=constant)
    step, _ = bilevel.jit_steps(
      supernet_program.supernet_loss(model, form, objective, tuning),
      tuning,
      mesh,
    )

    def tune(state, arch):
      state = state.replace(arch=jax.device_put(arch, replicated))
      for _ in range(settings.fine_tune_steps):
        state, _ = step(state, next(tuned))
      return state

    # The step donates its state.
    state = jax.tree.map(jnp.copy, state)
    state = state.replace(
      weight_opt_state=constant.optimizer().init(state.params)
    )
    try:
      return select(model, logits, state, loss, seed=search.seed, tune=tune)
    finally:
      tuned.close()

  return derive
