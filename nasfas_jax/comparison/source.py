"""Where the weights of a comparison come from, and where they are left."""

import dataclasses
import pathlib
from collections.abc import Mapping

import flax.linen as nn
import jax
import numpy as np
import torch

from nasfas_jax import checkpoints, files, models, progress
from nasfas_jax.baseline import public_names, weights
from nasfas_jax.comparison import devices, twins
from nasfas_jax.comparison.setup import Setup
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


def load(
  setup: Setup,
  chosen: str | genotypes.Genotype,
  *,
  checkpoint: str = '',
  torch_weights: str = '',
) -> Source:
  """Loads the weights of a network, or draws fresh ones.

  Args:
    setup: what is compared.
    chosen: name or genotype of its network.
    checkpoint: the workdir of a training run.
    torch_weights: a file of torch.save.

  Raises:
    FileNotFoundError: if a file or checkpoint is missing.
    ValueError: if the weights do not fit the network; lists what differs.
  """
  model, example = setup.network, setup.example
  twin = twins.make_twin(model, example.shape[-1])
  if torch_weights:
    state = weights.load_checkpoint(torch_weights)
    try:
      state = public_names.to_own_names(twin, state)
    except ValueError as error:
      raise ValueError(f'config.torch_weights: {error}') from error
    # Not strict: counters may be missing.
    twin.load_state_dict(state, strict=False)
    variables = jax.tree.map(jax.numpy.asarray, twins.variables_of(twin))
    # Made elsewhere, and finished there as far as can be known.
    return Source(
      *(model, variables, twin, 'torch_weights', setup.training.num_steps),
      chosen,
    )
  with progress.stage('Making the network'):
    key = jax.random.fold_in(jax.random.key(setup.seed), 1)
    variables = jax.jit(lambda key: models.initialize(model, key, example))(key)
  step, origin = 0, 'drawn'
  if checkpoint:
    variables, step = checkpoints.restore_variables(
      checkpoints.folder(checkpoint, 'train'), variables
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
  path = checkpoints.folder(workdir, 'train')
  with checkpoints.Checkpointer(path) as saver:
    fresh = saver.latest_step != source.step
    if fresh:
      saver.save(source.step, source.variables)
  if not fresh:
    _check_kept(path, source.variables)
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


def describe(
  name: str, source: Source, environment: Mapping, device: str
) -> dict:
  """What is compared, for results.json.

  Args:
    name: of the network.
    source: its weights.
    environment: see `run_log.environment`.
    device: of the timed twins, see `devices.twin_device`.
  """
  return {
    'name': name,
    'weights': source.origin,
    'step': source.step,
    'torch': torch.__version__,
    'torch_threads': torch.get_num_threads(),
    'torch_device': devices.describe(device),
    'jax': environment['jax'],
    'jax_devices': environment['devices'],
  }
