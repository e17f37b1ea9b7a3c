"""The page of the demo: what it says, what it keeps, who may ask it."""

import asyncio
import contextlib
import dataclasses
import http.client
import importlib.util
import json
import os
import pathlib
import re
import shlex
import signal
import socket
import subprocess
import sys
import types

import chromium
import jax
import numpy as np
import pytest
import untrained_run
from report.test_page import Checker
from untrained_run import moving, write_video

from nasfas_configs import demo as demo_config
from nasfas_jax import demo, main, predict
from nasfas_jax import detector as detector_lib
from nasfas_jax.preprocessing import face_choice

BOX = (30.0, 24.0, 78.0, 72.0)
BOX_TEXT = ','.join(map(str, BOX))
RULES = detector_lib.Rules()
DOCS = pathlib.Path(__file__).parents[1] / 'docs' / 'demo.md'
needs_gradio = pytest.mark.skipif(
  importlib.util.find_spec('gradio') is None, reason='needs the extra demo'
)
NASTY = 'a<img src=x onerror=alert(1)>${document.title=1}{{value}}.avi'


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  folder = tmp_path_factory.mktemp('demo') / 'run'
  untrained_run.write(folder)
  return folder


@pytest.fixture(scope='module')
def detector(workdir):
  return detector_lib.load(workdir)


@pytest.fixture
def config(workdir):
  config = demo_config.get_config()
  config.checkpoint = str(workdir)
  config.box = BOX_TEXT
  config.port = 0
  return config


@pytest.fixture
def environment(monkeypatch):
  """Puts back what `private_folder` sets."""
  for name in (
    *('GRADIO_TEMP_DIR', 'GRADIO_ANALYTICS_ENABLED', 'GRADIO_RUN_HISTORY'),
    *('GRADIO_MCP_SERVER', 'HF_HUB_DISABLE_TELEMETRY', 'HF_HUB_OFFLINE'),
  ):
    monkeypatch.setenv(name, '')


def images(shown):
  return [attrs for tag, attrs in Checker(shown).tags if tag == 'img']


def text_of(shown):
  return '|'.join(Checker(shown).text)


def test_every_outcome_has_words_and_only_one_says_live():
  assert set(demo.WORDS) == {*detector_lib.OUTCOMES, predict.ERROR}
  for outcome, (heading, sentence) in demo.WORDS.items():
    assert sentence.endswith('.')
    assert ('live' in heading.lower()) == (outcome == detector_lib.LIVE)
    assert heading.startswith('No decision') == (
      outcome not in (detector_lib.LIVE, detector_lib.SPOOF)
    )


@pytest.mark.parametrize('outcome', sorted(demo.WORDS))
def test_a_clip_without_a_score_shows_its_reason_and_no_picture(
  outcome, detector
):
  path = pathlib.Path('/tmp/hidden/x.avi')

  def score_file(given, box, rules):
    return detector_lib.Judged(outcome, notes=(f'{given}: <b>why</b>',))

  stub = types.SimpleNamespace(
    score_file=score_file, threshold=detector.threshold, form=detector.form
  )
  if outcome in detector_lib.SCORED:
    stub.score_parts = lambda *arguments: []
  shown = demo.judge_file(path, NASTY, stub, BOX, RULES)
  text = text_of(shown)
  assert demo.WORDS[outcome][0] in text
  assert f'{NASTY}: <b>why</b>' in text and 'hidden' not in shown
  assert not images(shown)
  # Only a decision has its colour.
  assert 'class="item none"' in shown
  assert 'EER point of the dev clips' in text and 'results.json' in text


def test_a_warning_of_the_threshold_is_shown(detector):
  threshold = dataclasses.replace(detector.threshold, warning='Few <persons>.')
  found = detector_lib.Judged('live', score=0.5)
  facts = demo.facts_of(found, 'x', threshold)
  assert ('warning', 'Few <persons>.') in facts
  of_network = dataclasses.replace(detector, threshold=threshold)
  assert 'Warning: Few <persons>.' in demo.introduction(of_network)
  assert 'arning' not in demo.introduction(detector)
  adapted = {'num_clips': 9, 'num_subjects': 3, 'weight': 0.5}
  said = demo.introduction(dataclasses.replace(detector, adapted=adapted))
  assert ', batch statistics adapted to 9 live clips of 3 persons' in said
  assert 'warning' not in dict(demo.facts_of(found, 'x', detector.threshold))


def test_a_video_shows_what_the_network_saw(detector, tmp_path):
  path = tmp_path / 'x.avi'
  write_video(path, moving(0))
  found = detector.score_file(path, BOX)
  shown = demo.judge_file(path, 'x.avi', detector, BOX, RULES)
  text = text_of(shown)
  assert demo.WORDS[found.decision][0] in text
  assert f'class="item {found.decision}"' in shown
  assert f'score|{found.score:.4g}|' in text
  assert 'live above 0.25 (EER point of the dev clips)' in text
  names = ['Crop', 'Static image', 'Dynamic image', 'Depth map']
  places = [text.index(name) for name in (*names, 'Score over time', 'Frame')]
  assert places == sorted(places)
  assert all(image['alt'] for image in images(shown))
  parts = detector.score_parts(path, BOX, 8)
  assert f'{parts[0][2]:.4g} in frames {parts[0][0]} to' in shown


def test_a_network_of_one_image_says_so(detector):
  crops = types.SimpleNamespace(
    pictures=[np.zeros((8, 8, 3), np.uint8)],
    frame=np.zeros((9, 9, 3), np.uint8),
  )
  found = detector_lib.Judged(
    'live',
    score=0.5,
    decision='live',
    box=np.array([1.0, 1, 5, 5]),
    crops=crops,
    frames=np.zeros((1, 8, 32, 32, 3), np.uint8),
    maps=np.zeros((1, 4, 4), np.float32),
  )
  for fusion, unused in (
    ('static', 'Dynamic image'),
    ('dynamic', 'Static image'),
    ('concat', None),
  ):
    form = detector.form.__class__(fusion, 'approximate', 'fixed')
    stub = types.SimpleNamespace(form=form, threshold=detector.threshold)
    pictures = demo.pictures_of(found, [], stub)
    said = [p.name for p in pictures if 'does not look at it' in p.about]
    assert said == ([unused] if unused else [])
    assert 'Score over time' not in [picture.name for picture in pictures]


def test_what_was_judged_is_deleted(tmp_path):
  folder = tmp_path / 'own'

  def sent(name='a.avi'):
    path = folder / 'hash' / name
    path.parent.mkdir(parents=True)
    path.write_text('data')
    return {'path': str(path), 'orig_name': NASTY}

  def judge(path, name):
    assert path.read_text() == 'data'
    return name

  assert demo.take(sent(), folder, judge) == NASTY
  assert not list(folder.iterdir())
  assert demo.take(sent(), folder, judge, 'camera') == 'camera'

  def fail(path, name):
    raise KeyError('a <b>bug</b>')

  shown = demo.take(sent(), folder, fail)
  assert not list(folder.iterdir())
  assert "'a <b>bug</b>'" in text_of(shown) and 'an error' in shown
  # Gradio keeps files of the same content once: the other one is gone.
  one = sent()
  assert demo.take(one, folder, judge) == NASTY
  shown = demo.take(one, folder, judge)
  assert 'an error' in shown and 'send it again' in shown
  # A file that lies in the folder itself.
  (folder / 'b.avi').write_text('data')
  demo.take({'path': str(folder / 'b.avi')}, folder, judge)
  assert not list(folder.iterdir())


def test_nothing_outside_the_folder_is_read_or_deleted(tmp_path):
  folder, other = tmp_path / 'own', tmp_path / 'other.avi'
  folder.mkdir()
  other.write_text('data')
  (folder / 'link.avi').symlink_to(other)

  def judge(path, name):
    raise AssertionError(path)

  for data in (
    {'path': str(other)},
    {'path': str(folder / '..' / 'other.avi')},
    {'path': str(folder / 'link.avi')},
    {'path': 'a\0b'},
    {'path': None},
    {},
    None,
    'text',
    7,
  ):
    shown = demo.take(data, folder, judge)
    assert 'an error' in shown and 'sent no file' in shown
  assert other.read_text() == 'data' and folder.is_dir()


def test_the_folder_is_gone_and_nothing_is_reported(environment):
  with demo.private_folder() as folder:
    assert os.environ['GRADIO_TEMP_DIR'] == str(folder)
    assert os.environ['GRADIO_ANALYTICS_ENABLED'] == 'False'
    (folder / 'deep').mkdir()
    (folder / 'deep' / 'a.avi').touch()
    assert folder.stat().st_mode & 0o77 == 0
  assert not folder.exists()


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_page_and_its_folder(number, environment):
  before = signal.getsignal(number)
  with (
    pytest.raises(SystemExit) as stopped,
    demo.private_folder() as folder,
    demo.stopped_by_signals(),
  ):
    signal.raise_signal(number)
  assert stopped.value.code == 128 + number
  assert not folder.exists() and signal.getsignal(number) is before


def test_addresses():
  for host, local in (
    ('127.0.0.1', True),
    ('127.9.9.9', True),
    ('localhost', True),
    ('0.0.0.0', False),
    ('192.168.0.7', False),
    ('localhost.example.org', False),
  ):
    assert demo.is_local(host) == local
  with demo.listening('127.0.0.1', 0) as listener:
    port = listener.getsockname()[1]
    with (
      pytest.raises(ValueError, match=f'config.port {port} cannot be taken'),
      demo.listening('127.0.0.1', port),
    ):
      pass
  with (
    pytest.raises(ValueError, match="config.host 'no host' and"),
    demo.listening('no host', 0),
  ):
    pass


def test_a_wrong_config_is_one_line(config, monkeypatch, tmp_path):
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  with pytest.raises(
    ValueError, match=r"needs Gradio: pip install -e '.\[demo"
  ):
    main.run(config, tmp_path)
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: name)
  for field, value, message in (
    ('port', 65536, 'config.port is 65536; allowed: 0'),
    ('checkpoint', '', 'Give --config.checkpoint=WORKDIR'),
    ('threshold', float('nan'), 'config.threshold is nan'),
    ('face', 'none', "config.face is 'none'; allowed: '', detector"),
    ('limits.file_mib', 0, 'config.limits.file_mib is 0'),
  ):
    wrong = config.copy_and_resolve_references()
    wrong.update_from_flattened_dict({field: value})
    with pytest.raises(ValueError, match=re.escape(message)):
      main.run(wrong, tmp_path)


@pytest.mark.parametrize(
  ('headers', 'status'),
  [
    ({'host': '127.0.0.1:7860'}, 200),
    ({'host': '127.0.0.1:7860', 'origin': 'http://127.0.0.1:7860'}, 200),
    ({'host': '127.0.0.1:7860', 'origin': 'https://evil.example'}, 403),
    ({'host': '127.0.0.1:7860', 'origin': 'http://127.0.0.1:80'}, 403),
    ({'host': '127.0.0.1:7860', 'origin': 'null'}, 403),
    ({'origin': 'http://a'}, 403),
  ],
)
def test_other_sites_are_refused(headers, status):
  async def app(scope, receive, send):
    await send({'type': 'http.response.start', 'status': 200, 'headers': []})
    await send({'type': 'http.response.body', 'body': b'x'})

  sent = []

  async def send(message):
    sent.append(message)

  scope = {
    'type': 'http',
    'headers': [(k.encode(), v.encode()) for k, v in headers.items()],
  }
  asyncio.run(demo.guarded(app, 9)(scope, None, send))
  assert sent[0]['status'] == status
  found = dict(sent[0]['headers'])
  assert (status == 200) == (b'content-security-policy' in found)


@pytest.mark.parametrize(
  ('stated', 'parts', 'seen'),
  [
    (b'9', [b'12345', b'6789'], b'123456789'),
    (b'10', [b'1234567890'], None),
    (b'99999999999999999999', [], None),
    # Without a length, and with a false one.
    (None, [b'12345', b'67890', b'1'], b'12345'),
    (b'3', [b'12345', b'67890', b'1'], b'12345'),
  ],
)
def test_a_request_of_many_files_is_cut_off(stated, parts, seen):
  sent, found = [], []

  async def receive():
    return {'type': 'http.request', 'body': parts.pop(0), 'more_body': True}

  async def app(scope, receive, send):
    while sum(map(len, found)) < 9:
      message = await receive()
      if message['type'] == 'http.disconnect':
        return
      found.append(message['body'])

  async def send(message):
    sent.append(message)

  scope = {
    'type': 'http',
    'headers': [] if stated is None else [(b'content-length', stated)],
  }
  asyncio.run(demo.guarded(app, 9)(scope, receive, send))
  if seen is None:
    assert sent[0]['status'] == 413 and not found
  else:
    assert b''.join(found) == seen and not sent


class Server:
  """The command, run as a user would; it ends with the module's tests.

  Attributes:
    address: of the page.
    temporary: the folder in which it makes its own.
    process: of the command.
  """

  def __init__(self, workdir, temporary):
    self.temporary = temporary
    # The space of the small network is that of the tests.
    program = 'import untrained_run; from nasfas_jax import main; main.entry()'
    self.process = subprocess.Popen(
      [
        *(sys.executable, '-c', program, '--config=demo'),
        *(f'--config.checkpoint={workdir}', '--config.port=0'),
        *(f'--config.box={BOX_TEXT}', '--config.limits.file_mib=1'),
        f'--compilation_cache={jax.config.jax_compilation_cache_dir}',
      ],
      env={
        **os.environ,
        'TMPDIR': str(temporary),
        'PYTHONPATH': os.pathsep.join(filter(None, sys.path)),
      },
      stderr=subprocess.PIPE,
      text=True,
    )
    said = []
    for line in self.process.stderr:
      said.append(line)
      if found := re.match(r'Open (http://\S+)', line):
        self.address = found[1]
        return
    raise RuntimeError(''.join(said))

  def ask(self, path, method='GET', body=None, **headers):
    """(status, headers, body) of an answer."""
    _, _, place = self.address.partition('://')
    connection = http.client.HTTPConnection(place, timeout=30)
    with contextlib.closing(connection):
      connection.request(method, path, body, headers)
      answer = connection.getresponse()
      return answer.status, answer.headers, answer.read().decode()

  def files(self):
    """What it keeps."""
    return [path for path in self.temporary.rglob('*') if path.is_file()]


@pytest.fixture(scope='module')
def server(workdir, tmp_path_factory):
  found = Server(workdir, tmp_path_factory.mktemp('temporary'))
  (folder,) = found.temporary.iterdir()
  assert folder.name.startswith('nasfas_demo_')
  try:
    yield found
    found.process.terminate()
    assert found.process.wait(30) == 128 + signal.SIGTERM
    assert not list(found.temporary.iterdir())
    assert not found.process.stderr.read()
  finally:
    found.process.kill()
    found.process.wait()
    found.process.stderr.close()


@needs_gradio
def test_the_server_keeps_to_itself(server, tmp_path):
  status, headers, page = server.ask('/')
  assert status == 200 and 'nasfas_jax demo' in page
  assert "default-src 'self' data: blob:;" in headers['content-security-policy']
  status, _, text = server.ask('/config')
  config = json.loads(text)
  assert status == 200 and not config['analytics_enabled']
  assert not config.get('run_history') and not config.get('footer_links')
  # A file of more than config.limits.file_mib.
  part = (
    b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"'
    b'\r\n\r\n' + bytes((1 << 20) + 1) + b'\r\n--x--\r\n'
  )
  kind = {'Content-Type': 'multipart/form-data; boundary=x'}
  status, _, _ = server.ask('/gradio_api/upload', 'POST', part, **kind)
  assert status == 413 and not server.files()
  secret = tmp_path / 'secret.txt'
  secret.write_text('x')
  for path in (__file__, '/etc/hostname', secret):
    status, _, text = server.ask(f'/gradio_api/file={path}')
    assert status in (403, 404), path
  # A name that another site made for this address, and another site.
  assert server.ask('/', Host='evil.example')[0] == 400
  assert server.ask('/', Origin='http://evil.example')[0] == 403


@needs_gradio
@pytest.mark.skipif(chromium.PATH is None, reason='needs Chromium')
def test_a_clip_is_dropped_and_judged(server, detector, tmp_path):
  clip, empty = tmp_path / NASTY, tmp_path / 'empty.png'
  write_video(tmp_path / 'x.avi', moving(0))
  (tmp_path / 'x.avi').rename(clip)
  empty.write_bytes(b'no picture')
  large = tmp_path / 'large.png'
  large.write_bytes(bytes(2 << 20))
  found = detector.score_file(clip, BOX)
  (tmp_path / 'profile').mkdir()
  with chromium.opened(tmp_path / 'profile') as page:
    page.resize(1280, 900)
    page.call('Page.navigate', url=server.address)
    page.wait("document.querySelector('#shown h2')")

    def shown_of(path):
      page.drop('#file input[type=file]', path)
      name = "document.querySelector('#shown dd')?.textContent"
      page.wait(f'{name} == {json.dumps(path.name)}')
      assert not server.files()
      return page.run("document.querySelector('#shown').innerText")

    text = shown_of(clip)
    heading, sentence = demo.WORDS[found.decision]
    assert text.startswith(f'{heading}\n') and sentence in text
    assert f'{found.score:.4g}' in text
    pictures = 'document.images'
    assert page.run(f'{pictures}.length') == 6
    broken = f'[...{pictures}].filter(i => !i.naturalWidth || !i.alt).length'
    assert page.run(broken) == 0
    # Nothing sticks out at the side.
    for width in (1280, 390):
      page.resize(width, 844)
      page.wait(f'innerWidth == {width}')
      assert page.run('document.documentElement.scrollWidth') <= width
    # The upload of another one fails: the decision is not for that one.
    page.drop('#file input[type=file]', large)
    page.wait("document.body.innerText.includes('exceed the maximum')")
    text = page.run("document.querySelector('#shown').innerText")
    assert heading not in text and sentence not in text
    # Another clip, and nothing of the first is left.
    text = shown_of(empty)
    assert text.startswith(demo.WORDS['unreadable'][0])
    assert page.run(f'{pictures}.length') == 0
    # No text became a script, and nothing was asked for elsewhere.
    assert page.run('document.title') == 'nasfas_jax demo'
    assert not page.errors
    known = (server.address, 'data:', 'blob:', 'about:')
    assert not [url for url in page.requests if not url.startswith(known)]


def test_the_commands_of_the_page_are_right(
  workdir, tmp_path, monkeypatch, environment, capsys
):
  served = []
  monkeypatch.setattr(
    demo, 'check', lambda config: predict.check_decision(config)
  )
  monkeypatch.setattr(demo, 'make_app', lambda *args, **kwargs: kwargs['host'])
  monkeypatch.setattr(demo, 'serve', lambda app, _: served.append(app))
  monkeypatch.setattr(
    demo, 'listening', lambda host, port: socket.create_server(('127.0.0.1', 0))
  )
  monkeypatch.setattr(face_choice, 'detector', lambda folder: None)
  monkeypatch.chdir(tmp_path)
  pathlib.Path('runs').mkdir()
  pathlib.Path('runs/search').symlink_to(workdir)
  shell = DOCS.read_text(encoding='utf-8').replace('\\\n', ' ').splitlines()
  lines = [line for line in shell if '--config=demo' in line]
  assert len(lines) >= 2
  for line in lines:
    config = demo_config.get_config()
    for word in shlex.split(line)[4:]:
      name, _, value = word.removeprefix('--config.').partition('=')
      kind = type(config[name])
      config[name] = value if config[name] is None else kind(value)
    main.run(config, tmp_path / 'none')
  assert '127.0.0.1' in served and '0.0.0.0' in served
  assert 'there is no password' in capsys.readouterr().err
