"""Our steps on the accelerator that JAX finds, one section at a time.

python -m benchmarks.accelerator_steps CACHE
  Reads a section a line, as JSON, and answers each with a line of figures.
  CACHE is the folder of the compilation cache. `benchmarks.accelerator` is the
  other end.
"""

import functools
import gc
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import lowered, meta, serving
from nasfas_configs import search as search_config
from nasfas_jax import settings, sharding
from nasfas_jax.models import cost
from nasfas_jax.ops.cpu import xla_options
from nasfas_jax.searchers import bilevel, meta_step

# A form of computation -> the dtype of the config, and the precision of what is
# computed in float32.
FORMS = {
  'bfloat16': ('bfloat16', 'tensorfloat32'),
  'tensorfloat32': ('float32', 'tensorfloat32'),
  'float32': ('float32', 'highest'),
}
REPEATS = 5
# Seconds of a repeat, about.
REPEAT_SECONDS = 0.4


class Step(NamedTuple):
  """A step to measure.

  Attributes:
    compile: makes the compiled step, in whatever form `start` takes it.
    start: draws its arguments and makes what runs: a function without
      arguments that begins a step and returns its losses.
    programs: the compiled programs of the step whose memory counts.
    clips: of a step.
    gflop: of a step, nothing computed twice; 0: not counted.
  """

  compile: Callable[[], Any]
  start: Callable[[Any], Callable]
  programs: Callable[[Any], Sequence]
  clips: int
  gflop: float


def device() -> dict:
  """What the steps run on."""
  found = jax.devices()[0]
  return {
    'platform': found.platform,
    'kind': found.device_kind,
    'devices': len(jax.devices()),
    'jax': jax.__version__,
  }


def matrix_rate(side: int) -> dict[str, float]:
  """10^12 operations a second of a matrix product of `side`, in each form."""
  found = {}
  for form, (dtype, precision) in FORMS.items():
    # Of numbers that differ: a card is faster on constants.
    a = jax.random.normal(jax.random.key(0), (side, side), dtype)
    product = jax.jit(
      functools.partial(jnp.matmul, precision=precision)
      if dtype == 'float32'
      else jnp.matmul
    )
    times = time_steps(lambda product=product, a=a: product(a, a))
    found[form] = 2 * side**3 / min(times) / 1e12
  return found


def time_steps(step: Callable) -> list[float]:
  """Seconds a step in each of `REPEATS` repeats, after two warm steps.

  Within a repeat the host starts one step after another and waits for the last
  one only, as a training does.
  """
  jax.block_until_ready(step())
  start = time.perf_counter()
  jax.block_until_ready(step())
  once = time.perf_counter() - start
  number = max(1, min(100, round(REPEAT_SECONDS / once)))
  found = []
  for _ in range(REPEATS):
    start = time.perf_counter()
    for _ in range(number):
      last = step()
    jax.block_until_ready(last)
    found.append((time.perf_counter() - start) / number)
  return found


def measure(step: Step, tell: serving.Tell) -> dict[str, float]:
  """Times a step, and compiles it with a cold and a warm cache.

  Args:
    step: to measure.
    tell: is given what is known after each part.
  """
  found = {'clips': step.clips, 'gflop': step.gflop}
  compiled, run, seconds = _begin(step)
  found['compile_cold_seconds'] = seconds
  tell(found)
  times = time_steps(run)
  median = statistics.median(times)
  found |= {
    'ms': median * 1e3,
    'ms_low': min(times) * 1e3,
    'ms_high': max(times) * 1e3,
    'clips_per_second': step.clips / median,
  }
  # The peak of the process so far; not all devices tell.
  memory = jax.devices()[0].memory_stats() or {}
  if 'peak_bytes_in_use' in memory:
    found['process_peak_gib'] = memory['peak_bytes_in_use'] / 2**30
  tell(found)
  sizes = [_program_gib(program) for program in step.programs(compiled)]
  if None not in sizes:
    found['program_gib'] = max(sizes)
  del compiled, run
  forget()
  found['compile_warm_seconds'] = _begin(step)[-1]
  return found


def _begin(step: Step) -> tuple[Any, Callable, float]:
  """(compiled step, what runs, seconds to the end of the first step).

  Drawing the arguments does not count.
  """
  start = time.perf_counter()
  compiled = step.compile()
  seconds = time.perf_counter() - start
  run = step.start(compiled)
  start = time.perf_counter()
  jax.block_until_ready(run())
  return compiled, run, seconds + time.perf_counter() - start


def forget() -> None:
  """Gives back what earlier steps hold, but for the cache on disk."""
  jax.clear_caches()
  gc.collect()


def _program_gib(compiled) -> float | None:
  """Arguments, results and temporaries of a program; what is given, once.

  None where the device's compiler does not tell.
  """
  try:
    analysis = compiled.memory_analysis()
  except jax.errors.JaxRuntimeError:
    return None
  if analysis is None:
    return None
  return (
    analysis.argument_size_in_bytes
    + analysis.output_size_in_bytes
    + analysis.temp_size_in_bytes
    - analysis.alias_size_in_bytes
  ) / 2**30


def _config(request: dict, variants: str = ''):
  config = search_config.get_config(
    ','.join(part for part in (request['size'], variants) if part)
  )
  dtype, _ = FORMS[request['form']]
  config.dtype = dtype
  for name, value in request.get('supernet', {}).items():
    config.supernet[name] = value
  return config


def _without_extras(request: dict, variants: str = ''):
  """The config of the same work that computes nothing twice and no zeros."""
  config = _config({**request, 'form': 'float32'}, variants)
  config.supernet.update({'remat': False, 'edge_loop': False})
  return config


def _gflop(case: lowered.Case) -> float:
  return 2e-9 * cost.count_macs(case.function, *case.args)


def inference(request: dict) -> Step:
  """CDCN++ on fused images."""
  batch = request['batch']
  case = lowered.inference(_config(request), batch)
  function = jax.jit(case.function)
  return Step(
    lambda: function.lower(*case.args).compile(),
    lambda compiled: functools.partial(compiled, *_draw(case.args)),
    lambda compiled: [compiled],
    batch,
    _gflop(lowered.inference(_without_extras(request), batch)),
  )


def training(request: dict) -> Step:
  """The training step of CDCN++, fusion of the frames included."""
  batch = request['batch']
  case = lowered.training(_config(request), batch)
  function = jax.jit(case.function, donate_argnums=0)

  def start(compiled):
    state, clips = _draw(case.args)
    return _carried(lambda state: compiled(state, clips), state)

  return Step(
    lambda: function.lower(*case.args).compile(),
    start,
    lambda compiled: [compiled],
    batch,
    _gflop(lowered.training(_without_extras(request), batch)),
  )


def augmentation(request: dict) -> Step:
  """From stored pictures to a training batch; a training step begins so."""
  config = _config(request)
  batch, side = request['batch'], config.data.image_size
  prepare = settings.prepare(config, config.network.output_size)
  rng = np.random.default_rng(0)
  frames = (batch, config.data.num_frames, side, side, 3)
  raw = {
    'frames': rng.integers(0, 256, frames, dtype=np.uint8),
    'frame_size': np.full((batch, 2), side, np.int32),
    'depth': rng.integers(0, 256, (batch, 32, 32), dtype=np.uint8),
    'has_depth': np.ones(batch, np.bool_),
    'face_box': np.tile(
      side * np.array([0.2, 0.2, 0.8, 0.8], np.float32), (batch, 1)
    ),
    'place': np.arange(batch, dtype=np.int32),
  }
  function = jax.jit(lambda raw, step: prepare(raw, step, 0))
  args = raw, np.int32(0)
  return Step(
    lambda: function.lower(*args).compile(),
    lambda compiled: functools.partial(compiled, *jax.device_put(args)),
    lambda compiled: [compiled],
    batch,
    0.0,
  )


def search(request: dict) -> Step:
  """Both steps of the plain search, side by side compiled as a search does."""
  batch = request['batch']
  config = _config(request, 'plain')
  parts = meta.make_parts(config)
  weight_fn, arch_fn = bilevel.jit_steps(
    parts.loss_fn, parts.search, sharding.one_device()
  )
  args = lowered.search_steps(config, batch)['weight step'].args

  def compile_both():
    state, clips = args
    return bilevel.compile_side_by_side(
      lambda: weight_fn.lower(state, clips),
      lambda: arch_fn.lower(state, clips, clips),
    )

  def start(compiled):
    weights, arch = compiled
    state, clips = _draw(args)
    return _carried(
      lambda state: weights(arch(state, clips, clips)[0], clips), state
    )

  once = lowered.search_steps(_without_extras(request, 'plain'), batch)
  return Step(
    compile_both,
    start,
    lambda compiled: compiled,
    2 * batch,
    sum(map(_gflop, once.values())),
  )


def meta_search(request: dict) -> Step:
  """The first-order step over tasks."""
  config = _config(request, 'domain')
  parts = meta.make_parts(config)
  fields = parts.meta
  state_shapes = jax.eval_shape(meta.initial(config, parts))
  pieces, made_of = meta.first_order_pieces(
    parts, state_shapes, sharding.one_device()
  )
  tasks = {
    name: meta.make_batch(
      config, fields.num_tasks, getattr(fields, f'{name}_size')
    )
    for name in ('support', 'query')
  }

  def start(step):
    state, clips = _draw((state_shapes, tasks))
    return _carried(lambda state: step(state, clips), state)

  return Step(
    lambda: meta_step.compile_first_order(state_shapes, tasks, **made_of),
    start,
    # From the cache.
    lambda _: [pieces.lower(state_shapes, tasks['support']).compile()],
    fields.num_tasks * (fields.support_size + fields.query_size),
    2 * _gflop(lowered.set_gradients(_without_extras(request, 'domain'))),
  )


def _draw(args):
  """The arguments of a step on the device.

  Random numbers stand for what has a shape only: a card is faster on constants.
  Moments of the optimizer and batch statistics are positive.
  """
  longest = max(leaf.size for leaf in jax.tree.leaves(args) if _is_shape(leaf))

  @jax.jit
  def make():
    numbers = 0.05 * jax.random.normal(jax.random.key(0), (longest,))

    def of(path, leaf):
      if not _is_shape(leaf):
        return None
      if not jnp.issubdtype(leaf.dtype, jnp.floating):
        return jnp.zeros(leaf.shape, leaf.dtype)
      place = jax.tree_util.keystr(path)
      signed = 'opt_state' not in place and 'batch_stats' not in place
      drawn = numbers[: leaf.size].reshape(leaf.shape).astype(leaf.dtype)
      return drawn if signed else jnp.abs(drawn)

    return jax.tree.map_with_path(of, args)

  return jax.tree.map(
    lambda leaf, drawn: jax.device_put(leaf) if drawn is None else drawn,
    args,
    make(),
    is_leaf=_is_shape,
  )


def _is_shape(leaf) -> bool:
  return isinstance(leaf, jax.ShapeDtypeStruct)


def _carried(step: Callable, state) -> Callable:
  """Runs a step that gives its state away, again and again."""
  kept = {'state': state}

  def run():
    kept['state'], losses = step(kept['state'])
    return losses

  return run


STEPS = {
  'inference': inference,
  'training': training,
  'augmentation': augmentation,
  'search': search,
  'meta': meta_search,
}


def answer(request: dict, tell: serving.Tell) -> dict:
  """The figures of a section."""
  if request['kind'] == 'device':
    return device()
  # What a section that failed has left.
  forget()
  if request['kind'] == 'matrix rate':
    return matrix_rate(request['side'])
  with jax.default_matmul_precision(FORMS[request['form']][1]):
    return measure(STEPS[request['kind']](request), tell)


def main(cache: str) -> None:
  xla_options.prefer_own_convolutions()
  jax.config.update('jax_compilation_cache_dir', cache)
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
  serving.serve(answer)


if __name__ == '__main__':
  main(*sys.argv[1:])
