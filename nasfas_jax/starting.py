"""A training that starts from the network of a finished run.

The network has to be the same: its name or genotype, its sizes, its input. What
that run has seen counts as seen by the new one, too, so that no evaluation
takes it for unseen.
"""

import pathlib

import jax
import ml_collections

from nasfas_jax import detector, remote, run_config, run_log, settings
from nasfas_jax.data import index, protocols
from nasfas_jax.models import genotypes

FIELD = 'config.train.start_from'
# Sections that say what the network is, and fields there that may differ.
_SAME = ('network', 'input')
_FREE = ('network.output_size', 'network.remat')


def check(
  config: ml_collections.ConfigDict, chosen: str | genotypes.Genotype
) -> None:
  """Checks that the run in config.train.start_from has this network.

  Args:
    config: of the training.
    chosen: its network: a name, or a genotype.

  Raises:
    ValueError: if there is no run, or it has another network; names the field,
      its value and what is allowed.
  """
  source = _folder(config)
  there = _config(config)
  if there.model != config.model:
    raise ValueError(
      f'config.model is {config.model!r}; allowed with the run in {FIELD}, '
      f'{str(source)!r}: {there.model!r}.'
    )
  if isinstance(chosen, genotypes.Genotype):
    path = source / 'genotype.json'
    if genotypes.load(path) != chosen:
      raise ValueError(
        f'config.genotype is {config.genotype!r}; allowed with the run in '
        f'{FIELD}: its genotype, {str(path)!r}.'
      )
  then = run_config.flatten(there)
  for name, value in run_config.flatten(config).items():
    same = name.partition('.')[0] in _SAME and name not in _FREE
    if same and value != then[name]:
      raise ValueError(
        f'config.{name} is {value!r}; allowed with the run in {FIELD}, '
        f'{str(source)!r}: {then[name]!r}.'
      )


def before(
  config: ml_collections.ConfigDict, selection: protocols.Selection
) -> dict[str, object]:
  """What the run in config.train.start_from has seen; for `run_log.start`.

  Raises:
    ValueError: if it was trained on subjects that this protocol holds out.
  """
  data = run_log.read_data(_folder(config))
  for name in ('dev', 'test'):
    if name == 'dev' and selection.dev_source == 'train':
      # The threshold is set on training clips, and said to be.
      continue
    held_out = index.subjects(getattr(selection, name))
    if shared := set(data['train_subjects']) & held_out:
      raise ValueError(
        f'{FIELD} is {config.train.start_from!r}, which was trained on '
        f'{len(shared)} of the {len(held_out)} {name} subjects of '
        f'{config.protocol!r}, such as {min(shared)!r}; allowed: a run that '
        'has seen none of them.'
      )
  return {
    'run': config.train.start_from,
    'train_subjects': data['train_subjects'],
    'train_values': data.get('train_values', {}),
  }


def variables(
  config: ml_collections.ConfigDict,
  chosen: str | genotypes.Genotype,
  placed: jax.sharding.Sharding,
) -> dict:
  """The 'params' and 'batch_stats' of the run in config.train.start_from.

  Args:
    config: of the training.
    chosen: its network.
    placed: sharding of every array.

  Raises:
    ValueError: if that run is not finished, or its checkpoints are damaged.
    FileNotFoundError: if it has none.
  """
  try:
    found, _ = detector.restore_network(
      _folder(config), settings.network(config, chosen), _config(config), placed
    )
  except (ValueError, FileNotFoundError) as error:
    raise type(error)(f'{FIELD}: {error}') from error
  return found


def _folder(config) -> pathlib.Path:
  return remote.local(config.train.start_from)


def _config(config) -> ml_collections.ConfigDict:
  try:
    return run_config.read_network(_folder(config))
  except ValueError as error:
    raise ValueError(f'{FIELD}: {error}') from error
