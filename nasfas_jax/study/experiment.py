"""The experiment: a study of the search, by many small runs.

Every run is one of the other configs in a process of its own: `plan` says
which, `jobs` runs them, and `pages` writes what they come to. The supernets of
finished searches are scored here.
"""

import pathlib
from collections.abc import Sequence

import jax
import ml_collections
import numpy as np

from nasfas_jax import (
  checkpoints,
  config_checks,
  files,
  metrics,
  progress,
  run_config,
  settings,
  sharding,
)
from nasfas_jax.data import episodes, protocols
from nasfas_jax.models import genotypes, search_spaces
from nasfas_jax.ops import fusion
from nasfas_jax.searchers import supernet_program, supernet_scores
from nasfas_jax.study import ceiling, jobs, pages, plan


def study(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
  """Runs what is not finished, then writes the report of what is.

  Raises:
    ValueError: for an unknown remedy or search, an evolution without a budget,
      or if the workdir holds runs of other settings.
    ChildProcessError: if runs failed; the others have been run and are
      reported.
  """
  check(config)
  if config.study.question == 'ceiling':
    planned = read_ceiling(config)
    ceiling.write_genotypes(planned, workdir)
    listed = ceiling.jobs_of(planned)

    def report(finished):
      return ceiling.report(planned, workdir, finished)

  else:
    planned = read_plan(config)
    listed = plan.jobs_of(planned)

    def report(finished):
      return pages.write(
        workdir,
        planned,
        finished,
        score_supernets(config, workdir, finished),
        num_samples=config.study.bootstrap_samples,
      )

  failure = None
  if config.study.num_workers:
    try:
      jobs.run(listed, workdir, config.study.num_workers)
    except ChildProcessError as error:
      failure = error
  finished = [job.name for job in listed if jobs.is_finished(job, workdir)]
  progress.say(f'{len(finished)} of {len(listed)} runs are finished.')
  progress.say(f'Report: {report(finished)}')
  if failure is not None:
    raise failure


# What is asked -> the fields of config.study that its runs and report take.
QUESTIONS = {
  'worth': (
    *('seeds', 'protocols', 'searches', 'evolutions', 'random', 'fusions'),
    *('fusion_protocols', 'remedies', 'chosen_remedies', 'search_settings'),
    *('settings', 'evolution_settings', 'supernets', 'supernet_clips'),
    'bootstrap_samples',
  ),
  'ceiling': ('ceiling',),
}
_FOR_ALL = ('question', 'num_workers')
# Fields that are numbers.
_NUMBERS = {
  'study.question': config_checks.OneOf(tuple(QUESTIONS)),
  'study.num_workers': config_checks.Number(0, 256),
  'study.ceiling.space': config_checks.OneOf(
    (*search_spaces.SPACES, *search_spaces.WIDE_SPACES)
  ),
  'study.ceiling.genotypes': config_checks.Number(2, 100_000),
  'study.ceiling.seeds': config_checks.Number(2, 10_000),
  'study.random': config_checks.Number(0, 1_000_000),
  'study.supernet_clips': config_checks.Number(2, 1_000_000),
  'study.bootstrap_samples': config_checks.Number(1, 1_000_000),
  'study.seeds': config_checks.Numbers(
    config_checks.Number(0, 2**31 - 1), 10_000
  ),
}
# What the question 'worth' reads beside config.study; its runs take nothing
# else from it.
_READ = ('experiment', 'data.data_dir', 'data.builder_config', 'input.fusion')


def check(config: ml_collections.ConfigDict) -> None:
  """Checks a study's config, and those of its runs, before anything is run.

  Raises:
    ValueError: names the field, the value and what is allowed.
  """
  fields = config.study
  config_checks.check_fields(config, _NUMBERS)
  defaults = run_config.defaults_of(config)
  own = (*_FOR_ALL, *QUESTIONS[fields.question])
  for path, value in run_config.flatten(config).items():
    if not path.startswith('study.') or value == defaults[path]:
      continue
    if path.removeprefix('study.') not in own:
      raise ValueError(
        f'config.{path} is {value!r}, which the question {fields.question!r} '
        f'does not read; it reads {", ".join(own)}.'
      )
  if fields.question == 'ceiling':
    _check_ceiling(config)
  else:
    _check_worth(config, defaults)


def _check_ceiling(config: ml_collections.ConfigDict) -> None:
  """Checks the config of the trainings: it is that of the study itself."""
  config_checks.check(config)
  for field, allowed in (('model', 'genotype'), ('genotype', '')):
    if config[field] != allowed:
      raise ValueError(
        f'config.{field} is {config[field]!r}; allowed in a study of random '
        f'genotypes: {allowed!r}.'
      )
  space = run_config.defaults_of(config)['supernet.space']
  if config.supernet.space != space:
    raise ValueError(
      f'config.supernet.space is {config.supernet.space!r}; allowed in a study '
      f'of random genotypes, whose space is config.study.ceiling.space: '
      f'{space!r}.'
    )
  if config.seed:
    raise ValueError(
      f'config.seed is {config.seed}; allowed: 0, since every training has its '
      'own seed.'
    )
  protocols.get_protocol(config.protocol)
  config_checks.check_batch_sizes(
    config, 'train.batch_size', 'evaluate.batch_size'
  )
  genotype = ceiling.draw(read_ceiling(config))[0]
  config_checks.check_model(
    'network',
    lambda: settings.network(settings.follow(config, genotype), genotype),
    settings.follow(config, genotype),
  )


def read_ceiling(config: ml_collections.ConfigDict) -> ceiling.Plan:
  """What the question 'ceiling' trains, as plain values."""
  sizes = config.supernet
  return ceiling.Plan(
    space=config.study.ceiling.space,
    num_cells=sizes.num_cells,
    num_nodes=sizes.num_nodes,
    theta=sizes.theta,
    num_genotypes=config.study.ceiling.genotypes,
    num_seeds=config.study.ceiling.seeds,
    protocol=config.protocol,
    fields=changed_fields(config),
  )


# Fields of a run that a study sets itself, or that say what is drawn.
_SET = ('experiment', 'protocol', 'seed', 'supernet.', 'study.')


def changed_fields(config: ml_collections.ConfigDict) -> dict[str, object]:
  """Path -> value of the fields that a study hands on to its runs."""
  defaults = run_config.defaults_of(config)
  return {
    path: value
    for path, value in run_config.flatten(config).items()
    if value != defaults[path] and not path.startswith(_SET)
  }


def _check_worth(config: ml_collections.ConfigDict, defaults) -> None:
  fields = config.study
  for path, value in run_config.flatten(config).items():
    own = path.startswith('study.') or path in _READ
    if not own and value != defaults[path]:
      raise ValueError(
        f'config.{path} is {value!r}, which no run of a study would take; '
        f'allowed: {defaults[path]!r}. The fields of the runs are in '
        'config.study.settings.'
      )
  if not fields.protocols:
    raise ValueError(
      'config.study.protocols is (); allowed: one protocol or more.'
    )
  for name in (*fields.protocols, *fields.fusion_protocols):
    protocols.get_protocol(name)
  # Those by gradient, which have a mixture.
  searches = ('plain', *episodes.HOLD_OUTS)
  allowed = {
    'searches': searches,
    # Those that have been given a budget.
    'evolutions': tuple(fields.evolution_settings),
    'chosen_remedies': tuple(fields.remedies),
    'supernets': (*searches, *map(plan.remedy_row, fields.remedies)),
    'fusions': fusion.FUSIONS,
  }
  for field, names in allowed.items():
    for name in fields[field]:
      if name not in names:
        raise ValueError(
          f'config.study.{field} holds {name!r}; allowed: {", ".join(names)}.'
        )
  _check_runs(config)


def _check_runs(config: ml_collections.ConfigDict) -> None:
  """Checks the fields that a study sets in its runs."""
  planned = read_plan(config)
  changes = {
    'settings': {},
    'search_settings': planned.search_fields,
    **{f'remedies.{n}': planned.remedies[n] for n in planned.chosen_remedies},
    **{
      f'evolution_settings.{name}.settings': evolution.fields
      for name, evolution in planned.evolutions.items()
    },
  }
  for where, change in changes.items():
    # What it does not set has been found to be as by default.
    one = ml_collections.ConfigDict(config.to_dict()).lock()
    if where.startswith('evolution_settings'):
      one.search.algorithm = 'evolution'
    # As in a run, where config.study.settings has the last word.
    before = {} if where == 'settings' else planned.search_fields
    try:
      for part in (before, change, planned.fields):
        one.update_from_flattened_dict(run_config.flatten(part))
      config_checks.check(one)
    except (ValueError, TypeError, KeyError) as error:
      raise ValueError(
        f'config.study.{where}: {" ".join(map(str, error.args))}'
      ) from error


def read_plan(config: ml_collections.ConfigDict) -> plan.Plan:
  """What a study's config compares, as plain values."""
  fields = config.study
  return plan.Plan(
    protocols=fields.protocols,
    seeds=fields.seeds,
    searches=fields.searches,
    evolutions={
      name: plan.Evolution(
        variants=fields.evolution_settings[name].variants,
        fields=fields.evolution_settings[name].settings.to_dict(),
      )
      for name in fields.evolutions
    },
    num_random=fields.random,
    fusions=fields.fusions,
    fusion_protocols=fields.fusion_protocols,
    fusion=config.input.fusion,
    remedies=fields.remedies.to_dict(),
    chosen_remedies=fields.chosen_remedies,
    search_fields=fields.search_settings.to_dict(),
    fields=fields.settings.to_dict(),
    data_dir=config.data.data_dir,
  )


def score_supernets(
  config: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  finished: Sequence[str],
) -> dict[str, dict]:
  """What finished searches' supernets say of the random genotypes.

  Written beside each search as supernet_scores.json, and not computed again.

  Args:
    config: of the study.
    workdir: of the study.
    finished: names of the finished runs.

  Returns:
    For each search, by its run's name: 'mixture', the AUC of the searched
    mixture on dev clips; 'derived', that of the derived genotype with the
    supernet's weights; 'random', by the name of a random genotype's run.
  """
  fields = config.study
  first = plan.short(fields.protocols[0])
  drawn = [
    name for name in finished if name.startswith(f'{first}/{plan.RANDOM}/')
  ]
  found = {}
  for row in fields.supernets:
    for seed in fields.seeds:
      name = plan.run_name(first, row, seed)
      if name not in finished:
        continue
      path = workdir / name / 'supernet_scores.json'
      known = files.read_json(path) if path.exists() else {'random': {}}
      if missing := [run for run in drawn if run not in known['random']]:
        scored = _score_supernet(workdir, name, missing, fields.supernet_clips)
        scored['random'] = {**known['random'], **scored['random']}
        files.write_json(path, scored)
        known = scored
      found[name] = known
  return found


def _score_supernet(
  workdir: pathlib.Path, name: str, runs: Sequence[str], num_clips: int
) -> dict:
  """Scores the genotypes of some runs with the supernet of a search.

  Args:
    workdir: of the study.
    name: of the search's run.
    runs: names of the random genotypes' runs.
    num_clips: dev clips that they are scored on.

  Returns:
    As `score_supernets`, of one search.

  Raises:
    ValueError: if the newest checkpoint is not of the search's last step.
  """
  folder = workdir / name
  config = run_config.read(folder)
  selection = settings.selection(config)
  mesh = sharding.make_mesh()
  model = settings.supernet(config)
  variables = _restore(config, folder, model, mesh)
  arch = variables.pop('arch')
  domain_field = protocols.get_protocol(config.protocol).domain_field
  rows = supernet_scores.even_choice(selection.dev, num_clips, domain_field)
  read = settings.evaluation_batches(
    config, domain_field, config.supernet.output_size
  )
  scores = supernet_scores.make_scores(
    model,
    rows,
    supernet_scores.statistics_choice(selection.train, domain_field),
    form=settings.input_form(config),
    read=lambda clips: read(clips, num_snippets=1),
    batch_size=config.evaluate.batch_size,
    mesh=mesh,
  )
  labels = np.array([row['label'] for row in rows])

  def auc(arch):
    return metrics.auc(scores(variables, arch), labels)

  def auc_of(run):
    genotype = genotypes.load(workdir / run / 'genotype.json')
    return auc(supernet_scores.genotype_arch(model, genotype))

  found = {}
  with progress.bar(f'Scoring by {name}', len(runs)) as bar:
    for number, run in enumerate(runs, 1):
      found[run] = auc_of(run)
      bar.update(number)
  return {'mixture': auc(arch), 'derived': auc_of(name), 'random': found}


def _restore(config, folder, model, mesh) -> dict:
  """The last 'params', 'batch_stats' and 'arch' of a search."""
  # Shapes alone: nothing is initialised, or compiled for it.
  state = jax.eval_shape(
    lambda: supernet_program.initial_state(
      model, settings.example_input(config), settings.search(config)
    )
  )
  template = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=sharding.replicated(mesh)
    ),
    {name: getattr(state, name) for name in ('params', 'batch_stats', 'arch')},
  )
  variables, step = checkpoints.restore_variables(
    checkpoints.folder(folder, 'search'), template
  )
  if step != config.search.num_steps:
    raise ValueError(
      f'{str(folder)!r} has a supernet of step {step}, not the last one, '
      f'{config.search.num_steps}: it cannot score.'
    )
  return variables
