"""Small networks, their variables and their twins, shared by the tests."""

import jax
import numpy as np

from nasfas_jax import models
from nasfas_jax.comparison import twins
from nasfas_jax.models import architecture, genotypes, supernet
from nasfas_jax.models.genotypes import Cell, Edge

SIZES = {
  'stem_features': (4, 8),
  'cell_features': 8,
  'head_features': 8,
  'output_size': 4,
}


def _cell(*operations):
  """A chain of operations, the last node also reached from the input."""
  edges = [Edge(i, i + 1, name) for i, name in enumerate(operations)]
  if len(edges) > 1:
    edges.append(Edge(0, len(operations), 'skip_connect'))
  outputs = ((1, 0.5), (len(operations), 1.5))
  return Cell(tuple(edges), outputs[-len(operations) :])


# Every operation of `nasfas` stands in it.
EVERY_OPERATION = genotypes.Genotype(
  space='nasfas',
  theta=0.6,
  cells=(
    (_cell('cdc_5x5', 'cd_max_pool_3x3'), _cell('cdc_3x3')),
    (_cell('sep_cdc_3x3', 'cdc_cross_dg', 'cdc_2_1.4'),),
    (_cell('dil_cdc_3x3', 'cdc_cross_hv', 'cd_avg_pool_3x3', 'cdc_2_1.0'),),
  ),
)
NETWORKS = {
  'cdcn': ('cdcn', {}),
  'cdcnpp': ('cdcnpp', {}),
  'two_stream': ('cdcnpp', {'two_stream': True, 'stem_features': (4, 6)}),
  'every operation': (EVERY_OPERATION, {}),
}
SUPERNETS = {
  'cdcnpp': {'space': 'cdcnpp', 'temperature': 0.5},
  'nasfas': {'space': 'nasfas'},
  'plain': {
    'space': 'cdcnpp',
    'num_cells': 2,
    'edge_normalization': False,
    'node_attention': False,
    'partial_channels': 1,
  },
}


def images():
  return jax.random.normal(jax.random.key(7), (2, 12, 12, 6))


def make_network(name):
  chosen, fields = NETWORKS[name]
  return models.build_model(chosen, **{**SIZES, **fields})


def make_supernet(name):
  """(supernet, architecture far from its even start)."""
  fields = {'num_cells': 1, 'partial_channels': 2, **SUPERNETS[name]}
  model = supernet.Supernet(num_nodes=2, **SIZES, **fields)
  arch = architecture.init_arch(
    jax.random.key(3),
    space=fields['space'],
    num_cells=fields['num_cells'],
    num_nodes=2,
  )
  return model, jax.tree.map(lambda logits: 1e3 * logits, arch)


def draw_variables(model, *inputs):
  """Variables of which none, statistics included, is as it starts."""
  shapes = jax.eval_shape(
    lambda: model.init(jax.random.key(0), *inputs, train=False)
  )
  rng = np.random.default_rng(0)

  def draw(leaf):
    if leaf.ndim == 1:
      return rng.uniform(0.8, 1.2, leaf.shape).astype(np.float32)
    fan_in = leaf.size / leaf.shape[-1]
    return (rng.normal(0.05, 1.0, leaf.shape) / fan_in**0.5).astype(np.float32)

  return {
    name: jax.tree.map(draw, shapes[name]) for name in ('params', 'batch_stats')
  }


def make_twin(model, variables):
  return twins.make_twin(model, 6, variables)
