"""From the workdir of a run to a decision."""

import dataclasses
import json
import shutil

import cv2
import jax
import numpy as np
import pytest
import untrained_run
from untrained_run import BOX, moving, write_video

import nasfas_jax
from nasfas_configs import evaluate as evaluate_config
from nasfas_datasets import prepare
from nasfas_jax import (
  config_checks,
  evaluate,
  files,
  run_config,
  score_table,
  scoring,
  sharding,
)
from nasfas_jax import detector as detector_lib
from nasfas_jax.data import index
from nasfas_jax.preprocessing import (
  clip_crops,
  face_choice,
  file_limits,
  preparation,
  video,
)

WHOLE = clip_crops.WHOLE_FRAME


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """(config, workdir) of a run, and a folder of clips with their manifest."""
  folder = tmp_path_factory.mktemp('detector')
  config = untrained_run.write(folder / 'run', num_snippets=3)
  clips = folder / 'clips'
  untrained_run.write_clips(clips)
  return config, folder / 'run', clips


@pytest.fixture(scope='module')
def detector(run):
  return nasfas_jax.load(run[1])


@pytest.fixture
def find(monkeypatch):
  """Sets the face boxes that are found in every frame."""

  def set_boxes(*boxes):
    found = np.array(boxes, float).reshape(-1, 4)
    monkeypatch.setattr(
      face_choice, 'detector', lambda folder: lambda frame: found
    )

  return set_boxes


def test_load_gives_all_that_a_decision_needs(run, detector):
  _, workdir, _ = run
  assert detector.threshold == detector_lib.Threshold(
    0.25, 'EER point of the dev clips', str(workdir / 'results.json')
  )
  assert detector.genotype == untrained_run.small_genotype()
  assert set(detector.variables) == {'params', 'batch_stats'}
  assert detector.reading.preparation.size == 80
  assert detector.needs_motion and detector.default_box == 'detector'
  # A calibrated threshold goes first, and says so.
  path = workdir / 'threshold.json'
  threshold = {'value': 1, 'rule': 'given', 'split': '', 'warning': 'few'}
  files.write_json(path, threshold)
  try:
    assert nasfas_jax.load(str(workdir)).threshold == detector_lib.Threshold(
      1.0, 'given', str(path), 'few'
    )
  finally:
    path.unlink()


def test_a_run_without_a_threshold_takes_a_given_one(run, tmp_path):
  """As one has that holds weights from PyTorch."""
  copy = tmp_path / 'run'
  shutil.copytree(run[1], copy)
  files.write_json(copy / 'results.json', {'maps': {}})
  with pytest.raises(ValueError, match='has no threshold.*config.threshold=N'):
    detector_lib.load(copy)
  given = detector_lib.Threshold(0.5, 'given', 'config.threshold')
  assert detector_lib.load(copy, threshold=given).threshold == given


def test_the_same_clip_scores_the_same_as_in_evaluation(
  run, detector, tmp_path
):
  config, _, clips = run
  prepare.prepare(
    'manifest_fas', config='small', data_dir=tmp_path, manual_dir=clips
  )
  rows = index.select(
    index.load_index(tmp_path, 'manifest_fas', 'small'), lambda row: True
  )
  mesh = sharding.make_mesh()
  variables = jax.device_put(detector.variables, sharding.replicated(mesh))
  predict = scoring.make_predict(detector.model, variables, detector.form, mesh)
  expected = evaluate.score(config, predict, rows, 'test')
  found = [
    detector.score_file(clips / f'{row["clip_id"]}.avi', BOX) for row in rows
  ]
  assert len(rows) == 6
  assert np.ptp(expected) > 1e-3
  # The pixels are equal, the batches differ in size.
  np.testing.assert_allclose(
    [judged.score for judged in found], expected, rtol=1e-6
  )
  assert [judged.decision for judged in found] == [
    'live' if score > 0.25 else 'spoof' for score in expected
  ]


@pytest.mark.parametrize('labels', [('', ''), ('live', '')])
def test_clips_of_which_nobody_says_what_they_are(
  labels, run, detector, tmp_path, monkeypatch, capsys
):
  _, workdir, every = run
  clips = tmp_path / 'clips'
  clips.mkdir()
  box = ','.join(map(str, BOX))
  lines = ['path,label,attack_type,subject,split,box_x0,box_y0,box_x1,box_y1']
  for i, label in enumerate(labels, 4):
    shutil.copy(every / f'{i}.avi', clips)
    lines.append(f'{i}.avi,{label},,s{i},test,{box}')
  (clips / 'manifest.csv').write_text('\n'.join(lines))
  monkeypatch.setattr(evaluate.page, 'write_report', lambda workdir: workdir)
  prepare.prepare(
    'manifest_fas', config='small', data_dir=tmp_path, manual_dir=clips
  )
  live = labels.count('live')
  assert f'Built 2 (live {live}, attack 0, unlabelled {2 - live}) clips in' in (
    capsys.readouterr().err
  )
  config = evaluate_config.get_config()
  config.checkpoint = str(workdir)
  config.protocol = 'manifest_fas/official'
  config.data.data_dir = str(tmp_path)
  config.evaluate.update(bootstrap_samples=9, num_samples=2, batch_size=4)
  evaluate.evaluate(config, tmp_path / 'out')
  test = score_table.read(tmp_path / 'out' / 'scores.csv')['test']
  assert test['label'].tolist() == [1 if label else -1 for label in labels]
  np.testing.assert_allclose(
    test['score'],
    [detector.score_file(clips / f'{i}.avi', BOX).score for i in (4, 5)],
    rtol=1e-6,
  )
  assert (tmp_path / 'out' / 'genotype.json').read_bytes() == (
    workdir / 'genotype.json'
  ).read_bytes()
  results = files.read_json(tmp_path / 'out' / 'results.json')
  assert results['unlabelled'] == {'test': 2 - live}
  assert results['threshold']['value'] == 0.25
  if live:
    rejected = float(test['score'][0] <= 0.25)
    assert results['splits']['test']['bpcer'] == rejected
    assert results['splits']['test']['num_spoof'] == 0
  else:
    assert results['splits'] == {}


def test_frames_in_memory_score_as_their_file(run, detector):
  path = run[2] / '0.avi'
  judged = detector.score_file(path, BOX)
  assert list(judged.frame_index) == [1, 3, 6, 8, 11, 13, 16, 18]
  frames = np.stack(video.read_frames(path, range(20)))
  assert detector.score(frames, BOX) == judged.score
  # A whole frame is another crop.
  assert detector.score(frames, WHOLE) != judged.score


@pytest.mark.parametrize(
  'frames',
  [
    np.zeros((2, 8, 8, 3)),
    np.zeros((8, 8, 3), np.uint8),
    np.zeros((2, 8, 8, 4), np.uint8),
    np.zeros((0, 8, 8, 3), np.uint8),
    [[1, 2]],
    None,
  ],
)
def test_other_arrays_than_frames_are_refused(detector, frames):
  with pytest.raises(ValueError, match='must be a uint8 array'):
    detector.score(frames, BOX)


def test_other_boxes_are_refused(detector):
  frames = np.stack(moving(0, 2))
  for box in ((0, 0, 1000, 10), (5, 5, 5, 9), (1, 2, 3), 'face'):
    with pytest.raises(ValueError, match='ox'):
      detector.score(frames, box)


def test_a_face_is_found_as_builders_do(run, detector, find):
  path = run[2] / '1.avi'
  find(BOX, (0, 0, 20, 20))
  judged = detector.score_file(path)
  assert judged.score == detector.score_file(path, BOX).score
  assert judged.box.tolist() == list(BOX)


def test_what_is_not_judged_has_an_outcome_and_no_decision(run, detector, find):
  path = run[2] / '1.avi'
  for boxes, outcome, note in (
    ([], 'no_face', '0 of 8 frames'),
    ([BOX, (0, 0, 30, 30)], 'several_faces', '8 of 8 frames'),
    ([(50, 50, 54, 54)], 'face_too_small', '4 pixels wide or high'),
    ([(-40, 10, 40, 90)], 'face_cut_off', '50% of the face'),
    ([(200, 200, 300, 300)], 'face_cut_off', '0% of the face'),
  ):
    find(*boxes)
    judged = detector.score_file(path)
    assert (judged.outcome, judged.decision) == (outcome, None)
    assert judged.score is None
    assert note in judged.notes[0]
  find(BOX, (0, 0, 30, 30))
  rules = detector_lib.Rules(face=face_choice.FaceRules(several=True))
  assert detector.score_file(path, rules=rules).decision
  # An infinite or undefined score is none.
  broken = dataclasses.replace(detector)
  broken.__dict__['_predict'] = lambda batch: {
    'score': np.full(3, np.nan, np.float32),
    'map': np.zeros((3, 4, 4), np.float32),
  }
  judged = broken.score_file(path, BOX)
  assert (judged.outcome, judged.score, judged.decision) == (
    'no_score',
    None,
    None,
  )


def test_a_still_is_not_live(detector, tmp_path):
  frames = moving(3)
  cv2.imwrite(str(tmp_path / 'still.png'), frames[0])
  write_video(tmp_path / 'still.avi', frames[:1] * 9)
  always = dataclasses.replace(
    detector, threshold=detector_lib.Threshold(-1.0, 'given', '')
  )
  for name in ('still.png', 'still.avi'):
    judged = always.score_file(tmp_path / name, BOX)
    assert (judged.outcome, judged.decision) == ('still', None)
    assert judged.score >= 0
    assert 'not to be trusted' in judged.notes[-1]
    # Who asks for it gets a decision, with the note.
    rules = detector_lib.Rules(stills=True)
    judged = always.score_file(tmp_path / name, BOX, rules)
    assert judged.decision == 'live' and 'not to be trusted' in judged.notes[-1]
  # So does a network that was trained on stills, without the note.
  judged = dataclasses.replace(always, needs_motion=False).score_file(
    tmp_path / 'still.png', BOX
  )
  assert (judged.decision, judged.notes) == ('live', ())


def test_noise_of_a_codec_is_no_motion(detector):
  rng = np.random.default_rng(0)
  still = np.stack(moving(3)[:1] * 8).astype(int)
  for levels, outcomes in ((2, {'still'}), (60, {'live', 'spoof'})):
    noise = rng.integers(0, levels, still.shape)
    frames = np.clip(still + noise, 0, 255).astype(np.uint8)
    judged = detector.judge(detector_lib.sample_array(frames, 8), BOX)
    assert judged.outcome in outcomes


def test_the_parts_of_a_video_score_as_clips_of_their_own(detector, tmp_path):
  frames = moving(4, 40)
  write_video(tmp_path / 'long.avi', frames)
  parts = detector.score_parts(tmp_path / 'long.avi', BOX, 4)
  assert [part[:2] for part in parts] == [(0, 9), (10, 19), (20, 29), (30, 39)]
  decoded = video.read_frames(tmp_path / 'long.avi', range(40))
  # The middles of 32 parts of 40 frames.
  indices = [10, 11, 13, 14, 15, 16, 18, 19]
  assert parts[1][2] == pytest.approx(
    detector.score(np.stack([decoded[i] for i in indices]), BOX), rel=1e-6
  )
  cv2.imwrite(str(tmp_path / 'still.png'), frames[0])
  assert detector.score_parts(tmp_path / 'still.png', BOX, 4) == []


def test_the_clips_of_the_training_say_how_to_take_the_face(run, tmp_path):
  data = files.read_json(run[1] / 'data.json')
  for said, motion, boxes in (
    ({'still_share': 1.0, 'boxes': {'whole_frame': 3}}, False, (WHOLE,)),
    (
      {'still_share': 0.9, 'boxes': {'whole_frame': 3, 'given': 1}},
      True,
      ('given', WHOLE),
    ),
    ({'still_share': float('nan'), 'boxes': {}}, True, ()),
  ):
    content = json.dumps({**data, **said}).encode()
    found = detector_lib.read_run(
      changed(
        run[1], tmp_path / str(motion) / str(len(boxes)), 'data.json', content
      )
    )
    assert found.needs_motion == motion
    assert found.boxes == boxes
    shutil.rmtree(tmp_path / str(motion))


@pytest.mark.parametrize(
  ('boxes', 'default', 'others'),
  [
    (('given',), 'detector', ('detector', WHOLE)),
    (('detected',), 'detector', (BOX, WHOLE)),
    ((WHOLE,), WHOLE, (BOX, 'detector')),
    (('detected', 'given'), 'detector', (BOX, 'detector', WHOLE)),
    (('unknown',), 'detector', (BOX, 'detector', WHOLE)),
    # Older runs do not record it.
    ((), 'detector', (BOX, 'detector', WHOLE)),
  ],
)
def test_a_box_of_another_kind_than_in_training_is_said(
  boxes, default, others, detector
):
  trained = dataclasses.replace(detector, boxes=boxes)
  assert trained.default_box == default
  said = {box for box in (BOX, 'detector', WHOLE) if trained.box_note(box)}
  assert said == set(others)
  assert trained.box_note(None) == trained.box_note(default)


def test_a_score_of_another_box_has_a_note(run, detector, find):
  find(BOX)
  path = run[2] / '1.avi'
  (note,) = detector.score_file(path).notes
  assert note == (
    'The face box is of a face detector; in training it was annotated. Another '
    'box is another crop and another score.'
  )
  assert detector.score_file(path, BOX).notes == ()
  found = dataclasses.replace(detector, boxes=('detected',))
  assert found.score_file(path).notes == ()


def changed(workdir, tmp_path, name, content):
  """A copy of a run with another file in it; None deletes the file."""
  copy = tmp_path / name
  shutil.copytree(workdir, copy)
  if content is None:
    (copy / name).unlink()
  else:
    (copy / name).write_bytes(content)
  return copy


def test_what_is_no_finished_run_is_one_line(run, tmp_path, monkeypatch):
  _, workdir, _ = run
  config = files.read_json(workdir / 'config.json')
  config['train']['num_steps'] = 9
  data = files.read_json(workdir / 'data.json')
  data['versions'] = ['own/odd/1.0.0']
  for name, content, message in (
    ('config.json', None, 'holds no run'),
    ('config.json', b'{"exper', 'truncated or not JSON'),
    ('config.json', b'[' * 100_000, 'not JSON'),
    (
      'config.json',
      json.dumps(config).encode(),
      'of step 1 of 9|not made with this config',
    ),
    ('results.json', None, 'has no threshold'),
    ('results.json', b'[]', 'holds a JSON list'),
    ('results.json', b'{"threshold": {"value": NaN}}', 'a finite "value"'),
    ('threshold.json', b'{"value": 1' + b'0' * 400 + b'}', 'a finite "value"'),
    (
      'threshold.json',
      b'{"value": 1, "rule": "x", "warning": 1}',
      'a finite "value", its "rule" and, if there is one, its "warning"',
    ),
    ('data.json', b'{}', "has no list under 'versions'"),
    ('data.json', json.dumps(data).encode(), 'own/odd .* --config.crop_size'),
    ('genotype.json', b'{}', 'genotype.json'),
  ):
    copy = changed(workdir, tmp_path, name, content)
    with pytest.raises(ValueError, match=message) as error:
      detector_lib.load(copy)
    assert '\n' not in str(error.value)
    shutil.rmtree(copy)
  copy = changed(workdir, tmp_path, 'data.json', json.dumps(data).encode())
  found = detector_lib.read_run(copy, crop_size=99)
  assert found.reading.preparation == preparation.Preparation(size=99)
  monkeypatch.setattr(detector_lib, '_MAX_JSON_BYTES', 9)
  with pytest.raises(ValueError, match='is larger than 9 bytes'):
    detector_lib.read_run(copy)
  monkeypatch.undo()
  shutil.rmtree(copy / 'checkpoints')
  with pytest.raises((FileNotFoundError, ValueError), match='checkpoint'):
    detector_lib.load(copy, crop_size=99)


def test_any_damage_of_the_files_of_a_run_is_one_line(
  run, tmp_path, monkeypatch
):
  """2,000 cases: cut off, flipped bits, values of another type."""
  _, workdir, _ = run
  names = ('config.json', 'data.json', 'results.json', 'genotype.json')
  whole = {name: (workdir / name).read_bytes() for name in names}
  for name, content in whole.items():
    (tmp_path / name).write_bytes(content)
  rng = np.random.default_rng(0)
  read = run_config.read
  check, config = config_checks.check, read(workdir)
  values = (None, True, -1, 0, 1e308, 10**40, 'x', '', [], {}, [[]], {'a': 1})
  refused = 0
  for case in range(2000):
    # Reading a config takes long, so most cases are in the other files.
    name = names[case % 3 + 1 if case % 10 else 0]
    content = damaged(whole[name], rng, case // 10 % 3, values)
    (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(
      run_config, 'read', (lambda _: config) if case % 10 else read
    )
    monkeypatch.setattr(
      config_checks, 'check', (lambda _: None) if case % 10 else check
    )
    try:
      detector_lib.read_run(tmp_path)
    except (ValueError, FileNotFoundError) as error:
      refused += 1
      assert str(error).strip()
    (tmp_path / name).write_bytes(whole[name])
  assert refused > 1000
  detector_lib.read_run(tmp_path)


def damaged(content, rng, way, values):
  """A damaged copy of a JSON file."""
  if way == 0:
    return content[: rng.integers(len(content))]
  if way == 1:
    array = np.frombuffer(content, np.uint8).copy()
    places = rng.integers(len(array), size=rng.integers(1, 4))
    array[places] ^= np.uint8(1) << rng.integers(0, 8, len(places)).astype(
      np.uint8
    )
    return array.tobytes()
  document = json.loads(content)
  nodes = []

  def walk(node):
    for key in node if isinstance(node, dict) else range(len(node)):
      nodes.append((node, key))
      if isinstance(node[key], (dict, list)):
        walk(node[key])

  walk(document)
  node, key = nodes[rng.integers(len(nodes))]
  node[key] = values[rng.integers(len(values))]
  return json.dumps(document).encode()


def test_another_crop_size_keeps_the_margin_and_the_border(tmp_path):
  name = 'manifest_fas/small_margin2_reflect/1.0.0'
  untrained_run.write(tmp_path / 'run', (name,))
  for size in (None, 80, 99):
    found = detector_lib.read_run(tmp_path / 'run', size).reading.preparation
    assert found == preparation.Preparation(
      size=size or 80, margin=2.0, border='reflect'
    )


def test_frames_are_counted_where_the_header_says_fewer(tmp_path):
  path = tmp_path / 'long.avi'
  write_video(path, moving(0, number=40))
  data = bytearray(path.read_bytes())
  # Of the file and of the stream, as the format has them.
  for name, place in ((b'avih', 8 + 16), (b'strh', 8 + 32)):
    start = data.index(name) + place
    assert int.from_bytes(data[start : start + 4], 'little') == 40
    data[start : start + 4] = (5).to_bytes(4, 'little')
  path.write_bytes(data)
  few, many = (file_limits.Limits(frames=number) for number in (10, 40))
  assert file_limits.check(path, few) == 'video'
  sample = detector_lib.sample_file(path, 8, few)
  seen = []
  with pytest.raises(file_limits.TooLargeError, match='11 frames or more'):
    sample(lambda frame: seen.append(0))
  assert len(seen) <= 16
  assert detector_lib.sample_file(path, 8, many)(np.asarray).num_frames == 40
