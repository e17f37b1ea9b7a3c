"""The meta-search's step on a tiny supernet, and its layout over devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_search import make_batch, small_config

from nasfas_jax import states
from nasfas_jax.searchers import bilevel, meta_search, meta_step


def make(**changes):
  # One step of warm-up, so that one program shows both.
  config = small_config(tasks='domain', warmup_steps=1, num_steps=8)
  config.meta.update(
    num_tasks=2, support_size=4, query_size=4, learn_rates=True, **changes
  )
  model = bilevel.build_supernet(config)
  state = jax.jit(functools.partial(bilevel.initial_state, config, model))()
  tasks = {
    name: jax.tree.map(
      lambda *leaves: jnp.stack(leaves),
      *(make_batch(10 * place + seed) for seed in range(2)),
    )
    for place, name in enumerate(('support', 'query'))
  }
  return config, model, state, tasks


def two_steps(config, model, state, tasks, mesh):
  """[(state, losses)] after each of two steps in pieces."""
  shardings = jax.tree.map(lambda _: states.replicated(mesh), state)
  if config.meta.shard_optimizer:
    shardings = shardings.replace(
      weight_opt_state=states.spread(state.weight_opt_state, mesh)
    )
  tasks = jax.device_put(
    tasks, states.clip_sharding(mesh, config.meta.domain_statistics)
  )
  step = meta_step.FirstOrderStep(model, config, mesh, shardings)
  results = []
  for _ in range(2):
    # A copy: the step gives the state's memory away.
    state = jax.device_put(jax.tree.map(jnp.copy, state), shardings)
    if not results:
      step.compile(state, tasks)
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
    assert_close(state.log_rates, state_there.log_rates, atol=1e-3)


@pytest.fixture(scope='module')
def one_device():
  config, model, state, tasks = make()
  mesh = jax.sharding.Mesh(
    np.asarray(jax.devices()[:1]).reshape(1, 1), ('task', 'data')
  )
  return tasks, state, two_steps(config, model, state, tasks, mesh)


def test_the_pieces_are_the_whole_step(one_device):
  tasks, state, found = one_device
  config, model, *_ = make()
  step = jax.jit(
    functools.partial(meta_step.meta_step, model=model, config=config)
  )
  first = step(state, tasks)
  second = step(first[0], tasks)
  assert_same_steps(found, [first, second])


def test_the_devices_give_the_numbers_of_one(one_device):
  """Two tasks over four devices each, the optimizer's state over all eight."""
  tasks, state, expected = one_device
  config, model, *_ = make(shard_optimizer=True)
  mesh = states.make_mesh(2)
  assert mesh.shape == {'task': 2, 'data': len(jax.devices()) // 2}
  found = two_steps(config, model, state, tasks, mesh)
  assert_same_steps(found, expected)


def by_domain(tasks):
  """The same clips with an axis of two domains for support, one for query."""
  return {
    name: jax.tree.map(
      lambda a, n=number: a.reshape(2, n, -1, *a.shape[2:]), tasks[name]
    )
    for name, number in (('support', 2), ('query', 1))
  }


def test_annealed_steps_and_statistics_of_domains_in_pieces():
  config, model, state, tasks = make(
    inner_steps=2, anneal_steps=4, domain_statistics=True
  )
  tasks = by_domain(tasks)
  mesh = jax.sharding.Mesh(
    np.asarray(jax.devices()[:1]).reshape(1, 1), ('task', 'data')
  )
  found = two_steps(config, model, state, tasks, mesh)
  step = jax.jit(
    functools.partial(meta_step.meta_step, model=model, config=config)
  )
  first = step(state, tasks)
  assert_same_steps(found, [first, step(first[0], tasks)])


def test_each_domain_is_normalised_by_its_own_statistics():
  config, model, state, tasks = make(domain_statistics=True)
  one = jax.tree.map(lambda a: a[0], by_domain(tasks)['support'])
  loss_fn = jax.jit(meta_step.loss_of(state, model, config))
  loss, stats = loss_fn(state.params, state.arch, one)
  config.meta.domain_statistics = False
  plain = jax.jit(meta_step.loss_of(state, model, config))
  parts = [
    plain(state.params, state.arch, jax.tree.map(lambda a, i=i: a[i], one))
    for i in range(2)
  ]
  expected = jax.tree.map(lambda a, b: (a + b) / 2, *parts)
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
  settings = small_config().meta
  settings.support_size, settings.query_size = sizes
  with pytest.raises(ValueError, match=message):
    meta_search._check_sizes(settings, {'support': 2, 'query': 3})


def test_spread_splits_what_the_devices_divide():
  mesh = states.make_mesh()
  number = mesh.size
  tree = {
    'a': jnp.zeros((3, 2 * number)),
    'b': jnp.zeros(5),
    'c': jnp.zeros(()),
  }
  shardings = states.spread(tree, mesh)
  placed = jax.device_put(tree, shardings)
  assert placed['a'].sharding.shard_shape((3, 2 * number)) == (3, 2)
  assert placed['b'].sharding.is_fully_replicated
  assert placed['c'].sharding.is_fully_replicated


@pytest.mark.parametrize(
  ('num_tasks', 'sizes', 'shape'),
  [
    (1, (), (1, 8)),
    (3, (), (1, 8)),
    (6, (), (2, 4)),
    (2, (4, 4), (2, 4)),
    # Devices are left out where they divide neither tasks nor clips.
    (3, (4, 4), (3, 2)),
    (5, (4, 6), (5, 1)),
    (1, (5, 5), (1, 5)),
    (7, (3, 2), (7, 1)),
  ],
)
def test_any_number_of_tasks_and_clips_has_a_mesh(num_tasks, sizes, shape):
  mesh = states.make_mesh(num_tasks, sizes)
  assert tuple(mesh.shape.values()) == shape


def test_several_processes_must_use_every_device(monkeypatch):
  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  mesh = states.make_mesh(3, (4, 4))
  assert tuple(mesh.shape.values()) == (1, 8)


def test_warmup_leaves_architecture_and_rates_alone(one_device):
  _, state, ((first, _), (second, _)) = one_device
  for name in ('arch', 'arch_opt_state', 'log_rates', 'rate_opt_state'):
    jax.tree.map(
      np.testing.assert_array_equal, getattr(first, name), getattr(state, name)
    )
  for name in ('arch', 'log_rates'):
    moved = jax.tree.map(
      lambda a, b: bool(np.any(a != b)),
      getattr(second, name),
      getattr(first, name),
    )
    assert any(jax.tree.leaves(moved)), name


@pytest.mark.parametrize('second_order', [False, True])
def test_inner_rate_zero_moves_the_architecture_as_the_bilevel_search(
  second_order,
):
  """The architecture alone: the weights learn from both sets of a task."""
  config, model, _, tasks = make()
  config.meta.learn_rates = False
  config.meta.inner_rate = 0.0
  config.search.warmup_steps = 0
  config.search.second_order = second_order
  state = jax.jit(functools.partial(bilevel.initial_state, config, model))()
  tasks = jax.tree.map(lambda leaf: leaf[:1], tasks)
  found, losses = jax.jit(
    functools.partial(meta_step.meta_step, model=model, config=config)
  )(state, tasks)
  _, optimizer, _ = bilevel.make_optimizers(config.search)
  support, query = (
    jax.tree.map(lambda leaf: leaf[0], tasks[name])
    for name in ('support', 'query')
  )
  expected, loss = jax.jit(
    functools.partial(
      bilevel.arch_step,
      model=model,
      config=config,
      optimizer=optimizer,
      rate=lambda step: 0.0,
    )
  )(state, support, query)
  np.testing.assert_allclose(losses['val_loss'], loss, rtol=1e-5)
  ours, theirs = (
    np.asarray(optax.tree.get(s.arch_opt_state, 'mu'))
    for s in (found, expected)
  )
  assert np.abs(theirs).max() > 0
  np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())
