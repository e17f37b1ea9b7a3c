"""Random genotypes, and the architecture parameters of a genotype.

A sample is a tree of NumPy arrays in the form of the architecture parameters
(see `architecture`). Its alphas are 1 for one operation of each edge and else
0; its betas and nodes are random and decide what the derivation keeps. The
derived genotype is uniform over operations, incoming edges and output nodes.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from nasfas_jax.models import genotypes
from nasfas_jax.models.search_spaces import (
  LEVELS,
  NONE,
  cell_edges,
  derivable,
  get_space,
  num_edges,
)

Sample = dict[str, dict[str, np.ndarray]]

# The softmax of this logit against 0 is 1 in float32.
_LOGIT = 40.0


def draw(
  rng: np.random.Generator, *, space: str, num_cells: int, num_nodes: int
) -> Sample:
  """Draws a random sample.

  Args:
    rng: of the draws.
    space: name of the search space.
    num_cells: cells per level.
    num_nodes: intermediate nodes per cell.

  Returns:
    float64 arrays, see the module's docstring.
  """
  choices = np.array(derivable(get_space(space)))
  edges = num_edges(num_nodes)
  names = len(get_space(space).operations)

  def alphas():
    chosen = rng.integers(len(choices), size=(num_cells, edges))
    return np.eye(names)[choices[chosen]]

  return {
    'alphas': {level: alphas() for level in LEVELS},
    'betas': {level: rng.uniform(size=(num_cells, edges)) for level in LEVELS},
    'nodes': {
      level: rng.uniform(size=(num_cells, num_nodes)) for level in LEVELS
    },
  }


def cross(
  rng: np.random.Generator,
  parents: tuple[Sample, Sample],
  mutation_rate: float,
  **sizes,
) -> Sample:
  """A child of two parents: each gene is one parent's, or mutated.

  The genes are each edge's operation, each edge's strength and each node's
  strength.

  Args:
    rng: of the draws.
    parents: samples of the same search space and size.
    mutation_rate: probability that a gene is drawn anew, in [0, 1].
    **sizes: space, num_cells and num_nodes, see `draw`.
  """
  fresh = draw(rng, **sizes)
  child = {}
  for part, levels in fresh.items():
    child[part] = {}
    for level, new in levels.items():
      first, second = (parent[part][level] for parent in parents)
      genes = new.shape[:2]
      mask = (..., *[None] * (new.ndim - 2))
      mixed = np.where((rng.uniform(size=genes) < 0.5)[mask], first, second)
      mutate = (rng.uniform(size=genes) < mutation_rate)[mask]
      child[part][level] = np.where(mutate, new, mixed)
  return child


def to_genotype(
  sample: Sample,
  space: str,
  *,
  theta: float,
  provenance: Mapping[str, Any] | None = None,
) -> genotypes.Genotype:
  """Derives the genotype of a sample; the weights of its nodes sum to 1."""
  nodes = {
    level: weights / weights.sum(axis=-1, keepdims=True)
    for level, weights in sample['nodes'].items()
  }
  return genotypes.derive(
    sample['alphas'],
    space,
    theta=theta,
    edge_weights=sample['betas'],
    node_weights=nodes,
    provenance=provenance,
  )


def random_genotype(
  rng: np.random.Generator,
  *,
  space: str,
  num_cells: int,
  num_nodes: int,
  theta: float,
  provenance: Mapping[str, Any] | None = None,
) -> genotypes.Genotype:
  """Draws a genotype; arguments as of `draw` and `to_genotype`."""
  sample = draw(rng, space=space, num_cells=num_cells, num_nodes=num_nodes)
  return to_genotype(sample, space, theta=theta, provenance=provenance)


def to_arch(
  genotype: genotypes.Genotype,
  num_nodes: int,
  temperature: float = 1.0,
  *,
  edge_normalization: bool = True,
  node_attention: bool = True,
) -> Sample:
  """The logits with which a supernet computes a genotype's cells.

  An edge that the genotype lacks gets the operation 'none' if the space has it,
  and weight 0 next to the node's other edges. The kept edges into a node share
  its weight equally. In a space without 'none', only the weights of edges and
  nodes can remove what the genotype lacks, so the supernet must use both.

  Args:
    genotype: of at most `num_nodes` nodes per cell.
    num_nodes: of the supernet.
    temperature: by which the supernet divides the alphas.
    edge_normalization: of the supernet.
    node_attention: of the supernet.

  Returns:
    float32 logits in the form of `architecture.init_arch`.

  Raises:
    ValueError: if no logits can make the supernet compute the cells.
  """
  names = get_space(genotype.space).operations
  missing = 0
  if NONE in names:
    missing = names.index(NONE)
  elif not (edge_normalization and node_attention):
    raise ValueError(
      f'space {genotype.space!r} has no {NONE!r}, edge_normalization is '
      f'{edge_normalization} and node_attention {node_attention}; allowed: '
      'both True.'
    )
  places = {edge: i for i, edge in enumerate(cell_edges(num_nodes))}
  arch = {'alphas': {}, 'betas': {}, 'nodes': {}}
  for level in LEVELS:
    cells = genotype.level(level)
    alphas = np.zeros((len(cells), len(places), len(names)), np.float32)
    betas = np.zeros(alphas.shape[:2], np.float32)
    nodes = np.full((len(cells), num_nodes), -_LOGIT, np.float32)
    for i, cell in enumerate(cells):
      chosen = np.full(len(places), missing)
      for edge in cell.edges:
        place = places[edge.source, edge.target]
        chosen[place] = names.index(edge.operation)
        betas[i, place] = _LOGIT
      alphas[i, np.arange(len(places)), chosen] = _LOGIT * temperature
      for node, weight in cell.outputs:
        nodes[i, node - 1] = np.log(max(weight, 1e-9))
    arch['alphas'][level] = alphas
    arch['betas'][level] = betas
    arch['nodes'][level] = nodes
  return arch
