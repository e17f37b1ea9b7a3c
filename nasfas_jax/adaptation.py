"""Batch statistics of a network, moved towards those of a new place.

A handful of live clips gives statistics of one class. So those of the training
are kept and mixed with what is found, by a weight that grows with the number of
clips. What is mixed lies in the folder `FOLDER` of the run, with the threshold
that was set with it; nobody takes it who does not ask for it.
"""

import dataclasses
import hashlib
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from nasfas_jax import inputs, remote, scoring
from nasfas_jax.exporting import parameters, sealed
from nasfas_jax.models import layers
from nasfas_jax.models.schema_checks import (
  check_integer,
  check_number,
  check_type,
)

FOLDER, FILE, ARRAYS = 'adapted', 'adapted.json', 'statistics'
KIND = sealed.Kind(
  file=FILE,
  format='nasfas_jax adaptation',
  version=1,
  name='adaptation',
  arrays=ARRAYS,
  again='Calibrate the run again.',
)


@dataclasses.dataclass(frozen=True, eq=False)
class Adapted:
  """What the folder of a run holds.

  Attributes:
    batch_stats: for the run's network, in place of its own.
    content: of the JSON file.
    source: path of that file.
  """

  batch_stats: dict
  content: dict[str, Any]
  source: str

  @property
  def threshold(self) -> tuple[float, str, str, str]:
    """(value, rule, source, warning) of the threshold set with them."""
    found = self.content['threshold']
    warning = found.get('warning', '')
    return float(found['value']), found['rule'], self.source, warning


def describe(content: Mapping[str, Any]) -> str:
  """What batch statistics were adapted to, in words."""
  return (
    f'batch statistics adapted to {content["num_clips"]} live clips of '
    f'{content["num_subjects"]} persons (weight {content["weight"]:.2f})'
  )


def find_statistics(
  model: nn.Module, variables: dict, frames: np.ndarray, form: inputs.InputForm
) -> dict:
  """What each batch normalization sees of clips that are one batch.

  Each layer takes the moments of this batch, as in training, so a later layer
  sees clips that the earlier ones have normalised by them.

  Args:
    model: the network.
    variables: dict with 'params' and 'batch_stats'.
    frames: uint8 [B, K, S, S, 3], the snippets of all clips.
    form: of the network's input.

  Returns:
    The tree of 'batch_stats': float32 means and variances over the batch and
    all places of a map; the variance is the biased one.

  Raises:
    ValueError: for a network without batch normalization.
  """
  if not variables['batch_stats']:
    raise ValueError(
      'The network has no batch normalization (choices.norm of its genotype); '
      'there are no batch statistics to adapt.'
    )

  @jax.jit
  def find(variables, frames):
    # From zeros, the update of the running statistics is the batch's share.
    nothing = jax.tree.map(jnp.zeros_like, variables['batch_stats'])
    # They are for scores, and are found as those are.
    with jax.default_matmul_precision(scoring.PRECISION):
      _, updated = model.apply(
        {'params': variables['params'], 'batch_stats': nothing},
        inputs.network_input(frames, form),
        train=True,
        mutable=['batch_stats'],
      )
    share = 1.0 - layers.BATCH_NORM_MOMENTUM
    return jax.tree.map(lambda leaf: leaf / share, updated['batch_stats'])

  return find(variables, frames)


def weight_of(num_clips: int, prior_clips: float) -> float:
  """The weight of what was found in clips: n / (n + prior), below 1."""
  return num_clips / (num_clips + prior_clips)


def mix(old: dict, found: dict, weight: float) -> dict:
  """The statistics of a mixture of two populations.

  The mean is (1 - w) old + w found. By the law of total variance, the variance
  is the same mean of the variances, plus w (1 - w) (found - old)^2 of the
  means.

  Args:
    old: tree of 'mean' and 'var' of each batch normalization.
    found: the same tree.
    weight: w, of `found`, in [0, 1].

  Returns:
    The same tree, float32.
  """
  before, new = (traverse_util.flatten_dict(dict(t)) for t in (old, found))
  mixed = {}
  for path in before:
    kept, added = (np.asarray(t[path], np.float64) for t in (before, new))
    mixed[path] = (1 - weight) * kept + weight * added
    if path[-1] == 'var':
      mean = (*path[:-1], 'mean')
      apart = np.asarray(new[mean], np.float64) - np.asarray(before[mean])
      mixed[path] += weight * (1 - weight) * np.square(apart)
  return traverse_util.unflatten_dict(
    {path: jnp.asarray(leaf, jnp.float32) for path, leaf in mixed.items()}
  )


def digest_of(variables: dict) -> str:
  """SHA-256 of a network's variables, with their names and shapes."""
  found = hashlib.sha256()
  leaves = jax.tree_util.tree_leaves_with_path(dict(variables))
  named = {
    jax.tree_util.keystr(path, simple=True, separator='/'): np.asarray(leaf)
    for path, leaf in leaves
  }
  for name in sorted(named):
    array = named[name]
    found.update(f'{name} {array.dtype} {array.shape}\n'.encode())
    found.update(np.ascontiguousarray(array).tobytes())
  return found.hexdigest()


def write(
  workdir: pathlib.Path,
  variables: dict,
  batch_stats: dict,
  content: dict[str, Any],
) -> pathlib.Path:
  """Writes adapted statistics into the folder of a run.

  Those of an earlier command are replaced. The JSON file is removed first and
  written last, so a folder that has one is whole.

  Args:
    workdir: of the run.
    variables: of the run's network, as trained.
    batch_stats: the adapted ones.
    content: JSON content, see `read`.

  Returns:
    The JSON file.
  """
  folder = workdir / FOLDER
  folder.mkdir(parents=True, exist_ok=True)
  (folder / FILE).unlink(missing_ok=True)
  if (folder / ARRAYS).exists():
    shutil.rmtree(folder / ARRAYS)
  parameters.write(folder / ARRAYS, {'batch_stats': batch_stats})
  content = {**content, 'run': digest_of(variables)}
  sealed.write(folder, KIND, content, [ARRAYS])
  return folder / FILE


def read(workdir: pathlib.Path, variables: dict) -> Adapted:
  """Reads the adapted statistics of a run with everything in them verified.

  Args:
    workdir: of the run.
    variables: of the run's network, as trained.

  Raises:
    ValueError: if there are none, they are damaged or changed, or they were
      made for other parameters; one line that names the file.
  """
  folder = pathlib.Path(workdir) / FOLDER
  path = folder / FILE
  if not path.is_file():
    raise ValueError(
      f'{str(workdir)!r} has no adapted batch statistics: there is no '
      f'{FOLDER}/{FILE}. --config=calibrate --config.statistics.adapt=True '
      'makes them.'
    )
  content = sealed.read(folder, KIND)
  try:
    _check(content)
  except KeyError as error:
    raise ValueError(f'{str(path)!r}: the field {error} is missing.') from error
  except ValueError as error:
    raise ValueError(f'{str(path)!r}: {error}') from error
  if content['run'] != digest_of(variables):
    raise ValueError(
      f'{str(path)!r} was made for other parameters than those of the run in '
      f'{str(workdir)!r}. {KIND.again}'
    )
  own = variables['batch_stats']
  shapes = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=leaf.sharding
    ),
    own,
  )
  batch_stats = parameters.read(folder / ARRAYS, {'batch_stats': shapes})[
    'batch_stats'
  ]
  for where, leaf in traverse_util.flatten_dict(dict(batch_stats)).items():
    if where[-1] == 'var' and float(jnp.min(leaf)) < 0:
      raise ValueError(
        f'{str(folder / ARRAYS)!r}: {"/".join(where)} has a variance below 0.'
      )
  return Adapted(batch_stats, content, remote.shown(str(path)))


def _check(content: Mapping[str, Any]) -> None:
  """Raises ValueError or KeyError for a field that is not valid."""
  check_integer('num_clips', content['num_clips'], 1, 10**9)
  check_integer('num_subjects', content['num_subjects'], 1, 10**9)
  check_number('weight', content['weight'], 0.0, 1.0)
  check_type('run', content['run'], str, 'a string')
  threshold = content['threshold']
  check_type('threshold', threshold, dict, 'an object')
  check_number('threshold.value', threshold['value'], -1e300, 1e300)
  check_type('threshold.rule', threshold['rule'], str, 'a string')
  warning = threshold.get('warning', '')
  check_type('threshold.warning', warning, str, 'a string')
