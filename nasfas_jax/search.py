"""The main experiment: bilevel architecture search, then train and evaluate.

The supernet's weights w are trained on one half of the training subjects, its
architecture parameters alpha on the other, in turns (DARTS):

  alpha <- alpha - a * grad_alpha L(w, alpha; second half)
  w     <- w - b * grad_w L(w, alpha; first half)

First order holds w fixed in the first line; second order puts
w - b * grad_w L(w, alpha; first half) in its place and differentiates through
it (one unrolled step of plain gradient descent, the weights' own rate b).
"""

import functools
import pathlib
import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from jax.sharding import Mesh

from nasfas_jax import (
  checkpoints,
  models,
  optimizers,
  progress,
  run_log,
  scoring,
  train,
  train_state,
)
from nasfas_jax.data import index, protocols
from nasfas_jax.models import architecture, genotypes, search_spaces, supernet
from nasfas_jax.train_state import SearchState


def search(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
  """Searches, derives genotype.json, trains and evaluates the network.

  The same call with the same workdir goes on after a kill.

  Raises:
    ValueError: for a config that makes no sense; names the field.
    FileNotFoundError: if the dataset is not prepared.
  """
  settings = config.search
  if not 0 <= settings.warmup_steps <= settings.num_steps:
    raise ValueError(
      f'config.search.warmup_steps is {settings.warmup_steps}; allowed: 0 '
      f'to config.search.num_steps, {settings.num_steps}.'
    )
  search_spaces.check_space(config.supernet.space)
  selection = protocols.load(
    config.protocol, config.data.data_dir, config.data.builder_config
  )
  run_log.start(workdir, config)
  path = workdir / 'genotype.json'
  if not path.exists():
    arch = run_search(config, workdir, selection, train_state.make_mesh())
    derive(config, arch, selection).save(path)
  progress.say(f'Genotype: {path}')
  train.fit_and_judge(config, workdir, selection)


def build_supernet(config: ml_collections.ConfigDict) -> nn.Module:
  """The supernet of a config."""
  fields = dict(config.supernet)
  fields['dtype'] = jnp.dtype(fields['dtype'])
  return supernet.Supernet(**fields, temperature=config.search.temperature)


def make_optimizers(settings: ml_collections.ConfigDict):
  """(weights' optimizer, architecture's optimizer, weights' schedule)."""
  rate = optimizers.schedule(
    settings.weight_schedule,
    settings.weight_learning_rate,
    settings.num_steps,
  )
  weights = optimizers.adam_l2(
    rate,
    weight_decay=settings.weight_decay,
    gradient_clip=settings.gradient_clip,
  )
  arch = optimizers.adam_l2(
    settings.arch_learning_rate,
    weight_decay=settings.arch_weight_decay,
    b1=0.5,
  )
  return weights, arch, rate


def initial_state(config, model, weight_optimizer, arch_optimizer):
  """A fresh state; depends on config.seed only."""
  key = jax.random.fold_in(jax.random.key(config.seed), 0)
  arch_key, params_key = jax.random.split(key)
  arch = architecture.init_arch(
    arch_key,
    space=config.supernet.space,
    num_cells=config.supernet.num_cells,
    num_nodes=config.supernet.num_nodes,
  )
  image = scoring.example_input(config)
  variables = models.initialize(model, params_key, image, arch)
  return SearchState(
    step=jnp.zeros((), jnp.int32),
    params=variables['params'],
    batch_stats=variables['batch_stats'],
    arch=arch,
    weight_opt_state=weight_optimizer.init(variables['params']),
    arch_opt_state=arch_optimizer.init(arch),
  )


def _loss(model, config, params, state, arch, batch, purpose):
  """(loss, batch statistics) of the supernet on a batch.

  The Gumbel key is a function of seed, step and purpose, so never saved.
  """
  variables = {'params': params, 'batch_stats': state.batch_stats}
  rngs = None
  if config.search.gumbel:
    key = jax.random.fold_in(jax.random.key(config.seed), 2 + purpose)
    rngs = {'gumbel': jax.random.fold_in(key, state.step)}
  return train.batch_loss(model, config, variables, batch, arch, rngs=rngs)


def weight_step(state, batch, *, model, config, optimizer):
  """Updates the weights on a batch of the first half; returns the loss."""

  def loss_fn(params):
    return _loss(model, config, params, state, state.arch, batch, 0)

  (loss, batch_stats), gradients = jax.value_and_grad(loss_fn, has_aux=True)(
    state.params
  )
  updates, opt_state = optimizer.update(
    gradients, state.weight_opt_state, state.params
  )
  state = state.replace(
    step=state.step + 1,
    params=optax.apply_updates(state.params, updates),
    batch_stats=batch_stats,
    weight_opt_state=opt_state,
  )
  return state, loss


def arch_step(
  state, weight_batch, arch_batch, *, model, config, optimizer, rate
):
  """Updates the architecture on a batch of the second half.

  Args:
    state: SearchState.
    weight_batch: batch of the first half; used by the second order only.
    arch_batch: batch of the second half.
    model: the supernet.
    config: of the run.
    optimizer: the architecture's.
    rate: schedule of the weights' learning rate, for the unrolled step.

  Returns:
    (state, loss on the second half). Batch statistics are left as they were:
    they belong to the weights.
  """

  def loss_fn(arch):
    params = state.params
    if config.search.second_order:
      gradients = jax.grad(
        lambda p: _loss(model, config, p, state, arch, weight_batch, 1)[0]
      )(params)
      params = jax.tree.map(
        lambda p, g: p - rate(state.step) * g, params, gradients
      )
    return _loss(model, config, params, state, arch, arch_batch, 1)[0]

  loss, gradients = jax.value_and_grad(loss_fn)(state.arch)
  updates, opt_state = optimizer.update(
    gradients, state.arch_opt_state, state.arch
  )
  state = state.replace(
    arch=optax.apply_updates(state.arch, updates), arch_opt_state=opt_state
  )
  return state, loss


def compile_steps(config, model, mesh, state, batch):
  """Compiles both steps; returns (weight step, architecture step, rate)."""
  weight_optimizer, arch_optimizer, rate = make_optimizers(config.search)
  replicated = train_state.replicated(mesh)
  sharded = train_state.batch_sharding(mesh)
  weight_fn = jax.jit(
    functools.partial(
      weight_step, model=model, config=config, optimizer=weight_optimizer
    ),
    in_shardings=(replicated, sharded),
    out_shardings=replicated,
    donate_argnums=0,
  )
  arch_fn = jax.jit(
    functools.partial(
      arch_step,
      model=model,
      config=config,
      optimizer=arch_optimizer,
      rate=rate,
    ),
    in_shardings=(replicated, sharded, sharded),
    out_shardings=replicated,
    donate_argnums=0,
  )
  with progress.stage('Compiling the search steps'):
    weight_fn = weight_fn.lower(state, batch).compile()
    if config.search.warmup_steps < config.search.num_steps:
      arch_fn = arch_fn.lower(state, batch, batch).compile()
  return weight_fn, arch_fn, rate


def run_search(
  config: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  selection: protocols.Selection,
  mesh: Mesh,
) -> dict:
  """Runs the bilevel search; returns the final architecture parameters."""
  settings = config.search
  train_state.check_batch_size(
    'config.search.batch_size', settings.batch_size, mesh
  )
  model = build_supernet(config)
  weight_optimizer, arch_optimizer, _ = make_optimizers(settings)
  state = jax.jit(
    functools.partial(
      initial_state, config, model, weight_optimizer, arch_optimizer
    ),
    out_shardings=train_state.replicated(mesh),
  )()
  with checkpoints.Checkpointer(workdir / 'checkpoints' / 'search') as saver:
    state, start = saver.restore_or(state)
    if start < settings.num_steps:
      state = _loop(
        config, workdir, model, state, start, selection, saver, mesh
      )
  return state.arch


def _loop(config, workdir, model, state, start, selection, saver, mesh):
  """Steps from `start` to the end, logging and saving."""
  settings = config.search
  streams = [
    train.train_stream(
      config,
      rows,
      batch_size=settings.batch_size,
      map_size=config.supernet.output_size,
      seed=config.seed + number,
      step=start,
    )
    for number, rows in enumerate(index.split_halves(selection.train), 1)
  ]
  weight_batch = train_state.put_batch(next(streams[0]), mesh)
  weight_fn, arch_fn, rate = compile_steps(
    config, model, mesh, state, weight_batch
  )
  arch_loss = None
  began = time.monotonic()
  with (
    run_log.MetricWriter(workdir, 'search', start) as writer,
    progress.bar('Searching', settings.num_steps, start) as bar,
  ):
    for step in range(start + 1, settings.num_steps + 1):
      # Both streams advance at every step, so that one number is their state.
      arch_batch = train_state.put_batch(next(streams[1]), mesh)
      if step > settings.warmup_steps:
        state, arch_loss = arch_fn(state, weight_batch, arch_batch)
      state, loss = weight_fn(state, weight_batch)
      if step < settings.num_steps:
        weight_batch = train_state.put_batch(next(streams[0]), mesh)
      if step % config.log_every == 0 or step == settings.num_steps:
        figures = {'train_loss': float(loss)}
        train.check_finite(figures['train_loss'], step, 'search')
        if arch_loss is not None:
          figures['val_loss'] = float(arch_loss)
        bar.update(step, **figures)
        figures['learning_rate'] = float(rate(step - 1))
        figures.update(_arch_figures(state.arch))
        writer.write(step, figures, **_arch_snapshot(config, state.arch, step))
        writer.write_speed(step, (step - start) / (time.monotonic() - began))
      if checkpoints.save_due(
        step, config.checkpoint_every, settings.num_steps
      ):
        saver.save(step, state)
  for stream in streams:
    stream.close()
  return state


def _arch_figures(arch) -> dict[str, float]:
  """Alarms of a collapsing search: entropy and share of skip-connect."""
  alarms = ('alpha_entropy', 'skip_share', 'skip_edge_share')
  return {name: float(getattr(architecture, name)(arch)) for name in alarms}


def _mixing_weights(config, arch) -> dict:
  """The operations', edges' and nodes' weights as NumPy arrays."""
  weights = architecture.mixing_weights(
    arch, num_nodes=config.supernet.num_nodes
  )
  return jax.tree.map(np.asarray, weights)


def _arch_snapshot(config, arch, step: int) -> dict:
  if step % config.search.arch_every and step != config.search.num_steps:
    return {}
  alphas = _mixing_weights(config, arch)['alphas']
  return {
    'alphas': {
      level: np.round(alphas[level].astype(np.float64), 6).tolist()
      for level in search_spaces.LEVELS
    }
  }


def derive(
  config: ml_collections.ConfigDict,
  arch: dict,
  selection: protocols.Selection,
) -> genotypes.Genotype:
  """The genotype of the final architecture parameters."""
  weights = _mixing_weights(config, arch)
  return genotypes.derive(
    weights['alphas'],
    config.supernet.space,
    theta=config.supernet.theta,
    edge_weights=weights['betas']
    if config.supernet.edge_normalization
    else None,
    node_weights=weights['nodes'] if config.supernet.node_attention else None,
    provenance={
      'protocol': config.protocol,
      'seed': config.seed,
      'steps': config.search.num_steps,
      'data': index.fingerprint(selection.train),
    },
  )
