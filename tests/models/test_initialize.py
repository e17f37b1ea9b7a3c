"""`models.initialize` against each module's own initializers."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jitted import initialize

from nasfas_jax import models
from nasfas_jax.models import architecture, initializers, layers, supernet

SMALL = {
  'stem_features': (4, 8),
  'cell_features': 8,
  'head_features': 8,
  'output_size': 4,
}


def by_names(module, key, *inputs):
  """The start of today's networks, from names and shapes alone."""
  shapes = jax.eval_shape(
    lambda: module.init(jax.random.key(0), *inputs, train=False)
  )
  leaves, tree = jax.tree_util.tree_flatten_with_path(shapes)
  total = sum(leaf.size for _, leaf in leaves if leaf.ndim > 1)
  draw = np.asarray(jax.random.truncated_normal(key, -2.0, 2.0, (total,)))
  draw = draw / initializers.TRUNCATED_DEVIATION
  values = []
  for path, leaf in leaves:
    names = [entry.key for entry in path]
    if leaf.ndim > 1:
      deviation = (2.0 / (leaf.size // leaf.shape[-1])) ** 0.5
      if names == ['params', 'head', 'conv', 'kernel']:
        deviation *= 0.1
      part, draw = draw[: leaf.size], draw[leaf.size :]
      values.append(part.reshape(leaf.shape) * deviation)
    else:
      start = float(names[-1] in ('scale', 'var'))
      values.append(np.full(leaf.shape, start, np.float32))
  return jax.tree.unflatten(tree, values)


@pytest.mark.parametrize('name', ['cdcn', 'two_stream', 'supernet'])
def test_networks_start_with_one_draw_in_the_order_of_their_tree(name, key):
  inputs = [jnp.zeros((2, 16, 16, 6))]
  if name == 'cdcn':
    model = models.build_model('cdcn', **SMALL)
  elif name == 'two_stream':
    model = models.build_model('cdcnpp', **SMALL, two_stream=True)
  else:
    # A space with crosses and depthwise kernels.
    model = supernet.Supernet('nasfas', num_nodes=1, **SMALL)
    inputs.append(
      architecture.init_arch(key, space='nasfas', num_cells=1, num_nodes=1)
    )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7),
    initialize(model, key, *inputs),
    by_names(model, key, *inputs),
  )


class Own(nn.Module):
  """Parameters of every shape and of names that batch normalization has."""

  @nn.compact
  def __call__(self, x, *, train):
    constant = nn.initializers.constant
    scale = self.param('scale', constant(0.3), (3,))
    bias = self.param('bias', constant(-0.2), ())
    matrix = self.param('matrix', constant(0.4), (3, 3))
    noise = self.param('noise', nn.initializers.normal(0.5), (3, 3))
    x = layers.CDConv(3, init_scale=0.5, name='conv')(x)
    return (
      x * scale.reshape(1, 1, 1, 3) + bias + jnp.sum(matrix) + jnp.sum(noise)
    )


class Outer(nn.Module):
  """`Own` and a head, neither where today's networks have theirs."""

  @nn.compact
  def __call__(self, x, *, train):
    x = Own(name='deep')(x, train=train)
    return layers.FusionHead((8,), output_size=4, name='other')(
      (x, x), train=train
    )


def test_every_parameter_starts_as_its_own_module_says(key):
  x = jnp.zeros((1, 4, 4, 32))
  variables = initialize(Outer(), key, x)
  own = variables['params']['deep']
  np.testing.assert_array_equal(own['scale'], np.full(3, 0.3, np.float32))
  np.testing.assert_array_equal(own['bias'], np.float32(-0.2))
  np.testing.assert_array_equal(own['matrix'], np.full((3, 3), 0.4, np.float32))
  made = jax.jit(lambda: Outer().init(key, x, train=False))()
  np.testing.assert_allclose(
    own['noise'], made['params']['deep']['noise'], rtol=1e-6
  )
  assert float(jnp.std(own['noise'])) > 0.1
  # Half of He's deviation over 3 x 3 x 32 inputs.
  np.testing.assert_allclose(
    jnp.std(own['conv']['kernel']), 0.5 * (2 / 288) ** 0.5, rtol=0.08
  )
  # A head's last kernel has a tenth, 3 x 3 x 8 inputs, wherever it is.
  last = variables['params']['other']['conv']['kernel']
  assert 0.07 < float(jnp.std(last)) / (2 / 72) ** 0.5 < 0.13


class Strange(nn.Module):
  """Keeps a variable that no state of the project holds."""

  collection: str = 'params'

  @nn.compact
  def __call__(self, x, *, train):
    if self.collection == 'params':
      init = nn.with_partitioning(
        nn.initializers.ones, (None, None, None, 'data')
      )
      return x * self.param('gate', init, (1, 1, 1, 3))
    return (
      x * self.variable(self.collection, 'gate', jnp.ones, (1, 1, 1, 3)).value
    )


@pytest.mark.parametrize(
  ('collection', 'message'),
  [
    ('memory', "Variable memory/gate: collection 'memory'; allowed: params"),
    ('params', 'Variable params/gate: a box of Partitioned; allowed: an arr'),
  ],
)
def test_a_variable_that_cannot_be_made_is_named(collection, message, key):
  with pytest.raises(ValueError, match=message):
    models.initialize(Strange(collection), key, jnp.ones((1, 2, 2, 3)))
