"""Mixed operations against each operation by itself, by other code."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jitted import apply

from nasfas_jax.models import (
  cells,
  cost,
  layers,
  mixed_edges,
  operations,
  search_spaces,
)
from nasfas_jax.models.search_spaces import (
  SPACES,
  Space,
  cell_edges,
  get_space,
  num_edges,
)
from nasfas_jax.ops import central_difference, pooling


def conv_bn_relu(x, kernel, theta, dilation=1, groups=1):
  """CDC in the two-convolution form, batch statistics, ReLU."""
  pad = dilation * (kernel.shape[0] // 2)
  y = jax.lax.conv_general_dilated(
    x,
    kernel,
    (1, 1),
    ((pad, pad), (pad, pad)),
    rhs_dilation=(dilation, dilation),
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    feature_group_count=groups,
  )
  difference = jax.lax.conv_general_dilated(
    x,
    kernel.sum((0, 1), keepdims=True),
    (1, 1),
    'VALID',
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    feature_group_count=groups,
  )
  return np.maximum(normalize(y - theta * difference), 0)


def normalize(y):
  y = np.asarray(y, np.float64)
  mean = y.mean((0, 1, 2))
  variance = ((y - mean) ** 2).mean((0, 1, 2))
  return (y - mean) / np.sqrt(variance + 1e-5)


def reference(name, x, params, edge, targets, theta):
  """One operation of one edge from the parameters of `OutgoingEdges`."""

  def own(key):
    """The edge's part of a parameter of all edges."""
    return jnp.split(params[key], len(targets), axis=-1)[edge]

  if name == 'none':
    return np.zeros(x.shape)
  if name == 'skip_connect':
    return np.asarray(x)
  if name.startswith('cdc_2_'):
    middle = conv_bn_relu(x, own(f'{name}_first'), theta)
    return conv_bn_relu(
      jnp.asarray(middle, x.dtype), own(f'{name}_second'), theta
    )
  if name.startswith('cdc_cross'):
    kernel = central_difference.expand_cross(own(name), name[-2:])
    return conv_bn_relu(x, kernel, theta)
  if name in ('cdc_3x3', 'cdc_5x5'):
    return conv_bn_relu(x, own(name), theta)
  if name == 'dil_cdc_3x3':
    return conv_bn_relu(x, own(name), theta, dilation=2)
  if name == 'cd_max_pool_3x3':
    return normalize(pooling.cd_max_pool(x, theta=theta))
  if name == 'cd_avg_pool_3x3':
    return normalize(pooling.cd_avg_pool(x, theta=theta))
  if name != 'sep_cdc_3x3':
    # One that was added has its own module only.
    return module_output(name, x, params, edge, targets, theta)
  separable = params[f'to_{targets[edge]}_{name}']['block']
  depthwise = separable['depthwise']['kernel']
  y = central_difference.central_difference_conv(
    x, depthwise, theta=theta, groups=x.shape[-1]
  )
  return conv_bn_relu(y, separable['pointwise']['kernel'], 0.0)


def module_params(name, params, edge, target, targets):
  """The parameters of an edge's own module, from those of all edges."""

  def own(key):
    return {'kernel': jnp.split(params[key], len(targets), axis=-1)[edge]}

  kind = type(operations.make(name))
  if kind is operations.Convolution:
    return {'block': {'conv': own(name)}}
  if kind is operations.Expansion:
    return {
      f'block_{i}': {'conv': own(f'{name}_{part}')}
      for i, part in enumerate(('first', 'second'))
    }
  return params.get(f'to_{target}_{name}', {})


def apply_edges(space, key, theta=0.7):
  """(targets, x, weights, parameters, results) of `OutgoingEdges`."""
  targets = (2, 3)
  x = jax.random.normal(key, (2, 4, 4, 5))
  weights = jax.random.uniform(
    key, (2, len(get_space(space).operations)), minval=0.5
  )
  edges = mixed_edges.OutgoingEdges(targets, space, theta)
  results, variables = jax.jit(
    functools.partial(edges.init_with_output, train=True)
  )(key, x, weights)
  return targets, x, weights, variables.get('params', {}), results


def module_output(name, x, params, edge, targets, theta):
  """One operation of one edge by its own module."""
  module = operations.make(name, theta=theta, affine=False)
  own = module_params(name, params, edge, targets[edge], targets)
  return apply(module, {'params': own}, x, train=True, mutable=['batch_stats'])[
    0
  ]


@pytest.mark.parametrize(
  ('space', 'block_channels'),
  [('cdcnpp', 64), ('cdcnpp', 10), ('nasfas', 64), ('vanilla', 64)],
)
def test_mixed_operations_equal_each_operation_by_itself(
  space, block_channels, key, monkeypatch
):
  # Widths of 4 to 8: one block-diagonal convolution, or several.
  monkeypatch.setattr(search_spaces, 'BLOCK_CHANNELS', block_channels)
  theta = search_spaces.space_theta(space, 0.7)
  targets, x, weights, params, results = apply_edges(space, key, theta)
  for e in range(len(targets)):
    for one in (reference, module_output):
      expected = sum(
        float(weights[e, i]) * one(name, x, params, e, targets, theta)
        for i, name in enumerate(SPACES[space].operations)
      )
      np.testing.assert_allclose(results[e], expected, atol=5e-5)


@pytest.mark.parametrize(
  ('space', 'block_channels', 'remat'),
  [
    ('cdcnpp', 10, {'remat': True, 'remat_convolutions': True}),
    ('cdcnpp', 10, {'remat': True}),
    ('nasfas', 64, {}),
  ],
)
def test_a_loop_over_the_edges_changes_no_value(
  space, block_channels, remat, key, monkeypatch
):
  monkeypatch.setattr(search_spaces, 'BLOCK_CHANNELS', block_channels)
  x = jax.random.normal(key, (2, 4, 4, 5))
  weights = jax.random.uniform(key, (2, len(get_space(space).operations)))
  together, looped = (
    mixed_edges.OutgoingEdges((2, 3), space, **fields)
    for fields in ({}, {'loop': True, **remat})
  )
  shapes = [
    jax.eval_shape(functools.partial(edges.init, train=True), key, x, weights)
    for edges in (together, looped)
  ]
  # Checkpoints of one are checkpoints of the other.
  assert shapes[0] == shapes[1]
  variables = jax.tree.map(
    lambda leaf: jax.random.uniform(key, leaf.shape, minval=0.1, maxval=0.9),
    shapes[0],
  )

  def results(edges):
    def loss(params, weights, x):
      full = {**variables, 'params': params}
      found, updates = edges.apply(
        full, x, weights, train=True, mutable=['batch_stats']
      )
      judged = edges.apply(full, x, weights, train=False)
      # No two outputs count alike.
      total = sum(
        jnp.sum((i + 1.5) * jnp.tanh(y))
        for i, y in enumerate([*found, *judged])
      )
      return total, (found, judged, updates)

    gradient = jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)
    return jax.jit(gradient)(variables['params'], weights, x)

  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(
      a, b, rtol=1e-4, atol=1e-4 * max(1.0, float(np.abs(b).max()))
    ),
    results(looped),
    results(together),
  )


@pytest.mark.parametrize('name', operations.OPERATIONS)
def test_a_space_of_any_single_operation_works(name, key, monkeypatch):
  monkeypatch.setitem(SPACES, 'one', Space((name,)))
  if name == 'none':
    with pytest.raises(ValueError, match="'one'.*other than 'none'"):
      apply_edges('one', key)
    return
  targets, x, weights, params, results = apply_edges('one', key)
  for e in range(len(targets)):
    expected = reference(name, x, params, e, targets, 0.7)
    np.testing.assert_allclose(
      results[e], float(weights[e, 0]) * expected, atol=5e-5
    )


def test_an_entry_that_sets_a_shared_field_is_not_computed_with_others(
  key, monkeypatch
):
  class Doubled(operations.Convolution):
    def __call__(self, x, *, train):
      return 2.0 * super().__call__(x, train=train)

  def vanilla(**fields):
    return operations.Convolution(**{**fields, 'theta': 0.0})

  monkeypatch.setitem(operations.OPERATIONS, 'doubled', Doubled)
  monkeypatch.setitem(operations.OPERATIONS, 'vanilla_3x3', vanilla)
  monkeypatch.setitem(
    SPACES, 'own', Space(('doubled', 'vanilla_3x3', 'cdc_3x3'))
  )
  edges = mixed_edges.OutgoingEdges((1,), 'own')
  x = jax.random.normal(key, (2, 4, 4, 5))
  parts = [
    edges.init_with_output(key, x, jnp.eye(3)[i : i + 1], train=True)
    for i in (0, 1)
  ]
  for name, (actual, variables) in zip(
    ('doubled', 'vanilla_3x3'), parts, strict=True
  ):
    kernel = variables['params'][f'to_1_{name}']['block']['conv']['kernel']
    theta = 0.7 if name == 'doubled' else 0.0
    expected = conv_bn_relu(x, kernel, theta)
    if name == 'doubled':
      expected = 2.0 * expected
    np.testing.assert_allclose(actual[0], expected, atol=2e-5)


def test_an_unknown_operation_of_a_space_is_refused_by_name(key, monkeypatch):
  monkeypatch.setitem(SPACES, 'own', Space(('cdc_3x3', 'cdc_9x9')))
  edges = mixed_edges.OutgoingEdges((1,), 'own')
  with pytest.raises(ValueError, match="'cdc_9x9'; allowed: none, skip_conn"):
    edges.init(key, jnp.ones((1, 4, 4, 2)), jnp.ones((1, 2)), False)


def test_a_cross_is_3x3(key):
  module = layers.CDConv(2, kernel_size=5, variant='hv')
  with pytest.raises(ValueError, match="kernel_size is 5 with variant 'hv'"):
    module.init(key, jnp.ones((1, 4, 4, 2)))


def test_channel_shuffle_interleaves():
  x = jnp.arange(6.0)[None]
  assert cells.channel_shuffle(x, 2).tolist() == [[0, 3, 1, 4, 2, 5]]
  assert cells.channel_shuffle(x, 3).tolist() == [[0, 2, 4, 1, 3, 5]]


def test_wide_kernels_are_split_into_runs_that_fit():
  # The default's widths at 4 channels, the published ones at 32.
  assert search_spaces.block_bounds([3, 4, 4, 5, 6]) == [(0, 5)]
  assert search_spaces.block_bounds([25, 32, 38, 44, 51]) == [
    *((0, 1), (1, 2), (2, 3), (3, 4), (4, 5))
  ]
  # One that is too wide by itself stays whole.
  assert search_spaces.block_bounds([100, 12, 20, 1]) == [
    (0, 1),
    (1, 3),
    (3, 4),
  ]


def test_block_diagonal_applies_each_kernel_to_its_own_channels(key):
  keys = jax.random.split(key, 3)
  first = jax.random.normal(keys[0], (3, 3, 2, 4))
  second = jax.random.normal(keys[1], (3, 3, 3, 1))
  x = jax.random.normal(keys[2], (1, 5, 5, 5))
  # Two edges, of which the second is the negative of the first.
  kernels = mixed_edges.block_diagonal(
    [jnp.stack([kernel, -kernel], axis=3) for kernel in (first, second)]
  )
  assert kernels.shape == (3, 3, 5, 2, 5)
  np.testing.assert_array_equal(kernels[..., 0, :], -kernels[..., 1, :])
  both = central_difference.central_difference_conv(x, kernels[..., 0, :])
  expected = jnp.concatenate(
    [
      central_difference.central_difference_conv(x[..., :2], first),
      central_difference.central_difference_conv(x[..., 2:], second),
    ],
    axis=-1,
  )
  np.testing.assert_allclose(both, expected, atol=1e-5)


def search_cell(key, partial_channels=2, num_nodes=2):
  cell = cells.SearchCell('cdcnpp', num_nodes, 0.7, partial_channels)
  x = jax.random.normal(key, (2, 6, 6, 4))
  count = num_edges(num_nodes)
  weights = (
    jnp.full((count, 8), 0.125),
    jnp.linspace(0.5, 1.0, count),
    jnp.full(num_nodes, 1 / num_nodes),
  )
  variables = jax.jit(cell.init, static_argnums=(5,))(
    jax.random.key(3), x, *weights, False
  )
  return cell, variables, x, weights


def apply_cell(cell, variables, x, weights):
  @jax.jit
  def apply(variables, x, weights):
    return cell.apply(variables, x, *weights, True, mutable=['batch_stats'])[0]

  return apply(variables, x, weights)


def test_a_cell_of_skips_is_worked_out_by_hand(key):
  """With all weight on skip_connect a cell only shuffles and adds."""
  cell, variables, x, (_, edges, nodes) = search_cell(key)
  skip = jnp.zeros((3, 8)).at[:, 1].set(1.0)
  actual = apply_cell(cell, variables, x, (skip, edges, nodes))
  order = [0, 2, 1, 3]
  node_1 = 0.5 * np.asarray(x)[..., order]
  node_2 = 0.75 * np.asarray(x)[..., order] + node_1[..., order]
  np.testing.assert_allclose(actual, 0.5 * (node_1 + node_2), rtol=1e-6)


def test_channels_past_the_partial_ones_pass_no_operation(key):
  cell, variables, x, weights = search_cell(key, num_nodes=1)
  base = apply_cell(cell, variables, x, weights)
  changed = apply_cell(cell, variables, x.at[..., 2:].add(1.0), weights)
  difference = np.asarray(changed - base)
  # Shuffled: places 0 and 2 hold the mixed channels, 1 and 3 the others.
  np.testing.assert_allclose(difference[..., [0, 2]], 0, atol=1e-6)
  np.testing.assert_allclose(
    difference[..., [1, 3]], float(weights[1][0]), atol=1e-5
  )


def test_all_weights_get_a_gradient(key):
  cell, variables, x, weights = search_cell(key)

  def loss(weights):
    return jnp.sum(jnp.square(apply_cell(cell, variables, x, weights)))

  ops, edges, nodes = jax.grad(loss)(weights)
  assert np.all(np.abs(edges) > 1e-6)
  assert np.all(np.abs(nodes) > 1e-6)
  assert np.all(np.abs(ops[:, 1:]) > 1e-6)
  # 'none' adds zero.
  np.testing.assert_array_equal(ops[:, 0], 0)


def test_partial_channels_must_divide_the_channels(key):
  with pytest.raises(ValueError, match="must divide the cell's 4 channels"):
    search_cell(key, partial_channels=3)


@pytest.mark.parametrize('shape', [(3, 7), (2, 8)])
def test_weights_of_another_space_or_cell_are_refused(shape, key):
  cell = cells.SearchCell('cdcnpp', 2)
  weights = (jnp.ones(shape), jnp.ones(3), jnp.ones(2))
  with pytest.raises(ValueError, match=r"allowed: \(3, 8\), .*'cdcnpp' with 2"):
    cell.init(key, jnp.zeros((1, 4, 4, 4)), *weights, False)


@pytest.mark.parametrize('name', operations.OPERATIONS)
@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_contract_of_every_operation(name, dtype, key):
  module = operations.make(name, dtype=dtype)
  x = jax.random.normal(key, (2, 6, 7, 4))
  variables = jax.jit(functools.partial(module.init, train=False))(
    key, x.astype(dtype)
  )
  params = variables.get('params', {})

  @functools.partial(jax.grad, argnums=(0, 1), has_aux=True)
  def gradients_of(params, x):
    y, updates = module.apply(
      {**variables, 'params': params},
      x.astype(dtype),
      train=True,
      mutable=['batch_stats'],
    )
    assert y.shape == x.shape and y.dtype == dtype
    return jnp.sum(jnp.sin(y.astype(jnp.float32))), updates

  gradients, updates = jax.jit(gradients_of)(params, x)
  for leaf in jax.tree.leaves(gradients):
    assert leaf.dtype == jnp.float32
    assert np.all(np.isfinite(leaf))
  for leaf in jax.tree.leaves(updates):
    assert leaf.dtype == jnp.float32
  for leaf in jax.tree.leaves(params):
    assert leaf.dtype == jnp.float32
  # Evaluation mode does not depend on the other clips of a batch.
  alone = apply(module, variables, x[:1].astype(dtype), train=False)
  together = apply(module, variables, x.astype(dtype), train=False)
  np.testing.assert_allclose(
    alone[0].astype(jnp.float32),
    together[0].astype(jnp.float32),
    atol=1e-5 if dtype == jnp.float32 else 0.05,
  )


def test_an_unknown_operation_names_the_known_ones(key):
  with pytest.raises(ValueError, match="'conv'; allowed: none, skip_connect"):
    operations.make('conv')


def test_theta_zero_is_a_vanilla_convolution(key):
  x = jax.random.normal(key, (2, 6, 6, 4))
  module = operations.make('cdc_3x3', theta=0.0)
  variables = module.init(key, x, train=False)
  actual, _ = module.apply(variables, x, train=True, mutable=['batch_stats'])
  kernel = variables['params']['block']['conv']['kernel']
  y = jax.lax.conv_general_dilated(
    x, kernel, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
  )
  np.testing.assert_allclose(actual, np.maximum(normalize(y), 0), atol=1e-5)


def test_expansions_are_what_their_names_say():
  found = {
    name: operations.make(name).ratio
    for name in operations.OPERATIONS
    if name.startswith('cdc_2_')
  }
  assert len(found) == 5
  assert found == {name: float(name.split('_')[2]) for name in found}


@pytest.mark.parametrize(
  ('ratio', 'features'), [(0.8, 102), (1.2, 153), (1.4, 179), (1.6, 204)]
)
def test_middle_features_of_128(ratio, features):
  assert operations.middle_features(128, ratio) == features


def test_edges_of_four_nodes():
  assert len(cell_edges(4)) == num_edges(4) == 10


@pytest.mark.parametrize('loop', [False, True])
@pytest.mark.parametrize('space', ['cdcnpp', 'nasfas'])
def test_remat_computes_what_it_keeps_once(space, loop):
  x = jnp.ones((2, 8, 8, 8))
  nodes = 2
  edges = len(cell_edges(nodes))
  weights = (
    jnp.ones((edges, len(get_space(space).operations))),
    jnp.ones(edges),
    jnp.ones(nodes),
  )
  macs, sums, mapped, kept = [], [], [], []
  # Nothing, all but the convolutions, and those, too, are computed again; the
  # sums of normalizations never.
  for remat in (
    {},
    {'remat': True},
    {'remat': True, 'remat_convolutions': True},
  ):
    cell = cells.SearchCell(space, nodes, edge_loop=loop, **remat)
    shapes = jax.eval_shape(
      lambda x, cell=cell: cell.init(jax.random.key(0), x, *weights, True), x
    )
    variables = jax.tree.map(lambda a: jnp.zeros(a.shape), shapes)
    params = variables['params']

    def loss(params, x, cell=cell, variables=variables):
      full = {**variables, 'params': params}
      y, _ = cell.apply(full, x, *weights, True, mutable=['batch_stats'])
      return jnp.sum(jnp.tanh(y))

    macs.append(cost.count_macs(jax.grad(loss), params, x))
    program = jax.jit(jax.grad(loss)).lower(params, x).as_text()
    sums.append(program.count('across dimensions = [0, 1, 2]'))

    def of_all(params, many, loss=loss):
      return jnp.sum(jax.vmap(loss, (None, 0))(params, many))

    program = jax.jit(jax.grad(of_all)).lower(params, jnp.stack([x, x]))
    mapped.append(program.as_text().count('across dimensions = [1, 2, 3]'))
    held = jax.eval_shape(
      lambda params, loss=loss: jax.vjp(loss, params, x)[1], params
    )
    kept.append(sum(leaf.size for leaf in jax.tree.leaves(held)))
  assert macs[0] == macs[1] < macs[2]
  assert sums[0] == sums[1] == sums[2] > 0
  assert mapped[0] == mapped[1] == mapped[2] > 0
  assert 2 * kept[2] < kept[1] < kept[0] / 2, kept
