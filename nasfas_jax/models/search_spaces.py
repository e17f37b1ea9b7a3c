"""The search spaces, and the edges of a cell."""

import math
from collections.abc import Sequence
from typing import NamedTuple

LEVELS = ('low', 'mid', 'high')

# Normalization of a network: over the batch, over groups of channels of one
# picture, or over each of its channels.
NORMS = ('batch', 'group', 'instance')

# The operation that adds zero. A derived edge never has it.
NONE = 'none'
# The identity. A search logs its share: a collapsing search ends in skips.
SKIP_CONNECT = 'skip_connect'

# The values of `Space.output`.
STRONGEST = 'strongest'
ALL = 'all'


class Choices(NamedTuple):
  """What genotypes of a wide space choose beside operations and edges.

  Attributes:
    thetas: strengths of the central difference, of each operation by itself and
      of the stem and the head.
    widths: factors of the channels of stem, cells and head.
    depths: cells of a level, of each level by itself.
    fusions: some of `ops.fusion.FUSIONS`.
    norms: some of `NORMS`, for the whole network.
  """

  thetas: tuple[float, ...]
  widths: tuple[float, ...]
  depths: tuple[int, ...]
  fusions: tuple[str, ...]
  norms: tuple[str, ...]


class Space(NamedTuple):
  """A search space: the operations of an edge, and what a derived cell keeps.

  Attributes:
    operations: keys of `operations.OPERATIONS`, each once, in the order of the
      architecture's logits. Of equal logits the first operation is derived.
    theta: the only strength of the central difference that the space allows;
      None: any.
    edges_per_node: the most incoming edges of a node that a derived cell keeps.
    output: of a derived cell. 'strongest': the strongest node and the edges
      that lead to it; a chain if `edges_per_node` is 1. 'all': the weighted sum
      of all nodes.
    choices: what else a genotype of a wide space chooses; None for the others.
  """

  operations: tuple[str, ...]
  theta: float | None = None
  edges_per_node: int = 2
  output: str = ALL
  choices: Choices | None = None


_NASFAS = (
  NONE,
  SKIP_CONNECT,
  'cdc_3x3',
  'cdc_5x5',
  'sep_cdc_3x3',
  'dil_cdc_3x3',
  'cdc_cross_hv',
  'cdc_cross_dg',
  'cdc_2_1.0',
  'cdc_2_1.4',
  'cd_max_pool_3x3',
  'cd_avg_pool_3x3',
)
SPACES = {
  'cdcnpp': Space(
    operations=(
      NONE,
      SKIP_CONNECT,
      'cdc_3x3',
      'cdc_2_0.8',
      'cdc_2_1.0',
      'cdc_2_1.2',
      'cdc_2_1.4',
      'cdc_2_1.6',
    ),
    edges_per_node=1,
    output=STRONGEST,
  ),
  'nasfas': Space(operations=_NASFAS),
  'vanilla': Space(operations=_NASFAS, theta=0.0),
}

# Random genotypes, their mutation and training know them; no supernet holds
# networks of several widths, depths and inputs.
WIDE_SPACES = {
  'wide': Space(
    operations=_NASFAS,
    output=STRONGEST,
    choices=Choices(
      thetas=(0.0, 0.3, 0.7),
      widths=(0.5, 1.0, 2.0),
      depths=(1, 2),
      fusions=('static', 'dynamic', 'blend', 'concat', 'two_stream'),
      norms=NORMS,
    ),
  ),
}

# The most input channels of a block-diagonal kernel. In one of B blocks only
# one product in B is useful, so that joining saves time for narrow kernels
# only. In trials on two CPU cores, a step of the default search took 1.3 times
# as long without joining, and one of `:paper` a tenth longer with kernels of up
# to 128 channels joined.
BLOCK_CHANNELS = 32


def get_space(name: str) -> Space:
  """The search space of a name.

  Raises:
    ValueError: for an unknown name, or a space with an invalid field; names it.
      `operations.make` refuses unknown operations.
  """
  known = SPACES | WIDE_SPACES
  if name not in known:
    raise ValueError(f'space: {name!r}; allowed: {", ".join(known)}.')
  space = known[name]
  names = space.operations
  repeated = sorted({op for op in names if names.count(op) > 1})
  if repeated:
    raise ValueError(
      f'space {name!r}: operations {", ".join(repeated)} repeated; allowed: '
      'each once.'
    )
  if not set(names) - {NONE}:
    raise ValueError(
      f'space {name!r}: operations {names}; at least one other than {NONE!r} '
      'is needed.'
    )
  if space.edges_per_node < 1:
    raise ValueError(
      f'space {name!r}: edges_per_node is {space.edges_per_node}; allowed: 1 '
      'or more.'
    )
  if space.output not in (STRONGEST, ALL):
    raise ValueError(
      f'space {name!r}: output is {space.output!r}; allowed: {STRONGEST}, '
      f'{ALL}.'
    )
  return space


def space_theta(name: str, theta: float) -> float:
  """The theta of a search in a space: `theta`, unless the space fixes it."""
  fixed = get_space(name).theta
  return theta if fixed is None else fixed


def derivable(space: Space) -> tuple[int, ...]:
  """Places of the operations that a derived edge can have: all but 'none'."""
  return tuple(i for i, op in enumerate(space.operations) if op != NONE)


def has_theta(operation: str) -> bool:
  """Whether the strength of the central difference changes an operation."""
  return operation not in (NONE, SKIP_CONNECT)


def num_edges(num_nodes: int) -> int:
  """The number of edges of a full cell of `num_nodes` intermediate nodes."""
  return num_nodes * (num_nodes + 1) // 2


def num_nodes(count: int) -> int:
  """The inverse of `num_edges`: nodes of a full cell of `count` edges.

  For a count that no full cell has, the nodes of the next smaller one.
  """
  return (math.isqrt(8 * count + 1) - 1) // 2


def cell_edges(num_nodes: int) -> tuple[tuple[int, int], ...]:
  """(source, target) of each edge of a full cell, ordered by target."""
  return tuple(
    (source, target)
    for target in range(1, num_nodes + 1)
    for source in range(target)
  )


def block_bounds(widths: Sequence[int]) -> list[tuple[int, int]]:
  """Groups consecutive kernels into block-diagonal ones.

  Args:
    widths: input channels of each kernel.

  Returns:
    (begin, end) of each group. A group of several kernels has at most
    `BLOCK_CHANNELS` input channels.
  """
  bounds = []
  begin = 0
  for end in range(1, len(widths) + 1):
    if end == len(widths) or sum(widths[begin : end + 1]) > BLOCK_CHANNELS:
      bounds.append((begin, end))
      begin = end
  return bounds
