"""Checks of a run's config before anything is written or compiled."""

import math
from collections.abc import Callable

import jax
import ml_collections

from nasfas_jax import inputs, losses, optimizers, settings, sharding
from nasfas_jax.data import balance, episodes
from nasfas_jax.data.protocols import definition
from nasfas_jax.metrics import thresholds
from nasfas_jax.models import search_spaces
from nasfas_jax.ops import fusion, rank_pooling

DTYPES = ('float32', 'bfloat16')

CHOICES = {
  'data.balance': balance.BALANCES,
  'threshold_source': ('', *definition.THRESHOLD_SOURCES),
  'input.fusion': fusion.FUSIONS,
  'input.rank_pooling': rank_pooling.KINDS,
  'input.normalization': inputs.NORMALIZATIONS,
  'network.dtype': DTYPES,
  'supernet.dtype': DTYPES,
  'supernet.space': search_spaces.SPACES,
  # A search has no step_size.
  'search.weight_schedule': ('constant', 'cosine'),
  'train.schedule': optimizers.SCHEDULES,
  'search.algorithm': ('gradient', 'evolution', 'random'),
  'search.hold_out': ('none', *episodes.HOLD_OUTS),
}
# (least, greatest) value of numbers; None: no bound.
RANGES = {
  'seed': (0, 2**31 - 1),
  'checkpoint_every': (0, None),
  'log_every': (1, None),
  'data.image_size': (8, 4096),
  'data.num_frames': (1, 512),
  'data.num_snippets': (1, 1024),
  'data.num_workers': (0, 256),
  'data.cache_mib': (0, None),
  'network.cell_features': (1, None),
  'network.head_features': (1, None),
  'network.output_size': (3, 4096),
  'supernet.num_cells': (1, 64),
  'supernet.num_nodes': (1, 16),
  'supernet.cell_features': (1, None),
  'supernet.head_features': (1, None),
  'supernet.output_size': (3, 4096),
  'supernet.partial_channels': (1, None),
  'search.num_steps': (1, None),
  'search.batch_size': (1, None),
  'search.warmup_steps': (0, None),
  'search.arch_every': (1, None),
  'search.weight_decay': (0.0, None),
  'search.arch_weight_decay': (0.0, None),
  'search.gradient_clip': (0.0, None),
  'evolution.population': (2, None),
  'evolution.evaluations': (2, None),
  'evolution.mutation_rate': (0.0, 1.0),
  'evolution.num_clips': (2, None),
  'meta.num_tasks': (1, 1024),
  'meta.support_size': (1, None),
  'meta.query_size': (1, None),
  'meta.inner_steps': (1, 64),
  'meta.anneal_steps': (0, None),
  'train.num_steps': (1, None),
  'train.batch_size': (1, None),
  'train.warmup_steps': (0, None),
  'train.weight_decay': (0.0, None),
  'train.gradient_clip': (0.0, None),
  'evaluate.batch_size': (1, None),
  'evaluate.bootstrap_samples': (1, 1_000_000),
  'evaluate.num_samples': (0, 10_000),
}
ABOVE_ZERO = (
  'data.eval_face_scale',
  'search.temperature',
  'search.weight_learning_rate',
  'search.arch_learning_rate',
  'meta.inner_lr',
  'meta.inner_lr_learning_rate',
  'train.learning_rate',
)


def check(config: ml_collections.ConfigDict) -> None:
  """Checks every field that has a fixed set or range of values.

  Raises:
    ValueError: names the field, its value and what is allowed.
  """
  for path, allowed in CHOICES.items():
    value = _value(config, path)
    if value not in allowed:
      names = ', '.join(name or "''" for name in allowed)
      raise ValueError(f'config.{path} is {value!r}; allowed: {names}.')
  for path, (low, high) in RANGES.items():
    value = _value(config, path)
    if not (value >= low and (high is None or value <= high)):
      text = f'{low} or more' if high is None else f'{low} to {high}'
      raise ValueError(f'config.{path} is {value}; allowed: {text}.')
  for path in ABOVE_ZERO:
    value = _value(config, path)
    if value is not None and not (value > 0 and math.isfinite(value)):
      raise ValueError(f'config.{path} is {value}; allowed: above 0.')
  try:
    thresholds.parse(config.threshold)
  except ValueError as error:
    raise ValueError(f'config.threshold: {error}') from error
  try:
    losses.make_objective(dict(config.loss))
  except ValueError as error:
    raise ValueError(f'config.loss: {error}') from error
  if config.train.schedule == 'step' and config.train.step_size < 1:
    raise ValueError(
      f'config.train.step_size is {config.train.step_size}; allowed: 1 or more '
      "with config.train.schedule 'step'."
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
  # noise; an evolution trains weights only, so all of its steps may be warm-up.
  last = fields.num_steps - (fields.algorithm == 'gradient')
  if fields.warmup_steps > last:
    raise ValueError(
      f'config.search.warmup_steps is {fields.warmup_steps}; allowed with '
      f'{fields.num_steps} steps in config.search.num_steps: 0 to {last}.'
    )


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
