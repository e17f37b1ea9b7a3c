import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasfas_jax.models import architecture, genotypes, sampling, supernet
from nasfas_jax.models.search_spaces import (
  LEVELS,
  SPACES,
  Space,
  cell_edges,
  num_edges,
)

SIZES = {'num_cells': 1, 'num_nodes': 3}


def draw(seed, space='cdcnpp', **sizes):
  rng = np.random.default_rng(seed)
  return sampling.draw(rng, space=space, **{**SIZES, **sizes})


def genotype_of(sample, space='cdcnpp'):
  return sampling.to_genotype(sample, space, theta=0.7)


def test_the_same_seed_draws_the_same_and_another_seed_another():
  assert genotype_of(draw(0)) == genotype_of(draw(0))
  assert len({genotype_of(draw(seed)) for seed in range(20)}) > 15


def test_operations_edges_and_nodes_are_drawn_evenly():
  operations, sources, depths = (collections.Counter() for _ in range(3))
  for seed in range(600):
    cell = genotype_of(draw(seed)).level('low')[0]
    operations[cell.edges[0].operation] += 1
    depths[cell.outputs[0][0]] += 1
    if cell.outputs[0][0] == 3:
      sources[cell.edges[-1].source] += 1
  # Within about four standard deviations of an even share.
  for counts, kinds in ((operations, 7), (depths, 3), (sources, 3)):
    total = sum(counts.values())
    share = 1 / kinds
    slack = 4 * np.sqrt(share * (1 - share) / total)
    assert len(counts) == kinds
    assert all(abs(n / total - share) < slack for n in counts.values())


def test_a_space_without_none_needs_the_weights_of_edges_and_nodes(monkeypatch):
  monkeypatch.setitem(SPACES, 'own', Space(('cdc_3x3', 'cdc_5x5')))
  genotype = genotype_of(draw(0, 'own'), 'own')
  for level in LEVELS:
    assert {e.operation for e in genotype.level(level)[0].edges} <= {
      'cdc_3x3',
      'cdc_5x5',
    }
  arch = sampling.to_arch(genotype, num_nodes=3)
  weights = architecture.mixing_weights(arch, num_nodes=3)
  kept = {(e.source, e.target) for e in genotype.level('mid')[0].edges}
  for edge, weight in zip(
    cell_edges(3), weights['betas']['mid'][0], strict=True
  ):
    assert (float(weight) > 0.1) == (edge in kept)
  with pytest.raises(ValueError, match="'own' has no 'none', edge_normaliz"):
    sampling.to_arch(genotype, num_nodes=3, edge_normalization=False)


@pytest.mark.parametrize('space', ['cdcnpp', 'nasfas'])
def test_architecture_parameters_derive_to_the_genotype_they_stand_for(space):
  for seed in range(5):
    genotype = genotype_of(draw(seed, space, num_cells=2), space)
    arch = sampling.to_arch(genotype, num_nodes=3)
    weights = architecture.mixing_weights(arch, num_nodes=3)
    found = genotypes.derive(
      jax.tree.map(np.asarray, weights['alphas']),
      space,
      theta=0.7,
      edge_weights=jax.tree.map(np.asarray, weights['betas']),
      node_weights=jax.tree.map(np.asarray, weights['nodes']),
    )
    for mine, theirs in zip(found.cells, genotype.cells, strict=True):
      for a, b in zip(mine, theirs, strict=True):
        assert a.edges == b.edges
        np.testing.assert_allclose(a.outputs, b.outputs, rtol=1e-5)


def test_a_temperature_leaves_one_operation_an_edge():
  genotype = genotype_of(draw(0, num_nodes=2))
  arch = sampling.to_arch(genotype, num_nodes=2, temperature=20.0)
  weights = architecture.mixing_weights(arch, num_nodes=2, temperature=20.0)
  for alphas in weights['alphas'].values():
    np.testing.assert_allclose(alphas.max(axis=-1), 1.0, rtol=1e-6)


def test_the_supernet_computes_the_genotypes_operations_only():
  """Weights of other operations do not change what it predicts."""
  model = supernet.Supernet(
    space='cdcnpp',
    num_nodes=1,
    stem_features=(2, 4),
    cell_features=4,
    head_features=4,
    output_size=4,
    partial_channels=1,
  )
  genotype = genotype_of(draw(3, num_nodes=1))
  arch = sampling.to_arch(genotype, num_nodes=1)
  x = jax.random.normal(jax.random.key(0), (2, 16, 16, 3))
  variables = jax.jit(
    lambda: model.init(jax.random.key(1), x, arch, train=False)
  )()
  apply = jax.jit(
    lambda variables: (
      model.apply(variables, x, arch, train=True, mutable=['batch_stats'])[
        0
      ].map
    )
  )

  def predict(change):
    """With the kernels of some operations replaced by noise."""

    def replace(path, leaf):
      names = {str(getattr(entry, 'key', entry)) for entry in path}
      return leaf + 0.3 if any(change(name) for name in names) else leaf

    params = jax.tree_util.tree_map_with_path(replace, variables['params'])
    return apply({**variables, 'params': params})

  used = {
    edge.operation
    for level in LEVELS
    for edge in genotype.level(level)[0].edges
  }
  others = set(SPACES['cdcnpp'].operations) - used
  reference = predict(lambda name: False)
  assert float(jnp.max(reference)) > 0
  others_changed = predict(
    lambda name: name.removesuffix('_first').removesuffix('_second') in others
  )
  np.testing.assert_allclose(others_changed, reference, atol=1e-6)
  used_changed = predict(
    lambda name: name.removesuffix('_first').removesuffix('_second') in used
  )
  assert float(jnp.max(jnp.abs(used_changed - reference))) > 1e-3


def test_a_child_has_the_genes_of_its_parents_or_fresh_ones():
  rng = np.random.default_rng(0)
  first, second = draw(1), draw(2)
  child = sampling.cross(rng, (first, second), 0.0, space='cdcnpp', **SIZES)
  for part in child:
    for level in LEVELS:
      mine, a, b = (tree[part][level] for tree in (child, first, second))
      from_a, from_b = mine == a, mine == b
      if mine.ndim == 3:
        from_a, from_b = from_a.all(-1), from_b.all(-1)
      assert (from_a | from_b).all()
  assert any(
    (child['betas'][level] == first['betas'][level]).any()
    and (child['betas'][level] == second['betas'][level]).any()
    for level in LEVELS
  )
  fresh = sampling.cross(rng, (first, second), 1.0, space='cdcnpp', **SIZES)
  for level in LEVELS:
    assert fresh['betas'][level].shape == (1, num_edges(3))
    assert not np.isin(
      fresh['betas'][level],
      [first['betas'][level], second['betas'][level]],
    ).any()
