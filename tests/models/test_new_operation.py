"""An operation is added with nothing but its module and a space."""

import inspect
import pathlib

import jax
import jax.numpy as jnp
import learned_average
import numpy as np
import pytest

from nasfas_jax import models
from nasfas_jax.models import (
  architecture,
  genotypes,
  operations,
  search_spaces,
  supernet,
)
from nasfas_jax.models.search_spaces import LEVELS

SMALL = {
  'stem_features': (4,),
  'cell_features': 4,
  'head_features': 4,
  'output_size': 2,
}
DOCS = pathlib.Path(__file__).parents[2] / 'docs' / 'extending.md'


@pytest.fixture
def added(monkeypatch):
  """What docs/extending.md adds to the sources."""
  monkeypatch.setitem(
    operations.OPERATIONS, 'learned_avg_3x3', learned_average.LearnedAverage
  )
  monkeypatch.setitem(
    search_spaces.SPACES,
    'averages',
    search_spaces.Space(
      operations=('none', 'cd_avg_pool_3x3', 'learned_avg_3x3'),
      edges_per_node=1,
      output='strongest',
    ),
  )


def loss_and_gradients(model, variables, x, *arch):
  """Of the map's mean square distance to 1: parameters' and architecture's."""

  @jax.jit
  def run(params, *arch):
    outputs, _ = model.apply(
      {**variables, 'params': params},
      x,
      *arch,
      train=True,
      mutable=['batch_stats'],
    )
    return jnp.mean(jnp.square(outputs.map - 1.0))

  return jax.value_and_grad(run, argnums=tuple(range(1 + len(arch))))(
    variables['params'], *arch
  )


def test_an_added_operation_is_searched_derived_saved_and_trained(
  added, key, tmp_path
):
  x = jax.random.normal(key, (2, 8, 8, 3))
  model = supernet.Supernet('averages', num_nodes=1, theta=0.6, **SMALL)
  arch = architecture.init_arch(key, space='averages', num_cells=1, num_nodes=1)
  variables = models.initialize(model, key, x, arch)
  start = variables['params']['low_0']['from_0']['to_1_learned_avg_3x3']
  assert start == {'theta': np.float32(0.6)}
  loss, (params, logits) = loss_and_gradients(model, variables, x, arch)
  assert np.isfinite(loss)
  for level in LEVELS:
    operation = params[f'{level}_0']['from_0']['to_1_learned_avg_3x3']
    assert float(jnp.abs(operation['theta'])) > 0
    assert np.all(np.abs(logits['alphas'][level][..., 1:]) > 0)

  weights = dict.fromkeys(LEVELS, np.array([[[0.5, 0.1, 0.4]]]))
  derived = genotypes.derive(weights, 'averages', theta=0.6)
  derived.save(tmp_path / 'genotype.json')
  genotype = genotypes.load(tmp_path / 'genotype.json')
  assert genotype == derived
  (cell,) = genotype.level('mid')
  assert cell.edges == (genotypes.Edge(0, 1, 'learned_avg_3x3'),)

  network = models.build_model(genotype, **SMALL)
  variables = models.initialize(network, key, x)
  edge = variables['params']['mid_0']['from_0_to_1']
  assert edge['theta'] == np.float32(0.6)
  # In training, batch normalization has a scale and a bias.
  assert set(edge['norm']) == {'scale', 'bias'}
  loss, (params,) = loss_and_gradients(network, variables, x)
  assert np.isfinite(loss)
  assert float(jnp.abs(params['mid_0']['from_0_to_1']['theta'])) > 0


def test_the_operation_against_a_loop(key):
  x = np.asarray(jax.random.normal(key, (2, 3, 3, 2)))
  mean = np.zeros_like(x)
  for i in range(3):
    for j in range(3):
      part = x[:, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2]
      mean[:, i, j] = part.mean((1, 2))
  y = mean - 0.6 * x
  expected = (y - y.mean((0, 1, 2))) / np.sqrt(y.var((0, 1, 2)) + 1e-5)
  module = learned_average.LearnedAverage(theta=0.6, affine=False)
  actual, _ = module.init_with_output(key, x, train=True)
  np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_the_recipe_is_the_operation_that_is_tested_here():
  text = DOCS.read_text(encoding='utf-8')
  assert (
    inspect.getsource(learned_average.LearnedAverage)
    .replace('operations.Operation', 'Operation')
    .replace('layers.batch_norm', 'batch_norm')
    in text
  )
