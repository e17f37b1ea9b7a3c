import jax
import jax.numpy as jnp
import pytest

from nasfas_jax import models
from nasfas_jax.models import cost
from nasfas_jax.ops import central_difference


def test_a_convolution_and_a_product_counted_by_hand():
  x = jnp.zeros((2, 8, 6, 4))
  kernel = jnp.zeros((3, 3, 4, 5))
  conv = cost.count_macs(central_difference.central_difference_conv, x, kernel)
  assert conv == 2 * 8 * 6 * 5 * (3 * 3 * 4)
  depthwise = cost.count_macs(
    lambda x, k: central_difference.central_difference_conv(x, k, groups=4),
    x,
    jnp.zeros((3, 3, 1, 4)),
  )
  assert depthwise == 2 * 8 * 6 * 4 * 9
  product = cost.count_macs(jnp.matmul, jnp.zeros((3, 4)), jnp.zeros((4, 5)))
  assert product == 3 * 4 * 5


@pytest.mark.parametrize(
  ('name', 'published'), [('cdcn', 47.3), ('cdcnpp', 50.8)]
)
def test_published_cost_of_the_networks(name, published):
  model = models.build_model(name)
  x = jnp.zeros((1, 256, 256, 3))
  shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), x, train=False))
  macs = cost.count_macs(
    lambda variables: model.apply(variables, x, train=False), shapes
  )
  # Resizing is written as matrix products: a little on top.
  assert macs / 1e9 == pytest.approx(published, rel=0.01)


def test_derivatives_and_loops_are_counted():
  x = jnp.zeros((2, 8, 6, 4))
  kernel = jnp.zeros((3, 3, 4, 5))

  def loss(x, kernel):
    y = central_difference.central_difference_conv(x, kernel, theta=0.0)
    return jnp.sum(y * y)

  one = 2 * 8 * 6 * 5 * 36
  gradient = jax.grad(loss, argnums=(0, 1))
  assert cost.count_macs(gradient, x, kernel) == 3 * one
  # For each of three tasks a kernel of its own.
  tasks = jnp.zeros((3, *x.shape)), jnp.zeros((3, *kernel.shape))
  assert cost.count_macs(jax.vmap(gradient), *tasks) == 9 * one

  def turns(x, kernels):
    return jax.lax.scan(lambda c, k: (c + loss(x, k), None), 0.0, kernels)[0]

  assert cost.count_macs(turns, x, tasks[1]) == 3 * one


def test_what_no_result_needs_is_not_counted():
  x = jnp.zeros((2, 8, 6, 4))
  kernels = jnp.zeros((3, 3, 3, 4, 5))
  one = 2 * 8 * 6 * 5 * 36

  def loss(x, kernel):
    y = central_difference.central_difference_conv(x, kernel, theta=0.0)
    return jnp.sum(y * y)

  both = jax.jit(jax.grad(loss, argnums=(0, 1)))
  # The convolution and its gradient by x alone.
  assert cost.count_macs(lambda x, k: both(x, k)[0], x, kernels[0]) == 2 * one

  def losses_and_turns(x, kernels):
    return jax.lax.scan(lambda c, k: (c + 1.0, loss(x, k)), 0.0, kernels)

  assert cost.count_macs(losses_and_turns, x, kernels) == 3 * one
  turns = cost.count_macs(lambda *a: losses_and_turns(*a)[0], x, kernels)
  assert turns == 0
