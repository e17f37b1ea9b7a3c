"""The search spaces: names and operations, and the edges of a cell."""

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
