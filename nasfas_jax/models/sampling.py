"""Random genotypes, and the architecture parameters of a genotype.

A sample is a tree of NumPy arrays in the form of the architecture parameters
(see `architecture`). Its alphas are 1 for one operation of each edge and else
0; its betas and nodes are random and decide what the derivation keeps. The
derived genotype is uniform over operations, incoming edges and output nodes.
"""

import dataclasses
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
  has_theta,
  num_edges,
)

Sample = dict[str, dict[str, np.ndarray]]

# The softmax of this logit against 0 is 1 in float32.
_LOGIT = 40.0
# Mutations that change nothing, one after the other, before it is an error.
_DRAWS = 100


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
  """Draws a genotype; arguments as of `draw` and `to_genotype`.

  One of a wide space draws its choices, theta and the number of cells as well,
  each evenly, and needs neither `num_cells` nor `theta`.
  """
  choices = get_space(space).choices
  if choices is None:
    sample = draw(rng, space=space, num_cells=num_cells, num_nodes=num_nodes)
    return to_genotype(sample, space, theta=theta, provenance=provenance)
  return genotypes.Genotype(
    space=space,
    theta=_pick(rng, choices.thetas),
    choices=genotypes.Choices(
      width=_pick(rng, choices.widths),
      fusion=_pick(rng, choices.fusions),
      norm=_pick(rng, choices.norms),
    ),
    cells=tuple(
      tuple(
        _draw_cell(rng, space, num_nodes)
        for _ in range(_pick(rng, choices.depths))
      )
      for _ in LEVELS
    ),
    provenance=dict(provenance or {}),
  )


def mutate(
  rng: np.random.Generator, genotype: genotypes.Genotype, *, num_nodes: int
) -> genotypes.Genotype:
  """A genotype that differs in one gene, as in regularised evolution.

  The genes are each edge's operation and each cell's graph; in a wide space
  also each edge's theta, the number of cells of each level, theta and the
  choices. A gene is drawn evenly, and its value among the others.

  Args:
    rng: of the draws.
    genotype: the parent.
    num_nodes: intermediate nodes of a cell that is drawn anew.

  Raises:
    ValueError: if nothing else can be drawn.
  """
  space = get_space(genotype.space)
  for _ in range(_DRAWS):
    genes = _genes(genotype, space)
    name, *place = genes[int(rng.integers(len(genes)))]
    child = _mutated(rng, genotype, space, name, place, num_nodes)
    if child != genotype:
      return child
  raise ValueError(
    f'{_DRAWS} mutations of a genotype of the space {genotype.space!r} changed '
    'nothing.'
  )


def _genes(genotype, space) -> list[tuple]:
  """(name, *place) of every gene."""
  found = []
  for number, level in enumerate(genotype.cells):
    for i, cell in enumerate(level):
      found.append(('cell', number, i))
      for j, edge in enumerate(cell.edges):
        found.append(('operation', number, i, j))
        if edge.theta is not None:
          found.append(('theta_of_edge', number, i, j))
    if space.choices is not None:
      found.append(('depth', number))
  if space.choices is not None:
    found += [('theta',), ('width',), ('fusion',), ('norm',)]
  return found


def _mutated(rng, genotype, space, name, place, num_nodes):
  """The genotype with another value of one gene."""
  choices = space.choices
  if name == 'theta':
    theta = _other(rng, choices.thetas, genotype.theta)
    return dataclasses.replace(genotype, theta=theta)
  if name in ('width', 'fusion', 'norm'):
    value = _other(
      rng, getattr(choices, f'{name}s'), getattr(genotype.choices, name)
    )
    changed = dataclasses.replace(genotype.choices, **{name: value})
    return dataclasses.replace(genotype, choices=changed)
  level = place[0]
  cells = list(genotype.cells[level])
  if name == 'depth':
    depth = _other(rng, choices.depths, len(cells))
    new = [
      _draw_cell(rng, genotype.space, num_nodes)
      for _ in range(depth - len(cells))
    ]
    cells = cells[:depth] + new
  elif name == 'cell':
    cells[place[1]] = _draw_cell(rng, genotype.space, num_nodes)
  else:
    edges = list(cells[place[1]].edges)
    edge = edges[place[2]]
    if name == 'operation':
      names = [space.operations[i] for i in derivable(space)]
      operation = _other(rng, names, edge.operation)
      theta = edge.theta
      if choices is not None:
        theta = _theta(rng, choices, operation) if theta is None else theta
        theta = theta if has_theta(operation) else None
      edge = dataclasses.replace(edge, operation=operation, theta=theta)
    else:
      theta = _other(rng, choices.thetas, edge.theta)
      edge = dataclasses.replace(edge, theta=theta)
    edges[place[2]] = edge
    cells[place[1]] = dataclasses.replace(cells[place[1]], edges=tuple(edges))
  changed = list(genotype.cells)
  changed[level] = tuple(cells)
  return dataclasses.replace(genotype, cells=tuple(changed))


def _draw_cell(rng, space: str, num_nodes: int) -> genotypes.Cell:
  """Draws one cell, with a theta for each edge in a wide space."""
  sample = draw(rng, space=space, num_cells=1, num_nodes=num_nodes)
  chosen = get_space(space)
  cell = genotypes.derive_cell(
    sample['alphas'][LEVELS[0]][0],
    sample['betas'][LEVELS[0]][0],
    sample['nodes'][LEVELS[0]][0] / sample['nodes'][LEVELS[0]][0].sum(),
    chosen,
  )
  if chosen.choices is None:
    return cell
  edges = tuple(
    dataclasses.replace(edge, theta=_theta(rng, chosen.choices, edge.operation))
    for edge in cell.edges
  )
  return dataclasses.replace(cell, edges=edges)


def _theta(rng, choices, operation: str) -> float | None:
  return _pick(rng, choices.thetas) if has_theta(operation) else None


def _pick(rng, values):
  """One of some values, as it stands there and not as NumPy's."""
  return values[int(rng.integers(len(values)))]


def _other(rng, values, value):
  """One of the other values; `value` if there is none."""
  others = [one for one in values if one != value]
  return _pick(rng, others) if others else value


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
