"""The threshold of a run from live clips; the network is replaced."""

import json
import re
import shutil

import numpy as np
import pytest
from scipy import stats

from nasfas_configs import calibrate as calibrate_config
from nasfas_configs import train as train_config
from nasfas_jax import calibrate, evaluate, files, main
from nasfas_jax import detector as detector_lib
from nasfas_jax.metrics import tolerance

OLD = {'value': 0.5, 'rule': 'EER point of the dev clips', 'split': 'dev'}


@pytest.fixture
def run_folder(tmp_path):
  """The files of a run, without its weights."""
  folder = tmp_path / 'run'
  config = train_config.get_config('debug')
  config.model = 'cdcn'
  content = json.loads(json.dumps(config.to_dict()))
  files.write_json(folder / 'config.json', content)
  files.write_json(
    folder / 'data.json',
    {
      'versions': ['synthetic_fas/tiny/2.0.0'],
      'num_clips': {},
      'fingerprints': {},
      'train_subjects': [],
    },
  )
  files.write_json(folder / 'results.json', {'threshold': OLD})
  (folder / 'scores.csv').write_text(
    'clip_id,split,label,attack_type,domain,subject,score\n'
    'a,test,1,live,d,s1,0.9\nb,test,0,print,d,s2,0.05\n'
    'c,test,0,print,d,s2,0.31\nd,test,0,replay,d,s3,0.2\n'
  )
  return folder


def write_live(path, scores, subjects=None):
  lines = ['clip,label,type,score' + (',subject' if subjects else '')]
  for i, score in enumerate(scores):
    more = f',{subjects[i]}' if subjects else ''
    lines.append(f'live{i},1,,{score}{more}')
  # Attacks do not set it.
  lines.append('spoof,0,print,0.0' + (',x' if subjects else ''))
  path.write_text('\n'.join(lines) + '\n')


def config_of(run_folder, **changes):
  config = calibrate_config.get_config()
  config.checkpoint = str(run_folder)
  config.update(changes)
  return config


def test_tied_scores_get_no_better_bound_than_their_rank():
  scores = np.full(93, 0.5)
  found = calibrate.set_threshold(
    scores, num_subjects=None, origin='x', not_scored={}, bpcer=0.05
  )
  # One of 93 may be rejected; that none is was seen only afterwards.
  assert (found['value'], found['rejected']) == (np.nextafter(0.5, 0), 0)
  assert found['bound'] == tolerance.upper_bound(1, 93)


def test_live_scores_set_the_threshold(run_folder, tmp_path, capsys):
  scores = 0.3 + 0.001 * np.arange(93)
  write_live(tmp_path / 'new.csv', scores)
  before = (run_folder / 'results.json').read_bytes()
  config = config_of(run_folder, scores=str(tmp_path / 'new.csv'))
  main.run(config, tmp_path / 'unused')
  assert not (tmp_path / 'unused').exists()
  assert (run_folder / 'results.json').read_bytes() == before
  found = files.read_json(run_folder / 'threshold.json')
  # Of 93 clips one may be rejected at 5 %.
  assert found['value'] == np.nextafter(0.301, 0)
  assert (found['num_live'], found['rejected']) == (93, 1)
  assert found['bound'] <= found['bpcer'] == 0.05
  assert found['split'] == 'calibration' and found['source'] == 'new.csv'
  assert found['rule'].startswith('rejects 1 of 93 live clips of new.csv: BPC')
  assert found['replaces'] == {
    'value': 0.5,
    'rule': OLD['rule'],
    'rejected': 93,
  }
  assert found['test_apcer'] == {
    'worst': 0.5,
    'pooled': 1 / 3,
    'by_type': {'print': 0.5, 'replay': 0.0},
  }
  said = capsys.readouterr().err
  assert 'which rejects 93 of these 93 clips' in said
  assert 'accepts 33.3 %, of the worst type 50.0 %' in said
  # The detector takes it from now on.
  assert detector_lib.read_threshold(run_folder).value == found['value']


def test_too_few_clips_are_refused_with_what_they_can_do(run_folder, tmp_path):
  write_live(tmp_path / 'new.csv', 0.3 + 0.01 * np.arange(20))
  config = config_of(run_folder, scores=str(tmp_path / 'new.csv'))
  message = (
    '20 live clips are too few for a BPCER of 5 %: even if none is rejected, '
    'it may be 13.9 % (upper bound at 95 %). It takes 59 clips, or '
    '--config.bpcer=0.14.'
  )
  with pytest.raises(ValueError, match=re.escape(message)):
    calibrate.calibrate(config, tmp_path)
  assert not (run_folder / 'threshold.json').exists()
  # The advice holds.
  config.bpcer = 0.14
  calibrate.calibrate(config, tmp_path)
  found = files.read_json(run_folder / 'threshold.json')
  assert found['rejected'] == 0 and found['value'] < 0.3
  assert found['bound'] == pytest.approx(1 - 0.05 ** (1 / 20))


def test_a_threshold_below_every_score_is_refused():
  facts = {'num_subjects': None, 'origin': 'x', 'not_scored': {}}
  scores = np.r_[np.zeros(8), np.linspace(0.1, 0.3, 92)]
  message = (
    '8 of 100 live clips have a score of 0, the lowest that a network gives, '
    'and for a BPCER of 5 % no more than 1 may be rejected: the threshold '
    'would lie below 0 and accept every attack. Possible with these clips: '
    '--config.bpcer=0.14'
  )
  with pytest.raises(ValueError, match=re.escape(message)) as caught:
    calibrate.set_threshold(scores, bpcer=0.05, **facts)
  # The advice holds, and less is refused.
  advice = float(re.search(r'bpcer=([\d.]+)\.$', str(caught.value))[1])
  # The two-sided interval at 90 % ends where the one-sided bound at 95 % does.
  high = stats.binomtest(8, 100).proportion_ci(0.9, method='exact').high
  assert advice - 0.001 < high <= advice
  found = calibrate.set_threshold(scores, bpcer=advice, **facts)
  assert (found['value'], found['rejected']) == (np.nextafter(0.1, 0), 8)
  with pytest.raises(ValueError, match='accept every attack'):
    calibrate.set_threshold(scores, bpcer=advice - 0.002, **facts)
  with pytest.raises(ValueError, match='60 of 60 .* no BPCER is possible'):
    calibrate.set_threshold(np.zeros(60), bpcer=0.05, **facts)


BATCHED = {'how': 'test_domain', 'text': 'x'}
MODEL = {
  **{'name': 'cdcn', 'num_parameters': 9, 'step': 1, 'trained_on': 'a'},
  'digest': 'a',
}


def write_splits(path, **scores):
  """A file as an evaluation writes it: live clips SPLIT0, SPLIT1, ..."""
  lines = ['clip_id,split,label,attack_type,domain,subject,score']
  for split, values in scores.items():
    for i, score in enumerate(values):
      lines.append(f'{split}{i},{split},1,live,d,{split}{i},{score}')
    lines.append(f'{split},{split},0,print,d,x,0.4')
  path.parent.mkdir(exist_ok=True)
  path.write_text('\n'.join(lines) + '\n')
  return str(path)


def test_scores_that_a_single_clip_does_not_get_are_refused(
  run_folder, tmp_path
):
  own = write_splits(run_folder / 'scores.csv', dev=np.linspace(0.4, 0.6, 60))
  results = {'threshold': OLD, 'model': MODEL}
  files.write_json(run_folder / 'results.json', results)
  other = tmp_path / 'other'
  theirs = write_splits(other / 'scores.csv', dev=np.linspace(0.3, 0.5, 60))
  for more, message in (
    (
      {'batch_norm': BATCHED},
      "batch_norm 'test_domain': .* allowed: running. .*--config.input",
    ),
    ({'adapted': {'text': 'x'}}, 'scores of adapted batch statistics'),
    (
      {'model': {**MODEL, 'num_parameters': 8}},
      'another network .* its num_parameters is 8, not 9.*--config.input',
    ),
    (
      {'model': {**MODEL, 'digest': 'b'}},
      "another network .* its digest is 'b', not 'a'.*--config.input",
    ),
    (
      {'config': {'eval_face_scale': 2.0}},
      'other crops or snippets .*eval_face_scale is 2.0, of the run',
    ),
  ):
    fields = files.read_json(run_folder / 'config.json')
    fields['data'].update(more.get('config', {}))
    files.write_json(other / 'config.json', fields)
    files.write_json(other / 'results.json', {**results, **more})
    with pytest.raises(ValueError, match=message) as caught:
      calibrate.calibrate(config_of(run_folder, scores=theirs), tmp_path)
    assert '\n' not in str(caught.value)
  # Those of the run itself, also as a copy.
  files.write_json(
    run_folder / 'results.json', {**results, 'batch_norm': BATCHED}
  )
  shutil.copy(own, tmp_path / 'copy.csv')
  for path in (own, str(tmp_path / 'copy.csv')):
    with pytest.raises(ValueError, match="scores of batch_norm 'test_domain'"):
      calibrate.calibrate(config_of(run_folder, scores=path), tmp_path)
  assert not (run_folder / 'threshold.json').exists()
  # The same network, judged elsewhere as single clips are.
  shutil.copy(run_folder / 'config.json', other)
  files.write_json(other / 'results.json', results)
  calibrate.calibrate(config_of(run_folder, scores=theirs), tmp_path)
  assert (run_folder / 'threshold.json').exists()


def test_persons_of_the_training_are_a_warning(run_folder, tmp_path, capsys):
  data = files.read_json(run_folder / 'data.json')
  data['train_subjects'] = ['x/1', 'x/2']
  files.write_json(run_folder / 'data.json', data)
  persons = [f'x/{i % 4}' for i in range(93)]
  write_live(tmp_path / 'new.csv', 0.3 + 0.001 * np.arange(93), persons)
  config = config_of(run_folder, scores=str(tmp_path / 'new.csv'))
  calibrate.calibrate(config, tmp_path)
  found = files.read_json(run_folder / 'threshold.json')
  assert found['warning'].startswith(
    "The run was trained on 2 of the 4 persons of these clips, such as 'x/1'"
  )
  assert found['warning'] in capsys.readouterr().err


def test_an_export_is_not_calibrated(run_folder, tmp_path):
  (run_folder / 'export.json').write_text('{}')
  with pytest.raises(ValueError, match='is an export, whose threshold'):
    calibrate.calibrate(config_of(run_folder, scores='x.csv'), tmp_path)


def test_figures_of_batches_are_left_out(run_folder, tmp_path, capsys):
  files.write_json(
    run_folder / 'results.json', {'threshold': OLD, 'batch_norm': BATCHED}
  )
  write_live(tmp_path / 'new.csv', 0.3 + 0.001 * np.arange(93))
  config = config_of(run_folder, scores=str(tmp_path / 'new.csv'))
  calibrate.calibrate(config, tmp_path)
  found = files.read_json(run_folder / 'threshold.json')
  assert found['test_apcer'] is None
  assert "batch_norm 'test_domain'" in found['no_test_apcer']
  said = capsys.readouterr().err
  assert f'attacks is not known: {found["no_test_apcer"]}' in said
  assert 'it accepts' not in said
  # Nor are they among those of adapted statistics.
  assert calibrate._test_figures(config, run_folder, None, {}) is None
  assert "batch_norm 'test_domain'" in capsys.readouterr().err


def test_one_split_of_the_scores_counts(run_folder, tmp_path, capsys):
  path = write_splits(
    tmp_path / 'new' / 's.csv',
    train=np.full(99, 0.9),
    dev=np.linspace(0.4, 0.6, 60),
    test=np.linspace(0.2, 0.3, 60),
  )
  for split, value in (('dev', 0.4), ('test', 0.2)):
    config = config_of(run_folder, scores=path, split=split)
    calibrate.calibrate(config, tmp_path)
    found = files.read_json(run_folder / 'threshold.json')
    assert found['value'] == np.nextafter(value, 0)
    assert (found['source_split'], found['num_live']) == (split, 60)
    assert found['rule'].startswith(f'rejects 0 of 60 live {split} clips of s')
  assert found['warning'] == ''
  # The run's own test clips are no test any more.
  own = write_splits(run_folder / 'scores.csv', test=np.linspace(0.2, 0.3, 60))
  capsys.readouterr()
  calibrate.calibrate(config_of(run_folder, scores=own, split='test'), tmp_path)
  found = files.read_json(run_folder / 'threshold.json')
  warning = "60 of these clips are of the run's own test set, so that test set"
  assert found['warning'].startswith(warning)
  assert f'Warning: {warning}' in capsys.readouterr().err


@pytest.mark.parametrize('number', [1, 2, 7, 58])
def test_the_advice_of_the_guard_is_always_enough(number):
  facts = {'num_subjects': None, 'origin': 'x', 'not_scored': {}}
  # A score of 0 has a refusal of its own.
  scores = (1 + np.arange(number)) / number
  with pytest.raises(ValueError, match='too few') as caught:
    calibrate.set_threshold(scores, bpcer=0.05, **facts)
  advice = float(re.search(r'bpcer=([\d.]+)\.$', str(caught.value))[1])
  found = calibrate.set_threshold(scores, bpcer=advice, **facts)
  assert found['bound'] <= advice


def test_clips_of_few_persons_are_warned_of(run_folder, tmp_path, capsys):
  subjects = [f's{i % 3}' for i in range(60)]
  write_live(tmp_path / 'new.csv', 0.4 + 0.01 * np.arange(60), subjects)
  config = config_of(run_folder, scores=str(tmp_path / 'new.csv'))
  calibrate.calibrate(config, tmp_path)
  found = files.read_json(run_folder / 'threshold.json')
  assert found['num_subjects'] == 3
  assert 'they are of only 3 subjects' in capsys.readouterr().err
  condition = ' confidence if the clips, of 3 subjects, are independent'
  assert found['rule'].endswith(condition)
  # It stays with the threshold.
  assert detector_lib.read_threshold(run_folder).warning == found['warning']


def test_unknown_persons_are_warned_of(run_folder, tmp_path, capsys):
  scores = 0.4 + 0.01 * np.arange(60)
  config = config_of(run_folder, scores=str(tmp_path / 'new.csv'))
  write_live(tmp_path / 'new.csv', scores)
  calibrate.calibrate(config, tmp_path)
  found = files.read_json(run_folder / 'threshold.json')
  assert found['num_subjects'] is None
  assert found['warning'].startswith('Who is in the clips is not known, so')
  assert f'Warning: {found["warning"]}' in capsys.readouterr().err
  assert detector_lib.read_threshold(run_folder).warning == found['warning']
  # An evaluation has the condition, in the rule.
  rule = evaluate.run_threshold(run_folder)['rule']
  assert rule.endswith('95 % confidence if each clip is of another person')
  # Each of another person: nothing to warn of.
  write_live(tmp_path / 'new.csv', scores, [f's{i}' for i in range(60)])
  calibrate.calibrate(config, tmp_path)
  found = files.read_json(run_folder / 'threshold.json')
  assert (found['num_subjects'], found['warning']) == (60, '')
  assert found['rule'].endswith('with 95 % confidence')


def test_a_run_without_a_threshold_gets_its_first(run_folder, tmp_path, capsys):
  """As one has that holds weights from PyTorch."""
  files.write_json(run_folder / 'results.json', {'maps': {}})
  write_live(tmp_path / 'new.csv', 0.3 + 0.001 * np.arange(93))
  config = config_of(run_folder, scores=str(tmp_path / 'new.csv'))
  calibrate.calibrate(config, tmp_path)
  found = files.read_json(run_folder / 'threshold.json')
  assert found['value'] == np.nextafter(0.301, 0)
  assert found['replaces'] is None
  assert 'The run had no threshold before.' in capsys.readouterr().err
  assert detector_lib.read_threshold(run_folder).value == found['value']


class FakeDetector:
  """Scores a file by the number in its name; 'x' has no face."""

  default_box = 'whole_frame'
  box_note = staticmethod(lambda box: '')

  def score_file(self, path, box, rules):
    name = path.rpartition('/')[2].removesuffix('.png')
    if name == 'x':
      return detector_lib.Judged('no_face')
    return detector_lib.Judged('spoof', score=float(name), decision='spoof')


def test_files_are_scored_by_the_run(run_folder, tmp_path, monkeypatch, capsys):
  folder = tmp_path / 'live'
  folder.mkdir()
  for i in range(30):
    (folder / f'0.{i + 10}.png').touch()
  (folder / 'x.png').touch()
  monkeypatch.setattr(
    detector_lib,
    'load',
    lambda path, crop_size, threshold: FakeDetector(),
  )
  config = config_of(
    run_folder, input=str(folder), bpcer=0.1, face='whole_frame'
  )
  calibrate.calibrate(config, tmp_path)
  found = files.read_json(run_folder / 'threshold.json')
  assert found['value'] == np.nextafter(0.1, 0)
  assert (found['num_live'], found['not_scored']) == (30, {'no_face': 1})
  assert found['source'] == 'live' and found['num_subjects'] is None
  assert '1 clips had no score (1 no_face)' in capsys.readouterr().err
  for path in folder.iterdir():
    path.unlink()
  (folder / 'x.png').touch()
  with pytest.raises(ValueError, match=r'none of its 1 files .*1 no_face'):
    calibrate.calibrate(config, tmp_path)


def test_folders_are_persons_if_asked(run_folder, tmp_path, monkeypatch):
  monkeypatch.setattr(
    detector_lib, 'load', lambda path, crop_size, threshold: FakeDetector()
  )
  folder = tmp_path / 'live'
  for i in range(30):
    path = folder / f'person{i % 3}' / f'0.{i + 10}.png'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
  # Who has no score is no person of the bound.
  (folder / 'person3').mkdir()
  (folder / 'person3' / 'x.png').touch()
  config = config_of(
    run_folder,
    input=str(folder),
    bpcer=0.1,
    face='whole_frame',
    subjects='folder',
  )
  calibrate.calibrate(config, tmp_path)
  found = files.read_json(run_folder / 'threshold.json')
  assert (found['num_live'], found['num_subjects']) == (30, 3)
  assert 'they are of only 3 subjects' in found['warning']
  (folder / '0.5.png').touch()
  with pytest.raises(ValueError, match="0.5.png' is in no person's folder"):
    calibrate.calibrate(config, tmp_path)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'checkpoint': ''}, 'Give --config.checkpoint=WORKDIR'),
    ({}, "config.input is '' and config.scores ''; give one of them"),
    ({'input': 'a', 'scores': 'b'}, 'give one of them'),
    ({'scores': 'none.csv'}, "config.scores: There is no file of scores 'none"),
    ({'input': '0'}, "config.input is '0', a camera; allowed: files"),
    ({'input': 'a', 'bpcer': 1.0}, 'config.bpcer is 1.0; allowed: between 0'),
    ({'input': 'a', 'face': 'b'}, "config.face is 'b'; allowed: '', det"),
    ({'scores': 'a', 'split': 'train'}, "split is 'train'; allowed: dev, test"),
    ({'scores': 'a', 'subjects': 'folder'}, "'folder' with config.scores, who"),
    (
      {'input': 'a', 'subjects': 'folder'},
      "config.input is 'a'; allowed with ",
    ),
    ({'input': 'a', 'split': 'test'}, "config.split is 'test' with config.inp"),
    ({'scores': 'SCORES'}, "split is 'dev', and .* has clips of test; allowed"),
  ],
)
def test_a_mistake_is_one_line(changes, message, run_folder, tmp_path):
  if changes.get('scores') == 'SCORES':
    changes = {**changes, 'scores': str(run_folder / 'scores.csv')}
  with pytest.raises((ValueError, FileNotFoundError), match=message):
    calibrate.calibrate(config_of(run_folder, **changes), tmp_path)
  assert not (run_folder / 'threshold.json').exists()


def test_a_bound_is_never_rounded_down():
  for number, rounded in (
    *((9.94, 10), (9.9, 9.9), (9.901, 10), (4.87, 4.9), (12.3, 13)),
    *((100.0, 100), (0.2001, 0.21), (0.2, 0.2), (5.0, 5)),
  ):
    assert calibrate.rounded_up(number) == rounded
