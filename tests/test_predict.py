"""The command that judges files: its lines, its pictures, its status."""

import io
import json
import os
import pathlib
import re
import runpy
import shlex
import shutil
import sys

import cv2
import numpy as np
import pytest
import untrained_run
from test_detector import damaged
from untrained_run import moving, write_video

from nasfas_configs import predict as predict_config
from nasfas_jax import detector as detector_lib
from nasfas_jax import main, predict, run_config
from nasfas_jax.preprocessing import face_choice, video

BOX = '30,24,78,72'
DOCS = pathlib.Path(__file__).parents[1] / 'docs' / 'predicting.md'


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  folder = tmp_path_factory.mktemp('predict') / 'run'
  untrained_run.write(folder)
  return folder


@pytest.fixture(scope='module', autouse=True)
def loaded_once(workdir):
  """The run is loaded, and its network compiled, once for all tests."""
  loaded = detector_lib.load(workdir)
  with pytest.MonkeyPatch.context() as patch:
    load = detector_lib.load

    def from_memory(path, **options):
      same = pathlib.Path(path).resolve() == workdir.resolve()
      return (
        loaded if same and not any(options.values()) else load(path, **options)
      )

    patch.setattr(detector_lib, 'load', from_memory)
    yield loaded


@pytest.fixture
def clips(tmp_path):
  """A folder with all kinds of files."""
  folder = tmp_path / 'clips'
  (folder / 'a' / '.hidden').mkdir(parents=True)
  write_video(folder / 'a' / 'moving.avi', moving(0))
  write_video(folder / 'b.avi', moving(1))
  cv2.imwrite(str(folder / 'still.png'), moving(2)[0])
  cv2.imwrite(str(folder / 'large.png'), np.zeros((2000, 1000), np.uint8))
  whole = (folder / 'b.avi').read_bytes()
  (folder / 'cut.avi').write_bytes(whole[: len(whole) // 2])
  (folder / 'empty.jpg').touch()
  (folder / 'notes.txt').write_text('no picture')
  (folder / 'a' / '.hidden' / 'x.png').touch()
  return folder


@pytest.fixture
def run(workdir, capsys, tmp_path, monkeypatch):
  """Runs the command: (its lines, stderr, its status)."""
  monkeypatch.chdir(tmp_path)

  def call(text, box=BOX, **changes):
    config = predict_config.get_config()
    changes = {'checkpoint': str(workdir), 'box': box, 'input': text, **changes}
    config.update_from_flattened_dict(changes)
    status = 0
    try:
      main.run(config, tmp_path / 'no_workdir')
    except SystemExit as stop:
      status = stop.code
    out, err = capsys.readouterr()
    assert not (tmp_path / 'no_workdir').exists()
    return [json.loads(line) for line in out.splitlines()], err, status

  return call


def test_one_line_a_file_and_failures_do_not_stop_the_rest(run, clips):
  lines, err, status = run(
    str(clips), **{'limits.megapixels': 1, 'output': 'seen'}
  )
  names = [str(pathlib.Path(line['path']).relative_to(clips)) for line in lines]
  assert names == [
    'a/moving.avi',
    'b.avi',
    'cut.avi',
    'empty.jpg',
    'large.png',
    'still.png',
  ]
  outcomes = dict(zip(names, (line['outcome'] for line in lines), strict=True))
  assert outcomes.pop('a/moving.avi') in ('live', 'spoof')
  assert outcomes.pop('b.avi') in ('live', 'spoof')
  assert outcomes == {
    'cut.avi': 'unreadable',
    'empty.jpg': 'unreadable',
    'large.png': 'too_large',
    'still.png': 'still',
  }
  for line in lines:
    scored = line['outcome'] in detector_lib.SCORED
    assert (line['score'] is not None) == scored
    assert line['threshold']['rule'] == 'EER point of the dev clips'
    assert line['threshold']['source'].endswith('results.json')
    if line['outcome'] in ('live', 'spoof'):
      assert line['decision'] == line['outcome']
      assert line['decision'] == ('live' if line['score'] > 0.25 else 'spoof')
      assert len(line['frames']) == 8
    else:
      assert line['decision'] is None
      assert line['notes']
    image = cv2.imread(line['annotated'])
    assert image is not None and image.std() > 5
  assert lines[0]['box'] == [30, 24, 78, 72]
  assert len(lines[0]['parts']) == 2
  assert status == 0
  assert '1 files' in err and 'neither pictures nor videos' in err
  assert '6 judged:' in err and '4 without a decision' in err
  assert 'At another place or camera it can fail' in err


def test_a_video_shows_every_frame_with_its_place(run, clips):
  changes = {'output': 'seen', 'output_videos': True}
  lines, _, _ = run(str(clips), **changes)
  films = {
    pathlib.Path(line['path']).name: line['annotated_video'] for line in lines
  }
  assert films.pop('b.avi') == 'seen/000001-b.avi'
  assert films.pop('moving.avi') == 'seen/000000-moving.avi'
  # What has no score, and stills.
  assert set(films.values()) == {None}
  frames = video.read_frames('seen/000001-b.avi', range(20))
  picture = cv2.imread('seen/000001-b.png')
  assert frames[0].shape[0] == picture.shape[0] // 2 * 2
  assert video.sample_frames('seen/000001-b.avi', 1).fps == 25
  # The frame moves, and so does the mark in the chart below it.
  first, last = frames[0].astype(int), frames[19].astype(int)
  moved = np.abs(first - last).max(axis=2) > 100
  assert moved[100:400].any() and moved[-130:-40].any()
  # A picture, and nothing else, of the file that is gone meanwhile.
  assert sorted(os.listdir('seen')) == sorted(
    pathlib.Path(line[name]).name
    for line in lines
    for name in ('annotated', 'annotated_video')
    if line[name]
  )


def test_a_video_that_cannot_be_read_again_costs_the_video(
  run, clips, monkeypatch
):
  def fail(path, pictures, fps):
    raise video.VideoError('gone')

  monkeypatch.setattr(predict.annotated, 'write_video', fail)
  (line,), _, status = run(
    str(clips / 'b.avi'), output='seen', output_videos=True
  )
  assert (line['annotated_video'], status) == (None, 0)
  assert line['notes'] == ['No annotated video: gone']


def test_nothing_scored_is_status_3(run, clips):
  lines, err, status = run(str(clips / 'empty.jpg'))
  assert [line['outcome'] for line in lines] == ['unreadable']
  assert status == predict.NOTHING_SCORED
  lines, _, status = run(str(clips / 'notes.txt'))
  assert 'unknown suffix' in lines[0]['notes'][0]


def test_a_given_threshold_is_said(run, clips):
  (line,), err, _ = run(str(clips / 'b.avi'), threshold=1e9)
  assert line['decision'] == 'spoof'
  assert line['threshold'] == {
    'value': 1e9,
    'rule': 'given',
    'source': 'config.threshold',
    'warning': '',
  }
  (line,), err, _ = run(str(clips / 'still.png'), stills='decide')
  assert line['decision'] == line['outcome']
  assert 'not to be trusted' in line['notes'][0]


def test_a_warning_of_the_threshold_stays_with_it(
  run, clips, tmp_path, workdir
):
  copy = tmp_path / 'run'
  shutil.copytree(workdir, copy)
  content = {**untrained_run.THRESHOLD, 'warning': 'Few persons.'}
  (copy / 'threshold.json').write_text(json.dumps(content))
  (line,), err, _ = run(str(clips / 'b.avi'), checkpoint=str(copy))
  assert line['threshold']['warning'] == 'Few persons.'
  assert err.count('Warning of the threshold: Few persons.') == 1


def test_another_crop_than_in_training_is_warned_of(run, clips):
  (line,), err, _ = run(str(clips / 'b.avi'), box='', face='whole_frame')
  assert line['decision'] and 'Warning: the face is that of config.face' in err
  assert 'in training it was annotated' in err and line['notes']
  assert 'Warning' not in run(str(clips / 'b.avi'))[1]


def test_a_box_of_the_detector_is_warned_of_once(run, clips, monkeypatch):
  """The network was trained on annotated boxes."""
  found = np.array([[30.0, 24.0, 78.0, 72.0]])
  monkeypatch.setattr(
    face_choice, 'detector', lambda folder: lambda frame: found
  )
  lines, err, _ = run(str(clips / '*.avi'), box='')
  note = 'The face box is of a face detector; in training it was annotated.'
  assert err.count(f'Warning: {note}') == err.count('Warning') == 1
  for line in lines:
    assert (line['score'] is None) != (line['notes'][0].startswith(note))


def test_a_bug_in_one_file_does_not_stop_the_rest(run, clips, monkeypatch):
  def judge(self, sample, box, rules):
    raise KeyError('a bug\nof two lines')

  monkeypatch.setattr(detector_lib.Detector, 'judge', judge)
  lines, err, status = run(str(clips / '*.avi'))
  assert [line['outcome'] for line in lines] == ['error', 'error']
  assert 'a bug' in lines[0]['notes'][0]
  assert status == 3


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'checkpoint': ''}, 'Give --config.checkpoint=WORKDIR'),
    ({'checkpoint': 'nowhere'}, "'nowhere' holds no run"),
    ({'input': ''}, 'Give --config.input: a file'),
    ({'input': 'gone.png'}, 'there is no such file'),
    ({'input': 'gone/*.png'}, 'holds no file to judge'),
    ({'input': 'a\0b'}, 'NUL'),
    ({'box': '1,2,3'}, 'config.box is .* allowed: x0,y0,x1,y1'),
    ({'box': '9,9,3,3'}, 'config.box is'),
    ({'box': 'a,b,c,d'}, 'config.box is'),
    ({'face': 'nose'}, "config.face is 'nose'; allowed: '', detector, whole"),
    ({'stills': 'yes'}, 'config.stills is'),
    ({'several_faces': 'all'}, 'config.several_faces is'),
    ({'limits.files': 0}, 'config.limits.files is 0; allowed'),
    ({'crop_size': 1}, 'config.crop_size is 1; allowed: 8'),
    ({'threshold': float('nan')}, 'config.threshold is nan'),
    ({'output': 'clips/seen'}, 'inside config.input'),
    ({'output': 'clips', 'input': 'clips/*.avi'}, 'inside config.input'),
    ({'output': 'clips/a/b', 'input': 'clips/**/*'}, 'inside config.input'),
    ({'output_videos': True}, 'output_videos needs a folder: --config.output'),
    ({'output': 'clips/b.avi', 'input': 'clips/b.avi'}, 'is no folder'),
    (
      {'box': '', 'face_models': 'nowhere'},
      'face cannot be found.*--config.box',
    ),
  ],
)
def test_a_mistake_is_one_line(run, clips, changes, message):
  with pytest.raises(ValueError, match=message) as error:
    run(
      **{'text': str(clips), **changes, 'input': changes.get('input', 'clips')}
    )
  assert '\n' not in str(error.value)


def test_find_files(tmp_path, monkeypatch, clips):
  monkeypatch.chdir(clips)
  # A name may look like a pattern or a camera.
  for name in ('[1].png', '0'):
    pathlib.Path(name).touch()
    assert predict.find_files(name, 9) == [name]
  pathlib.Path('0').unlink()
  assert predict.find_files('0', 9) is None
  assert predict.find_files('a/**/*', 9) == ['a/moving.avi']
  assert predict.find_files('[a-c]*.avi', 9) == ['b.avi', 'cut.avi']
  with pytest.raises(ValueError, match='more than 2 files'):
    predict.find_files('.', 2)
  pathlib.Path('loop').symlink_to('.')
  assert len(predict.find_files('.', 99)) == 7


def test_names_of_pictures_do_not_collide_and_stay_in_the_folder():
  names = [
    predict.output_name(number, name)
    for number, name in enumerate(
      ('a/x.png', 'b/x.png', '../../etc/x', 'ü\n<b>.mp4', 'x' * 999, '..', '')
    )
  ]
  assert len(set(names)) == len(names)
  assert all(re.fullmatch(r'[A-Za-z0-9_-]{1,70}\.png', name) for name in names)


class Camera:
  """Thirty frames a second by a clock that each frame turns."""

  def __init__(self, frames, gaps=()):
    self.frames = iter(frames)
    self.time = -1 / 30
    # Place of a frame -> seconds that it takes longer.
    self.gaps = dict(gaps)
    self.place = 0

  def read(self):
    self.time += 1 / 30 + self.gaps.get(self.place, 0)
    self.place += 1
    frame = next(self.frames, None)
    return frame is not None, frame


def test_a_clip_of_a_camera_is_spread_over_its_time():
  camera = Camera(np.full((2, 2, 3), i, np.uint8) for i in range(99))
  clip = predict.camera_clip(camera.read, 2.0, 8, lambda: camera.time)
  np.testing.assert_allclose(clip[:, 0, 0, 0], np.arange(3.75, 60, 7.5), atol=1)
  with pytest.raises(video.VideoError, match='gives no frame'):
    predict.camera_clip(Camera([]).read, 2.0, 8)
  slow = Camera([np.zeros((2, 2, 3), np.uint8)] * 9)
  with pytest.raises(video.VideoError, match='no 2 frames .* over 1 s, in 100'):
    predict.camera_clip(slow.read, 1.0, 2, iter((0, 100)).__next__)


@pytest.mark.parametrize('place', [0, 1, 20])
def test_a_camera_that_starts_slowly_or_stalls_gives_even_frames(place):
  times = []

  def read():
    done, frame = camera.read()
    return done, np.full_like(frame, len(times) - 1)

  def clock():
    times.append(camera.time)
    return camera.time

  camera = Camera([np.zeros((1, 1, 3), np.uint8)] * 200, {place: 1.8})
  clip = predict.camera_clip(read, 2.0, 8, clock)
  # The first call of the clock is before the first frame.
  shown = np.array(times)[clip[:, 0, 0, 0].astype(int) + 1]
  np.testing.assert_allclose(np.diff(shown), 0.25, atol=0.04)


def test_a_camera_is_judged_clip_by_clip(run, monkeypatch):
  class Capture(Camera):
    def __init__(self, number):
      assert number == 7
      super().__init__(f[..., ::-1] for f in moving(0, 20) * 2)

    isOpened = staticmethod(lambda: True)  # noqa: N815
    release = staticmethod(lambda: None)

  monkeypatch.setattr(cv2, 'VideoCapture', Capture)
  clip = predict.camera_clip
  monkeypatch.setattr(
    predict,
    'camera_clip',
    lambda read, seconds, number: clip(read, 0, number),
  )
  lines, _, status = run('7', **{'camera.clips': 6})
  assert [line['path'] for line in lines] == [f'camera:7/{i}' for i in range(6)]
  # It has 40 frames, and each clip takes 8.
  assert [line['decision'] is not None for line in lines] == [True] * 5 + [
    False
  ]
  assert (lines[-1]['outcome'], status) == ('unreadable', 0)


@pytest.fixture(scope='module')
def files(tmp_path_factory):
  """Suffix -> the bytes of a small picture or video that is in order."""
  folder = tmp_path_factory.mktemp('whole')
  frames = moving(0, 9, 48, 40)
  for suffix in ('.png', '.jpg', '.bmp', '.webp', '.tiff'):
    cv2.imwrite(str(folder / f'x{suffix}'), frames[0])
  write_video(folder / 'x.avi', frames)
  write_video(folder / 'x.mp4', frames, 'mp4v')
  return {path.suffix: path.read_bytes() for path in folder.iterdir()}


def test_any_damage_of_a_file_is_an_outcome(
  loaded_once, files, tmp_path, monkeypatch
):
  """2,000 cases: cut off, flipped bits, another type than the suffix says."""

  # All that can be read is live: what is not must be refused before.
  def score(self, snippets):
    number = len(snippets['frames'])
    return np.ones(number, np.float32), np.ones((number, 4, 4), np.float32)

  monkeypatch.setattr(detector_lib.Detector, 'score_snippets', score)
  rules = detector_lib.Rules(stills=True)
  box = (4, 4, 40, 36)
  rng = np.random.default_rng(0)
  pictures = [name for name in files if name in video.IMAGE_SUFFIXES]
  counts = {}
  for case in range(2000):
    # Videos take longer.
    names = list(files) if case % 8 == 0 else pictures
    suffix = names[rng.integers(len(names))]
    way = case // 8 % 3
    if way == 2:
      other = list(files)[rng.integers(len(files))]
      content = files[other]
    else:
      other = suffix
      content = damaged(files[suffix], rng, way, ())
    path = tmp_path / f'x{suffix}'
    path.write_bytes(content)
    judged = loaded_once.score_file(path, box, rules)
    assert judged.outcome in detector_lib.OUTCOMES
    assert (judged.decision is None) != (judged.outcome in ('live', 'spoof'))
    kind = (way, suffix in pictures, judged.outcome)
    counts[kind] = counts.get(kind, 0) + 1
    if (suffix in pictures) != (other in pictures):
      assert judged.outcome == 'unreadable'
    # A container may lack an end that holds no picture.
    if (
      way == 0
      and suffix in ('.png', '.jpg')
      and (len(content) < 0.9 * len(files[suffix]))
    ):
      assert judged.outcome == 'unreadable', suffix
  for name in files:
    path.with_suffix(name).write_bytes(files[name])
    assert loaded_once.score_file(path.with_suffix(name), box, rules).decision
  assert counts[0, True, 'unreadable'] > 400, counts


def test_playlists_and_pipes_are_not_opened(loaded_once, tmp_path):
  write_video(tmp_path / 'secret.avi', moving(0))
  lists = {
    'hls.mp4': b'#EXTM3U\n#EXTINF:1,\nsecret.avi\n#EXT-X-ENDLIST\n',
    'concat.avi': b'ffconcat version 1.0\nfile secret.avi\n',
    'dash.mkv': b'<?xml version="1.0"?><MPD></MPD>',
  }
  for name, content in lists.items():
    (tmp_path / name).write_bytes(content)
    judged = loaded_once.score_file(tmp_path / name, 'whole_frame')
    assert judged.outcome == 'unreadable'
    assert 'first bytes' in judged.notes[0]
  os.mkfifo(tmp_path / 'pipe.png')
  (tmp_path / 'folder.png').mkdir()
  for name in ('pipe.png', 'folder.png', 'gone.png', 'a\0b.png'):
    judged = loaded_once.score_file(tmp_path / name, 'whole_frame')
    assert judged.outcome == 'unreadable'


def commands():
  """The commands and the Python snippets of the page."""
  text = DOCS.read_text(encoding='utf-8')
  blocks = re.findall(r'^```(\w*)\n(.*?)^```', text, re.MULTILINE | re.DOTALL)
  shell = ''.join(body for kind, body in blocks if not kind)
  lines = shell.replace('\\\n', ' ').splitlines()
  return (
    [line for line in lines if line.startswith('python -m nasfas_jax.main')],
    [body for kind, body in blocks if kind == 'python'],
  )


def test_the_commands_of_the_page_run(
  workdir, clips, tmp_path, monkeypatch, capsys
):
  found = np.array([[30.0, 24.0, 78.0, 72.0]])
  monkeypatch.setattr(
    face_choice, 'detector', lambda folder: lambda frame: found
  )
  monkeypatch.chdir(tmp_path)
  pathlib.Path('runs').mkdir()
  pathlib.Path('runs/search').symlink_to(workdir)
  clips.rename('clips')
  pathlib.Path('me.mp4').write_bytes(pathlib.Path('clips/b.avi').read_bytes())
  cv2.imwrite('me.jpg', moving(0)[0])
  shell, snippets = commands()
  assert len(shell) >= 5 and snippets
  for line in shell:
    arguments = shlex.split(line)[3:]
    assert arguments[0] == '--config=predict'
    config = predict_config.get_config()
    for argument in arguments[1:]:
      name, _, value = argument.removeprefix('--config.').partition('=')
      field = config.get_type(name) if '.' not in name else int
      config.update_from_flattened_dict({name: field(value)})
    run_config.check_fields(config)
    if config.input != '0':
      predict.predict(config, None)
  for snippet in snippets:
    pathlib.Path('snippet.py').write_text(snippet, encoding='utf-8')
    runpy.run_path('snippet.py')
  assert 'decision' in capsys.readouterr().out


def test_the_page_names_every_outcome():
  text = DOCS.read_text(encoding='utf-8')
  for name in (*detector_lib.OUTCOMES, predict.ERROR):
    assert f'`{name}`' in text, name


def test_ctrl_c_says_what_was_done(run, clips, monkeypatch):
  def judge(self, path, box, rules):
    if path.endswith('b.avi'):
      raise KeyboardInterrupt
    return detector_lib.Judged('unreadable', notes=('x',))

  monkeypatch.setattr(detector_lib.Detector, 'score_file', judge)
  lines, err, status = run(str(clips))
  assert len(lines) == 1 and 'Stopped' in err and '1 judged' in err
  assert status == 130


def test_a_closed_pipe_ends_the_command_quietly(run, clips, monkeypatch):
  class Closed(io.StringIO):
    def write(self, text):
      raise BrokenPipeError

    def fileno(self):
      return self.file.fileno()

  closed = Closed()
  with open('/dev/null', 'wb') as closed.file:
    monkeypatch.setattr(sys, 'stdout', closed)
    assert run(str(clips / 'b.avi'))[2] == 0
