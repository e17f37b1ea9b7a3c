"""The plan of a study and its report, on runs that are made up."""

import csv
import json

import numpy as np
import pytest
from small_search import small_config

from nasfas_configs import search as search_config
from nasfas_configs import study as study_config
from nasfas_jax import files, metrics, run_config, search
from nasfas_jax.models import genotypes, sampling
from nasfas_jax.searchers import supernet_scores
from nasfas_jax.study import experiment, markdown, pages

FIRST = 'cross_domain/night'


def test_the_plan_holds_every_run_once_with_what_tells_it_apart():
  config = study_config.get_config()
  jobs = experiment.plan(config)
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
  jobs = {job.name: job.arguments for job in experiment.plan(config_of_study)}

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


@pytest.mark.parametrize(
  ('field', 'name', 'allowed'),
  [
    ('chosen_remedies', 'prayer', 'annealed_steps'),
    # No search by gradient, so no mixture.
    ('supernets', 'random', 'plain, domain'),
    ('searches', 'evolution', 'plain, domain, type, domain_type'),
    ('evolutions', 'evolution_domain', 'evolution\\.'),
  ],
)
def test_an_unknown_name_is_an_error(field, name, allowed, tmp_path):
  config = study_config.get_config('debug')
  config.study[field] = (name,)
  message = f'config.study.{field} holds {name!r}; allowed: {allowed}'
  with pytest.raises(ValueError, match=message):
    experiment.study(config, tmp_path)


def test_runs_of_other_settings_are_not_reported(settings, tmp_path):
  job = experiment.plan(settings)[0]
  write_run(tmp_path, job.name, 1.0, 0)
  files.write_json(
    tmp_path / job.name / 'arguments.json',
    [*job.arguments, '--config.search.num_steps=9999'],
  )
  with pytest.raises(ValueError, match='other arguments: .*num_steps=9999'):
    experiment.study(settings, tmp_path)


@pytest.mark.parametrize('variant', ['', 'debug'])
def test_every_planned_argument_is_a_field_of_a_config(variant):
  config = study_config.get_config(variant)
  fields = run_config.flatten(small_config())
  for job in experiment.plan(config):
    for argument in job.arguments:
      name = argument.partition('=')[0]
      assert name == '--config' or name.removeprefix('--config.') in fields


def test_unknown_variants_are_refused():
  with pytest.raises(ValueError, match="variant 'x' of configs/study.py"):
    study_config.get_config('x')


def write_run(workdir, name, skill, seed):
  """results.json, scores.csv and genotype.json of a run that never was."""
  folder = workdir / name
  folder.mkdir(parents=True)
  rng = np.random.default_rng(seed)
  labels = np.tile([1, 0, 0], 24)
  types = np.where(labels == 1, 'live', np.tile(['x', 'print', 'replay'], 24))
  subjects = np.repeat([f's{i}' for i in range(12)], 6)
  scores = skill * labels + rng.normal(size=len(labels))
  figures = metrics.summarise(scores, labels, types, 0.5)
  per_type = {
    kind: metrics.summarise(
      *(a[(labels == 1) | (types == kind)] for a in (scores, labels, types)),
      0.5,
    )
    for kind in ('print', 'replay')
  }
  files.write_json(
    folder / 'results.json',
    {
      'splits': {'dev': figures, 'test': figures},
      'per_type': per_type,
      'model': {'num_parameters': 1000 + seed},
    },
  )
  with open(folder / 'scores.csv', 'w', encoding='utf-8', newline='') as file:
    writer = csv.writer(file)
    writer.writerow(('split', 'label', 'attack_type', 'subject', 'score'))
    for row in zip(labels, types, subjects, scores, strict=True):
      writer.writerow(('test', *row))
  (folder / 'metrics.jsonl').write_text(
    json.dumps(
      {'alpha_entropy': 0.9, 'skip_share': 0.1, 'skip_edge_share': 0.2}
    )
    + '\n'
  )
  sample = sampling.draw(rng, space='cdcnpp', num_cells=1, num_nodes=1)
  sampling.to_genotype(sample, 'cdcnpp', theta=0.7).save(
    folder / 'genotype.json'
  )
  return figures['auc']


@pytest.fixture
def settings():
  config = study_config.get_config()
  config.study.num_workers = 0
  config.study.seeds = (0, 1)
  config.study.random = 4
  config.study.bootstrap_samples = 30
  config.study.supernets = ()
  return config


def test_report_of_finished_runs(settings, tmp_path, capsys):
  skills = {'plain': 1.0, 'domain': 3.0, 'cdcnpp_static': 1.0}
  skills |= {'cdcnpp_concat': 3.0, 'domain_larger_query': 3.0}
  aucs = {
    (row, seed): write_run(tmp_path, f'{FIRST}/{row}/seed{seed}', skill, seed)
    for row, skill in skills.items()
    for seed in (0, 1)
  }
  among = [
    write_run(tmp_path, f'{FIRST}/random/seed{seed}', 1.0 + seed, 10 + seed)
    for seed in range(4)
  ]
  experiment.study(settings, tmp_path)
  out = capsys.readouterr().err
  assert '14 of ' in out and 'runs are finished' in out
  figures = files.read_json(tmp_path / 'report' / 'study.json')
  rows = figures['tables'][FIRST]
  assert rows['plain']['auc']['values'] == [
    aucs['plain', seed] for seed in (0, 1)
  ]
  assert rows['plain']['auc']['mean'] == pytest.approx(
    (aucs['plain', 0] + aucs['plain', 1]) / 2
  )
  better = rows['domain']['difference']
  assert better['seeds'] == 2 and better['low'] < better['mean']
  assert better['mean'] == pytest.approx(
    np.mean([aucs['domain', seed] - aucs['plain', seed] for seed in (0, 1)])
  )
  assert rows['domain']['to'] == 'plain'
  assert rows['domain_larger_query']['to'] == 'domain'
  share = np.mean([value < aucs['domain', 0] for value in among])
  assert figures['random']['percentiles']['domain'][0] == pytest.approx(share)
  fusion = figures['fusions'][FIRST]['concat']['difference']
  assert set(fusion) == {'all', 'print', 'replay'}
  assert 0 < fusion['print']['mean'] < fusion['print']['high']
  page = (tmp_path / 'report' / 'study.md').read_text()
  assert '| domain | 2 |' in page and 'random.svg' in page
  assert (tmp_path / 'report' / 'random.svg').read_text().startswith('<?xml')


def test_report_before_any_run_is_finished(settings, tmp_path):
  experiment.study(settings, tmp_path)
  assert (tmp_path / 'report' / 'study.md').read_text().startswith('# Figures')


def test_rank_correlation_is_that_of_the_two_orders(tmp_path):
  aucs = [
    write_run(tmp_path, f'{FIRST}/random/seed{s}', 0.5 * s, s) for s in range(6)
  ]
  write_run(tmp_path, f'{FIRST}/plain/seed0', 1.0, 9)
  names = [f'{FIRST}/random/seed{s}' for s in range(6)]
  runs = pages.Study(tmp_path, [*names, f'{FIRST}/plain/seed0'])
  for sign in (1, -1):
    scores = {name: sign * auc for name, auc in zip(names, aucs, strict=True)}
    found = pages.rank_correlations(
      runs,
      FIRST,
      {
        f'{FIRST}/plain/seed0': {
          'mixture': 0.5,
          'derived': 0.5,
          'random': scores,
        }
      },
    )
    value = found[f'{FIRST}/plain/seed0']
    assert value['spearman_auc'] == pytest.approx(sign)
    assert value['number'] == 6
    assert value['random']['mean'] == pytest.approx(sign * np.mean(aucs))
  # A supernet whose map is dead scores all alike, which ranks nothing.
  flat = {'mixture': 0.5, 'derived': 0.5, 'random': dict.fromkeys(names, 0.5)}
  dead = pages.rank_correlations(runs, FIRST, {f'{FIRST}/plain/seed0': flat})
  assert dead[f'{FIRST}/plain/seed0']['spearman_auc'] is None
  files.write_json(tmp_path / 'dead.json', dead)
  nothing = {'tables': {}, 'random': {}, 'fusions': {}, 'alarms': {}}
  assert '| – | – | – |' in markdown.page({**nothing, 'supernets': dead})
  figures = {'tables': {}, 'random': {}, 'fusions': {}, 'alarms': {}}
  page = markdown.page({**figures, 'supernets': found})
  assert f'| {FIRST}/plain/seed0 | 0.500 | 0.500 |' in page


def test_a_supernet_scores_the_random_genotypes_once(
  tiny_data_dir, tmp_path, monkeypatch
):
  config = small_config(tasks='none', num_steps=1, warmup_steps=0)
  config.data.data_dir = str(tiny_data_dir)
  config.train.num_steps = 1
  config.train.warmup_steps = 0
  config.evaluate.num_samples = 0
  config.evaluate.batch_size = 8
  name = f'{FIRST}/plain/seed0'
  search.search(config, tmp_path / name)
  for seed in range(2):
    write_run(tmp_path, f'{FIRST}/random/seed{seed}', 1.0, seed)
  settings = study_config.get_config()
  settings.study.supernet_clips = 8
  settings.study.seeds = (0,)
  finished = [name, *(f'{FIRST}/random/seed{s}' for s in range(2))]
  judged, auc = [], metrics.auc

  def counted(scores, labels):
    judged.append((scores, labels))
    return auc(scores, labels)

  monkeypatch.setattr(metrics, 'auc', counted)
  found = experiment.score_supernets(settings, tmp_path, finished)
  assert set(found) == {name}
  scores = found[name]
  assert set(scores['random']) == set(finished[1:])
  # The share of pairs that live clips win, by counting.
  expected = []
  for values, labels in judged:
    assert len(values) == 8 and np.ptp(values) > 0
    pairs = [
      (live > spoof) + 0.5 * (live == spoof)
      for live in values[labels == 1]
      for spoof in values[labels == 0]
    ]
    expected.append(np.mean(pairs))
  aucs = [*scores['random'].values(), scores['mixture'], scores['derived']]
  assert sorted(aucs) == pytest.approx(sorted(expected), abs=1e-12)
  monkeypatch.setattr(experiment, '_score_supernet', None)
  assert experiment.score_supernets(settings, tmp_path, finished) == found
  assert genotypes.load(tmp_path / name / 'genotype.json')
