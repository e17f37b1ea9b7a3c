"""Tests of the drawings of cells."""

import xml.etree.ElementTree

import fabricated_run

from nasfas_jax.report import cell_drawing


def test_drawing_has_every_edge_and_output():
  cell = fabricated_run.GENOTYPE['cells']['low'][0]
  root = xml.etree.ElementTree.fromstring(cell_drawing.draw_cell(cell, 'low'))
  groups = [(g.get('class'), g.find('text').text) for g in root.iter('g')]
  edges = [text for kind, text in groups if kind.startswith('edge')]
  assert edges == [edge['operation'] for edge in cell['edges']]
  assert [t for kind, t in groups if kind == 'output'] == ['0.38', '0.62']
  assert [t for kind, t in groups if kind == 'node'] == [
    'in',
    *'1234',
    'out',
  ]
  assert ('edge skip', 'skip_connect') in groups
  spoken = root.get('aria-label')
  assert spoken.startswith('low. in to 1: cdc_3x3; 1 to 2: cdc_2_1.2;')
  assert spoken.endswith('output: 0.38 x 3 + 0.62 x 4')
  # No two labels at one place.
  places = [(t.get('x'), t.get('y')) for t in root.iter('text')]
  assert len(places) == len(set(places))
