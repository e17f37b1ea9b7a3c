"""Times of both frameworks, in turns in one process."""

import functools
import statistics
import time
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import ml_collections
import torch

from nasfas_jax import (
  bilevel,
  progress,
  scoring,
  train,
  train_state,
  xla_options,
)
from nasfas_jax.baseline import steps
from nasfas_jax.compare import inputs, parity, twins
from nasfas_jax.compare.source import Source

_BATCHES = (1, 8)
_EAGER = 'torch eager'
_COMPILED = 'torch compiled'


def in_turns(functions: Mapping[str, Callable], rounds: int) -> dict[str, dict]:
  """Calls each function once to warm it up, then all in turns.

  Args:
    functions: by name; each waits for its result.
    rounds: calls of each that are timed.

  Returns:
    For each: first (seconds of the first call, which compiles), median, low
    and high; or 'error' where torch.compile failed.
  """
  found, seconds = {}, {}
  for name, function in functions.items():
    began = time.perf_counter()
    try:
      function()
    except Exception as error:
      # torch.compile needs a C++ compiler and says so in many ways.
      if name != _COMPILED:
        raise
      text = str(error).strip() or type(error).__name__
      found[name] = {'error': text.splitlines()[0][:200]}
      continue
    found[name] = {'first': time.perf_counter() - began}
    seconds[name] = []
  for _ in range(rounds):
    for name, times in seconds.items():
      began = time.perf_counter()
      functions[name]()
      times.append(time.perf_counter() - began)
  for name, times in seconds.items():
    found[name] |= {
      'median': statistics.median(times),
      'low': min(times),
      'high': max(times),
    }
  return found


def ratios(times: Mapping[str, Mapping]) -> dict[str, float]:
  """PyTorch's medians over ours: how often ours is faster."""
  return {
    name: figures['median'] / times['jax']['median']
    for name, figures in times.items()
    if name != 'jax' and 'median' in figures
  }


def _twin_names(compiled: bool) -> list[str]:
  return [_EAGER, _COMPILED] if compiled else [_EAGER]


def measure(
  config: ml_collections.ConfigDict,
  source: Source,
  batch: dict,
  search_batch: dict,
) -> dict[str, dict]:
  """Times of inference and of the steps of training and searching.

  Args:
    config: of the run.
    source: the network.
    batch: clips for the network, as `pipeline.train_batches` yields them.
    search_batch: clips for the supernet.

  Returns:
    By what is timed: {'times': see `in_turns`, 'ratios': see `ratios`}.
  """
  cases = {
    f'inference, batch {size}': functools.partial(
      _inference, config, source, size
    )
    for size in _BATCHES
  }
  number = len(batch['label'])
  cases[f'training step, batch {number}'] = functools.partial(
    _training, config, source, batch
  )
  number = len(search_batch['label'])
  cases[f'search step, batch {number}'] = functools.partial(
    _searching, config, search_batch
  )
  found = {}
  for name, make in cases.items():
    with progress.stage(f'Timing: {name}'):
      times = in_turns(make(), config.compare.rounds)
    found[name] = {'times': times, 'ratios': ratios(times)}
    torch.compiler.reset()
  return found


def _inference(config, source, size):
  shape = (size, *scoring.example_input(config).shape[1:])
  images = jax.random.normal(jax.random.key(config.seed), shape)
  apply = jax.jit(functools.partial(source.model.apply, train=False))
  twin = twins.make_twin(source.model, shape[-1], source.variables).eval()
  tensor = twins.to_torch(images)

  def run(module):
    with torch.inference_mode():
      return module(tensor)

  functions = {
    'jax': lambda: jax.block_until_ready(apply(source.variables, images))
  }
  for name in _twin_names(config.compare.compile):
    module = torch.compile(twin) if name == _COMPILED else twin
    functions[name] = functools.partial(run, module)
  return functions


def _carried(step: Callable, state):
  """Runs a step that gives its state away, again and again."""
  kept = {'state': state}

  def run():
    kept['state'], loss = step(kept['state'])
    jax.block_until_ready((kept['state'], loss))

  return run


def _training(config, source, batch):
  functions = {'jax': jax_training(config, source.model, batch)}
  for name in _twin_names(config.compare.compile):
    twin = twins.make_twin(
      source.model,
      scoring.example_input(config).shape[-1],
      source.variables,
    )
    functions[name] = torch_training(config, twin, batch, name == _COMPILED)
  return functions


def jax_training(config, model, batch) -> Callable[[], None]:
  """A training step as `train.fit` runs it, fusion of the frames included."""
  optimizer = train.make_optimizer(config.train)[0]
  state = jax.jit(
    functools.partial(train.initial_state, config, model, optimizer)
  )()
  step = jax.jit(
    functools.partial(
      train.train_step, model=model, config=config, optimizer=optimizer
    ),
    donate_argnums=0,
  )
  batch = jax.tree.map(jnp.asarray, batch)
  compiled = []

  def run(state):
    # In the first call, whose time counts as compilation.
    if not compiled:
      lowered = step.lower(state, batch)
      compiled.append(xla_options.compile_step(lowered, in_sequence=True))
    return compiled[0](state, batch)

  return _carried(run, state)


def torch_training(config, twin, batch, compiled) -> Callable[[], None]:
  """A training step of the twin, from the fused input on."""
  optimizer = parity.make_twin_optimizer(twin, config.train)
  tensors = inputs.torch_batch(config, batch)
  module = torch.compile(twin) if compiled else twin
  return lambda: steps.train_step(
    module, optimizer, tensors, gradient_clip=config.train.gradient_clip
  )


def _searching(config, batch):
  config = config.copy_and_resolve_references()
  # A first-order step of the plain search, without learned inner rates.
  config.search.tasks = 'none'
  config.search.second_order = False
  model = bilevel.build_supernet(config)
  state = jax.jit(functools.partial(bilevel.initial_state, config, model))()
  weight_fn, arch_fn = bilevel.jit_steps(config, model, train_state.make_mesh())
  functions = {
    name: _torch_search(config, model, state, batch, name == _COMPILED)
    for name in _twin_names(config.compare.compile_search)
  }
  clips = jax.tree.map(jnp.asarray, batch)

  def step(state):
    return weight_fn(arch_fn(state, clips, clips)[0], clips)

  return {'jax': _carried(step, state), **functions}


def _torch_search(config, model, state, batch, compiled):
  settings = config.search
  twin = twins.make_twin(
    model,
    scoring.example_input(config).shape[-1],
    {'params': state.params, 'batch_stats': state.batch_stats},
  )
  arch = twins.torch_arch(state.arch)
  weight_optimizer = torch.optim.Adam(
    twin.parameters(),
    lr=settings.weight_learning_rate,
    weight_decay=settings.weight_decay,
  )
  arch_optimizer = torch.optim.Adam(
    steps.arch_tensors(arch),
    lr=settings.arch_learning_rate,
    betas=(0.5, 0.999),
    weight_decay=settings.arch_weight_decay,
  )
  tensors = inputs.torch_batch(config, batch)
  module = torch.compile(twin) if compiled else twin
  return lambda: steps.search_step(
    module,
    arch,
    weight_optimizer,
    arch_optimizer,
    tensors,
    tensors,
    gradient_clip=settings.gradient_clip,
  )
