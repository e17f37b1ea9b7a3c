"""The experiment 'train': one network on one protocol, then its evaluation."""

import functools
import pathlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import optax
from jax.sharding import Mesh

from nasfas_jax import (
  augment,
  config_checks,
  evaluate,
  hosts,
  loop,
  models,
  profiles,
  progress,
  remote,
  run_log,
  settings,
  sharding,
  supervised,
)
from nasfas_jax.data import nuisance, protocols
from nasfas_jax.models import genotypes
from nasfas_jax.report import page
from nasfas_jax.states import TrainState

MODELS = ('genotype', *models.NETWORKS)


def train(
  config: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  profile: profiles.Steps | None = None,
) -> None:
  """Trains config.model on config.protocol, evaluates it and writes the report.

  The same call with the same workdir resumes a run that was killed.

  Args:
    config: of the run.
    workdir: folder of its files.
    profile: steps to trace, see `loop.run`.

  Raises:
    ValueError: for an invalid config; names the field.
    FileNotFoundError: if the dataset or the genotype is missing.
    FloatingPointError: if the training diverges.
  """
  config = settings.settle_dtype(config, workdir)
  check(config)
  chosen = config.model
  if chosen == 'genotype':
    chosen = _find_genotype(config, workdir)
    given, config = config, settings.follow(config, chosen)
    if given.input.fusion != config.input.fusion:
      progress.say(
        f'The genotype chose the fusion {config.input.fusion!r}: '
        f'config.input.fusion is that, not {given.input.fusion!r}.'
      )
  config_checks.check_model(
    'network', lambda: settings.network(config, chosen), config
  )
  selection = settings.selection(config)
  run_log.start(workdir, config, selection)
  for line in nuisance.run_lines(selection.train, config.input.fusion):
    progress.say(line)
  if config.model == 'genotype':
    hosts.first(lambda: chosen.save(workdir / 'genotype.json'))
  fit_and_judge(config, workdir, selection, chosen, profile)


def check(config: ml_collections.ConfigDict) -> None:
  """Checks the config of a training before anything is written.

  Raises:
    ValueError: names the field, its value and what is allowed.
  """
  if config.model not in MODELS:
    raise ValueError(
      f'config.model is {config.model!r}; allowed: {", ".join(MODELS)}.'
    )
  if config.model == 'genotype' and not config.genotype:
    raise ValueError(
      'config.model is "genotype": give --config.genotype=PATH of a '
      'genotype.json, or --config.model=cdcn or cdcnpp.'
    )
  if config.model != 'genotype' and config.genotype:
    raise ValueError(
      f'config.genotype is given, but config.model is {config.model!r}, '
      'which has none.'
    )
  config_checks.check(config)
  config_checks.check_batch_sizes(
    config, 'train.batch_size', 'evaluate.batch_size'
  )


def _find_genotype(config, workdir: pathlib.Path) -> genotypes.Genotype:
  """The genotype in config.genotype, or a resumed run's own copy of it.

  Raises:
    ValueError: if the file has changed since the run began.
  """
  copy = workdir / 'genotype.json'
  if not copy.exists():
    return genotypes.load(remote.local_file(config.genotype))
  kept = genotypes.load(copy)
  source = remote.local_file(config.genotype)
  if source.exists() and genotypes.load(source) != kept:
    raise ValueError(
      f'config.genotype {config.genotype!r} has changed since the run in '
      f'{str(workdir)!r} began. Choose another --workdir.'
    )
  return kept


def fit_and_judge(
  config: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  selection: protocols.Selection,
  chosen: str | genotypes.Genotype,
  profile: profiles.Steps | None = None,
) -> None:
  """Trains on the selection's train set, evaluates, and writes the report."""
  mesh = sharding.make_mesh()
  model = settings.network(config, chosen)
  state = fit(config, workdir, model, selection, mesh, profile)
  variables = {'params': state.params, 'batch_stats': state.batch_stats}
  model = settings.network(config, chosen, scoring=True)
  trained = evaluate.Trained(variables, int(state.step), config.protocol)
  more = run_log.skipped_steps(workdir)
  evaluate.judge(config, workdir, model, trained, selection, mesh, more=more)
  report = hosts.first(lambda: str(page.write_report(workdir)))
  progress.say(f'Report: {report}')


def fit(
  config: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  model: nn.Module,
  selection: protocols.Selection,
  mesh: Mesh,
  profile: profiles.Steps | None = None,
) -> TrainState:
  """Trains for config.train.num_steps; resumes from the newest checkpoint."""
  domain_field = protocols.get_protocol(config.protocol).domain_field
  descent = settings.training(config)
  replicated = sharding.replicated(mesh)
  with progress.stage('Making the network'):
    state = jax.jit(
      lambda: initial_state(
        model, settings.example_input(config), config.seed, descent.optimizer()
      ),
      out_shardings=replicated,
    )()
  step = jax.jit(
    functools.partial(
      raw_step,
      seed=config.seed + 3,
      prepare=settings.prepare(config, config.network.output_size),
      loss_fn=supervised.network_loss(
        model, settings.input_form(config), settings.objective(config)
      ),
      optimizer=descent.optimizer(),
    ),
    in_shardings=(replicated, sharding.batch_sharding(mesh)),
    out_shardings=replicated,
    donate_argnums=0,
  )

  def batches(start):
    stream = settings.training_batches(
      config, domain_field, config.network.output_size
    )(
      selection.train,
      batch_size=config.train.batch_size,
      seed=config.seed + 3,
      step=start,
    )
    try:
      for batch in stream:
        yield sharding.put_batch(batch, mesh)
    finally:
      stream.close()

  def observe(state, scalars, done):
    del state
    numbers = loop.read(scalars)
    rate = float(descent.rate()(done - 1))
    return loop.Observed({**numbers, 'learning_rate': rate})

  return loop.run(
    loop.Program(
      name='train',
      title='Training',
      num_steps=config.train.num_steps,
      state=state,
      compile=lambda state, batch: step.lower(state, batch).compile(),
      batches=batches,
      observe=observe,
      clips=lambda batch: [(selection.train, batch)],
    ),
    workdir,
    log_every=config.log_every,
    checkpoint_every=config.checkpoint_every,
    max_skipped=config.max_skipped_steps,
    profile=profile,
  )


def initial_state(
  model: nn.Module,
  example: jax.Array,
  seed: int,
  optimizer: optax.GradientTransformation,
) -> TrainState:
  """The initial state; the same for the same seed.

  Args:
    model: the network.
    example: an input of the network; only its shape is used.
    seed: of the weights.
    optimizer: of the weights.
  """
  key = jax.random.fold_in(jax.random.key(seed), 1)
  variables = models.initialize(model, key, example)
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=variables['params'],
    batch_stats=variables['batch_stats'],
    opt_state=optimizer.init(variables['params']),
    skipped=jnp.zeros((), jnp.int32),
  )


def raw_step(
  state: TrainState,
  raw: dict[str, jax.Array],
  *,
  seed: int,
  prepare: augment.Prepare,
  loss_fn: supervised.NetworkLoss,
  optimizer: optax.GradientTransformation,
) -> tuple[TrainState, dict[str, jax.Array]]:
  """`train_step` on a raw batch, which it augments first.

  Args:
    state: before the step.
    raw: see `data.pipeline.train_batches`.
    seed: of the augmentation.
    prepare: see `augment.Prepare`.
    loss_fn: see `train_step`.
    optimizer: see `train_step`.
  """
  batch = prepare(raw, state.step, seed)
  return train_step(state, batch, loss_fn=loss_fn, optimizer=optimizer)


def train_step(
  state: TrainState,
  batch: dict[str, jax.Array],
  *,
  loss_fn: supervised.NetworkLoss,
  optimizer: optax.GradientTransformation,
) -> tuple[TrainState, dict[str, jax.Array]]:
  """One training step.

  Args:
    state: before the step.
    batch: see `augment.prepare_batch`.
    loss_fn: see `supervised.network_loss`.
    optimizer: of the weights.

  Returns:
    (new state, scalars): 'train_loss' and each term of the loss, such as
    'train_depth'.
  """
  (loss, (batch_stats, terms)), gradients = jax.value_and_grad(
    loss_fn, has_aux=True
  )(state.params, state.batch_stats, batch)
  updates, opt_state = optimizer.update(
    gradients, state.opt_state, state.params
  )
  state = state.replace(
    step=state.step + 1,
    params=optax.apply_updates(state.params, updates),
    batch_stats=batch_stats,
    opt_state=opt_state,
  )
  terms = {f'train_{name}': value for name, value in terms.items()}
  return state, {'train_loss': loss, **terms}
