"""The question 'ceiling', on runs that are made up."""

import pathlib

import numpy as np
import pytest

from nasfas_configs import study as study_config
from nasfas_jax import files, run_config
from nasfas_jax.models import genotypes
from nasfas_jax.study import ceiling, experiment, jobs, variance


@pytest.fixture
def config():
  config = study_config.get_config('ceiling')
  config.study.num_workers = 0
  # The runs here are made up: there are no clips to score networks on.
  config.study.ceiling.update(genotypes=12, seeds=3, clips=0)
  return config


def write_results(workdir, planned, number, seed, auc):
  name = ceiling.run_name(number, seed)
  job = {job.name: job for job in ceiling.jobs_of(planned)}[name]
  files.write_json(workdir / name / jobs.ARGUMENTS_FILE, job.kept_arguments())
  files.write_json(
    workdir / name / 'results.json',
    {
      'splits': {
        'test': {'auc': auc, 'hter': 1 - auc},
        'dev': {'auc': min(1.0, auc + 0.05 + 0.001 * seed % 0.01)},
      },
      'model': {'num_parameters': 1000 + number},
    },
  )


def write_all(workdir, planned, genotype, luck):
  """Results with known deviations; returns the table of AUC."""
  rng = np.random.default_rng(0)
  means = 0.7 + genotype * rng.normal(size=planned.num_genotypes)
  table = means[:, None] + luck * rng.normal(
    size=(planned.num_genotypes, planned.num_seeds)
  )
  for number, row in enumerate(table):
    for seed, auc in zip(planned.seeds(number), row, strict=True):
      write_results(workdir, planned, number, seed, float(auc))
  return table


@pytest.mark.parametrize(
  'variants', ['ceiling', 'ceiling,debug', 'ceiling,wide,debug']
)
def test_the_shipped_questions_pass_and_their_arguments_are_fields(variants):
  config = study_config.get_config(variants)
  experiment.check(config)
  fields = run_config.flatten(config)
  planned = experiment.read_ceiling(config)
  listed = ceiling.jobs_of(planned)
  number, seeds = config.study.ceiling.genotypes, config.study.ceiling.seeds
  assert len({job.name for job in listed}) == number * seeds == len(listed)
  # No two trainings have one seed: luck that they share would not be luck.
  assert len({job.name.rpartition('seed')[2] for job in listed}) == len(listed)
  # The first seed of all before the second of any.
  turns = [job.name.partition('/')[0] for job in listed]
  assert turns == [f'g{n}' for n in range(number)] * seeds
  for job in listed:
    for argument in job.arguments:
      name = argument.partition('=')[0].removeprefix('--config.')
      assert name == '--config' or name in fields
  last = listed[-1].command(pathlib.Path('study'))
  path = f'study/genotypes/g{number - 1}.json'
  assert f'--config.genotype={path}' in last
  assert f'--config.seed={number * seeds - 1}' in last
  assert '--config.protocol=synthetic_fas/unseen_rooms' in last
  assert f'--config.train.num_steps={config.train.num_steps}' in last


def test_the_genotypes_are_drawn_once_and_no_two_are_alike(config, tmp_path):
  planned = experiment.read_ceiling(config)
  drawn = ceiling.draw(planned)
  assert len(set(drawn)) == 12 and ceiling.draw(planned) == drawn
  ceiling.write_genotypes(planned, tmp_path)
  assert [
    genotypes.load(tmp_path / ceiling.genotype_path(n)) for n in range(12)
  ] == drawn
  # Again, and for more genotypes: those that are there stay.
  config.study.ceiling.genotypes = 13
  ceiling.write_genotypes(experiment.read_ceiling(config), tmp_path)
  assert genotypes.load(tmp_path / 'genotypes/g11.json') == drawn[11]
  config.supernet.num_nodes = 2
  with pytest.raises(ValueError, match='g0.json is another genotype'):
    experiment.study(config, tmp_path)
  # A chain of one node has seven operations, at three levels.
  config.supernet.num_nodes = 1
  config.study.ceiling.genotypes = 400
  with pytest.raises(ValueError, match="is 400, but 100 draws .* 'cdcnpp'"):
    ceiling.draw(experiment.read_ceiling(config))


def test_the_report_splits_what_is_finished(config, tmp_path, capsys):
  planned = experiment.read_ceiling(config)
  table = write_all(tmp_path, planned, genotype=0.06, luck=0.01)
  # The last genotype lacks a training.
  last = ceiling.run_name(11, planned.seeds(11)[2])
  missing = (tmp_path / last / 'results.json').rename(tmp_path / 'later')
  experiment.study(config, tmp_path)
  assert '35 of 36 runs are finished' in capsys.readouterr().err
  content = files.read_json(tmp_path / 'report' / 'ceiling.json')
  assert list(content['tables']['auc']) == [f'g{n}' for n in range(11)]
  found = variance.split(table[:11])
  split = content['splits']['auc']
  assert split['genotype']['value'] == pytest.approx(
    found.spread.genotype.value
  )
  assert split['luck']['value'] == pytest.approx(found.spread.luck.value)
  # Choosing among all that the question is about, finished or not.
  assert split['perfect']['value'] == pytest.approx(
    found.spread.genotype.value * variance.expected_maximum(12)
  )
  # HTER is 1 - AUC here: the same gain, for fewer errors.
  assert content['splits']['hter']['perfect'] == pytest.approx(split['perfect'])
  # Dev scores follow the test scores but for rounding.
  assert content['seen_choice'] == pytest.approx(
    split['perfect']['value'], rel=0.05
  )
  assert content['verdict'].startswith('Not known yet: 11 of 12 genotypes')
  page = (tmp_path / 'report' / 'ceiling.md').read_text()
  assert content['verdict'] in page
  assert '35 of 36 trainings are finished; 11 genotypes' in page
  assert '| luck of a seed (deviation) | 0.0' in page
  svg = (tmp_path / 'report' / 'ceiling.svg').read_text()
  assert svg.startswith('<?xml')
  # The last training ends.
  missing.rename(tmp_path / last / 'results.json')
  experiment.study(config, tmp_path)
  content = files.read_json(tmp_path / 'report' / 'ceiling.json')
  assert content['verdict'].startswith('A search can pay here')


def test_what_an_earlier_report_knows_is_not_trained_again(
  config, tmp_path, capsys
):
  whole = experiment.read_ceiling(config)
  table = write_all(tmp_path / 'whole', whole, genotype=0.06, luck=0.01)
  experiment.study(config, tmp_path / 'whole')
  # A part of the genotypes on one machine, the others on another.
  config.study.ceiling.genotypes = 5
  part = experiment.read_ceiling(config)
  for number in range(5):
    for seed, auc in zip(part.seeds(number), table[number], strict=True):
      write_results(tmp_path / 'then', part, number, seed, float(auc))
  experiment.study(config, tmp_path / 'then')
  config.study.ceiling.earlier = str(tmp_path / 'then/report/ceiling.json')
  config.study.ceiling.genotypes = 12
  rest = experiment.read_ceiling(config)
  names = {job.name.partition('/')[0] for job in ceiling.jobs_of(rest)}
  assert names == {f'g{n}' for n in range(5, 12)}
  for number in range(5, 12):
    for seed, auc in zip(rest.seeds(number), table[number], strict=True):
      write_results(tmp_path / 'now', rest, number, seed, float(auc))
  experiment.study(config, tmp_path / 'now')
  assert '21 of 21 runs are finished' in capsys.readouterr().err
  found = files.read_json(tmp_path / 'now/report/ceiling.json')
  assert found == files.read_json(tmp_path / 'whole/report/ceiling.json')
  page = (tmp_path / 'now/report/ceiling.md').read_text()
  assert '36 of 36 trainings are finished; 12 genotypes' in page


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'supernet.num_nodes': 2}, 'as cells, num_nodes 4; .*, 2'),
    ({'study.ceiling.seeds': 4}, 'as seeds 3; .*, 4'),
    ({'study.ceiling.space': 'wide'}, "as space 'cdcnpp'; .*, 'wide'"),
    ({'train.num_steps': 9, 'train.warmup_steps': 0}, 'train.num_steps 400'),
  ],
)
def test_an_earlier_report_of_other_trainings_is_refused(
  config, tmp_path, change, message
):
  experiment.study(config, tmp_path)
  config.study.ceiling.earlier = str(tmp_path / 'report' / 'ceiling.json')
  experiment.check(config)
  config.update_from_flattened_dict(change)
  with pytest.raises(ValueError, match=rf'ceiling.earlier: .* {message}'):
    experiment.check(config)


def test_a_space_of_luck_alone_is_not_to_be_searched(config, tmp_path):
  planned = experiment.read_ceiling(config)
  write_all(tmp_path, planned, genotype=0.0, luck=0.03)
  experiment.study(config, tmp_path)
  content = files.read_json(tmp_path / 'report' / 'ceiling.json')
  assert content['verdict'].startswith('Do not search here: perfect choice')


def test_a_report_without_figures(config, tmp_path):
  experiment.study(config, tmp_path)
  page = (tmp_path / 'report' / 'ceiling.md').read_text()
  assert '**Not known: too few trainings are finished.**' in page
  planned = experiment.read_ceiling(config)
  write_all(tmp_path, planned, genotype=0.0, luck=0.0)
  experiment.study(config, tmp_path)
  page = (tmp_path / 'report' / 'ceiling.md').read_text()
  assert '**Not known: no two seeds of a genotype differ.**' in page


@pytest.mark.parametrize(
  ('field', 'value', 'message'),
  [
    ('study.question', 'all', "is 'all'; allowed: worth, ceiling"),
    ('study.ceiling.seeds', 1, 'ceiling.seeds is 1; allowed: 2 to'),
    ('study.ceiling.genotypes', 1, 'ceiling.genotypes is 1; allowed: 2 to'),
    # Of another question.
    ('study.random', 3, "random is 3, which the question 'ceiling' does not"),
    ('seed', 1, 'seed is 1; allowed: 0'),
    ('train.num_seeds', 2, 'train.num_seeds is 2; allowed: 1'),
    ('checkpoint', 'runs/old', "checkpoint is 'runs/old'; allowed in a train"),
    ('model', 'cdcn', "model is 'cdcn'; allowed in a study of random"),
    ('train.num_steps', 0, 'num_steps is 0; allowed: 1 to'),
    ('supernet.space', 'nasfas', "space is 'nasfas'; .*: 'cdcnpp'"),
    ('study.ceiling.space', 'x', "space is 'x'; allowed: cdcnpp, .* wide"),
    ('network.cell_features', 0, 'cell_features is 0; allowed: 1 to'),
    ('protocol', 'synthetic_fas/none', 'Unknown protocol'),
  ],
)
def test_a_bad_value_is_refused_before_the_first_run(
  field, value, message, config
):
  config.update_from_flattened_dict({field: value})
  with pytest.raises(ValueError, match=message):
    experiment.check(config)


@pytest.mark.parametrize(
  ('field', 'value'),
  [('evaluate.batch_norm', 'test'), ('train.domain_statistics', True)],
)
def test_batch_statistics_need_a_space_of_batch_normalization(field, value):
  for variants in ('ceiling', 'ceiling,wide'):
    config = study_config.get_config(variants)
    config.update_from_flattened_dict({field: value})
    if variants == 'ceiling':
      experiment.check(config)
      continue
    with pytest.raises(ValueError, match=f'{field} is {value!r}; .* space'):
      experiment.check(config)


@pytest.mark.parametrize('variants', ['ceiling', 'search'])
def test_trainings_that_are_compared_by_dev_clips_need_some(variants):
  config = study_config.get_config(variants)
  config.threshold_source = 'train'
  with pytest.raises(ValueError, match="threshold_source is 'train' on "):
    experiment.check(config)
  config = study_config.get_config(variants)
  config.protocol = 'casia_mfsd/overall'
  with pytest.raises(ValueError, match="'train' on 'casia_mfsd/overall'"):
    experiment.check(config)


def test_the_first_question_does_not_read_the_other_s_fields():
  config = study_config.get_config()
  config.study.ceiling.seeds = 4
  with pytest.raises(ValueError, match="the question 'worth' does not read"):
    experiment.check(config)


def test_a_choice_without_training_is_judged_by_what_was_trained():
  means = np.array([0.70, 0.74, 0.72, 0.78, 0.76, 0.71])
  effects = means - means.mean()
  scores = {
    # In the order of the means; against it; the highest is the second lowest.
    'parameters': -means,
    'synflow': np.array([1.0, 4.0, 3.0, 6.0, 5.0, 2.0]),
    'naswot': np.array([3.0, 1.0, 2.0, 4.0, 5.0, 9.0]),
  }
  numbers = [0, 1, 2, 3, 4, 7]
  found = ceiling.untrained(scores, numbers, means, effects)
  assert list(found) == list(scores)
  assert found['synflow']['spearman'] == pytest.approx(1)
  assert found['parameters']['spearman'] == pytest.approx(-1)
  assert (found['synflow']['chosen'], found['synflow']['share']) == ('g3', 1.0)
  assert (found['parameters']['chosen'], found['parameters']['share']) == (
    *('g0', 0.0),
  )
  assert found['naswot'] == {
    # Ranks of the means: 1 4 3 6 5 2, of the scores 3 1 2 4 5 6.
    'spearman': pytest.approx(1 - 6 * (4 + 9 + 1 + 4 + 0 + 16) / (6 * 35)),
    'low': pytest.approx(-0.802, abs=1e-3),
    'high': pytest.approx(0.821, abs=1e-3),
    **{'chosen': 'g7', 'share': pytest.approx(0.2)},
    'gain': pytest.approx(effects[5]),
  }
  alike = ceiling.untrained({'parameters': np.ones(6)}, numbers, means, effects)
  assert alike['parameters']['spearman'] is None
  assert alike['parameters']['chosen'] == 'g0'


def test_scores_are_asked_for_once_all_trainings_are_finished(
  config, tmp_path, monkeypatch
):
  config.study.ceiling.clips = 16
  asked = []

  def make(of, workdir, clips):
    assert (workdir, clips) == (tmp_path, 16)

    def score(name, genotype, seed):
      asked.append((name, genotype, seed))
      return float(len(asked))

    return score

  monkeypatch.setattr(experiment, '_zero_cost', make)
  planned = experiment.read_ceiling(config)
  write_all(tmp_path, planned, genotype=0.06, luck=0.01)
  last = tmp_path / ceiling.run_name(11, planned.seeds(11)[2]) / 'results.json'
  last.rename(tmp_path / 'later')
  experiment.study(config, tmp_path)
  assert not asked
  content = files.read_json(tmp_path / 'report' / 'ceiling.json')
  # The number of parameters needs no score.
  assert list(content['untrained']) == ['parameters', 'fewest_parameters']
  assert not content['scores']
  (tmp_path / 'later').rename(last)
  experiment.study(config, tmp_path)
  drawn = ceiling.draw(planned)
  assert [one for name, one, _ in asked if name == 'synflow'] == drawn
  assert {seed for _, _, seed in asked} == {0}
  content = files.read_json(tmp_path / 'report' / 'ceiling.json')
  assert content['untrained']['naswot']['chosen'] == 'g11'
  assert content['scores'] == {'clips': 16, 'seed': 0}
  assert {name for name, _, _ in asked} == {'synflow', 'naswot'}
  page = (tmp_path / 'report' / 'ceiling.md').read_text()
  assert '| fewest parameters | ' in page


def test_a_failure_while_scoring_leaves_the_report(
  config, tmp_path, monkeypatch
):
  config.study.ceiling.clips = 16

  def score(name, genotype, seed):
    raise FileNotFoundError('no prepared data')

  monkeypatch.setattr(experiment, '_zero_cost', lambda *unused: score)
  planned = experiment.read_ceiling(config)
  write_all(tmp_path, planned, genotype=0.06, luck=0.01)
  with pytest.raises(FileNotFoundError, match='no prepared data'):
    experiment.study(config, tmp_path)
  content = files.read_json(tmp_path / 'report' / 'ceiling.json')
  assert content['splits']['auc'] and not content['scores']
  page = (tmp_path / 'report' / 'ceiling.md').read_text()
  assert '| fewest parameters | ' in page


def test_one_clip_is_too_few_for_a_score(config):
  config.study.ceiling.clips = 1
  with pytest.raises(ValueError, match='clips is 1; allowed: 0 .*2 or more'):
    experiment.check(config)
