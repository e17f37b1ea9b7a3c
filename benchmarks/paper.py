"""The published setting of the search: compile time and memory of its steps.

Nothing is run: XLA's own analysis of the compiled steps tells the memory. Four
clips a device, 256x256.
"""

import statistics
import tempfile
import time

import jax
from jax.experimental.compilation_cache import compilation_cache

from benchmarks import meta
from nasfas_configs import search as search_config
from nasfas_jax import sharding
from nasfas_jax.searchers import bilevel

CLIPS = 4


def _gib(compiled) -> float:
  """What a compiled step holds at its peak: arguments, results, temporaries."""
  analysis = compiled.memory_analysis()
  sizes = (
    analysis.argument_size_in_bytes,
    analysis.output_size_in_bytes,
    analysis.temp_size_in_bytes,
  )
  # What is given away is counted on both sides.
  return (sum(sizes) - analysis.alias_size_in_bytes) / 2**30


def _compile(lower: dict) -> tuple[dict, float]:
  """Lowers and compiles side by side, as the search does."""
  start = time.perf_counter()
  compiled = bilevel.compile_side_by_side(*lower.values())
  seconds = time.perf_counter() - start
  return dict(zip(lower, compiled, strict=True)), seconds


def _plain(config) -> dict:
  """How to lower the two steps of the plain search."""
  parts = meta.make_parts(config)
  state = jax.eval_shape(meta.initial(config, parts))
  weight_fn, arch_fn = bilevel.jit_steps(
    parts.loss_fn, parts.search, sharding.make_mesh()
  )
  batch = meta.make_batch(config, config.search.batch_size)
  return {
    'weight step': lambda: weight_fn.lower(state, batch),
    'architecture step': lambda: arch_fn.lower(state, batch, batch),
  }


def _first_order(config) -> dict:
  """How to lower the gradient of one task's set, nearly all of a step."""
  config = config.copy_and_resolve_references()
  config.meta.num_tasks = 1
  parts = meta.make_parts(config)
  state = jax.eval_shape(meta.initial(config, parts))
  pieces, _ = meta.first_order_pieces(
    parts, state, sharding.make_mesh(parts.meta.num_tasks)
  )
  batch = meta.make_batch(config, 1, CLIPS)
  return {'meta-step': lambda: pieces.lower(state, batch)}


def measure() -> dict[str, dict[str, float]]:
  """Fills 'compile_seconds' and 'memory_gib', see `benchmarks.run`."""
  # First, in a process as young as a user's is: what the published setting
  # leaves behind slows all tracing that follows.
  found = {'compile_seconds': _warm(), 'memory_gib': {}}
  for variant, lower_of in (('paper', _plain), ('paper,domain', _first_order)):
    config = search_config.get_config(variant)
    config.search.batch_size = CLIPS
    compiled, seconds = _compile(lower_of(config))
    found['compile_seconds'][f':{variant}, {CLIPS} clips'] = seconds
    for name, step in compiled.items():
      found['memory_gib'][f':{variant}, {CLIPS} clips, {name}'] = _gib(step)
  return found


def _warm() -> dict[str, float]:
  """The default search with a warm compilation cache, tracing included."""
  config = search_config.get_config()
  kept = jax.config.jax_compilation_cache_dir
  with tempfile.TemporaryDirectory() as folder:
    jax.config.update('jax_compilation_cache_dir', folder)
    seconds = []
    # Cold, and then five times warm.
    for _ in range(6):
      jax.clear_caches()
      # One task: half the clips, and half the program, of the default's two.
      _, passed = _compile(_first_order(config))
      seconds.append(passed)
    jax.config.update('jax_compilation_cache_dir', kept)
    # The cache in use stays the folder, which is gone, until it is told.
    compilation_cache.reset_cache()
  return {
    'meta-step of one task, cold cache': seconds[0],
    'meta-step of one task, warm cache': statistics.median(seconds[1:]),
  }
