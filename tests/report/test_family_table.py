import json

import pytest

from nasfas_configs import evaluate as evaluate_config
from nasfas_configs import search as search_config
from nasfas_jax import evaluate, main
from nasfas_jax.report import family_table


def result(**test):
  return {'splits': {'test': {'apcer_max': 0.0, 'bpcer': 0.0, **test}}}


def test_a_family_is_a_first_part_of_names():
  assert family_table.members('oulu_npu/3') == [
    f'oulu_npu/3/{k}' for k in range(1, 7)
  ]
  assert len(family_table.members('oulu_npu')) == 14
  assert family_table.members('oulu_npu/1') == []
  assert family_table.members('oulu') == []


def test_folds_are_averaged_and_published_figures_marked():
  results = {
    'oulu_npu/1': result(acer=0.05),
    **{f'oulu_npu/3/{k}': result(acer=0.01 * k) for k in range(1, 7)},
  }
  first, third = family_table.table(results).splitlines()
  assert first.startswith('| oulu_npu/1 | 1 | ')
  assert (
    'acer 5.0 | published, NAS-FAS: apcer 0.4, bpcer 0.0, acer 0.2 |' in first
  )
  assert first.endswith('| published, CDCN: acer 1.0 |')
  # Mean and sample deviation of 1 to 6.
  assert '| oulu_npu/3 | 6 | ' in third
  assert 'acer 3.5 ± 1.9' in third
  assert 'published, CDCN: acer 2.3 ± 1.4' in third
  assert (
    'published, NAS-FAS: apcer 2.1 ± 1.3, bpcer 1.4 ± 1.1, acer 1.7 ± 0.6'
    in third
  )


def test_a_dataset_without_published_figures_has_its_own_alone():
  name = 'manifest_fas/official'
  line = family_table.table({name: result(hter=0.1, acer=0.05, auc=1.0)})
  assert line == f'| {name} | 1 | hter 10.0 | acer 5.0 | auc 100.0 |'


def test_a_fold_without_the_metric_leaves_it_out():
  text = family_table.table({'oulu_npu/2': result(acer=None)})
  assert 'acer - |' in text


def test_a_search_takes_one_protocol(tmp_path):
  config = search_config.get_config('debug')
  config.protocol = 'synthetic_fas/cross_domain'
  with pytest.raises(
    ValueError, match='a family; the experiment .search. takes one.*office'
  ):
    main.run(config, tmp_path)


def test_no_run_of_a_family_is_an_error(tmp_path):
  config = evaluate_config.get_config()
  config.protocol = 'oulu_npu'
  config.checkpoint = str(tmp_path)
  with pytest.raises(ValueError, match='holds no run of the family'):
    main.run(config, tmp_path / 'out')


def test_every_protocol_of_a_family_has_a_folder(
  tmp_path, monkeypatch, tiny_data_dir
):
  """Evaluation is replaced: what is run where is the subject here."""
  seen = {}
  kinds = ('print', 'replay')

  def evaluate(config, workdir):
    seen[config.protocol] = config.checkpoint, workdir
    workdir.mkdir(parents=True)
    figures = {'acer': 0.3, 'auc': 0.8}
    content = {'splits': {'test': figures}}
    (workdir / 'results.json').write_text(json.dumps(content))

  monkeypatch.setitem(main.EXPERIMENTS, 'evaluate', evaluate)
  said = []
  monkeypatch.setattr(main.progress, 'say', said.append)
  for kind in kinds:
    run = tmp_path / 'runs' / f'synthetic_fas-type-{kind}'
    run.mkdir(parents=True)
    (run / 'config.json').write_text('{}')
  config = evaluate_config.get_config()
  config.data.data_dir = str(tiny_data_dir)
  config.data.builder_config = 'tiny'
  config.protocol = 'synthetic_fas/type'
  config.checkpoint = str(tmp_path / 'runs')
  main.run(config, tmp_path / 'out')
  name = 'synthetic_fas-type-replay'
  assert seen == {
    f'synthetic_fas/type/{kind}': (
      str(tmp_path / 'runs' / f'synthetic_fas-type-{kind}'),
      tmp_path / 'out' / f'synthetic_fas-type-{kind}',
    )
    for kind in kinds
  }
  assert (tmp_path / 'out' / name / 'results.json').exists()
  text = '\n'.join(said)
  assert 'synthetic_fas/type/mask_paper: no run in' in text
  assert '| synthetic_fas/type | 2 | acer 30.0 ± 0.0 | eer - | auc 80.0' in text


@pytest.mark.parametrize('all_seen', [False, True])
def test_a_protocol_of_trained_subjects_does_not_end_the_others(
  all_seen, tmp_path, monkeypatch, tiny_data_dir
):
  def judge(config, workdir):
    if all_seen or config.protocol.endswith('print'):
      raise evaluate.SubjectsSeen('tests 3 subjects')
    workdir.mkdir(parents=True)
    content = {'splits': {'test': {'acer': 0.3}}}
    (workdir / 'results.json').write_text(json.dumps(content))

  monkeypatch.setitem(main.EXPERIMENTS, 'evaluate', judge)
  said = []
  monkeypatch.setattr(main.progress, 'say', said.append)
  run = tmp_path / 'run'
  run.mkdir()
  (run / 'config.json').write_text('{}')
  config = evaluate_config.get_config()
  config.data.data_dir = str(tiny_data_dir)
  config.data.builder_config = 'tiny'
  config.protocol = 'synthetic_fas/type'
  config.checkpoint = str(run)
  if all_seen:
    with pytest.raises(ValueError, match='tests 3 subjects'):
      main.run(config, tmp_path / 'out')
    return
  main.run(config, tmp_path / 'out')
  text = '\n'.join(said)
  assert 'synthetic_fas/type/print is left out. tests 3 subjects' in text
  assert '| synthetic_fas/type | 4 | acer 30.0' in text


def judged(status, **test):
  return {**result(**test), 'seen': {'status': status}}


def test_the_mean_is_over_folds_that_the_run_has_not_seen():
  """One run on a family: night is its own, window was not seen, office was."""
  family = 'synthetic_fas/cross_domain'
  results = {
    f'{family}/night': judged('own', hter=0.2, auc=0.9),
    f'{family}/window': judged('unseen', hter=0.4, auc=0.7),
    f'{family}/office': judged('seen', hter=0.0, auc=1.0),
  }
  first, second = family_table.table(results).splitlines()
  assert first.startswith(f'| {family} | 2 | hter 30.0 ± 14.1 | auc 80.0')
  assert second == (
    f'| {family}, seen in training: {family}/office | 1 | hter 0.0 | auc '
    '100.0 |'
  )
  assert 'a domain or an attack type that the run was not trained on' in (
    family_table.note(results)
  )
  del results[f'{family}/office']
  assert family_table.note(results) == ''


def test_protocols_whose_reports_qualify_their_figures_are_named():
  results = {f'oulu_npu/{i}': result(acer=0.1) for i in (1, 2, 4)}
  results['oulu_npu/2']['threshold'] = {'warning': 'too few clips'}
  results['oulu_npu/4']['batch_norm'] = {'text': 'by the batch'}
  assert family_table.note(results) == (
    ' What qualifies the figures of oulu_npu/2, oulu_npu/4 is in their reports.'
  )


def test_an_old_run_counts_in_no_mean():
  results = {'oulu_npu/2': judged('unknown', acer=0.1)}
  (line,) = family_table.table(results).splitlines()
  assert line.startswith('| oulu_npu/2, not known whether seen in training: ')
  assert 'published' not in line
  assert 'has not recorded' in family_table.note(results)


def test_over_datasets_both_thresholds_stand_side_by_side():
  content = result(hter=0.2, auc=0.9, tpr_at_fpr={'0.01': 0.5})
  content['threshold'] = {'split': 'dev'}
  content['test_eer'] = {'hter': 0.15}
  line = family_table.table({'cross/oci-m': content})
  assert line.startswith(
    "| cross/oci-m | 1 | hter (threshold of dev) 20.0 | hter (test clips' own "
    'EER threshold, as published) 15.0 | auc 90.0 | tpr at fpr 1 % 50.0 |'
  )


def test_unlabelled_test_clips_have_no_figures():
  assert 'acer - ' in family_table.table({'oulu_npu/2': {'splits': {}}})
