"""Genotypes of the wide space: their JSON, draws, mutation and networks."""

import collections
import copy
import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasfas_configs import train as train_config
from nasfas_jax import export, models, settings
from nasfas_jax.exporting import package, parameters
from nasfas_jax.models import (
  cells,
  cost,
  genotypes,
  layers,
  sampling,
  search_spaces,
)
from nasfas_jax.models.search_spaces import LEVELS
from nasfas_jax.ops import fusion

SIZES = {'stem_features': (2, 4), 'cell_features': 4, 'head_features': 4}
CHOICES = search_spaces.WIDE_SPACES['wide'].choices


def draw(seed, **changes):
  fields = {'space': 'wide', 'num_cells': 1, 'num_nodes': 2, 'theta': 0.7}
  return sampling.random_genotype(
    np.random.default_rng(seed), **{**fields, **changes}
  )


def chain(*names, thetas, **choices):
  """The same chain in every cell."""
  edges = tuple(
    genotypes.Edge(i, i + 1, name, theta)
    for i, (name, theta) in enumerate(zip(names, thetas, strict=True))
  )
  cell = genotypes.Cell(edges, ((len(edges), 1.0),))
  fields = {'width': 1.0, 'fusion': 'static', 'norm': 'batch', **choices}
  return genotypes.Genotype(
    'wide', 0.7, ((cell,),) * 3, choices=genotypes.Choices(**fields)
  )


def cost_of(genotype, sizes=SIZES, channels=3):
  model = models.build_model(genotype, output_size=4, **sizes)
  return cost.of_network(
    model, jax.ShapeDtypeStruct((1, 16, 16, channels), jnp.float32)
  )


def test_the_space_is_of_what_there_is():
  assert CHOICES.fusions == fusion.FUSIONS
  assert CHOICES.norms == search_spaces.NORMS
  # No supernet has it.
  assert not set(search_spaces.WIDE_SPACES) & set(search_spaces.SPACES)


def test_a_round_trip_and_files_of_other_spaces_as_before(tmp_path):
  for seed in range(5):
    genotype = draw(seed)
    genotype.save(tmp_path / 'genotype.json')
    assert genotypes.load(tmp_path / 'genotype.json') == genotype
    assert json.loads(genotype.to_json())['schema_version'] == 2
  document = json.loads(genotypes.CDCNPP.to_json())
  assert document['schema_version'] == 1
  assert list(document) == [
    *('schema_version', 'space', 'theta', 'cells', 'provenance')
  ]
  edge = document['cells']['low'][0]['edges'][0]
  assert list(edge) == ['source', 'target', 'operation']


FIRST = ['cells', 'low', 0, 'edges', 0]


@pytest.mark.parametrize(
  ('path', 'value', 'message'),
  [
    (['schema_version'], 3, 'schema_version: 3; allowed: 1 to 2'),
    (['schema_version'], 1, 'choices: unknown field'),
    (['choices'], 'x', "choices: 'x'; allowed: an object"),
    (['choices'], {}, 'choices.width: missing; needed: width, fusion, norm'),
    (['choices', 'width'], 3.0, r"width: 3.0; .* 'wide': 0.5, 1.0, 2.0"),
    (['choices', 'width'], True, 'choices.width: True'),
    (['choices', 'width'], [1.0], r'choices.width: \[1.0\]'),
    (['choices', 'fusion'], 'sum', "fusion: 'sum'; .*: static, dynamic"),
    (['choices', 'norm'], 'layer', "norm: 'layer'; .*: batch, group, instance"),
    (['theta'], 0.5, r"theta: 0.5; allowed in space 'wide': 0.0, 0.3, 0.7"),
    ([*FIRST, 'theta'], 0.5, r'low\[0\].edges\[0\].theta: 0.5; .*: 0.0, 0.3'),
    ([*FIRST, 'theta'], None, r'edges\[0\].theta: None; allowed'),
    ([*FIRST, 'operation'], 'skip_connect', "theta: 0.3; .* 'skip_connect'"),
    ([*FIRST, 'kernel'], 3, r'edges\[0\].kernel: unknown field'),
    (['cells', 'low'], 'three', 'cells.low: 3 cells; .*: 1, 2'),
    (['space'], 'nasfas', "choices: Choices.*'nasfas' leaves none open"),
  ],
)
def test_an_error_names_the_field_the_value_and_what_is_allowed(
  path, value, message
):
  document = json.loads(chain('cdc_3x3', thetas=(0.3,)).to_json())
  tree = document
  for name in path[:-1]:
    tree = tree[name]
  tree[path[-1]] = value if value != 'three' else 3 * tree[path[-1]]
  with pytest.raises(ValueError, match=message):
    genotypes.from_json(json.dumps(document))


def test_a_wide_genotype_needs_choices_and_a_narrow_one_has_no_thetas():
  wide = chain('cdc_3x3', thetas=(0.3,))
  with pytest.raises(ValueError, match='choices: missing'):
    dataclasses.replace(wide, choices=None)
  with pytest.raises(ValueError, match=r"theta: 0.3; .* 'cdcnpp': none"):
    genotypes.Genotype('cdcnpp', 0.7, wide.cells)
  # Another theta is one of all operations.
  vanilla = genotypes.with_theta(chain('cdc_3x3', thetas=(0.3,)), 0.0)
  assert vanilla.level('mid')[0].edges[0].theta == 0.0
  with pytest.raises(ValueError, match='theta: 0.2; allowed in'):
    genotypes.with_theta(vanilla, 0.2)


def genes(genotype):
  """Every gene with its value."""
  found = {
    'theta': genotype.theta,
    **dataclasses.asdict(genotype.choices or genotypes.Choices(1, '', '')),
  }
  for level, members in zip(LEVELS, genotype.cells, strict=True):
    found[level, 'depth'] = len(members)
    for i, cell in enumerate(members):
      found[level, i] = (
        tuple((e.source, e.target) for e in cell.edges),
        cell.outputs,
      )
      for e in cell.edges:
        where = (level, i, e.source, e.target)
        found[*where, 'operation'] = e.operation
        found[*where, 'theta'] = e.theta
  return found


def test_every_choice_is_drawn_evenly():
  drawn = [draw(seed) for seed in range(400)]
  assert len(set(drawn)) > 390 and draw(3) == drawn[3]
  for values, allowed in (
    ([g.choices.width for g in drawn], CHOICES.widths),
    ([g.choices.fusion for g in drawn], CHOICES.fusions),
    ([g.choices.norm for g in drawn], CHOICES.norms),
    ([g.theta for g in drawn], CHOICES.thetas),
    ([len(g.level('mid')) for g in drawn], CHOICES.depths),
    (
      [
        e.theta
        for g in drawn
        for e in g.level('low')[0].edges
        if e.operation != 'skip_connect'
      ],
      CHOICES.thetas,
    ),
  ):
    counts = collections.Counter(values)
    share = 1 / len(allowed)
    slack = 4 * np.sqrt(share * (1 - share) / len(values))
    assert set(counts) == set(allowed)
    assert all(abs(n / len(values) - share) < slack for n in counts.values())


@pytest.mark.parametrize('space', ['wide', 'nasfas', 'cdcnpp'])
def test_a_mutation_changes_one_gene(space):
  rng = np.random.default_rng(0)
  genotype = draw(0, space=space)
  kinds = set()
  for _ in range(150):
    child = sampling.mutate(rng, genotype, num_nodes=2)
    # The constructor has checked it.
    before, after = genes(genotype), genes(child)
    changed = {
      name for name in before | after if before.get(name) != after.get(name)
    }
    tops = {name for name in changed if isinstance(name, str)}
    whole = {name[:2] for name in changed if not isinstance(name, str)}
    if tops:
      assert len(changed) == 1
      kinds |= tops
    elif any('depth' in name for name in whole):
      kinds.add('depth')
    else:
      assert len(whole) == 1
      # A redrawn graph may keep its edges.
      kinds |= {name[-1] for name in changed if len(name) > 2}
      kinds |= {'graph' for name in changed if len(name) == 2}
    genotype = child
  expected = {'graph', 'operation'}
  if space == 'wide':
    expected |= {'theta', 'width', 'fusion', 'norm', 'depth'}
  assert kinds == expected


def test_a_space_of_one_genotype_has_no_mutation(monkeypatch):
  monkeypatch.setitem(
    search_spaces.SPACES, 'one', search_spaces.Space(('cdc_3x3',))
  )
  cell = genotypes.Cell((genotypes.Edge(0, 1, 'cdc_3x3'),), ((1, 1.0),))
  one = genotypes.Genotype('one', 0.7, ((cell,),) * 3)
  with pytest.raises(ValueError, match="100 mutations .* 'one' changed noth"):
    sampling.mutate(np.random.default_rng(0), one, num_nodes=1)


def test_width_depth_and_kernel_cost_what_they_must():
  plain = chain('cdc_3x3', thetas=(0.0,))
  wide = chain('cdc_3x3', thetas=(0.0,), width=2.0)
  double = {
    name: tuple(2 * v for v in value) if name == 'stem_features' else 2 * value
    for name, value in SIZES.items()
  }
  assert cost_of(wide) == cost_of(plain, double) != cost_of(plain)
  # Another kernel has 16 more taps, from 4 channels to 4.
  larger = chain('cdc_5x5', thetas=(0.0,))
  taps = 16 * 4 * 4
  assert cost_of(larger).parameters - cost_of(plain).parameters == 3 * taps
  # The levels have 16, 8 and 4 rows.
  assert cost_of(larger).macs - cost_of(plain).macs == taps * (
    16**2 + 8**2 + 4**2
  )
  # A second cell: 9 taps of 16 weights, a scale and a bias of 4 channels.
  deeper = dataclasses.replace(
    plain, cells=(plain.cells[0] * 2, *plain.cells[1:])
  )
  found = cost_of(deeper).parameters - cost_of(plain).parameters
  assert found == 9 * 16 + 8
  # theta and norm are free.
  for other in (
    chain('cdc_3x3', thetas=(0.7,)),
    chain('cdc_3x3', thetas=(0.0,), norm='group'),
  ):
    assert cost_of(other) == cost_of(plain)


def test_an_edge_has_its_own_theta():
  edges = [('cdc_3x3', 0.0), ('cd_avg_pool_3x3', 0.7)]
  own = chain(*(e for e, _ in edges), thetas=[t for _, t in edges])
  cell = own.level('low')[0]
  x = jax.random.normal(jax.random.key(0), (1, 5, 5, 2))

  @jax.jit
  def both(x):
    made = cells.DerivedCell(cell, 0.3)
    variables = made.init(jax.random.key(1), x, False)
    # By hand: each edge alone, with its theta as that of the cell.
    y = x
    for place, (name, theta) in enumerate(edges):
      one = genotypes.Cell((genotypes.Edge(0, 1, name),), ((1, 1.0),))
      renamed = {
        part: {'from_0_to_1': tree[f'from_{place}_to_{place + 1}']}
        for part, tree in variables.items()
        if f'from_{place}_to_{place + 1}' in tree
      }
      y = cells.DerivedCell(one, theta).apply(renamed, y, False)
    return made.apply(variables, x, False), y

  found, expected = both(x)
  np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(('norm', 'groups'), [('group', 2), ('instance', 6)])
def test_normalization_of_one_picture(norm, groups):
  """Against NumPy; 6 channels allow 2 groups of at most 4."""
  import flax.linen as nn

  class Norm(nn.Module):
    @nn.compact
    def __call__(self, x):
      return layers.normalization(x, kind=norm, train=True, name='norm')

  x = np.random.default_rng(0).normal(size=(2, 3, 4, 6)).astype(np.float32)
  variables = jax.jit(Norm().init)(jax.random.key(0), x)
  assert set(variables) == {'params'}
  found = jax.jit(Norm().apply)(variables, x)
  parts = x.reshape(2, 12, groups, 6 // groups)
  mean = parts.mean(axis=(1, 3), keepdims=True)
  variance = parts.var(axis=(1, 3), keepdims=True)
  expected = ((parts - mean) / np.sqrt(variance + 1e-5)).reshape(x.shape)
  np.testing.assert_allclose(found, expected, atol=2e-5)
  with pytest.raises(ValueError, match="'layer'; allowed: batch, group"):
    layers.normalization(x, kind='layer', train=True, name='norm')


def test_the_run_fuses_the_frames_as_the_genotype_chose():
  config = train_config.get_config('debug')
  genotype = chain('cdc_3x3', thetas=(0.3,), fusion='two_stream')
  with pytest.raises(ValueError, match="fusion is 'concat'; .*: 'two_stream'"):
    settings.network(config, genotype)
  followed = settings.follow(config, genotype)
  assert followed.input.fusion == 'two_stream'
  assert config.input.fusion == 'concat'
  assert settings.network(followed, genotype).two_stream
  assert settings.follow(config, genotypes.CDCNPP) is config
  with pytest.raises(ValueError, match="two_stream is True, .* 'static'"):
    models.build_model(chain('cdc_3x3', thetas=(0.3,)), two_stream=True)


def test_formats_that_need_batch_normalization_are_refused():
  model = models.build_model(chain('cdc_5x5', thetas=(0.3,), norm='group'))
  with pytest.raises(ValueError, match="by 'group'; .*: batch. .*'orbax',"):
    export.check_formats(model, ('orbax', 'onnx', 'int8'))
  export.check_formats(model, ('orbax', 'stablehlo'))
  export.check_formats(models.build_model('cdcn'), ('onnx',))
  export.check_formats(models.build_model('cdcnpp'), ('onnx',))


def test_an_export_holds_it(tmp_path):
  model = models.build_model(
    chain('cdc_5x5', thetas=(0.3,), width=0.5, norm='instance'),
    output_size=4,
    **SIZES,
  )
  described = json.loads(json.dumps(package.describe_network(model)))
  assert described['cell_features'] == 2
  assert package.make_network(copy.deepcopy(described)) == model
  # Without batch normalization there are no statistics to keep.
  shapes = parameters.template(model, 16, 3)
  variables = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes)
  assert variables['batch_stats'] == {}
  parameters.write(tmp_path / 'params', variables)
  found = parameters.read(tmp_path / 'params', shapes)
  assert jax.tree.structure(found) == jax.tree.structure(variables)
  jax.tree.map(np.testing.assert_array_equal, found, variables)
