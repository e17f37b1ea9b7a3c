"""One step of the search over tasks, as one function or in pieces.

Per step, with the T tasks of an episode (see `meta` and `data.episodes`):

  w_i   <- w - r * grad_w L(w, alpha; support_i)
  alpha <- Adam(grad_alpha mean_i L(w_i, alpha; query_i))
  w     <- Adam(grad_w mean_i [L(w, alpha; support_i) + L(w_i, alpha; query_i)])

both from one backward pass. During the warm-up alpha stays.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import optax

from nasfas_jax import bilevel, meta, train_state
from nasfas_jax.train_state import SearchState


def loss_of(state, model, config):
  """The loss that `meta` works on; see there."""

  def loss_fn(params, arch, batch):
    return bilevel.supernet_loss(model, config, params, state, arch, batch, 0)

  return loss_fn


def inner_rates(state: SearchState, config) -> meta.PyTree:
  """One rate a tensor: learned, or the config's."""
  if config.meta.learn_rates:
    return jax.tree.map(jnp.exp, state.log_rates)
  return meta.constant_rates(state.params, config.meta.inner_rate)


def meta_step(
  state: SearchState,
  tasks: dict[str, dict[str, jax.Array]],
  *,
  model: nn.Module,
  config: ml_collections.ConfigDict,
) -> tuple[SearchState, dict[str, jax.Array]]:
  """One step on one episode, as one function.

  Args:
    state: SearchState.
    tasks: 'support' and 'query', batches with a leading axis of tasks.
    model: the supernet.
    config: of the run.

  Returns:
    As `update`.
  """
  means, gradients = meta.meta_gradients(
    loss_of(state, model, config),
    state.params,
    state.arch,
    inner_rates(state, config),
    tasks,
    num_steps=config.meta.inner_steps,
    first_order=not config.search.second_order,
    support_weight=1.0,
  )
  return update(state, means, gradients, config)


def update(
  state: SearchState,
  means: meta.Meta,
  gradients: tuple[meta.PyTree, meta.PyTree, meta.PyTree],
  config: ml_collections.ConfigDict,
) -> tuple[SearchState, dict[str, jax.Array]]:
  """Moves weights, architecture and rates by the meta-gradients.

  Returns:
    (state, losses: 'train_loss' of the support sets before adaptation,
    'val_loss' of the query sets after it). The batch statistics are the mean
    over the tasks of those of the support sets at the unadapted weights.
  """
  weight_gradients, arch_gradients, rate_gradients = gradients
  weight_optimizer, arch_optimizer, _ = bilevel.make_optimizers(config.search)
  if config.meta.learn_rates:
    # Of the logarithms, which keep the rates above 0.
    rate_gradients = jax.tree.map(
      jnp.multiply, rate_gradients, inner_rates(state, config)
    )
  else:
    rate_gradients = {}
  updates, weight_opt_state = weight_optimizer.update(
    weight_gradients, state.weight_opt_state, state.params
  )
  params = optax.apply_updates(state.params, updates)
  # One compiled step for the warm-up and after it: compiling is what costs.
  searching = state.step >= config.search.warmup_steps
  arch, arch_opt_state = _update_if(
    searching, arch_optimizer, arch_gradients, state.arch_opt_state, state.arch
  )
  log_rates, rate_opt_state = _update_if(
    searching,
    bilevel.make_rate_optimizer(config),
    rate_gradients,
    state.rate_opt_state,
    state.log_rates,
  )
  state = state.replace(
    step=state.step + 1,
    params=params,
    batch_stats=means.aux,
    weight_opt_state=weight_opt_state,
    arch=arch,
    arch_opt_state=arch_opt_state,
    log_rates=log_rates,
    rate_opt_state=rate_opt_state,
  )
  losses = {'train_loss': means.support_loss, 'val_loss': means.query_loss}
  return state, losses


def _update_if(condition, optimizer, gradients, opt_state, values):
  """One step of an optimizer, or none at all."""
  updates, new_state = optimizer.update(gradients, opt_state, values)
  moved = optax.apply_updates(values, updates)
  return jax.tree.map(
    lambda new, old: jnp.where(condition, new, old),
    (moved, new_state),
    (values, opt_state),
  )


class FirstOrderStep:
  """`meta_step` of first order, in pieces.

  The gradient of a set, nearly all there is to compile, is compiled once and
  run for support and query sets in turn; nothing waits for the host. On a
  single CPU device, which runs the tasks of a vmap one by one anyway, it is
  compiled for one task and run for each: a program of a fraction of the size.
  """

  def __init__(self, model, config, mesh, shardings):
    """shardings: of the state."""
    num_tasks = config.meta.num_tasks
    self._num_steps = config.meta.inner_steps
    # Tasks of one call.
    self._together = num_tasks
    if mesh.size == 1 and mesh.devices.flat[0].platform == 'cpu':
      self._together = 1
    self._num_calls = num_tasks // self._together
    self._of = {}
    replicated = train_state.replicated(mesh)
    by_task = train_state.task_sharding(mesh)

    def gradients(state, adapted, batches):
      loss_fn = loss_of(state, model, config)
      return meta.set_gradients(loss_fn, adapted, state.arch, batches)

    def finish(state, inner, query):
      means, gradients = meta.first_order_gradients(
        [_all_tasks(step) for step in inner], _all_tasks(query), 1.0
      )
      return update(state, means, gradients, config)

    self._spread = jax.jit(
      lambda state: meta.per_task(state.params, self._together),
      in_shardings=(shardings,),
      out_shardings=by_task,
    )
    self._gradients = jax.jit(
      gradients,
      in_shardings=(shardings, by_task, train_state.clip_sharding(mesh)),
      out_shardings=by_task,
    )
    self._descend = jax.jit(
      lambda state, adapted, gradients: meta.descend(
        adapted, inner_rates(state, config), gradients
      ),
      in_shardings=(shardings, by_task, by_task),
      out_shardings=by_task,
    )
    self._finish = jax.jit(
      finish,
      in_shardings=(shardings, by_task, by_task),
      out_shardings=(shardings, replicated),
      donate_argnums=0,
    )

  def _calls(self, batches) -> list:
    """The batches of each call."""
    if self._num_calls == 1:
      return [batches]
    return [
      jax.tree.map(
        lambda leaf, start=start: leaf[start : start + self._together],
        batches,
      )
      for start in range(0, self._num_calls * self._together, self._together)
    ]

  def lower_gradients(self, state, batches) -> jax.stages.Lowered:
    """The gradient of the batches of one call, of arrays or their shapes."""
    adapted = jax.eval_shape(self._spread, state)
    return self._gradients.lower(state, adapted, batches)

  def compile(self, state, tasks) -> None:
    """Compiles the gradients; the other pieces are small."""
    by_size = {}
    for name in ('support', 'query'):
      batch = self._calls(tasks[name])[0]
      size = batch['label'].shape
      if size not in by_size:
        by_size[size] = self.lower_gradients(state, batch).compile()
      self._of[name] = by_size[size]

  def temporary_bytes(self) -> int:
    """Bytes of temporaries of the largest piece, on one device."""
    analyses = [step.memory_analysis() for step in self._of.values()]
    return max(analysis.temp_size_in_bytes for analysis in analyses)

  def __call__(self, state, tasks):
    support, query = (self._calls(tasks[n]) for n in ('support', 'query'))
    adapted = [self._spread(state)] * self._num_calls
    inner = []
    for _ in range(self._num_steps):
      inner.append(
        [
          self._of['support'](state, *pair)
          for pair in zip(adapted, support, strict=True)
        ]
      )
      adapted = [
        self._descend(state, weights, found.params)
        for weights, found in zip(adapted, inner[-1], strict=True)
      ]
    found = [
      self._of['query'](state, *pair)
      for pair in zip(adapted, query, strict=True)
    ]
    return self._finish(state, inner, found)


def _all_tasks(calls: list[meta.SetGradients]) -> meta.SetGradients:
  """The gradients of several calls in a row."""
  return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *calls)
