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
  evaluate,
  files,
  models,
  progress,
  remote,
  run_log,
  settings,
  train,
)
from nasfas_jax.baseline import steps
from nasfas_jax.comparison import (
  devices,
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
from nasfas_jax.comparison import setup as setup_lib
from nasfas_jax.comparison.setup import Setup
from nasfas_jax.data import protocols
from nasfas_jax.metrics import thresholds
from nasfas_jax.models import cost, genotypes
from nasfas_jax.searchers import supernet_program

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
  config = merge_run(config)
  check(config)
  # First what may be refused: a bad file costs no rendering.
  setup, loaded = load(config)
  prepare(config)
  selection = settings.selection(config)
  run_log.start(workdir, config, selection)
  if isinstance(loaded.chosen, genotypes.Genotype):
    # The processes that time and measure read it there.
    loaded.chosen.save(workdir / 'genotype.json')
  environment = files.read_json(workdir / 'environment.json')
  device = devices.twin_device(jax.default_backend(), torch.cuda.is_available())
  trained = loaded.origin != 'drawn'
  if trained:
    source.keep(loaded, workdir)
  results = {
    'protocol': config.protocol,
    'model': source.describe(config.model, loaded, environment, device),
    'limits': {
      'map': MAP_LIMIT,
      'gradients': GRADIENT_LIMIT,
      'gradients_float64': FLOAT64_LIMIT,
      'gradients_whole': WHOLE_LIMIT,
    },
    'cost': count(setup, loaded),
  }
  sections = config.compare.sections

  def write():
    # After every section: what a later one breaks on is not lost.
    results['holds'] = holds(results)
    files.write_json(workdir / 'results.json', results)

  batches, search_batches = (
    draw(config, selection, *sizes)
    for sizes in (
      (config.compare.batch_size, config.network.output_size),
      (config.compare.search_batch_size, config.supernet.output_size),
    )
  )
  # The default of an accelerator (TF32, bfloat16) is not float32. The times
  # below are of the default, which is what a run has.
  with jax.default_matmul_precision('highest'):
    if 'network' in sections:
      with progress.stage('Comparing the network'):
        results['network'] = compare_network(
          setup, loaded, batches, config.compare.float64
        )
      write()
    if 'supernet' in sections:
      with progress.stage('Comparing the supernet'):
        results['supernet'] = compare_supernet(
          setup, search_batches, config.compare.float64
        )
      write()
    if 'metrics' in sections and trained:
      results['metrics'] = judged.judge(
        loaded,
        setup.form,
        functools.partial(evaluate.score, config),
        selection,
        thresholds.parse(config.threshold),
      )
      write()
  if 'speed' in sections:
    results['speed'] = speed.measure(
      *(setup, workdir, loaded, batches[0], search_batches[0]),
      rounds=config.compare.rounds,
      compile_network=config.compare.compile,
      compile_search=config.compare.compile_search,
      device=device,
    )
    write()
  if 'memory' in sections:
    with progress.stage('Measuring memory'):
      results['memory'] = {
        **memory.measure(workdir, device),
        'xla': xla_bytes(setup, batches[0]),
      }
  write()
  announce(results)
  path = page.write(workdir, results, config.to_dict(), environment)
  progress.say(f'Report: {path}')


def merge_run(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """The config of the run in config.checkpoint, if one is given.

  All of its fields stand but those that say what is compared and where the
  data lie. Both frameworks compute in float32 and without random numbers of
  their own, whatever the run did.

  Raises:
    ValueError: if both a run and a file of PyTorch are given, or if the folder
      holds no run.
  """
  if not config.checkpoint:
    return config
  if config.torch_weights:
    raise ValueError(
      f'config.checkpoint is {config.checkpoint!r} and config.torch_weights '
      f'{config.torch_weights!r}; allowed: one of them.'
    )
  merged = ml_collections.ConfigDict(config.to_dict())
  with merged.ignore_type():
    merged.update(
      evaluate.read_run_config(remote.local(config.checkpoint)).to_dict()
    )
  fixed = {
    'dtype': 'float32',
    'search.gumbel': False,
    'search.cost_weight': 0.0,
  }
  for path, value in fixed.items():
    *parts, name = path.split('.')
    part = merged[parts[0]] if parts else merged
    if part[name] != value:
      progress.say(
        f'config.{path} of the run is {part[name]!r}; compared with {value!r}.'
      )
      part[name] = value
  for name in ('experiment', 'checkpoint', 'torch_weights', 'compare'):
    merged[name] = config[name]
  merged.data.data_dir = config.data.data_dir
  return merged


def check(config: ml_collections.ConfigDict) -> None:
  """Checks a merged config before anything is written.

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
  if config.checkpoint:
    config_checks.check(config)
  else:
    train.check(config)
  # That of a run has had its effect.
  if config.train.start_from and not config.checkpoint:
    raise ValueError(
      f'config.train.start_from is {config.train.start_from!r}; allowed in a '
      "comparison, which takes config.checkpoint: ''."
    )
  try:
    steps.make_loss(dict(config.loss))
  except ValueError as error:
    raise ValueError(f'config.loss: {error}') from error
  if config.dtype != 'float32':
    raise ValueError(
      f"config.dtype is {config.dtype!r}; a comparison allows 'float32'."
    )
  if config.search.gumbel:
    raise ValueError(
      'config.search.gumbel is True; a comparison allows False, since the '
      "frameworks' random numbers differ."
    )
  if config.search.cost_weight:
    raise ValueError(
      f'config.search.cost_weight is {config.search.cost_weight}; a comparison '
      'allows 0, since the twin has no such term.'
    )


def load(config: ml_collections.ConfigDict) -> tuple[Setup, source.Source]:
  """What a merged config compares, and the weights that it names or draws.

  Raises:
    FileNotFoundError: if a file or checkpoint is missing.
    ValueError: if the sizes or the weights do not fit the network.
  """
  chosen = _choose(config)
  config_checks.check_model(
    'network', lambda: settings.network(config, chosen), config
  )
  setup = setup_lib.of(config, chosen)
  return setup, source.load(
    setup,
    chosen,
    checkpoint=config.checkpoint and str(remote.local(config.checkpoint)),
    torch_weights=config.torch_weights,
  )


def _choose(config) -> str | genotypes.Genotype:
  """The network of a merged config: a name or a genotype."""
  if config.model != 'genotype' or config.checkpoint:
    return evaluate.choose_network(config, remote.local(config.checkpoint))
  return genotypes.load(config.genotype)


def draw(config, selection, batch_size: int, map_size: int) -> list[dict]:
  """The first batches that a training would see, one for every step."""
  domain_field = protocols.get_protocol(config.protocol).domain_field
  return inputs.draw(
    settings.training_batches(config, domain_field, map_size),
    settings.prepare(config, map_size),
    selection.train,
    batch_size=batch_size,
    seed=config.seed + 3,
    number=config.compare.adam_steps,
  )


def compare_network(
  setup: Setup, loaded: source.Source, batches, float64: bool
) -> dict:
  """Parity of the network; leaves the twin as it was."""
  return _compare(setup, loaded.model, loaded.variables, batches, float64)


def compare_supernet(setup: Setup, batches, float64: bool) -> dict:
  """Parity of a fresh supernet, its architecture's gradient included."""
  model = setup.supernet
  state = jax.jit(
    functools.partial(
      supernet_program.initial_state, model, setup.example, setup.search
    )
  )()
  variables = {'params': state.params, 'batch_stats': state.batch_stats}
  return _compare(setup, model, variables, batches, float64, state.arch)


def _compare(setup, model, variables, batches, float64, *arch) -> dict:
  """Every difference of a model and its twin; one batch for every step."""
  pairs = [inputs.pair(batch, setup.form) for batch in batches]
  twin = twins.make_twin(model, pairs[0][0].shape[-1], variables)
  loss_weights = setup.loss_weights
  run = gradients.loss_and_gradients(model, loss_weights)
  return {
    **parity.compare_outputs(model, variables, twin, pairs[0][0], *arch),
    **gradients.compare_gradients(
      *(model, run, variables, twin, pairs[0], *arch),
      loss_weights=loss_weights,
      float64=float64,
    ),
    'weights': learning.compare_learning(
      *(run, variables, twin, pairs, setup.training, *arch),
      loss_weights=loss_weights,
    ),
  }


def count(setup: Setup, loaded: source.Source) -> dict[str, dict[str, float]]:
  """Parameters, and 10^9 multiply-accumulates for one input, of both."""
  image = setup.example
  macs = cost.count_macs(
    lambda variables, x: loaded.model.apply(variables, x, train=False).map,
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


def xla_bytes(setup: Setup, batch: dict) -> dict[str, float]:
  """What XLA's analysis says of a training step, in MiB."""
  start, step = speed.training_step(setup)
  lowered = jax.jit(step).lower(jax.eval_shape(start), batch)
  analysis = lowered.compile().memory_analysis()
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
