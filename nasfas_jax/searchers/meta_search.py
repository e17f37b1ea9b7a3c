"""The search over tasks: held-out domains, attack types, or both.

The step is in `meta_step`, the tasks are those of `data.episodes`.
"""

import functools

import jax
import ml_collections
import numpy as np
from jax.sharding import Mesh

from nasfas_jax import progress, records, states, supervised
from nasfas_jax.data import episodes
from nasfas_jax.data.index import Row
from nasfas_jax.ops.cpu import xla_options
from nasfas_jax.searchers import bilevel, meta_step
from nasfas_jax.states import SearchState


def split_tasks(
  batch: dict[str, np.ndarray],
  num_tasks: int,
  support_size: int,
  domains: dict[str, int] | None = None,
) -> dict[str, dict[str, np.ndarray]]:
  """Splits a flat batch [T * (S + Q), ...] into 'support' and 'query'.

  Args:
    batch: the clips of the tasks, task after task.
    num_tasks: T.
    support_size: S.
    domains: number of domains of either set, whose clips lie one domain after
      the other; they get an axis after that of the tasks. None: no such axis.
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


class MetaSearch:
  """The search over tasks: one stream of episodes and one compiled step.

  Attributes:
    model: the supernet.
    mesh: of the devices.
  """

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    rows: list[Row],
    domain_field: str,
  ):
    """Plans the episodes.

    Args:
      config: of the run.
      rows: the training clips.
      domain_field: the field that names a clip's domain.

    Raises:
      ValueError: if the clips do not make tasks.
    """
    settings = config.meta
    self.model = bilevel.build_supernet(config)
    self._config = config
    self._rows = rows
    tasks = episodes.make_tasks(rows, config.search.tasks, domain_field)
    domains, self._domains = None, None
    if settings.domain_statistics:
      domains = np.array([str(row[domain_field]) for row in rows])
      self._domains = episodes.count_domains(tasks, domains)
      _check_sizes(settings, self._domains)
    self.mesh = _make_mesh(settings, self._domains)
    self._episodes = episodes.Episodes(
      tasks=tuple(tasks),
      num_tasks=settings.num_tasks,
      support_size=settings.support_size,
      query_size=settings.query_size,
      seed=config.seed + 1,
      live=np.array([row['label'] == records.LIVE for row in rows]),
      domains=domains,
    )
    self._clips = states.clip_sharding(self.mesh, settings.domain_statistics)
    self._batch = None

  def initial_state(self) -> SearchState:
    """A fresh state; the same for the same config."""
    return bilevel.initial_state(self._config, self.model)

  def begin(self, state: SearchState, start: int) -> SearchState:
    """Opens the stream after `start` steps and compiles.

    Returns:
      The state, laid out over the devices as the step takes it.
    """
    config = self._config
    self._stream = supervised.episode_stream(
      config,
      self._rows,
      episodes=self._episodes,
      map_size=config.supernet.output_size,
      seed=config.seed + 1,
      step=start,
    )
    replicated = states.replicated(self.mesh)
    shardings = jax.tree.map(lambda _: replicated, state)
    if config.meta.shard_optimizer:
      shardings = shardings.replace(
        weight_opt_state=states.spread(state.weight_opt_state, self.mesh)
      )
    state = jax.device_put(state, shardings)
    tasks = self._next()
    if config.search.second_order:
      step = jax.jit(
        functools.partial(meta_step.meta_step, model=self.model, config=config),
        in_shardings=(shardings, self._clips),
        out_shardings=(shardings, replicated),
        donate_argnums=0,
      )
      self._step = xla_options.compile_step(
        step.lower(state, tasks), in_sequence=config.supernet.remat
      )
    else:
      self._step = meta_step.FirstOrderStep(
        self.model, config, self.mesh, shardings
      )
      self._step.compile(state, tasks)
    return state

  def _next(self) -> dict:
    """The tasks of the next step; kept until `run` uses them."""
    if self._batch is None:
      settings = self._config.meta
      tasks = split_tasks(
        next(self._stream),
        settings.num_tasks,
        settings.support_size,
        self._domains,
      )
      self._batch = jax.device_put(tasks, self._clips)
    return self._batch

  def run(
    self, state: SearchState, step: int
  ) -> tuple[SearchState, dict[str, jax.Array]]:
    """Runs one step, counted from 1; returns the state and the losses."""
    del step
    tasks, self._batch = self._next(), None
    return self._step(state, tasks)

  def close(self) -> None:
    """Closes the stream, and lets the clips go that it keeps in memory."""
    self._stream.close()
    self._stream = None


def _make_mesh(settings, domains: dict[str, int] | None) -> Mesh:
  """The mesh for the tasks' sets; says when it leaves devices out."""
  of_domain = domains or {'support': 1, 'query': 1}
  sizes = [
    settings[f'{part}_size'] // number for part, number in of_domain.items()
  ]
  mesh = states.make_mesh(settings.num_tasks, sizes)
  total = len(jax.devices())
  if mesh.size < total:
    progress.say(
      f'The search uses {mesh.size} of {total} devices: no more of them divide '
      f'{settings.num_tasks} tasks with {" and ".join(map(str, sizes))} clips.'
    )
  for part, size in zip(of_domain, sizes, strict=True):
    if size % mesh.shape['data']:
      raise ValueError(
        f'config.meta.{part}_size gives {size} clips; it must be a multiple of '
        f'the {mesh.shape["data"]} devices of a task ({mesh.size} devices, '
        f'{settings.num_tasks} tasks).'
      )
  return mesh


def _check_sizes(settings, domains: dict[str, int]) -> None:
  """Checks that the sets can be dealt evenly to their domains."""
  for part, number in domains.items():
    size = settings[f'{part}_size']
    if size % number:
      raise ValueError(
        f'config.meta.{part}_size is {size}; with '
        'config.meta.domain_statistics it must be a multiple of the '
        f'{number} domains in the {part} set.'
      )
