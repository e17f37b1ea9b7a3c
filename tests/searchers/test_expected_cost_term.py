"""The expected cost as a term of the architecture's loss, in each search."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_search import make_parts, small_config

from nasfas_jax import settings
from nasfas_jax.models import search_spaces
from nasfas_jax.searchers import (
  bilevel,
  meta,
  meta_step,
  supernet_program,
)


class Plain:
  """Plain descent at rate 1: a step is the gradient."""

  def optimizer(self):
    return optax.sgd(1.0)

  def rate(self):
    return lambda step: 0.0


def squares(arch):
  """A cost whose gradient is the architecture."""
  return sum(jnp.sum(a**2) / 2 for a in jax.tree.leaves(arch))


@functools.cache
def make(second_order=False):
  config = small_config(
    hold_out='none', warmup_steps=0, second_order=second_order
  )
  parts = make_parts(config)
  search = dataclasses.replace(parts.search, weights=Plain(), arch=Plain())
  state = parts.state.replace(
    params={'w': jnp.ones(())},
    weight_opt_state=Plain().optimizer().init(parts.state.params),
    arch_opt_state=Plain().optimizer().init(parts.state.arch),
  )
  return search, state


def priced(search):
  return dataclasses.replace(search, cost_weight=3.0, expected_cost=squares)


def check_step(before, plain, dear):
  """The second moved by 3 times the architecture more than the first."""
  jax.tree.map(
    lambda a, b, start: np.testing.assert_allclose(
      a - b, 3.0 * start, rtol=1e-3, atol=1e-6
    ),
    plain.arch,
    dear.arch,
    before.arch,
  )


@pytest.mark.parametrize('second_order', [False, True])
def test_a_plain_step_of_the_architecture_has_it(second_order):
  search, state = make(second_order)

  def loss_fn(params, arch, batch, state, purpose):
    loss = batch * params['w'] * sum(map(jnp.sum, jax.tree.leaves(arch)))
    return loss, state.batch_stats

  found = []
  for chosen in (search, priced(search)):
    weight_step, arch_step = bilevel.make_steps(loss_fn, chosen)
    batch = jnp.float32(0.5)
    found.append(arch_step(state, batch, batch))
    # The weights do not know it.
    moved, _ = weight_step(state, batch)
    jax.tree.map(np.testing.assert_array_equal, moved.arch, state.arch)
  (plain, loss), (dear, loss_there) = found
  # The loss that is logged is that of the clips.
  assert loss == loss_there
  check_step(state, plain, dear)


def test_a_step_over_tasks_has_it_but_not_in_the_warm_up():
  search, state = make()
  config = small_config(hold_out='domain')
  of_tasks = settings.meta(config)
  means = meta.Meta(jnp.ones(()), jnp.ones(()), state.batch_stats)
  gradients = (
    {'w': jnp.ones(())},
    jax.tree.map(jnp.ones_like, state.arch),
    {'w': jnp.zeros(())},
  )
  plain, dear = (
    meta_step.update(state, means, gradients, chosen, of_tasks)[0]
    for chosen in (search, priced(search))
  )
  check_step(state, plain, dear)
  waiting = dataclasses.replace(priced(search), warmup_steps=1)
  state_there, _ = meta_step.update(state, means, gradients, waiting, of_tasks)
  jax.tree.map(np.testing.assert_array_equal, state_there.arch, state.arch)


def test_the_config_weighs_the_cost_of_the_network_that_is_trained():
  config = small_config(hold_out='none')
  assert settings.search(config).expected_cost is None
  arch = make()[1].arch
  found = {}
  for unit in ('parameters', 'macs'):
    config.search.update(cost_weight=0.5, cost=unit)
    search = settings.search(config)
    assert search.cost_weight == 0.5
    found[unit] = float(search.expected_cost(arch))
  # One edge a cell, of skip-connect or CDC with a probability of a half each.
  # In parameters the three levels are alike, and so they are in shares.
  assert found['parameters'] == pytest.approx(0.5, abs=1e-3)
  low = jax.tree.map(jnp.zeros_like, arch)
  low['alphas']['low'] = jnp.array([[[0.0, 0.0, 40.0]]])
  # The low level has 16 of 21 parts of the multiply-accumulates.
  assert float(search.expected_cost(low)) == pytest.approx(
    (16 + 5 / 2) / 21, rel=1e-5
  )


def test_a_search_logs_it():
  config = small_config(hold_out='none', num_steps=2, warmup_steps=0)
  config.search.cost_weight = 1.0
  model, search, _, state = make_parts(config)
  observed = supernet_program.observe(model, search)(state, {}, 1)
  assert observed.numbers['expected_cost'] == pytest.approx(0.5, abs=1e-3)


def test_a_space_without_costs_is_refused_by_its_field(monkeypatch):
  config = small_config(cost_weight=1.0)
  monkeypatch.setitem(
    search_spaces.SPACES,
    'small',
    search_spaces.Space(operations=('none', 'skip_connect')),
  )
  with pytest.raises(ValueError, match="config.search.cost is 'parameters': "):
    settings.search(config)
