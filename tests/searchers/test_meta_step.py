"""The meta-search's step on a tiny supernet, and its layout over devices."""

import dataclasses
import functools
import types

import device_work
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_search import make_batch, make_parts, small_config

from nasfas_jax import settings, sharding
from nasfas_jax.searchers import bilevel, meta_search, meta_step


def make(**changes):
  """(parts of the search, its settings, tasks)."""
  # One step of warm-up, so that one program shows both.
  config = small_config(hold_out='domain', warmup_steps=1, num_steps=8)
  config.meta.update(
    {
      **{'num_tasks': 2, 'support_size': 4, 'query_size': 4},
      **{'learn_inner_lr': True, **changes},
    }
  )
  tasks = {
    name: jax.tree.map(
      lambda *leaves: jnp.stack(leaves),
      *(make_batch(10 * place + seed) for seed in range(2)),
    )
    for place, name in enumerate(('support', 'query'))
  }
  return make_parts(config), settings.meta(config), tasks


def one_device_mesh():
  devices = np.asarray(jax.devices()[:1]).reshape(1, 1)
  return jax.sharding.Mesh(devices, ('task', 'data'))


def whole_step(parts, meta):
  return jax.jit(
    functools.partial(
      meta_step.meta_step,
      loss_fn=parts.loss_fn,
      search=parts.search,
      settings=meta,
    )
  )


def two_steps(parts, meta, tasks, mesh):
  """[(state, losses)] after each of two steps in pieces."""
  state = parts.state
  shardings = jax.tree.map(lambda _: sharding.replicated(mesh), state)
  if meta.shard_optimizer:
    shardings = shardings.replace(
      weight_opt_state=sharding.spread(state.weight_opt_state, mesh)
    )
  tasks = jax.device_put(
    tasks, sharding.clip_sharding(mesh, meta.domain_statistics)
  )
  step, results = None, []
  for _ in range(2):
    # A copy: the step gives the state's memory away.
    state = jax.device_put(jax.tree.map(jnp.copy, state), shardings)
    if step is None:
      step = meta_step.compile_first_order(
        *(state, tasks),
        loss_fn=parts.loss_fn,
        search=parts.search,
        settings=meta,
        mesh=mesh,
        shardings=shardings,
      )
    state, losses = step(state, tasks)
    results.append((jax.tree.map(jnp.copy, state), losses))
  return results


def assert_close(found, expected, atol=2e-5):
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(
      np.asarray(a), np.asarray(b), atol=atol
    ),
    found,
    expected,
  )


def assert_same_steps(found, expected):
  for (state, losses), (state_there, losses_there) in zip(
    found, expected, strict=True
  ):
    assert_close(losses, losses_there, atol=1e-4)
    assert_close(state.batch_stats, state_there.batch_stats, atol=1e-4)
    # Adam's steps know no scale of the gradient, its moments do.
    for name in ('weight_opt_state', 'arch_opt_state'):
      found_moments, moments = (
        optax.tree.get(getattr(s, name), 'mu') for s in (state, state_there)
      )
      scale = np.abs(moments).max() + 1e-12
      assert_close(found_moments / scale, moments / scale, atol=2e-3)
    assert_close(state.arch, state_there.arch, atol=1e-3)
    assert_close(state.log_inner_lr, state_there.log_inner_lr, atol=1e-3)


@pytest.fixture(scope='module')
def one_device():
  parts, meta, tasks = make()
  return tasks, parts, meta, two_steps(parts, meta, tasks, one_device_mesh())


def test_the_pieces_are_the_whole_step(one_device):
  tasks, parts, meta, found = one_device
  step = whole_step(parts, meta)
  first = step(parts.state, tasks)
  second = step(first[0], tasks)
  assert_same_steps(found, [first, second])


def test_the_devices_give_the_numbers_of_one(one_device):
  """A task a device, the optimizer's state over all of them."""
  tasks, parts, meta, expected = one_device
  mesh = sharding.make_mesh(2)
  assert mesh.shape == {'task': 2, 'data': len(jax.devices()) // 2}
  meta = dataclasses.replace(meta, shard_optimizer=True)
  assert_same_steps(two_steps(parts, meta, tasks, mesh), expected)


@pytest.mark.parametrize('second_order', [False, True])
def test_the_devices_divide_the_tasks(second_order, one_device, monkeypatch):
  device_work.as_on_accelerators(monkeypatch)
  # One device, too, gets one program for all tasks.
  monkeypatch.setattr(meta_step, 'tasks_at_once', lambda number, mesh: number)
  tasks, parts, meta, _ = one_device
  search = dataclasses.replace(parts.search, second_order=second_order)
  options = {'loss_fn': parts.loss_fn, 'search': search, 'settings': meta}

  def compile_step():
    mesh = sharding.make_mesh(2)
    replicated = sharding.replicated(mesh)
    if not second_order:
      shardings = jax.tree.map(lambda _: replicated, parts.state)
      pieces = meta_step.first_order_pieces(
        **options, mesh=mesh, shardings=shardings
      )
      return pieces.lower(parts.state, tasks['support']).compile()
    step = jax.jit(
      functools.partial(meta_step.meta_step, **options, mesh=mesh),
      in_shardings=(replicated, sharding.clip_sharding(mesh)),
    )
    return step.lower(parts.state, tasks).compile()

  share = device_work.share(compile_step, monkeypatch)
  assert share < 1.1 / len(jax.devices())


def by_domain(tasks):
  """The same clips with an axis of two domains for support, one for query."""
  return {
    name: jax.tree.map(
      lambda a, n=number: a.reshape(2, n, -1, *a.shape[2:]), tasks[name]
    )
    for name, number in (('support', 2), ('query', 1))
  }


def test_annealed_steps_and_statistics_of_domains_in_pieces():
  parts, meta, tasks = make(
    inner_steps=2, anneal_steps=4, domain_statistics=True
  )
  tasks = by_domain(tasks)
  found = two_steps(parts, meta, tasks, one_device_mesh())
  step = whole_step(parts, meta)
  # The second from the very same state: Adam turns rounding into steps.
  assert_same_steps(found, [step(parts.state, tasks), step(found[0][0], tasks)])


def test_each_domain_is_normalised_by_its_own_statistics(one_device):
  tasks, parts, *_ = one_device
  state = parts.state
  one = jax.tree.map(lambda a: a[0], by_domain(tasks)['support'])
  loss_fn = jax.jit(meta_step.loss_of(state, parts.loss_fn, True))
  loss, stats = loss_fn(state.params, state.arch, one)
  plain = jax.jit(meta_step.loss_of(state, parts.loss_fn, False))
  found = [
    plain(state.params, state.arch, jax.tree.map(lambda a, i=i: a[i], one))
    for i in range(2)
  ]
  expected = jax.tree.map(lambda a, b: (a + b) / 2, *found)
  assert_close((loss, stats), expected)
  # Together they are normalised otherwise.
  joined = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), one)
  assert abs(plain(state.params, state.arch, joined)[0] - loss) > 1e-4


@pytest.mark.parametrize(
  ('sizes', 'message'),
  [
    ((3, 4), 'support_size is 3.*multiple of the 2 domains in the support'),
    ((4, 4), 'query_size is 4.*multiple of the 3 domains in the query'),
  ],
)
def test_sets_that_their_domains_do_not_divide_are_an_error(sizes, message):
  support, query = sizes
  meta = types.SimpleNamespace(support_size=support, query_size=query)
  with pytest.raises(ValueError, match=message):
    meta_search._check_sizes(meta, {'support': 2, 'query': 3})


def test_warmup_leaves_architecture_and_rates_alone(one_device):
  _, parts, _, ((first, _), (second, _)) = one_device
  state = parts.state
  for name in ('arch', 'arch_opt_state', 'log_inner_lr', 'inner_lr_opt_state'):
    jax.tree.map(
      np.testing.assert_array_equal, getattr(first, name), getattr(state, name)
    )
  for name in ('arch', 'log_inner_lr'):
    moved = jax.tree.map(
      lambda a, b: bool(np.any(a != b)),
      getattr(second, name),
      getattr(first, name),
    )
    assert any(jax.tree.leaves(moved)), name


@pytest.mark.parametrize('second_order', [False, True])
def test_inner_rate_zero_moves_the_architecture_as_the_bilevel_search(
  second_order, one_device
):
  """The architecture alone: the weights learn from both sets of a task."""
  tasks, parts, meta, _ = one_device
  meta = dataclasses.replace(meta, learn_inner_lr=False, inner_lr=0.0)
  search = dataclasses.replace(
    parts.search, warmup_steps=0, second_order=second_order
  )
  parts = parts._replace(search=search)
  state = parts.state
  tasks = jax.tree.map(lambda leaf: leaf[:1], tasks)
  found, losses = whole_step(parts, meta)(state, tasks)
  support, query = (
    jax.tree.map(lambda leaf: leaf[0], tasks[name])
    for name in ('support', 'query')
  )
  # Its unrolled step has the weights' own rate.
  still = dataclasses.replace(
    search, weights=dataclasses.replace(search.weights, learning_rate=0.0)
  )
  _, arch_step = bilevel.make_steps(parts.loss_fn, still)
  expected, loss = jax.jit(arch_step)(state, support, query)
  np.testing.assert_allclose(losses['val_loss'], loss, rtol=1e-5)
  ours, theirs = (
    np.asarray(optax.tree.get(s.arch_opt_state, 'mu'))
    for s in (found, expected)
  )
  assert np.abs(theirs).max() > 0
  np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())
