"""Checks of a run's config before anything is rendered or compiled."""

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Protocol

import jax
import ml_collections

from nasfas_jax import (
  inputs,
  losses,
  mix_style,
  optimizers,
  scoring,
  settings,
  sharding,
  supervised,
)
from nasfas_jax.data import balance, episodes
from nasfas_jax.data.protocols import definition
from nasfas_jax.metrics import thresholds
from nasfas_jax.models import expected_cost, search_spaces
from nasfas_jax.ops import fusion, rank_pooling

_STEPS = 10**9
_SIZE = 1 << 16


class Form(Protocol):
  """What a field may be; as a text, what is allowed."""

  def allows(self, value) -> bool:
    """Whether the field may have this value."""


@dataclasses.dataclass(frozen=True)
class Number:
  """Finite numbers from `low` to `high`; with `above`, without `low` itself."""

  low: float
  high: float
  above: bool = False

  def allows(self, value) -> bool:
    # False for a NaN.
    return (
      isinstance(value, int | float)
      and self.low <= value <= self.high
      and not (self.above and value == self.low)
    )

  def __str__(self) -> str:
    if self.above:
      return f'above {self.low:g}, up to {self.high:g}'
    return f'{_plain(self.low)} to {_plain(self.high)}'


@dataclasses.dataclass(frozen=True)
class Numbers:
  """From one to `most` numbers."""

  each: Number
  most: int

  def allows(self, value) -> bool:
    return 1 <= len(value) <= self.most and all(map(self.each.allows, value))

  def __str__(self) -> str:
    return f'1 to {self.most} numbers, each {self.each}'


@dataclasses.dataclass(frozen=True)
class Interval:
  """(low, high), both allowed by `each`, and low at most high."""

  each: Number

  def allows(self, value) -> bool:
    return (
      len(value) == 2
      and all(map(self.each.allows, value))
      and value[0] <= value[1]
    )

  def __str__(self) -> str:
    return f'(low, high) with low at most high, each {self.each}'


@dataclasses.dataclass(frozen=True)
class OneOf:
  """Some names."""

  names: tuple[str, ...]

  def allows(self, value) -> bool:
    return value in self.names

  def __str__(self) -> str:
    return ', '.join(name or "''" for name in self.names)


@dataclasses.dataclass(frozen=True)
class Optional:
  """None too."""

  form: Number

  def allows(self, value) -> bool:
    return value is None or self.form.allows(value)

  def __str__(self) -> str:
    return f'None, or {self.form}'


@dataclasses.dataclass(frozen=True)
class SomeOf:
  """One or more of some names, each once."""

  names: tuple[str, ...]

  def allows(self, value) -> bool:
    return (
      len(value) > 0
      and all(name in self.names for name in value)
      and len(set(value)) == len(value)
    )

  def __str__(self) -> str:
    return f'one or more of {", ".join(self.names)}'


class FolderName:
  """'' or the name of a folder, which stays in its parent."""

  def allows(self, value) -> bool:
    return re.fullmatch(r'(\w[\w.+-]*)?', value) is not None

  def __str__(self) -> str:
    return "'' or a name of letters, digits and . + - _"


def _plain(value: float) -> str:
  return str(value) if isinstance(value, int) else f'{value:g}'


_COUNT = Number(1, _STEPS)
_SHARE = Number(0.0, 1.0)
_RATE = Number(0.0, 1e3, above=True)
_DECAY = Number(0.0, 1e3)
_CLIP = Number(0.0, 1e6)
# Side of the crop over that of the face box. The stored crop has 1.6; from 4 on
# most of a picture would be its repeated border.
_SCALE = Number(0.5, 4.0)
_WIDTHS = Numbers(Number(1, _SIZE), 8)

# Field -> what it may be. Fields that are True or False are not here.
ALLOWED = {
  # The streams of a run add small numbers to it, and it stays an int32.
  'seed': Number(0, 2**31 - 100),
  'threshold_source': OneOf(('', *definition.THRESHOLD_SOURCES)),
  'checkpoint_every': Number(0, _STEPS),
  'log_every': _COUNT,
  'dtype': OneOf(settings.DTYPES),
  'max_skipped_steps': Number(0, _STEPS),
  'data.builder_config': FolderName(),
  'data.image_size': Number(8, 4096),
  'data.num_frames': Number(1, 512),
  'data.eval_face_scale': _SCALE,
  'data.balance': OneOf(balance.BALANCES),
  'data.num_snippets': Number(1, 1024),
  'data.num_workers': Number(0, 256),
  'data.cache_mib': Number(0, 1 << 24),
  'augmentation.face_scale': Interval(_SCALE),
  'augmentation.shift': _SHARE,
  'augmentation.flip': _SHARE,
  'augmentation.colour': Number(0.0, 255.0),
  'augmentation.gamma': Interval(Number(0.1, 10.0)),
  'augmentation.erase': _SHARE,
  'augmentation.erase_area': Interval(_SHARE),
  'augmentation.cutout': _SHARE,
  'augmentation.cutout_side': _SHARE,
  'augmentation.noise': Number(0.0, 255.0),
  'augmentation.blur': Number(0.0, 100.0),
  'augmentation.compression': Number(0.0, 99.0),
  'mix_style.probability': _SHARE,
  'mix_style.alpha': Number(0.0, 100.0, above=True),
  'mix_style.stages': SomeOf(mix_style.STAGES),
  'input.fusion': OneOf(fusion.FUSIONS),
  'input.rank_pooling': OneOf(rank_pooling.KINDS),
  'input.normalization': OneOf(inputs.NORMALIZATIONS),
  'network.stem_features': _WIDTHS,
  'network.cell_features': Number(1, _SIZE),
  'network.head_features': Number(1, _SIZE),
  'network.output_size': Number(3, 4096),
  'network.theta': Optional(_SHARE),
  'supernet.space': OneOf(search_spaces.SPACES),
  'supernet.num_cells': Number(1, 64),
  'supernet.num_nodes': Number(1, 16),
  'supernet.stem_features': _WIDTHS,
  'supernet.cell_features': Number(1, _SIZE),
  'supernet.head_features': Number(1, _SIZE),
  'supernet.output_size': Number(3, 4096),
  'supernet.theta': _SHARE,
  'supernet.partial_channels': Number(1, _SIZE),
  'search.algorithm': OneOf(('gradient', 'evolution', 'random')),
  'search.hold_out': OneOf(('none', *episodes.HOLD_OUTS)),
  'search.num_steps': _COUNT,
  'search.batch_size': Number(1, _SIZE),
  'search.warmup_steps': Number(0, _STEPS),
  'search.temperature': Number(0.0, 1e3, above=True),
  'search.weight_learning_rate': _RATE,
  # A search has no step_size.
  'search.weight_schedule': OneOf(('constant', 'cosine')),
  'search.weight_decay': _DECAY,
  'search.arch_learning_rate': _RATE,
  'search.arch_weight_decay': _DECAY,
  'search.gradient_clip': _CLIP,
  'search.cost_weight': Number(0.0, 1e6),
  'search.cost': OneOf(expected_cost.UNITS),
  'search.selection': OneOf(settings.SELECTIONS),
  'search.selection_batches': Number(1, 100_000),
  'search.selection_steps': Number(0, _STEPS),
  'search.arch_every': _COUNT,
  'meta.num_tasks': Number(1, 1024),
  'meta.support_size': Number(1, _SIZE),
  'meta.query_size': Number(1, _SIZE),
  'meta.inner_steps': Number(1, 64),
  'meta.inner_lr': _RATE,
  'meta.anneal_steps': Number(0, _STEPS),
  'meta.inner_lr_learning_rate': _RATE,
  'evolution.population': Number(2, 1_000_000),
  'evolution.evaluations': Number(2, 1_000_000),
  'evolution.mutation_rate': _SHARE,
  'evolution.num_clips': Number(2, 1_000_000),
  'train.num_seeds': Number(1, 64),
  'train.num_steps': _COUNT,
  'train.batch_size': Number(1, _SIZE),
  'train.learning_rate': _RATE,
  'train.warmup_steps': Number(0, _STEPS),
  'train.schedule': OneOf(optimizers.SCHEDULES),
  'train.step_size': Number(0, _STEPS),
  'train.weight_decay': _DECAY,
  'train.gradient_clip': _CLIP,
  'train.meta': OneOf(supervised.META),
  'train.meta_inner_lr': _RATE,
  'evaluate.batch_size': Number(1, _SIZE),
  'evaluate.batch_norm': OneOf(scoring.BATCH_NORMS),
  'evaluate.bootstrap_samples': Number(1, 1_000_000),
  'evaluate.num_samples': Number(0, 10_000),
}
# Fields that are checked elsewhere, or that may be anything.
ELSEWHERE = {
  'experiment': 'the main module lists the experiments',
  'protocol': 'protocols.get_protocol lists the protocols',
  'model': 'train.check lists the networks',
  'genotype': 'a path; reading it says what is wrong',
  'train.start_from': 'a path; reading it says what is wrong',
  'checkpoint': 'a path; reading it says what is wrong',
  'scores': 'a path; reading it says what is wrong',
  'data.data_dir': 'a path; what is not prepared there is said',
  'loss.depth': 'losses.make_objective checks the weights',
  'loss.contrastive_depth': 'losses.make_objective checks the weights',
  'loss.binary_mask': 'losses.make_objective checks the weights',
  'loss.contrastive_mask': 'losses.make_objective checks the weights',
  'loss.triplet': 'losses.make_objective checks the weights',
  'loss.adversarial': 'losses.make_objective checks the weights',
}


def check(config: ml_collections.ConfigDict) -> None:
  """Checks every field that has a fixed set or range of values.

  Raises:
    ValueError: names the field, its value and what is allowed.
  """
  check_fields(config, ALLOWED)
  try:
    thresholds.parse(config.threshold)
  except ValueError as error:
    raise ValueError(
      f'config.threshold is {config.threshold!r}: {error}'
    ) from error
  try:
    losses.make_objective(dict(config.loss))
  except ValueError as error:
    raise ValueError(f'config.loss: {error}') from error
  last = config.seed + config.train.num_seeds - 1
  if not ALLOWED['seed'].allows(last):
    raise ValueError(
      f'config.train.num_seeds is {config.train.num_seeds}: the last seed is '
      f'{last}; allowed: {ALLOWED["seed"]}.'
    )
  if (
    config.evaluate.batch_norm != scoring.RUNNING
    and config.evaluate.batch_size < 2
  ):
    raise ValueError(
      'config.evaluate.batch_size is 1; allowed with '
      f'config.evaluate.batch_norm={config.evaluate.batch_norm}: 2 or more, '
      'better 32.'
    )
  if config.train.domain_statistics and config.mix_style.probability:
    raise ValueError(
      f'config.mix_style.probability is {config.mix_style.probability}; '
      'allowed with config.train.domain_statistics, under which a domain meets '
      'no other: 0.'
    )
  if config.train.meta != 'off' and config.loss.adversarial:
    raise ValueError(
      f'config.loss.adversarial is {config.loss.adversarial}; allowed with '
      f'config.train.meta={config.train.meta}, whose meta-test clips are of '
      'one domain: 0.'
    )
  if config.train.schedule == 'step' and config.train.step_size < 1:
    raise ValueError(
      f'config.train.step_size is {config.train.step_size}; allowed: 1 or more '
      "with config.train.schedule 'step'."
    )
  if config.train.warmup_steps > config.train.num_steps:
    raise ValueError(
      f'config.train.warmup_steps is {config.train.warmup_steps}; allowed with '
      f'{config.train.num_steps} steps in config.train.num_steps: 0 to '
      f'{config.train.num_steps}.'
    )
  most = rank_pooling.MAX_EXACT_FRAMES
  if config.input.rank_pooling == 'exact' and config.data.num_frames > most:
    raise ValueError(
      f'config.data.num_frames is {config.data.num_frames}; allowed with '
      f"config.input.rank_pooling 'exact': 1 to {most}."
    )
  fields = config.search
  # The warm-up does not update the architecture. A gradient search needs at
  # least one step after it, or its genotype would be derived from the initial
  # noise. The others have none.
  last = fields.num_steps - 1
  if fields.algorithm == 'gradient' and fields.warmup_steps > last:
    raise ValueError(
      f'config.search.warmup_steps is {fields.warmup_steps}; allowed with '
      f'{fields.num_steps} steps in config.search.num_steps: 0 to {last}.'
    )


# What only an evaluation reads.
_OF_EVALUATIONS = ('checkpoint', 'scores', 'adapted')


def check_training(config: ml_collections.ConfigDict) -> None:
  """Refuses fields that a training or a search would take and not heed.

  Raises:
    ValueError: names the field, its value and what is allowed.
  """
  for name in _OF_EVALUATIONS:
    if config[name]:
      # False, or no text.
      nothing = type(config[name])()
      raise ValueError(
        f'config.{name} is {config[name]!r}; allowed in a training or a '
        f'search: {nothing!r}. --config=evaluate reads it; '
        'config.train.start_from is the run that a training goes on from.'
      )
  fields = config.train
  if fields.step_size and fields.schedule != 'step':
    raise ValueError(
      f'config.train.step_size is {fields.step_size}; allowed with '
      f'config.train.schedule {fields.schedule!r}: 0.'
    )


def check_fields(
  config: ml_collections.ConfigDict, allowed: Mapping[str, Form]
) -> None:
  """Checks some fields.

  Args:
    config: has the fields.
    allowed: path of a field, such as 'train.num_steps' -> what it may be.

  Raises:
    ValueError: names the field, its value and what is allowed.
  """
  for path, form in allowed.items():
    value = _value(config, path)
    if not form.allows(value):
      raise ValueError(f'config.{path} is {value!r}; allowed: {form}.')


def _value(config, path: str):
  for name in path.split('.'):
    config = config[name]
  return config


def check_batch_sizes(config, *paths: str) -> None:
  """Raises ValueError unless each batch size is a multiple of the devices."""
  mesh = sharding.make_mesh()
  for path in paths:
    sharding.check_batch_size(f'config.{path}', _value(config, path), mesh)


def check_model(
  field: str,
  build: Callable[[], object],
  config: ml_collections.ConfigDict,
  *model_args,
) -> None:
  """Builds a model and infers its shapes without running it.

  Args:
    field: the section of the config that sets the model's sizes, for messages.
    build: makes the model.
    config: of the run; sets the shape of the input.
    *model_args: further arguments of the model.

  Raises:
    ValueError: if the sizes are incompatible.
  """
  try:
    model = build()
    jax.eval_shape(
      lambda x, *rest: model.init(jax.random.key(0), x, *rest, train=False),
      settings.example_input(config),
      *model_args,
    )
  except (ValueError, TypeError, ZeroDivisionError) as error:
    raise ValueError(f'config.{field}: {error}') from error
