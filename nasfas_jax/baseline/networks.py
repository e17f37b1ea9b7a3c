"""CDCN, CDCN++ and the network of a genotype; see `models`."""

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional

from nasfas_jax.baseline.layers import (
  CDConv,
  SpatialAttention,
  block,
  operation,
)
from nasfas_jax.models import genotypes
from nasfas_jax.models.search_spaces import LEVELS

# Kernel sizes of the spatial attention of the low, mid and high level.
ATTENTION_KERNEL_SIZES = (7, 5, 3)
# Scales He's standard deviation for the last convolution.
LAST_INIT_SCALE = 0.1


class FusionHead(nn.Module):
  """Resizes the levels' outputs, concatenates them and predicts one map."""

  def __init__(
    self,
    level_features: Sequence[int],
    features: Sequence[int],
    *,
    output_size: int,
    theta: float,
    attention: bool,
  ):
    """Makes the layers.

    Args:
      level_features: channels of the levels' outputs.
      features: channels of the blocks before the last convolution.
      output_size: side of the predicted map.
      theta: strength of the central difference.
      attention: whether each level passes a spatial attention first.
    """
    super().__init__()
    self.output_size = output_size
    self.attentions = []
    if attention:
      for i, kernel_size in enumerate(ATTENTION_KERNEL_SIZES):
        self.add_module(f'attention_{i}', SpatialAttention(kernel_size))
        self.attentions.append(f'attention_{i}')
    width = sum(level_features)
    self.blocks = []
    for i, next_width in enumerate(features):
      self.add_module(f'block_{i}', block(width, next_width, theta=theta))
      self.blocks.append(f'block_{i}')
      width = next_width
    self.conv = CDConv(width, 1, theta=theta, init_scale=LAST_INIT_SCALE)

  def forward(self, levels: Sequence[torch.Tensor]) -> torch.Tensor:
    """levels: [N, C, H, W] each; returns [N, S, S], at least 0."""
    if self.attentions:
      levels = [
        getattr(self, name)(x)
        for name, x in zip(self.attentions, levels, strict=True)
      ]
    size = (self.output_size, self.output_size)
    x = torch.cat(
      [
        functional.interpolate(x, size, mode='bilinear', align_corners=False)
        for x in levels
      ],
      dim=1,
    )
    for name in self.blocks:
      x = getattr(self, name)(x)
    return functional.relu(self.conv(x))[:, 0]


def halve(x: torch.Tensor) -> torch.Tensor:
  """Max-pooling 3x3 with stride 2: half the height and width."""
  return functional.max_pool2d(x, 3, 2, 1)


class CDCN(nn.Module):
  """A stem, three blocks of three CDCs, fusion without attention, a head."""

  def __init__(
    self,
    in_features: int,
    *,
    stem_features: int = 64,
    block_features: Sequence[int] = (128, 196, 128),
    head_features: Sequence[int] = (128, 64),
    output_size: int = 32,
    theta: float = 0.7,
  ):
    """in_features: input channels; the others as in `models.cdcn.CDCN`."""
    super().__init__()
    self.num_blocks = len(block_features)
    self.stem_0 = block(in_features, stem_features, theta=theta)
    width = stem_features
    for level in LEVELS:
      for i, features in enumerate(block_features):
        self.add_module(f'{level}_{i}', block(width, features, theta=theta))
        width = features
    self.head = FusionHead(
      [width] * len(LEVELS),
      head_features,
      output_size=output_size,
      theta=theta,
      attention=False,
    )

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """x: [N, C, H, W]; returns [N, S, S], at least 0."""
    x = self.stem_0(x)
    outputs = []
    for level in LEVELS:
      for i in range(self.num_blocks):
        x = getattr(self, f'{level}_{i}')(x)
      x = halve(x)
      outputs.append(x)
    return self.head(outputs)


class Backbone(nn.Module):
  """The backbone of derived networks and the supernet."""

  def __init__(
    self,
    in_features: int,
    make_cells: Callable[[str], list[nn.Module]],
    *,
    stem_features: Sequence[int],
    cell_features: int,
    head_features: int,
    output_size: int,
    theta: float,
    two_stream: bool,
  ):
    """Makes the layers.

    Args:
      in_features: input channels.
      make_cells: level -> its cells.
      stem_features: channels of the stem's blocks.
      cell_features: channels of the cells; if the stem's differ, a 1x1
        convolution follows the stem.
      head_features: channels of the head's block.
      output_size: side of the map.
      theta: strength of the central difference.
      two_stream: the input holds two images. Each passes through its own stem
        and low level; a 1x1 convolution fuses the two.
    """
    super().__init__()
    self.prefixes = ('', 'dynamic_') if two_stream else ('',)
    for prefix in self.prefixes:
      width = in_features // len(self.prefixes)
      stem = []
      for features in stem_features:
        stem.append(block(width, features, theta=theta))
        width = features
      for i, layer in enumerate(stem):
        self.add_module(f'{prefix}stem_{i}', layer)
      if width != cell_features:
        self.add_module(
          f'{prefix}projection',
          block(width, cell_features, kernel_size=1, theta=0.0),
        )
      self._add_level(prefix, 'low', make_cells)
    if two_stream:
      self.stream_fusion = block(
        2 * cell_features, cell_features, kernel_size=1, theta=0.0
      )
    for level in LEVELS[1:]:
      self._add_level('', level, make_cells)
    self.head = FusionHead(
      [cell_features] * len(LEVELS),
      (head_features,),
      output_size=output_size,
      theta=theta,
      attention=True,
    )

  def _add_level(self, prefix, level, make_cells):
    for i, cell in enumerate(make_cells(level)):
      self.add_module(f'{prefix}{level}_{i}', cell)

  def parts(self, name: str) -> list[nn.Module]:
    """The children NAME_0, NAME_1, ... in order."""
    found = []
    while hasattr(self, f'{name}_{len(found)}'):
      found.append(getattr(self, f'{name}_{len(found)}'))
    return found

  def predict(
    self,
    x: torch.Tensor,
    level: Callable[[str, torch.Tensor, str], torch.Tensor],
  ) -> torch.Tensor:
    """Stem, three levels each followed by pooling, attention fusion, head.

    Args:
      x: [N, C, H, W].
      level: (name, x, prefix) -> the output of the cells of a level.

    Returns:
      [N, S, S], at least 0.
    """
    lows = []
    for prefix, part in zip(
      self.prefixes, x.chunk(len(self.prefixes), dim=1), strict=True
    ):
      for layer in self.parts(f'{prefix}stem'):
        part = layer(part)
      if hasattr(self, f'{prefix}projection'):
        part = getattr(self, f'{prefix}projection')(part)
      lows.append(level('low', part, prefix))
    x = lows[0]
    if len(lows) > 1:
      x = self.stream_fusion(torch.cat(lows, dim=1))
    outputs = []
    for name in LEVELS:
      if name != 'low':
        x = level(name, x, '')
      x = halve(x)
      outputs.append(x)
    return self.head(outputs)


class DerivedCell(nn.Module):
  """A cell of a derived network: the genotype's operations only."""

  def __init__(self, cell: genotypes.Cell, features: int, theta: float):
    super().__init__()
    self.edges = sorted(cell.edges, key=lambda e: (e.target, e.source))
    self.outputs = cell.outputs
    for edge in self.edges:
      self.add_module(
        f'from_{edge.source}_to_{edge.target}',
        operation(edge.operation, features, theta=theta),
      )

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    states = {0: x}
    for edge in self.edges:
      apply = getattr(self, f'from_{edge.source}_to_{edge.target}')
      y = apply(states[edge.source])
      states[edge.target] = states.get(edge.target, 0.0) + y
    return sum(weight * states[node] for node, weight in self.outputs)


class Network(Backbone):
  """The network of a genotype, such as CDCN++."""

  def __init__(
    self,
    in_features: int,
    genotype: genotypes.Genotype,
    *,
    stem_features: Sequence[int] = (64, 128),
    cell_features: int = 128,
    head_features: int = 128,
    output_size: int = 32,
    two_stream: bool = False,
  ):
    """in_features: input channels; the others as in `models.network`.

    Raises:
      ValueError: for a genotype of a wide space.
    """
    if genotype.choices is not None:
      raise ValueError(
        f'The genotype is of the space {genotype.space!r}, whose networks have '
        'no twin in PyTorch; allowed: spaces without choices.'
      )
    super().__init__(
      in_features,
      lambda level: [
        DerivedCell(cell, cell_features, genotype.theta)
        for cell in genotype.level(level)
      ],
      stem_features=stem_features,
      cell_features=cell_features,
      head_features=head_features,
      output_size=output_size,
      theta=genotype.theta,
      two_stream=two_stream,
    )
    self.genotype = genotype

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """x: [N, C, H, W]; returns [N, S, S], at least 0."""

    def level(name, x, prefix):
      for cell in self.parts(f'{prefix}{name}'):
        x = cell(x)
      return x

    return self.predict(x, level)
