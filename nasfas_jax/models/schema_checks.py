"""Checks of a genotype; an error names the path of the invalid field."""

import sys
from collections.abc import Iterable
from typing import Any

from nasfas_jax.models.search_spaces import (
  LEVELS,
  derivable,
  get_space,
  has_theta,
)

MAX_NODES = 16
# Of an output; those that are derived are at most 1.
MAX_WEIGHT = 1e6


def check_type(path: str, value: Any, kind: type, allowed: str) -> None:
  """Raises ValueError unless `value` is an instance of `kind`."""
  if not isinstance(value, kind):
    raise ValueError(f'{path}: {value!r}; allowed: {allowed}.')


def check_fields(path: str, value: Any, fields: Iterable[str]) -> None:
  """Raises ValueError unless `value` is an object with exactly these fields."""
  check_type(path, value, dict, 'an object')
  prefix = f'{path}.' if path else ''
  for name in value:
    if name not in fields:
      raise ValueError(
        f'{prefix}{name}: unknown field; allowed: {", ".join(fields)}.'
      )
  for name in fields:
    if name not in value:
      raise ValueError(f'{prefix}{name}: missing; needed: {", ".join(fields)}.')


def check_number(path: str, value: Any, low: float, high: float) -> None:
  """Raises ValueError unless `value` is a finite number in [low, high]."""
  is_number = isinstance(value, int | float) and not isinstance(value, bool)
  # An integer may be larger than any float, and too long to print.
  if is_number and abs(value) > sys.float_info.max:
    raise ValueError(
      f'{path}: larger than any float; allowed: number in [{low}, {high}].'
    )
  if not is_number or not low <= value <= high:
    raise ValueError(f'{path}: {value!r}; allowed: number in [{low}, {high}].')


def check_integer(path: str, value: Any, low: int, high: int) -> None:
  """Raises ValueError unless `value` is an int from `low` to `high`."""
  if type(value) is not int or not low <= value <= high:
    raise ValueError(f'{path}: {value!r}; allowed: integer {low} to {high}.')


def check_cell(path: str, cell: Any, space: str) -> None:
  """Checks a `genotypes.Cell`.

  Raises:
    ValueError: if an operation is not in the space, or the cell is not a graph
      in which every edge leads from the input to an output.
  """
  chosen = get_space(space)
  operations = [chosen.operations[i] for i in derivable(chosen)]
  seen = set()
  for i, edge in enumerate(cell.edges):
    here = f'{path}.edges[{i}]'
    check_integer(f'{here}.target', edge.target, 1, MAX_NODES)
    check_integer(f'{here}.source', edge.source, 0, edge.target - 1)
    if edge.operation not in operations:
      raise ValueError(
        f'{here}.operation: {edge.operation!r}; allowed in space {space!r}: '
        f'{", ".join(operations)}.'
      )
    if (edge.source, edge.target) in seen:
      raise ValueError(
        f'{here}: {edge.source} -> {edge.target} stands twice; allowed: one '
        'edge for each pair of nodes.'
      )
    seen.add((edge.source, edge.target))
  targets = {edge.target for edge in cell.edges}
  for i, edge in enumerate(cell.edges):
    if edge.source not in targets | {0}:
      raise ValueError(
        f'{path}.edges[{i}].source: {edge.source}, a node without incoming '
        f'edge; allowed: {sorted(targets | {0})}.'
      )
  if not cell.outputs:
    raise ValueError(f'{path}.outputs: empty; at least 1 node is needed.')
  nodes = [node for node, _ in cell.outputs]
  for i, (node, weight) in enumerate(cell.outputs):
    here = f'{path}.outputs[{i}]'
    if type(node) is not int or node not in targets:
      raise ValueError(
        f'{here}.node: {node!r} is not connected; allowed: {sorted(targets)}.'
      )
    if node in nodes[:i]:
      raise ValueError(f'{here}.node: {node} stands twice; allowed: once.')
    check_number(f'{here}.weight', weight, 0.0, MAX_WEIGHT)
  used = {edge.source for edge in cell.edges} | set(nodes)
  for i, edge in enumerate(cell.edges):
    if edge.target not in used:
      raise ValueError(
        f'{path}.edges[{i}].target: {edge.target} leads to no output; '
        f'allowed: {sorted(used - {0})}.'
      )


def check_choices(genotype: Any, space: Any) -> None:
  """Checks what a `genotypes.Genotype` of a wide space chooses.

  Raises:
    ValueError: if it chooses what its space does not leave open, or does not
      choose what it does.
  """
  name, allowed = genotype.space, space.choices
  if allowed is None:
    if genotype.choices is not None:
      raise ValueError(
        f'choices: {genotype.choices!r}; space {name!r} leaves none open.'
      )
  elif genotype.choices is None:
    raise ValueError(
      f'choices: missing; space {name!r} needs width, fusion and norm.'
    )
  else:
    for field, values in (
      ('width', allowed.widths),
      ('fusion', allowed.fusions),
      ('norm', allowed.norms),
    ):
      _check_choice(
        f'choices.{field}', getattr(genotype.choices, field), values, name
      )
    _check_choice('theta', genotype.theta, allowed.thetas, name)
  for level, cells in zip(LEVELS, genotype.cells, strict=True):
    if allowed is not None and len(cells) not in allowed.depths:
      raise ValueError(
        f'cells.{level}: {len(cells)} cells; allowed in space {name!r}: '
        f'{", ".join(map(str, allowed.depths))}.'
      )
    for i, cell in enumerate(cells):
      for j, edge in enumerate(cell.edges):
        path = f'cells.{level}[{i}].edges[{j}].theta'
        if allowed is None or not has_theta(edge.operation):
          if edge.theta is not None:
            raise ValueError(
              f'{path}: {edge.theta!r}; allowed for {edge.operation!r} in '
              f'space {name!r}: none.'
            )
        else:
          _check_choice(path, edge.theta, allowed.thetas, name)


def _check_choice(path: str, value: Any, allowed: tuple, space: str) -> None:
  # True is 1 and a list cannot be looked up; neither is allowed.
  if isinstance(value, bool) or not any(value == one for one in allowed):
    raise ValueError(
      f'{path}: {value!r}; allowed in space {space!r}: '
      f'{", ".join(map(str, allowed))}.'
    )
