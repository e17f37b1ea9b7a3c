"""The search spaces: names and operations, and the edges of a cell."""

from collections.abc import Sequence

LEVELS = ('low', 'mid', 'high')

NONE = 'none'
SKIP_CONNECT = 'skip_connect'
# Every space lists 'none' first and 'skip_connect' second.
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
  'cdcnpp': (
    NONE,
    SKIP_CONNECT,
    'cdc_3x3',
    'cdc_2_0.8',
    'cdc_2_1.0',
    'cdc_2_1.2',
    'cdc_2_1.4',
    'cdc_2_1.6',
  ),
  'nasfas': _NASFAS,
  'vanilla': _NASFAS,
}
# Spaces that allow one theta only.
FIXED_THETA = {'vanilla': 0.0}

# Input channels of a block-diagonal kernel of several: within it one product in
# as many as it has blocks is not with a zero, so wide ones waste more than they
# save in calls. In trials on two CPU cores a step of the default search takes
# 1.3 times as long with no kernels joined, one of `:paper` a tenth longer with
# those of up to 128 channels joined.
BLOCK_CHANNELS = 32


def check_space(space: str) -> None:
  """Raises ValueError unless `space` names a search space."""
  if space not in SPACES:
    raise ValueError(f'space: {space!r}; allowed: {", ".join(SPACES)}.')


def space_theta(space: str, theta: float) -> float:
  """Returns the theta that a search in `space` uses when asked for `theta`."""
  check_space(space)
  return FIXED_THETA.get(space, theta)


def num_edges(num_nodes: int) -> int:
  """Returns the number of edges of a full cell of `num_nodes` nodes."""
  return num_nodes * (num_nodes + 1) // 2


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
