"""The experiment 'export': from a run to files, and back."""

import importlib.util
import json
import re
import shutil

import cv2
import jax
import numpy as np
import pytest
import untrained_run
from untrained_run import BOX, moving

import nasfas_jax
from nasfas_configs import export as export_config
from nasfas_datasets import prepare
from nasfas_jax import detector as detector_lib
from nasfas_jax import (
  export,
  files,
  metrics,
  run_config,
  run_log,
  settings,
)
from nasfas_jax.exporting import card, clip_checks, package, stablehlo

HAS_ONNX = all(
  importlib.util.find_spec(name) for name in ('onnx', 'onnxruntime')
)
HAS_LITERT = all(
  importlib.util.find_spec(name)
  for name in ('litert_converter', 'ai_edge_litert')
)
HAS_FLATBUFFERS = importlib.util.find_spec('flatbuffers') is not None
METRICS = {
  'protocol': 'manifest_fas/official',
  'splits': {
    'test': {'num_live': 1, 'num_spoof': 1, 'hter': 0.25, 'auc': 0.75}
  },
  'confidence': {'level': 0.95, 'samples': 20, 'auc': [0.5, 1.0]},
  'model': {'num_parameters': 1, 'gmac': 0.1, 'step': 1},
}


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """The workdir of a run whose clips are prepared."""
  folder = tmp_path_factory.mktemp('export')
  clips = folder / 'clips'
  untrained_run.write_clips(clips)
  prepare.prepare(
    'manifest_fas', config='small', data_dir=folder, manual_dir=clips
  )
  workdir = folder / 'run'
  untrained_run.write(workdir, num_snippets=2, data_dir=str(folder))
  files.write_json(
    workdir / 'results.json', {'threshold': untrained_run.THRESHOLD, **METRICS}
  )
  config = files.read_json(workdir / 'config.json')
  files.write_json(
    workdir / 'config.json', {**config, 'threshold': 'apcer=0.4'}
  )
  return workdir


def config_of(run, *formats):
  config = export_config.get_config()
  config.checkpoint = str(run)
  config.formats = formats
  config.calibration_clips = 2
  config.compared_clips = 2
  return config


@pytest.fixture(scope='module')
def exported(run, tmp_path_factory):
  """The folder of an export in every format that can be written here."""
  formats = ['orbax']
  formats += ['onnx', 'int8'] * HAS_ONNX + ['stablehlo'] * HAS_FLATBUFFERS
  formats += ['litert'] * HAS_LITERT
  folder = tmp_path_factory.mktemp('exported') / 'export'
  export.export(config_of(run, *formats), folder, lambda config: None)
  return folder


def test_an_export_is_the_same_detector(run, exported):
  original, again = nasfas_jax.load(run), nasfas_jax.load(exported)
  jax.tree.map(
    np.testing.assert_array_equal, original.variables, again.variables
  )
  for name in (
    *('genotype', 'form', 'reading', 'name', 'trained_on'),
    *('needs_motion', 'boxes'),
  ):
    assert getattr(original, name) == getattr(again, name), name
  assert again.threshold.value == untrained_run.THRESHOLD['value']
  assert again.threshold.rule == untrained_run.THRESHOLD['rule']
  frames = np.stack(moving(3))
  assert original.score(frames, BOX) == again.score(frames, BOX) > 0


def test_a_refused_export_leaves_the_earlier_one(run, tmp_path, monkeypatch):
  folder = tmp_path / 'export'
  export.export(config_of(run, 'orbax'), folder, lambda config: None)
  before = sorted(path.name for path in folder.iterdir())

  def refused(*unused):
    raise ValueError('no form')

  monkeypatch.setitem(export._WRITERS, 'stablehlo', refused)
  monkeypatch.setattr(export, 'check_installed', lambda formats: None)
  with pytest.raises(ValueError, match='no form'):
    export.export(
      config_of(run, 'orbax', 'stablehlo'), folder, lambda config: None
    )
  assert sorted(path.name for path in folder.iterdir()) == before
  assert nasfas_jax.load(folder).name == 'genotype'


def test_clips_that_are_not_those_of_the_run(run, tmp_path, capsys):
  config = run_config.read(run)
  now = run_log.describe(settings.selection(config))['fingerprints']
  said = {'still_share': 0.0, 'boxes': {'given': 2}}
  same, other = tmp_path / 'same', tmp_path / 'other'
  for folder, fingerprints in ((same, now), (other, {**now, 'dev': 'x'})):
    untrained_run.write(
      folder,
      said={**said, 'fingerprints': fingerprints},
      data_dir=config.data.data_dir,
    )
  assert export.find_clips(config, same) == settings.selection(config)
  with pytest.raises(ValueError, match='The dev clips that are prepared here'):
    export.find_clips(config, other)
  # What needs no clips is exported all the same.
  export.export(config_of(other, 'orbax'), tmp_path / 'a', lambda config: None)
  assert 'compared on generated clips only' in capsys.readouterr().err
  if HAS_ONNX:
    config = config_of(other, 'onnx', 'int8')
    with pytest.raises(ValueError, match="dev clips .* 'int8' in config.form"):
      export.export(config, tmp_path / 'b', lambda config: None)
    assert not (tmp_path / 'b').exists()


def test_a_run_that_was_judged_on_no_test_set_is_exported(run, tmp_path):
  """As `compare` leaves one of weights from PyTorch."""
  other = tmp_path / 'run'
  shutil.copytree(run, other)
  files.write_json(
    other / 'results.json',
    {'model': {'name': 'x'}, 'threshold': untrained_run.THRESHOLD},
  )
  folder = tmp_path / 'export'
  export.export(config_of(other, 'orbax'), folder, lambda config: None)
  assert (
    'Not known: this network was judged' in (folder / 'README.md').read_text()
  )
  assert nasfas_jax.load(folder).threshold.value == 0.25


def test_the_card_says_how_the_frames_are_made(run, exported):
  """Its four steps in NumPy and OpenCV alone."""
  card = (exported / 'README.md').read_text()
  for step in (
    '1. Decode 8 frames, the middles of 8 equal parts of the clip',
    '2. Crop a square about its centre, 1.6 times its larger side, in whole '
    'pixels (past the border of the frame: repeat the border pixels). Resize '
    'it to 80 x 80, by area averaging where it shrinks, else bilinearly.',
    '3. In these pictures, crop a square about the centre of the box, 1.28 '
    'times its larger side, and resize it bilinearly to 16 x 16 (half-pixel',
    '4. Score 2 evenly placed runs of 2 consecutive ones of these; the score',
  ):
    assert step in card
  # A face whose wide crop is shrunk and reaches past the frame.
  frames = moving(5, number=24, width=200, height=160)
  box = np.array([8.0, 20.0, 118.0, 140.0])
  made = []
  for i in range(8):
    side, centre = round(1.6 * 120), (box[:2] + box[2:]) / 2
    x, y = (round(c - side / 2) for c in centre)
    wide = cv2.copyMakeBorder(
      frames[3 * i + 1], *(200,) * 4, cv2.BORDER_REPLICATE
    )[y + 200 : y + 200 + side, x + 200 : x + 200 + side]
    wide = cv2.resize(wide, (80, 80), interpolation=cv2.INTER_AREA)
    inner = (box - [x, y, x, y]) * 80 / side
    step = 1.28 * max(inner[2:] - inner[:2]) / 16
    left, top = (inner[:2] + inner[2:]) / 2 - 8 * step
    corner = step / 2 - 0.5
    matrix = np.array([[step, 0, left + corner], [0, step, top + corner]])
    made.append(
      cv2.warpAffine(
        wide,
        matrix,
        (16, 16),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
      )
    )
  judged = nasfas_jax.load(run).judge(
    detector_lib.sample_array(np.stack(frames), 8), tuple(box)
  )
  # warpAffine rounds its places, and a record holds its box in float32.
  np.testing.assert_allclose(
    judged.frames.astype(int), np.stack([made[2:4], made[4:6]]), atol=1
  )


def test_the_card_says_at_which_threshold_its_figures_are(exported):
  content = package.read_content(exported)
  content['metrics']['test']['threshold'] = 0.25
  text = card.make_card(content, [])
  assert 'by the network in JAX, at the threshold 0.25.\n' in text
  content['threshold']['value'] = 0.5
  text = card.make_card(content, [])
  assert 'at the threshold 0.25 of the training: at 0.5, by which' in text


def test_figures_of_batches_are_not_those_of_the_export(run, tmp_path):
  copy = tmp_path / 'run'
  shutil.copytree(run, copy)
  results = files.read_json(run / 'results.json')
  results['batch_norm'] = {'how': 'test_domain', 'text': 'x'}
  files.write_json(copy / 'results.json', results)
  # Its own threshold holds for no single clip.
  files.write_json(copy / 'threshold.json', untrained_run.THRESHOLD)
  export.export(config_of(copy, 'orbax'), tmp_path / 'e', lambda config: None)
  content = package.read_content(tmp_path / 'e')
  assert content['metrics']['batch_norm'] == 'test_domain'
  text = (tmp_path / 'e' / 'README.md').read_text()
  assert 'statistics of their batch (`test_domain`); the files of this' in text
  assert '| AUC |' not in text and '0.750' not in text


def test_the_card_says_of_another_box_than_in_training(exported):
  content = package.read_content(exported)
  said = 'The box of a face detector is another crop and another score'
  text = card.make_card(content, [])
  assert f'- The face box in training was annotated. {said}' in text
  content['boxes'] = ['given', 'whole_frame']
  text = card.make_card(content, [])
  assert f'in training was annotated or the whole frame. {said}' in text
  content['boxes'] = []
  assert f'was of unknown origin. {said}' in card.make_card(content, [])
  content['boxes'] = ['detected']
  assert said not in card.make_card(content, [])
  content['boxes'] = ['whole_frame']
  text = card.make_card(content, [])
  assert said not in text and 'give it the whole frame' in text


def test_sums_that_fit_do_not_make_parameters(exported, tmp_path):
  """As who can write the folder could make them."""

  def refused(message, change):
    folder = tmp_path / 'copy'
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(exported, folder)
    content = json.loads((folder / 'export.json').read_text())
    kept = {
      key: content.pop(key)
      for key in ('files', 'digest', 'format', 'schema_version')
    }
    change(content, folder)
    (folder / 'export.json').unlink()
    package.write(folder, content, list(kept['files']))
    with pytest.raises(ValueError, match=message) as caught:
      nasfas_jax.load(folder)
    assert '\n' not in str(caught.value)

  def cut(content, folder):
    data = max(
      (p for p in (folder / 'params').rglob('*') if p.is_file()),
      key=lambda path: path.stat().st_size,
    )
    data.write_bytes(data.read_bytes()[:100])

  wrong = 'does not hold the parameters of this network'
  refused(wrong, cut)
  refused(wrong, lambda content, _: content['network'].update(cell_features=5))
  refused(
    'allowed: 268435456 or fewer',
    lambda content, _: content['network'].update(cell_features=65_536),
  )


def test_the_json_says_all_that_a_reader_needs(exported):
  content = package.read_content(exported)
  assert content['label']['live'] == 1
  assert content['threshold']['value'] == 0.25
  assert content['input']['coefficients'] == pytest.approx([-0.5, 0.5])
  assert content['metrics']['intervals'] == {'auc': [0.5, 1.0]}
  assert content['compared']['clips_of_the_run'] == 2
  assert content['data']['licence'] == 'unknown'
  assert 'mean of its snippets' in content['label']['decision']
  assert 'box in the pictures of step 2' in content['signature']['face_size']
  card = (exported / 'README.md').read_text()
  assert '| AUC | 0.750 | 0.500 to 1.000 |' in card
  assert 'Licence of the data: unknown' in card
  assert 'width and height of the face box in the pictures of step 2' in card
  # The card is for people to complete.
  (exported / 'README.md').write_text('changed')
  package.read_content(exported)
  (exported / 'README.md').write_text(card)


def test_a_card_that_was_completed_stays(run, tmp_path):
  folder = tmp_path / 'e'

  def again():
    export.export(config_of(run, 'orbax'), folder, lambda config: None)
    export.check_workdir(folder)
    return sorted(path.name for path in folder.glob('README*'))

  for _ in range(2):
    assert again() == ['README.md']
  for number in (1, 2):
    path = folder / 'README.md'
    path.write_text(f'{path.read_text()}\nSold in {number}.\n')
    kept = [f'README.before{i + 1}.md' for i in range(number)]
    assert again() == [*kept, 'README.md']
    assert f'Sold in {number}.' in (folder / kept[-1]).read_text()
    assert 'Sold' not in path.read_text()


@pytest.mark.skipif(not HAS_FLATBUFFERS, reason='flatbuffers is missing')
def test_stablehlo_takes_any_batch(exported):
  data = (exported / 'model.stablehlo').read_bytes()
  with np.load(exported / 'selftest.npz', allow_pickle=False) as arrays:
    clips = dict(arrays)
  score, maps = stablehlo.load(data)(
    clips['frames'][:3], clips['face_size'][:3]
  )
  np.testing.assert_allclose(score, clips['score'][:3], atol=1e-6)
  np.testing.assert_allclose(maps, clips['map'][:3], atol=1e-6)
  promise = package.read_content(exported)['formats']['stablehlo']
  assert promise['platforms'] == ['cpu', 'cuda', 'tpu']
  assert 'six months' in promise['promise']
  with pytest.raises(ValueError, match='no program of jax.export'):
    stablehlo.load(data[: len(data) // 2])


@pytest.mark.skipif(not HAS_LITERT, reason='litert-converter is missing')
def test_litert_gives_the_same_scores(exported):
  from nasfas_jax.exporting import litert

  program = litert.load((exported / 'model.tflite').read_bytes())
  with np.load(exported / 'selftest.npz', allow_pickle=False) as clips:
    score, maps = program(clips['frames'], clips['face_size'])
    np.testing.assert_allclose(score, clips['score'], atol=1e-5)
    np.testing.assert_allclose(maps, clips['map'], atol=1e-5)


@pytest.mark.skipif(not HAS_ONNX, reason='onnx is missing')
def test_the_check_of_a_bare_environment(exported, monkeypatch, capsys):
  from nasfas_jax.exporting import check_onnx

  source = (exported / 'check_onnx.py').read_text()
  imported = set(re.findall(r'^(?:import|from) (\w+)', source, re.MULTILINE))
  assert imported - {'numpy', 'onnxruntime'} <= set(
    ('argparse', 'hashlib', 'json', 'pathlib', 'statistics', 'sys', 'time')
  )
  monkeypatch.setattr(check_onnx, 'ROUNDS', 2)
  monkeypatch.setattr('sys.argv', ['check_onnx.py', str(exported)])
  check_onnx.main()
  out = capsys.readouterr().out
  assert re.search(r'model.onnx: largest difference of the score \d', out)
  # Each file has a threshold of its own.
  own = package.read_content(exported)['formats']['int8']['threshold']['value']
  for name, value in (('model.onnx', 0.25), ('model_int8.onnx', own)):
    assert re.search(f'{name}: .* live above {value:.4g};', out)
  monkeypatch.setattr(check_onnx, 'TOLERANCE', -1.0)
  with pytest.raises(SystemExit, match='the difference is above'):
    check_onnx.main()
  path = exported / 'model.onnx'
  data = path.read_bytes()
  path.write_bytes(data[:-1] + b'\0')
  with pytest.raises(SystemExit, match='model.onnx was changed'):
    check_onnx.main()
  with pytest.raises(ValueError, match="'model.onnx' was changed after"):
    nasfas_jax.load(exported)
  path.write_bytes(data)


@pytest.mark.skipif(not HAS_ONNX, reason='onnx is missing')
def test_int8_says_what_it_costs(exported):
  figures = package.read_content(exported)['formats']['int8']
  assert set(figures['auc']) == {'dev', 'test'}
  for both in figures['auc'].values():
    assert all(0 <= value <= 1 for value in both.values())
  assert figures['calibration_clips'] == 2
  # By the rule of the run, not at the EER.
  threshold = figures['threshold']
  assert threshold['rule'] == (
    'lowest threshold at which no attack type of the dev clips has an APCER '
    'above 40 %, in int8'
  )
  assert set(threshold['bpcer']) == {'float32', 'int8'}
  assert 'AUC float32 | AUC int8' in (exported / 'README.md').read_text()


def _scores(seed=0, number=60):
  """(labels, types, scores in float32, in int8), all scores different."""
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, 2, number)
  types = np.where(labels == 1, 'live', rng.choice(['a', 'b'], number))
  scores = rng.normal(size=number) + labels
  return labels, types, scores, 1.2 * scores + 0.05 * rng.normal(size=number)


@pytest.mark.parametrize(
  ('rule', 'words'),
  [
    ('eer', 'EER point of the dev clips, in int8'),
    (
      'apcer=0.1',
      'lowest threshold at which no attack type of the dev clips has an APCER '
      'above 10 %, in int8',
    ),
    (
      'bpcer=0.05',
      'highest threshold at which BPCER of the dev clips is at most 5 %, in '
      'int8',
    ),
  ],
)
def test_int8_keeps_the_rule_of_the_run(rule, words):
  labels, types, scores, quantised = _scores()
  whole = detector_lib.Threshold(0.7, 'as it was', 'gs://a/run/results.json')
  found = export.int8_threshold(
    whole, rule, scores, quantised, labels, types, 'dev'
  )
  assert found['rule'] == words
  value = found['value']
  passed = {kind: np.mean(quantised[types == kind] > value) for kind in 'ab'}
  rejected = np.mean(quantised[labels == 1] <= value)
  if rule == 'eer':
    assert value == metrics.eer_threshold(quantised, labels)
  elif rule == 'apcer=0.1':
    assert max(passed.values()) <= 0.1
    lower = quantised[quantised < value].max() - 1e-9
    assert max(np.mean(quantised[types == k] > lower) for k in 'ab') > 0.1
  else:
    higher = quantised[quantised > value].min()
    assert rejected <= 0.05 < np.mean(quantised[labels == 1] <= higher)
  assert found['bpcer']['int8'] == rejected
  assert found['bpcer']['float32'] == np.mean(scores[labels == 1] <= 0.7)


@pytest.mark.parametrize(
  ('rule', 'source'),
  [
    ('0.7', 'run/results.json'),
    ('apcer=0.01', 'run/threshold.json'),
    ('eer', 'run/adapted/adapted.json'),
  ],
)
@pytest.mark.parametrize('value', [-9.0, 0.3, 1.1, 9.0])
def test_int8_has_the_bpcer_of_a_threshold_that_no_rule_gave(
  rule, source, value
):
  labels, types, scores, quantised = _scores()
  found = export.int8_threshold(
    detector_lib.Threshold(value, 'live clips of the door', source),
    *(rule, scores, quantised, labels, types, 'dev'),
  )
  live = labels == 1
  share = np.mean(scores[live] <= value)
  assert found['bpcer'] == {'float32': share, 'int8': share}
  assert np.mean(quantised[live] <= found['value']) == share
  assert found['rule'] == (
    'score in int8 with the BPCER of the dev clips in float32 at the '
    'threshold: live clips of the door'
  )


def test_a_threshold_is_carried_over_by_its_place_between_live_scores():
  scores, others = np.array([3.0, 1.0, 2.0]), np.array([10.0, 40.0, 20.0])
  for value, expected in (
    (0.5, 9.5),
    (1.0, 10.0),
    (1.25, 12.5),
    (2.5, 30.0),
    (4.0, 41.0),
  ):
    assert export.carry_over(value, scores, others) == expected
  # Just below a score: not rounded up to the next.
  below = np.nextafter(2.0, 0)
  assert export.carry_over(below, scores, others) < 20.0
  # The same scores: the same threshold.
  assert export.carry_over(1.7, scores, scores) == pytest.approx(1.7)


def test_the_score_is_the_sum_of_the_map_over_the_size_of_the_face(exported):
  """As the content says, in NumPy alone."""
  content = package.read_content(exported)
  assert content['signature']['score'].startswith(
    'float32 [batch], sum of the whole map, divided by the number of its cells '
    'in the ellipse inscribed in the face box; the mean of the map if'
  )
  scale = content['reading']['face_scale']
  with np.load(exported / 'selftest.npz', allow_pickle=False) as clips:
    for size, score, face_map in zip(
      clips['face_size'], clips['score'], clips['map'], strict=True
    ):
      side = len(face_map)
      places = (np.arange(side) + 0.5 - side / 2) * scale * max(size) / side
      inside = (places[:, None] / (size[1] / 2)) ** 2 + (
        places[None] / (size[0] / 2)
      ) ** 2 <= 1
      cells = inside.sum() if size.min() > 0 else face_map.size
      assert score == pytest.approx(face_map.sum() / cells, rel=1e-5)


def test_a_run_on_an_unknown_dataset_needs_the_side_of_its_crops(tmp_path):
  run = tmp_path / 'run'
  untrained_run.write(run, versions=('mine/odd/1.0.0',))
  files.write_json(
    run / 'results.json', {'threshold': untrained_run.THRESHOLD, **METRICS}
  )
  config = config_of(run, 'orbax')
  config.data_dir = str(tmp_path / 'nothing')
  with pytest.raises(ValueError, match='mine/odd .* with --config.crop_size'):
    export.export(config, tmp_path / 'export', lambda config: None)
  config.crop_size = 96
  export.export(config, tmp_path / 'export', lambda config: None)
  reading = nasfas_jax.load(tmp_path / 'export').reading
  assert reading.preparation.size == 96


def test_a_file_that_differs_stops_the_export(run, tmp_path, monkeypatch):
  monkeypatch.setattr(clip_checks, 'TOLERANCE', -1.0)
  with pytest.raises(ValueError, match="'params' differs from the network"):
    export.export(config_of(run, 'orbax'), tmp_path, lambda config: None)
  assert not (tmp_path / 'export.json').exists()


def test_without_the_clips_of_the_run(run, exported, tmp_path, capsys):
  config = config_of(run, 'orbax')
  config.data_dir = str(tmp_path / 'nothing')
  export.export(config, tmp_path / 'export', lambda config: None)
  assert 'on generated clips only' in capsys.readouterr().err
  # A second export replaces the first.
  export.export(config, tmp_path / 'export', lambda config: None)
  # An export is not a run.
  with pytest.raises(ValueError, match='is an export already'):
    export.export(
      config_of(exported, 'orbax'), tmp_path / 'again', lambda config: None
    )


def test_bad_fields_are_refused(run, tmp_path, monkeypatch):
  def refused(message, **changes):
    config = config_of(run, 'orbax')
    config.update(changes)
    with pytest.raises(ValueError, match=message):
      export.export(config, tmp_path / 'export', lambda config: None)
    assert not (tmp_path / 'export').exists()

  refused('Give --config.checkpoint', checkpoint='')
  refused(r"config.formats is \('tf',\); allowed: one", formats=('tf',))
  refused("has 'int8' without 'onnx'", formats=('int8',))
  refused('calibration_clips is 0', calibration_clips=0)
  refused('config.crop_size is 4; allowed: 8', crop_size=4)
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  refused(r"needs onnx: pip install -e '.\[export\]'", formats=('onnx',))
  monkeypatch.undo()
  (tmp_path / 'photo.jpg').write_bytes(b'')
  with pytest.raises(ValueError, match="holds 'photo.jpg', which is not of"):
    export.export(config_of(run, 'orbax'), tmp_path, lambda config: None)
