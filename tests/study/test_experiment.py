"""A study and its report, on runs that are made up."""

import csv
import json

import ml_collections
import numpy as np
import pytest
from small_search import small_config

from nasfas_configs import study as study_config
from nasfas_jax import files, metrics, run_config, search
from nasfas_jax.data import protocols
from nasfas_jax.models import sampling
from nasfas_jax.study import experiment, markdown, pages, plan

FIRST = 'cross_domain/night'


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


@pytest.mark.parametrize('variant', ['', 'debug'])
def test_the_shipped_studies_pass(variant):
  experiment.check(study_config.get_config(variant))


@pytest.mark.parametrize(
  ('field', 'value', 'message'),
  [
    ('study.num_workers', -1, 'num_workers is -1; allowed: 0 to 256'),
    ('study.random', -5, 'study.random is -5; allowed: 0 to'),
    ('study.seeds', (), r'is \(\); allowed: 1 to'),
    ('study.seeds', (0, -1), 'each 0 to'),
    ('study.bootstrap_samples', 0, 'is 0; allowed: 1 to'),
    ('study.supernet_clips', 0, 'is 0; allowed: 2 to'),
    ('study.protocols', (), 'allowed: one protocol or more'),
    ('study.fusions', ('sum',), "holds 'sum'; allowed: static, dynamic"),
    # Fields that the runs of a study never see.
    ('train.num_steps', 7, 'is 7, which no run .* allowed: 1200'),
    ('protocol', 'synthetic_fas/intra', 'config.study.settings'),
    # Fields of the runs, found before the first of them starts.
    (
      'study.settings.train.num_steps',
      0,
      'config.study.settings: config.train.num_steps is 0; allowed: 1 to',
    ),
    (
      'study.search_settings.search.warmup_steps',
      60,
      'config.study.search_settings: config.search.warmup_steps is 60',
    ),
    (
      'study.remedies.larger_query.meta.query_size',
      0,
      'config.study.remedies.larger_query: config.meta.query_size is 0',
    ),
    (
      'study.evolution_settings.evolution.settings.evolution.population',
      1,
      'evolution.settings: config.evolution.population is 1',
    ),
  ],
)
def test_a_bad_value_is_refused_before_the_first_run(field, value, message):
  config = study_config.get_config()
  config.update_from_flattened_dict({field: value})
  with pytest.raises(ValueError, match=message):
    experiment.check(config)


def test_an_unknown_field_or_protocol_of_the_runs_is_named():
  config = study_config.get_config()
  config.study.settings.train.steps = 3
  with pytest.raises(ValueError, match='config.study.settings: .*steps'):
    experiment.check(config)
  config = study_config.get_config()
  config.study.fusion_protocols = ('synthetic_fas/none',)
  with pytest.raises(ValueError, match="Unknown protocol 'synthetic_fas/none'"):
    experiment.check(config)


@pytest.mark.parametrize(
  ('field', 'names', 'message'),
  [
    (
      'protocols',
      ('cross/oci-m', 'mcio/oci-m'),
      "'cross/oci-m' and 'mcio/oci-m', whose runs would lie in one folder",
    ),
    (
      'fusion_protocols',
      ('oulu_npu/1', 'siw/1'),
      "'oulu_npu/1' and 'siw/1', whose runs would lie in one folder",
    ),
    ('protocols', ('msu_mfsd',), "'msu_mfsd', a family"),
    (
      'protocols',
      ('casia_mfsd/overall',),
      "is 'train' on 'casia_mfsd/overall'",
    ),
  ],
)
def test_protocols_that_a_study_cannot_keep_apart_are_refused(
  field, names, message
):
  config = study_config.get_config()
  config.study[field] = names
  with pytest.raises(ValueError, match=message):
    experiment.check(config)


def test_runs_of_other_settings_are_not_reported(settings, tmp_path):
  job = plan.jobs_of(experiment.read_plan(settings))[0]
  write_run(tmp_path, job.name, 1.0, 0)
  files.write_json(
    tmp_path / job.name / 'arguments.json',
    [*job.arguments, '--config.search.num_steps=9999'],
  )
  with pytest.raises(ValueError, match='other arguments: .*num_steps=9999'):
    experiment.study(settings, tmp_path)


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
      {
        **{'phase': 'search', 'step': 1},
        **{'alpha_entropy': 0.9, 'skip_share': 0.1, 'skip_edge_share': 0.2},
      }
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
  runs = pages.Runs(tmp_path, [*names, f'{FIRST}/plain/seed0'])
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
  # A search as it leaves its folder, without the training that follows it; of
  # one step of warm-up, so that one step is compiled.
  config = small_config(hold_out='none', num_steps=1, warmup_steps=1)
  # That of the random genotypes.
  config.supernet.space = 'cdcnpp'
  config.data.data_dir = str(tiny_data_dir)
  name = f'{FIRST}/plain/seed0'
  selection = protocols.load(config.protocol, tiny_data_dir, 'tiny')
  made = search.make_search(config, selection)
  genotype = search.find(config, tmp_path / name, made, selection)
  genotype.save(tmp_path / name / 'genotype.json')
  files.write_json(tmp_path / name / run_config.FILE, config.to_dict())
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
  # Written down, and not computed again.
  with monkeypatch.context() as patched:
    patched.setattr(experiment, '_score_supernet', None)
    assert experiment.score_supernets(settings, tmp_path, finished) == found
    # Of fewer genotypes, those that are asked for.
    fewer = experiment.score_supernets(settings, tmp_path, finished[:2])
    assert list(fewer[name]['random']) == finished[1:2]
    # Scores of other clips are not mixed with these.
    other = ml_collections.ConfigDict(settings.to_dict())
    other.study.supernet_clips = 16
    with pytest.raises(TypeError, match='NoneType'):
      experiment.score_supernets(other, tmp_path, finished)
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
  # The supernet of a search that is not at its end says nothing.
  (tmp_path / name / 'supernet_scores.json').unlink()
  config.search.num_steps = 2
  files.write_json(tmp_path / name / run_config.FILE, config.to_dict())
  with pytest.raises(ValueError, match='of step 1, not the last one, 2'):
    experiment.score_supernets(settings, tmp_path, finished)
