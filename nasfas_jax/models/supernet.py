"""The supernet: the network of the search, with mixed operations."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from nasfas_jax.models import architecture, backbone
from nasfas_jax.models.cells import SearchCell
from nasfas_jax.models.outputs import Outputs
from nasfas_jax.models.search_spaces import num_edges, space_theta


class Supernet(nn.Module):
  """Stem, low, mid and high search cells, attention fusion and head.

  The architecture parameters are an argument of `apply`, so that `jax.grad`
  differentiates with respect to them like any other argument. With an rng named
  'gumbel' the operations' weights are a Gumbel-softmax sample, else a softmax.

  Attributes:
    space: name of the search space; one with a fixed theta overrides `theta`.
    num_cells: cells per level.
    num_nodes: intermediate nodes per cell.
    stem_features: channels of the two blocks of the stem.
    cell_features: channels of the cells.
    head_features: channels of the head.
    output_size: side of the map.
    theta: strength of the central difference.
    partial_channels: see `SearchCell`.
    edge_normalization: weight the edges by their softmax; else by 1.
    node_attention: weight the nodes by their softmax; else equally.
    remat: see `SearchCell`.
    remat_convolutions: see `SearchCell`.
    edge_loop: see `SearchCell`.
    temperature: of the operations' softmax.
    two_stream: see `backbone.predict_map`.
    dtype: of the computation.
  """

  space: str
  num_cells: int = 1
  num_nodes: int = 4
  stem_features: tuple[int, int] = (32, 64)
  cell_features: int = 128
  head_features: int = 64
  output_size: int = 32
  theta: float = 0.7
  partial_channels: int = 4
  edge_normalization: bool = True
  node_attention: bool = True
  remat: bool = False
  remat_convolutions: bool = False
  edge_loop: bool = False
  temperature: float = 1.0
  two_stream: bool = False
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, x: jax.Array, arch: architecture.Arch, *, train: bool
  ) -> Outputs:
    """Predicts a map.

    Args:
      x: float [N, H, W, C], the fused input.
      arch: architecture parameters, see `architecture.init_arch`.
      train: whether batch normalization uses the batch.

    Returns:
      `Outputs`; the map is [N, output_size, output_size].

    Raises:
      ValueError: for an unknown space, or sizes that do not fit.
    """
    theta = space_theta(self.space, self.theta)
    key = self.make_rng('gumbel') if self.has_rng('gumbel') else None
    weights = architecture.mixing_weights(
      arch, num_nodes=self.num_nodes, key=key, temperature=self.temperature
    )
    edges = jnp.ones((self.num_cells, num_edges(self.num_nodes)))
    nodes = jnp.full((self.num_cells, self.num_nodes), 1 / self.num_nodes)

    def level(name: str, x: jax.Array, prefix: str) -> jax.Array:
      betas = weights['betas'][name] if self.edge_normalization else edges
      attention = weights['nodes'][name] if self.node_attention else nodes
      for i in range(self.num_cells):
        x = SearchCell(
          self.space,
          self.num_nodes,
          theta,
          self.partial_channels,
          self.remat,
          self.remat_convolutions,
          self.edge_loop,
          self.dtype,
          name=f'{prefix}{name}_{i}',
        )(x, weights['alphas'][name][i], betas[i], attention[i], train)
      return x

    return backbone.predict_map(
      x,
      level,
      stem_features=self.stem_features,
      cell_features=self.cell_features,
      head_features=(self.head_features,),
      output_size=self.output_size,
      theta=theta,
      two_stream=self.two_stream,
      dtype=self.dtype,
      train=train,
    )
