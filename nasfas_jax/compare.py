"""The experiment 'compare': one run, every difference and every figure."""

import functools
import pathlib
from collections.abc import Callable

import jax
import ml_collections
import torch
from torch.utils.flop_counter import FlopCounterMode

from nasfas_jax import (
  config_checks,
  files,
  models,
  progress,
  run_log,
  scoring,
  train,
)
from nasfas_jax.comparison import (
  gradients,
  inputs,
  judged,
  learning,
  memory,
  page,
  parity,
  source,
  speed,
  twins,
)
from nasfas_jax.data import protocols
from nasfas_jax.models import cost
from nasfas_jax.searchers import bilevel

SECTIONS = ('network', 'supernet', 'metrics', 'speed', 'memory')
# What the parity holds to: the map in float32, and gradients in float64. In
# float32, where rounding alone parts single tensors by more than the limit (see
# `gradients`), all of them together; they have the first limit where float64 is
# not compared.
MAP_LIMIT = 1e-4
GRADIENT_LIMIT = 1e-3
FLOAT64_LIMIT = 1e-5
WHOLE_LIMIT = 0.02


def compare(
  config: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  prepare: Callable[[ml_collections.ConfigDict], None],
) -> None:
  """Compares a network here and in PyTorch on the clips of config.protocol.

  The weights are those of the run in config.checkpoint, of the file in
  config.torch_weights, or drawn. Writes results.json, the report and, of
  weights that were not drawn, weights.pth and checkpoints/train.

  Args:
    config: of the comparison.
    workdir: folder of its files.
    prepare: makes the embedded dataset that a config needs; called with the
      one that holds, in which the protocol is that of the run.

  Raises:
    ValueError: for a config that makes no sense or weights that do not fit.
    FileNotFoundError: if a file, a checkpoint or the dataset is missing.
  """
  config = source.merge_run(config)
  check(config)
  source.check(config)
  prepare(config)
  loaded = source.load(config)
  selection = protocols.load(
    config.protocol,
    config.data.data_dir,
    config.data.builder_config,
    config.threshold_source,
  )
  run_log.start(workdir, config, selection)
  trained = loaded.origin != 'drawn'
  if trained:
    source.keep(loaded, workdir)
  results = {
    'protocol': config.protocol,
    'model': source.describe(config, loaded),
    'limits': {
      'map': MAP_LIMIT,
      'gradients': GRADIENT_LIMIT,
      'gradients_float64': FLOAT64_LIMIT,
      'gradients_whole': WHOLE_LIMIT,
    },
    'cost': count(config, loaded),
  }
  sections = config.compare.sections

  def write():
    # After every section: what a later one breaks on is not lost.
    results['holds'] = holds(results)
    files.write_json(workdir / 'results.json', results)

  batches = inputs.draw(config, selection.train, 'network')
  search_batches = inputs.draw(config, selection.train, 'supernet')
  # The default of an accelerator (TF32, bfloat16) is not float32. The times
  # below are of the default, which is what a run has.
  with jax.default_matmul_precision('highest'):
    if 'network' in sections:
      with progress.stage('Comparing the network'):
        results['network'] = compare_network(config, loaded, batches)
      write()
    if 'supernet' in sections:
      with progress.stage('Comparing the supernet'):
        results['supernet'] = compare_supernet(config, search_batches)
      write()
    if 'metrics' in sections and trained:
      results['metrics'] = judged.judge(config, loaded, selection)
      write()
  if 'speed' in sections:
    results['speed'] = speed.measure(
      config, workdir, loaded, batches[0], search_batches[0]
    )
    write()
  if 'memory' in sections:
    with progress.stage('Measuring memory'):
      results['memory'] = {
        **memory.measure(workdir),
        'xla': xla_bytes(config, loaded, batches[0]),
      }
  write()
  announce(results)
  progress.say(f'Report: {page.write(workdir)}')


def check(config: ml_collections.ConfigDict) -> None:
  """Checks config.compare.

  Raises:
    ValueError: names the field, its value and what is allowed.
  """
  for name in config.compare.sections:
    if name not in SECTIONS:
      raise ValueError(
        f'config.compare.sections holds {name!r}; allowed: '
        f'{", ".join(SECTIONS)}.'
      )
  for name in ('batch_size', 'search_batch_size', 'adam_steps', 'rounds'):
    if config.compare[name] < 1:
      raise ValueError(
        f'config.compare.{name} is {config.compare[name]}; allowed: 1 or more.'
      )
  config_checks.check_batch_sizes(
    config, 'compare.batch_size', 'compare.search_batch_size'
  )


def compare_network(config, loaded: source.Source, batches) -> dict:
  """Parity of the network; leaves the twin as it was."""
  return _compare(config, loaded.model, loaded.variables, batches)


def compare_supernet(config, batches) -> dict:
  """Parity of a fresh supernet, its architecture's gradient included."""
  model = bilevel.build_supernet(config)
  state = jax.jit(functools.partial(bilevel.initial_state, config, model))()
  variables = {'params': state.params, 'batch_stats': state.batch_stats}
  return _compare(config, model, variables, batches, state.arch)


def _compare(config, model, variables, batches, *arch) -> dict:
  """Every difference of a model and its twin; one batch for every step."""
  pairs = [inputs.pair(config, batch) for batch in batches]
  twin = twins.make_twin(model, pairs[0][0].shape[-1], variables)
  run = gradients.loss_and_gradients(model)
  return {
    **parity.compare_outputs(model, variables, twin, pairs[0][0], *arch),
    **gradients.compare_gradients(
      *(model, run, variables, twin, pairs[0], *arch),
      float64=config.compare.float64,
    ),
    'weights': learning.compare_learning(
      run, variables, twin, pairs, config.train, *arch
    ),
  }


def count(config, loaded: source.Source) -> dict[str, dict[str, float]]:
  """Parameters, and 10^9 multiply-accumulates for one input, of both."""
  image = scoring.example_input(config)
  macs = cost.count_macs(
    functools.partial(loaded.model.apply, train=False),
    loaded.variables,
    image,
  )
  with torch.inference_mode(), FlopCounterMode(display=False) as counter:
    loaded.twin.eval()(twins.to_torch(image))
  loaded.twin.train()
  return {
    'parameters': {
      'jax': models.count_parameters(loaded.variables['params']),
      'torch': sum(p.numel() for p in loaded.twin.parameters()),
    },
    # PyTorch counts a multiplication and an addition as two operations.
    'gmac': {'jax': macs / 1e9, 'torch': counter.get_total_flops() / 2e9},
  }


def xla_bytes(config, loaded: source.Source, batch) -> dict[str, float]:
  """What XLA's analysis says of a training step, in MiB."""
  optimizer = train.make_optimizer(config.train)[0]
  state = jax.eval_shape(
    functools.partial(train.initial_state, config, loaded.model, optimizer)
  )
  step = jax.jit(
    functools.partial(
      train.train_step, model=loaded.model, config=config, optimizer=optimizer
    )
  )
  analysis = step.lower(state, batch).compile().memory_analysis()
  return {
    'temporaries': analysis.temp_size_in_bytes / 2**20,
    'arguments': analysis.argument_size_in_bytes / 2**20,
  }


def holds(results: dict) -> dict[str, bool]:
  """Whether the differences stay within the limits, for each section."""
  return {
    name: _holds(results[name])
    for name in ('network', 'supernet')
    if name in results
  }


def _holds(found: dict) -> bool:
  # Frameworks that agree on a map of zeros agree on nothing.
  if not found['map']['scale'] or found['map']['max'] > MAP_LIMIT:
    return False
  if 'gradients_float64' not in found:
    return found['gradients']['max'] <= GRADIENT_LIMIT
  return (
    found['gradients_float64']['max'] <= FLOAT64_LIMIT
    and found['gradients']['whole'] <= WHOLE_LIMIT
  )


def announce(results: dict) -> None:
  """Prints the figures that count."""
  for name, held in results['holds'].items():
    found = results[name]
    progress.say(
      f'{name}: largest difference of the map {found["map"]["max"]:.2g}, of '
      f'the gradients {page.gradient_gaps(found)} (relative); within the '
      f'limits: {"yes" if held else "no"}'
    )
  for name, case in results.get('speed', {}).items():
    times = ', '.join(
      f'{kind} {figures["median"]:.4f} s'
      if 'median' in figures
      else f'{kind} failed'
      for kind, figures in case['times'].items()
    )
    progress.say(f'{name}: {times}')
