"""The search spaces, and the edges of a cell."""

import math
from collections.abc import Sequence
from typing import NamedTuple

LEVELS = ('low', 'mid', 'high')

# Adds zero: an edge with it is no edge. A derived edge never has it.
NONE = 'none'
# Passes its input on. A search counts its share, since too many skips are how a
# search collapses.
SKIP_CONNECT = 'skip_connect'

# What a cell's output may be, see `Space.output`.
STRONGEST = 'strongest'
ALL = 'all'


class Space(NamedTuple):
  """A search space: what an edge may be, and what a derived cell keeps.

  Attributes:
    operations: names of `operations.OPERATIONS`, each once; the order is that
      of the architecture's logits, and of two equal ones the first is derived.
    theta: the only strength of the central difference that the space allows;
      None: any.
    edges_per_node: the most edges into a node that a derived cell keeps.
    output: of a derived cell. 'strongest': the strongest node and what leads to
      it, with one edge a node a chain. 'all': the weighted sum of all nodes.
  """

  operations: tuple[str, ...]
  theta: float | None = None
  edges_per_node: int = 2
  output: str = ALL


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

# Input channels of a block-diagonal kernel of several: within it one product in
# as many as it has blocks is not with a zero, so wide ones waste more than they
# save in calls. In trials on two CPU cores a step of the default search takes
# 1.3 times as long with no kernels joined, one of `:paper` a tenth longer with
# those of up to 128 channels joined.
BLOCK_CHANNELS = 32


def get_space(name: str) -> Space:
  """The search space of a name.

  Raises:
    ValueError: if there is none, or its fields are wrong; names them. Whether
      its operations are known is checked where they are made (`operations`).
  """
  if name not in SPACES:
    raise ValueError(f'space: {name!r}; allowed: {", ".join(SPACES)}.')
  space = SPACES[name]
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
  """Returns the theta that a search in a space uses when asked for `theta`."""
  fixed = get_space(name).theta
  return theta if fixed is None else fixed


def derivable(space: Space) -> tuple[int, ...]:
  """Places of the operations that a derived edge may have: all but 'none'."""
  return tuple(i for i, op in enumerate(space.operations) if op != NONE)


def num_edges(num_nodes: int) -> int:
  """Returns the number of edges of a full cell of `num_nodes` nodes."""
  return num_nodes * (num_nodes + 1) // 2


def num_nodes(count: int) -> int:
  """The inverse of `num_edges`: nodes of a full cell of `count` edges.

  For a count that no full cell has, the nodes of the next smaller one.
  """
  return (math.isqrt(8 * count + 1) - 1) // 2


def cell_edges(num_nodes: int) -> tuple[tuple[int, int], ...]:
  """Returns (source, target) of a full cell's edges, ordered by target."""
  return tuple(
    (source, target)
    for target in range(1, num_nodes + 1)
    for source in range(target)
  )


def block_bounds(widths: Sequence[int]) -> list[tuple[int, int]]:
  """Splits kernels of these input channels into runs for block-diagonal ones.

  Returns:
    (begin, end) of each run, of at most `BLOCK_CHANNELS` input channels where
    it has more than one kernel.
  """
  bounds = []
  begin = 0
  for end in range(1, len(widths) + 1):
    if end == len(widths) or sum(widths[begin : end + 1]) > BLOCK_CHANNELS:
      bounds.append((begin, end))
      begin = end
  return bounds
