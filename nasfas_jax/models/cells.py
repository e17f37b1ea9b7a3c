"""Cells: of mixed operations in a search, of chosen ones afterwards."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from nasfas_jax.models import genotypes, operations
from nasfas_jax.models.mixed_edges import (
  OutgoingEdges,
  remat_policy,
  scalars,
  total,
  weighted,
)
from nasfas_jax.models.search_spaces import cell_edges, get_space


def channel_shuffle(x: jax.Array, groups: int) -> jax.Array:
  """Interleaves the channels of the `groups` equal parts of x [..., C]."""
  shape = x.shape
  x = x.reshape(*shape[:-1], groups, shape[-1] // groups)
  return jnp.swapaxes(x, -1, -2).reshape(shape)


class SearchCell(nn.Module):
  """A cell of the supernet: every operation on every edge.

  Attributes:
    space: name of the search space.
    num_nodes: intermediate nodes.
    theta: strength of the central difference.
    partial_channels: only the first 1 / partial_channels of the channels pass
      through the mixed operations; the others bypass them, and then all are
      shuffled (PC-DARTS, arXiv 1907.05737).
    remat: recompute the mixed operations in the backward pass, all but the
      results of convolutions and the statistics of normalizations: the outgoing
      edges of one node at a time, or with `edge_loop` one edge. They take
      nearly all of a search's memory. Without `edge_loop` remat saved nothing
      on CPU, see benchmarks/README.md.
    remat_convolutions: with `remat`: recompute the convolutions, too, which
      takes the least memory.
    edge_loop: compute the outgoing edges of a node in a loop, see
      `OutgoingEdges`.
    dtype: of the computation.
  """

  space: str
  num_nodes: int
  theta: float = 0.7
  partial_channels: int = 1
  remat: bool = False
  remat_convolutions: bool = False
  edge_loop: bool = False
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self,
    x: jax.Array,
    op_weights: jax.Array,
    edge_weights: jax.Array,
    node_weights: jax.Array,
    train: bool,
  ) -> jax.Array:
    """Applies the cell.

    Args:
      x: [N, H, W, C], the cell's input, node 0.
      op_weights: float32 [num_edges, num_ops], edges in the order of
        `cell_edges`.
      edge_weights: float32 [num_edges].
      node_weights: float32 [num_nodes].
      train: whether batch normalization uses the batch.

    Returns:
      [N, H, W, C], the weighted sum of the nodes.

    Raises:
      ValueError: if partial_channels does not divide C, or the weights are not
        those of the space and of this number of nodes.
    """
    features = x.shape[-1]
    operations = get_space(self.space).operations
    wanted = (len(cell_edges(self.num_nodes)), len(operations))
    if op_weights.shape != wanted:
      raise ValueError(
        f'The operations have weights {op_weights.shape}; allowed: {wanted}, '
        f'edges and operations of the space {self.space!r} with '
        f'{self.num_nodes} nodes.'
      )
    if self.partial_channels < 1 or features % self.partial_channels:
      raise ValueError(
        f'partial_channels is {self.partial_channels}; it must divide the '
        f"cell's {features} channels."
      )
    kept = features // self.partial_channels
    places = {edge: i for i, edge in enumerate(cell_edges(self.num_nodes))}
    edge_weights, node_weights = scalars(edge_weights), scalars(node_weights)
    op_rows = jax.lax.split(op_weights, [1] * len(places))
    state = x.astype(self.dtype)
    entering = {target: [] for target in range(1, self.num_nodes + 1)}
    outputs = []
    edges_class = OutgoingEdges
    if self.remat:
      edges_class = nn.remat(
        OutgoingEdges,
        static_argnums=(3,),
        policy=remat_policy(self.remat_convolutions),
      )
    for source in range(self.num_nodes):
      targets = tuple(range(source + 1, self.num_nodes + 1))
      rows = jnp.concatenate([op_rows[places[source, t]] for t in targets])
      mixed = edges_class(
        targets,
        self.space,
        self.theta,
        self.edge_loop,
        self.remat,
        self.remat_convolutions,
        self.dtype,
        name=f'from_{source}',
      )(state[..., :kept], rows, train)
      for target, y in zip(targets, mixed, strict=True):
        if self.partial_channels > 1:
          y = jnp.concatenate([y, state[..., kept:]], axis=-1)
          y = channel_shuffle(y, self.partial_channels)
        entering[target].append(
          weighted(edge_weights[places[source, target]], y)
        )
      # By now, all edges into the next node are computed.
      state = total(entering[source + 1])
      outputs.append(weighted(node_weights[source], state))
    return total(outputs)


class DerivedCell(nn.Module):
  """A cell of a derived network: the genotype's operations only.

  Attributes:
    cell: of the genotype.
    theta: strength of the central difference of edges without their own.
    dtype: of the computation.
    norm: kind of the normalization.
  """

  cell: genotypes.Cell
  theta: float = 0.7
  dtype: Any = jnp.float32
  norm: str = 'batch'

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """x: [N, H, W, C]; returns the same shape in `dtype`."""
    states = {0: x.astype(self.dtype)}
    for edge in sorted(self.cell.edges, key=lambda e: (e.target, e.source)):
      y = operations.make(
        edge.operation,
        theta=self.theta if edge.theta is None else edge.theta,
        dtype=self.dtype,
        norm=self.norm,
        name=f'from_{edge.source}_to_{edge.target}',
      )(states[edge.source], train=train)
      states[edge.target] = states.get(edge.target, 0.0) + y
    return sum(
      jnp.asarray(weight, self.dtype) * states[node]
      for node, weight in self.cell.outputs
    )
