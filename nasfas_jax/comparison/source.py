"""Where the weights of a comparison come from, and where they are left."""

import dataclasses
import pathlib

import flax.linen as nn
import jax
import ml_collections
import numpy as np
import torch

from nasfas_jax import (
  checkpoints,
  config_checks,
  evaluate,
  files,
  models,
  progress,
  run_log,
  scoring,
  train,
)
from nasfas_jax.baseline import public_names, weights
from nasfas_jax.comparison import twins
from nasfas_jax.models import genotypes


@dataclasses.dataclass(frozen=True)
class Source:
  """A network in both frameworks.

  Attributes:
    model: the Flax module.
    variables: its 'params' and 'batch_stats'.
    twin: the PyTorch module with the same values.
    origin: 'checkpoint', 'torch_weights' or 'drawn'.
    step: steps trained, as far as is known.
    chosen: name or genotype.
  """

  model: nn.Module
  variables: dict
  twin: torch.nn.Module
  origin: str
  step: int
  chosen: str | genotypes.Genotype


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
      evaluate.read_run_config(pathlib.Path(config.checkpoint)).to_dict()
    )
  fixed = {
    'network.dtype': 'float32',
    'supernet.dtype': 'float32',
    'search.gumbel': False,
  }
  for path, value in fixed.items():
    part, name = path.split('.')
    if merged[part][name] != value:
      progress.say(
        f'config.{path} of the run is {merged[part][name]!r}; compared with '
        f'{value!r}.'
      )
      merged[part][name] = value
  for name in ('experiment', 'checkpoint', 'torch_weights', 'compare'):
    merged[name] = config[name]
  merged.data.data_dir = config.data.data_dir
  return merged


def choose(config: ml_collections.ConfigDict) -> str | genotypes.Genotype:
  """The network of a merged config: a name or a genotype."""
  if config.model != 'genotype' or config.checkpoint:
    return scoring.choose_network(config, pathlib.Path(config.checkpoint))
  return genotypes.load(config.genotype)


def load(config: ml_collections.ConfigDict) -> Source:
  """Loads the weights that a merged config names, or draws fresh ones.

  Raises:
    FileNotFoundError: if a file or checkpoint is missing.
    ValueError: if the weights do not fit the network; lists what differs.
  """
  folder = pathlib.Path(config.checkpoint)
  chosen = choose(config)
  config_checks.check_model(
    'network', lambda: scoring.build_network(config, chosen), config
  )
  model = scoring.build_network(config, chosen)
  image = scoring.example_input(config)
  twin = twins.make_twin(model, image.shape[-1])
  if config.torch_weights:
    state = weights.load_checkpoint(config.torch_weights)
    twin.load_state_dict(public_names.to_own_names(twin, state), strict=False)
    variables = jax.tree.map(jax.numpy.asarray, twins.variables_of(twin))
    # Made elsewhere, and finished there as far as can be known.
    return Source(
      *(model, variables, twin, 'torch_weights', config.train.num_steps),
      chosen,
    )
  with progress.stage('Making the network'):
    key = jax.random.fold_in(jax.random.key(config.seed), 1)
    variables = jax.jit(lambda key: models.initialize(model, key, image))(key)
  step, origin = 0, 'drawn'
  if config.checkpoint:
    variables, step = checkpoints.restore_variables(
      folder / 'checkpoints' / 'train', variables
    )
    origin = 'checkpoint'
  twin.load_state_dict(weights.from_flax(twin, variables))
  return Source(model, variables, twin, origin, step, chosen)


def keep(source: Source, workdir: pathlib.Path) -> None:
  """Leaves trained weights in both forms.

  weights.pth has the names of the public CDCN code where that has the network,
  the baseline's where not. checkpoints/train is that of a training run, so
  that `evaluate` takes the workdir.

  Raises:
    ValueError: if the workdir holds other weights.
  """
  path = workdir / 'checkpoints' / 'train'
  with checkpoints.Checkpointer(path) as saver:
    fresh = saver.latest_step != source.step
    if fresh:
      saver.save(source.step, source.variables)
  if not fresh:
    _check_kept(path, source.variables)
  if isinstance(source.chosen, genotypes.Genotype):
    source.chosen.save(workdir / 'genotype.json')
  state = source.twin.state_dict()
  if public_names.has_public_names(source.twin):
    state = public_names.to_public_names(source.twin, state)
  with files.replacing(workdir / 'weights.pth') as partial:
    torch.save(dict(state), partial)


def _check_kept(path: pathlib.Path, variables: dict) -> None:
  """Refuses to stand beside the checkpoint of other weights."""
  kept, _ = checkpoints.restore_variables(path, variables)
  equal = jax.tree.map(np.array_equal, kept, variables)
  if not all(jax.tree.leaves(equal)):
    raise ValueError(
      f'{str(path)!r} holds other weights than those that are compared: '
      'choose another --workdir.'
    )


def check(config: ml_collections.ConfigDict) -> None:
  """Checks the fields of a merged config; see `train.check`."""
  if config.checkpoint:
    config_checks.check(config)
  else:
    train.check(config)
  if config.network.dtype != 'float32' or config.supernet.dtype != 'float32':
    raise ValueError(
      f'config.network.dtype is {config.network.dtype!r}, '
      f'config.supernet.dtype {config.supernet.dtype!r}; a comparison allows '
      "'float32'."
    )
  if config.search.gumbel:
    raise ValueError(
      'config.search.gumbel is True; a comparison allows False, since the '
      "frameworks' random numbers differ."
    )


def describe(config: ml_collections.ConfigDict, source: Source) -> dict:
  """What is compared, for results.json."""
  environment = run_log.environment()
  return {
    'name': config.model,
    'weights': source.origin,
    'step': source.step,
    'torch': torch.__version__,
    'torch_threads': torch.get_num_threads(),
    'jax': environment['jax'],
    'jax_devices': environment['devices'],
  }
