"""The questions that compare trainings, on runs that are made up."""

import dataclasses
import pathlib
from xml.etree import ElementTree

import numpy as np
import pytest
from scipy import stats

from nasfas_configs import study as study_config
from nasfas_datasets.synthetic_fas.v2 import plan
from nasfas_jax import files, run_config, score_table
from nasfas_jax.data import protocols
from nasfas_jax.study import arms, experiment, jobs, statistics


@pytest.fixture
def config():
  config = study_config.get_config('generalise')
  config.study.num_workers = 0
  sizes = config.study.generalise
  sizes.seeds, sizes.bootstrap_samples = (0, 1, 2), 50
  config.study.generalise.arms = {
    name: study_config.ARMS[name] for name in ('plain', 'mix_style', 'mask')
  } | {'test_statistics': study_config.ARMS['test_statistics']}
  return config


@pytest.mark.parametrize(
  ('variants', 'seeds', 'evaluations'),
  [
    ('generalise', 10, 10),
    ('generalise,debug', 1, 1),
    ('fit', 4, 0),
    ('fit,debug', 2, 0),
  ],
)
def test_the_shipped_questions_pass_and_their_arguments_are_fields(
  variants, seeds, evaluations
):
  config = study_config.get_config(variants)
  config.train.batch_size = 16
  experiment.check(config)
  fields = run_config.flatten(config)
  planned = experiment.read_arms(config)
  assert bool(planned.types) == variants.startswith('generalise')
  for stage in arms.STAGES[: 3 if planned.types else 2]:
    trained, evaluated = arms.jobs_of(planned, stage, list(planned.arms))
    if variants.startswith('fit') and stage == arms.FINAL:
      # Those that are trained already.
      assert not trained and len(evaluated) == len(planned.arms) * seeds
    else:
      assert len(evaluated) == evaluations
      assert len(trained) + evaluations == len(planned.arms) * seeds
    for job in (*trained, *evaluated):
      for argument in job.arguments:
        name = argument.partition('=')[0].removeprefix('--config.')
        assert name == '--config' or name in fields


def test_a_field_of_an_arm_is_that_of_no_other():
  for question in arms.QUESTIONS:
    config = study_config.get_config(question)
    listed = config.study[question].arms
    before = listed.to_dict()
    for name in listed:
      fields = run_config.flatten(listed[name])
      for path, value in fields.items():
        changed = not value if isinstance(value, bool) else value * 2
        listed.update_from_flattened_dict({f'{name}.{path}': changed})
        after = listed.to_dict()
        assert {k: v for k, v in after.items() if k != name} == {
          k: v for k, v in before.items() if k != name
        }
        listed.update_from_flattened_dict({f'{name}.{path}': value})
    assert listed.to_dict() == before


def test_what_is_chosen_on_knows_nothing_of_the_unseen_rooms():
  config = study_config.get_config('generalise')
  final = protocols.get_protocol(config.protocol)
  row = {'attack_type': 'live', 'dataset': 'synthetic_fas'}
  for number, name in enumerate(config.study.generalise.choose_on):
    protocol = protocols.get_protocol(name)
    for room in range(12):
      here = {
        **row,
        'session': f'room{room:02d}',
        'lists': 'seen_rooms' if room < 8 else 'unseen_rooms',
      }
      trains = protocol.train({**here, 'split': 'train'})
      tests = protocol.test({**here, 'split': 'test'})
      assert trains == (room < 8 and room != number)
      assert tests == (room == number)
      assert final.test({**here, 'split': 'test'}) == (room >= 8)


def test_the_seeds_take_turns_among_the_rooms_and_arms_are_their_fields(config):
  planned = experiment.read_arms(config)
  trained, evaluated = arms.jobs_of(planned, arms.CHOOSE, list(planned.arms))
  assert [job.name for job in trained[:4]] == [
    *('choose/plain/seed0', 'choose/mask/seed0', 'choose/mix_style/seed0'),
    'choose/plain/seed1',
  ]
  mixing = trained[5]
  assert mixing.name == 'choose/mix_style/seed1'
  assert {
    *('--config=train', '--config.seed=1', '--config.train.batch_size=14'),
    *('--config.protocol=synthetic_fas/seen_room/room01',),
    *('--config.mix_style.probability=0.5', '--config.model=cdcnpp'),
  } <= set(mixing.arguments)
  # The network of the plain arm, judged in another way.
  assert evaluated[1].arguments[0] == '--config=evaluate'
  assert '--config.evaluate.batch_norm=test' in evaluated[1].arguments
  command = evaluated[1].command(pathlib.Path('study'))
  assert '--config.checkpoint=study/choose/plain/seed1' in command
  assert not any('train.' in argument for argument in command)
  final, _ = arms.jobs_of(planned, arms.FINAL, ['plain', 'mask'])
  assert [job.name for job in final[:2]] == [
    *('final/plain/seed0', 'final/mask/seed0'),
  ]
  assert '--config.protocol=synthetic_fas/unseen_rooms' in final[0].arguments
  assert not any('batch_size' in argument for argument in final[0].arguments)


def test_the_seeds_take_turns_among_all_attack_types():
  config = study_config.get_config('generalise')
  planned = experiment.read_arms(config)
  trained, _ = arms.jobs_of(planned, arms.TYPES, ['plain', 'mix_style'])
  assert len(trained) == 20
  assert {
    *('--config.train.batch_size=24', '--config.train.num_steps=800'),
  } <= set(trained[0].arguments)
  left_out = [
    argument.rpartition('/')[2]
    for job in trained
    for argument in job.arguments
    if argument.startswith('--config.protocol=')
  ]
  assert {left_out.count(attack) for attack in plan.ATTACKS} == {4}
  # As many clips as in the default; each room and class once in a batch.
  default = study_config.get_config('generalise').train
  assert 24 * 800 == default.batch_size * default.num_steps
  assert plan.SIZES['default'].rooms * 2 == 24


def test_what_is_chosen_on_dev_is_trained_once():
  config = study_config.get_config('fit')
  config.study.fit.arms = {
    **{'plain': {}, 'mask': study_config.ARMS['mask']},
    'test_statistics': study_config.ARMS['test_statistics'],
  }
  experiment.check(config)
  planned = experiment.read_arms(config)
  trained, evaluated = arms.jobs_of(planned, arms.CHOOSE, list(planned.arms))
  assert [job.name for job in trained[:2]] == [
    *('choose/plain/seed101', 'choose/mask/seed101'),
  ]
  assert '--config.protocol=synthetic_fas/seen_rooms' in trained[0].arguments
  # The final stage judges those trainings in the unseen rooms.
  none, final = arms.jobs_of(planned, arms.FINAL, list(planned.arms))
  assert not none and len(final) == 12
  assert (
    final[0].arguments[0] == evaluated[0].arguments[0] == ('--config=evaluate')
  )
  assert '--config.protocol=synthetic_fas/unseen_rooms' in final[0].arguments
  sources = {job.name: dict(job.inputs)['config.checkpoint'] for job in final}
  assert sources['final/mask/seed102'] == 'choose/mask/seed102'
  assert sources['final/test_statistics/seed102'] == 'choose/plain/seed102'


def test_what_is_chosen_on_dev_trains_on_the_clips_of_the_final_stage():
  config = study_config.get_config('fit')
  (name,) = config.study.fit.choose_on
  one, other = map(protocols.get_protocol, (name, config.protocol))
  count = {'train': 0, 'dev': 0, 'test': 0, 'other test': 0}
  for room in range(12):
    for split in ('train', 'dev', 'test'):
      for attack in ('live', 'print'):
        row = {
          **{'attack_type': attack, 'dataset': 'synthetic_fas'},
          **{'split': split, 'session': f'room{room:02d}'},
          'lists': 'seen_rooms' if room < 8 else 'unseen_rooms',
        }
        assert one.train(row) == other.train(row)
        assert one.dev(row) == other.dev(row)
        assert not (one.test(row) and other.test(row))
        for part, chosen in (
          *(('train', one.train), ('dev', one.dev), ('test', one.test)),
          ('other test', other.test),
        ):
          count[part] += chosen(row)
  assert count == {'train': 16, 'dev': 16, 'test': 16, 'other test': 8}


def test_the_split_that_decides(config, tmp_path):
  planned = experiment.read_arms(config)
  files.write_json(
    tmp_path / 'choose/plain/seed0/results.json',
    {
      'splits': {
        'dev': {'hter': 0.1, 'auc': 0.9},
        'test': {'hter': 0.2, 'auc': 0.8},
      },
      'threshold': {'value': 0.5},
    },
  )
  for question, hter in (('fit', 0.1), ('generalise', 0.2)):
    asked = dataclasses.replace(planned, question=question)
    found = arms.read(asked, tmp_path, arms.CHOOSE, ['choose/plain/seed0'])
    assert found['plain']['hter'] == [hter]


def test_an_evaluation_of_an_arm_reads_the_data_that_it_was_trained_on():
  config = study_config.get_config('fit')
  config.data.builder_config, config.data.data_dir = 'default', 'there'
  config.study.fit.arms = {'plain': {}}
  config.study.fit.arms.many = {
    'data': {'builder_config': 'many', 'num_frames': 4}
  }
  _, (plain, many, *_) = arms.jobs_of(
    experiment.read_arms(config), arms.FINAL, ['plain', 'many']
  )
  assert '--config.data.builder_config=default' in plain.arguments
  assert '--config.data.builder_config=many' in many.arguments
  assert '--config.data.data_dir=there' in many.arguments
  # The rest is that of the run.
  assert not any('num_frames' in argument for argument in many.arguments)


def test_what_is_chosen_on_dev_needs_dev_clips():
  config = study_config.get_config('fit')
  config.threshold_source = 'train'
  with pytest.raises(ValueError, match="'train' on .*; allowed .*'fit'"):
    experiment.check(config)


def write(workdir, job, seed, skill, threshold=0.5):
  """A finished run of 40 clips; returns its HTER, by counting."""
  rng = np.random.default_rng((seed, int(1000 * skill)))
  labels = np.tile([1, 0], 20)
  scores = skill * labels + rng.normal(size=40)
  wrong = (scores > threshold) != (labels == 1)
  hter = (wrong[labels == 1].mean() + wrong[labels == 0].mean()) / 2
  folder = workdir / job.name
  files.write_json(folder / jobs.ARGUMENTS_FILE, job.kept_arguments())
  score_table.write(
    folder / 'scores.csv',
    {
      'test': {
        'clip_id': np.array([f'c{i}' for i in range(40)]),
        'label': labels,
        'attack_type': np.where(labels == 1, 'live', 'print'),
        'domain': np.full(40, 'a'),
        'subject': np.array([f's{i // 4}' for i in range(40)]),
        'score': scores,
      }
    },
  )
  files.write_json(
    folder / 'results.json',
    {
      'splits': dict.fromkeys(('dev', 'test'), {'hter': hter, 'auc': 1 - hter}),
      'threshold': {'value': threshold},
    },
  )
  return hter


SKILLS = {'plain': 0.8, 'mix_style': 3.0, 'mask': 0.9, 'test_statistics': 0.7}


def write_stage(planned, workdir, stage, names, leave_out=()):
  found = {arm: [] for arm in names}
  for job in sum(arms.jobs_of(planned, stage, names), []):
    if job.name not in leave_out:
      _, arm, seed = job.name.split('/')
      seed = int(seed.removeprefix('seed'))
      found[arm].append(write(workdir, job, seed, SKILLS[arm]))
  return found


def test_the_winner_on_seen_rooms_is_run_on_unseen_ones(
  config, tmp_path, capsys
):
  planned = experiment.read_arms(config)
  names = list(planned.arms)
  missing = 'choose/mask/seed2'
  write_stage(planned, tmp_path, arms.CHOOSE, names, (missing,))
  # Not before all arms are trained.
  experiment.study(config, tmp_path)
  content = files.read_json(tmp_path / 'report' / 'generalise.json')
  assert '11 of 12 runs are finished' in capsys.readouterr().err
  assert content['winner'] is None and content['final'] == {}
  assert content['verdict'].startswith('Not known')

  found = write_stage(planned, tmp_path, arms.CHOOSE, names)
  experiment.study(config, tmp_path)
  # The final runs and those on attack types are now asked for.
  assert '12 of 24 runs are finished' in capsys.readouterr().err
  content = files.read_json(tmp_path / 'report' / 'generalise.json')
  assert content['winner'] == 'mix_style'
  apart = np.subtract(found['mix_style'], found['plain'])
  half = stats.t.ppf(0.975, 2) * apart.std(ddof=1) / 3**0.5
  row = content['choose']['mix_style']
  assert row['hter']['mean'] == pytest.approx(np.mean(found['mix_style']))
  assert row['difference']['hter'] == pytest.approx(
    {
      'mean': apart.mean(),
      'low': apart.mean() - half,
      'high': apart.mean() + half,
    }
  )
  assert (
    content['verdict']
    == 'Chosen on seen rooms: mix_style. On unseen rooms 0 of 3 seeds are '
    'done. On unseen attack types 0 of 3 seeds are done.'
  )

  found = write_stage(planned, tmp_path, arms.FINAL, ['plain', 'mix_style'])
  experiment.study(config, tmp_path)
  assert '18 of 24 runs are finished' in capsys.readouterr().err
  content = files.read_json(tmp_path / 'report' / 'generalise.json')
  apart = content['final']['mix_style']['difference']['hter']
  assert apart['mean'] == pytest.approx(
    np.mean(found['mix_style']) - np.mean(found['plain'])
  )
  assert apart['low'] < apart['mean'] < apart['high'] < 0
  assert (
    'a quarter below plain training: reached; an interval off zero: reached'
    in content['verdict']
  )
  assert content['verdict'].endswith('types 0 of 3 seeds are done.')
  rooms = content['final']

  found = write_stage(planned, tmp_path, arms.TYPES, ['plain', 'mix_style'])
  experiment.study(config, tmp_path)
  assert '24 of 24 runs are finished' in capsys.readouterr().err
  content = files.read_json(tmp_path / 'report' / 'generalise.json')
  apart = np.subtract(found['mix_style'], found['plain'])
  gap = content['types']['mix_style']['difference']['hter']
  half = stats.t.ppf(0.975, 2) * apart.std(ddof=1) / 3**0.5
  assert (gap['low'], gap['high']) == pytest.approx(
    (apart.mean() - half, apart.mean() + half)
  )
  plain, mixed = (np.mean(found[arm]) for arm in ('plain', 'mix_style'))
  assert (
    f'On unseen attack types it has an HTER of {mixed:.3f}, plain training '
    f'{plain:.3f}: ' in content['verdict']
  )
  page = (tmp_path / 'report' / 'generalise.md').read_text()
  assert content['verdict'] in page and '(generalise.svg)' in page
  drawn = ElementTree.parse(tmp_path / 'report' / 'generalise.svg')
  # All stages, of each the arms that were trained.
  ids = [part.get('id') or '' for part in drawn.iter()]
  axes = [i for i in ids if i.startswith('axes_')]
  assert axes == ['axes_1', 'axes_2', 'axes_3']
  assert '| mix_style, unseen rooms | 3 | ' in page
  assert '| mix_style, unseen attack types | 3 | ' in page

  # The report is all that another workdir needs.
  report = tmp_path / 'report' / 'generalise.json'
  config.study.generalise.earlier = str(report)
  experiment.study(config, tmp_path / 'again')
  assert '0 of 0 runs are finished' in capsys.readouterr().err
  again = tmp_path / 'again' / 'report' / 'generalise.json'
  assert files.read_json(again) == content
  # Of a final stage that is not whole nothing is taken, since its intervals
  # need the scores.
  rooms['plain']['seeds'] = [0, 1]
  files.write_json(report, {**content, 'final': rooms})
  experiment.study(config, tmp_path / 'part')
  assert '0 of 6 runs are finished' in capsys.readouterr().err
  # Nor where the number of samples is not known.
  older = {k: v for k, v in content.items() if k != 'bootstrap_samples'}
  files.write_json(report, older)
  experiment.study(config, tmp_path / 'older')
  assert '0 of 6 runs are finished' in capsys.readouterr().err


def test_after_the_first_seeds_the_best_go_on_with_plain_training(
  config, tmp_path, capsys
):
  config.study.generalise.update(first_seeds=2, keep=1)
  planned = experiment.read_arms(config)
  names = list(planned.arms)
  # All arms have the first seeds: the plain network is judged in two ways.
  first = sum(arms.jobs_of(planned, arms.CHOOSE, names, (0, 1)), [])
  assert len(first) == 8
  for job in first:
    _, arm, seed = job.name.split('/')
    write(tmp_path, job, int(seed[-1]), SKILLS[arm])
  experiment.study(config, tmp_path)
  # Of the third seed two arms are asked for; no winner is known yet.
  assert '8 of 10 runs are finished' in capsys.readouterr().err
  content = files.read_json(tmp_path / 'report' / 'generalise.json')
  assert content['winner'] is None
  waves = arms.waves(planned, tmp_path)
  assert [[job.name for job in wave] for wave in waves][2:] == [
    ['choose/plain/seed2', 'choose/mix_style/seed2'],
    [],
  ]
  for job in arms.jobs_of(planned, arms.CHOOSE, ('plain', 'mix_style'))[0]:
    write(tmp_path, job, int(job.name[-1]), SKILLS[job.name.split('/')[1]])
  experiment.study(config, tmp_path)
  content = files.read_json(tmp_path / 'report' / 'generalise.json')
  assert content['winner'] == 'mix_style'
  counts = {arm: len(row['seeds']) for arm, row in content['choose'].items()}
  assert counts == {
    **{'plain': 3, 'mix_style': 3},
    **{'mask': 2, 'test_statistics': 2},
  }
  # An arm of fewer seeds is compared over those.
  shared = content['choose']['mask']['difference']['hter']['mean']
  plain, mask = (content['choose'][arm]['hter'] for arm in ('plain', 'mask'))
  assert shared == pytest.approx(mask['mean'] - np.mean(plain['values'][:2]))
  page = (tmp_path / 'report' / 'generalise.md').read_text()
  assert 'After 2 seeds only plain training and the best 1 of the' in page


def test_what_an_earlier_report_knows_is_not_trained_again(
  config, tmp_path, capsys
):
  planned = experiment.read_arms(config)
  names = list(planned.arms)
  missing = ('choose/test_statistics/seed1', 'choose/mask/seed2')
  write_stage(planned, tmp_path / 'then', arms.CHOOSE, names, missing)
  experiment.study(config, tmp_path / 'then')
  report = tmp_path / 'then' / 'report' / 'generalise.json'
  then = files.read_json(report)

  config.study.generalise.earlier = str(report)
  # Where the data lie changes no figure.
  config.data.data_dir = 'elsewhere'
  planned = experiment.read_arms(config)
  trained, evaluated = arms.jobs_of(planned, arms.CHOOSE, names)
  # The plain network of seed 1 is judged anew, so it is trained anew.
  assert [job.name for job in (*trained, *evaluated)] == [
    *('choose/plain/seed1', 'choose/mask/seed2'),
    'choose/test_statistics/seed1',
  ]
  for job in (*trained, *evaluated):
    _, arm, seed = job.name.split('/')
    write(tmp_path / 'now', job, int(seed[-1]), SKILLS[arm])
  experiment.study(config, tmp_path / 'now')
  # The first stage is known now.
  assert '3 of 15 runs are finished' in capsys.readouterr().err
  now = files.read_json(tmp_path / 'now' / 'report' / 'generalise.json')
  assert now['winner'] == 'mix_style' and then['winner'] is None
  assert now['choose']['mix_style'] == then['choose']['mix_style']
  assert now['choose']['mask']['seeds'] == [0, 1, 2]
  assert (
    now['choose']['mask']['hter']['values'][:2]
    == (then['choose']['mask']['hter']['values'])
  )


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'train.num_steps': 300}, 'as config, train.num_steps 1200; .*, 300'),
    (
      {'study.generalise.arms.mix_style.mix_style.probability': 0.25},
      r"as arms, mix_style {'mix_style.probability': 0.5}; .* 0.25}",
    ),
    (
      {'study.generalise.choose_settings.train.batch_size': 21},
      'as choose_config, train.batch_size 14; .*, 21',
    ),
    ({'protocol': 'synthetic_fas/seen_rooms'}, 'as final_on .*seen_rooms'),
    (
      {'study.generalise.bootstrap_samples': 60},
      'as bootstrap_samples 50; .*, 60',
    ),
    (
      {'study.generalise.types_settings.train.batch_size': 12},
      'as types_config, train.batch_size 24; .*, 12',
    ),
  ],
)
def test_an_earlier_report_of_other_trainings_is_refused(
  config, tmp_path, change, message
):
  experiment.study(config, tmp_path)
  config.study.generalise.earlier = str(tmp_path / 'report' / 'generalise.json')
  experiment.check(config)
  config.update_from_flattened_dict(change)
  with pytest.raises(ValueError, match=rf'earlier: .* {message}'):
    experiment.check(config)


def test_a_field_that_an_earlier_report_lacks_had_its_default(config, tmp_path):
  experiment.study(config, tmp_path)
  path = tmp_path / 'report' / 'generalise.json'
  content = files.read_json(path)
  del content['config']['train.gradient_clip']
  # It is older than the stage of the attack types.
  del content['types_on'], content['types_config'], content['types']
  files.write_json(path, content)
  config.study.generalise.earlier = str(path)
  experiment.check(config)
  config.train.gradient_clip = 3.0
  with pytest.raises(ValueError, match='train.gradient_clip 5.0; .*, 3.0'):
    experiment.check(config)


def test_an_earlier_report_has_to_be_one(config, tmp_path):
  path = tmp_path / 'generalise.json'
  config.study.generalise.earlier = str(path)
  with pytest.raises(FileNotFoundError, match='generalise.json'):
    experiment.check(config)
  for content, message in (([], 'no JSON object'), ({}, "has no 'arms'")):
    files.write_json(path, content)
    with pytest.raises(ValueError, match=rf'earlier: .* {message}'):
      experiment.check(config)


def test_the_chart_shows_what_is_finished(config, tmp_path):
  planned = experiment.read_arms(config)
  experiment.study(config, tmp_path)
  drawn = tmp_path / 'report' / 'generalise.svg'
  assert not drawn.exists()
  # Plain training, the line that others are seen against, is still missing.
  write_stage(planned, tmp_path, arms.CHOOSE, ['mask'])
  experiment.study(config, tmp_path)
  assert drawn.exists()


def test_without_a_better_arm_plain_training_wins():
  row = {'seeds': [0, 1], 'hter': {'mean': 0.2}}
  assert arms.verdict('plain', 2, {'plain': row}).startswith('No arm')
  missed = {
    'plain': {'seeds': [0, 1], 'hter': {'mean': 0.30}},
    'mask': {
      'seeds': [0, 1],
      'hter': {'mean': 0.25},
      'difference': {'hter': {'mean': -0.05, 'low': -0.12, 'high': 0.02}},
    },
  }
  assert arms.verdict('mask', 2, missed).endswith(
    'Goals: at most 0.15: missed; a quarter below plain training: missed; an '
    'interval off zero: missed.'
  )
  # No goal is judged by some of the seeds.
  assert arms.verdict('mask', 3, missed).endswith(
    'On unseen rooms 2 of 3 seeds are done.'
  )


def test_of_plain_training_as_the_winner_no_attack_type_is_asked(
  config, tmp_path, capsys
):
  planned = experiment.read_arms(config)
  for job in sum(arms.jobs_of(planned, arms.CHOOSE, list(planned.arms)), []):
    _, arm, seed = job.name.split('/')
    write(tmp_path, job, int(seed[-1]), 3.0 if arm == 'plain' else 0.5)
  experiment.study(config, tmp_path)
  # The three final runs of plain training are asked for.
  assert '12 of 15 runs are finished' in capsys.readouterr().err
  content = files.read_json(tmp_path / 'report' / 'generalise.json')
  assert content['winner'] == 'plain'


def test_the_seeds_of_an_attack_type_are_averaged_before_the_interval(config):
  config.study.generalise.types = tuple(
    f'synthetic_fas/type/{attack}' for attack in ('print', 'replay')
  )
  planned = experiment.read_arms(config)
  rows = {'seeds': [0, 1, 2], 'threshold': [], 'scores': []}
  found = {
    'plain': {**rows, 'hter': [0.3, 0.2, 0.4], 'auc': [0.5] * 3},
    'mask': {**rows, 'hter': [0.2, 0.4, 0.5], 'auc': [0.5] * 3},
  }
  rows = arms.compare(planned, arms.TYPES, found)
  # print: (-0.1 + 0.1) / 2; replay: 0.2; Student's quantile is 12.706.
  assert rows['mask']['difference']['hter'] == pytest.approx(
    {'mean': 0.1, 'low': 0.1 - 1.2706, 'high': 0.1 + 1.2706}, rel=1e-4
  )


def test_one_seed_gives_a_difference_without_an_interval(
  config, tmp_path, capsys
):
  config.study.generalise.update(seeds=(2,), first_seeds=1)
  planned = experiment.read_arms(config)
  for stage in arms.STAGES:
    names = list(planned.arms) if stage == arms.CHOOSE else SKILLS
    write_stage(planned, tmp_path, stage, list(names))
  experiment.study(config, tmp_path)
  content = files.read_json(tmp_path / 'report' / 'generalise.json')
  for stage in (arms.CHOOSE, arms.TYPES):
    apart = content[stage]['mix_style']['difference']['hter']
    assert apart['mean'] < 0 and apart['low'] is apart['high'] is None
  assert 'an interval off zero: missed.' in content['verdict']
  page = (tmp_path / 'report' / 'generalise.md').read_text()
  assert f'{apart["mean"]:+.3f}, no interval' in page


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'seeds': ()}, r'generalise.seeds is \(\), .* one or more of each'),
    ({'arms': {'mask': {}}}, "needs an arm 'plain' that changes nothing"),
    (
      {'arms': {'plain': {}, 'x': {'loss': {'depth': -1.0}}}},
      "arms.x: config.loss: .*'depth' is -1.0",
    ),
    ({'arms': {'plain': {}, 'x': {'los': {}}, 'y': {'los': {'a': 1}}}}, 'y: '),
    ({'choose_on': ('synthetic_fas/x',)}, "'synthetic_fas/x'; allowed"),
    (
      {'arms': {'plain': {}, 'x': {'train': {'num_seeds': 2}}}},
      'arms.x: config.train.num_seeds is 2; allowed: 1',
    ),
  ],
)
def test_a_wrong_arm_is_named(config, change, message):
  if 'arms' in change:
    config.study.generalise.arms = {}
  config.study.generalise.update(change)
  with pytest.raises(ValueError, match=message):
    experiment.check(config)


def test_the_difference_in_hter_is_by_weighted_counts():
  run = statistics.Scores(
    np.array(['a', 'a', 'b', 'b']),
    np.array([1, 0, 1, 0]),
    np.array(['live', 'print'] * 2),
    np.array([0.9, 0.6, 0.2, 0.1]),
  )
  weights = np.array([[1, 1, 1, 1], [2, 2, 0, 0], [1, 0, 3, 2]])
  # Wrong at 0.5: the attack of a, the live clip of b.
  np.testing.assert_allclose(
    statistics.half_total_error(run, 0.5, weights),
    [(1 / 2 + 1 / 2) / 2, (0 + 1) / 2, (3 / 4 + 0) / 2],
  )


def test_the_best_on_new_subjects_is_judged_in_unseen_rooms(tmp_path, capsys):
  config = study_config.get_config('fit')
  config.study.num_workers = 0
  config.data.data_dir = 'there'
  for name in set(config.study.fit.arms) - {'plain', 'long'}:
    del config.study.fit.arms[name]
  planned = experiment.read_arms(config)
  skills = {'plain': 0.8, 'long': 3.0}
  for stage in (arms.CHOOSE, arms.FINAL):
    for job in sum(arms.jobs_of(planned, stage, list(planned.arms)), []):
      _, arm, seed = job.name.split('/')
      write(tmp_path, job, int(seed.removeprefix('seed')), skills[arm])
  experiment.study(config, tmp_path)
  assert '16 of 16 runs are finished' in capsys.readouterr().err
  content = files.read_json(tmp_path / 'report' / 'fit.json')
  assert content['winner'] == 'long' and content['choose_by'] == 'dev'
  # A report does not tell where the data lie.
  assert content['config']['model'] == 'cdcnpp' and 'there' not in str(content)
  text = (tmp_path / 'report' / 'fit.md').read_text()
  assert text.startswith('# Which settings err least on new subjects\n')
  assert 'by their mean HTER on the dev subjects of the seen rooms. ' in text
  assert '(fit.svg)' in text and 'are in fit.json.' in text
  assert 'On seen rooms HTER is the EER' in text
  assert '| long, unseen rooms | 4 | ' in text
  drawn = (tmp_path / 'report' / 'fit.svg').read_text()
  assert 'the dev subjects of the seen rooms' in drawn
