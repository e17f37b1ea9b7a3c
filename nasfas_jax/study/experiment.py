"""The experiment: a study of the search, by many small runs.

Every run is one of the other configs in a process of its own: `plan` says
which, `jobs` runs them, and `pages` writes what they come to. The supernets of
finished searches are scored here.
"""

import contextlib
import dataclasses
import functools
import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import jax
import ml_collections
import numpy as np

from nasfas_jax import (
  checkpoints,
  config_checks,
  files,
  inputs,
  metrics,
  progress,
  run_config,
  settings,
  sharding,
  train,
)
from nasfas_jax.data import episodes, protocols
from nasfas_jax.models import genotypes, search_spaces
from nasfas_jax.ops import fusion
from nasfas_jax.searchers import (
  supernet_program,
  supernet_scores,
  trials,
  zero_cost,
)
from nasfas_jax.study import arms, ceiling, contest, jobs, pages, plan


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
    waves = [ceiling.jobs_of(planned)]
    clips = config.study.ceiling.clips
    scored = None
    if clips:
      scored = ceiling.Untrained(_zero_cost(config, workdir, clips), clips)

    def report(finished):
      return ceiling.report(planned, workdir, finished, scored)

  elif config.study.question == 'search':
    _contest(config, workdir)
    return
  elif config.study.question in arms.QUESTIONS:
    planned = read_arms(config)
    waves = arms.waves(planned, workdir)

    def report(finished):
      return arms.report(planned, workdir, finished)

  else:
    planned = read_plan(config)
    waves = [plan.jobs_of(planned)]

    def report(finished):
      return pages.write(
        workdir,
        planned,
        finished,
        score_supernets(config, workdir, finished),
        num_samples=config.study.bootstrap_samples,
      )

  listed, failures = [], []
  for wave in waves:
    listed += wave
    _begin(config, workdir, wave, failures)
  finished = [job.name for job in listed if jobs.is_finished(job, workdir)]
  progress.say(f'{len(finished)} of {len(listed)} runs are finished.')
  progress.say(f'Report: {report(finished)}')
  if failures:
    raise failures[0]


def _begin(config, workdir: pathlib.Path, listed, failures: list) -> None:
  """Runs what is not finished; after a failure, which it notes, nothing."""
  if not listed or not config.study.num_workers or failures:
    return
  try:
    jobs.run(
      listed,
      workdir,
      config.study.num_workers,
      together=config.study.together,
    )
  except ChildProcessError as error:
    failures.append(error)


# What is asked -> the fields of config.study that its runs and report take.
QUESTIONS = {
  'worth': (
    *('seeds', 'protocols', 'searches', 'evolutions', 'random', 'fusions'),
    *('fusion_protocols', 'remedies', 'chosen_remedies', 'search_settings'),
    *('settings', 'evolution_settings', 'supernets', 'supernet_clips'),
    'bootstrap_samples',
  ),
  'ceiling': ('ceiling',),
  'search': ('contest',),
  **{question: (question,) for question in arms.QUESTIONS},
}
_FOR_ALL = ('question', 'num_workers', 'together')


def _contest(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
  """Runs the question 'search' as far as it goes, then writes its report."""
  planned = read_contest(config)
  random = contest.Random()
  if path := config.study.contest.ceiling:
    random = _random_genotypes(config, path, planned)
  failures = []

  def run(listed):
    _begin(config, workdir, listed, failures)
    # After a failure, too, what is finished is read.
    return {
      job.name: files.read_json(workdir / job.name / 'results.json')
      for job in listed
      if jobs.is_finished(job, workdir)
    }

  chosen = contest.play(
    planned,
    workdir,
    run,
    _zero_cost(config, workdir, config.study.contest.clips),
  )
  listed = {
    one: contest.final_jobs(planned, *one, path) for one, path in chosen.items()
  }
  results = run([job for each in listed.values() for job in each])
  finals = {
    one: [results[job.name] for job in each]
    for one, each in listed.items()
    if all(job.name in results for job in each)
  }
  number = len(planned.rows) * len(planned.seeds)
  progress.say(f'{len(finals)} of {number} searches are finished.')
  progress.say(f'Report: {contest.report(planned, workdir, finals, random)}')
  if failures:
    raise failures[0]


def _random_genotypes(
  config: ml_collections.ConfigDict, path: str, planned: contest.Plan
) -> contest.Random:
  """The genotypes in a ceiling.json.

  Raises:
    ValueError: if it is of another space, other cells, another protocol or
      training.
  """
  wanted = {
    **{'space': planned.space, 'protocol': planned.protocol},
    **{'cells': ceiling.cells(planned), 'config': planned.config},
  }
  content = _earlier_report(config, 'study.contest.ceiling', path, wanted)
  tables = content['tables']
  return contest.Random(
    [float(np.mean(row)) for row in tables['auc'].values()],
    [float(row[0]) for row in tables['parameters'].values()],
  )


def _earlier_report(
  config: ml_collections.ConfigDict,
  field: str,
  path: str,
  wanted: Mapping[str, object],
  newer: Sequence[str] = (),
) -> dict:
  """The content of a report that has to be of the trainings of this one.

  Args:
    config: of this study.
    field: of it that names the JSON file, for messages.
    path: of that file.
    wanted: key of the content -> its value here.
    newer: keys that a report may lack; it has nothing of what they are about.

  Raises:
    ValueError: names what differs.
  """
  defaults = json.loads(json.dumps(run_config.defaults_of(config)))
  content = files.read_json(path)
  if not isinstance(content, dict):
    raise ValueError(f'config.{field}: {path!r} holds no JSON object.')
  for key, value in wanted.items():
    # As it has gone through JSON.
    now, then = json.loads(json.dumps(value)), content.get(key)
    if now == then:
      continue
    if key not in content:
      if key in newer:
        continue
      raise ValueError(
        f'config.{field}: {path!r} has no {key!r}: it is no such report, or '
        'one of an older version.'
      )
    if isinstance(now, dict) and isinstance(then, dict):
      if key == 'config':
        # A field that is newer than the report had its default there.
        then = {**{name: defaults[name] for name in now}, **then}
        if now == then:
          continue
      key, now, then = next(
        (f'{key}, {name}', now.get(name), then.get(name))
        for name in sorted({*now, *then})
        if now.get(name) != then.get(name)
      )
    raise ValueError(
      f'config.{field}: {path!r} has as {key} {then!r}; allowed: that of this '
      f'study, {now!r}.'
    )
  return content


def _zero_cost(
  config: ml_collections.ConfigDict, workdir: pathlib.Path, clips: int
) -> contest.Score:
  """Scores of untrained networks, on clips that are read when one asks.

  Args:
    config: of the study.
    workdir: of the study, where scores are kept.
    clips: that a score looks at.
  """

  @functools.cache
  def frames():
    domain_field = protocols.get_protocol(config.protocol).domain_field
    rows = supernet_scores.even_choice(
      settings.selection(config).train,
      clips,
      domain_field,
    )
    read = settings.evaluation_batches(
      config, domain_field, config.network.output_size
    )
    batches = [batch['frames'] for batch in read(rows, num_snippets=1)]
    return np.concatenate(batches)[: len(rows)]

  def score(name, genotype, seed):
    own = settings.follow(config, genotype)
    images = inputs.network_input(frames(), settings.input_form(own))
    # In float32, so that a score is the same on all machines.
    network = settings.network(own, genotype, scoring=True)
    return zero_cost.score(name, network, images, seed)

  # Scores on other clips are others.
  return contest.Known(workdir / f'zero_cost_{clips}_clips.json', score)


def read_contest(config: ml_collections.ConfigDict) -> contest.Plan:
  """What the question 'search' compares, as plain values."""
  fields, sizes = config.study.contest, config.supernet
  return contest.Plan(
    space=fields.space,
    num_cells=sizes.num_cells,
    num_nodes=sizes.num_nodes,
    theta=sizes.theta,
    protocol=config.protocol,
    seeds=tuple(fields.seeds),
    final_seeds=fields.final_seeds,
    methods=tuple(fields.methods),
    gradients={
      row: contest.Gradient(one.variants, one.settings.to_dict())
      for row, one in fields.gradients.items()
    },
    random=fields.random,
    rungs=[trials.Rung(*rung) for rung in fields.rungs],
    evolution=contest.Evolution(**fields.evolution.to_dict()),
    candidates=fields.candidates,
    num_steps=config.train.num_steps,
    warmup_steps=config.train.warmup_steps,
    fields=changed_fields(config),
    supernet=changed_fields(config, ('supernet.',)),
    config=_figure_fields(config),
  )


# Fields that are numbers.
_NUMBERS = {
  'study.question': config_checks.OneOf(tuple(QUESTIONS)),
  'study.num_workers': config_checks.Number(0, 256),
  'study.ceiling.space': config_checks.OneOf(
    (*search_spaces.SPACES, *search_spaces.WIDE_SPACES)
  ),
  'study.contest.space': config_checks.OneOf(
    (*search_spaces.SPACES, *search_spaces.WIDE_SPACES)
  ),
  'study.contest.seeds': config_checks.Numbers(
    config_checks.Number(0, 2**31 - 1), 1_000
  ),
  'study.contest.final_seeds': config_checks.Number(1, 1_000),
  'study.contest.random': config_checks.Number(1, 1_000),
  'study.contest.candidates': config_checks.Number(1, 100_000),
  'study.contest.clips': config_checks.Number(2, 100_000),
  'study.ceiling.genotypes': config_checks.Number(2, 100_000),
  'study.ceiling.seeds': config_checks.Number(2, 10_000),
  'study.ceiling.clips': config_checks.Number(0, 100_000),
  **{
    f'study.{question}.bootstrap_samples': config_checks.Number(2, 1_000_000)
    for question in arms.QUESTIONS
  },
  'study.generalise.first_seeds': config_checks.Number(1, 10_000),
  'study.generalise.keep': config_checks.Number(1, 10_000),
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
    if fields.ceiling.clips == 1:
      raise ValueError(
        'config.study.ceiling.clips is 1; allowed: 0 (no scores), or 2 or more.'
      )
    _check_trainings(config, fields.ceiling.space)
    genotype = ceiling.draw(read_ceiling(config))[0]
    _check_network(config, genotype)
  elif fields.question == 'search':
    _check_contest(config)
  elif fields.question in arms.QUESTIONS:
    _check_arms(config)
  else:
    _check_worth(config, defaults)


def _check_contest(config: ml_collections.ConfigDict) -> None:
  """Checks the searches and their trainings."""
  fields = config.study.contest
  _check_trainings(config, fields.space)
  for name in fields.methods:
    if name not in contest.METHODS:
      raise ValueError(
        f'config.study.contest.methods holds {name!r}; allowed: '
        f'{", ".join(contest.METHODS)}.'
      )
  count = config_checks.Number(1, 1_000)
  for rung in fields.rungs:
    if len(rung) != 3 or not all(map(count.allows, rung)):
      raise ValueError(
        f'config.study.contest.rungs holds {tuple(rung)!r}; allowed: '
        f'(candidates, steps, seeds), each {count}.'
      )
  if not fields.rungs:
    raise ValueError('config.study.contest.rungs is (); allowed: 1 or more.')
  trained = sum(rung[0] * rung[2] for rung in fields.rungs)
  if not count.allows(trained):
    raise ValueError(
      f'config.study.contest.rungs has {trained} trainings; allowed: {count}.'
    )
  for name, value in fields.evolution.items():
    if not count.allows(value):
      raise ValueError(
        f'config.study.contest.evolution.{name} is {value!r}; allowed: {count}.'
      )
  planned = read_contest(config)
  genotype = contest.draw(planned, planned.seeds[0], 0)
  _check_network(config, genotype)
  for method in planned.methods:
    if method not in zero_cost.SCORES:
      # The first round says what is wrong with the sizes.
      try:
        next(contest.make_search(planned, method, planned.seeds[0], None))
      except ValueError as error:
        raise ValueError(f'config.study.contest, {method}: {error}') from error
  if planned.gradients and planned.space in search_spaces.WIDE_SPACES:
    raise ValueError(
      f'config.study.contest.gradients holds {", ".join(planned.gradients)}; '
      f'allowed in the space {planned.space!r}, of which there is no supernet: '
      'none.'
    )
  for row, gradient in planned.gradients.items():
    if row in contest.METHODS:
      raise ValueError(
        f'config.study.contest.gradients holds {row!r}, which is a search by '
        'trials.'
      )
    with _changed(config, f'contest.gradients.{row}') as one:
      one.update_from_flattened_dict(run_config.flatten(gradient.fields))
      one.supernet.space = planned.space
      config_checks.check(one)


def _check_trainings(config: ml_collections.ConfigDict, of_space: str) -> None:
  """Checks the config of the trainings: it is that of the study itself."""
  config_checks.check(config)
  config_checks.check_training(config)
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
      f'of random genotypes, whose space is a field of config.study: '
      f'{space!r}.'
    )
  _check_one_seed(config)
  if of_space in search_spaces.WIDE_SPACES:
    # Of their genotypes, some have another norm.
    train.check_no_batch_statistics(
      config,
      f'in the space {of_space!r}, where not every network has batch '
      'statistics',
    )
  if config.seed:
    raise ValueError(
      f'config.seed is {config.seed}; allowed: 0, since every training has its '
      'own seed.'
    )
  _check_has_dev(config, config.protocol)
  config_checks.check_batch_sizes(
    config, 'train.batch_size', 'evaluate.batch_size'
  )


def _check_one_seed(config) -> None:
  """A study says itself from which seeds it trains."""
  if config.train.num_seeds != 1:
    raise ValueError(
      f'config.train.num_seeds is {config.train.num_seeds}; allowed: 1. How '
      'many seeds a study trains from is a field of config.study.'
    )


def _check_network(config, genotype) -> None:
  """Checks the sizes of the networks; a genotype stands in for all."""
  config_checks.check_model(
    'network',
    lambda: settings.network(settings.follow(config, genotype), genotype),
    settings.follow(config, genotype),
  )


def read_ceiling(config: ml_collections.ConfigDict) -> ceiling.Plan:
  """What the question 'ceiling' trains, as plain values."""
  sizes = config.supernet
  planned = ceiling.Plan(
    space=config.study.ceiling.space,
    num_cells=sizes.num_cells,
    num_nodes=sizes.num_nodes,
    theta=sizes.theta,
    num_genotypes=config.study.ceiling.genotypes,
    num_seeds=config.study.ceiling.seeds,
    protocol=config.protocol,
    fields=changed_fields(config),
    config=_figure_fields(config),
    earlier={},
  )
  if path := config.study.ceiling.earlier:
    content = _earlier_report(
      *(config, 'study.ceiling.earlier', path), ceiling.settings(planned)
    )
    planned = dataclasses.replace(planned, earlier=ceiling.figures_of(content))
  return planned


def _check_arms(config: ml_collections.ConfigDict) -> None:
  """Checks every arm in every stage: each is a change of this config."""
  name = f'config.study.{config.study.question}'
  fields = config.study[config.study.question]
  if not fields.seeds or not fields.choose_on:
    raise ValueError(
      f'{name}.seeds is {fields.seeds}, choose_on {fields.choose_on}; allowed: '
      'one or more of each.'
    )
  if config.seed:
    raise ValueError(
      f'config.seed is {config.seed}; allowed: 0, since {name}.seeds says the '
      'seeds.'
    )
  planned = read_arms(config)
  if planned.arms.get(arms.PLAIN) != {}:
    raise ValueError(
      f'{name}.arms needs an arm {arms.PLAIN!r} that changes nothing.'
    )
  for protocol in (planned.final, *planned.choose_on, *planned.types):
    protocols.get_protocol(protocol)
  for arm, changes in planned.arms.items():
    for stage in (
      *({}, planned.choose_fields),
      *([planned.types_fields] if planned.types else []),
    ):
      with _changed(config, f'{planned.question}.arms.{arm}') as one:
        one.update_from_flattened_dict({**stage, **changes})
        one.unlock()
        train.check(one)
        _check_one_seed(one)
        _check_dev(planned, one)


def _check_dev(planned: arms.Plan, config: ml_collections.ConfigDict) -> None:
  """What is chosen by dev clips has them among its results."""
  if planned.choose_by != arms.DEV:
    return
  for name in planned.choose_on:
    _check_has_dev(config, name)


def read_arms(config: ml_collections.ConfigDict) -> arms.Plan:
  """What a question of `arms.QUESTIONS` trains, as plain values."""
  fields = config.study[config.study.question]
  named = {
    name: run_config.flatten(arm) for name, arm in fields.arms.to_dict().items()
  }
  planned = arms.Plan(
    question=config.study.question,
    # The plain one first, the others by name.
    arms=dict(sorted(named.items(), key=lambda arm: arm[0] != arms.PLAIN)),
    seeds=fields.seeds,
    first_seeds=fields.get('first_seeds', len(fields.seeds)),
    keep=fields.get('keep', len(named)),
    choose_on=fields.choose_on,
    choose_fields=run_config.flatten(fields.get('choose_settings', {})),
    final=config.protocol,
    types=fields.get('types', ()),
    types_fields=run_config.flatten(fields.get('types_settings', {})),
    fields=changed_fields(config),
    config=_figure_fields(config),
    earlier={},
    num_samples=fields.bootstrap_samples,
  )
  if path := fields.get('earlier', ''):
    field = f'study.{planned.question}.earlier'
    content = _earlier_report(
      *(config, field, path, arms.settings(planned)),
      newer=('bootstrap_samples', 'types_on', 'types_config'),
    )
    earlier = {
      arms.CHOOSE: content[arms.CHOOSE],
      # Intervals of another number of samples are not taken for ours.
      arms.FINAL: content[arms.FINAL] if 'bootstrap_samples' in content else {},
      arms.TYPES: content.get(arms.TYPES, {}),
    }
    planned = dataclasses.replace(planned, earlier=earlier)
  return planned


# Fields of a run that a study sets itself, or that say what is drawn.
_SET = ('experiment', 'protocol', 'seed', 'supernet.', 'study.')


def changed_fields(
  config: ml_collections.ConfigDict, below: tuple[str, ...] = ()
) -> dict[str, object]:
  """Path -> value of the fields that a study hands on to its runs.

  Args:
    config: of the study.
    below: what the paths begin with; (): with none of `_SET`.
  """
  defaults = run_config.defaults_of(config)
  return {
    path: value
    for path, value in run_config.flatten(config).items()
    if value != defaults[path]
    and (path.startswith(below) if below else not path.startswith(_SET))
  }


def _figure_fields(config: ml_collections.ConfigDict) -> dict[str, object]:
  """Path -> value of every field that the figures of its runs depend on."""
  return {
    path: value
    for path, value in run_config.flatten(config).items()
    if path not in run_config.FREE_FIELDS and not path.startswith(_SET)
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
  _check_short_names({*fields.protocols, *fields.fusion_protocols})
  if fields.supernets:
    # The supernets and the random genotypes are compared on dev clips.
    for name in fields.protocols[:1]:
      _check_has_dev(config, name)
  _check_runs(config)


def _check_short_names(names: set[str]) -> None:
  """Raises ValueError for protocols whose runs would lie in one folder."""
  by_short = {}
  for name in sorted(names):
    short = plan.short(name)
    if not short:
      raise ValueError(
        f'config.study.protocols holds {name!r}, a family; allowed: single '
        'protocols, such as synthetic_fas/intra.'
      )
    other = by_short.setdefault(short, name)
    if other != name:
      raise ValueError(
        f'config.study.protocols and fusion_protocols hold {other!r} and '
        f'{name!r}, whose runs would lie in one folder, {short!r}; allowed: '
        'one of them.'
      )


def _check_has_dev(config: ml_collections.ConfigDict, protocol: str) -> None:
  """Raises ValueError if no dev clips set the threshold.

  Only the split that sets it is among the results of a run, beside test.
  """
  source = protocols.get_protocol(protocol).threshold_source
  source = config.threshold_source or source
  if source != arms.DEV:
    raise ValueError(
      f'config.threshold_source is {source!r} on {protocol!r}; allowed with '
      f'the question {config.study.question!r}, which compares by dev clips: '
      f'{arms.DEV!r}.'
    )


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
    with _changed(config, where) as one:
      if where.startswith('evolution_settings'):
        one.search.algorithm = 'evolution'
      # As in a run, where config.study.settings has the last word.
      before = {} if where == 'settings' else planned.search_fields
      for part in (before, change, planned.fields):
        one.update_from_flattened_dict(run_config.flatten(part))
      config_checks.check(one)
      _check_one_seed(one)


@contextlib.contextmanager
def _changed(
  config: ml_collections.ConfigDict, where: str
) -> Iterator[ml_collections.ConfigDict]:
  """Gives a locked copy, which the block changes and checks as a run's config.

  Raises:
    ValueError: for what is wrong with it; names `where` in config.study.
  """
  try:
    yield ml_collections.ConfigDict(config.to_dict()).lock()
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
      if known.get('clips') != fields.supernet_clips:
        known = {'random': {}}
      if missing := [run for run in drawn if run not in known['random']]:
        scored = _score_supernet(workdir, name, missing, fields.supernet_clips)
        scored['random'] = {**known['random'], **scored['random']}
        known = {**scored, 'clips': fields.supernet_clips}
        files.write_json(path, known)
      # Fewer may be asked for than once were.
      random = {run: known['random'][run] for run in drawn}
      found[name] = {**known, 'random': random}
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
