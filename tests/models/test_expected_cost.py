"""The expected cost, against the networks that are derived."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasfas_jax import models
from nasfas_jax.models import (
  architecture,
  cost,
  expected_cost,
  genotypes,
  sampling,
  search_spaces,
)

NODES = 3
FEATURES = 4
SIZES = {'num_cells': 1, 'num_nodes': NODES}
# Its levels are of the sides 20, 10 and 5.
IMAGE_SIZE = 20


def costs_of(space, unit='parameters', num_nodes=NODES, two_stream=False):
  return expected_cost.operation_costs(
    space,
    theta=0.7,
    num_cells=1,
    num_nodes=num_nodes,
    image_size=IMAGE_SIZE,
    features=FEATURES,
    two_stream=two_stream,
    unit=unit,
  )


def network_cost(genotype, unit, two_stream=False):
  model = models.build_model(
    genotype,
    stem_features=(2, FEATURES),
    cell_features=FEATURES,
    head_features=2,
    output_size=5,
    theta=0.7,
    two_stream=two_stream,
  )
  shape = jax.ShapeDtypeStruct((1, IMAGE_SIZE, IMAGE_SIZE, 6), jnp.float32)
  return getattr(cost.of_network(model, shape), unit)


def same_everywhere(space, operation):
  """The genotype that has an operation on as many edges as there can be."""
  chosen = search_spaces.get_space(space)
  edges = [
    genotypes.Edge(source, target, operation)
    for target in range(1, NODES + 1)
    for source in range(target)[-chosen.edges_per_node :]
  ]
  outputs = ((NODES, 1.0),)
  if chosen.output == search_spaces.ALL:
    outputs = tuple((node, 1 / NODES) for node in range(1, NODES + 1))
  cell = genotypes.Cell(edges=tuple(edges), outputs=outputs)
  return genotypes.Genotype(space=space, theta=0.7, cells=((cell,),) * 3)


@pytest.mark.parametrize(
  ('space', 'costliest', 'unit', 'two_stream'),
  [
    ('cdcnpp', 'cdc_2_1.6', 'parameters', False),
    ('cdcnpp', 'cdc_2_1.6', 'macs', False),
    ('cdcnpp', 'cdc_2_1.6', 'macs', True),
    ('nasfas', 'cdc_5x5', 'parameters', False),
    ('nasfas', 'cdc_5x5', 'macs', False),
  ],
)
def test_a_decided_architecture_costs_what_its_network_does(
  space, costliest, unit, two_stream
):
  least, most = (
    network_cost(same_everywhere(space, name), unit, two_stream)
    for name in ('skip_connect', costliest)
  )
  costs = costs_of(space, unit, two_stream=two_stream)
  for seed in range(4):
    genotype = sampling.random_genotype(
      np.random.default_rng(seed), space=space, theta=0.7, **SIZES
    )
    arch = sampling.to_arch(genotype, num_nodes=NODES)
    found = expected_cost.expected_cost(
      arch, costs, space=space, num_nodes=NODES
    )
    wanted = (network_cost(genotype, unit, two_stream) - least) / (most - least)
    assert 0 < wanted < 1
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_of_an_undecided_one_it_is_the_mean_over_all_chains():
  names = search_spaces.get_space('cdcnpp').operations
  keys = jax.random.split(jax.random.key(3), 3)
  edges = search_spaces.cell_edges(NODES)
  shapes = {
    **{'alphas': (1, len(edges), len(names)), 'betas': (1, len(edges))},
    'nodes': (1, NODES),
  }
  arch = {
    name: {
      level: jax.random.normal(jax.random.fold_in(key, place), shape)
      for place, level in enumerate(search_spaces.LEVELS)
    }
    for key, (name, shape) in zip(keys, shapes.items(), strict=True)
  }
  costs = costs_of('cdcnpp')
  found = expected_cost.expected_cost(
    arch, costs, space='cdcnpp', num_nodes=NODES, temperature=0.5
  )

  def softmax(logits):
    powers = np.exp(np.float64(logits))
    return powers / powers.sum()

  wanted = 0.0
  for level in search_spaces.LEVELS:
    # Without 'none', which no derived edge has.
    of_edge = [
      softmax(row[1:] / 0.5) @ np.float64(costs[level][1:])
      for row in np.asarray(arch['alphas'][level][0])
    ]
    into = [
      softmax([arch['betas'][level][0, edges.index((s, t))] for s in range(t)])
      for t in range(1, NODES + 1)
    ]
    outputs = softmax(arch['nodes'][level][0])
    # The source of each node, and the node at which the chain ends.
    for sources in itertools.product(*(range(t) for t in range(1, NODES + 1))):
      chance = np.prod([p[s] for p, s in zip(into, sources, strict=True)])
      for last in range(1, NODES + 1):
        node, length = last, 0.0
        while node:
          source = sources[node - 1]
          length += of_edge[edges.index((source, node))]
          node = source
        wanted += chance * outputs[last - 1] * length
  np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_nodes_and_edges_that_the_supernet_does_not_weigh_are_alike():
  arch = architecture.init_arch(jax.random.key(0), space='nasfas', **SIZES)
  arch = jax.tree.map(lambda a: 1000.0 * a, arch)
  costs = costs_of('nasfas')
  alike = {
    **{'alphas': arch['alphas']},
    **{
      name: jax.tree.map(jnp.zeros_like, arch[name])
      for name in ('betas', 'nodes')
    },
  }
  shared = {'costs': costs, 'space': 'nasfas', 'num_nodes': NODES}
  found = expected_cost.expected_cost(
    arch, edge_normalization=False, node_attention=False, **shared
  )
  assert found == expected_cost.expected_cost(alike, **shared)
  assert found != expected_cost.expected_cost(arch, **shared)


def test_a_space_whose_operations_cost_nothing_is_refused(monkeypatch):
  monkeypatch.setitem(
    search_spaces.SPACES,
    'free',
    search_spaces.Space(operations=('none', 'skip_connect')),
  )
  with pytest.raises(ValueError, match="space 'free' has macs; allowed: "):
    costs_of('free', 'macs')
