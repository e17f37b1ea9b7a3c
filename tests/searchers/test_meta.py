"""The meta-learner on a small network, against a plain loop over the tasks."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasfas_jax.searchers import meta

TASKS = 3


class Tiny(nn.Module):
  """Two convolutions with batch normalization, mixed by an architecture."""

  @nn.compact
  def __call__(self, x, arch):
    for name in ('first', 'second'):
      y = nn.Conv(3, (3, 3), use_bias=False, name=name, param_dtype=x.dtype)(x)
      # Flax mixes its float32 momentum with statistics of any dtype.
      with jax.numpy_dtype_promotion('standard'):
        y = nn.BatchNorm(
          use_running_average=False,
          use_fast_variance=False,
          param_dtype=x.dtype,
          name=f'{name}_norm',
        )(y)
      weight = jax.nn.softmax(arch[name])
      x = weight[0] * nn.tanh(y) + weight[1] * x
    return jnp.mean(x, axis=(1, 2, 3))


def make(dtype=jnp.float64):
  rng = np.random.default_rng(0)

  def batch(size):
    return {
      'x': jnp.asarray(rng.normal(size=(TASKS, size, 6, 6, 3)), dtype),
      'y': jnp.asarray(rng.normal(size=(TASKS, size)), dtype),
    }

  tasks = {'support': batch(4), 'query': batch(5)}
  arch = {
    name: jnp.asarray(rng.normal(size=2), dtype) for name in ('first', 'second')
  }
  model = Tiny()
  variables = jax.jit(model.init)(
    jax.random.key(0), tasks['query']['x'][0], arch
  )
  # Flax makes the running statistics in float32, whatever the input.
  variables = jax.tree.map(lambda a: a.astype(dtype), variables)
  params = jax.tree.map(
    lambda a: jnp.asarray(rng.normal(size=a.shape), dtype), variables['params']
  )
  rates = jax.tree.map(
    lambda _: jnp.asarray(rng.uniform(0.02, 0.2), dtype), params
  )

  def loss_fn(params, arch, batch):
    stats = variables['batch_stats']
    y, updates = model.apply(
      {'params': params, 'batch_stats': stats},
      batch['x'],
      arch,
      mutable=['batch_stats'],
    )
    return jnp.mean(jnp.square(y - batch['y'])), updates['batch_stats']

  return loss_fn, params, arch, rates, tasks


def by_hand(
  loss_fn,
  params,
  arch,
  rates,
  tasks,
  *,
  num_steps,
  first_order,
  step_weights=None,
):
  """The formulas, one task after the other, without the module under test.

  Returns:
    (what counts of the query loss, (query loss after the last step, support
    loss, statistics)).
  """
  query, last, support, stats = 0.0, 0.0, 0.0, []
  for i in range(TASKS):
    one = jax.tree.map(lambda a, i=i: a[i], tasks)
    fast = params
    for step in range(num_steps):
      gradients = jax.grad(
        lambda p, one=one: loss_fn(p, arch, one['support'])[0]
      )(fast)
      if first_order:
        gradients = jax.lax.stop_gradient(gradients)
      if step == 0:
        value, aux = loss_fn(params, arch, one['support'])
        support = support + value / TASKS
        stats.append(aux)
      fast = jax.tree.map(lambda p, r, g: p - r * g, fast, rates, gradients)
      if step_weights is not None or step == num_steps - 1:
        loss = loss_fn(fast, arch, one['query'])[0]
        weight = 1.0 if step_weights is None else step_weights[step]
        query = query + weight * loss / TASKS
    last = last + loss / TASKS
  mean_stats = jax.tree.map(lambda *leaves: sum(leaves) / TASKS, *stats)
  return query, (last, support, mean_stats)


def assert_close(found, expected, tolerance=1e-10):
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(
      a, b, atol=tolerance * (1e-6 + float(np.abs(b).max())), rtol=0
    ),
    found,
    expected,
  )


@pytest.mark.parametrize('first_order', [True, False])
@pytest.mark.parametrize('num_steps', [1, 2])
@pytest.mark.parametrize('annealed', [False, True])
def test_the_vmapped_gradients_are_those_of_a_loop_over_the_tasks(
  annealed, num_steps, first_order
):
  with jax.enable_x64(True):
    loss_fn, params, arch, rates, tasks = make()
    options = {'num_steps': num_steps, 'first_order': first_order}
    if annealed:
      options['step_weights'] = jnp.asarray([0.3, 0.7])[-num_steps:]

    # Traced once, not at every call.
    loss_fn = jax.jit(loss_fn)

    @jax.jit
    def found(*args):
      def loss(*args):
        return meta.meta_loss(loss_fn, *args, tasks, **options)

      return (
        jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)(*args),
        meta.meta_gradients(loss_fn, *args, tasks, **options),
      )

    @jax.jit
    def by_hand_too(*args):
      def loss(*args):
        return by_hand(loss_fn, *args, tasks, **options)

      return jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)(*args)

    ((value, means), gradients), (composed_means, composed) = found(
      params, arch, rates
    )
    # What is reported is the loss after the last step, whatever counts.
    (expected, (query, support, stats)), expected_gradients = by_hand_too(
      params, arch, rates
    )
    assert_close(value, expected)
    assert_close(gradients, expected_gradients)
    assert_close(composed, expected_gradients)
    assert_close(composed_means, means)
    assert_close(means.query_loss, query)
    assert_close(means.support_loss, support)
    assert_close(means.aux, stats)


@pytest.mark.parametrize('first_order', [True, False])
def test_the_support_term_adds_the_gradient_of_the_support_loss(first_order):
  with jax.enable_x64(True):
    loss_fn, params, arch, rates, tasks = make()
    loss_fn = jax.jit(loss_fn)

    def gradients(support_weight):
      return jax.grad(
        lambda *args: meta.meta_loss(
          loss_fn,
          *args,
          tasks,
          first_order=first_order,
          support_weight=support_weight,
        )[0],
        argnums=(0, 1, 2),
      )(params, arch, rates)

    @jax.jit
    @jax.grad
    def support_gradient(params):
      losses = jax.vmap(lambda s: loss_fn(params, arch, s)[0])(tasks['support'])
      return jnp.mean(losses)

    without, both = jax.jit(lambda: (gradients(0.0), gradients(0.5)))()
    alone = support_gradient(params)
    _, composed = jax.jit(
      lambda *args: meta.meta_gradients(
        loss_fn, *args, tasks, first_order=first_order, support_weight=0.5
      )
    )(params, arch, rates)
    assert_close(composed, both)
    expected = jax.tree.map(lambda a, b: a + 0.5 * b, without[0], alone)
    assert_close(both[0], expected)
    # Neither architecture nor rates see the support loss itself.
    assert_close(both[1:], without[1:])


def test_inner_rate_zero_is_the_loss_without_adaptation():
  with jax.enable_x64(True):
    loss_fn, params, arch, _, tasks = make()
    zero = meta.constant_inner_lrs(params, 0.0)
    found = jax.jit(
      jax.grad(
        lambda a: meta.meta_loss(
          loss_fn, params, a, zero, tasks, first_order=False
        )[0]
      )
    )(arch)
    expected = jax.jit(
      jax.grad(
        lambda a: jnp.mean(
          jax.vmap(lambda q: loss_fn(params, a, q)[0])(tasks['query'])
        )
      )
    )(arch)
    assert_close(found, expected)


def test_first_and_second_order_differ():
  with jax.enable_x64(True):
    loss_fn, params, arch, rates, tasks = make()
    first, second = (
      jax.jit(
        jax.grad(
          lambda a, order=order: meta.meta_loss(
            loss_fn, params, a, rates, tasks, first_order=order
          )[0]
        )
      )(arch)
      for order in (True, False)
    )
    assert np.abs(first['first'] - second['first']).max() > 1e-6


def test_a_task_is_normalised_by_its_own_statistics():
  with jax.enable_x64(True):
    loss_fn, params, arch, rates, tasks = make()

    @jax.jit
    def query_loss(tasks):
      return meta.meta_loss(loss_fn, params, arch, rates, tasks)[1].query_loss

    alone = [
      query_loss(jax.tree.map(lambda a, i=i: a[i : i + 1], tasks))
      for i in range(TASKS)
    ]
    assert_close(query_loss(tasks), sum(alone) / TASKS)


def test_at_least_one_inner_step():
  loss_fn, params, arch, rates, tasks = make(jnp.float32)
  with pytest.raises(ValueError, match='num_steps is 0; allowed: 1 or more'):
    meta.inner_update(
      loss_fn, params, arch, tasks['support'], rates, num_steps=0
    )


def test_the_earlier_losses_fade_out_in_a_line():
  def weights(step):
    return np.asarray(meta.loss_weights(step, num_steps=3, anneal_steps=10))

  np.testing.assert_allclose(weights(0), [1 / 3, 1 / 3, 1 / 3], rtol=1e-6)
  np.testing.assert_allclose(weights(5), [1 / 6, 1 / 6, 2 / 3], rtol=1e-6)
  np.testing.assert_array_equal(weights(10), [0, 0, 1])
  np.testing.assert_array_equal(weights(25), [0, 0, 1])
  np.testing.assert_array_equal(meta.loss_weights(3, 1, 10), [1])
