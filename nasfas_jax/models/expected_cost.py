"""The cost of the network that an architecture is going to derive.

Read as probabilities, the mixing weights choose the operation of each edge, the
incoming edges of each node and the output of each cell, independently. The
expected cost under them is differentiable. A search that adds it to its loss
prefers cheap networks, as ProxylessNAS does with latency (arXiv 1812.00332,
section 3.3).
"""

import jax
import jax.numpy as jnp
import numpy as np

from nasfas_jax.models import architecture, cost, operations
from nasfas_jax.models.search_spaces import (
  ALL,
  LEVELS,
  Space,
  cell_edges,
  derivable,
  get_space,
)

# What a cost is counted in: fields of `cost.Cost`.
UNITS = cost.Cost._fields

# For each of `LEVELS`, float32 [num_ops].
OperationCosts = dict[str, np.ndarray]


def operation_costs(
  space: str,
  *,
  theta: float,
  num_cells: int,
  num_nodes: int,
  image_size: int,
  features: int,
  two_stream: bool,
  unit: str,
) -> OperationCosts:
  """The cost of each operation in the cells of a derived network.

  They are shares: the costliest network of the space has 1 in all its cells
  together. Stem and head, which all of them have alike, are left out.

  Args:
    space: name of the search space.
    theta: strength of the central difference.
    num_cells: cells per level.
    num_nodes: intermediate nodes of a cell.
    image_size: side of the network's input.
    features: channels of the cells.
    two_stream: whether there are two low levels.
    unit: one of `UNITS`.

  Raises:
    ValueError: if no operation costs anything.
  """
  names = get_space(space).operations
  counts = {}
  for number, level in enumerate(LEVELS):
    # Each level halves its input, rounded up.
    side = -(-image_size // 2**number)
    example = jax.ShapeDtypeStruct((1, side, side, features), jnp.float32)
    streams = 2 if two_stream and level == 'low' else 1
    counts[level] = streams * np.array(
      [
        getattr(cost.of_module(operations.make(n, theta=theta), example), unit)
        for n in names
      ],
      np.float64,
    )
  edges = _most_edges(get_space(space), num_nodes)
  most = num_cells * edges * sum(level.max() for level in counts.values())
  if not most:
    raise ValueError(
      f'no operation of the space {space!r} has {unit}; allowed: a space whose '
      'networks differ in them.'
    )
  return {name: np.float32(level / most) for name, level in counts.items()}


def expected_cost(
  arch: architecture.Arch,
  costs: OperationCosts,
  *,
  space: str,
  num_nodes: int,
  edge_normalization: bool = True,
  node_attention: bool = True,
  temperature: float = 1.0,
) -> jax.Array:
  """The expected cost of the cells of the derived network, and its gradient.

  A chain, which keeps one incoming edge of each node, leads to its output: so a
  node is part of it as the output, or as the source of the edge into a later
  node that is. Where a node keeps k edges of weights b, each is taken to be
  kept with the probability min(1, k b).

  Args:
    arch: logits, see `architecture`.
    costs: see `operation_costs`.
    space: name of the search space.
    num_nodes: intermediate nodes of a cell.
    edge_normalization: as of the supernet; without it all edges into a node are
      equally probable.
    node_attention: as of the supernet; without it all nodes are.
    temperature: divides the alphas.

  Returns:
    float32 scalar in [0, 1].
  """
  chosen = get_space(space)
  # An edge that is kept has an operation.
  choices = np.array(derivable(chosen))
  weights = architecture.mixing_weights(
    {
      'alphas': {k: v[..., choices] for k, v in arch['alphas'].items()},
      'betas': _free(arch['betas'], edge_normalization),
      'nodes': _free(arch['nodes'], node_attention),
    },
    num_nodes=num_nodes,
    temperature=temperature,
  )
  total = jnp.zeros((), jnp.float32)
  for level in LEVELS:
    of_edges = weights['alphas'][level] @ costs[level][choices]
    kept = jnp.minimum(1.0, chosen.edges_per_node * weights['betas'][level])
    used = _used(weights['nodes'][level], kept, chosen, num_nodes)
    total = total + jnp.sum(used * kept * of_edges)
  return total


def _free(logits: dict, used: bool) -> dict:
  """The logits, or those of equal weights."""
  return logits if used else jax.tree.map(jnp.zeros_like, logits)


def _most_edges(space: Space, num_nodes: int) -> int:
  """Edges of the largest derived cell."""
  return sum(
    min(space.edges_per_node, target) for target in range(1, num_nodes + 1)
  )


def _used(
  nodes: jax.Array, kept: jax.Array, space: Space, num_nodes: int
) -> jax.Array:
  """The probability that the target of each edge is part of the cell.

  Args:
    nodes: [num_cells, num_nodes], of being the output.
    kept: [num_cells, num_edges], of being among the incoming edges of a node.
    space: its fields.
    num_nodes: intermediate nodes.

  Returns:
    [num_cells, num_edges].
  """
  if space.output == ALL:
    return jnp.ones_like(kept)
  edges = cell_edges(num_nodes)
  used = {}
  for node in reversed(range(1, num_nodes + 1)):
    later = [
      used[target] * kept[:, place]
      for place, (source, target) in enumerate(edges)
      if source == node
    ]
    used[node] = jnp.minimum(1.0, sum(later, nodes[:, node - 1]))
  return jnp.stack([used[target] for _, target in edges], axis=-1)
