"""The search over tasks that hold out a domain, an attack type, or both.

`meta_step` has the step, `data.episodes` the tasks.
"""

import concurrent.futures
import functools
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax.sharding import Mesh

from nasfas_jax import augment, loop, progress, records, sharding
from nasfas_jax.data import episodes
from nasfas_jax.data.index import Row
from nasfas_jax.models.supernet import Supernet
from nasfas_jax.searchers import meta_step, supernet_program
from nasfas_jax.searchers.meta_step import MetaSettings
from nasfas_jax.searchers.supernet_program import (
  Search,
  SearchSettings,
  SupernetLoss,
)


def split_tasks(
  batch: dict[str, np.ndarray],
  num_tasks: int,
  support_size: int,
  domains: dict[str, int] | None = None,
) -> dict[str, dict[str, np.ndarray]]:
  """Splits a flat batch [T * (S + Q), ...] into 'support' and 'query'.

  Args:
    batch: the clips, task after task, each task's support set first.
    num_tasks: T.
    support_size: S.
    domains: number D of domains in the 'support' and in the 'query' sets, whose
      clips are ordered by domain. None: no axis of domains.

  Returns:
    'support' [T, S, ...] and 'query' [T, Q, ...]; with `domains`
    [T, D, S / D, ...] and [T, D, Q / D, ...].
  """
  shaped = {
    name: array.reshape(num_tasks, -1, *array.shape[1:])
    for name, array in batch.items()
  }
  tasks = {
    'support': {name: a[:, :support_size] for name, a in shaped.items()},
    'query': {name: a[:, support_size:] for name, a in shaped.items()},
  }
  if domains is None:
    return tasks
  return {
    part: {
      name: a.reshape(num_tasks, domains[part], -1, *a.shape[2:])
      for name, a in arrays.items()
    }
    for part, arrays in tasks.items()
  }


def search_over_tasks(
  model: Supernet,
  example: jax.Array,
  rows: Sequence[Row],
  *,
  loss_fn: SupernetLoss,
  search: SearchSettings,
  settings: MetaSettings,
  hold_out: str,
  domain_field: str,
  episode_batches: Callable,
  prepare: augment.Prepare,
) -> Search:
  """The search over tasks on training clips.

  Args:
    model: the supernet.
    example: an input of the supernet; only its shape is used.
    rows: the training clips.
    loss_fn: see `supernet_program.supernet_loss`.
    search: the settings that all searches share.
    settings: of the search over tasks.
    hold_out: what a task holds out, one of `episodes.HOLD_OUTS`.
    domain_field: the field that names a clip's domain.
    episode_batches: (rows, episodes, seed, step, places) -> a stream of the
      clips at these places of flat raw batches.
    prepare: makes batches of them.

  Raises:
    ValueError: if the clips do not allow tasks, or the sizes of the sets are
      not multiples of their domains or of the devices.
  """
  tasks = episodes.make_tasks(rows, hold_out, domain_field)
  names, counts = None, None
  if settings.domain_statistics:
    names = np.array([str(row[domain_field]) for row in rows])
    counts = episodes.count_domains(tasks, names)
    _check_sizes(settings, counts)
  mesh = _make_mesh(settings, counts)
  planned = episodes.Episodes(
    tasks=tuple(tasks),
    num_tasks=settings.num_tasks,
    support_size=settings.support_size,
    query_size=settings.query_size,
    seed=search.seed + 1,
    live=np.array([row['label'] == records.LIVE for row in rows]),
    domains=names,
  )
  clips = sharding.clip_sharding(mesh, settings.domain_statistics)
  places = {
    part: arrays['place']
    for part, arrays in split_tasks(
      {'place': np.arange(planned.size)},
      *(settings.num_tasks, settings.support_size, counts),
    ).items()
  }
  own = sharding.own_places(list(places.values()), clips)
  state, shardings = _initial_state(model, example, search, settings, mesh)

  def batches(start):
    stream = episode_batches(
      rows, episodes=planned, seed=search.seed + 1, step=start, places=own
    )
    try:
      for batch in stream:
        yield {
          part: sharding.put_clips(batch, own, where, clips)
          for part, where in places.items()
        }
    finally:
      stream.close()

  parts = {'loss_fn': loss_fn, 'search': search, 'settings': settings}

  def prepare_sets(raw, step, seed):
    return {name: prepare(part, step, seed) for name, part in raw.items()}

  make = supernet_program.jit_prepare(prepare_sets, clips)

  def compile_step(state, raw):
    seed = search.seed + 1
    tasks = jax.eval_shape(make, raw, state.step, seed)
    making = make.lower(raw, state.step, seed)
    with concurrent.futures.ThreadPoolExecutor() as pool:
      making = pool.submit(making.compile)
      if search.second_order:
        step = jax.jit(
          functools.partial(meta_step.meta_step, **parts, mesh=mesh),
          in_shardings=(shardings, clips),
          out_shardings=(shardings, sharding.replicated(mesh)),
          donate_argnums=0,
        )
        compiled = step.lower(state, tasks).compile()
      else:
        compiled = meta_step.compile_first_order(
          *(state, tasks),
          **parts,
          mesh=mesh,
          shardings=shardings,
        )
    made = making.result()
    return lambda state, raw: compiled(state, made(raw, state.step, seed))

  return Search(
    loop.Program(
      name='search',
      title='Searching',
      num_steps=search.num_steps,
      state=state,
      compile=compile_step,
      batches=batches,
      observe=supernet_program.observe(model, search),
      clips=lambda batch: [(rows, part) for part in batch.values()],
    ),
    lambda state: supernet_program.derive(model, state.arch),
  )


def _initial_state(model, example, search, settings, mesh):
  """The initial state, sharded over the devices, and its shardings."""
  rates = {}
  if settings.learn_inner_lr:
    rates = {
      'inner_lr': settings.inner_lr,
      'inner_lr_optimizer': settings.inner_lr_optimizer(),
    }
  replicated = sharding.replicated(mesh)
  state = jax.jit(
    functools.partial(
      supernet_program.initial_state, model, example, search, **rates
    ),
    out_shardings=replicated,
  )()
  shardings = jax.tree.map(lambda _: replicated, state)
  if settings.shard_optimizer:
    shardings = shardings.replace(
      weight_opt_state=sharding.spread(state.weight_opt_state, mesh)
    )
  return jax.device_put(state, shardings), shardings


def _make_mesh(settings: MetaSettings, domains: dict[str, int] | None) -> Mesh:
  """The mesh for the tasks and their sets; says so if devices stay unused."""
  of_domain = domains or {'support': 1, 'query': 1}
  sizes = [
    getattr(settings, f'{part}_size') // number
    for part, number in of_domain.items()
  ]
  mesh = sharding.make_mesh(settings.num_tasks, sizes)
  total = len(jax.devices())
  if mesh.size < total:
    progress.say(
      f'The search uses {mesh.size} of {total} devices: '
      f'{settings.num_tasks} tasks with {" and ".join(map(str, sizes))} clips '
      'cannot be split evenly over more.'
    )
  for part, size in zip(of_domain, sizes, strict=True):
    if size % mesh.shape['data']:
      raise ValueError(
        f'config.meta.{part}_size gives {size} clips; it must be a multiple of '
        f'the {mesh.shape["data"]} devices of a task ({mesh.size} devices, '
        f'{settings.num_tasks} tasks).'
      )
  return mesh


def _check_sizes(settings: MetaSettings, domains: dict[str, int]) -> None:
  """Raises ValueError unless the sets split evenly over their domains."""
  for part, number in domains.items():
    size = getattr(settings, f'{part}_size')
    if size % number:
      raise ValueError(
        f'config.meta.{part}_size is {size}; with '
        'config.meta.domain_statistics it must be a multiple of the '
        f'{number} domains in the {part} set.'
      )
