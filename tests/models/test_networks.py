import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jitted import apply, initialize

from nasfas_jax import models
from nasfas_jax.models import architecture, genotypes, layers, supernet
from nasfas_jax.models.search_spaces import LEVELS, cell_edges, get_space

SMALL = {
  'stem_features': (4, 8),
  'cell_features': 8,
  'head_features': 8,
  'output_size': 4,
}


def count(model, channels=3):
  image = jax.ShapeDtypeStruct((1, 256, 256, channels), jnp.float32)
  variables = jax.eval_shape(
    lambda x: model.init(jax.random.key(0), x, train=False), image
  )
  return models.count_parameters(variables['params'])


@pytest.mark.parametrize(
  ('name', 'published'), [('cdcn', 2.245), ('cdcnpp', 2.257)]
)
def test_published_sizes(name, published):
  assert round(count(models.build_model(name)) / 1e6, 3) == published


def test_cdcn_size_from_the_table_of_its_layers():
  """Weights and two batch normalization parameters of each convolution."""
  shapes = [(3, 64)]
  previous = 64
  for _ in range(3):
    for features in (128, 196, 128):
      shapes.append((previous, features))
      previous = features
  shapes += [(384, 128), (128, 64)]
  expected = sum(9 * a * b + 2 * b for a, b in shapes) + 9 * 64
  assert count(models.build_model('cdcn')) == expected


def test_an_unknown_network_names_the_known_ones():
  with pytest.raises(ValueError, match="'resnet'; allowed: cdcn, cdcnpp"):
    models.build_model('resnet')


def test_an_empty_batch_works_and_a_symbolic_one_exports(key):
  model = models.build_model('cdcnpp', **SMALL)
  variables = initialize(model, key, jnp.zeros((2, 16, 16, 3)))
  predict = jax.jit(lambda v, x: model.apply(v, x, train=False).map)
  assert predict(variables, jnp.zeros((0, 16, 16, 3))).shape == (0, 4, 4)
  (batch,) = jax.export.symbolic_shape('b')
  exported = jax.export.export(predict)(
    jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), variables),
    jax.ShapeDtypeStruct((batch, 16, 16, 3), jnp.float32),
  )
  assert exported.out_avals[0].shape == (batch, 4, 4)


def test_cdcn_takes_no_remat():
  with pytest.raises(ValueError, match='cdcn has no cells'):
    models.build_model('cdcn', remat=True)


@pytest.mark.parametrize('name', ['cdcn', 'cdcnpp'])
@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_networks_predict_maps(name, dtype, key):
  model = models.build_model(name, **SMALL, dtype=dtype)
  x = jax.random.normal(key, (2, 16, 16, 6))
  variables = initialize(model, key, x)
  (maps, features), updates = apply(
    model, variables, x, train=True, mutable=['batch_stats']
  )
  assert maps.shape == (2, 4, 4) and maps.dtype == jnp.float32
  assert float(maps.min()) >= 0
  # Nothing is sown.
  assert set(updates) == {'batch_stats'}
  assert {name: value.shape for name, value in features.items()} == {
    'stem': (2, 16, 16, 4 if name == 'cdcn' else 8),
    'low': (2, 8, 8, 8),
    'mid': (2, 4, 4, 8),
    'high': (2, 2, 2, 8),
  }
  assert {value.dtype for value in features.values()} == {jnp.dtype(dtype)}


def test_theta_overrides_the_genotype(key):
  x = jax.random.normal(key, (1, 16, 16, 3))
  model = models.build_model('cdcnpp', **SMALL)
  variables = initialize(model, key, x)
  other = models.build_model('cdcnpp', **SMALL, theta=0.0)
  same = models.build_model('cdcnpp', **SMALL, theta=0.7)
  maps = [apply(m, variables, x, train=False).map for m in (model, same, other)]
  np.testing.assert_array_equal(maps[0], maps[1])
  assert not np.allclose(maps[0], maps[2])


def test_initialize_has_the_shapes_and_spreads_of_init(key):
  model = models.build_model('cdcnpp', output_size=4)
  x = jnp.zeros((1, 16, 16, 3))
  variables = initialize(model, key, x)
  reference = jax.eval_shape(lambda: model.init(key, x, train=False))
  shapes = jax.tree.map(lambda a: (a.shape, a.dtype), dict(variables))
  assert shapes == jax.tree.map(
    lambda a: (a.shape, a.dtype),
    {name: reference[name] for name in ('params', 'batch_stats')},
  )
  drawn = nn.initializers.he_normal()(key, (3, 3, 128, 128), jnp.float32)
  kernel = variables['params']['high_0']['from_0_to_1']['block']['conv']
  kernel = kernel['kernel']
  assert kernel.shape == drawn.shape
  np.testing.assert_allclose(kernel.std(), drawn.std(), rtol=0.02)
  np.testing.assert_allclose(
    np.abs(kernel).max(), np.abs(drawn).max(), rtol=0.01
  )
  head = layers.FusionHead((128,), output_size=4)
  levels = (jnp.zeros((1, 4, 4, 1)),) * 3
  drawn = head.init(key, levels, train=False)['params']['conv']['kernel']
  assert drawn.shape == (3, 3, 128, 1)
  # A normal of He's deviation, at a tenth: 0.1 * sqrt(2 / 1152).
  for kernel in (drawn, variables['params']['head']['conv']['kernel']):
    np.testing.assert_allclose(kernel.std(), 0.0041667, rtol=0.08)
  norm = variables['params']['stem_0']['norm']
  np.testing.assert_array_equal(norm['scale'], 1)
  np.testing.assert_array_equal(norm['bias'], 0)


def test_initialize_depends_on_the_key_only(key):
  model = models.build_model('cdcnpp', **SMALL)
  x = jnp.zeros((1, 16, 16, 3))
  first = initialize(model, key, x)
  jax.tree.map(
    np.testing.assert_array_equal, first, initialize(model, key, x + 1)
  )
  other = initialize(model, jax.random.key(1), x)
  kernels = [v['params']['stem_0']['conv']['kernel'] for v in (first, other)]
  assert not np.allclose(*kernels)


def test_batch_statistics_move_in_training_and_serve_in_evaluation(key):
  model = models.build_model('cdcnpp', **SMALL)
  x = jax.random.normal(key, (2, 16, 16, 3)) + 1.0
  variables = initialize(model, key, x)
  _, updates = apply(model, variables, x, train=True, mutable=['batch_stats'])
  before = variables['batch_stats']['stem_0']['norm']
  after = updates['batch_stats']['stem_0']['norm']
  kernel = variables['params']['stem_0']['conv']['kernel']
  from nasfas_jax.ops import central_difference

  y = np.asarray(central_difference.central_difference_conv(x, kernel))
  np.testing.assert_allclose(
    after['mean'], 0.9 * before['mean'] + 0.1 * y.mean((0, 1, 2)), atol=1e-5
  )
  np.testing.assert_allclose(
    after['var'], 0.9 * before['var'] + 0.1 * y.var((0, 1, 2)), rtol=1e-4
  )
  maps = [
    apply(model, {**variables, 'batch_stats': stats}, x, train=False).map
    for stats in (variables['batch_stats'], updates['batch_stats'])
  ]
  assert not np.allclose(*maps)


def test_remat_changes_no_value(key):
  x = jax.random.normal(key, (2, 16, 16, 3))
  losses = []
  for remat in (False, True):
    model = models.build_model('cdcnpp', **SMALL, remat=remat)
    variables = initialize(model, key, x)

    def loss(params, model=model, variables=variables):
      outputs, _ = apply(
        model,
        {**variables, 'params': params},
        x,
        train=True,
        mutable=['batch_stats'],
      )
      return jnp.sum(jnp.square(outputs.map))

    losses.append(jax.jit(jax.value_and_grad(loss))(variables['params']))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), *losses
  )


def test_spatial_attention_equals_a_loop(key):
  module = layers.SpatialAttention(3)
  x = jax.random.normal(key, (1, 4, 5, 6))
  variables = module.init(key, x)
  kernel = np.asarray(variables['params']['conv']['kernel'])
  image = np.asarray(x)[0]
  summary = np.stack([image.mean(-1), image.max(-1)], axis=-1)
  padded = np.pad(summary, ((1, 1), (1, 1), (0, 0)))
  expected = np.zeros_like(image)
  for i in range(4):
    for j in range(5):
      response = np.sum(padded[i : i + 3, j : j + 3] * kernel[..., 0])
      expected[i, j] = image[i, j] / (1 + np.exp(-response))
  np.testing.assert_allclose(
    apply(module, variables, x)[0], expected, atol=1e-5
  )


def tiny_supernet(space='cdcnpp', **changes):
  return supernet.Supernet(
    space,
    **{**SMALL, 'num_nodes': 2, 'partial_channels': 1, **changes},
  )


def one_hot_arch(space, chosen):
  """Logits with which a softmax is one-hot on one operation an edge."""
  names = get_space(space).operations
  alphas = jnp.stack(
    [200.0 * jax.nn.one_hot(names.index(name), len(names)) for name in chosen]
  )[None]
  return {
    'alphas': dict.fromkeys(LEVELS, alphas),
    'betas': dict.fromkeys(LEVELS, jnp.array([[0.0, -200.0, 200.0]])),
    'nodes': dict.fromkeys(LEVELS, jnp.array([[-200.0, 200.0]])),
  }


def test_a_one_hot_supernet_is_the_derived_network(key):
  """The same weights in both give the same map, by two code paths."""
  chosen = ['cdc_3x3', 'skip_connect', 'cdc_2_1.2']
  arch = one_hot_arch('cdcnpp', chosen)
  net = tiny_supernet()
  x = jax.random.normal(key, (2, 16, 16, 3))
  variables = initialize(net, key, x, arch)
  weights = architecture.mixing_weights(arch, num_nodes=2)
  weights = jax.tree.map(np.asarray, weights)
  genotype = genotypes.derive(
    weights['alphas'],
    'cdcnpp',
    theta=0.7,
    edge_weights=weights['betas'],
    node_weights=weights['nodes'],
  )
  (cell,) = genotype.level('low')
  assert [(e.source, e.target, e.operation) for e in cell.edges] == [
    (0, 1, 'cdc_3x3'),
    (1, 2, 'cdc_2_1.2'),
  ]
  derived = models.build_model(genotype, **SMALL)
  fresh = initialize(derived, key, x)
  params = dict(fresh['params'])
  for name in ('stem_0', 'stem_1', 'head'):
    params[name] = variables['params'][name]
  for level in LEVELS:
    edges = variables['params'][f'{level}_0']
    cell_params = jax.tree.map(lambda a: a, params[f'{level}_0'])
    # The edges 0 -> 1 and 0 -> 2 leave node 0; the former comes first.
    cell_params['from_0_to_1']['block']['conv']['kernel'] = jnp.split(
      edges['from_0']['cdc_3x3'], 2, axis=-1
    )[0]
    for i, part in enumerate(('first', 'second')):
      cell_params['from_1_to_2'][f'block_{i}']['conv']['kernel'] = edges[
        'from_1'
      ][f'cdc_2_1.2_{part}']
    params[f'{level}_0'] = cell_params
  expected, _ = apply(
    derived, {**fresh, 'params': params}, x, train=True, mutable=['batch_stats']
  )
  actual, _ = apply(
    net, variables, x, arch, train=True, mutable=['batch_stats']
  )
  assert float(jnp.abs(expected.map).max()) > 0.01
  np.testing.assert_allclose(actual.map, expected.map, atol=1e-4)


@pytest.mark.parametrize(('space', 'num_cells'), [('cdcnpp', 2), ('nasfas', 1)])
def test_supernet_gradients_reach_every_weight_and_logit(space, num_cells, key):
  net = tiny_supernet(space, num_cells=num_cells, partial_channels=2)
  arch = architecture.init_arch(
    key, space=space, num_cells=num_cells, num_nodes=2
  )
  x = jax.random.normal(key, (2, 16, 16, 3))
  variables = initialize(net, key, x, arch)

  def loss(params, arch):
    outputs, _ = apply(
      net,
      {**variables, 'params': params},
      x,
      arch,
      train=True,
      mutable=['batch_stats'],
    )
    return jnp.sum(jnp.square(outputs.map - 1.0))

  weights, logits = jax.jit(jax.grad(loss, argnums=(0, 1)))(
    variables['params'], arch
  )
  for path, leaf in jax.tree_util.tree_leaves_with_path((weights, logits)):
    assert np.all(np.isfinite(leaf)), path
    assert np.any(leaf != 0), path
  # Edge normalization: the one edge into node 1 has weight 1 whatever its
  # logit; the two into node 2 compete.
  for level in LEVELS:
    np.testing.assert_array_equal(logits['betas'][level][:, 0], 0)
    assert np.all(logits['betas'][level][:, 1:] != 0)


def test_edge_normalization_and_node_attention_can_be_switched_off(key):
  arch = architecture.init_arch(key, space='cdcnpp', num_cells=1, num_nodes=2)
  x = jax.random.normal(key, (1, 16, 16, 3))
  net = tiny_supernet(edge_normalization=False, node_attention=False)
  variables = initialize(net, key, x, arch)
  other = {
    **arch,
    'betas': jax.tree.map(lambda a: a + jnp.arange(3.0)[None], arch['betas']),
    'nodes': jax.tree.map(lambda a: a + jnp.arange(2.0)[None], arch['nodes']),
  }
  maps = [apply(net, variables, x, a, train=False).map for a in (arch, other)]
  np.testing.assert_array_equal(*maps)
  net = tiny_supernet()
  maps = [apply(net, variables, x, a, train=False).map for a in (arch, other)]
  assert not np.allclose(*maps)


def test_gumbel_needs_a_key_and_changes_the_map(key):
  arch = architecture.init_arch(key, space='cdcnpp', num_cells=1, num_nodes=2)
  x = jax.random.normal(key, (1, 16, 16, 3))
  net = tiny_supernet()
  variables = initialize(net, key, x, arch)
  plain = apply(net, variables, x, arch, train=False).map
  draws = [
    apply(
      net, variables, x, arch, train=False, rngs={'gumbel': jax.random.key(i)}
    ).map
    for i in (0, 0, 1)
  ]
  np.testing.assert_array_equal(draws[0], draws[1])
  assert not np.allclose(draws[0], draws[2])
  assert not np.allclose(draws[0], plain)


def test_vanilla_ignores_theta(key):
  arch = architecture.init_arch(key, space='vanilla', num_cells=1, num_nodes=2)
  x = jax.random.normal(key, (1, 16, 16, 3))
  maps = []
  for theta in (0.0, 0.7):
    net = tiny_supernet('vanilla', theta=theta)
    variables = initialize(net, key, x, arch)
    maps.append(apply(net, variables, x, arch, train=False).map)
  np.testing.assert_array_equal(*maps)


def test_edges_of_the_tiny_supernet():
  assert cell_edges(2) == ((0, 1), (0, 2), (1, 2))
