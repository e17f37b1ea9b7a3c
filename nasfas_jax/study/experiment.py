"""A study of the search: its runs, and what their supernets say.

Every run is one of the other configs in a process of its own. What they come
to is in `study_report`.
"""

import pathlib
from collections.abc import Iterator, Mapping

import jax
import ml_collections

from nasfas_jax import checkpoints, files, progress, run_config, search
from nasfas_jax.data import episodes, protocols
from nasfas_jax.models import genotypes
from nasfas_jax.searchers import bilevel, supernet_scores
from nasfas_jax.study import jobs, pages

# The carrier of the comparison of inputs, and a row of every table.
CARRIER = 'cdcnpp'


def study(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
  """Runs what is not finished, then writes the report of what is.

  Raises:
    ValueError: for an unknown remedy or search, an evolution without a budget,
      or if the workdir holds runs of other settings.
    RuntimeError: if runs failed; the others have been run and are reported.
  """
  settings = config.study
  # Those by gradient, which have a mixture.
  searches = ('plain', *episodes.HOLD_OUTS)
  allowed = {
    'searches': searches,
    # Those that have been given a budget.
    'evolutions': tuple(settings.evolution_settings),
    'chosen_remedies': tuple(settings.remedies),
    'supernets': (
      *searches,
      *(f'domain_{name}' for name in settings.remedies),
    ),
  }
  for field, names in allowed.items():
    for name in settings[field]:
      if name not in names:
        raise ValueError(
          f'config.study.{field} holds {name!r}; allowed: {", ".join(names)}.'
        )
  listed, failure = plan(config), None
  if settings.num_workers:
    try:
      jobs.run(listed, workdir, settings.num_workers)
    except RuntimeError as error:
      failure = error
  finished = [job.name for job in listed if jobs.is_finished(job, workdir)]
  progress.say(f'{len(finished)} of {len(listed)} runs are finished.')
  supernets = score_supernets(config, workdir, finished)
  page = pages.write(config, workdir, finished, supernets)
  progress.say(f'Report: {page}')
  if failure is not None:
    raise failure


def plan(config: ml_collections.ConfigDict) -> list[jobs.Job]:
  """All runs, in the order in which they are begun.

  A run's name is PROTOCOL/ROW/seedN.
  """
  num_random = config.study.random

  def turn(entry):
    stage, job = entry
    seed = int(job.name.rpartition('/seed')[2])
    # The random ones are spread over about as many seeds as the others have.
    return stage, seed * 5 / num_random if '/random/' in job.name else seed

  listed = {}
  for _, job in sorted(_plan(config), key=turn):
    # CDCN++ on the default input serves two tables.
    listed.setdefault(job.name, job)
  return list(listed.values())


def to_flags(*overrides: Mapping) -> tuple[str, ...]:
  """The arguments that set fields of a run's config.

  Args:
    *overrides: values by field, nested as in the config. Of a field that
      several set, the last one counts.
  """
  values = {}
  for fields in overrides:
    values |= run_config.flatten(fields)
  return tuple(f'--config.{name}={value}' for name, value in values.items())


def _plan(config) -> Iterator[tuple[int, jobs.Job]]:
  """(stage, run): the searches before the inputs before the remedies."""
  settings = config.study

  def job(config_name, protocol, row, seed, *overrides):
    return jobs.Job(
      f'{pages.short(protocol)}/{row}/seed{seed}',
      (
        f'--config={config_name}',
        *to_flags(
          *overrides,
          {'protocol': protocol, 'seed': seed},
          settings.settings,
          {'data': {'data_dir': config.data.data_dir}},
        ),
      ),
    )

  def searched(protocol, row, seed, variants, change=None):
    return job(
      f'search:{variants}',
      *(protocol, row, seed),
      *(settings.search_settings, change or {}),
    )

  def carrier(protocol, seed, fusion):
    overrides = {'model': CARRIER, 'input': {'fusion': fusion}}
    return job('train', protocol, f'{CARRIER}_{fusion}', seed, overrides)

  first = settings.protocols[0]
  for seed in settings.seeds:
    for protocol in settings.protocols:
      for hold_out in settings.searches:
        yield 0, searched(protocol, hold_out, seed, hold_out)
    for row in settings.evolutions:
      budget = settings.evolution_settings[row]
      yield 0, searched(first, row, seed, budget.variants, budget.settings)
    for fusion in settings.fusions:
      for protocol in settings.fusion_protocols:
        yield 1, carrier(protocol, seed, fusion)
    for protocol in settings.protocols:
      yield 0, carrier(protocol, seed, config.input.fusion)
    for name in settings.chosen_remedies:
      change = settings.remedies[name]
      yield 2, searched(first, f'domain_{name}', seed, 'domain', change)
  for seed in range(settings.random):
    yield 0, searched(first, 'random', seed, 'random')


def score_supernets(
  config: ml_collections.ConfigDict, workdir: pathlib.Path, finished: list[str]
) -> dict[str, dict]:
  """What finished searches' supernets say of the random genotypes.

  Written beside each search as supernet_scores.json, and not computed again.

  Returns:
    For each search, by its run's name: 'mixture', the AUC of the searched
    mixture on dev clips; 'derived', that of the derived genotype with the
    supernet's weights; 'random', by the name of a random genotype's run.
  """
  settings = config.study
  first = pages.short(settings.protocols[0])
  drawn = [name for name in finished if name.startswith(f'{first}/random/')]
  found = {}
  for variant in settings.supernets:
    for seed in settings.seeds:
      name = f'{first}/{variant}/seed{seed}'
      if name not in finished:
        continue
      path = workdir / name / 'supernet_scores.json'
      known = files.read_json(path) if path.exists() else {'random': {}}
      if missing := [run for run in drawn if run not in known['random']]:
        known = _score_supernet(workdir, name, missing, known, settings)
        files.write_json(path, known)
      found[name] = known
  return found


def _score_supernet(workdir, name, missing, known, settings) -> dict:
  folder = workdir / name
  config = run_config.read(folder)
  selection = protocols.load(
    config.protocol, config.data.data_dir, config.data.builder_config
  )
  method = search.make_method(config, selection)
  state = jax.jit(lambda: bilevel.initial_state(config, method.model))()
  fields = ('params', 'batch_stats', 'arch')
  variables, step = checkpoints.restore_variables(
    folder / 'checkpoints' / 'search', {f: getattr(state, f) for f in fields}
  )
  if step != config.search.num_steps:
    raise ValueError(
      f'{str(folder)!r} has a supernet of step {step}, not the last one, '
      f'{config.search.num_steps}: it cannot score.'
    )
  domain_field = protocols.get_protocol(config.protocol).domain_field
  scorer = supernet_scores.SupernetScorer(
    config,
    method.model,
    supernet_scores.even_choice(
      selection.dev, settings.supernet_clips, domain_field
    ),
    supernet_scores.statistics_choice(selection.train, domain_field),
    method.mesh,
  )
  arch = variables.pop('arch')
  scores = dict(known['random'])
  with progress.bar(f'Scoring by {name}', len(missing)) as bar:
    for number, run in enumerate(missing, 1):
      genotype = genotypes.load(workdir / run / 'genotype.json')
      scores[run] = scorer.auc(variables, genotype)
      bar.update(number)
  derived = genotypes.load(folder / 'genotype.json')
  return {
    'mixture': scorer.auc_of_arch(variables, arch),
    'derived': scorer.auc(variables, derived),
    'random': scores,
  }
