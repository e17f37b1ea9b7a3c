"""Selection by perturbation, where it and the strength say different things."""

import types

import jax
import numpy as np
import pytest
from small_search import make_batch, make_parts, small_config

from nasfas_jax import losses, search
from nasfas_jax.data import protocols
from nasfas_jax.models import architecture, search_spaces
from nasfas_jax.models.search_spaces import LEVELS, cell_edges
from nasfas_jax.searchers import perturbation, supernet_program


def make_model(space, num_nodes, **changes):
  """What a selection asks a supernet for."""
  fields = {
    **{'space': space, 'num_cells': 1, 'num_nodes': num_nodes, 'theta': 0.7},
    **{'temperature': 1.0, 'edge_normalization': True, 'node_attention': True},
  }
  return types.SimpleNamespace(**{**fields, **changes})


def make_arch(model, rng):
  """Logits near 0."""
  return jax.tree.map(
    np.asarray,
    architecture.init_arch(
      jax.random.key(int(rng.integers(100))),
      space=model.space,
      num_cells=model.num_cells,
      num_nodes=model.num_nodes,
    ),
  )


class Linear:
  """A loss that is linear in every weight of the mixture.

  An operation, an edge and a node are worth what they are worth, whatever their
  weight: the selection must find the worthiest of each.
  """

  def __init__(self, model, rng):
    self.model = model
    edges = len(cell_edges(model.num_nodes))
    names = len(search_spaces.get_space(model.space).operations)
    self.operations = {
      level: rng.permuted(
        np.tile(np.arange(names) + 1.0, (1, edges, 1)), axis=-1
      )
      for level in LEVELS
    }
    self.edges = {level: rng.permutation(edges)[None] + 1.0 for level in LEVELS}
    self.nodes = {
      level: rng.permutation(model.num_nodes)[None] + 1.0 for level in LEVELS
    }
    self.calls = 0

  def __call__(self, state, arch):
    assert state == 'weights'
    self.calls += 1
    weights = supernet_program.mixing_weights(self.model, arch)
    return -sum(
      np.sum(weights[part][level] * worth[level])
      for part, worth in (
        ('alphas', self.operations),
        ('betas', self.edges),
        ('nodes', self.nodes),
      )
      for level in LEVELS
    )


@pytest.mark.parametrize('space', ['nasfas', 'cdcnpp'])
def test_the_worthiest_is_kept_whatever_its_strength(space):
  rng = np.random.default_rng(3)
  model = make_model(space, 3)
  loss = Linear(model, rng)
  arch = make_arch(model, rng)
  found = perturbation.select(model, arch, 'weights', loss, seed=0)
  chosen = search_spaces.get_space(space)
  choices = search_spaces.derivable(chosen)
  for level in LEVELS:
    (cell,) = found.level(level)
    for edge in cell.edges:
      place = cell_edges(3).index((edge.source, edge.target))
      worth = loss.operations[level][0, place]
      best = max(choices, key=lambda i, worth=worth: worth[i])
      assert edge.operation == chosen.operations[best]
    last = [node for node, _ in cell.outputs][-1]
    if space == 'cdcnpp':
      assert last == 1 + int(loss.nodes[level][0].argmax())
    entering = {edge.source for edge in cell.edges if edge.target == last}
    worth = {
      source: loss.edges[level][0, place]
      for place, (source, target) in enumerate(cell_edges(3))
      if target == last
    }
    number = chosen.edges_per_node
    assert entering == set(sorted(worth, key=worth.get)[-number:])
  # Every operation of every edge once, then surplus edges, then nodes.
  surplus = sum(n for n in (1, 2, 3) if n > chosen.edges_per_node)
  nodes = 3 if space == 'cdcnpp' else 0
  assert loss.calls == 3 * (6 * len(choices) + surplus + nodes)
  # By strength something else comes out.
  assert found != supernet_program.derive(
    types.SimpleNamespace(**vars(model)), arch
  )


def test_edges_are_removed_by_none_where_they_are_not_weighted():
  """Without edge normalization the loss knows an edge by its operation."""
  rng = np.random.default_rng(5)
  model = make_model('cdcnpp', 2, edge_normalization=False)
  loss = Linear(model, rng)
  for level in LEVELS:
    # No operation is worth less than 'none'; on the second edge more is lost.
    loss.operations[level][:] = np.arange(8.0)
    loss.operations[level][0, 1] *= 2
  found = perturbation.select(
    model, make_arch(model, rng), 'weights', loss, seed=0
  )
  for level in LEVELS:
    (cell,) = found.level(level)
    # Edges (0, 1), (0, 2), (1, 2): of those into node 2 the first stays.
    assert (1, 2) not in [(e.source, e.target) for e in cell.edges]
  search_spaces.SPACES['no_none'] = search_spaces.Space(
    ('skip_connect', 'cdc_3x3'), edges_per_node=1
  )
  try:
    model.space = 'no_none'
    with pytest.raises(ValueError, match="'no_none' has no 'none'"):
      perturbation.select(
        model, make_arch(model, rng), 'weights', Linear(model, rng), seed=0
      )
  finally:
    del search_spaces.SPACES['no_none']


def test_the_weights_are_tuned_after_each_edge():
  model = make_model('cdcnpp', 2)
  loss = Linear(model, np.random.default_rng(0))
  seen = []

  def tune(state, arch):
    seen.append(arch)
    decided = sum(
      int((arch['alphas'][level].max(axis=-1) > 100).sum()) for level in LEVELS
    )
    assert decided == len(seen)
    return state

  arch = make_arch(model, np.random.default_rng(1))
  perturbation.select(model, arch, 'weights', loss, seed=0, tune=tune)
  assert len(seen) == 9
  # The caller's logits stay.
  assert max(np.abs(a).max() for a in arch['alphas'].values()) < 0.1


def test_a_supernet_whose_strongest_operation_it_needs_least():
  """The losses are those of a compiled supernet of one edge a cell."""
  parts = make_parts(small_config(hold_out='none'))
  model, state, batch = parts.model, parts.state, make_batch(3)

  def loss(state, arch):
    return float(parts.loss_fn(state.params, arch, batch, state, 0)[0])

  even = jax.tree.map(np.zeros_like, state.arch)
  removed = {
    place: loss(
      state,
      perturbation._changed(even, 'alphas', ('mid', 0, 0, place), -1e9),
    )
    for place in (1, 2)
  }
  assert abs(removed[1] - removed[2]) > 1e-4
  needed = max(removed, key=removed.get)
  other = min(removed, key=removed.get)
  # Hardly stronger: the losses stay as they are, the strength does not.
  tilted = perturbation._changed(even, 'alphas', ('mid', 0, 0, other), 1e-5)
  names = search_spaces.get_space('small').operations

  def middle(genotype):
    return genotype.level('mid')[0].edges[0].operation

  strongest = supernet_program.derive(model, tilted)
  assert middle(strongest) == names[other]
  # Decided first, so that the other edges are as they were.
  seed = next(
    seed
    for seed in range(20)
    if np.random.default_rng((seed, 11)).permutation(3)[0] == 1
  )
  found = perturbation.select(model, tilted, state, loss, seed=seed)
  assert middle(found) == names[needed]


def make(tiny_data_dir, **changes):
  """A search by perturbation of one step, and its first state."""
  config = small_config(
    **{'num_steps': 2, 'warmup_steps': 1, 'batch_size': 4},
    **{'selection': 'perturbation', 'selection_batches': 1},
    **changes,
  )
  config.data.data_dir = str(tiny_data_dir)
  search.check(config)
  selection = protocols.load(config.protocol, tiny_data_dir, 'tiny')
  made = search.make_search(config, selection)
  return made.derive, made.program.state


def test_a_search_derives_by_perturbation_and_compiles_once(
  tiny_data_dir, monkeypatch
):
  traced = []
  make_objective = losses.make_objective

  def counted(weights):
    objective = make_objective(weights)

    def of_batch(outputs, batch):
      traced.append(1)
      return objective(outputs, batch)

    return of_batch

  monkeypatch.setattr(losses, 'make_objective', counted)
  derive, state = make(tiny_data_dir, hold_out='none')
  traced.clear()
  genotype = derive(state)
  # Three edges with two operations each, and one program for all.
  assert len(traced) == 1
  assert genotype.space == 'small'
  params = jax.tree.map(lambda a: a * np.float32(np.nan), state.params)
  with pytest.raises(FloatingPointError, match='loss of the supernet is nan'):
    derive(state.replace(params=params))


def test_fine_tuning_moves_the_weights_and_not_the_searched_state(
  tiny_data_dir, monkeypatch
):
  # Over tasks: the state is on a mesh of tasks, that of the tuning on one of
  # clips.
  derive, state = make(tiny_data_dir, hold_out='domain', selection_steps=1)
  before = jax.tree.map(np.array, state.params)
  seen = []
  select = perturbation.select

  def watched(model, arch, state, loss, *, seed, tune):
    def kept(state, arch):
      state = tune(state, arch)
      seen.append(jax.tree.map(np.array, state.params))
      return state

    return select(model, arch, state, loss, seed=seed, tune=kept)

  monkeypatch.setattr(perturbation, 'select', watched)
  derive(state)
  assert len(seen) == 3
  for one, other in ((before, seen[0]), (seen[0], seen[1])):
    moved = jax.tree.map(lambda a, b: np.any(a != b), one, other)
    assert any(jax.tree.leaves(moved))
  jax.tree.map(np.testing.assert_array_equal, state.params, before)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    (
      {'algorithm': 'evolution', 'hold_out': 'none'},
      "selection is 'perturbation'; allowed with .* 'evolution'",
    ),
    (
      {'selection': 'strength', 'selection_steps': 2},
      "selection_steps is 2; allowed with .*'strength': 0",
    ),
    ({'selection': 'luck'}, "is 'luck'; allowed: strength, perturbation"),
    ({'selection_batches': 0}, 'selection_batches is 0; allowed: 1 to'),
  ],
)
def test_a_selection_that_would_have_no_effect_is_refused(changes, message):
  config = small_config(**{'selection': 'perturbation', **changes})
  with pytest.raises(ValueError, match=message):
    search.check(config)


def test_batches_that_mix_domains_do_not_fit_statistics_of_each():
  config = small_config(selection='perturbation')
  config.meta.domain_statistics = True
  with pytest.raises(ValueError, match='domain_statistics is True; allowed'):
    search.check(config)
