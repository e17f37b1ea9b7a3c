"""Genotypes: the searched cells as data, their JSON form, their derivation.

A genotype has one or more cells for each of the three levels of a network. A
cell is a directed acyclic graph. Node 0 is its input; nodes 1, 2, ... are
intermediate, each the sum of the operations on its incoming edges. The cell's
output is a weighted sum of nodes. A genotype is all that training takes from a
search. This module needs the standard library and NumPy only.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from nasfas_jax import files
from nasfas_jax.models import search_spaces
from nasfas_jax.models.schema_checks import (
  check_cell,
  check_choices,
  check_fields,
  check_number,
  check_type,
)
from nasfas_jax.models.search_spaces import (
  LEVELS,
  STRONGEST,
  Space,
  cell_edges,
  derivable,
  get_space,
  num_edges,
  space_theta,
)

# 2 has what genotypes of wide spaces choose; the others are written as 1.
SCHEMA_VERSION = 2
MAX_FILE_BYTES = 1 << 20
# Fields of JSON objects.
_EDGE = ('source', 'target', 'operation')
_WIDE_EDGE = (*_EDGE, 'theta')
_CHOICES = ('width', 'fusion', 'norm')


@dataclasses.dataclass(frozen=True)
class Edge:
  """One operation from node `source` to the later node `target`.

  In a wide space `theta` is its strength of the central difference; None for an
  operation without one, and in every other space: that of the genotype.
  """

  source: int
  target: int
  operation: str
  theta: float | None = None


@dataclasses.dataclass(frozen=True)
class Cell:
  """A cell: its edges, and its output as (node, weight) pairs."""

  edges: tuple[Edge, ...]
  outputs: tuple[tuple[int, float], ...]


@dataclasses.dataclass(frozen=True)
class Choices:
  """What a genotype of a wide space chooses for the whole network.

  Attributes:
    width: factor of the channels.
    fusion: of the frames, see `ops.fusion`.
    norm: one of `search_spaces.NORMS`.
  """

  width: float
  fusion: str
  norm: str


@dataclasses.dataclass(frozen=True)
class Genotype:
  """Searched cells. The constructor checks all fields.

  Attributes:
    space: name of the search space.
    theta: strength of the central difference, in [0, 1]; in a wide space that
      of the stem and the head.
    cells: a tuple of cells for each of `LEVELS`, in that order.
    provenance: JSON content that says where the genotype comes from (protocol,
      seed, ...). Ignored by equality and hashing.
    choices: of a wide space; None in the others.

  Raises:
    ValueError: for an invalid field; names its path, such as
      cells.low[0].edges[2].operation.
  """

  space: str
  theta: float
  cells: tuple[tuple[Cell, ...], ...]
  provenance: Mapping[str, Any] = dataclasses.field(
    default_factory=dict, compare=False
  )
  choices: Choices | None = None

  def __post_init__(self):
    space = get_space(self.space)
    fixed = space.theta
    check_number('theta', self.theta, 0.0, 1.0)
    if fixed is not None and self.theta != fixed:
      raise ValueError(
        f'theta: {self.theta!r}; space {self.space!r} allows only {fixed}.'
      )
    if len(self.cells) != len(LEVELS):
      raise ValueError(
        f'cells: {len(self.cells)} levels; allowed: {", ".join(LEVELS)}.'
      )
    for level, cells in zip(LEVELS, self.cells, strict=True):
      if not cells:
        raise ValueError(f'cells.{level}: no cell; at least 1 is needed.')
      for i, cell in enumerate(cells):
        check_cell(f'cells.{level}[{i}]', cell, self.space)
    check_choices(self, space)

  def level(self, name: str) -> tuple[Cell, ...]:
    """Returns the cells of one of `LEVELS`."""
    return self.cells[LEVELS.index(name)]

  def to_json(self) -> str:
    """Returns the genotype as a JSON document."""
    wide = self.choices is not None
    document = {
      'schema_version': SCHEMA_VERSION if wide else 1,
      'space': self.space,
      'theta': self.theta,
      **({'choices': dataclasses.asdict(self.choices)} if wide else {}),
      'cells': {
        level: [_to_dict(c, wide) for c in self.level(level)]
        for level in LEVELS
      },
      'provenance': dict(self.provenance),
    }
    return json.dumps(document, indent=2, allow_nan=False) + '\n'

  def save(self, path: str | os.PathLike[str]) -> None:
    """Writes the JSON document to `path`, whole or not at all."""
    files.write_whole(path, self.to_json())


def with_theta(genotype: Genotype, theta: float) -> Genotype:
  """Returns the genotype with another theta, of all its operations.

  Raises:
    ValueError: if its space does not allow it.
  """
  cells = tuple(
    tuple(
      dataclasses.replace(
        cell,
        edges=tuple(
          edge if edge.theta is None else dataclasses.replace(edge, theta=theta)
          for edge in cell.edges
        ),
      )
      for cell in level
    )
    for level in genotype.cells
  )
  return dataclasses.replace(genotype, theta=theta, cells=cells)


def from_json(text: str) -> Genotype:
  """Reads a genotype from a JSON document.

  Raises:
    ValueError: for text that is not JSON, a newer schema, an unknown or missing
      field, a value of the wrong type, or cells that are not a valid graph.
      Names the path of the field, its value and what is allowed.
  """
  try:
    document = json.loads(text, parse_constant=_reject_constant)
  except (json.JSONDecodeError, RecursionError) as error:
    raise ValueError(f'Genotype is not a JSON document: {error}.') from error
  check_type('genotype', document, dict, 'an object')
  version = document.get('schema_version')
  if type(version) is not int or not 1 <= version <= SCHEMA_VERSION:
    raise ValueError(
      f'schema_version: {version!r}; allowed: 1 to {SCHEMA_VERSION} (a newer '
      'genotype needs a newer nasfas_jax).'
    )
  own = ('choices',) if version > 1 else ()
  check_fields(
    '',
    document,
    ('schema_version', 'space', 'theta', *own, 'cells', 'provenance'),
  )
  check_type('space', document['space'], str, 'a string')
  get_space(document['space'])
  check_fields('cells', document['cells'], LEVELS)
  check_type('provenance', document['provenance'], dict, 'an object')
  choices = None
  if own:
    check_fields('choices', document['choices'], _CHOICES)
    choices = Choices(**document['choices'])
    convert = _wide_cell_from_dict
  else:
    convert = _cell_from_dict
  return Genotype(
    space=document['space'],
    theta=document['theta'],
    cells=tuple(
      _items(f'cells.{level}', document['cells'][level], convert)
      for level in LEVELS
    ),
    provenance=document['provenance'],
    choices=choices,
  )


def load(path: str | os.PathLike[str]) -> Genotype:
  """Reads a genotype from a JSON file of at most `MAX_FILE_BYTES`.

  Raises:
    FileNotFoundError: if it does not exist.
    ValueError: if it is larger, and as `from_json`; names the file.
  """
  with open(path, 'rb') as file:
    data = file.read(MAX_FILE_BYTES + 1)
  if len(data) > MAX_FILE_BYTES:
    raise ValueError(
      f'Genotype file {os.fspath(path)!r} is larger than the allowed '
      f'{MAX_FILE_BYTES} bytes.'
    )
  try:
    return from_json(data.decode('utf-8'))
  except ValueError as error:
    raise ValueError(f'Genotype file {os.fspath(path)!r}: {error}') from error


def derive(
  weights: Mapping[str, np.ndarray],
  space: str,
  *,
  theta: float,
  edge_weights: Mapping[str, np.ndarray] | None = None,
  node_weights: Mapping[str, np.ndarray] | None = None,
  provenance: Mapping[str, Any] | None = None,
) -> Genotype:
  """Derives a genotype from the weights of a searched supernet.

  Each edge gets its strongest operation, 'none' aside. The strength of an edge
  is that operation's weight times the edge's weight. The space says how many
  incoming edges a node keeps and which nodes make a cell's output (see
  `search_spaces.Space`). Ties go to the earlier operation, the earlier source,
  the earlier node.

  Args:
    weights: [num_cells, num_edges, num_ops] for each of `LEVELS`, softmaxed.
    space: name of the search space.
    theta: of the genotype; a space with a fixed theta overrides it.
    edge_weights: [num_cells, num_edges] for each level; None: all 1.
    node_weights: [num_cells, num_nodes] for each level, softmaxed; None: equal.
    provenance: see `Genotype`.

  Raises:
    ValueError: for an unknown space, or arrays that are not finite or have the
      wrong shape.
  """
  chosen_space = get_space(space)
  num_operations = len(chosen_space.operations)
  levels = []
  for level in LEVELS:
    alphas = _finite(f'weights.{level}', weights[level], 3)
    num_cells, count, num_ops = alphas.shape
    num_nodes = search_spaces.num_nodes(count)
    if num_edges(num_nodes) != count or num_ops != num_operations:
      raise ValueError(
        f'weights.{level}: shape {alphas.shape}; allowed: [cells, n (n + 1) '
        f'/ 2 edges, {num_operations} operations of space {space!r}].'
      )
    betas = np.ones((num_cells, count))
    if edge_weights is not None:
      betas = _finite(f'edge_weights.{level}', edge_weights[level], 2)
    nodes = np.full((num_cells, num_nodes), 1 / num_nodes)
    if node_weights is not None:
      nodes = _finite(f'node_weights.{level}', node_weights[level], 2)
    for name, got, want in (
      ('edge_weights', betas.shape, (num_cells, count)),
      ('node_weights', nodes.shape, (num_cells, num_nodes)),
    ):
      if got != want:
        raise ValueError(f'{name}.{level}: shape {got}; allowed: {want}.')
    levels.append(
      tuple(
        derive_cell(*cell, chosen_space)
        for cell in zip(alphas, betas, nodes, strict=True)
      )
    )
  return Genotype(
    space=space,
    theta=space_theta(space, theta),
    cells=tuple(levels),
    provenance=dict(provenance or {}),
  )


def _finite(path: str, value: np.ndarray, ndim: int) -> np.ndarray:
  array = np.asarray(value, np.float64)
  if array.ndim != ndim or not np.isfinite(array).all():
    raise ValueError(
      f'{path}: shape {array.shape}, finite: {np.isfinite(array).all()}; '
      f'allowed: {ndim} axes of finite numbers.'
    )
  return array


def derive_cell(
  alphas: np.ndarray, betas: np.ndarray, nodes: np.ndarray, space: Space
) -> Cell:
  """Derives one cell, see `derive`.

  Args:
    alphas: [num_edges, num_ops].
    betas: [num_edges].
    nodes: [num_nodes].
    space: its fields.
  """
  choices = np.array(derivable(space))
  # argmax takes the first of a tie.
  best = choices[alphas[:, choices].argmax(axis=1)]
  strength = alphas[np.arange(len(best)), best] * betas
  edges = cell_edges(len(nodes))
  kept = []
  for node in range(1, len(nodes) + 1):
    incoming = [i for i, (_, target) in enumerate(edges) if target == node]
    # A stable sort: of equal edges, the one with the earlier source is first.
    incoming.sort(key=lambda i: -strength[i])
    incoming = sorted(incoming[: space.edges_per_node])
    kept += [Edge(*edges[i], space.operations[best[i]]) for i in incoming]
  if space.output != STRONGEST:
    outputs = tuple((i + 1, float(w)) for i, w in enumerate(nodes))
    return Cell(edges=tuple(kept), outputs=outputs)
  last = 1 + int(nodes.argmax())
  needed = {last}
  # Edges are ordered by target and lead to a later node.
  for edge in reversed(kept):
    if edge.target in needed:
      needed.add(edge.source)
  leading = tuple(edge for edge in kept if edge.target in needed)
  return Cell(edges=leading, outputs=((last, 1.0),))


def _to_dict(cell: Cell, wide: bool) -> dict[str, Any]:
  fields = _WIDE_EDGE if wide else _EDGE
  return {
    'edges': [{f: getattr(edge, f) for f in fields} for edge in cell.edges],
    'outputs': [{'node': n, 'weight': w} for n, w in cell.outputs],
  }


def _cell_from_dict(path: str, value: Any, fields=_EDGE) -> Cell:
  check_fields(path, value, ('edges', 'outputs'))

  def edge_from_dict(path: str, value: Any) -> Edge:
    check_fields(path, value, fields)
    return Edge(**value)

  return Cell(
    edges=_items(f'{path}.edges', value['edges'], edge_from_dict),
    outputs=_items(f'{path}.outputs', value['outputs'], _output_from_dict),
  )


def _wide_cell_from_dict(path: str, value: Any) -> Cell:
  return _cell_from_dict(path, value, _WIDE_EDGE)


def _output_from_dict(path: str, value: Any) -> tuple[int, float]:
  check_fields(path, value, ('node', 'weight'))
  return value['node'], value['weight']


def _items(path: str, value: Any, convert) -> tuple:
  check_type(path, value, list, 'a list')
  return tuple(convert(f'{path}[{i}]', item) for i, item in enumerate(value))


def _reject_constant(name: str) -> None:
  raise ValueError(f'Genotype holds {name}; allowed: finite numbers.')


def _chain(*operations: str) -> Cell:
  edges = tuple(Edge(i, i + 1, name) for i, name in enumerate(operations))
  return Cell(edges=edges, outputs=((len(operations), 1.0),))


# The cells of CDCN++ (arXiv 2003.04092, figure 5).
CDCNPP = Genotype(
  space='cdcnpp',
  theta=0.7,
  cells=(
    (_chain('cdc_2_1.6'),),
    (_chain('cdc_2_1.2', 'cdc_2_1.4'),),
    (_chain('cdc_3x3', 'cdc_2_1.2'),),
  ),
  provenance={'source': 'arXiv:2003.04092'},
)
