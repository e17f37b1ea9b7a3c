"""The two steps of the bilevel search, against finite differences."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_search import make_batch, make_parts, small_config

from nasfas_jax import sharding
from nasfas_jax.searchers import bilevel


class Plain:
  """Plain descent at rate 1; the unrolled step has a rate of its own."""

  def __init__(self, unrolled=1.0):
    self._unrolled = unrolled

  def rate(self):
    return lambda step: self._unrolled

  def optimizer(self):
    return optax.sgd(1.0)


class Setting:
  """A supernet in mid-search, with plain descent as both optimizers."""

  def __init__(self, **changes):
    parts = make_parts(small_config(hold_out='none', **changes))
    self.search, self.loss_fn = parts.search, parts.loss_fn
    self.state = parts.state.replace(
      weight_opt_state=Plain().optimizer().init(parts.state.params),
      arch_opt_state=Plain().optimizer().init(parts.state.arch),
    )
    self.first, self.second = make_batch(1), make_batch(2)

  def loss(self, params, arch, batch):
    return self.loss_fn(params, arch, batch, self.state, 0)[0]

  @functools.cached_property
  def _arch_step(self):
    # The rate as an argument: one program for every rate.
    @jax.jit
    def step(state, first, second, rate):
      settings = dataclasses.replace(
        self.search, weights=Plain(rate), arch=Plain()
      )
      _, arch_step = bilevel.make_steps(self.loss_fn, settings)
      return arch_step(state, first, second)

    return step

  def arch_step(self, rate=0.05):
    return self._arch_step(self.state, self.first, self.second, rate)

  def weight_step(self):
    settings = dataclasses.replace(self.search, weights=Plain())
    step, _ = bilevel.make_steps(self.loss_fn, settings)
    return jax.jit(step)(self.state, self.first)


@functools.cache
def setting(second_order=False):
  """Shared by the tests: its programs are compiled once."""
  return Setting(second_order=second_order)


def slope(function, tree, direction, size):
  """Central difference of a function along a direction of a pytree."""
  ends = [
    function(jax.tree.map(lambda a, d, s=s: a + s * d, tree, direction))
    for s in (size, -size)
  ]
  return (float(ends[0]) - float(ends[1])) / (2 * size)


def inner(a, b):
  products = jax.tree.map(lambda x, y: float(jnp.vdot(x, y)), a, b)
  return sum(jax.tree.leaves(products))


def difference(before, after):
  """What plain descent subtracted: the gradient."""
  return jax.tree.map(lambda a, b: a - b, before, after)


def test_the_weight_step_descends_the_loss_of_the_first_half():
  at = setting()
  state, loss = at.weight_step()
  value = jax.jit(lambda p: at.loss(p, at.state.arch, at.first))
  assert float(loss) == pytest.approx(float(value(at.state.params)))
  gradient = difference(at.state.params, state.params)
  # Along the gradient itself, where the slope is steepest.
  length = np.sqrt(inner(gradient, gradient))
  unit = jax.tree.map(lambda g: g / length, gradient)
  measured = slope(value, at.state.params, unit, 3e-4)
  assert measured == pytest.approx(length, rel=0.05)
  assert int(state.step) == 1
  jax.tree.map(np.testing.assert_array_equal, state.arch, at.state.arch)
  moved = jax.tree.map(
    lambda a, b: bool(np.any(a != b)),
    state.batch_stats,
    at.state.batch_stats,
  )
  assert all(jax.tree.leaves(moved))


def test_the_architecture_step_descends_the_loss_of_the_second_half():
  at = setting()
  state, loss = at.arch_step()
  objective = jax.jit(lambda arch: at.loss(at.state.params, arch, at.second))
  assert float(loss) == pytest.approx(float(objective(at.state.arch)))
  gradient = difference(at.state.arch, state.arch)
  length = np.sqrt(inner(gradient, gradient))
  unit = jax.tree.map(lambda g: g / length, gradient)
  measured = slope(objective, at.state.arch, unit, 5e-3)
  assert measured == pytest.approx(length, rel=0.05)
  for name in ('params', 'batch_stats'):
    jax.tree.map(
      np.testing.assert_array_equal,
      getattr(state, name),
      getattr(at.state, name),
    )


def test_the_second_order_is_the_formula_of_darts():
  """Equation 7 of DARTS (arXiv 1806.09055), with its mixed second derivative.

  grad_alpha L(w', alpha; second) - rate * grad_alpha <grad_w L(w, alpha;
  first), v>, where w' is w after the inner step and v is grad_w' of the first
  term's loss, held fixed.
  """
  rate = 0.05
  at = setting(True)
  state, loss = at.arch_step(rate)

  @jax.jit
  def reference(params, arch):
    gradients = jax.grad(at.loss)(params, arch, at.first)
    moved = jax.tree.map(lambda p, g: p - rate * g, params, gradients)
    value, (v, direct) = jax.value_and_grad(at.loss, argnums=(0, 1))(
      moved, arch, at.second
    )

    def product(arch):
      gradients = jax.grad(at.loss)(params, arch, at.first)
      parts = jax.tree.map(jnp.vdot, gradients, v)
      return sum(jax.tree.leaves(parts))

    mixed = jax.grad(product)(arch)
    total = jax.tree.map(lambda d, m: d - rate * m, direct, mixed)
    return value, total

  value, expected = reference(at.state.params, at.state.arch)
  assert float(loss) == pytest.approx(float(value), rel=1e-5)
  actual = difference(at.state.arch, state.arch)
  apart = difference(actual, expected)
  assert inner(expected, expected) > 1e-8
  assert inner(apart, apart) < 1e-5 * inner(expected, expected)


def test_the_orders_differ_and_meet_at_inner_rate_zero():
  first, _ = setting().arch_step()
  second, _ = setting(True).arch_step(rate=0.5)
  zero, _ = setting(True).arch_step(rate=0.0)
  apart = inner(*[difference(first.arch, second.arch)] * 2)
  assert apart > 1e-12
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
    first.arch,
    zero.arch,
  )


def test_gumbel_draws_are_new_at_each_step_and_the_same_for_a_seed():
  at = Setting(gumbel=True)
  _, loss = at.arch_step()
  _, again = at.arch_step()
  assert float(loss) == float(again)
  at.state = at.state.replace(step=at.state.step + 1)
  _, later = at.arch_step()
  assert float(loss) != float(later)


def test_both_steps_of_first_order_trace_the_loss_once():
  at = setting()
  traced = []

  def loss_fn(*args):
    traced.append(1)
    return at.loss_fn(*args)

  steps = bilevel.jit_steps(loss_fn, at.search, sharding.make_mesh())
  state = at.state.replace(
    weight_opt_state=at.search.weights.optimizer().init(at.state.params),
    arch_opt_state=at.search.arch.optimizer().init(at.state.arch),
  )
  for step, batches in zip(steps, (1, 2), strict=True):
    step.lower(state, *[at.first] * batches)
  assert len(traced) == 1


@pytest.mark.parametrize('edge_loop', [False, True])
def test_remat_changes_no_value_and_holds_less_memory(edge_loop):
  mesh = sharding.make_mesh()
  found, held, temporaries = [], [], []
  # Nothing is computed again, then all but convolutions and statistics, then
  # all but statistics.
  for remat, of_convolutions in ((False, False), (True, False), (True, True)):
    config = small_config(hold_out='none')
    config.supernet.update(
      remat=remat, remat_convolutions=of_convolutions, edge_loop=edge_loop
    )
    config.supernet.num_nodes = 2
    parts = make_parts(config)
    state = jax.device_put(parts.state, sharding.replicated(mesh))
    batch = sharding.put_batch(make_batch(1, size=32), mesh)

    def residuals(state, batch, parts=parts):
      return jax.vjp(
        lambda params: parts.loss_fn(params, state.arch, batch, state, 0),
        state.params,
        has_aux=True,
      )[1]

    kept = jax.tree.leaves(jax.eval_shape(residuals, state, batch))
    held.append(sum(leaf.size * leaf.dtype.itemsize for leaf in kept))
    weight_fn, _ = bilevel.jit_steps(parts.loss_fn, parts.search, mesh)
    step = weight_fn.lower(state, batch).compile()
    temporaries.append(step.memory_analysis().temp_size_in_bytes)
    found.append(step(state, batch))
  first, loss = found[0]
  for second, other in found[1:]:
    np.testing.assert_allclose(loss, other, rtol=1e-5)
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5),
      first.params,
      second.params,
    )
  assert 1.2 * held[2] < held[1] < held[0] / 1.2, held
  # Without the loop XLA's CPU compiler computes again too early to gain.
  if edge_loop:
    assert max(temporaries[1:]) < temporaries[0], temporaries
