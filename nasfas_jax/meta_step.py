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

from nasfas_jax import bilevel, meta, train_state, xla_options
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
  run for support and query sets in turn; nothing waits for the host.
  """

  def __init__(self, model, config, mesh, shardings):
    """shardings: of the state."""
    self._num_steps = config.meta.inner_steps
    self._remat = config.supernet.remat
    self._of = {}
    replicated = train_state.replicated(mesh)
    by_task = train_state.task_sharding(mesh)

    def gradients(state, adapted, batches):
      loss_fn = loss_of(state, model, config)
      return meta.set_gradients(loss_fn, adapted, state.arch, batches)

    def finish(state, inner, query):
      means, gradients = meta.first_order_gradients(inner, query, 1.0)
      return update(state, means, gradients, config)

    self._spread = jax.jit(
      lambda state: meta.per_task(state.params, config.meta.num_tasks),
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
      donate_argnums=1,
    )
    self._finish = jax.jit(
      finish,
      in_shardings=(shardings, by_task, by_task),
      out_shardings=(shardings, replicated),
      donate_argnums=0,
    )

  def lower_gradients(self, state, batches) -> jax.stages.Lowered:
    """The gradient of a set of all tasks, of arrays or their shapes."""
    adapted = jax.eval_shape(self._spread, state)
    return self._gradients.lower(state, adapted, batches)

  def compile(self, state, tasks) -> None:
    """Compiles the gradients; the other pieces are small."""
    by_size = {}
    for name in ('support', 'query'):
      size = tasks[name]['label'].shape
      if size not in by_size:
        by_size[size] = xla_options.compile_step(
          self.lower_gradients(state, tasks[name]), in_sequence=self._remat
        )
      self._of[name] = by_size[size]

  def temporary_bytes(self) -> int:
    """Bytes of temporaries of the largest piece, on one device."""
    analyses = [step.memory_analysis() for step in self._of.values()]
    return max(analysis.temp_size_in_bytes for analysis in analyses)

  def __call__(self, state, tasks):
    adapted = self._spread(state)
    inner = []
    for _ in range(self._num_steps):
      inner.append(self._of['support'](state, adapted, tasks['support']))
      adapted = self._descend(state, adapted, inner[-1].params)
    query = self._of['query'](state, adapted, tasks['query'])
    return self._finish(state, inner, query)
