"""One step of the search over tasks, as one function or in pieces.

Per step, with the T tasks of an episode (see `meta` and `data.episodes`):

  w_i   <- w - r * grad_w L(w, alpha; support_i)
  alpha <- Adam(grad_alpha mean_i L(w_i, alpha; query_i))
  w     <- Adam(grad_w mean_i [L(w, alpha; support_i) + L(w_i, alpha; query_i)])

both from one backward pass. During the warm-up alpha stays. With several inner
steps and config.meta.anneal_steps the query loss is a weighted sum of those
after each inner step (see `meta.loss_weights`).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import optax

from nasfas_jax import states
from nasfas_jax.ops.cpu import xla_options
from nasfas_jax.searchers import bilevel, meta
from nasfas_jax.states import SearchState


def loss_of(state, model, config):
  """The loss that `meta` works on; see there.

  With config.meta.domain_statistics a batch has a leading axis of domains, and
  each domain's clips are normalised by their own statistics (as by a batch
  normalization of the domain, Chang et al., CVPR 2019); the running ones are
  the mean over the domains.
  """

  def loss_fn(params, arch, batch):
    return bilevel.supernet_loss(model, config, params, state, arch, batch, 0)

  def mean_over_domains(params, arch, batch):
    found = jax.vmap(lambda part: loss_fn(params, arch, part))(batch)
    return jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), found)

  return mean_over_domains if config.meta.domain_statistics else loss_fn


def step_weights(state: SearchState, config) -> jax.Array | None:
  """What each inner step's query loss counts for; None: the last alone."""
  if not config.meta.anneal_steps:
    return None
  return meta.loss_weights(
    state.step, config.meta.inner_steps, config.meta.anneal_steps
  )


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
    step_weights=step_weights(state, config),
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
  run for support and query sets in turn; nothing waits for the host. On one CPU
  it is that of one task, and run for each: its convolutions run task by task
  under vmap, too, and a task compiles in two thirds of the time of two.
  """

  def __init__(self, model, config, mesh, shardings):
    """shardings: of the state."""
    settings = config.meta
    self._num_steps = settings.inner_steps
    self._every_query = bool(settings.anneal_steps)
    self._remat = config.supernet.remat
    alone = mesh.size == 1 and jax.default_backend() == 'cpu'
    self._num_tasks = settings.num_tasks
    self._at_once = 1 if alone else settings.num_tasks
    self._of = {}
    replicated = states.replicated(mesh)
    by_task = states.task_sharding(mesh)
    clips = states.clip_sharding(mesh, settings.domain_statistics)

    def gradients(state, adapted, batches):
      loss_fn = loss_of(state, model, config)
      return meta.set_gradients(loss_fn, adapted, state.arch, batches)

    def finish(state, inner, query):
      means, gradients = meta.first_order_gradients(
        [_joined(parts) for parts in inner],
        [_joined(parts) for parts in query],
        1.0,
        step_weights(state, config),
      )
      return update(state, means, gradients, config)

    self._spread = jax.jit(
      lambda state: meta.per_task(state.params, self._at_once),
      in_shardings=(shardings,),
      out_shardings=by_task,
    )
    self._gradients = jax.jit(
      gradients,
      in_shardings=(shardings, by_task, clips),
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
    """The gradient of a set, of arrays or their shapes."""
    adapted = jax.eval_shape(self._spread, state)
    part = jax.eval_shape(lambda whole: self._parts(whole)[0], batches)
    return self._gradients.lower(state, adapted, part)

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

  def _parts(self, batches) -> list:
    """The batches of the tasks that are run at once."""
    if self._at_once == self._num_tasks:
      return [batches]
    return [
      jax.tree.map(lambda a, i=i: a[i : i + self._at_once], batches)
      for i in range(0, self._num_tasks, self._at_once)
    ]

  def __call__(self, state, tasks):
    support, query = self._parts(tasks['support']), self._parts(tasks['query'])
    adapted = [self._spread(state) for _ in support]
    of_support, of_query = [], []
    for number in range(self._num_steps):
      of_support.append(
        [
          self._of['support'](state, *part)
          for part in zip(adapted, support, strict=True)
        ]
      )
      adapted = [
        self._descend(state, part, gradients.params)
        for part, gradients in zip(adapted, of_support[-1], strict=True)
      ]
      if self._every_query or number == self._num_steps - 1:
        of_query.append(
          [
            self._of['query'](state, *part)
            for part in zip(adapted, query, strict=True)
          ]
        )
    return self._finish(state, of_support, of_query)


def _joined(parts: list[meta.SetGradients]) -> meta.SetGradients:
  """One set of gradients of those of tasks that were run one by one."""
  if len(parts) == 1:
    return parts[0]
  return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)
