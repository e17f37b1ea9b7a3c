"""Which runs a study has, and what tells them apart."""

import pytest

from nasfas_configs import search as search_config
from nasfas_configs import study as study_config
from nasfas_jax import run_config
from nasfas_jax.searchers import supernet_scores
from nasfas_jax.study import experiment, plan

FIRST = 'cross_domain/night'


def jobs_of(config):
  return plan.jobs_of(experiment.read_plan(config))


def test_the_plan_holds_every_run_once_with_what_tells_it_apart():
  config = study_config.get_config()
  jobs = jobs_of(config)
  names = [job.name for job in jobs]
  assert len(set(names)) == len(names)
  settings = config.study
  seeds, protocols = len(settings.seeds), len(settings.protocols)
  expected = seeds * (
    protocols * len(settings.searches)
    + len(settings.evolutions)
    + len(settings.fusions) * len(settings.fusion_protocols)
    + protocols
    - 1  # CDCN++ on the first protocol and the default input serves twice
    + len(settings.chosen_remedies)
  )
  assert len(names) == expected + settings.random
  by_name = {job.name: job.arguments for job in jobs}
  chosen = by_name['cross_type/replay/type/seed3']
  assert '--config=search:type' in chosen
  assert '--config.protocol=synthetic_fas/cross_type/replay' in chosen
  assert '--config.seed=3' in chosen
  assert '--config.search.num_steps=60' in chosen
  # A remedy's change comes after the settings that it changes.
  changed = by_name[f'{FIRST}/domain_longer_warmup/seed0']
  warmups = [a for a in changed if a.startswith('--config.search.warmup')]
  assert warmups[-1] == '--config.search.warmup_steps=40'
  # Searches come before what compares inputs, that before the remedies.
  turns = [
    names.index(f'{FIRST}/{n}') for n in ('plain/seed4', 'cdcnpp_static/seed0')
  ]
  assert turns[0] < turns[1] < names.index(f'{FIRST}/domain_larger_query/seed0')


def test_the_evolutions_have_the_budget_of_the_search_over_tasks():
  config_of_study = study_config.get_config()
  config_of_study.study.evolutions = (
    *('evolution', 'evolution_domain', 'evolution_type'),
  )
  jobs = {job.name: job.arguments for job in jobs_of(config_of_study)}

  def settings_of(row):
    settings = config_of_study.study.evolution_settings
    variants = settings[row].variants if row in settings else row
    config = search_config.get_config(variants)
    for argument in jobs[f'{FIRST}/{row}/seed0'][1:]:
      name, _, value = argument.removeprefix('--config.').partition('=')
      if name.startswith(('search.', 'evolution.')):
        config.update_from_flattened_dict({name: int(value)})
    return config

  # Clips through the supernet; on the way back they count twice.
  config = settings_of('domain')
  task = config.meta.support_size + config.meta.query_size
  budget = 3 * config.search.num_steps * config.meta.num_tasks * task
  all_tasks = {'evolution': 1, 'evolution_domain': 3, 'evolution_type': 4}
  assert set(config_of_study.study.evolution_settings) == set(all_tasks)
  for variant, tasks in all_tasks.items():
    config = settings_of(variant)
    trained = config.search.num_steps * config.search.batch_size * tasks
    clips = config.evolution.num_clips // tasks * tasks
    clips += supernet_scores.STATISTICS_CLIPS * tasks
    scored = config.evolution.evaluations * clips
    assert 0.97 * budget <= 3 * trained + scored <= budget, variant


@pytest.mark.parametrize('variant', ['', 'debug'])
def test_every_planned_argument_is_a_field_of_a_config(variant):
  config = study_config.get_config(variant)
  fields = run_config.flatten(search_config.get_config())
  for job in jobs_of(config):
    for argument in job.arguments:
      name = argument.partition('=')[0]
      assert name == '--config' or name.removeprefix('--config.') in fields


def test_unknown_variants_are_refused():
  with pytest.raises(ValueError, match="variant 'x' of configs/study.py"):
    study_config.get_config('x')
