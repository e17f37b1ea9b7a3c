"""The meta-search's step on a tiny supernet, and its layout over devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_search import make_batch, small_config

from nasfas_jax import bilevel, meta, meta_search, train_state


def make(**changes):
  config = small_config(tasks='domain', warmup_steps=0, num_steps=8)
  config.meta.update(num_tasks=2, support_size=4, query_size=4)
  for name, value in changes.items():
    part = config.meta if name in config.meta else config.search
    part[name] = value
  model = bilevel.build_supernet(config)
  state = jax.jit(functools.partial(bilevel.initial_state, config, model))()
  number = config.meta.num_tasks
  tasks = {
    name: jax.tree.map(
      lambda *leaves: jnp.stack(leaves),
      *(make_batch(10 * place + seed) for seed in range(number)),
    )
    for place, name in enumerate(('support', 'query'))
  }
  return config, model, state, tasks


def pieces(config, model, state, tasks, mesh=None):
  mesh = mesh or train_state.make_mesh(config.meta.num_tasks)
  shardings = jax.tree.map(lambda _: train_state.replicated(mesh), state)
  if config.meta.shard_optimizer:
    shardings = shardings.replace(
      weight_opt_state=train_state.spread(state.weight_opt_state, mesh)
    )
  tasks = jax.device_put(tasks, train_state.clip_sharding(mesh))
  # A copy: the step gives the state's memory away.
  state = jax.device_put(jax.tree.map(jnp.copy, state), shardings)
  step = meta_search.FirstOrderStep(model, config, mesh, shardings)
  step.compile(state, tasks)
  return step(state, tasks)


def assert_close(found, expected, atol=2e-5):
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(
      np.asarray(a), np.asarray(b), atol=atol
    ),
    found,
    expected,
  )


@pytest.fixture(scope='module')
def one_device():
  config, model, state, tasks = make()
  mesh = jax.sharding.Mesh(
    np.asarray(jax.devices()[:1]).reshape(1, 1), ('task', 'data')
  )
  return tasks, state, pieces(config, model, state, tasks, mesh)


def test_the_pieces_are_the_whole_step(one_device):
  tasks, state, (found, losses) = one_device
  config, model, *_ = make()
  expected, expected_losses = jax.jit(
    functools.partial(meta_search.meta_step, model=model, config=config)
  )(state, tasks)
  assert_close(losses, expected_losses)
  assert_close(found.batch_stats, expected.batch_stats)
  assert int(found.step) == 1
  # Adam's first step is a sign times the rate: the gradients' signs agree.
  assert_close(found.arch, expected.arch)


@pytest.mark.parametrize(
  ('num_tasks', 'shard_optimizer'), [(2, False), (2, True)]
)
def test_any_layout_over_devices_gives_the_same_numbers(
  num_tasks, shard_optimizer, one_device
):
  tasks, state, (expected, expected_losses) = one_device
  config, model, *_ = make(num_tasks=num_tasks, shard_optimizer=shard_optimizer)
  found, losses = pieces(config, model, state, tasks)
  assert_close(losses, expected_losses)
  assert_close(found.batch_stats, expected.batch_stats)
  assert_close(found.arch, expected.arch)
  if shard_optimizer:
    leaves = jax.tree.leaves(found.weight_opt_state)
    assert any(not leaf.sharding.is_fully_replicated for leaf in leaves)


def test_tasks_that_do_not_divide_the_devices_share_them():
  number = len(jax.devices())
  assert train_state.make_mesh(3).shape == {'task': 1, 'data': number}
  assert train_state.make_mesh(6).shape == {'task': 2, 'data': number // 2}
  config, model, state, tasks = make(num_tasks=3)
  _, losses = pieces(config, model, state, tasks)
  assert np.isfinite(float(losses['val_loss']))


def test_inner_rate_zero_is_the_bilevel_search():
  """The architecture's gradient is that of the plain step on the query set."""
  config, model, state, tasks = make(num_tasks=1)
  loss_fn = meta_search.loss_of(state, model, config)
  zero = meta.constant_rates(state.params, 0.0)
  _, (_, found, _) = jax.jit(
    lambda: meta.meta_gradients(loss_fn, state.params, state.arch, zero, tasks)
  )()
  query = jax.tree.map(lambda leaf: leaf[0], tasks['query'])
  expected = jax.jit(
    jax.grad(lambda arch: loss_fn(state.params, arch, query)[0])
  )(state.arch)
  assert_close(found, expected, atol=1e-6)


def test_warmup_leaves_architecture_and_rates_alone():
  config, model, state, tasks = make(warmup_steps=1, learn_rates=True)
  step = jax.jit(
    functools.partial(meta_search.meta_step, model=model, config=config)
  )
  first, _ = step(state, tasks)
  for name in ('arch', 'arch_opt_state', 'log_rates', 'rate_opt_state'):
    jax.tree.map(
      np.testing.assert_array_equal, getattr(first, name), getattr(state, name)
    )
  second, _ = step(first, tasks)
  for name in ('arch', 'log_rates'):
    moved = jax.tree.map(
      lambda a, b: bool(np.any(a != b)),
      getattr(second, name),
      getattr(first, name),
    )
    assert any(jax.tree.leaves(moved)), name
