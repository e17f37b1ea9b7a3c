"""One step of the search over tasks, as one function or in pieces.

A step on the T tasks of an episode (see `meta` and `data.episodes`):

  w_i   <- w - r * grad_w L(w, alpha; support_i)
  alpha <- Adam(grad_alpha mean_i L(w_i, alpha; query_i))
  w     <- Adam(grad_w mean_i [L(w, alpha; support_i) + L(w_i, alpha; query_i)])

Both gradients come from one backward pass. The warm-up does not update alpha.
With several inner steps and `anneal_steps`, the query loss is the weighted sum
of those after each inner step (see `meta.loss_weights`).
"""

import concurrent.futures
import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from nasfas_jax import optimizers, sharding
from nasfas_jax.searchers import meta, supernet_program
from nasfas_jax.searchers.supernet_program import SearchSettings, SupernetLoss
from nasfas_jax.states import SearchState

Tasks = dict[str, dict[str, jax.Array]]


@dataclasses.dataclass(frozen=True)
class MetaSettings:
  """The settings of a search over tasks beside `SearchSettings`.

  Attributes:
    num_tasks: T, tasks per step.
    support_size: clips of a task's support set.
    query_size: clips of a task's query set.
    inner_steps: steps of gradient descent on the support set.
    inner_lr: inner learning rate; its initial value if it is learned.
    anneal_steps: see `meta.loss_weights`; 0: only the last query loss counts.
    domain_statistics: normalise each domain's clips by their own batch
      statistics; a set then has an axis of domains.
    learn_inner_lr: learn an inner learning rate for every tensor.
    inner_lr_learning_rate: with which the logarithms of the inner learning
      rates are learned.
    shard_optimizer: split the weights' optimizer state over the devices.
  """

  num_tasks: int
  support_size: int
  query_size: int
  inner_steps: int
  inner_lr: float
  anneal_steps: int
  domain_statistics: bool
  learn_inner_lr: bool
  inner_lr_learning_rate: float
  shard_optimizer: bool

  def inner_lr_optimizer(self) -> optax.GradientTransformation:
    """The optimizer of the logarithms of the inner learning rates."""
    return optimizers.adam_l2(self.inner_lr_learning_rate)


def loss_of(
  state: SearchState,
  loss_fn: SupernetLoss,
  by_domain: bool,
  mesh: Mesh | None = None,
) -> meta.LossFn:
  """The supernet's loss in the form that `meta` takes.

  Args:
    state: supplies the batch statistics and the step.
    loss_fn: see `supernet_program.supernet_loss`.
    by_domain: a batch has a leading axis of domains, and each domain's clips
      are normalised by their own batch statistics (as in domain-specific batch
      normalization, Chang et al., CVPR 2019). The new running statistics are
      the mean over the domains.
    mesh: of the devices, see `sharding.vmap_or_loop`.
  """

  def of_batch(params, arch, batch):
    return loss_fn(params, arch, batch, state, 0)

  def mean_over_domains(params, arch, batch):
    of_domain = functools.partial(of_batch, params, arch)
    found = sharding.vmap_or_loop(of_domain, mesh)(batch)
    return jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), found)

  return mean_over_domains if by_domain else of_batch


def step_weights(
  state: SearchState, settings: MetaSettings
) -> jax.Array | None:
  """The weights of the query losses, see `meta.meta_loss`."""
  if not settings.anneal_steps:
    return None
  return meta.loss_weights(
    state.step, settings.inner_steps, settings.anneal_steps
  )


def inner_lrs(state: SearchState, settings: MetaSettings) -> meta.PyTree:
  """The inner learning rate of each tensor: learned, or `inner_lr`."""
  if settings.learn_inner_lr:
    return jax.tree.map(jnp.exp, state.log_inner_lr)
  return meta.constant_inner_lrs(state.params, settings.inner_lr)


def meta_step(
  state: SearchState,
  tasks: Tasks,
  *,
  loss_fn: SupernetLoss,
  search: SearchSettings,
  settings: MetaSettings,
  mesh: Mesh | None = None,
) -> tuple[SearchState, dict[str, jax.Array]]:
  """One step on one episode, as one function.

  Args:
    state: before the step.
    tasks: 'support' and 'query', batches with a leading axis of tasks.
    loss_fn: see `supernet_program.supernet_loss`.
    search: the settings that all searches share.
    settings: of the search over tasks.
    mesh: of the devices; None: there is one.

  Returns:
    See `update`.
  """

  def found(state, tasks):
    return meta.meta_gradients(
      loss_of(state, loss_fn, settings.domain_statistics, mesh),
      state.params,
      state.arch,
      inner_lrs(state, settings),
      tasks,
      num_steps=settings.inner_steps,
      first_order=not search.second_order,
      support_weight=1.0,
      step_weights=step_weights(state, settings),
    )

  if mesh is not None and mesh.shape['task'] > 1:
    found = _mean_of_devices(found, mesh)
  means, gradients = found(state, tasks)
  return update(state, means, gradients, search, settings)


def _mean_of_devices(found, mesh):
  """Takes means over tasks on each device, then those of all devices.

  Each has equally many tasks.
  """

  def of_own(state, tasks):
    return jax.tree.map(lambda leaf: leaf[None], found(state, tasks))

  def of_all(state, tasks):
    parts = sharding.on_own_tasks(of_own, mesh, num_shared=1)(state, tasks)
    return jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), parts)

  return of_all


def update(
  state: SearchState,
  means: meta.Meta,
  gradients: tuple[meta.PyTree, meta.PyTree, meta.PyTree],
  search: SearchSettings,
  settings: MetaSettings,
) -> tuple[SearchState, dict[str, jax.Array]]:
  """Applies the meta-gradients to weights, architecture and inner rates.

  Args:
    state: before the step.
    means: over the tasks, see `meta.Meta`.
    gradients: with respect to weights, architecture and inner rates.
    search: the settings that all searches share.
    settings: of the search over tasks.

  Returns:
    (new state, losses): 'train_loss' of the support sets before adaptation and
    'val_loss' of the query sets after it. The new batch statistics are those of
    the support sets before adaptation, averaged over the tasks.
  """
  weight_gradients, arch_gradients, inner_lr_gradients = gradients
  updates, weight_opt_state = search.weights.optimizer().update(
    weight_gradients, state.weight_opt_state, state.params
  )
  params = optax.apply_updates(state.params, updates)
  # One program for the warm-up and the steps after it: compiling is expensive.
  searching = state.step >= search.warmup_steps
  arch, arch_opt_state = _update_if(
    searching,
    search.arch.optimizer(),
    supernet_program.priced(arch_gradients, state.arch, search),
    state.arch_opt_state,
    state.arch,
  )
  log_inner_lr = state.log_inner_lr
  inner_lr_opt_state = state.inner_lr_opt_state
  if settings.learn_inner_lr:
    # The logarithms are learned, so that the rates stay positive.
    inner_lr_gradients = jax.tree.map(
      jnp.multiply, inner_lr_gradients, inner_lrs(state, settings)
    )
    log_inner_lr, inner_lr_opt_state = _update_if(
      searching,
      settings.inner_lr_optimizer(),
      inner_lr_gradients,
      state.inner_lr_opt_state,
      state.log_inner_lr,
    )
  state = state.replace(
    step=state.step + 1,
    params=params,
    batch_stats=means.aux,
    weight_opt_state=weight_opt_state,
    arch=arch,
    arch_opt_state=arch_opt_state,
    log_inner_lr=log_inner_lr,
    inner_lr_opt_state=inner_lr_opt_state,
  )
  losses = {'train_loss': means.support_loss, 'val_loss': means.query_loss}
  return state, losses


def _update_if(condition, optimizer, gradients, opt_state, values):
  """One step of an optimizer where the condition holds, else no change."""
  updates, new_state = optimizer.update(gradients, opt_state, values)
  moved = optax.apply_updates(values, updates)
  return jax.tree.map(
    lambda new, old: jnp.where(condition, new, old),
    (moved, new_state),
    (values, opt_state),
  )


def compile_first_order(
  state: SearchState,
  tasks: Tasks,
  *,
  loss_fn: SupernetLoss,
  search: SearchSettings,
  settings: MetaSettings,
  mesh: Mesh,
  shardings: SearchState,
) -> Callable[[SearchState, Tasks], tuple[SearchState, dict[str, jax.Array]]]:
  """Compiles the first-order `meta_step` in pieces.

  The gradient of a set, which is nearly the whole program, is compiled once and
  run for support and query sets in turn, without waiting for the host. One
  program for the step would contain that gradient once per set, or in an XLA
  loop, where a convolution was six times slower on CPU in a trial.

  On a single device the gradient is compiled for one task and run task by task.
  Under vmap the convolutions would run task by task as well on CPUs and GPUs
  (`ops.convolution`), one task compiles in two thirds of the time of two, and
  it needs the memory of one. All pieces are compiled side by side.

  Args:
    state: arrays, or their shapes.
    tasks: arrays, or their shapes.
    loss_fn: see `meta_step`.
    search: see `meta_step`.
    settings: see `meta_step`.
    mesh: of the devices.
    shardings: of the state.

  Returns:
    The step, which donates its state.
  """
  pieces = first_order_pieces(
    loss_fn=loss_fn,
    search=search,
    settings=settings,
    mesh=mesh,
    shardings=shardings,
  )
  at_once = tasks_at_once(settings.num_tasks, mesh)
  sizes = {name: tasks[name]['label'].shape for name in ('support', 'query')}
  query_losses = settings.inner_steps if settings.anneal_steps else 1
  compiling = {}
  # XLA releases Python's lock while it compiles: a piece compiles while another
  # is traced.
  with concurrent.futures.ThreadPoolExecutor() as pool:

    def begin(name, lowered):
      compiling[name] = pool.submit(lowered.compile)
      return lowered.out_info

    shapes = {}
    for name, size in sizes.items():
      if size not in shapes:
        shapes[size] = begin(size, pieces.lower(state, tasks[name]))
    # The shapes of the gradients of all tasks.
    found = {
      name: [shapes[size]] * (settings.num_tasks // at_once)
      for name, size in sizes.items()
    }
    begin('spread', pieces.spread.lower(state))
    weights = jax.eval_shape(pieces.spread, state)
    gradient = found['support'][0].params
    begin('descend', pieces.descend.lower(state, weights, gradient))
    sets = (
      [found['support']] * settings.inner_steps,
      [found['query']] * query_losses,
    )
    begin('finish', pieces.finish.lower(state, *sets))
  compiled = {name: piece.result() for name, piece in compiling.items()}
  gradients = {name: compiled[size] for name, size in sizes.items()}

  def step(state, tasks):
    support = _parts(tasks['support'], at_once)
    query = _parts(tasks['query'], at_once)
    adapted = [compiled['spread'](state) for _ in support]
    of_support, of_query = [], []
    for number in range(settings.inner_steps):
      of_support.append(
        [
          gradients['support'](state, *part)
          for part in zip(adapted, support, strict=True)
        ]
      )
      adapted = [
        compiled['descend'](state, part, found.params)
        for part, found in zip(adapted, of_support[-1], strict=True)
      ]
      if settings.anneal_steps or number == settings.inner_steps - 1:
        of_query.append(
          [
            gradients['query'](state, *part)
            for part in zip(adapted, query, strict=True)
          ]
        )
    return compiled['finish'](state, of_support, of_query)

  return step


def tasks_at_once(num_tasks: int, mesh: Mesh) -> int:
  """Tasks per program: all, or one on a single device."""
  return 1 if mesh.size == 1 else num_tasks


@dataclasses.dataclass(frozen=True)
class Pieces:
  """The jitted pieces of a first-order step.

  Attributes:
    spread: state -> its weights, repeated for the tasks of one program.
    gradients: (state, adapted weights, batches) -> `meta.SetGradients`.
    descend: (state, adapted weights, gradients) -> adapted weights.
    finish: (state, gradients of the support sets, of the query sets) -> see
      `update`; donates the state.
    at_once: see `tasks_at_once`.
  """

  spread: Callable
  gradients: Callable
  descend: Callable
  finish: Callable
  at_once: int

  def lower(self, state: SearchState, batches: dict) -> jax.stages.Lowered:
    """Lowers the gradient of a set, from arrays or their shapes."""
    adapted = jax.eval_shape(self.spread, state)
    part = jax.eval_shape(lambda whole: _parts(whole, self.at_once)[0], batches)
    return self.gradients.lower(state, adapted, part)


def first_order_pieces(
  *,
  loss_fn: SupernetLoss,
  search: SearchSettings,
  settings: MetaSettings,
  mesh: Mesh,
  shardings: SearchState,
) -> Pieces:
  """Jits the pieces of a step; arguments as in `compile_first_order`."""
  at_once = tasks_at_once(settings.num_tasks, mesh)
  replicated = sharding.replicated(mesh)
  by_task = sharding.task_sharding(mesh)
  clips = sharding.clip_sharding(mesh, settings.domain_statistics)

  def gradients(state, adapted, batches):
    of_batch = loss_of(state, loss_fn, settings.domain_statistics, mesh)
    return meta.set_gradients(of_batch, adapted, state.arch, batches)

  def finish(state, inner, query):
    means, found = meta.first_order_gradients(
      [_joined(parts) for parts in inner],
      [_joined(parts) for parts in query],
      1.0,
      step_weights(state, settings),
    )
    return update(state, means, found, search, settings)

  return Pieces(
    spread=jax.jit(
      lambda state: meta.per_task(state.params, at_once),
      in_shardings=(shardings,),
      out_shardings=by_task,
    ),
    gradients=jax.jit(
      sharding.on_own_tasks(gradients, mesh, num_shared=1),
      in_shardings=(shardings, by_task, clips),
      out_shardings=by_task,
    ),
    descend=jax.jit(
      lambda state, adapted, found: meta.descend(
        adapted, inner_lrs(state, settings), found
      ),
      in_shardings=(shardings, by_task, by_task),
      out_shardings=by_task,
      donate_argnums=1,
    ),
    finish=jax.jit(
      finish,
      in_shardings=(shardings, by_task, by_task),
      out_shardings=(shardings, replicated),
      donate_argnums=0,
    ),
    at_once=at_once,
  )


def _parts(batches: dict, at_once: int) -> list[dict]:
  """Splits batches into those of the tasks that one program runs."""
  number = jax.tree.leaves(batches)[0].shape[0]
  if at_once == number:
    return [batches]
  return [
    jax.tree.map(lambda a, i=i: a[i : i + at_once], batches)
    for i in range(0, number, at_once)
  ]


def _joined(parts: list[meta.SetGradients]) -> meta.SetGradients:
  """Joins the gradients of tasks that were run one by one."""
  if len(parts) == 1:
    return parts[0]
  return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)
