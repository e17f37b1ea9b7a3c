"""The main experiment: architecture search, then train and evaluate.

By gradient there are two searches: over tasks (`meta_search`), and the plain
one (`bilevel`), which trains the supernet's weights on one half of the training
subjects and its architecture on the other. Their controls are an evolution with
weight sharing (`evolution`) and a genotype at random.
"""

import dataclasses
import pathlib
import time

import jax
import ml_collections
import numpy as np

from nasfas_jax import (
  checkpoints,
  config_checks,
  progress,
  run_log,
  scoring,
  states,
  supervised,
  train,
)
from nasfas_jax.data import index, protocols
from nasfas_jax.models import architecture, genotypes, sampling, search_spaces
from nasfas_jax.searchers import bilevel, evolution, meta_search
from nasfas_jax.states import SearchState

Method = bilevel.Bilevel | meta_search.MetaSearch | evolution.Evolution


def search(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
  """Searches, derives genotype.json, trains and evaluates the network.

  The same call with the same workdir goes on after a kill.

  Raises:
    ValueError: for a config that makes no sense; names the field.
    FileNotFoundError: if the dataset is not prepared.
  """
  check(config)
  selection = protocols.load(
    config.protocol,
    config.data.data_dir,
    config.data.builder_config,
    config.threshold_source,
  )
  method = make_method(config, selection)
  run_log.start(workdir, config, selection)
  path = workdir / 'genotype.json'
  if not path.exists():
    find(config, workdir, method, selection).save(path)
  progress.say(f'Genotype: {path}')
  train.fit_and_judge(config, workdir, selection)


def check(config: ml_collections.ConfigDict) -> None:
  """Checks the config of a search before anything is written.

  Raises:
    ValueError: names the field, its value and what is allowed.
  """
  config_checks.check(config)
  for field, allowed in (('model', 'genotype'), ('genotype', '')):
    if config[field] != allowed:
      raise ValueError(
        f'config.{field} is {config[field]!r}, but a search trains the '
        f'genotype that it finds; allowed: {allowed!r}. configs/train.py '
        'trains a given network.'
      )
  config_checks.check_batch_sizes(
    config, 'train.batch_size', 'evaluate.batch_size'
  )
  algorithm = config.search.algorithm
  if algorithm == 'random' and config.search.tasks != 'none':
    raise ValueError(
      f'config.search.tasks is {config.search.tasks!r}; allowed: none, since '
      f'config.search.algorithm is {algorithm!r}.'
    )
  _check_without_effect(config)
  if algorithm == 'evolution' or config.search.tasks == 'none':
    config_checks.check_batch_sizes(config, 'search.batch_size')
  arch = jax.eval_shape(
    lambda: architecture.init_arch(
      jax.random.key(0),
      space=config.supernet.space,
      num_cells=config.supernet.num_cells,
      num_nodes=config.supernet.num_nodes,
    )
  )
  config_checks.check_model(
    'supernet', lambda: bilevel.build_supernet(config), config, arch
  )
  # Any genotype has the sizes of CDCN++, which is one.
  config_checks.check_model(
    'network', lambda: scoring.build_network(config, 'cdcnpp'), config
  )


def _check_without_effect(config) -> None:
  """Refuses fields that would change nothing, or let nothing change."""
  meta, settings = config.meta, config.search
  over_tasks = settings.tasks != 'none' and settings.algorithm == 'gradient'
  for name in ('learn_rates', 'domain_statistics', 'shard_optimizer'):
    if meta[name] and not over_tasks:
      raise ValueError(
        f'config.meta.{name} is True; allowed without a gradient search over '
        'tasks (config.search.tasks): False.'
      )
  for name in ('second_order', 'gumbel'):
    if settings[name] and settings.algorithm != 'gradient':
      raise ValueError(
        f'config.search.{name} is True; allowed with '
        f'config.search.algorithm {settings.algorithm!r}: False.'
      )
  if meta.anneal_steps and not (over_tasks and meta.inner_steps > 1):
    raise ValueError(
      f'config.meta.anneal_steps is {meta.anneal_steps}; allowed with one '
      'inner step (config.meta.inner_steps) or without a gradient search over '
      'tasks: 0.'
    )
  sizes = config.evolution
  if (
    settings.algorithm == 'evolution' and sizes.evaluations <= sizes.population
  ):
    raise ValueError(
      f'config.evolution.evaluations is {sizes.evaluations}; allowed: above '
      f'config.evolution.population, {sizes.population}, or nothing evolves.'
    )


def make_method(
  config: ml_collections.ConfigDict, selection: protocols.Selection
) -> Method | None:
  """The search of config.search.algorithm and tasks; None for 'random'.

  Raises:
    ValueError: if the training clips do not make its tasks or halves.
  """
  algorithm = config.search.algorithm
  if algorithm == 'random':
    return None
  domain_field = protocols.get_protocol(config.protocol).domain_field
  if algorithm == 'evolution':
    return evolution.Evolution(config, selection.train, domain_field)
  if config.search.tasks == 'none':
    return bilevel.Bilevel(config, selection.train)
  return meta_search.MetaSearch(config, selection.train, domain_field)


def find(
  config: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  method: Method | None,
  selection: protocols.Selection,
) -> genotypes.Genotype:
  """Searches, or draws a genotype from the seed where there is no method."""
  if method is None:
    rng = np.random.default_rng(config.seed)
    genotype = sampling.to_genotype(
      sampling.draw(rng, **evolution.sizes_of(config)),
      config.supernet.space,
      theta=config.supernet.theta,
    )
  else:
    state = run_search(config, workdir, method)
    if config.search.algorithm == 'evolution':
      genotype = method.evolve(state)
    else:
      genotype = derive(config, state.arch)
  return dataclasses.replace(
    genotype, provenance=_provenance(config, selection)
  )


def _provenance(config, selection: protocols.Selection) -> dict[str, object]:
  return {
    'protocol': config.protocol,
    'seed': config.seed,
    'algorithm': config.search.algorithm,
    'steps': config.search.num_steps,
    'data': index.fingerprint(selection.train),
  }


def run_search(
  config: ml_collections.ConfigDict, workdir: pathlib.Path, method: Method
) -> SearchState:
  """Runs the steps of a search; returns the final state."""
  settings = config.search
  with progress.stage('Making the supernet'):
    state = jax.jit(
      method.initial_state,
      out_shardings=states.replicated(method.mesh),
    )()
  with checkpoints.Checkpointer(workdir / 'checkpoints' / 'search') as saver:
    state, start = saver.restore_or(state)
    if start < settings.num_steps:
      with progress.stage('Compiling the search'):
        state = method.begin(state, start)
      state = _loop(config, workdir, method, state, start, saver)
      method.close()
  return state


def _loop(config, workdir, method, state, start, saver):
  """Steps from `start` to the end, logging and saving."""
  settings = config.search
  rate = bilevel.make_optimizers(settings)[2]
  began = time.monotonic()
  with (
    run_log.MetricWriter(workdir, 'search', start) as writer,
    progress.bar('Searching', settings.num_steps, start) as bar,
  ):
    for step in range(start + 1, settings.num_steps + 1):
      state, losses = method.run(state, step)
      if step % config.log_every == 0 or step == settings.num_steps:
        figures = _finite(losses, step)
        bar.update(step, **figures)
        figures['learning_rate'] = float(rate(step - 1))
        snapshot = {}
        if settings.algorithm == 'gradient':
          figures.update(_arch_figures(config, state.arch))
          snapshot = _arch_snapshot(config, state.arch, step)
        writer.write(step, figures, **snapshot)
        writer.write_speed(step, (step - start) / (time.monotonic() - began))
      if checkpoints.save_due(
        step, config.checkpoint_every, settings.num_steps
      ):
        # A checkpoint of a diverged search would be where a resume ends.
        _finite(losses, step)
        saver.save(step, state)
  return state


def _finite(losses: dict[str, jax.Array], step: int) -> dict[str, float]:
  """The losses as numbers.

  Raises:
    FloatingPointError: if one is not finite.
  """
  figures = {name: float(loss) for name, loss in losses.items()}
  for name, value in figures.items():
    supervised.check_finite(value, step, f'search ({name})')
  return figures


def _arch_figures(config, arch) -> dict[str, float]:
  """Alarms of a collapsing search: entropy and share of skip-connect."""
  arch = architecture.temper(arch, config.search.temperature)
  space = config.supernet.space
  return {
    'alpha_entropy': float(architecture.alpha_entropy(arch)),
    'skip_share': float(architecture.skip_share(arch, space)),
    'skip_edge_share': float(architecture.skip_edge_share(arch, space)),
  }


def _mixing_weights(config, arch) -> dict:
  """The operations', edges' and nodes' weights as NumPy arrays."""
  weights = architecture.mixing_weights(
    arch,
    num_nodes=config.supernet.num_nodes,
    temperature=config.search.temperature,
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
  config: ml_collections.ConfigDict, arch: architecture.Arch
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
  )
