"""The experiment 'demo': a page that judges pictures, videos and the camera.

Gradio shows the page and takes the files. What is judged is the same as in
`predict`. The files are in a temporary folder that is gone with the server;
each is deleted once it is judged. The page loads nothing from elsewhere.
"""

import contextlib
import functools
import importlib.util
import ipaddress
import json
import os
import pathlib
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping

import ml_collections
import numpy as np

from nasfas_jax import adaptation, predict, progress, stopping
from nasfas_jax import detector as detector_lib
from nasfas_jax.preprocessing import face_choice, video
from nasfas_jax.report import annotated, charts, item_view

# (heading, what it means) of every outcome. Only `live` speaks of a live face.
WORDS = {
  detector_lib.LIVE: ('Live', 'The score is above the threshold.'),
  detector_lib.SPOOF: ('Attack', 'The score is not above the threshold.'),
  detector_lib.STILL: (
    'No decision: a still',
    'Nothing moves, and this network was trained on motion, so its score says '
    'nothing here. Take a video of some seconds.',
  ),
  face_choice.NO_FACE: (
    'No decision: no face',
    'Fewer than half of the frames show a face.',
  ),
  face_choice.SEVERAL: (
    'No decision: several faces',
    'It must be clear whose face is judged. Take a clip of one person, or '
    'start the demo with --config.several_faces=largest.',
  ),
  face_choice.TOO_SMALL: (
    'No decision: the face is too small',
    'The network looks at texture, which a small face does not show. Come '
    'closer.',
  ),
  face_choice.CUT_OFF: (
    'No decision: the face is cut off',
    'Much of the face is outside the frame. Move to the middle.',
  ),
  face_choice.BAD_BOX: (
    'No decision: the face box is not in the frame',
    'The demo was started with --config.box, which this frame does not hold.',
  ),
  detector_lib.UNREADABLE: (
    'No decision: the file cannot be read',
    'It is damaged, cut off, or neither a picture nor a video.',
  ),
  detector_lib.TOO_LARGE: (
    'No decision: the file is too large',
    'It is beyond the limits that the demo was started with (config.limits).',
  ),
  detector_lib.NO_SCORE: (
    'No decision: no score',
    'The network gives no finite number.',
  ),
  predict.ERROR: (
    'No decision: an error of the software',
    'This should not happen. Please report the line below.',
  ),
}
# Nothing but what this server serves, whatever the page asks for.
_POLICY = (
  "default-src 'self' data: blob:; "
  # Gradio's page is made by scripts that stand in it.
  "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
  "style-src 'self' 'unsafe-inline'; "
  "object-src 'none'; base-uri 'self'; form-action 'self'; "
  "frame-ancestors 'none'"
)
# Files whose page was closed before they were judged go after ten minutes.
_DELETE_EVERY, _DELETE_AGE = 60, 600
# Clips that wait; the rest is told to come back.
_MAX_WAITING = 16
_MAX_NAME = 120
# Of a request beside the file that it sends.
_REQUEST_BYTES = 1 << 16
# On a phone what was found is below the fold.
_SHOW = """() => {
  const heading = document.querySelector('#shown h2');
  if (heading.getBoundingClientRect().top > 0.7 * innerHeight) {
    heading.scrollIntoView({block: 'start', behavior: 'smooth'});
  }
}"""
# What is shown is hidden once another file is chosen: the upload may fail, and
# Gradio then only shows a message.
_HIDE = """() => {
  for (const name of ['change', 'drop']) {
    document.addEventListener(name, (event) => {
      if (event.target.closest('#file')) {
        document.querySelector('#shown').classList.add('old');
      }
    }, true);
  }
}"""
# A component that was emptied changes too: then what is shown stays.
_WAIT = f"""(data, shown) => {{
  document.querySelector('#shown').classList.remove('old');
  return data === null ? shown : {
  json.dumps(item_view.render(heading='Judging', sentence='Please wait.'))
};
}}"""
_FAIL = f"""() => {
  json.dumps(
    item_view.render(
      heading='No decision: the server did not answer',
      sentence='It has ended, or too many clips wait. Try again.',
    )
  )
}"""
_RECORDING = 'camera recording'
_CSS = """
.gradio-container { width: 100%; margin: 0 auto !important;
  max-width: 1180px !important; }
.gradio-container main { width: 100%; }
.gradio-container :focus-visible { outline: 3px solid #1b7f79 !important;
  outline-offset: -3px; }
#shown.old > * { display: none; }
#shown.old::before { content: 'Nothing judged.'; }
"""


def demo(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
  """Serves the page until it is stopped.

  Args:
    config: see configs/demo.py.
    workdir: unused.

  Raises:
    ValueError: for an invalid config, an address that cannot be taken, a
      checkpoint that is not a finished run, or if Gradio is not installed.
    SystemExit: with status 130 or 143 once it is stopped.
  """
  del workdir
  check(config)
  detector = predict.load(config)
  box, rules = predict.choose_box(config, detector), predict.rules_of(config)
  with (
    listening(config.host, config.port) as listener,
    private_folder() as folder,
    stopped_by_signals(),
  ):
    warm_up(detector)

    def judge(path: pathlib.Path, name: str) -> str:
      return judge_file(path, name, detector, box, rules)

    app = make_app(
      judge,
      folder,
      host=config.host,
      intro=introduction(detector),
      file_bytes=rules.limits.file_bytes,
    )
    port = listener.getsockname()[1]
    if not is_local(config.host):
      progress.say(
        f'config.host is {config.host!r}: everyone on the network can open the '
        'page; there is no password and no encryption, and browsers refuse the '
        'camera.'
      )
    progress.say(f'Open http://{config.host}:{port} (Ctrl-C stops it)')
    serve(app, listener)


def check(config: ml_collections.ConfigDict) -> None:
  """Checks the config, and that Gradio is there.

  Raises:
    ValueError: names the field, its value and what is allowed.
  """
  if importlib.util.find_spec('gradio') is None:
    raise ValueError(
      "config.experiment 'demo' needs Gradio: pip install -e '.[demo]'"
    )
  predict.check_decision(config)
  if not 0 <= config.port <= 65535:
    raise ValueError(
      f'config.port is {config.port}; allowed: 0 (a free one) to 65535.'
    )


def is_local(host: str) -> bool:
  """Whether an address is this machine's own."""
  try:
    return ipaddress.ip_address(host).is_loopback
  except ValueError:
    return host == 'localhost'


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
  """Yields a socket that listens.

  Raises:
    ValueError: if the address cannot be taken.
  """
  try:
    listener = socket.create_server((host, port))
  except (OSError, UnicodeError) as error:
    raise ValueError(
      f'config.host {host!r} and config.port {port} cannot be taken: '
      f'{getattr(error, "strerror", None) or error}. --config.port=0 takes a '
      'free port.'
    ) from error
  with listener:
    yield listener


@contextlib.contextmanager
def private_folder() -> Iterator[pathlib.Path]:
  """Yields a temporary folder and makes it the only one that Gradio knows.

  Gradio reads these variables when it is imported and when a page is made.
  """
  with tempfile.TemporaryDirectory(prefix='nasfas_demo_') as folder:
    os.environ.update(
      GRADIO_TEMP_DIR=folder,
      GRADIO_ANALYTICS_ENABLED='False',
      GRADIO_RUN_HISTORY='False',
      GRADIO_MCP_SERVER='False',
      HF_HUB_DISABLE_TELEMETRY='1',
      HF_HUB_OFFLINE='1',
    )
    yield pathlib.Path(folder)


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[None]:
  """Ends the block at a signal, so that its folder is deleted.

  SIGINT, SIGTERM and SIGHUP, the end of its terminal, unless that is ignored.

  Raises:
    SystemExit: with status 128 + the signal.
  """

  def stop(number, frame):
    raise SystemExit(128 + number)

  heeded = [signal.SIGINT, signal.SIGTERM]
  # Windows has no SIGHUP; nohup ignores it.
  if hasattr(signal, 'SIGHUP'):
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
      heeded.append(signal.SIGHUP)
  with stopping.handled_by(stop, *heeded):
    yield


def warm_up(detector: detector_lib.Detector) -> None:
  """Compiles the network, for which the first clip would wait."""
  size = detector.reading.preparation.size
  picture = np.zeros((size, size, 3), np.uint8)
  detector.score_snippets(
    detector.snippets([picture], np.array([0, 0, size, size]))
  )


def introduction(detector: detector_lib.Detector) -> str:
  """What the page says of the network; text, not HTML."""
  threshold = detector.threshold
  warning = f' Warning: {threshold.warning}' if threshold.warning else ''
  said = detector.adapted and adaptation.describe(detector.adapted)
  return (
    f'Network: {detector.name} of {detector.source}, trained on '
    f'{detector.trained_on}{f", {said}" if said else ""}. '
    f'Live is a score above {threshold.value:.4g} ({threshold.rule}; '
    f'{threshold.source}). At another place or camera this threshold can fail: '
    f'check it with clips whose answer you know.{warning}'
  )


def judge_file(
  path: pathlib.Path,
  name: str,
  detector: detector_lib.Detector,
  box: detector_lib.Box,
  rules: detector_lib.Rules,
) -> str:
  """Judges a file.

  Args:
    path: the file.
    name: as its owner calls it.
    detector: the network and its threshold.
    box: of the face.
    rules: what is judged.

  Returns:
    The HTML of what was found. Of every failure too.
  """
  item = predict.file_item(str(path), detector, box, rules)
  found = predict.judge(item)
  parts, failure = predict.timeline(item, found)
  notes = [*found.notes, *([failure] if failure else [])]
  heading, sentence = WORDS[found.outcome]
  return item_view.render(
    heading=heading,
    sentence=sentence,
    decision=found.decision,
    facts=facts_of(found, name, detector.threshold),
    notes=[note.replace(str(path), name) for note in notes],
    pictures=pictures_of(found, parts, detector),
  )


def facts_of(
  found: detector_lib.Judged, name: str, threshold: detector_lib.Threshold
) -> list[tuple[str, str]]:
  """What is said of an item, as (name, value)."""
  facts = [('file', name)]
  if found.score is not None:
    facts.append(('score', f'{found.score:.4g}'))
  facts += [
    ('threshold', f'live above {threshold.value:.4g} ({threshold.rule})'),
    ('read from', threshold.source),
  ]
  if threshold.warning:
    facts.append(('warning', threshold.warning))
  if len(found.frame_index):
    places = found.frame_index
    facts.append(('frames', f'{len(places)}, from {places[0]} to {places[-1]}'))
  return facts


def pictures_of(
  found: detector_lib.Judged,
  parts: list[detector_lib.Part],
  detector: detector_lib.Detector,
) -> list[item_view.Picture]:
  """What is shown of an item; nothing if it was not scored.

  Args:
    found: what was made of it.
    parts: the scores over time; empty if there are none.
    detector: has judged it.
  """
  if found.crops is None:
    return []
  seen = predict.network_pictures(found, detector)
  crops = found.crops.pictures
  texts = {
    'static': 'One frame, as the network takes it.',
    'dynamic': 'The motion over the frames; grey is none.',
  }
  unused = {'static': 'dynamic', 'dynamic': 'static'}.get(detector.form.fusion)
  if unused:
    texts[unused] += ' This network does not look at it.'
  middle = found.maps[len(found.maps) // 2]
  span = f'{np.min(middle):.2g} to {np.max(middle):.2g}'
  pictures = [
    item_view.Picture(
      'Crop',
      crops[len(crops) // 2],
      'The face with a margin.',
      'The crop about the face.',
    ),
    item_view.Picture(
      'Static image',
      seen['static'],
      texts['static'],
      'One frame of the face.',
    ),
    item_view.Picture(
      'Dynamic image',
      seen['dynamic'],
      texts['dynamic'],
      'The motion over the frames as a picture.',
    ),
    item_view.Picture(
      'Depth map',
      seen['map'],
      f'Bright is near, dark is flat; from 0 to 1, here {span}. The score is '
      'its mean over the face.',
      f'The depth map of the network, with values {span}.',
    ),
  ]
  if parts:
    spoken = ', '.join(
      f'{score:.4g} in frames {first} to {last}' for first, last, score in parts
    )
    pictures.append(
      item_view.Picture(
        'Score over time',
        charts.scores_over_time(parts, detector.threshold.value),
        'Each point is a part of the video, judged alone. A part has less '
        'motion than the clip: a hint, not a decision.',
        f'The score over time: {spoken}; the threshold is '
        f'{detector.threshold.value:.4g}.',
        kind='chart',
      )
    )
  pictures.append(
    item_view.Picture(
      'Frame',
      annotated.framed(found.crops.frame, found.box, found.decision),
      'The first frame that was read, and the face box.',
      'The first frame with a box about the face.',
      kind='wide',
    )
  )
  return pictures


def take(
  data: Mapping | None,
  folder: pathlib.Path,
  judge: Callable[[pathlib.Path, str], str],
  name: str | None = None,
) -> str:
  """Judges what the page sent, and deletes it.

  Args:
    data: Gradio's description of a file: 'path' and 'orig_name'.
    folder: holds what was sent; nothing outside it is touched.
    judge: (file, its name) -> HTML.
    name: of the file; None: that in `data`.

  Returns:
    The HTML, for every failure too.
  """
  try:
    path = pathlib.Path(data['path']).resolve()
    inside = path.relative_to(folder.resolve())
    name = name or str(data.get('orig_name') or path.name)[-_MAX_NAME:]
  except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
    return _failed(f'{type(error).__name__}: the page sent no file.')
  if not path.exists():
    # Gradio keeps equal files once.
    return _failed('The same file was just judged, and deleted: send it again.')
  try:
    return judge(path, name)
  except Exception as error:
    # A bug: what was shown before must not stay.
    return _failed(f'{type(error).__name__}: {error}')
  finally:
    # The file and the folder that Gradio made for it.
    top = folder / inside.parts[0] if inside.parts else None
    if top is not None:
      shutil.rmtree(top, ignore_errors=True)
      with contextlib.suppress(OSError):
        top.unlink()


def _failed(note: str) -> str:
  heading, sentence = WORDS[predict.ERROR]
  return item_view.render(heading=heading, sentence=sentence, notes=[note])


def make_app(
  judge: Callable[[pathlib.Path, str], str],
  folder: pathlib.Path,
  *,
  host: str,
  intro: str,
  file_bytes: int,
):
  """The page as an ASGI application.

  Args:
    judge: see `take`.
    folder: of `private_folder`.
    host: that it is served at.
    intro: text about the network.
    file_bytes: the largest file that is taken.

  Returns:
    A function (scope, receive, send).
  """
  import fastapi
  import gradio
  from starlette.middleware import trustedhost

  megabytes = max(1, file_bytes >> 20)
  with gradio.Blocks(
    title='nasfas_jax demo',
    analytics_enabled=False,
    delete_cache=(_DELETE_EVERY, _DELETE_AGE),
  ) as page:
    gradio.HTML(
      '<article class="item"><h1>Live face or attack?</h1>'
      '<p>Drop a picture or a video of a face, or use the camera. It is judged '
      'on this machine and then deleted.</p></article>'
    )
    with gradio.Row():
      with gradio.Column(scale=2, min_width=300):
        with gradio.Tab('File'):
          dropped = gradio.File(
            label=f'Picture or video, at most {megabytes} MB',
            file_types=[*video.VIDEO_SUFFIXES, *video.IMAGE_SUFFIXES],
            height=180,
            elem_id='file',
          )
        with gradio.Tab('Camera'):
          camera = gradio.Video(
            label='Record two or three seconds, then stop',
            sources=['webcam'],
            include_audio=False,
            buttons=[],
            elem_id='camera',
          )
      with gradio.Column(scale=3, min_width=300):
        shown = gradio.HTML(
          item_view.render(
            heading='Nothing judged yet',
            sentence='The decision will be here, with what the network saw.',
          ),
          elem_id='shown',
        )
    gradio.HTML(
      f'<article class="item"><p>{item_view.escape(intro)}</p></article>'
    )

    def answer(data, name=None):
      if data is None:
        return gradio.skip(), gradio.skip()
      return take(data, folder, judge, name), None

    for event, component, function in (
      (dropped.upload, dropped, answer),
      (camera.change, camera, functools.partial(answer, name=_RECORDING)),
    ):
      # What was shown is of another clip: it goes first, also if the server
      # does not answer.
      asked = event(None, [component, shown], shown, js=_WAIT).then(
        function,
        component,
        [shown, component],
        # Gradio would copy the file, or run FFmpeg on it.
        preprocess=False,
        api_visibility='private',
        show_progress='full',
        show_progress_on=shown,
        concurrency_limit=1,
        concurrency_id='judge',
      )
      asked.success(None, js=_SHOW)
      asked.failure(None, None, shown, js=_FAIL)
  page.queue(max_size=_MAX_WAITING, api_open=False)
  app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
  gradio.mount_gradio_app(
    app,
    page,
    path='/',
    footer_links=[],
    run_history=False,
    show_error=False,
    max_file_size=file_bytes,
    ssr_mode=False,
    enable_monitoring=False,
    pwa=False,
    mcp_server=False,
    css=item_view.STYLE + _CSS,
    js=_HIDE,
    theme=gradio.themes.Default(
      font=[gradio.themes.Font('system-ui'), gradio.themes.Font('sans-serif')],
      font_mono=[
        gradio.themes.Font('ui-monospace'),
        gradio.themes.Font('monospace'),
      ],
    ),
  )
  # A page of another site must not reach this one under a name of its own.
  hosts = ['127.0.0.1', 'localhost', host] if is_local(host) else ['*']
  return guarded(
    trustedhost.TrustedHostMiddleware(app, allowed_hosts=hosts),
    file_bytes + _REQUEST_BYTES,
  )


def guarded(app, most_bytes: int):
  """An ASGI application that sends the policy and refuses other sites.

  Args:
    app: the application.
    most_bytes: of the body of a request. Gradio's own limit is for each file
      of a request, of which it takes a thousand.
  """

  async def refuse(send, status: int, text: bytes):
    start = {'type': 'http.response.start', 'status': status, 'headers': []}
    await send(start)
    await send({'type': 'http.response.body', 'body': text})

  async def guard(scope, receive, send):
    if scope['type'] != 'http':
      await app(scope, receive, send)
      return
    headers = dict(scope['headers'])
    origin = headers.get(b'origin', b'').partition(b'://')[2]
    if b'origin' in headers and origin != headers.get(b'host'):
      await refuse(send, 403, b'Another origin.')
      return
    stated = headers.get(b'content-length', b'')
    if stated.isdigit() and int(stated) > most_bytes:
      await refuse(send, 413, b'Too large.')
      return
    received = 0

    async def within_limits():
      nonlocal received
      message = await receive()
      received += len(message.get('body', b''))
      # A body of no stated length is cut off.
      return message if received <= most_bytes else {'type': 'http.disconnect'}

    async def with_policy(message):
      if message['type'] == 'http.response.start':
        message['headers'] = [
          *message['headers'],
          (b'content-security-policy', _POLICY.encode()),
          (b'referrer-policy', b'no-referrer'),
          (b'x-content-type-options', b'nosniff'),
        ]
      await send(message)

    await app(scope, within_limits, with_policy)

  return guard


def serve(app, listener: socket.socket) -> None:
  """Answers requests until a signal stops it."""
  import uvicorn

  settings = uvicorn.Config(
    app,
    # Its own would take the place of absl's.
    log_config=None,
    # Requests that the end of the server cuts off are no errors.
    log_level='critical',
    access_log=False,
    server_header=False,
    # An open page keeps a connection for ever.
    timeout_graceful_shutdown=1,
  )
  uvicorn.Server(settings).run(sockets=[listener])
