"""Scores of untrained networks, against figures worked out in NumPy."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasfas_jax import models
from nasfas_jax.models import layers
from nasfas_jax.models.outputs import Outputs
from nasfas_jax.searchers import zero_cost


class Chain(nn.Module):
  """Two pointwise blocks and a pointwise sum: linear but for its ReLUs."""

  @nn.compact
  def __call__(self, x, *, train):
    for i, features in enumerate((3, 2)):
      x = layers.CDConvBlock(
        features, kernel_size=1, theta=0.0, name=f'block_{i}'
      )(x, train=train)
    x = layers.CDConv(1, kernel_size=1, theta=0.0, name='last')(x)
    return Outputs(x[..., 0], {})


@pytest.fixture(scope='module')
def chain():
  images = np.random.default_rng(0).normal(size=(4, 2, 3, 2))
  images = images.astype(np.float32)
  model = Chain()
  return (
    model,
    jax.jit(lambda: model.init(jax.random.key(0), images, train=False))(),
    images,
  )


def kernels(variables):
  params = variables['params']
  return [
    np.asarray(params[name]['conv']['kernel'])[0, 0]
    for name in ('block_0', 'block_1')
  ] + [np.asarray(params['last']['kernel'])[0, 0]]


def test_the_flow_is_conserved_from_layer_to_layer(chain):
  """In a chain every layer has the saliency R (Tanaka et al., theorem 1)."""
  model, variables, images = chain
  flow = np.ones(2)
  for kernel in kernels(variables):
    flow = flow @ np.abs(kernel)
    if len(flow) > 1:
      # The batch normalization of running statistics 0 and 1.
      flow = flow / np.sqrt(1 + 1e-5)
  total = 2 * 3 * flow.item()
  found = zero_cost.synflow(model, variables, images.shape[1:])
  assert found == pytest.approx(np.log10(3 * total), abs=1e-5)
  # Signs do not count, and twice the last layer is twice the flow.
  changed = jax.tree.map(lambda leaf: -leaf, variables)
  changed['batch_stats'] = variables['batch_stats']
  assert zero_cost.synflow(model, changed, images.shape[1:]) == pytest.approx(
    found
  )
  dead = jax.tree.map(jnp.zeros_like, variables)
  dead['batch_stats'] = variables['batch_stats']
  assert zero_cost.synflow(model, dead, images.shape[1:]) == -np.inf
  large = jax.tree.map(lambda leaf: leaf * 1e30, variables)
  large['batch_stats'] = variables['batch_stats']
  assert zero_cost.synflow(model, large, images.shape[1:]) == np.inf


def test_the_kernel_of_codes_counts_where_clips_agree(chain):
  model, variables, images = chain
  x, codes = images.astype(np.float64), []
  for kernel in kernels(variables)[:2]:
    x = x @ kernel
    x = (x - x.mean(axis=(0, 1, 2))) / np.sqrt(x.var(axis=(0, 1, 2)) + 1e-5)
    codes.append((x > 0).reshape(len(images), -1))
    x = np.maximum(x, 0)
  codes = np.concatenate(codes, axis=1)
  number = codes.shape[1]
  kernel = [
    [number - np.sum(first != second) for second in codes] for first in codes
  ]
  expected = np.log(abs(np.linalg.det(np.array(kernel, float))))
  found = zero_cost.naswot(model, variables, images)
  assert found == pytest.approx(expected, rel=1e-5)
  # Clips that are alike cannot be told apart.
  alike = np.repeat(images[:1], 2, axis=0)
  assert zero_cost.naswot(model, variables, alike) == -np.inf


def test_the_scores_by_name(chain):
  model, _, images = chain
  number = zero_cost.score('parameters', model, images, 0)
  assert number == 2 * 3 + 3 * 2 + 2 + 2 * (3 + 2)
  assert zero_cost.score('fewest_parameters', model, images, 0) == -number
  variables = models.initialize(model, jax.random.key(5), images[:1])
  for name, expected in (
    ('synflow', zero_cost.synflow(model, variables, images.shape[1:])),
    ('naswot', zero_cost.naswot(model, variables, images)),
  ):
    assert zero_cost.score(name, model, images, 5) == expected
  with pytest.raises(ValueError, match="'luck'; allowed: parameters, fewest"):
    zero_cost.score('luck', model, images, 0)
