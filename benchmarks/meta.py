"""Cost of the meta-search's step beside the plain search's, default sizes."""

import dataclasses
import functools
import time
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from benchmarks import timing
from nasfas_configs import search as search_config
from nasfas_jax import settings, sharding
from nasfas_jax.models.supernet import Supernet
from nasfas_jax.searchers import bilevel, meta_step, supernet_program
from nasfas_jax.searchers.meta_step import MetaSettings
from nasfas_jax.searchers.supernet_program import SearchSettings, SupernetLoss


class Parts(NamedTuple):
  """What the steps of a config's search are made of."""

  model: Supernet
  loss_fn: SupernetLoss
  search: SearchSettings
  meta: MetaSettings


def make_parts(config) -> Parts:
  model = settings.supernet(config)
  search = settings.search(config)
  loss_fn = supernet_program.supernet_loss(
    model, settings.input_form(config), settings.objective(config), search
  )
  return Parts(model, loss_fn, search, settings.meta(config))


def initial(config, parts: Parts):
  """A function that makes the search's fresh state."""
  return functools.partial(
    supernet_program.initial_state,
    parts.model,
    settings.example_input(config),
    parts.search,
  )


def make_batch(config, *lead):
  """A made-up batch for the supernet, with leading axes `lead`."""
  rng = np.random.default_rng(0)
  size, maps = config.data.image_size, config.supernet.output_size
  frames = (*lead, config.data.num_frames, size, size, 3)
  return {
    'frames': rng.integers(0, 256, frames, dtype=np.uint8),
    'depth': rng.random((*lead, maps, maps), dtype=np.float32),
    'face_mask': np.ones((*lead, maps, maps), np.float32),
    'label': rng.integers(0, 2, lead, dtype=np.int32),
  }


def measure() -> dict[str, dict[str, float]]:
  """Fills 'ratios', 'seconds', 'compile_seconds' and 'memory_gib'."""
  found = {
    name: {} for name in ('ratios', 'seconds', 'compile_seconds', 'memory_gib')
  }
  config = search_config.get_config()
  fields = config.meta
  clips = fields.num_tasks * (fields.support_size + fields.query_size)
  parts = make_parts(config)
  state = jax.jit(initial(config, parts))()
  tasks = {
    'support': make_batch(config, fields.num_tasks, fields.support_size),
    'query': make_batch(config, fields.num_tasks, fields.query_size),
  }
  # The plain steps over the same number of pictures.
  batch = make_batch(config, clips // 2)
  functions = {
    'plain': plain_step(found, parts, state, batch),
    'first order': first_order_step(found, parts, state, tasks),
    'second order': second_order_step(found, parts, state, tasks),
  }
  seconds = timing.medians(functions, rounds=11)
  found['seconds'] = {f'{name} step': s for name, s in seconds.items()}
  for name in ('first order', 'second order'):
    found['ratios'][f'{name} / plain, {clips} clips'] = (
      seconds[name] / seconds['plain']
    )
  return found


def plain_step(found, parts: Parts, state, batch):
  """The plain search's two steps, again and again; compile times in `found`."""
  weight_fn, arch_fn = bilevel.jit_steps(
    parts.loss_fn, parts.search, sharding.make_mesh()
  )
  weight_step, first = timing.compile_seconds(
    lambda: weight_fn.lower(state, batch)
  )
  arch_step, second = timing.compile_seconds(
    lambda: arch_fn.lower(state, batch, batch)
  )
  # The search compiles them side by side, on two cores.
  found['compile_seconds']['plain, weight step'] = first
  found['compile_seconds']['plain, architecture step'] = second

  def step(state):
    return weight_step(arch_step(state, batch, batch)[0], batch)

  return carried(step, state)


def carried(step, state):
  """A function that runs a step that gives its state away, again and again."""
  kept = {'state': jax.tree.map(jax.numpy.copy, state)}

  def run():
    kept['state'], losses = step(kept['state'])
    return losses

  return run


def first_order_pieces(
  parts: Parts, state, mesh: Mesh
) -> tuple[meta_step.Pieces, dict]:
  """The pieces of a first-order step, and what they were made of."""
  made_of = {
    'loss_fn': parts.loss_fn,
    'search': parts.search,
    'settings': parts.meta,
    'mesh': mesh,
    'shardings': jax.tree.map(lambda _: sharding.replicated(mesh), state),
  }
  return meta_step.first_order_pieces(**made_of), made_of


def first_order_step(found, parts: Parts, state, tasks):
  """The first-order step, again and again; costs of compiling in `found`."""
  mesh = sharding.make_mesh(parts.meta.num_tasks)
  pieces, made_of = first_order_pieces(parts, state, mesh)
  # The gradient of a set, alone: nearly all of the step.
  start = time.perf_counter()
  compiled = pieces.lower(state, tasks['support']).compile()
  found['compile_seconds']['first order'] = time.perf_counter() - start
  found['memory_gib']['first order, temporaries'] = (
    compiled.memory_analysis().temp_size_in_bytes / 2**30
  )
  step = meta_step.compile_first_order(state, tasks, **made_of)
  return carried(lambda state: step(state, tasks), state)


def second_order_step(found, parts: Parts, state, tasks):
  search = dataclasses.replace(parts.search, second_order=True)
  step = jax.jit(
    functools.partial(
      meta_step.meta_step,
      loss_fn=parts.loss_fn,
      search=search,
      settings=parts.meta,
    )
  )
  compiled, seconds = timing.compile_seconds(lambda: step.lower(state, tasks))
  found['compile_seconds']['second order'] = seconds
  found['memory_gib']['second order, temporaries'] = (
    compiled.memory_analysis().temp_size_in_bytes / 2**30
  )
  return lambda: compiled(state, tasks)
