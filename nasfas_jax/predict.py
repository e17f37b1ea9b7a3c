"""The experiment 'predict': a trained network on files or a camera.

One JSON line on stdout for each item, everything else on stderr. An item that
cannot be judged has an outcome that says why, no decision, and does not stop
the rest.
"""

import collections
import contextlib
import dataclasses
import functools
import glob
import itertools
import json
import math
import os
import pathlib
import re
import time
from collections.abc import Callable, Iterator, Sequence

import cv2
import ml_collections
import numpy as np

from nasfas_jax import (
  adaptation,
  config_checks,
  files,
  inputs,
  progress,
  stopping,
)
from nasfas_jax import detector as detector_lib
from nasfas_jax.preprocessing import (
  clip_crops,
  face_choice,
  file_limits,
  video,
)
from nasfas_jax.report import annotated

# Status of a command that could score nothing.
NOTHING_SCORED = 3
# An item that a bug stopped.
ERROR = 'error'
_SUFFIXES = (*video.IMAGE_SUFFIXES, *video.VIDEO_SUFFIXES)
# Parts of a video whose scores make the curve over time.
_NUM_PARTS = 8
# Of an annotated video: about 100 MB in memory.
_MAX_VIDEO_FRAMES = 120
# Where the file does not say how fast it is.
_FPS = 10.0


@dataclasses.dataclass(frozen=True)
class Item:
  """Something to judge.

  Attributes:
    name: what the JSON line calls it.
    judge: () -> what the detector makes of it.
    timeline: what was made of it -> the scores of its parts over time; empty if
      it has none.
    sample: reads at most `_MAX_VIDEO_FRAMES` of its frames, evenly spread; None
      if they cannot be read again.
  """

  name: str
  judge: Callable[[], detector_lib.Judged]
  timeline: Callable[[detector_lib.Judged], list[detector_lib.Part]]
  sample: clip_crops.Sample | None = None


def predict(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
  """Judges every item of config.input.

  Args:
    config: see configs/predict.py.
    workdir: unused.

  Raises:
    ValueError: for an invalid config, an input without a file, or a checkpoint
      that is not a finished run.
    SystemExit: with status 3 if there is no item that could be scored, and 130
      if it was stopped.
  """
  del workdir
  check(config)
  paths = find_files(config.input, config.limits.files)
  if config.output:
    _check_output(config, paths)
  detector = load(config)
  box, rules = choose_box(config, detector), rules_of(config)
  _introduce(detector)
  if paths is None:
    items = _camera_items(config, detector, box, rules)
    total = config.camera.clips
  else:
    items = (file_item(path, detector, box, rules) for path in paths)
    total = len(paths)
  folder = pathlib.Path(config.output).expanduser()
  counts, stopped = collections.Counter(), False
  try:
    with (
      progress.reader_may_leave(),
      contextlib.closing(_judged(items, total)) as judged,
    ):
      for number, (item, found) in enumerate(judged):
        counts[found.outcome] += 1
        line = as_line(item.name, found, detector)
        if config.output:
          line.update(
            _annotate(
              folder / output_name(number, item.name),
              item,
              found,
              line,
              detector,
              with_video=config.output_videos,
            )
          )
        print(json.dumps(line, allow_nan=False), flush=True)
  except KeyboardInterrupt:
    progress.say('Stopped.')
    # A camera without end is always stopped so.
    stopped = paths is not None
  _sum_up(counts)
  if stopped:
    raise SystemExit(stopping.STATUS)
  if not sum(counts[name] for name in detector_lib.SCORED):
    raise SystemExit(NOTHING_SCORED)


def load(config: ml_collections.ConfigDict) -> detector_lib.Detector:
  """Loads the detector of config.checkpoint, with the threshold of the config.

  Raises:
    ValueError, FileNotFoundError: as `detector.load`.
  """
  threshold = None
  if config.threshold is not None:
    threshold = detector_lib.Threshold(
      config.threshold, 'given', 'config.threshold'
    )
  return detector_lib.load(
    config.checkpoint,
    crop_size=config.crop_size,
    adapted=config.adapted,
    threshold=threshold,
  )


def check(config: ml_collections.ConfigDict) -> None:
  """Checks the fields of the config.

  Raises:
    ValueError: names the field, its value and what is allowed.
  """
  if not config.input:
    raise ValueError(
      'Give --config.input: a file, a folder, a pattern, or the number of a '
      'camera.'
    )
  config_checks.check_fields(
    config,
    {
      'camera.seconds': config_checks.Number(0.1, 60.0),
      'camera.clips': config_checks.Number(0, 10**9),
    },
  )
  if config.output_videos and not config.output:
    raise ValueError('config.output_videos needs a folder: --config.output.')
  check_decision(config)


def check_decision(config: ml_collections.ConfigDict) -> None:
  """Checks the fields that say which run decides, and how.

  Raises:
    ValueError: names the field, its value and what is allowed.
  """
  if not config.checkpoint:
    raise ValueError(
      'Give --config.checkpoint=WORKDIR, that of a finished run.'
    )
  if config.threshold is not None and not math.isfinite(config.threshold):
    raise ValueError(
      f'config.threshold is {config.threshold}; allowed: a finite number.'
    )
  check_reading(config)


def check_reading(config: ml_collections.ConfigDict) -> None:
  """Checks the fields that say how files are read.

  Raises:
    ValueError: names the field, its value and what is allowed.
  """
  faces = ('', clip_crops.DETECTOR, clip_crops.WHOLE_FRAME)
  allowed = {
    'face': config_checks.OneOf(faces),
    'stills': config_checks.OneOf(('refuse', 'decide')),
    'several_faces': config_checks.OneOf(('refuse', 'largest')),
    **{
      f'limits.{name}': config_checks.Number(1, 10**9) for name in config.limits
    },
  }
  if config.crop_size is not None:
    allowed['crop_size'] = config_checks.Number(8, 4096)
  config_checks.check_fields(config, allowed)
  _box_of(config)


def choose_box(
  config: ml_collections.ConfigDict, detector: detector_lib.Detector
) -> detector_lib.Box:
  """The face of every clip, by config.box and config.face.

  Without either it is `detector.default_box`. A box of another kind than those
  of the training is a warning.

  Raises:
    ValueError: for a bad box, or if faces are to be found and cannot be.
  """
  box = _box_of(config) or detector.default_box
  if box == clip_crops.DETECTOR:
    _check_face_models(config)
  if note := detector.box_note(box):
    fields = [name for name in ('box', 'face') if config[name]]
    of = f'the face is that of config.{fields[0]}. ' if fields else ''
    progress.say(
      f'Warning: {of}{note} The threshold need not hold: check it with clips '
      'whose answer you know.'
    )
  return box


def _box_of(config) -> detector_lib.Box:
  if not config.box:
    return config.face or None
  try:
    box = [float(part) for part in config.box.split(',')]
    return tuple(face_choice.given(box, np.inf, np.inf).tolist())
  except ValueError as error:
    raise ValueError(
      f'config.box is {config.box!r}; allowed: x0,y0,x1,y1 in pixels, with x0 '
      'below x1 and y0 below y1.'
    ) from error


def rules_of(config) -> detector_lib.Rules:
  return detector_lib.Rules(
    face=face_choice.FaceRules(several=config.several_faces == 'largest'),
    limits=file_limits.Limits(
      file_bytes=config.limits.file_mib << 20,
      pixels=config.limits.megapixels * 10**6,
      frames=config.limits.frames,
    ),
    stills=config.stills == 'decide',
    face_models=config.face_models or None,
  )


def find_files(text: str, limit: int) -> list[str] | None:
  """The files that an input names, sorted; None for a camera.

  What exists by that very name is taken before a pattern or a camera. Of a
  folder all pictures and videos are taken, also those in its folders; hidden
  ones and links to folders are not. Of a pattern all files are taken.

  Args:
    text: a file, a folder, a pattern, or the number of a camera.
    limit: the most files.

  Raises:
    ValueError: if there is no file, or there are too many.
  """
  if '\0' in text:
    raise ValueError(f'config.input is {text!r}; it holds a NUL character.')
  path = os.path.expanduser(text)
  if os.path.isdir(path):
    found, others = [], 0
    for name in _walk(path):
      if name.lower().endswith(_SUFFIXES):
        found.append(name)
      else:
        others += 1
      if max(len(found), others / 100) > limit:
        raise _too_many(text, limit)
    if others:
      progress.say(
        f'{others} files in {text!r} are neither pictures nor videos.'
      )
  elif os.path.exists(path):
    return [path]
  elif re.fullmatch(r'\d{1,3}', text):
    return None
  elif glob.has_magic(path):
    matches = (
      name
      for name in glob.iglob(path, recursive=True)
      if not os.path.isdir(name)
    )
    found = list(itertools.islice(matches, limit + 1))
  else:
    raise ValueError(f'config.input is {text!r}; there is no such file.')
  if not found:
    raise ValueError(f'config.input is {text!r}; it holds no file to judge.')
  if len(found) > limit:
    raise _too_many(text, limit)
  return sorted(found)


def _too_many(text: str, limit: int) -> ValueError:
  return ValueError(
    f'config.input is {text!r}; it holds more than {limit} files, the limit '
    'in config.limits.files.'
  )


def _walk(folder: str) -> Iterator[str]:
  """The files in a folder and in its folders, without hidden ones."""
  for parent, folders, names in os.walk(folder):
    folders[:] = sorted(name for name in folders if name[0] != '.')
    for name in sorted(names):
      if name[0] != '.':
        yield os.path.join(parent, name)


def _check_output(config, paths: Sequence[str] | None) -> None:
  """Raises ValueError if the next command would judge what this one writes."""
  source = pathlib.Path(config.input).expanduser()
  output = pathlib.Path(config.output).expanduser()
  inside = source.is_dir() and (
    output.resolve().is_relative_to(source.resolve())
  )
  if not source.exists():
    # A pattern, or a camera, which has no paths.
    folders = {pathlib.Path(path).parent.resolve() for path in paths or ()}
    place = output.resolve()
    above = place.parents if '**' in source.parts else ()
    inside = bool(folders & {place, *above})
  if inside:
    raise ValueError(
      f'config.output is {config.output!r}, inside config.input or a folder '
      'that it names; choose another one.'
    )
  if output.exists() and not output.is_dir():
    raise ValueError(f'config.output is {config.output!r}, which is no folder.')


def _check_face_models(config) -> None:
  """Raises ValueError if faces are to be found and cannot be."""
  try:
    face_choice.detector(config.face_models or None)
  except (ImportError, OSError, ValueError) as error:
    raise ValueError(
      f'The face cannot be found: {error} Or give its box '
      '(--config.box=x0,y0,x1,y1), or take whole frames as the face '
      f'(--config.face={clip_crops.WHOLE_FRAME}).'
    ) from error


def _introduce(detector: detector_lib.Detector) -> None:
  threshold = detector.threshold
  said = detector.adapted and adaptation.describe(detector.adapted)
  progress.say(
    f'{detector.source}: {detector.name}, trained on {detector.trained_on}'
    f'{f", {said}" if said else ""}. '
    f'Live is a score above {threshold.value:.6g} ({threshold.rule}; '
    f'{threshold.source}). At another place or camera it can fail.'
  )
  if threshold.warning:
    progress.say(f'Warning of the threshold: {threshold.warning}')


def _judged(
  items: Iterator[Item], total: int
) -> Iterator[tuple[Item, detector_lib.Judged]]:
  """Judges the items in order; shows the progress if their number is known."""
  with contextlib.ExitStack() as stack:
    bar = total and stack.enter_context(progress.bar('Judging', total))
    for done, item in enumerate(items, 1):
      found = judge(item)
      if bar:
        bar.update(done)
      yield item, found


def judge(item: Item) -> detector_lib.Judged:
  """Judges an item; the outcome of one that a bug stops is `ERROR`."""
  try:
    return item.judge()
  except Exception as error:
    # A bug or a library's: this item has no decision, the rest go on.
    note = ' '.join(f'{type(error).__name__}: {error}'.split())
    return detector_lib.Judged(ERROR, notes=(note,))


def timeline(
  item: Item, found: detector_lib.Judged
) -> tuple[list[detector_lib.Part], str]:
  """The scores of an item's parts over time.

  Args:
    item: was judged.
    found: what was made of it.

  Returns:
    (parts, why there are none): no parts if it has none, and a text only if
    reading them failed.
  """
  if found.outcome not in detector_lib.SCORED:
    return [], ''
  try:
    return item.timeline(found), ''
  except (video.VideoError, cv2.error) as error:
    # The clip could be read just before; this only costs the curve.
    return [], f'No score over time: {error}'


def network_pictures(
  found: detector_lib.Judged, detector: detector_lib.Detector
) -> dict[str, np.ndarray]:
  """What the network saw of the clip's middle snippet.

  Returns:
    'static', 'dynamic' and 'map' -> uint8 RGB [S, S, 3]; empty if the clip was
    not scored.
  """
  if found.frames is None:
    return {}
  middle = len(found.frames) // 2
  return {
    'static': found.frames[middle][found.frames.shape[1] // 2],
    'dynamic': inputs.dynamic_picture(
      found.frames[middle][None], detector.form.rank_pooling
    )[0],
    'map': annotated.colour_map(found.maps[middle]),
  }


def file_item(
  path: str,
  detector: detector_lib.Detector,
  box: detector_lib.Box,
  rules: detector_lib.Rules,
) -> Item:
  """A picture or a video; see `Detector.score_file` for the arguments."""
  return Item(
    name=path,
    judge=lambda: detector.score_file(path, box, rules),
    timeline=lambda found: detector.score_parts(
      path, found.box, _NUM_PARTS, rules
    ),
    sample=lambda transform: detector_lib.sample_file(
      path, _MAX_VIDEO_FRAMES, rules.limits
    )(transform),
  )


def _camera_items(config, detector, box, rules) -> Iterator[Item]:
  """Clips of a camera, each read when it is judged.

  Raises:
    ValueError: if the camera cannot be opened.
  """
  number = int(config.input)
  num_frames = detector.reading.preparation.num_frames

  def clip():
    frames = camera_clip(capture.read, config.camera.seconds, num_frames)
    return detector_lib.sample_array(frames, num_frames)

  capture = cv2.VideoCapture(number)
  try:
    if not capture.isOpened():
      raise ValueError(f'config.input is {number}; there is no such camera.')
    wanted = config.camera.clips
    for place in itertools.count() if not wanted else range(wanted):
      yield Item(
        name=f'camera:{number}/{place}',
        judge=lambda: detector.attempt(clip, box, rules),
        timeline=lambda found: [],
      )
  finally:
    capture.release()


def camera_clip(
  read: Callable[[], tuple[bool, np.ndarray]],
  seconds: float,
  num_frames: int,
  clock: Callable[[], float] = time.monotonic,
) -> np.ndarray:
  """Reads frames that are evenly spread over some seconds.

  Args:
    read: `cv2.VideoCapture.read`.
    seconds: length of the clip.
    num_frames: frames that are kept.
    clock: the time in seconds.

  Returns:
    uint8 RGB [num_frames, H, W, 3].

  Raises:
    VideoError: if the camera gives no frame, or gives them too slowly.
  """
  kept = []
  begun = clock()
  # A camera may take a second to its first frame.
  start = None
  while len(kept) < num_frames:
    done, frame = read()
    if not done or frame is None:
      raise video.VideoError('The camera gives no frame.')
    now = clock()
    if now - begun > 10 * seconds + 10:
      raise video.VideoError(
        f'The camera gave no {num_frames} frames that are evenly spread over '
        f'{seconds:g} s, in {now - begun:.0f} s.'
      )
    if start is None:
      start = now
    # As in a video, the middles of equal parts.
    step = seconds / num_frames
    late = now - start - (len(kept) + 0.5) * step
    if late > step and step:
      # The frames after a gap would follow each other without a pause.
      kept, start = [], now
    elif late >= 0:
      kept.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
  return np.stack(kept)


def as_line(
  name: str, found: detector_lib.Judged, detector: detector_lib.Detector
) -> dict[str, object]:
  """The JSON line of an item."""
  return {
    'path': os.fsencode(name).decode('utf-8', 'replace'),
    'outcome': found.outcome,
    'score': found.score,
    'decision': found.decision,
    'threshold': dataclasses.asdict(detector.threshold),
    'box': None if found.box is None else np.round(found.box, 2).tolist(),
    'frames': list(found.frame_index),
    'notes': list(found.notes),
  }


def output_name(number: int, name: str) -> str:
  """The file name of an item's picture, unlike that of any other item.

  Args:
    number: of the item.
    name: of the item; only letters, digits, '-' and '_' of its stem are kept.
  """
  stem = re.sub(r'[^A-Za-z0-9_-]+', '_', pathlib.PurePath(name).stem)[:60]
  return f'{number:06}-{stem}.png'


def _annotate(path, item, found, line, detector, *, with_video) -> dict:
  """Writes the picture of an item and, if asked for, its video.

  Returns:
    What it adds to the item's JSON line: the paths of the picture and of the
    video, and the scores of the parts of a video.
  """
  parts, failure = timeline(item, found)
  if failure:
    line['notes'].append(failure)
  threshold = detector.threshold
  score = 'none' if found.score is None else f'{found.score:.6g}'
  draw = functools.partial(
    annotated.draw,
    title=found.outcome,
    texts=(
      line['path'],
      f'score {score}; live above {threshold.value:.6g} ({threshold.rule})',
      *found.notes,
    ),
    decision=found.decision,
    threshold=threshold.value,
    insets=network_pictures(found, detector),
    parts=parts,
  )
  image = draw(frame=found.crops and found.crops.frame, box=found.box)
  done, data = cv2.imencode('.png', image[..., ::-1])
  if not done:
    raise OSError(f'OpenCV cannot write a PNG of shape {image.shape}.')
  files.write_whole(path, data.tobytes())
  film = None
  if with_video and item.sample and len(found.frame_index) > 1:
    try:
      film = _write_video(path.with_suffix('.avi'), item.sample, found, draw)
    except (video.VideoError, cv2.error) as error:
      line['notes'].append(f'No annotated video: {error}')
  names = ('first_frame', 'last_frame', 'score')
  return {
    'annotated': str(path),
    'annotated_video': film,
    'parts': [dict(zip(names, part, strict=True)) for part in parts],
  }


def _write_video(path, sample, found, draw) -> str:
  """Writes the frames of a clip, each drawn by `draw`; returns the path."""
  # As large as they are drawn, which is what is kept in memory.
  clip = sample(
    lambda frame: annotated.framed(frame, found.box, found.decision)
  )
  share = len(clip.frames) / max(1, clip.num_frames)
  pictures = (
    draw(frame=frame, now=int(place))
    for frame, place in zip(clip.frames, clip.frame_index, strict=True)
  )
  annotated.write_video(path, pictures, clip.fps * share or _FPS)
  return str(path)


def _sum_up(counts: collections.Counter) -> None:
  failed = sum(
    number
    for name, number in counts.items()
    if name not in (detector_lib.LIVE, detector_lib.SPOOF)
  )
  each = ', '.join(f'{number} {name}' for name, number in counts.most_common())
  progress.say(
    f'{sum(counts.values())} judged: {each or "none"}. {failed} without a '
    'decision.'
  )
