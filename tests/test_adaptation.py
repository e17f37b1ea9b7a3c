"""Adapted batch statistics: what is found, mixed, written, read and used."""

import json
import pathlib
import shutil

import jax
import numpy as np
import pytest
import untrained_run
from flax import traverse_util
from untrained_run import BOX, moving, write_video

import nasfas_jax
from nasfas_configs import calibrate as calibrate_config
from nasfas_configs import evaluate as evaluate_config
from nasfas_configs import export as export_config
from nasfas_datasets import prepare
from nasfas_jax import (
  adaptation,
  calibrate,
  evaluate,
  export,
  files,
  inputs,
  metrics,
  predict,
  score_table,
)
from nasfas_jax import detector as detector_lib
from nasfas_jax.exporting import package, sealed

PERSONS = ('ann', 'bob', 'cem', 'dan', 'eve', 'fay')
FOLDER = adaptation.FOLDER


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """The workdir of a run whose clips are prepared, and a folder of persons."""
  folder = tmp_path_factory.mktemp('adaptation')
  clips = folder / 'clips'
  untrained_run.write_clips(clips)
  prepare.prepare(
    'manifest_fas', config='small', data_dir=folder, manual_dir=clips
  )
  workdir = folder / 'run'
  untrained_run.write(workdir, num_snippets=2, data_dir=str(folder))
  split = {'num_live': 1, 'num_spoof': 1, 'hter': 0.25, 'auc': 0.75}
  files.write_json(
    workdir / 'results.json',
    {
      'threshold': untrained_run.THRESHOLD,
      'protocol': 'manifest_fas/official',
      'splits': {'test': split},
      'confidence': {'level': 0.95, 'samples': 20},
      'model': {'num_parameters': 1, 'gmac': 0.1, 'step': 1},
    },
  )
  for i, person in enumerate(PERSONS):
    (folder / 'live' / person).mkdir(parents=True)
    for j in range(2):
      path = folder / 'live' / person / f'{j}.avi'
      write_video(path, moving(10 + 2 * i + j))
  return workdir, folder / 'live', clips


@pytest.fixture(scope='module')
def detector(run):
  return nasfas_jax.load(run[0])


def scores_of(detector, paths):
  return np.array([detector.score_file(path, BOX).score for path in paths])


def write_scores(workdir, live, spoof):
  (workdir / 'scores.csv').write_text(
    'clip_id,split,label,attack_type,domain,subject,score\n'
    f'4,test,0,print,,s4,{float(spoof)!r}\n5,test,1,live,,s5,{float(live)!r}\n'
  )


def config_of(run, **changes):
  config = calibrate_config.get_config()
  config.checkpoint, config.input = str(run[0]), str(run[1])
  config.box = ','.join(map(str, BOX))
  config.subjects = 'folder'
  # Four clips can vouch for it.
  config.bpcer = 0.55
  config.statistics.adapt = True
  config.statistics.update(changes)
  return config


@pytest.fixture(scope='module')
def adapted(run, detector):
  """The run after its statistics were adapted; scores.csv is its own."""
  workdir, live, clips = run
  spoof, alive = scores_of(detector, [clips / '4.avi', clips / '5.avi'])
  write_scores(workdir, alive, spoof)
  calibrate.calibrate(config_of(run, accept_worse=True), workdir)
  return workdir


def test_the_moments_are_those_of_the_activations_of_one_batch(detector):
  """In NumPy, from the outputs of the convolutions before each norm."""
  frames = np.random.default_rng(0).integers(
    0, 256, (3, 2, 16, 16, 3), np.uint8
  )
  found = adaptation.find_statistics(
    detector.model, detector.variables, frames, detector.form
  )

  @jax.jit
  def activations(variables):
    images = inputs.network_input(frames, detector.form)
    _, captured = detector.model.apply(
      variables,
      images,
      train=True,
      capture_intermediates=lambda module, name: module.name != 'norm',
      mutable=['batch_stats', 'intermediates'],
    )
    return captured['intermediates']

  seen = traverse_util.flatten_dict(activations(detector.variables))
  norms = {path[:-1] for path in traverse_util.flatten_dict(found)}
  assert len(norms) > 3
  for path in norms:
    (before,) = seen[(*path[:-1], 'conv', '__call__')]
    values = np.asarray(before, np.float64).reshape(-1, before.shape[-1])
    stats = found
    for name in path:
      stats = stats[name]
    np.testing.assert_allclose(
      stats['mean'], values.mean(axis=0), rtol=1e-4, atol=1e-5
    )
    # Flax takes E[x^2] - E[x]^2 in float32.
    np.testing.assert_allclose(
      stats['var'], values.var(axis=0), rtol=1e-3, atol=1e-5
    )


def test_statistics_are_mixed_as_those_of_two_populations():
  """Three samples of the training to one of the place."""
  generator = np.random.default_rng(1)
  old, new = (
    generator.normal(0, 1, (1000, 4)),
    generator.normal(3, 2, (1000, 4)),
  )

  def stats(x):
    return {'norm': {'mean': x.mean(axis=0), 'var': x.var(axis=0)}}

  mixed = adaptation.mix(stats(old), stats(new), 0.25)['norm']
  whole = np.concatenate([old, old, old, new])
  np.testing.assert_allclose(mixed['mean'], whole.mean(axis=0), rtol=1e-6)
  np.testing.assert_allclose(mixed['var'], whole.var(axis=0), rtol=1e-6)
  assert adaptation.weight_of(16, 16) == 0.5
  assert adaptation.weight_of(4, 16) == 0.2


def test_statistics_and_threshold_are_of_different_persons(run):
  paths = [f'{run[1]}/{person}/{i}.avi' for person in PERSONS for i in '01']
  giving, others = calibrate.split_persons(paths, str(run[1]))
  assert list(giving) == ['ann', 'dan']
  assert list(others) == ['bob', 'cem', 'eve', 'fay']
  assert sorted(sum([*giving.values(), *others.values()], [])) == sorted(paths)
  with pytest.raises(ValueError, match="'/x/1.avi' is in no person's folder"):
    calibrate.split_persons(['/x/a/1.avi', '/x/1.avi'], '/x')
  with pytest.raises(ValueError, match="of one person, 'a'"):
    calibrate.split_persons(['/x/a/1.avi', '/x/a/b/1.avi'], '/x')


def test_what_is_written_is_what_was_found(run, adapted, detector):
  workdir, live, clips = run
  content = files.read_json(workdir / FOLDER / 'adapted.json')
  assert content['num_clips'] == 4 and content['num_subjects'] == 2
  assert content['weight'] == 4 / 20
  # Beside the run's own files: nothing else is new.
  assert not (workdir / 'threshold.json').exists()
  assert nasfas_jax.load(workdir).threshold.value == 0.25
  new = nasfas_jax.load(workdir, adapted=True)
  frames = [
    detector.score_file(live / person / f'{i}.avi', BOX).frames
    for person in ('ann', 'dan')
    for i in range(2)
  ]
  found = adaptation.find_statistics(
    detector.model, detector.variables, np.concatenate(frames), detector.form
  )
  expected = adaptation.mix(detector.variables['batch_stats'], found, 0.2)
  jax.tree.map(
    np.testing.assert_array_equal, new.variables['batch_stats'], expected
  )
  jax.tree.map(
    np.testing.assert_array_equal,
    new.variables['params'],
    detector.variables['params'],
  )
  # The threshold: the highest that eight clips of the others can vouch for.
  setting = [
    live / person / f'{i}.avi'
    for person in ('bob', 'cem', 'eve', 'fay')
    for i in range(2)
  ]
  after = scores_of(new, setting)
  assert np.abs(after - scores_of(detector, setting)).max() > 1e-4
  threshold = content['threshold']
  assert (
    threshold['value']
    == calibrate.set_threshold(
      after, num_subjects=4, origin='live', not_scored={}, bpcer=0.55
    )['value']
  )
  assert threshold['num_subjects'] == 4
  assert 'of only 4 subjects' in threshold['warning']
  path = str(workdir / FOLDER / 'adapted.json')
  assert new.threshold == detector_lib.Threshold(
    threshold['value'], threshold['rule'], path, threshold['warning']
  )
  assert threshold['rule'].endswith(
    '95 % confidence if the clips, of 4 subjects, are independent; batch '
    'statistics adapted to 4 live clips of 2 persons (weight 0.20)'
  )
  # The figures on the run's own test set.
  test = scores_of(new, [clips / '4.avi', clips / '5.avi'])
  labels, types = np.array([0, 1]), np.array(['print', 'live'])
  figures = content['test']['after']
  assert figures['auc'] == metrics.auc(test, labels)
  assert figures['apcer_max'] == float(test[0] > threshold['value'])
  own = score_table.read(workdir / 'scores.csv')['test']['score']
  before = metrics.summarise(own, labels, types, 0.25)
  assert content['test']['before']['bpcer'] == before['bpcer']


def test_a_fall_of_the_auc_is_refused(
  run, adapted, tmp_path, monkeypatch, capsys
):
  workdir = tmp_path / 'run'
  shutil.copytree(run[0], workdir)
  shutil.rmtree(workdir / FOLDER)
  write_scores(workdir, live=1.0, spoof=0.0)
  # With the adapted statistics it is the other way round.
  monkeypatch.setattr(evaluate, 'score', lambda *_: np.array([1.0, 0.0]))
  config = config_of((workdir, run[1]), auc_tolerance=0.9)
  with pytest.raises(
    ValueError, match=r'falls from 1\.0000 to 0\.0000, by mor'
  ):
    calibrate.calibrate(config, tmp_path)
  assert not (workdir / FOLDER).exists()
  said = capsys.readouterr().err
  assert 'They hold live faces only' in said and '2 persons are few' in said
  assert (
    'batch statistics of the training, threshold of the run: AUC 100.0, BPCER '
    '0.0, APCER 0.0 of the worst type, 0.0 pooled'
  ) in said
  assert 'adapted, threshold of these clips: AUC 0.0, BPCER 100.0, AP' in said
  config.statistics.auc_tolerance = 1.0
  calibrate.calibrate(config, tmp_path)
  assert (workdir / FOLDER / 'adapted.json').exists()
  # Where the test clips are not those that were scored, nothing is known.
  write = (workdir / 'scores.csv').write_text
  write('clip_id,split,label,attack_type,score\nother,test,1,,0.5\n')
  calibrate.calibrate(config, tmp_path)
  assert files.read_json(workdir / FOLDER / 'adapted.json')['test'] is None
  said = capsys.readouterr().err
  assert 'the network now does on the test set of its run is not' in said


def test_the_box_is_warned_of_once_and_only_persons_that_count_do(
  run, tmp_path, monkeypatch, capsys
):
  workdir = tmp_path / 'run'
  shutil.copytree(run[0], workdir)
  data = files.read_json(workdir / 'data.json')
  files.write_json(workdir / 'data.json', {**data, 'boxes': {'detected': 2}})
  (workdir / 'scores.csv').unlink(missing_ok=True)
  score_file = detector_lib.Detector.score_file

  def some(self, path, box, rules):
    # Ann gives statistics, bob sets the threshold.
    if pathlib.Path(path).parent.name in ('ann', 'bob'):
      return detector_lib.Judged('no_face')
    return score_file(self, path, box, rules)

  monkeypatch.setattr(detector_lib.Detector, 'score_file', some)
  config = config_of((workdir, run[1]))
  config.bpcer = 0.6
  calibrate.calibrate(config, tmp_path)
  said = capsys.readouterr().err
  assert (
    said.count('of config.box. The face box is annotated; in training') == 1
  )
  content = files.read_json(workdir / FOLDER / 'adapted.json')
  assert (content['num_subjects'], content['num_clips']) == (1, 2)
  assert content['threshold']['num_subjects'] == 3


def test_scores_of_zero_before_are_only_compared(run, tmp_path, monkeypatch):
  workdir = tmp_path / 'run'
  shutil.copytree(run[0], workdir)
  (workdir / 'scores.csv').unlink(missing_ok=True)
  score_files = calibrate._score_files

  def scored(*arguments, title, **options):
    found = score_files(*arguments, title=title, **options)
    zero = title == 'Scoring, before'
    return {**found, 'scores': np.zeros(8)} if zero else found

  monkeypatch.setattr(calibrate, '_score_files', scored)
  calibrate.calibrate(config_of((workdir, run[1])), tmp_path)
  content = files.read_json(workdir / FOLDER / 'adapted.json')
  assert content['threshold']['value'] > 0


def test_predict_evaluate_and_export_take_them_when_asked(
  run, adapted, tmp_path, capsys
):
  workdir, _, clips = run
  new = nasfas_jax.load(workdir, adapted=True)
  predict._introduce(new)
  assert 'batch statistics adapted to 4 live clips' in capsys.readouterr().err
  # Evaluate, at the threshold that belongs to them.
  config = evaluate_config.get_config()
  config.checkpoint, config.threshold = str(workdir), 'run'
  config.adapted = True
  config.protocol = 'manifest_fas/official'
  config.data.data_dir = str(workdir.parent)
  config.evaluate.update(num_samples=0, bootstrap_samples=5)
  evaluate.evaluate(config, tmp_path / 'judged')
  results = files.read_json(tmp_path / 'judged' / 'results.json')
  assert results['threshold']['value'] == new.threshold.value
  assert results['adapted']['text'].startswith('batch statistics adapted to 4')
  page = (tmp_path / 'judged' / 'report' / 'index.html').read_text()
  assert 'The network has batch statistics adapted to 4 live clips' in page
  scored = score_table.read(tmp_path / 'judged' / 'scores.csv')['test']['score']
  np.testing.assert_allclose(
    scored, scores_of(new, [clips / '4.avi', clips / '5.avi']), rtol=1e-5
  )
  # Export.
  config = export_config.get_config()
  config.checkpoint, config.formats = str(workdir), ('orbax',)
  config.adapted = True
  config.compared_clips = 0
  export.export(config, tmp_path / 'export', lambda config: None)
  again = nasfas_jax.load(tmp_path / 'export')
  jax.tree.map(np.testing.assert_array_equal, again.variables, new.variables)
  assert again.threshold.value == new.threshold.value
  assert again.threshold.source == 'adapted.json'
  card = (tmp_path / 'export' / 'README.md').read_text()
  assert '## Adapted batch statistics' in card
  assert '| adapted, threshold of these clips |' in card
  assert f'- **Warning** of this threshold: {new.threshold.warning}\n' in card
  assert again.threshold.warning == new.threshold.warning != ''
  assert package.read_content(tmp_path / 'export')['adapted']['clips'] == 'live'
  with pytest.raises(ValueError, match='is an export, whose batch statistics'):
    nasfas_jax.load(tmp_path / 'export', adapted=True)


def test_damage_or_another_run_is_refused(run, adapted, detector, tmp_path):
  workdir = tmp_path / 'run'
  shutil.copytree(run[0], workdir)
  read = adaptation.read
  variables = detector.variables
  assert read(workdir, variables).content['num_clips'] == 4
  other = jax.tree.map(lambda leaf: leaf, variables)
  other['params'] = jax.tree.map(lambda leaf: leaf + 1, variables['params'])
  with pytest.raises(ValueError, match='made for other parameters than those'):
    read(workdir, other)
  path = workdir / FOLDER / 'adapted.json'
  text = path.read_text()
  for old, new, message in (
    ('"num_clips": 4', '"num_clips": 5', 'its digest does not fit. Calibrate'),
    ('nasfas_jax adaptation', 'other', 'is not of an adaptation'),
    (text, text[:-9], 'truncated or not JSON'),
  ):
    path.write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=message) as caught:
      read(workdir, variables)
    assert '\n' not in str(caught.value)
  content = json.loads(text)
  for name, value, message in (
    ('weight', 2.0, 'weight: 2.0; allowed: number in'),
    ('threshold', {'rule': 'x'}, "the field 'value' is missing"),
  ):
    changed = {**content, name: value}
    changed['digest'] = sealed.digest(changed)
    path.write_text(json.dumps(changed))
    with pytest.raises(ValueError, match=message):
      read(workdir, variables)
  path.write_text(text)
  array = max(
    (p for p in (workdir / FOLDER / 'statistics').rglob('*') if p.is_file()),
    key=lambda p: p.stat().st_size,
  )
  array.write_bytes(array.read_bytes()[:-1] + b'\0')
  with pytest.raises(ValueError, match='was changed after the adaptation'):
    read(workdir, variables)
  shutil.rmtree(workdir / FOLDER)
  with pytest.raises(ValueError, match='there is no adapted/adapted.json'):
    read(workdir, variables)


@pytest.mark.parametrize(
  ('path', 'value', 'message'),
  [
    ('subjects', '', "config.subjects is ''; .*the persons must be known"),
    ('scores', 'a.csv', 'config.statistics.adapt is True with config.scores'),
    ('bpcer', 0.05, '8 live clips are too few for a BPCER of 5 %'),
    ('input', 'nowhere', "config.input is 'nowhere'; allowed with config.subj"),
  ],
)
def test_a_mistake_is_one_line(path, value, message, run):
  config = config_of(run)
  config[path] = value
  if path == 'scores':
    config.input = ''
  with pytest.raises(ValueError, match=message):
    calibrate.calibrate(config, run[0])
