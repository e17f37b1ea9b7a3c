"""From a config to the plain values and small dataclasses of the library.

The experiments call these functions. Nothing below the experiments reads a
config.
"""

import functools
import pathlib
from collections.abc import Callable, Iterator, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from nasfas_jax import (
  adversarial,
  augment,
  domain_sets,
  inputs,
  losses,
  mix_style,
  models,
  optimizers,
  progress,
  run_config,
  supervised,
)
from nasfas_jax.data import balance, index, nuisance, pipeline, protocols
from nasfas_jax.models import expected_cost, genotypes
from nasfas_jax.models.architecture import Arch
from nasfas_jax.models.supernet import Supernet
from nasfas_jax.searchers import (
  evolution,
  meta_step,
  perturbation,
  supernet_program,
)

Config = ml_collections.ConfigDict
Batches = Callable[..., Iterator[dict[str, np.ndarray]]]

# How a gradient search derives its genotype.
SELECTIONS = ('strength', 'perturbation')
# What config.dtype may be.
AUTO = 'auto'
DTYPES = (AUTO, 'float32', 'bfloat16')


def compute_dtype(config: Config) -> str:
  """What training and search compute in: 'float32' or 'bfloat16'."""
  if config.dtype != AUTO:
    return config.dtype
  return 'float32' if jax.default_backend() == 'cpu' else 'bfloat16'


def settle_dtype(config: Config, workdir: pathlib.Path) -> Config:
  """The config with 'auto' in config.dtype replaced, as a run records it.

  A run goes on in the dtype that it began in, on whatever machine; a message
  says so if a new run would take another one here.

  Raises:
    ValueError: if the workdir's config.json is torn.
  """
  if config.dtype != AUTO:
    return config
  dtype = compute_dtype(config)
  path = workdir / run_config.FILE
  if path.is_file():
    recorded = run_config.load(path).get('dtype')
    if recorded in DTYPES and recorded not in (AUTO, dtype):
      progress.say(
        f'The run in {str(workdir)!r} goes on in {recorded}, as it began; a '
        f'new run on this machine would compute in {dtype}.'
      )
      dtype = recorded
  settled = config.copy_and_resolve_references()
  settled.dtype = dtype
  return settled


def input_form(config: Config) -> inputs.InputForm:
  """The form of the network's input."""
  return inputs.InputForm(
    fusion=config.input.fusion,
    rank_pooling=config.input.rank_pooling,
    normalization=config.input.normalization,
  )


def selection(config: Config, *, judging: bool = False) -> protocols.Selection:
  """The clips of config.protocol that are prepared.

  Args:
    config: of the run.
    judging: the test clips are enough, see `protocols.select`.

  Raises:
    ValueError, FileNotFoundError: as `protocols.load`.
  """
  return protocols.load(
    config.protocol,
    config.data.data_dir,
    config.data.builder_config,
    config.threshold_source,
    judging=judging,
  )


def example_input(config: Config) -> jax.Array:
  """Zeros in the shape of the network's input: float32 [1, S, S, C]."""
  size = config.data.image_size
  return jnp.zeros((1, size, size, input_form(config).channels), jnp.float32)


def run_lines(config: Config, selection: protocols.Selection) -> list[str]:
  """What a training should say of its clips before it starts."""
  drawn, judged = (
    max(config.augmentation.face_scale),
    config.data.eval_face_scale,
  )
  return nuisance.run_lines(
    selection.train,
    config.input.fusion,
    {selection.dev_source: selection.dev, 'test': selection.test},
    nuisance.Crops(
      scale=max(drawn, judged),
      reach=max(drawn * (1 + 2 * config.augmentation.shift), judged),
      size=config.data.image_size,
    ),
  )


def objective(config: Config) -> losses.Objective:
  """The objective: the loss terms weighted as in config.loss."""
  return losses.make_objective(dict(config.loss))


def network(
  config: Config, chosen: str | genotypes.Genotype, *, scoring: bool = False
) -> nn.Module:
  """Builds a network in the sizes of config.network.

  Args:
    config: of the run.
    chosen: 'cdcn', 'cdcnpp' or a genotype.
    scoring: the network is to score clips: in float32, whatever it was trained
      in, so that a score and its threshold mean the same on all machines.

  Raises:
    ValueError: as `models.build_model`, or for a genotype that chose another
      fusion of the frames than that of the config.
  """
  sizes = config.network
  choices = getattr(chosen, 'choices', None)
  if choices is not None and choices.fusion != config.input.fusion:
    raise ValueError(
      f'config.input.fusion is {config.input.fusion!r}; allowed with this '
      f'genotype, which chose it: {choices.fusion!r}.'
    )
  return models.build_model(
    chosen,
    stem_features=tuple(sizes.stem_features),
    cell_features=sizes.cell_features,
    head_features=sizes.head_features,
    output_size=sizes.output_size,
    theta=sizes.theta,
    dtype=jnp.dtype('float32' if scoring else compute_dtype(config)),
    remat=sizes.remat,
    two_stream=config.input.fusion == 'two_stream',
  )


def follow(config: Config, chosen: str | genotypes.Genotype) -> Config:
  """The config with what a genotype of a wide space chose of its fields.

  That is config.input.fusion. A run records it, so that whoever reads the run
  fuses the frames as in training.
  """
  choices = getattr(chosen, 'choices', None)
  if choices is None or config.input.fusion == choices.fusion:
    return config
  config = config.copy_and_resolve_references()
  config.input.fusion = choices.fusion
  return config


def supernet(config: Config) -> Supernet:
  """Builds the supernet of config.supernet.

  Raises:
    ValueError: for remat_convolutions without remat.
  """
  fields = dict(config.supernet)
  if fields['remat_convolutions'] and not fields['remat']:
    raise ValueError(
      'remat_convolutions is True; allowed with remat=True only.'
    )
  fields['stem_features'] = tuple(fields['stem_features'])
  fields['dtype'] = jnp.dtype(compute_dtype(config))
  return Supernet(
    **fields,
    temperature=config.search.temperature,
    two_stream=config.input.fusion == 'two_stream',
  )


def training(config: Config) -> optimizers.Descent:
  """The optimizer and the schedule of a training, from config.train."""
  fields = config.train
  return optimizers.Descent(
    learning_rate=fields.learning_rate,
    num_steps=fields.num_steps,
    schedule=fields.schedule,
    warmup_steps=fields.warmup_steps,
    step_size=fields.step_size,
    weight_decay=fields.weight_decay,
    gradient_clip=fields.gradient_clip,
  )


def check_balance(config: Config, rows: Sequence[index.Row]) -> None:
  """Checks that batches of these clips can be balanced.

  Raises:
    ValueError: names the field.
  """
  if not config.data.balance:
    return
  field = protocols.get_protocol(config.protocol).domain_field
  domains = [str(row[field]) if field else '' for row in rows]
  try:
    balance.make_turns(rows, config.data.balance, domains, seed=0)
  except ValueError as error:
    raise ValueError(f'config.data.{error}') from error


def generalising(
  config: Config, rows: Sequence[index.Row], domain_field: str
) -> supervised.Generalising:
  """What a training does for domains that it does not see.

  Args:
    config: of the run.
    rows: its training clips.
    domain_field: the field that names a clip's domain.

  Raises:
    ValueError: if the domains of the clips do not allow it; names the field.
  """
  mixing, fields = config.mix_style, config.train
  adversary, per_domain = None, 0
  divides = fields.domain_statistics or fields.meta != 'off'
  if not (divides or mixing.probability or config.loss.adversarial):
    return supervised.PLAIN
  number = len(pipeline.domain_names(rows, domain_field))
  for field, wanted in (
    ('mix_style.probability', mixing.probability),
    ('loss.adversarial', config.loss.adversarial),
  ):
    if wanted and number < 2:
      raise ValueError(
        f'config.{field} is {wanted}; allowed for training clips of one '
        'domain: 0.'
      )
  if config.loss.adversarial:
    adversary = adversarial.Adversary(
      config.loss.adversarial, number, fields.num_steps
    )
  if divides:
    field = 'meta' if fields.meta != 'off' else 'domain_statistics'
    try:
      per_domain = domain_sets.clips_per_domain(
        rows,
        [str(row[domain_field]) if domain_field else '' for row in rows],
        config.data.balance,
        fields.batch_size,
      )
    except ValueError as error:
      raise ValueError(
        f'config.train.{field} is {fields[field]!r}: {error}'
      ) from error
  return supervised.Generalising(
    mix_style=mix_style.MixStyle(
      mixing.probability, mixing.alpha, tuple(mixing.stages)
    ),
    adversary=adversary,
    domain_statistics=fields.domain_statistics,
    meta=fields.meta,
    inner_lr=fields.meta_inner_lr,
    clips_per_domain=per_domain,
  )


def search(config: Config) -> supernet_program.SearchSettings:
  """The settings that all searches share, from config.search."""
  fields = config.search
  return supernet_program.SearchSettings(
    seed=config.seed,
    num_steps=fields.num_steps,
    warmup_steps=fields.warmup_steps,
    second_order=fields.second_order,
    gumbel=fields.gumbel,
    arch_every=fields.arch_every,
    weights=optimizers.Descent(
      learning_rate=fields.weight_learning_rate,
      num_steps=fields.num_steps,
      schedule=fields.weight_schedule,
      weight_decay=fields.weight_decay,
      gradient_clip=fields.gradient_clip,
      flat=True,
    ),
    arch=optimizers.Descent(
      learning_rate=fields.arch_learning_rate,
      num_steps=fields.num_steps,
      weight_decay=fields.arch_weight_decay,
      b1=0.5,
      flat=True,
    ),
    cost_weight=fields.cost_weight,
    expected_cost=_expected_cost(config) if fields.cost_weight else None,
  )


def _expected_cost(config: Config) -> Callable[[Arch], jax.Array]:
  """The expected cost of the network that a search derives and trains.

  Raises:
    ValueError: if the operations of the space cost nothing.
  """
  fields, network = config.supernet, config.network
  try:
    costs = expected_cost.operation_costs(
      fields.space,
      theta=fields.theta,
      num_cells=fields.num_cells,
      num_nodes=fields.num_nodes,
      image_size=config.data.image_size,
      features=network.cell_features,
      two_stream=config.input.fusion == 'two_stream',
      unit=config.search.cost,
    )
  except ValueError as error:
    raise ValueError(
      f'config.search.cost is {config.search.cost!r}: {error}'
    ) from error
  return functools.partial(
    expected_cost.expected_cost,
    costs=costs,
    space=fields.space,
    num_nodes=fields.num_nodes,
    edge_normalization=fields.edge_normalization,
    node_attention=fields.node_attention,
    temperature=config.search.temperature,
  )


def selecting(config: Config) -> perturbation.SelectionSettings:
  """The settings of a selection by perturbation, from config.search."""
  return perturbation.SelectionSettings(
    num_batches=config.search.selection_batches,
    fine_tune_steps=config.search.selection_steps,
  )


def meta(config: Config) -> meta_step.MetaSettings:
  """The settings of a search over tasks, from config.meta."""
  return meta_step.MetaSettings(**dict(config.meta))


def evolving(config: Config) -> evolution.EvolutionSettings:
  """The settings of an evolution, from config.evolution."""
  return evolution.EvolutionSettings(**dict(config.evolution))


def _snippet_shape(config: Config, map_size: int) -> pipeline.SnippetShape:
  return pipeline.SnippetShape(
    num_frames=config.data.num_frames,
    image_size=config.data.image_size,
    map_size=map_size,
  )


def _reading(config: Config, num_streams: int = 1) -> pipeline.Reading:
  """How clips are read; `num_streams` open streams share the cache."""
  return pipeline.Reading(
    num_workers=config.data.num_workers,
    cache_bytes=(config.data.cache_mib << 20) // num_streams,
  )


def prepare(config: Config, map_size: int) -> augment.Prepare:
  """What makes training batches of raw ones, by config.augmentation.

  Args:
    config: of the run.
    map_size: side of the maps.
  """
  return functools.partial(
    augment.prepare_step,
    shape=_snippet_shape(config, map_size),
    augmentation=augment.Augmentation(**config.augmentation),
  )


def training_batches(
  config: Config, domain_field: str, map_size: int, num_streams: int = 1
) -> Batches:
  """`pipeline.train_batches` with the arguments that the config sets.

  Args:
    config: of the run.
    domain_field: the field that names a clip's domain.
    map_size: side of the maps.
    num_streams: streams that are open at the same time.

  Returns:
    (rows, batch_size, seed, step) -> this process's part of the raw batches.
  """
  return functools.partial(
    pipeline.train_batches,
    shape=_snippet_shape(config, map_size),
    reading=_reading(config, num_streams),
    domain_field=domain_field,
    balance=config.data.balance,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
  )


def member_batches(config: Config, domain_field: str, map_size: int) -> Batches:
  """`pipeline.member_batches` with the arguments that the config sets.

  Args:
    config: of the run.
    domain_field: the field that names a clip's domain.
    map_size: side of the maps.

  Returns:
    (rows, batch_size, seeds, step) -> this process's part of the raw batches.
  """
  alone = training_batches(config, domain_field, map_size)
  return functools.partial(pipeline.member_batches, **alone.keywords)


def seeds(config: Config) -> list[int]:
  """The seeds of the networks that a training trains side by side."""
  return [config.seed + i for i in range(config.train.num_seeds)]


def episode_batches(config: Config, domain_field: str) -> Batches:
  """`pipeline.episode_batches` with the arguments that the config sets.

  Args:
    config: of the run.
    domain_field: the field that names a clip's domain.

  Returns:
    (rows, episodes, seed, step, places) -> flat raw batches of the clips of
    episodes that this process reads.
  """
  return functools.partial(
    pipeline.episode_batches,
    shape=_snippet_shape(config, config.supernet.output_size),
    reading=_reading(config),
    domain_field=domain_field,
  )


def evaluation_batches(
  config: Config, domain_field: str, map_size: int
) -> Batches:
  """`pipeline.evaluation_batches` with the arguments that the config sets.

  Args:
    config: of the run.
    domain_field: the field that names a clip's domain.
    map_size: side of the maps.

  Returns:
    (rows, num_snippets) -> this process's part of the batches.
  """
  return functools.partial(
    pipeline.evaluation_batches,
    shape=_snippet_shape(config, map_size),
    face_scale=config.data.eval_face_scale,
    num_workers=config.data.num_workers,
    domain_field=domain_field,
    batch_size=config.evaluate.batch_size,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
  )
