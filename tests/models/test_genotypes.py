import copy
import json

import numpy as np
import pytest

from nasfas_jax.models import genotypes
from nasfas_jax.models.search_spaces import LEVELS, SPACES, Space, cell_edges


def document():
  return json.loads(genotypes.CDCNPP.to_json())


def test_round_trip(tmp_path):
  genotypes.CDCNPP.save(tmp_path / 'genotype.json')
  assert genotypes.load(tmp_path / 'genotype.json') == genotypes.CDCNPP
  assert [path.name for path in tmp_path.iterdir()] == ['genotype.json']


def test_cdcnpp_is_the_published_one():
  operations = [
    [
      edge.operation
      for cell in genotypes.CDCNPP.level(level)
      for edge in cell.edges
    ]
    for level in LEVELS
  ]
  assert operations == [
    ['cdc_2_1.6'],
    ['cdc_2_1.2', 'cdc_2_1.4'],
    ['cdc_3x3', 'cdc_2_1.2'],
  ]


def set_at(tree, path, value):
  for name in path[:-1]:
    tree = tree[name]
  tree[path[-1]] = value


EDGE = ['cells', 'mid', 0, 'edges', 1]


@pytest.mark.parametrize(
  ('path', 'value', 'message'),
  [
    (['schema_version'], 3, r'schema_version: 3; allowed: 1 to 2'),
    (['schema_version'], 2, r'choices: missing'),
    (['schema_version'], '1', r"schema_version: '1'"),
    (['space'], 'darts', r"space: 'darts'; allowed: cdcnpp"),
    (['theta'], 'x', r'theta'),
    (['theta'], 1.5, r'theta.*1\.5'),
    ([*EDGE, 'operation'], 'conv', r'cells\.mid\[0\]\.edges\[1\].*conv'),
    ([*EDGE, 'source'], 2, r'cells\.mid\[0\]\.edges\[1\]'),
    ([*EDGE, 'target'], 99, r'cells\.mid\[0\]\.edges\[1\]'),
    ([*EDGE, 'source'], 'a', r'cells\.mid\[0\]\.edges\[1\]'),
    (['cells', 'mid', 0, 'edges'], {}, r'cells\.mid\[0\]\.edges'),
    (['cells', 'mid', 0, 'outputs'], [], r'cells\.mid\[0\]'),
    (['cells', 'mid', 0, 'outputs', 0, 'node'], 7, r'cells\.mid\[0\]'),
    (['cells', 'mid', 0, 'outputs', 0, 'weight'], None, r'cells\.mid\[0\]'),
    (['cells', 'low'], [], r'cells\.low'),
    (['cells', 'extra'], [], r'extra'),
    (['surprise'], 1, r'surprise'),
  ],
)
def test_a_wrong_field_is_named(path, value, message):
  content = document()
  set_at(content, path, value)
  with pytest.raises(ValueError, match=message):
    genotypes.from_json(json.dumps(content))


def test_a_missing_field_is_named():
  content = document()
  del content['cells']['high'][0]['edges'][0]['target']
  with pytest.raises(ValueError, match=r'cells\.high\[0\]\.edges\[0\]'):
    genotypes.from_json(json.dumps(content))


def test_a_duplicate_edge_is_an_error():
  content = document()
  edges = content['cells']['mid'][0]['edges']
  edges.append(copy.deepcopy(edges[0]))
  with pytest.raises(ValueError, match=r'cells\.mid\[0\]\.edges\[2\]'):
    genotypes.from_json(json.dumps(content))


@pytest.mark.parametrize('text', ['', '{', '[]', '{"theta": NaN}', '[' * 10**5])
def test_what_is_no_document_is_an_error(text):
  with pytest.raises(ValueError, match='[Gg]enotype'):
    genotypes.from_json(text)


def test_a_huge_file_is_not_read(tmp_path):
  path = tmp_path / 'big.json'
  path.write_bytes(b' ' * (genotypes.MAX_FILE_BYTES + 1))
  with pytest.raises(ValueError, match='larger than the allowed'):
    genotypes.load(path)


def test_vanilla_allows_theta_zero_only():
  content = document()
  content['space'] = 'vanilla'
  set_at(content, [*EDGE, 'operation'], 'cdc_2_1.4')
  with pytest.raises(ValueError, match=r"theta: 0\.7; space 'vanilla'"):
    genotypes.from_json(json.dumps(content))


def test_with_theta():
  vanilla = genotypes.with_theta(genotypes.CDCNPP, 0.0)
  assert vanilla.theta == 0.0
  assert vanilla.cells == genotypes.CDCNPP.cells


def weights_of(space, best):
  """Weights in which `best` gives each edge's operation and its weight."""
  names = SPACES[space].operations
  alphas = np.full((1, len(best), len(names)), 0.01)
  for i, (name, weight) in enumerate(best):
    alphas[0, i, names.index(name)] = weight
  # 'none' is the strongest everywhere and must never be chosen.
  if 'none' in names:
    alphas[..., names.index('none')] = 0.9
  return dict.fromkeys(LEVELS, alphas)


def test_derive_cdcnpp_hand_worked():
  # Edges: 0-1, 0-2, 1-2, 0-3, 1-3, 2-3.
  best = [
    ('cdc_3x3', 0.5),
    ('cdc_2_0.8', 0.6),
    ('cdc_2_1.0', 0.4),
    ('skip_connect', 0.3),
    ('cdc_2_1.6', 0.2),
    ('cdc_2_1.4', 0.7),
  ]
  nodes = dict.fromkeys(LEVELS, np.array([[0.2, 0.3, 0.5]]))
  edges = dict.fromkeys(LEVELS, np.array([[1.0, 0.5, 0.9, 1.0, 1.0, 1.0]]))
  found = genotypes.derive(
    weights_of('cdcnpp', best),
    'cdcnpp',
    theta=0.7,
    edge_weights=edges,
    node_weights=nodes,
    provenance={'seed': 3},
  )
  # Node 3 is strongest; its edge is 2-3 (0.7); node 2's is 1-2, since 0.4 x
  # 0.9 is above 0.6 x 0.5.
  (cell,) = found.level('low')
  assert [(e.source, e.target, e.operation) for e in cell.edges] == [
    (0, 1, 'cdc_3x3'),
    (1, 2, 'cdc_2_1.0'),
    (2, 3, 'cdc_2_1.4'),
  ]
  assert cell.outputs == ((3, 1.0),)
  assert found.provenance == {'seed': 3}


def test_derive_cdcnpp_drops_what_the_strongest_node_does_not_need():
  best = [('cdc_3x3', 0.5), ('cdc_2_0.8', 0.6), ('cdc_2_1.0', 0.4)]
  nodes = dict.fromkeys(LEVELS, np.array([[0.4, 0.6]]))
  found = genotypes.derive(
    weights_of('cdcnpp', best), 'cdcnpp', theta=0.7, node_weights=nodes
  )
  (cell,) = found.level('high')
  assert [(e.source, e.target, e.operation) for e in cell.edges] == [
    (0, 2, 'cdc_2_0.8')
  ]


@pytest.mark.parametrize(
  ('space', 'theta'), [('nasfas', 0.7), ('vanilla', 0.0)]
)
def test_derive_nasfas_keeps_two_edges_a_node(space, theta):
  best = [
    ('cdc_5x5', 0.5),
    ('cdc_cross_hv', 0.6),
    ('dil_cdc_3x3', 0.4),
    ('skip_connect', 0.3),
    ('cd_max_pool_3x3', 0.2),
    ('sep_cdc_3x3', 0.7),
  ]
  nodes = dict.fromkeys(LEVELS, np.array([[0.2, 0.3, 0.5]]))
  found = genotypes.derive(
    weights_of(space, best), space, theta=0.7, node_weights=nodes
  )
  assert found.theta == theta
  (cell,) = found.level('mid')
  assert [(e.source, e.target, e.operation) for e in cell.edges] == [
    (0, 1, 'cdc_5x5'),
    (0, 2, 'cdc_cross_hv'),
    (1, 2, 'dil_cdc_3x3'),
    (0, 3, 'skip_connect'),
    (2, 3, 'sep_cdc_3x3'),
  ]
  assert cell.outputs == ((1, 0.2), (2, 0.3), (3, 0.5))


@pytest.mark.parametrize(
  ('fields', 'edges', 'outputs'),
  [
    # Node 3 keeps its two strongest, from 1 and 2; node 2 its own two.
    (
      {'edges_per_node': 2, 'output': 'strongest'},
      [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3)],
      ((3, 1.0),),
    ),
    (
      {'edges_per_node': 1, 'output': 'all'},
      [(0, 1), (0, 2), (2, 3)],
      ((1, 0.2), (2, 0.3), (3, 0.5)),
    ),
    (
      {'edges_per_node': 1, 'output': 'strongest'},
      [(0, 2), (2, 3)],
      ((3, 1.0),),
    ),
  ],
)
def test_a_space_says_what_a_derived_cell_keeps(
  fields, edges, outputs, monkeypatch
):
  # Its 'none' stands in the middle, and it has no skip.
  names = ('cdc_5x5', 'none', 'cdc_3x3')
  monkeypatch.setitem(SPACES, 'own', Space(names, **fields))
  best = [
    ('cdc_5x5', 0.5),
    ('cdc_3x3', 0.6),
    ('cdc_5x5', 0.4),
    ('cdc_3x3', 0.1),
    ('cdc_3x3', 0.2),
    ('cdc_5x5', 0.7),
  ]
  nodes = dict.fromkeys(LEVELS, np.array([[0.2, 0.3, 0.5]]))
  genotype = genotypes.derive(
    weights_of('own', best), 'own', theta=0.7, node_weights=nodes
  )
  (cell,) = genotype.level('low')
  assert [(e.source, e.target) for e in cell.edges] == edges
  assert cell.outputs == outputs
  chosen = dict(zip(cell_edges(3), (name for name, _ in best), strict=True))
  for edge in cell.edges:
    assert edge.operation == chosen[edge.source, edge.target]
  assert genotypes.from_json(genotype.to_json()) == genotype


def test_derive_breaks_ties_by_order():
  alphas = dict.fromkeys(LEVELS, np.full((1, 3, 8), 0.125))
  (cell,) = genotypes.derive(alphas, 'cdcnpp', theta=0.7).level('low')
  assert [(e.source, e.target, e.operation) for e in cell.edges] == [
    (0, 1, 'skip_connect')
  ]


@pytest.mark.parametrize(
  ('alphas', 'message'),
  [
    (np.zeros((1, 4, 8)), 'weights.low: shape'),
    (np.zeros((1, 3, 5)), 'weights.low: shape'),
    (np.full((1, 3, 8), np.nan), 'finite: False'),
  ],
)
def test_derive_checks_its_input(alphas, message):
  with pytest.raises(ValueError, match=message):
    genotypes.derive(dict.fromkeys(LEVELS, alphas), 'cdcnpp', theta=0.7)
