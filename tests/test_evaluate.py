"""Evaluation without a network: scores of any system, and what is refused."""

import re

import ml_collections
import numpy as np
import pytest

from nasfas_configs import default as default_config
from nasfas_configs import evaluate as evaluate_config
from nasfas_configs import train as train_config
from nasfas_jax import (
  evaluate,
  files,
  judgement,
  main,
  metrics,
  records,
  run_config,
  run_log,
  score_table,
)
from nasfas_jax.data import index, protocols
from nasfas_jax.metrics import thresholds


def write_scores(path, num_clips=120, seed=0):
  """A file of another system; returns its columns by split."""
  generator = np.random.default_rng(seed)
  lines, kept = ['clip,label,type,subject,score,split'], {}
  for split in ('dev', 'test'):
    labels = generator.integers(0, 2, num_clips)
    types = generator.choice(['print', 'silicone mask'], num_clips)
    types = np.where(labels == 1, 'live', types)
    scores = np.round(generator.normal(size=num_clips) + 2 * labels, 3)
    for i in range(num_clips):
      lines.append(
        f'{split}{i},{labels[i]},{types[i]},{split}{i % 12},{scores[i]},{split}'
      )
    kept[split] = scores, labels, types
  path.write_text('\n'.join(lines) + '\n')
  return kept


def config_of(path, **changes):
  config = evaluate_config.get_config()
  config.evaluate.bootstrap_samples = 20
  config.scores = str(path)
  config.update(changes)
  return config


def test_scores_of_any_system_have_results_and_a_report(tmp_path, capsys):
  path = tmp_path / 'theirs.csv'
  kept = write_scores(path)
  # Two clips of which nobody knows what they are.
  with open(path, 'a') as file:
    file.write('x1,,,s,5.0,test\nx2,,,s,-5.0,test\n')
  main.run(config_of(path), tmp_path / 'out')
  results = files.read_json(tmp_path / 'out' / 'results.json')
  threshold = metrics.eer_threshold(*kept['dev'][:2])
  assert results['threshold'] == {
    'value': threshold,
    'rule': 'EER point of the dev clips',
    'split': 'dev',
    'num_live': int(kept['dev'][1].sum()),
    'num_spoof': int((kept['dev'][1] == 0).sum()),
    'warning': '',
  }
  for split, columns in kept.items():
    assert results['splits'][split] == metrics.summarise(*columns, threshold)
  assert results['unlabelled'] == {'dev': 0, 'test': 2}
  assert set(results['per_type']) == {'print', 'silicone mask'}
  assert results['protocol'] == 'scores of theirs.csv'
  own = metrics.eer(*kept['test'][:2])
  assert results['test_eer']['value'] == own[1]
  assert results['test_eer']['hter'] == pytest.approx(own[0])
  said = capsys.readouterr().err
  assert '2 of the test clips have no label: scored, not judged.' in said
  report = (tmp_path / 'out' / 'report' / 'index.html').read_text()
  assert 'id="det"' in report and 'id="calibration"' in report
  # No protocol plays a part; that in the record is the default.
  recorded = files.read_json(tmp_path / 'out' / 'config.json')
  assert recorded['protocol'] == default_config.get_config().protocol
  # Our own file of the same scores is judged alike, and is written alike.
  again = config_of(tmp_path / 'out' / 'scores.csv')
  main.run(again, tmp_path / 'again')
  other = files.read_json(tmp_path / 'again' / 'results.json')
  for name in ('threshold', 'splits', 'confidence', 'calibration'):
    assert other[name] == results[name]
  assert (tmp_path / 'again' / 'scores.csv').read_bytes() == (
    tmp_path / 'out' / 'scores.csv'
  ).read_bytes()


def test_few_subjects_and_no_error_are_said(tmp_path, capsys):
  """20 clips of 4 subjects without an error are no proof of a BPCER of 0."""
  path = tmp_path / 'theirs.csv'
  lines = ['label,type,score,subject']
  for i in range(20):
    lines += [f'1,,{1 + i},s{i % 4}', f'0,print,{-i},s{i % 4}']
  path.write_text('\n'.join(lines) + '\n')
  main.run(config_of(path, threshold='0.5'), tmp_path / 'out')
  found = files.read_json(tmp_path / 'out' / 'results.json')['confidence']
  assert found['bpcer'] == pytest.approx([0, 1 - 0.025**0.25])
  assert found['auc'] is None
  warning = 'few subjects of the test clips: 4 live, 4 spoof'
  assert warning in found['warning']
  assert warning in capsys.readouterr().err
  report = (tmp_path / 'out' / 'report' / 'index.html').read_text()
  assert warning in report and '0.00 to 60.24' in report


@pytest.fixture
def no_report(monkeypatch):
  """Drawing takes seconds and is tested elsewhere."""
  monkeypatch.setattr(evaluate.page, 'write_report', lambda workdir: workdir)


@pytest.mark.parametrize(
  ('text', 'words'),
  [
    ('apcer=0.05', 'no attack type of the dev clips has an APCER above 5 %'),
    ('bpcer=0.01', 'BPCER of the dev clips is at most 1 %'),
    ('0.75', 'given'),
  ],
)
def test_the_threshold_follows_the_rule(
  no_report, text, words, tmp_path, capsys
):
  path = tmp_path / 'theirs.csv'
  kept = write_scores(path)
  evaluate.evaluate(config_of(path, threshold=text), tmp_path / 'out')
  found = files.read_json(tmp_path / 'out' / 'results.json')['threshold']
  rule = thresholds.parse(text)
  if rule.kind == 'value':
    assert (found['value'], found['split']) == (0.75, 'given')
    assert f'threshold 0.75, {words}' in capsys.readouterr().err
    return
  assert found['value'] == thresholds.choose(rule, *kept['dev'])
  assert words in found['rule'] and found['split'] == 'dev'
  # 120 clips carry neither 5 % of each attack type nor 1 % of the live ones.
  assert found['warning'].startswith('The dev clips are too few to carry')
  assert f'Warning: {found["warning"]}' in capsys.readouterr().err


def test_test_clips_alone_need_a_given_threshold(no_report, tmp_path):
  path = tmp_path / 'theirs.csv'
  path.write_text('clip,label,type,score\na,1,,1\nb,0,print,2\n')
  with pytest.raises(ValueError, match='no clips of the split dev, which set'):
    evaluate.evaluate(config_of(path), tmp_path / 'out')
  assert not (tmp_path / 'out').exists()
  evaluate.evaluate(config_of(path, threshold='1.5'), tmp_path / 'out')
  results = files.read_json(tmp_path / 'out' / 'results.json')
  assert list(results['splits']) == ['test']
  assert results['splits']['test']['hter'] == 1.0
  assert results['calibration'] is None


@pytest.mark.parametrize(('sign', 'said'), [(1, False), (-1, True)])
def test_scores_for_attacks_are_warned_of(
  sign, said, no_report, tmp_path, capsys
):
  path = tmp_path / 'theirs.csv'
  live = f'a,1,,{sign * 3}\nb,1,,{sign * 4}\n'
  path.write_text(
    f'clip,label,type,score\n{live}c,0,print,{sign}\nd,0,print,{sign * 2}\n'
  )
  evaluate.evaluate(config_of(path, threshold='1.5'), tmp_path / 'out')
  warning = 'the AUC of test is 0.0000: live clips score lower than attacks'
  assert (warning in capsys.readouterr().err) == said


def test_clips_without_labels_are_scored_only(tmp_path):
  path = tmp_path / 'theirs.csv'
  path.write_text('clip,label,type,score\na,,,1\nb,,,2\n')
  evaluate.evaluate(config_of(path, threshold='1.5'), tmp_path / 'out')
  results = files.read_json(tmp_path / 'out' / 'results.json')
  assert results['splits'] == {} and results['unlabelled'] == {'test': 2}
  assert (tmp_path / 'out' / 'report' / 'index.html').exists()


def test_what_narrows_the_intervals_is_said(no_report, tmp_path, capsys):
  path = tmp_path / 'theirs.csv'
  text = 'clip,label,type,score,split\na,1,,2,dev\nb,0,x,1,dev\nc,1,,1,test\n'
  path.write_text(text)
  evaluate.evaluate(config_of(path), tmp_path / 'out')
  assert 'no column subject' in capsys.readouterr().err
  results = files.read_json(tmp_path / 'out' / 'results.json')
  assert 'no column subject' in results['confidence']['warning']


def test_a_run_is_finished_only_once_its_scores_are_there(
  no_report, tmp_path, monkeypatch
):
  path = tmp_path / 'theirs.csv'
  path.write_text('clip,label,type,score\na,1,,2\nb,0,x,1\n')

  def fails(*unused):
    raise OSError('no space left on device')

  monkeypatch.setattr(score_table, 'write', fails)
  with pytest.raises(OSError, match='no space'):
    evaluate.evaluate(config_of(path, threshold='1.5'), tmp_path / 'out')
  assert not (tmp_path / 'out' / 'results.json').exists()


def test_a_score_that_is_not_finite_names_its_clip():
  columns = {
    'clip_id': np.array(['a', 'b', 'c']),
    'label': np.array([1, records.UNLABELLED, 0]),
    'score': np.array([1.0, np.nan, np.inf]),
  }
  with pytest.raises(ValueError, match="2 of 3 test clips .*'b' with nan"):
    judgement.check_finite({'test': columns})


@pytest.mark.parametrize(
  ('rows', 'said'),
  [
    (
      'clip,subject a,anna b,ben c,anna',
      "1 subjects are in dev and in test, such as 'anna'",
    ),
    # One clip of two persons is a mistake; without persons it is the same clip.
    (
      'clip,subject a,anna b,ben b,cleo',
      "1 clips are in dev and in test, such as 'b'",
    ),
    ('clip a b b', "1 clips are in dev and in test, such as 'b'"),
    # Every person has a clip of this name.
    ('clip,subject 1.avi,anna 1.avi,ben 1.avi,cleo', ''),
    # Their names would be their rows.
    ('domain a b b', ''),
  ],
)
def test_what_sets_the_threshold_is_not_tested(
  rows, said, no_report, tmp_path, capsys
):
  path = tmp_path / 'theirs.csv'
  of_all = ('label,type,score,split', '1,,2,dev', '0,x,1,dev', '1,,1,test')
  # Of a clip without a label there is no figure.
  lines = [*zip(rows.split(), of_all, strict=True)]
  lines.append((rows.split()[1], ',,3,test'))
  path.write_text('\n'.join(map(','.join, lines)) + '\n')
  if not said:
    evaluate.evaluate(config_of(path), tmp_path / 'out')
    assert 'are in dev and in test' not in capsys.readouterr().err
    return
  with pytest.raises(ValueError, match=said) as caught:
    evaluate.evaluate(config_of(path), tmp_path / 'out')
  assert 'Leave them out of dev, or give --config.thr' in str(caught.value)
  assert '\n' not in str(caught.value) and not (tmp_path / 'out').exists()
  # A given threshold has seen nothing.
  evaluate.evaluate(config_of(path, threshold='1.5'), tmp_path / 'out')
  assert f'{said}: the calibration has' in capsys.readouterr().err


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    (
      {'threshold': 'half'},
      "config.threshold is 'half'; allowed: run .that of",
    ),
    ({'threshold': 'run'}, "config.threshold is 'run'; allowed with config.sc"),
    ({'checkpoint': 'runs/x'}, 'give one of them'),
    ({'adapted': True}, 'adapted is True; allowed with config.scores'),
    ({'scores': 'none.csv'}, "config.scores: There is no file of scores 'none"),
    ({'threshold_source': 'train'}, 'no clips of the split train, which set'),
  ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(changes, message, tmp_path):
  path = tmp_path / 'theirs.csv'
  write_scores(path, 8)
  with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
    evaluate.evaluate(config_of(path, **changes), tmp_path / 'out')
  assert '\n' not in str(caught.value)
  assert not (tmp_path / 'out').exists()


def test_scores_that_cannot_set_a_threshold_say_which(tmp_path):
  path = tmp_path / 'theirs.csv'
  path.write_text('clip,label,type,score,split\na,1,,2,dev\nc,1,,1,test\n')
  message = 'The dev clips set no threshold: A threshold needs live and spoof'
  with pytest.raises(ValueError, match=message):
    evaluate.evaluate(config_of(path), tmp_path / 'out')


@pytest.fixture
def run_folder(tmp_path):
  """A run that says it is of a genotype, and holds no such file."""
  config = train_config.get_config('debug')
  folder = tmp_path / 'run'
  folder.mkdir()
  files.write_json(folder / 'config.json', config.to_dict())
  return folder


def test_a_wrong_genotype_is_found_before_anything_is_prepared(
  run_folder, tmp_path
):
  config = evaluate_config.get_config()
  config.checkpoint = str(run_folder)
  prepared = []
  for content, message in (
    (None, 'genotype.json'),
    ('{"cells": ', 'genotype.json'),
    ('{"schema_version": 99}', 'schema_version'),
  ):
    if content is not None:
      (run_folder / 'genotype.json').write_text(content)
    with pytest.raises((ValueError, OSError), match=message):
      evaluate.evaluate(config, tmp_path / 'out', prepared.append)
  assert prepared == [] and not (tmp_path / 'out').exists()


def test_the_threshold_of_a_run_is_that_of_its_calibration(run_folder):
  with pytest.raises(ValueError, match='has no threshold: there is no'):
    evaluate.run_threshold(run_folder)
  old = {'threshold': {'value': 1, 'rule': 'EER', 'split': 'dev'}}
  files.write_json(run_folder / 'results.json', old)
  found = evaluate.run_threshold(run_folder)
  assert found == judgement.given_threshold(1.0, 'of the run: EER', 'run')
  files.write_json(
    run_folder / 'threshold.json',
    {'value': 2.5, 'rule': 'new', 'split': 'calibration'},
  )
  assert evaluate.run_threshold(run_folder)['value'] == 2.5
  (run_folder / 'threshold.json').write_text('{"value": "x"}')
  with pytest.raises(ValueError, match=r"threshold.json' has no threshold"):
    evaluate.run_threshold(run_folder)


def test_the_builder_config_is_that_of_the_run_on_the_same_dataset():
  trained = train_config.get_config('debug')
  trained.data.builder_config = 'tiny'
  config = evaluate_config.get_config()
  merged = evaluate._merge(config, trained)
  assert merged.data.builder_config == 'tiny'
  # What its weights fix can be said, but not changed.
  for path, other in (('data.num_frames', 3), ('model', 'cdcn')):
    stated = ml_collections.ConfigDict(config.to_dict())
    stated.update_from_flattened_dict({path: run_config.flatten(trained)[path]})
    evaluate._merge(stated, trained)
    stated.update_from_flattened_dict({path: other})
    with pytest.raises(ValueError, match=f'config.{path} is {other!r}; allow'):
      evaluate._merge(stated, trained)
  config.data.builder_config = 'default'
  assert evaluate._merge(config, trained).data.builder_config == 'default'
  # Another dataset's builder has no such config.
  config.data.builder_config = ''
  config.protocol = 'oulu_npu/1'
  assert evaluate._merge(config, trained).data.builder_config == ''


def clip(split, session, kind, **more):
  return {
    'clip_id': f'{session}/{split}/{kind}',
    'dataset': 'synthetic_fas',
    'subject': split,
    'split': split,
    'label': int(kind == 'live'),
    'attack_type': kind,
    'session': session,
    **more,
  }


@pytest.mark.parametrize(
  ('protocol', 'status', 'shared'),
  [
    # The run was trained on office and window, print only.
    ('cross_domain/night', 'unseen', {}),
    ('cross_domain/office', 'seen', {'session': ['office']}),
    ('cross_type/replay', 'unseen', {}),
    ('cross_type/print', 'seen', {'attack_type': ['print']}),
    # It holds out nothing.
    ('intra', 'seen', {}),
  ],
)
def test_a_protocol_is_seen_if_the_run_was_trained_on_what_it_holds_out(
  protocol, status, shared, tmp_path
):
  rows = [
    clip(split, session, kind)
    for split in ('train', 'dev', 'test')
    for session in ('office', 'window', 'night')
    for kind in ('live', 'print', 'replay')
  ]
  values = {'session': ['office', 'window'], 'attack_type': ['print']}
  data = run_log.describe(protocols.Selection([], [], [], 'dev'))
  del data['train_values']
  files.write_json(
    tmp_path / 'data.json',
    {**data, 'train_values': {'attack_detail': [], **values}},
  )
  config = evaluate_config.get_config()
  config.protocol = f'synthetic_fas/{protocol}'
  selection = protocols.select(protocols.get_protocol(config.protocol), rows)
  found = evaluate.seen_in_training(tmp_path, 'other', config, selection)
  assert (found['status'], found['shared']) == (status, shared)
  own = evaluate.seen_in_training(tmp_path, config.protocol, config, selection)
  assert own['status'] == 'own'
  files.write_json(tmp_path / 'data.json', data)
  old = evaluate.seen_in_training(tmp_path, 'other', config, selection)
  assert old['status'] == 'unknown'


@pytest.mark.parametrize(
  ('train', 'test', 'fields'),
  [
    # Of a camera that is no domain, as in OULU-NPU 3.
    ({'camera': 'phone1'}, {'camera': 'phone2'}, ['camera']),
    ({'attack_detail': 'p1'}, {'attack_detail': 'p2'}, ['attack_detail']),
    # Whatever the other dataset calls its cameras.
    (
      {'dataset': 'a', 'camera': '1', 'attack_detail': 'x'},
      {'dataset': 'b', 'camera': '2', 'attack_detail': 'y'},
      ['dataset'],
    ),
    ({}, {}, []),
  ],
)
def test_what_a_protocol_holds_out_is_read_off_its_clips(train, test, fields):
  rows = [
    [clip(split, 'night', kind, **values) for kind in ('live', 'print')]
    for split, values in (('train', train), ('test', test))
  ]
  assert list(index.held_out(*rows, 'session')) == fields
  # Without the train clips it is the domain and the type.
  assert list(index.held_out([], rows[1], 'session')) == [
    'session',
    'attack_type',
  ]


def test_test_clips_alone_are_a_selection():
  rows = [clip('test', 'night', kind) for kind in ('live', 'print')]
  protocol = protocols.get_protocol('synthetic_fas/cross_domain/night')
  with pytest.raises(ValueError, match='the train set has 0 clips'):
    protocols.select(protocol, rows)
  chosen = protocols.select(protocol, rows, judging=True)
  assert (len(chosen.train), len(chosen.dev), len(chosen.test)) == (0, 0, 2)
  with pytest.raises(ValueError, match='none of the 2 prepared clips is in'):
    protocols.select(
      protocols.get_protocol('synthetic_fas/cross_domain/office'),
      rows,
      judging=True,
    )


def test_only_test_clips_may_lack_a_label():
  rows = [
    clip(split, 'night' if split == 'test' else 'office', kind)
    for split in ('train', 'dev', 'test')
    for kind in ('live', 'print')
  ]
  protocol = protocols.get_protocol('synthetic_fas/cross_domain/night')
  unknown = {'label': -1, 'attack_type': '', 'attack_detail': 'x'}
  rows.append({**rows[-1], **unknown})
  assert len(protocols.select(protocol, rows).test) == 3
  assert index.values(rows, 'attack_type') == {'print'}
  assert index.values(rows, 'attack_detail') == set()
  with pytest.raises(ValueError, match='the train set has 3 clips'):
    protocols.select(protocol, [*rows, {**rows[0], **unknown}])


def test_of_its_own_protocol_a_run_keeps_the_threshold_source():
  trained = default_config.get_config()
  trained.threshold_source = 'train'
  config = evaluate_config.get_config()
  own = evaluate._merge(config, trained)
  assert (own.protocol, own.threshold_source) == (trained.protocol, 'train')
  config.threshold_source = 'dev'
  assert evaluate._merge(config, trained).threshold_source == 'dev'
  config.threshold_source, config.protocol = '', 'synthetic_fas/seen_rooms'
  assert evaluate._merge(config, trained).threshold_source == ''


def test_an_evaluation_takes_the_rule_of_its_run(capsys):
  config = evaluate_config.get_config()
  config.protocol = 'synthetic_fas/intra'
  none = protocols.Selection([], [], [{}], 'dev')
  some = protocols.Selection([], [{}], [{}], 'dev')
  assert evaluate.choose_rule(config, 'apcer=0.1', some) == 'apcer=0.1'
  assert evaluate.choose_rule(config, '0.5', none) == '0.5'
  assert capsys.readouterr().err == ''
  assert evaluate.choose_rule(config, 'eer', none) == 'run'
  assert 'There are no dev clips to set a threshold' in capsys.readouterr().err
  config.threshold = 'bpcer=0.1'
  assert evaluate.choose_rule(config, 'eer', some) == 'bpcer=0.1'
  message = "config.threshold is 'bpcer=0.1', which needs dev clips of 'synth"
  with pytest.raises(ValueError, match=re.escape(message)):
    evaluate.choose_rule(config, 'eer', none)


def test_a_protocol_that_shares_persons_tests_its_own_run(
  tmp_path, monkeypatch
):
  # NUAA's lists do.
  rows = [{'dataset': 'nuaa', 'subject': str(number)} for number in range(3)]
  selection = protocols.Selection(rows[:1], [], rows[:2], 'dev')
  data = {'train_subjects': ['nuaa/0']}
  monkeypatch.setattr(run_log, 'read_data', lambda source: data)
  own = 'nuaa/official', 'nuaa/official'
  evaluate._check_subjects(tmp_path, selection, *own)
  for protocol, trained_on in (
    ('nuaa/official', 'synthetic_fas/intra'),
    ('synthetic_fas/intra', 'synthetic_fas/intra'),
  ):
    with pytest.raises(ValueError, match='tests 1 subjects that the run'):
      evaluate._check_subjects(tmp_path, selection, protocol, trained_on)
  # Its figures say so.
  trained = evaluate.Trained({}, 1, 'nuaa/official')
  (said,) = evaluate._trained_on_test_subjects(
    trained, selection, 'nuaa/official'
  )
  assert (
    "trained on 1 of the 2 subjects of the test clips, such as 'nuaa/0'"
    in (said)
  )
  assert not evaluate._trained_on_test_subjects(
    trained, selection, 'uniattackdata/1'
  )
