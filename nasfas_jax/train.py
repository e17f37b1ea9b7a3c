"""Training of a derived network, or of CDCN and CDCN++, on one protocol."""

import functools
import pathlib
import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import optax
from jax.sharding import Mesh

from nasfas_jax import (
  checkpoints,
  config_checks,
  evaluate,
  models,
  optimizers,
  progress,
  run_log,
  scoring,
  states,
  supervised,
)
from nasfas_jax.data import protocols
from nasfas_jax.models import genotypes
from nasfas_jax.ops.cpu import xla_options
from nasfas_jax.report import page
from nasfas_jax.states import TrainState

MODELS = ('genotype', 'cdcn', 'cdcnpp')


def train(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
  """Trains config.model on config.protocol, evaluates it and reports.

  The same call with the same workdir goes on after a kill.

  Raises:
    ValueError: for a config that makes no sense; names the field.
    FileNotFoundError: if the dataset or the genotype is missing.
  """
  check(config)
  chosen = config.model
  if chosen == 'genotype':
    chosen = _find_genotype(config, workdir)
  config_checks.check_model(
    'network', lambda: scoring.build_network(config, chosen), config
  )
  selection = protocols.load(
    config.protocol,
    config.data.data_dir,
    config.data.builder_config,
    config.threshold_source,
  )
  run_log.start(workdir, config, selection)
  if config.model == 'genotype':
    chosen.save(workdir / 'genotype.json')
  fit_and_judge(config, workdir, selection)


def check(config: ml_collections.ConfigDict) -> None:
  """Checks the config of a training run before anything is written.

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
  """The genotype of the config, or the copy that a resumed run has of it.

  Raises:
    ValueError: if the file has changed since the run began.
  """
  copy = workdir / 'genotype.json'
  if not copy.exists():
    return genotypes.load(config.genotype)
  kept = genotypes.load(copy)
  source = pathlib.Path(config.genotype)
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
) -> None:
  """Trains on the selection's clips, scores the others, writes the report."""
  mesh = states.make_mesh()
  model = scoring.build_network(config, scoring.choose_network(config, workdir))
  state = fit(config, workdir, model, selection, mesh)
  variables = {'params': state.params, 'batch_stats': state.batch_stats}
  trained = evaluate.Trained(variables, int(state.step), config.protocol)
  evaluate.judge(config, workdir, model, trained, selection, mesh)
  progress.say(f'Report: {page.write_report(workdir)}')


def initial_state(
  config: ml_collections.ConfigDict,
  model: nn.Module,
  optimizer: optax.GradientTransformation,
) -> TrainState:
  """A fresh state; the same for the same config."""
  key = jax.random.fold_in(jax.random.key(config.seed), 1)
  image = scoring.example_input(config)
  variables = models.initialize(model, key, image)
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=variables['params'],
    batch_stats=variables['batch_stats'],
    opt_state=optimizer.init(variables['params']),
  )


def make_optimizer(
  settings: ml_collections.ConfigDict,
) -> tuple[optax.GradientTransformation, optax.Schedule]:
  """The optimizer of config.train, and its schedule."""
  learning_rate = optimizers.schedule(
    settings.schedule,
    settings.learning_rate,
    settings.num_steps,
    warmup_steps=settings.warmup_steps,
    step_size=settings.step_size,
  )
  optimizer = optimizers.adam_l2(
    learning_rate,
    weight_decay=settings.weight_decay,
    gradient_clip=settings.gradient_clip,
  )
  return optimizer, learning_rate


def train_step(
  state: TrainState,
  batch: dict[str, jax.Array],
  *,
  model: nn.Module,
  config: ml_collections.ConfigDict,
  optimizer: optax.GradientTransformation,
) -> tuple[TrainState, jax.Array]:
  """One step of gradient descent; returns the new state and the loss."""

  def loss_fn(params):
    variables = {'params': params, 'batch_stats': state.batch_stats}
    return supervised.batch_loss(model, config, variables, batch)

  (loss, batch_stats), gradients = jax.value_and_grad(loss_fn, has_aux=True)(
    state.params
  )
  updates, opt_state = optimizer.update(
    gradients, state.opt_state, state.params
  )
  state = TrainState(
    step=state.step + 1,
    params=optax.apply_updates(state.params, updates),
    batch_stats=batch_stats,
    opt_state=opt_state,
  )
  return state, loss


def fit(
  config: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  model: nn.Module,
  selection: protocols.Selection,
  mesh: Mesh,
) -> TrainState:
  """Trains for config.train.num_steps, from the newest checkpoint on."""
  settings = config.train
  optimizer, learning_rate = make_optimizer(settings)
  replicated = states.replicated(mesh)
  with progress.stage('Making the network'):
    state = jax.jit(
      functools.partial(initial_state, config, model, optimizer),
      out_shardings=replicated,
    )()
  with checkpoints.Checkpointer(workdir / 'checkpoints' / 'train') as saver:
    state, start = saver.restore_or(state)
    if start >= settings.num_steps:
      return state
    step_fn = jax.jit(
      functools.partial(
        train_step, model=model, config=config, optimizer=optimizer
      ),
      in_shardings=(replicated, states.batch_sharding(mesh)),
      out_shardings=replicated,
      donate_argnums=0,
    )
    batches = supervised.train_stream(
      config,
      selection.train,
      batch_size=settings.batch_size,
      map_size=config.network.output_size,
      seed=config.seed + 3,
      step=start,
    )
    batch = states.put_batch(next(batches), mesh)
    with progress.stage('Compiling the training step'):
      step_fn = xla_options.compile_step(
        step_fn.lower(state, batch), in_sequence=True
      )
    began = time.monotonic()
    with (
      run_log.MetricWriter(workdir, 'train', start) as writer,
      progress.bar('Training', settings.num_steps, start) as bar,
    ):
      for step in range(start + 1, settings.num_steps + 1):
        state, loss = step_fn(state, batch)
        if step < settings.num_steps:
          batch = states.put_batch(next(batches), mesh)
        if step % config.log_every == 0 or step == settings.num_steps:
          loss = float(loss)
          supervised.check_finite(loss, step, 'training')
          rate = float(learning_rate(step - 1))
          writer.write(step, {'train_loss': loss, 'learning_rate': rate})
          seconds = time.monotonic() - began
          writer.write_speed(step, (step - start) / seconds)
          bar.update(step, loss=loss)
        if checkpoints.save_due(
          step, config.checkpoint_every, settings.num_steps
        ):
          # A checkpoint of a diverged run would be where a resume ends.
          supervised.check_finite(float(loss), step, 'training')
          saver.save(step, state)
    batches.close()
  return state
