"""Drawings of searched cells as SVG: nodes on a line, operations on arcs."""

import html
from collections.abc import Mapping

# Must be in the page once, before the drawings, which refer to its ids.
ARROW_HEADS = (
  '<svg width="0" height="0" style="position:absolute" aria-hidden="true">'
  + ''.join(
    f'<marker id="{name}-head" class="{name}" viewBox="0 0 8 8" refX="8" '
    'refY="4" markerWidth="8" markerHeight="8" markerUnits="userSpaceOnUse" '
    'orient="auto"><path class="head" d="M0 0L8 4L0 8z"/></marker>'
    for name in ('edge', 'output')
  )
  + '</svg>'
)

_SPACING = 150
_RADIUS = 17
_RISE = 34  # Height of an arc for every node that it skips.
_MARGIN = 34


def draw_cell(cell: Mapping[str, object], name: str) -> str:
  """Draws a cell as a directed graph, from its input to its output.

  Edges that skip nodes are arcs above the line of nodes, so that labels do not
  overlap. The dashed arcs below the line are the weighted sum that makes the
  output.

  Args:
    cell: a cell of genotype.json: `edges` with source, target, operation and
      in a wide space theta, `outputs` with node and weight; node 0 is the
      input.
    name: of the cell, for screen readers.

  Returns:
    An <svg> element for a page that holds `ARROW_HEADS` and styles the classes
    node, unused, edge, skip and output.
  """
  edges, outputs = cell['edges'], cell['outputs']
  last = max([0, *(e['target'] for e in edges), *(o['node'] for o in outputs)])
  arcs = [(e['source'], e['target'], _label(e), 'edge') for e in edges]
  spans = [target - source for source, target, _, _ in arcs]
  top = _MARGIN + _RISE * max([0, *(span - 1 for span in spans)])
  below = [last + 1 - output['node'] for output in outputs]
  height = top + _MARGIN + _RISE * max([0, *(span - 1 for span in below)])
  width = 2 * _MARGIN + _SPACING * (last + 1)

  spoken = '; '.join(
    f'{_node_name(s, last)} to {_node_name(t, last)}: {operation}'
    for s, t, operation, _ in arcs
  )
  spoken += '; output: ' + ' + '.join(
    f'{output["weight"]:.2f} x {_node_name(output["node"], last)}'
    for output in outputs
  )
  parts = [
    f'<svg class="cell" role="img" viewBox="0 0 {width} {height}" '
    f'width="{width}" height="{height}" '
    f'aria-label="{html.escape(f"{name}. {spoken}")}">'
  ]
  for source, target, operation, kind in arcs:
    if operation == 'skip_connect':
      kind = 'edge skip'
    parts.append(_arc(source, target, top, -1, kind, operation))
  for output in outputs:
    weight = f'{output["weight"]:.2f}' if len(outputs) > 1 else ''
    parts.append(_arc(output['node'], last + 1, top, 1, 'output', weight))
  for node in range(last + 2):
    x = _MARGIN + _SPACING * node
    used = node == last + 1 or any(
      node in (source, target) for source, target, _, _ in arcs
    )
    parts.append(
      f'<g class="node{"" if used else " unused"}">'
      f'<circle cx="{x}" cy="{top}" r="{_RADIUS}"/>'
      f'<text x="{x}" y="{top + 4}">{_node_name(node, last)}</text></g>'
    )
  return '\n'.join([*parts, '</svg>'])


def _label(edge: Mapping[str, object]) -> str:
  """An edge's operation, with its theta if it has its own."""
  theta = edge.get('theta')
  name = str(edge['operation'])
  return name if theta is None else f'{name}, θ {theta:g}'


def _node_name(node: int, last: int) -> str:
  return {0: 'in', last + 1: 'out'}.get(node, str(node))


def _arc(
  source: int, target: int, y: int, side: int, kind: str, label: str
) -> str:
  """An arrow above (side -1) or below (side 1) the line of nodes."""
  x0, x1 = (_MARGIN + _SPACING * node for node in (source, target))
  rise = side * _RISE * (target - source - 1)
  if rise:
    x0, x1 = x0 + _RADIUS * 0.6, x1 - _RADIUS * 0.6
    ends = y + side * _RADIUS * 0.9
    # A cubic reaches 3/4 of the way from its ends to its control points.
    pull = ends + (y + rise - ends) * 4 / 3
    bend = _SPACING * 0.3
    path = (
      f'M{x0:g} {ends:g} C{x0 + bend:g} {pull:.1f} {x1 - bend:g} {pull:.1f} '
      f'{x1:g} {ends:g}'
    )
  else:
    path = f'M{x0 + _RADIUS} {y} H{x1 - _RADIUS}'
  baseline = y + rise + (-6 if side < 0 else 15)
  head = 'output-head' if kind == 'output' else 'edge-head'
  return (
    f'<g class="{kind}"><path d="{path}" marker-end="url(#{head})"/>'
    f'<text x="{(x0 + x1) / 2:g}" y="{baseline:g}">{html.escape(label)}</text>'
    '</g>'
  )
