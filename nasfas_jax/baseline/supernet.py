"""The supernet in PyTorch, in the form of DARTS and PC-DARTS.

A mixed operation is a loop over its operations, a cell a loop over its edges.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from nasfas_jax.baseline import layers, networks
from nasfas_jax.models.search_spaces import (
  LEVELS,
  cell_edges,
  derivable,
  get_space,
  space_theta,
)

Arch = Mapping[str, Mapping[str, torch.Tensor]]


def module_name(operation: str) -> str:
  """The name of an operation's module, where PyTorch allows no dot."""
  return operation.replace('.', '_')


class SearchCell(nn.Module):
  """A cell of the supernet; see `models.cells.SearchCell`."""

  def __init__(
    self,
    space: str,
    num_nodes: int,
    features: int,
    *,
    theta: float,
    partial_channels: int,
  ):
    """Makes the operations of all edges.

    Raises:
      ValueError: if partial_channels does not divide the channels.
    """
    super().__init__()
    if partial_channels < 1 or features % partial_channels:
      raise ValueError(
        f'partial_channels is {partial_channels}; it must divide the '
        f"cell's {features} channels."
      )
    chosen = get_space(space)
    self.operations = chosen.operations
    # All but 'none', which adds zero.
    self.places = derivable(chosen)
    self.num_nodes = num_nodes
    self.partial_channels = partial_channels
    self.kept = features // partial_channels
    for source, target in cell_edges(num_nodes):
      mixed = nn.ModuleDict(
        {
          module_name(chosen.operations[place]): layers.operation(
            chosen.operations[place], self.kept, theta=theta, affine=False
          )
          for place in self.places
        }
      )
      self.add_module(f'from_{source}_to_{target}', mixed)

  def forward(
    self,
    x: torch.Tensor,
    op_weights: torch.Tensor,
    edge_weights: torch.Tensor,
    node_weights: torch.Tensor,
  ) -> torch.Tensor:
    """Applies the cell.

    Args:
      x: [N, C, H, W].
      op_weights: [num_edges, num_ops].
      edge_weights: [num_edges].
      node_weights: [num_nodes].
    """
    states = [x]
    sums = {}
    for i, (source, target) in enumerate(cell_edges(self.num_nodes)):
      if target > len(states):
        states.append(sums[target - 1])
      state = states[source]
      y = self._mix(state[:, : self.kept], op_weights[i], source, target)
      if self.partial_channels > 1:
        y = torch.cat([y, state[:, self.kept :]], dim=1)
        y = channel_shuffle(y, self.partial_channels)
      sums[target] = sums.get(target, 0.0) + edge_weights[i] * y
    return sum(
      node_weights[target - 1] * state for target, state in sums.items()
    )

  def _mix(self, x, weights, source, target):
    mixed = getattr(self, f'from_{source}_to_{target}')
    return sum(
      weights[place] * apply(x)
      for place, apply in zip(self.places, mixed.values(), strict=True)
    )


def channel_shuffle(x: torch.Tensor, groups: int) -> torch.Tensor:
  """Interleaves the channels of `groups` equal parts of x [N, C, H, W]."""
  n, channels, height, width = x.shape
  x = x.reshape(n, groups, channels // groups, height, width)
  return x.transpose(1, 2).reshape(n, channels, height, width)


def mixing_weights(
  arch: Arch, num_nodes: int, temperature: float = 1.0
) -> dict[str, dict[str, torch.Tensor]]:
  """See `models.architecture.mixing_weights`, without Gumbel samples."""
  incoming = list(range(1, num_nodes + 1))
  return {
    'alphas': {
      level: torch.softmax(logits / temperature, dim=-1)
      for level, logits in arch['alphas'].items()
    },
    'betas': {
      level: torch.cat(
        [part.softmax(dim=-1) for part in logits.split(incoming, dim=-1)],
        dim=-1,
      )
      for level, logits in arch['betas'].items()
    },
    'nodes': {
      level: torch.softmax(logits, dim=-1)
      for level, logits in arch['nodes'].items()
    },
  }


class Supernet(networks.Backbone):
  """Stem, low, mid and high search cells, attention fusion and head."""

  def __init__(
    self,
    in_features: int,
    *,
    space: str,
    num_cells: int = 1,
    num_nodes: int = 4,
    stem_features: Sequence[int] = (32, 64),
    cell_features: int = 128,
    head_features: int = 64,
    output_size: int = 32,
    theta: float = 0.7,
    partial_channels: int = 4,
    edge_normalization: bool = True,
    node_attention: bool = True,
    temperature: float = 1.0,
    two_stream: bool = False,
  ):
    """in_features: input channels; the others as in `models.supernet`."""
    theta = space_theta(space, theta)
    super().__init__(
      in_features,
      lambda level: [
        SearchCell(
          space,
          num_nodes,
          cell_features,
          theta=theta,
          partial_channels=partial_channels,
        )
        for _ in range(num_cells)
      ],
      stem_features=stem_features,
      cell_features=cell_features,
      head_features=head_features,
      output_size=output_size,
      theta=theta,
      two_stream=two_stream,
    )
    self.num_nodes = num_nodes
    self.edge_normalization = edge_normalization
    self.node_attention = node_attention
    self.temperature = temperature

  def forward(self, x: torch.Tensor, arch: Arch) -> torch.Tensor:
    """Predicts a map.

    Args:
      x: [N, C, H, W].
      arch: logits, see `models.architecture`.

    Returns:
      [N, S, S], at least 0.
    """
    weights = mixing_weights(arch, self.num_nodes, self.temperature)
    if not self.edge_normalization:
      weights['betas'] = {
        level: torch.ones_like(weights['betas'][level]) for level in LEVELS
      }
    if not self.node_attention:
      weights['nodes'] = {
        level: torch.full_like(weights['nodes'][level], 1 / self.num_nodes)
        for level in LEVELS
      }

    def level(name, x, prefix):
      for i, cell in enumerate(self.parts(f'{prefix}{name}')):
        x = cell(
          x, *(weights[k][name][i] for k in ('alphas', 'betas', 'nodes'))
        )
      return x

    return self.predict(x, level)
