"""Cost of the meta-search's step beside the plain search's, default sizes."""

import functools
import time

import jax
import numpy as np

from benchmarks import timing
from nasfas_configs import search as search_config
from nasfas_jax import states
from nasfas_jax.searchers import bilevel, meta_step


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
  settings = config.meta
  clips = settings.num_tasks * (settings.support_size + settings.query_size)
  # The plain steps over the same number of pictures.
  config.search.batch_size = clips // 2
  model = bilevel.build_supernet(config)
  state = jax.jit(functools.partial(bilevel.initial_state, config, model))()
  tasks = {
    'support': make_batch(config, settings.num_tasks, settings.support_size),
    'query': make_batch(config, settings.num_tasks, settings.query_size),
  }
  batch = make_batch(config, config.search.batch_size)
  functions = {
    'plain': plain_step(found, config, model, state, batch),
    'first order': first_order_step(found, config, model, state, tasks),
    'second order': second_order_step(found, config, model, state, tasks),
  }
  seconds = timing.medians(functions, rounds=11)
  found['seconds'] = {f'{name} step': s for name, s in seconds.items()}
  for name in ('first order', 'second order'):
    found['ratios'][f'{name} / plain, {clips} clips'] = (
      seconds[name] / seconds['plain']
    )
  return found


def plain_step(found, config, model, state, batch):
  """The plain search's two steps, again and again; compile times in `found`."""
  weight_fn, arch_fn = bilevel.jit_steps(config, model, states.make_mesh())
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


def first_order_step(found, config, model, state, tasks):
  """The first-order step, again and again; costs of compiling in `found`."""
  mesh = states.make_mesh(config.meta.num_tasks)
  shardings = jax.tree.map(lambda _: states.replicated(mesh), state)
  step = meta_step.FirstOrderStep(model, config, mesh, shardings)
  start = time.perf_counter()
  step.compile(state, tasks)
  found['compile_seconds']['first order'] = time.perf_counter() - start
  found['memory_gib']['first order, temporaries'] = (
    step.temporary_bytes() / 2**30
  )
  return carried(lambda state: step(state, tasks), state)


def second_order_step(found, config, model, state, tasks):
  """The second-order step; costs of compiling in `found`."""
  config = config.copy_and_resolve_references()
  config.search.second_order = True
  step = jax.jit(
    functools.partial(meta_step.meta_step, model=model, config=config)
  )
  compiled, seconds = timing.compile_seconds(lambda: step.lower(state, tasks))
  found['compile_seconds']['second order'] = seconds
  found['memory_gib']['second order, temporaries'] = (
    compiled.memory_analysis().temp_size_in_bytes / 2**30
  )
  return lambda: compiled(state, tasks)
