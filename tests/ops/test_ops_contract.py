"""The contract that every primitive of `nasfas_jax.ops` keeps."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasfas_jax.ops import central_difference as cd
from nasfas_jax.ops import fusion, pooling, rank_pooling


class Primitive(NamedTuple):
  """call(x, weights) -> y; weights are {} for a primitive that has none."""

  call: Callable[[jax.Array, Any], jax.Array]
  weights: dict[str, tuple[int, ...]]
  out_shape: tuple[int, ...]
  shape: tuple[int, ...] = (2, 6, 5, 4)


def conv(**settings):
  def call(x, weights):
    return cd.central_difference_conv(
      x, weights['kernel'], **{**settings, **weights_theta(weights)}
    )

  return call


def weights_theta(weights):
  return {'theta': weights['theta']} if 'theta' in weights else {}


def cross(variant):
  def call(x, weights):
    return cd.central_difference_conv(
      x, cd.expand_cross(weights['kernel'], variant)
    )

  return call


def pool(function, **settings):
  return lambda x, weights: function(x, **settings, **weights_theta(weights))


# Step of the finite differences; see `draw`.
EPSILON = 1e-3

CLIPS = (2, 3, 4, 4, 3)
PRIMITIVES = {
  'cdc_3x3': Primitive(conv(), {'kernel': (3, 3, 4, 3)}, (2, 6, 5, 3)),
  'cdc_5x5_stride_2': Primitive(
    conv(strides=2), {'kernel': (5, 5, 4, 3)}, (2, 3, 3, 3)
  ),
  'cdc_3x3_dilated': Primitive(
    conv(dilation=2), {'kernel': (3, 3, 4, 3)}, (2, 6, 5, 3)
  ),
  'cdc_3x1_grouped': Primitive(
    conv(groups=2), {'kernel': (3, 1, 2, 4)}, (2, 6, 5, 4)
  ),
  'cdc_depthwise_stride_2': Primitive(
    conv(groups=4, strides=2), {'kernel': (3, 3, 1, 4)}, (2, 3, 3, 4)
  ),
  'cdc_learned_theta': Primitive(
    conv(), {'kernel': (3, 3, 4, 3), 'theta': ()}, (2, 6, 5, 3)
  ),
  'vanilla': Primitive(conv(theta=0), {'kernel': (3, 3, 4, 3)}, (2, 6, 5, 3)),
  'cross_hv': Primitive(cross('hv'), {'kernel': (5, 4, 3)}, (2, 6, 5, 3)),
  'cross_dg': Primitive(cross('dg'), {'kernel': (5, 4, 3)}, (2, 6, 5, 3)),
  'cd_max_pool': Primitive(pool(pooling.cd_max_pool), {}, (2, 6, 5, 4)),
  'cd_max_pool_learned_theta': Primitive(
    pool(pooling.cd_max_pool, strides=2), {'theta': ()}, (2, 3, 3, 4)
  ),
  'max_pool_stride_2': Primitive(
    pool(pooling.cd_max_pool, strides=2, theta=0), {}, (2, 3, 3, 4)
  ),
  'cd_avg_pool': Primitive(pool(pooling.cd_avg_pool), {}, (2, 6, 5, 4)),
  'cd_avg_pool_learned_theta': Primitive(
    pool(pooling.cd_avg_pool, strides=2), {'theta': ()}, (2, 3, 3, 4)
  ),
  'resize_up': Primitive(
    lambda x, _: pooling.resize_bilinear(x, 8, 9), {}, (2, 8, 9, 4)
  ),
  'resize_down': Primitive(
    lambda x, _: pooling.resize_bilinear(x, 2, 3), {}, (2, 2, 3, 4)
  ),
  **{
    f'dynamic_image_{kind}': Primitive(
      lambda x, _, kind=kind: rank_pooling.dynamic_image(x, kind),
      {},
      (2, 4, 4, 3),
      CLIPS,
    )
    for kind in rank_pooling.COEFFICIENTS
  },
  **{
    f'fuse_{mode}': Primitive(
      lambda x, _, mode=mode: fusion.fuse(x, mode),
      {},
      (2, 4, 4, fusion.fusion_channels(mode)),
      CLIPS,
    )
    for mode in fusion.FUSIONS
  },
}

each = pytest.mark.parametrize('name', PRIMITIVES)
each_weighted = pytest.mark.parametrize(
  'name', [name for name, p in PRIMITIVES.items() if p.weights]
)


def draw(primitive, *, seed=0, leading=()):
  """Inputs and weights, each with the leading axes."""
  generator = np.random.default_rng(seed)

  def array(shape):
    return jnp.asarray(generator.normal(size=leading + shape), jnp.float32)

  # Values a safe distance apart, so that no maximum changes hands within the
  # step of a finite difference.
  size = int(np.prod(leading + primitive.shape))
  x = generator.permutation(np.linspace(-1, 1, size))
  x = jnp.asarray(x.reshape(leading + primitive.shape), jnp.float32)
  return x, {name: array(shape) for name, shape in primitive.weights.items()}


@each
def test_shape_dtype_and_jit(name):
  primitive = PRIMITIVES[name]
  x, weights = draw(primitive)
  y = primitive.call(x, weights)
  assert y.shape == primitive.out_shape
  assert y.dtype == jnp.float32
  assert np.isfinite(y).all()
  np.testing.assert_allclose(
    jax.jit(primitive.call)(x, weights), y, rtol=1e-5, atol=1e-5
  )


@each
def test_bfloat16_inputs_with_float32_weights(name):
  primitive = PRIMITIVES[name]
  x, weights = draw(primitive)
  x = x.astype(jnp.bfloat16)
  y = jax.jit(primitive.call)(x, weights)
  assert y.shape == primitive.out_shape
  assert y.dtype == jnp.bfloat16
  expected = primitive.call(x.astype(jnp.float32), weights)
  tolerance = 0.02 * np.abs(expected).max()
  np.testing.assert_allclose(
    y.astype(jnp.float32), expected, rtol=0, atol=tolerance
  )


@each
def test_first_and_second_order_gradients(name):
  primitive = PRIMITIVES[name]
  x, weights = draw(primitive)

  # A square, so that the second order is not zero for a linear primitive.
  def objective(x, weights):
    return jnp.mean(jnp.square(primitive.call(x, weights)))

  slope = jax.jit(jax.value_and_grad(objective, argnums=(0, 1)))
  _, gradients = slope(x, weights)
  for gradient in jax.tree.leaves(gradients):
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 0

  # Along one direction v against central differences: first v . gradient,
  # then Hessian . v, the gradient of v . gradient.
  generator = np.random.default_rng(1)
  point = (x, weights)
  direction = jax.tree.map(
    lambda a: jnp.asarray(generator.uniform(-1, 1, a.shape), a.dtype), point
  )

  @jax.jit
  def along(x, weights):
    products = jax.tree.map(
      jnp.vdot, jax.grad(objective, argnums=(0, 1))(x, weights), direction
    )
    return sum(jax.tree.leaves(products))

  ahead, behind = (
    slope(*jax.tree.map(lambda a, d, step=step: a + step * d, point, direction))
    for step in (EPSILON, -EPSILON)
  )
  expected = jax.tree.map(lambda a, b: (a - b) / (2 * EPSILON), ahead, behind)
  found = (along(x, weights), jax.grad(along, argnums=(0, 1))(x, weights))
  for a, b in zip(
    jax.tree.leaves(found), jax.tree.leaves(expected), strict=True
  ):
    tolerance = 0.01 * np.abs(b).max()
    np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)


@each
def test_vmap_over_the_batch_equals_a_loop(name):
  primitive = PRIMITIVES[name]
  x, _ = draw(primitive, leading=(3,))
  _, weights = draw(primitive)
  batched = jax.jit(jax.vmap(lambda x: primitive.call(x, weights)))(x)
  loop = jnp.stack([primitive.call(one, weights) for one in x])
  np.testing.assert_allclose(batched, loop, rtol=1e-5, atol=1e-5)


@each_weighted
def test_vmap_over_the_weights_equals_a_loop(name):
  """As over the tasks of a meta step: each task has its own weights."""
  primitive = PRIMITIVES[name]
  x, weights = draw(primitive, leading=(3,))

  def gradient(x, weights):
    def objective(weights):
      y = primitive.call(x, weights)
      return jnp.mean(jnp.square(y)), y

    return jax.grad(objective, has_aux=True)(weights)

  batched = jax.jit(jax.vmap(gradient))(x, weights)
  loop = [
    gradient(x[index], {k: w[index] for k, w in weights.items()})
    for index in range(3)
  ]
  for found, *expected in zip(
    jax.tree.leaves(batched), *map(jax.tree.leaves, loop), strict=True
  ):
    np.testing.assert_allclose(found, np.stack(expected), rtol=1e-4, atol=1e-5)
