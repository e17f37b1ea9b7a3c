"""The main experiment: search an architecture, then train and evaluate it.

There are two gradient-based searches: the search over tasks
(`searchers.meta_search`) and the plain search (`searchers.bilevel`), which
trains the supernet's weights on one half of the training subjects and its
architecture on the other. The controls are an evolution with weight sharing
(`searchers.evolution`) and a random genotype.
"""

import dataclasses
import functools
import pathlib

import jax
import ml_collections

from nasfas_jax import (
  config_checks,
  hosts,
  loop,
  profiles,
  progress,
  run_config,
  run_log,
  settings,
  train,
)
from nasfas_jax.data import index, protocols
from nasfas_jax.models import architecture, genotypes, search_spaces
from nasfas_jax.searchers import (
  bilevel,
  evolution,
  meta_search,
  perturbation,
  supernet_program,
)
from nasfas_jax.searchers.supernet_program import Search


def search(
  config: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  profile: profiles.Steps | None = None,
) -> None:
  """Searches, writes genotype.json, then trains and evaluates the network.

  The same call with the same workdir resumes a run that was killed.

  Args:
    config: of the run.
    workdir: folder of its files.
    profile: steps of the search and of the training to trace, see `loop.run`.

  Raises:
    ValueError: for an invalid config; names the field.
    FileNotFoundError: if the dataset is not prepared.
    FloatingPointError: if the search or the training diverges.
  """
  config = settings.settle_dtype(config, workdir)
  check(config)
  selection = settings.selection(config)
  genotype = obtain_genotype(config, workdir, selection, profile)
  train.fit_and_judge(config, workdir, selection, genotype, profile)


def obtain_genotype(
  config: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  selection: protocols.Selection,
  profile: profiles.Steps | None = None,
) -> genotypes.Genotype:
  """Starts or resumes the run; searches unless genotype.json is there.

  The supernet is built only for a search that is not finished, and is gone when
  the training of the derived network begins.
  """
  path = workdir / 'genotype.json'
  finished = hosts.first(path.exists)
  hosts.first(lambda: _check_own(workdir, path))
  # Before the run starts: clips that make no tasks leave nothing behind.
  found = None if finished else make_search(config, selection)
  # So do clips that its training could not take.
  train.check_clips(config, selection)
  run_log.start(workdir, config, selection)
  for line in settings.run_lines(config, selection):
    progress.say(line)
  if finished:
    genotype = genotypes.load(path)
  else:
    genotype = find(config, workdir, found, selection, profile)
    hosts.first(lambda: genotype.save(path))
  progress.say(f'Genotype: {path}')
  return genotype


def _check_own(workdir: pathlib.Path, path: pathlib.Path) -> None:
  """Refuses a genotype that no search has left in the workdir."""
  if path.exists() and not (workdir / run_config.FILE).exists():
    raise ValueError(
      f'{str(path)!r} is of no search here: there is no {run_config.FILE} '
      'beside it. --config=train --config.genotype=FILE trains it; for a '
      'search choose another --workdir, or delete the file.'
    )


def check(config: ml_collections.ConfigDict) -> None:
  """Checks the config of a search before anything is written.

  Raises:
    ValueError: names the field, its value and what is allowed.
  """
  config_checks.check(config)
  config_checks.check_training(config)
  for field, allowed in (('model', 'genotype'), ('genotype', '')):
    if config[field] != allowed:
      raise ValueError(
        f'config.{field} is {config[field]!r}, but a search trains the '
        f'genotype that it finds; allowed: {allowed!r}. Use configs/train.py '
        'to train a given network.'
      )
  if config.train.start_from:
    raise ValueError(
      f'config.train.start_from is {config.train.start_from!r}; allowed in a '
      "search, whose network is new: ''. --config=train takes it."
    )
  config_checks.check_batch_sizes(
    config, 'train.batch_size', 'evaluate.batch_size'
  )
  algorithm = config.search.algorithm
  if algorithm == 'random' and config.search.hold_out != 'none':
    raise ValueError(
      f'config.search.hold_out is {config.search.hold_out!r}; allowed: none, '
      f'since config.search.algorithm is {algorithm!r}.'
    )
  _check_without_effect(config)
  if (
    algorithm == 'evolution'
    or config.search.hold_out == 'none'
    or config.search.selection == 'perturbation'
  ):
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
    'supernet', lambda: settings.supernet(config), config, arch
  )
  # The sizes do not depend on the genotype; CDCN++ stands in for it.
  config_checks.check_model(
    'network', lambda: settings.network(config, 'cdcnpp'), config
  )


def _check_without_effect(config) -> None:
  """Refuses fields that would have no effect in this search."""
  meta, fields = config.meta, config.search
  over_tasks = fields.hold_out != 'none' and fields.algorithm == 'gradient'
  for name in ('learn_inner_lr', 'domain_statistics', 'shard_optimizer'):
    if meta[name] and not over_tasks:
      raise ValueError(
        f'config.meta.{name} is True; allowed without a gradient search over '
        'tasks (config.search.hold_out): False.'
      )
  perturbed = fields.selection == 'perturbation'
  if fields.cost_weight and (perturbed or fields.algorithm != 'gradient'):
    raise ValueError(
      f'config.search.cost_weight is {fields.cost_weight}; allowed without a '
      "gradient search whose genotype is derived by 'strength' "
      '(config.search.algorithm, config.search.selection): 0.'
    )
  if perturbed and fields.algorithm != 'gradient':
    raise ValueError(
      "config.search.selection is 'perturbation'; allowed with "
      f"config.search.algorithm {fields.algorithm!r}: 'strength'."
    )
  if fields.selection_steps and not perturbed:
    raise ValueError(
      f'config.search.selection_steps is {fields.selection_steps}; allowed '
      f'with config.search.selection {fields.selection!r}: 0.'
    )
  if perturbed and meta.domain_statistics:
    raise ValueError(
      'config.meta.domain_statistics is True; allowed with '
      "config.search.selection 'perturbation', whose batches mix the domains: "
      'False.'
    )
  if meta.domain_statistics and config.loss.triplet:
    raise ValueError(
      f'config.loss.triplet is {config.loss.triplet}; allowed with '
      'config.meta.domain_statistics, under which the loss of a domain meets '
      'no other: 0.'
    )
  _check_supernet(config)
  for name in ('second_order', 'gumbel'):
    if fields[name] and fields.algorithm != 'gradient':
      raise ValueError(
        f'config.search.{name} is True; allowed with '
        f'config.search.algorithm {fields.algorithm!r}: False.'
      )
  if meta.anneal_steps and not (over_tasks and meta.inner_steps > 1):
    raise ValueError(
      f'config.meta.anneal_steps is {meta.anneal_steps}; allowed with one '
      'inner step (config.meta.inner_steps) or without a gradient search over '
      'tasks: 0.'
    )
  sizes = config.evolution
  if fields.algorithm == 'evolution' and sizes.evaluations <= sizes.population:
    raise ValueError(
      f'config.evolution.evaluations is {sizes.evaluations}; allowed: above '
      f'config.evolution.population, {sizes.population}, or nothing evolves.'
    )


def _check_supernet(config) -> None:
  """Refuses supernets that are not what the search takes them for."""
  fields, supernet = config.search, config.supernet
  space = search_spaces.get_space(supernet.space)
  theta = config.network.theta
  if space.theta is not None and theta not in (None, space.theta):
    raise ValueError(
      f'config.network.theta is {theta}; allowed with config.supernet.space '
      f'{supernet.space!r}: {space.theta}, or not set.'
    )
  if fields.algorithm == 'random':
    return
  if space.output == search_spaces.STRONGEST and not supernet.node_attention:
    raise ValueError(
      'config.supernet.node_attention is False; allowed in a search of the '
      f'space {supernet.space!r}, whose cells end in their strongest node: '
      'True.'
    )
  # What bypasses the operations of an edge that is not there would remain.
  removing = fields.algorithm == 'evolution' or (
    fields.selection == 'perturbation'
  )
  if (
    removing
    and not supernet.edge_normalization
    and supernet.partial_channels > 1
  ):
    raise ValueError(
      'config.supernet.edge_normalization is False; allowed with '
      f'config.supernet.partial_channels {supernet.partial_channels} in a '
      'search that computes cells without some of their edges (evolution, '
      'perturbation): True.'
    )


def make_search(
  config: ml_collections.ConfigDict, selection: protocols.Selection
) -> Search | None:
  """The search that config.search describes; None for a random genotype.

  Raises:
    ValueError: if the training clips do not allow its tasks or halves.
  """
  algorithm, hold_out = config.search.algorithm, config.search.hold_out
  if algorithm == 'random':
    return None
  domain_field = protocols.get_protocol(config.protocol).domain_field
  map_size = config.supernet.output_size
  with progress.stage('Making the supernet'):
    model = settings.supernet(config)
    shared = settings.search(config)
    form = settings.input_form(config)
    common = (model, settings.example_input(config), selection.train)
    loss_fn = supernet_program.supernet_loss(
      model, form, settings.objective(config), shared
    )
    train_batches = functools.partial(
      settings.training_batches, config, domain_field, map_size
    )
    prepare = settings.prepare(config, map_size)
    if algorithm == 'evolution':
      return evolution.evolutionary_search(
        *common,
        loss_fn=loss_fn,
        form=form,
        search=shared,
        settings=settings.evolving(config),
        hold_out=hold_out,
        domain_field=domain_field,
        batch_size=config.search.batch_size,
        train_batches=train_batches,
        prepare=prepare,
        read=functools.partial(
          settings.evaluation_batches(config, domain_field, map_size),
          num_snippets=1,
        ),
        score_batch_size=config.evaluate.batch_size,
      )
    if hold_out == 'none':
      for half in index.split_halves(selection.train):
        settings.check_balance(config, half)
      found = bilevel.plain_search(
        *common,
        loss_fn=loss_fn,
        settings=shared,
        batch_size=config.search.batch_size,
        train_batches=train_batches(2),
        prepare=prepare,
      )
    else:
      found = meta_search.search_over_tasks(
        *common,
        loss_fn=loss_fn,
        search=shared,
        settings=settings.meta(config),
        hold_out=hold_out,
        domain_field=domain_field,
        episode_batches=settings.episode_batches(config, domain_field),
        prepare=prepare,
      )
    if config.search.selection == 'strength':
      return found
    derive = perturbation.derive_by_perturbation(
      model,
      selection.train,
      form=form,
      objective=settings.objective(config),
      search=shared,
      settings=settings.selecting(config),
      batch_size=config.search.batch_size,
      train_batches=train_batches(2),
      prepare=prepare,
    )
    return found._replace(derive=derive)


def find(
  config: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  found: Search | None,
  selection: protocols.Selection,
  profile: profiles.Steps | None = None,
) -> genotypes.Genotype:
  """Runs a search and derives its genotype; draws one if `found` is None."""
  if found is None:
    genotype = evolution.random_genotype(settings.supernet(config), config.seed)
  else:
    state = loop.run(
      found.program,
      workdir,
      log_every=config.log_every,
      checkpoint_every=config.checkpoint_every,
      max_skipped=config.max_skipped_steps,
      profile=profile,
    )
    genotype = found.derive(state)
  return dataclasses.replace(
    genotype, provenance=_provenance(config, selection)
  )


def _provenance(config, selection: protocols.Selection) -> dict[str, object]:
  return {
    'protocol': config.protocol,
    'seed': config.seed,
    'algorithm': config.search.algorithm,
    **(
      {'selection': config.search.selection}
      if config.search.algorithm == 'gradient'
      else {}
    ),
    'steps': config.search.num_steps,
    'data': index.fingerprint(selection.train),
  }
