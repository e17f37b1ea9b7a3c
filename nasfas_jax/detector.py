"""A trained network as a detector of attacks: from a clip to a decision.

`load` reads the workdir of a run. A clip goes the way of a prepared dataset:
one face box, the wide crops of the builders, then the crop, the snippets and
the score of the evaluation, each by the function that is used there.
"""

import dataclasses
import functools
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import flax.linen as nn
import jax
import numpy as np

from nasfas_jax import (
  adaptation,
  checkpoints,
  config_checks,
  inputs,
  models,
  remote,
  run_config,
  run_log,
  scoring,
  settings,
  sharding,
)
from nasfas_jax.data import transforms
from nasfas_jax.exporting import package
from nasfas_jax.models import genotypes
from nasfas_jax.preprocessing import (
  clip_crops,
  face_choice,
  file_limits,
  preparation,
  video,
)

LIVE, SPOOF = 'live', 'spoof'
# Why a clip has no decision, beside `face_choice.OUTCOMES`.
STILL = 'still'
UNREADABLE = 'unreadable'
TOO_LARGE = 'too_large'
NO_SCORE = 'no_score'
OUTCOMES = (
  LIVE,
  SPOOF,
  STILL,
  *face_choice.OUTCOMES,
  UNREADABLE,
  TOO_LARGE,
  NO_SCORE,
)
# Those with a score.
SCORED = (LIVE, SPOOF, STILL)
# First frame, last frame, score.
Part = tuple[int, int, float]
# Largest mean difference, in grey levels, of two frames of a still. A picture
# that was encoded as a video reached 1.4. Of 960 test clips of synthetic_fas,
# one has 0.5 and the others at least 3.9.
_STILL_LEVELS = 1.5
# Snippets that the network takes at once.
_MAX_BATCH = 8
# The list of training subjects of a large run has a few megabytes.
_MAX_JSON_BYTES = 64 * 2**20
_RESULTS = 'results.json'
_FILES = ('config.json', 'data.json', _RESULTS, 'threshold.json')

# x0, y0, x1, y1 in pixels; `clip_crops.WHOLE_FRAME` or `DETECTOR`; None:
# `Detector.default_box`.
Box = Sequence[float] | str | None


@dataclasses.dataclass(frozen=True)
class Threshold:
  """Live is a score above `value`.

  Attributes:
    value: of the score.
    rule: how it was chosen, such as 'EER point of the dev clips'.
    source: the file that it was read from.
    warning: why it may not hold; '' if nothing is known against it.
  """

  value: float
  rule: str
  source: str
  warning: str = ''


@dataclasses.dataclass(frozen=True)
class Reading:
  """How a clip is read, as in the evaluation of the run.

  Attributes:
    preparation: of the wide crops.
    image_size: side of the network's input.
    num_frames: frames of a snippet.
    num_snippets: snippets of a clip; their scores are averaged.
    face_scale: side of the crop over the larger side of the face box.
    map_size: side of the network's map.
  """

  preparation: preparation.Preparation
  image_size: int
  num_frames: int
  num_snippets: int
  face_scale: float
  map_size: int


@dataclasses.dataclass(frozen=True)
class Rules:
  """What is judged.

  Attributes:
    face: when a face is refused.
    limits: the largest input that is read.
    stills: decide on clips without motion too, with a network that was trained
      on motion.
    face_models: folder of the face models; None is the default.
  """

  face: face_choice.FaceRules = face_choice.FaceRules()
  limits: file_limits.Limits = file_limits.Limits()
  stills: bool = False
  face_models: str | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Judged:
  """A clip and what the network saw of it.

  Attributes:
    outcome: one of `OUTCOMES`.
    score: the mean over the snippets; None if the clip was not scored.
    decision: 'live', 'spoof' or None.
    box: of the face, float64 [4] in pixels of the frame; None if not known.
    frame_index: the places of the frames that were read.
    notes: for the reader.
    crops: of the clip; None if it was not scored.
    frames: uint8 [N, K, S, S, 3], the snippets; None if it was not scored.
    maps: float32 [N, D, D] of the snippets; None if it was not scored.
    scores: float32 [N] of the snippets; None if it was not scored.
  """

  outcome: str
  score: float | None = None
  decision: str | None = None
  box: np.ndarray | None = None
  frame_index: Sequence[int] = ()
  notes: tuple[str, ...] = ()
  crops: clip_crops.Crops | None = None
  frames: np.ndarray | None = None
  maps: np.ndarray | None = None
  scores: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Detector:
  """A trained network with all that a decision needs.

  Attributes:
    model: the network.
    variables: dict with 'params' and 'batch_stats'.
    form: of the network's input.
    reading: of clips.
    threshold: of the score.
    genotype: of the network; None for a network without one, such as CDCN.
    name: 'genotype', 'cdcn' or 'cdcnpp'.
    source: the folder that it was loaded from.
    trained_on: name of the protocol.
    needs_motion: whether the network looks at motion and was trained on clips
      that have it, so that its score of a still picture means nothing.
    boxes: where the face boxes of the training clips are from: 'given',
      'detected', 'whole_frame' or 'unknown'; empty if it is not recorded.
    adapted: what adapted.json says of its batch statistics; None: they are
      those of the training.
  """

  model: nn.Module
  variables: dict
  form: inputs.InputForm
  reading: Reading
  threshold: Threshold
  genotype: genotypes.Genotype | None
  name: str
  source: str
  trained_on: str = ''
  needs_motion: bool = True
  boxes: tuple[str, ...] = ()
  adapted: Mapping[str, Any] | None = None

  @property
  def default_box(self) -> str:
    """Where the box is from if none is given.

    The whole frame if every training clip was taken so, else a face detector,
    which may not be what the training had: see `box_note`.
    """
    if set(self.boxes) == {clip_crops.WHOLE_FRAME}:
      return clip_crops.WHOLE_FRAME
    return clip_crops.DETECTOR

  def box_note(self, box: Box) -> str:
    """How a box is of another kind than those of the training; '' if not.

    Args:
      box: of the face; None: `default_box`.
    """
    box = self.default_box if box is None else box
    used = clip_crops.GIVEN
    if isinstance(box, str):
      used = {clip_crops.DETECTOR: clip_crops.DETECTED}.get(box, box)
    if set(self.boxes) == {used}:
      return ''
    return (
      f'The face box is {clip_crops.describe_boxes([used])}; in training it '
      f'was {clip_crops.describe_boxes(self.boxes)}. Another box is another '
      'crop and another score.'
    )

  @functools.cached_property
  def _predict(self) -> scoring.Predict:
    return scoring.make_predict(
      self.model, self.variables, self.form, sharding.one_device()
    )

  def snippets(
    self, pictures: Sequence[np.ndarray], face_box: np.ndarray
  ) -> dict[str, np.ndarray]:
    """The network's frames, from the wide crops of a clip.

    Args:
      pictures: uint8 RGB [size, size, 3], the crops of a clip.
      face_box: floats [4], in pixels of the crops.

    Returns:
      'frames' uint8 [N, K, S, S, 3] and 'score_mask' float32 [N, D, D], for
      each of N snippets.
    """
    reading = self.reading
    record = {
      'frames': pictures,
      # As a record holds it.
      'face_box': np.asarray(face_box, np.float32),
      'depth': (),
    }
    made = [
      transforms.make_snippet(
        record,
        transforms.even_frame_indices(
          len(pictures), reading.num_frames, number, reading.num_snippets
        ),
        image_size=reading.image_size,
        map_size=reading.map_size,
        face_scale=reading.face_scale,
      )
      for number in range(reading.num_snippets)
    ]
    return {
      name: np.stack([snippet[name] for snippet in made])
      for name in ('frames', 'score_mask')
    }

  def score_snippets(
    self, snippets: dict[str, np.ndarray]
  ) -> tuple[np.ndarray, np.ndarray]:
    """The scores and maps of snippets; compiles the network at the first call.

    Args:
      snippets: see `snippets`.

    Returns:
      float32 [N] and [N, D, D].
    """
    number = len(snippets['frames'])
    size = min(_MAX_BATCH, self.reading.num_snippets)
    scores, maps = [], []
    for first in range(0, number, size):
      # One shape, one program: the last snippet fills the batch.
      places = np.minimum(np.arange(first, first + size), number - 1)
      batch = {name: array[places] for name, array in snippets.items()}
      batch['index'] = np.arange(size, dtype=np.int32)
      batch['weight'] = np.ones(size, np.float32)
      out = self._predict(batch)
      scores.append(out['score'])
      maps.append(out['map'])
    return np.concatenate(scores)[:number], np.concatenate(maps)[:number]

  def judge(
    self, sample: clip_crops.Sample, box: Box = None, rules: Rules = Rules()
  ) -> Judged:
    """Scores a clip and decides.

    Args:
      sample: reads the clip, see `clip_crops.Sample`.
      box: of the face.
      rules: what is judged.

    Raises:
      FaceError: if the clip has no face that can be judged.
      VideoError: if it cannot be read or is too large.
      ImportError, FileNotFoundError: if the face is to be found and the face
        models cannot be loaded.
    """
    if box is None:
      box = self.default_box
    of_box = self.box_note(box)
    if isinstance(box, str) and box == clip_crops.DETECTOR:
      box = face_choice.detector(rules.face_models)
    elif isinstance(box, str) and box != clip_crops.WHOLE_FRAME:
      raise ValueError(
        f'box is {box!r}; allowed: {clip_crops.WHOLE_FRAME!r}, '
        f'{clip_crops.DETECTOR!r}, four numbers or None.'
      )
    reading = self.reading
    crops = clip_crops.make_crops(sample, reading.preparation, box, rules.face)
    face_choice.check_size(
      crops.box, reading.face_scale, reading.image_size, rules.face
    )
    snippets = self.snippets(crops.pictures, crops.face_box)
    scores, maps = self.score_snippets(snippets)
    # As `scoring.score_clips` averages.
    score = float(np.mean(scores, dtype=np.float64))
    outcome, notes = self._decide(score, snippets['frames'], crops, rules)
    return Judged(
      outcome=outcome,
      score=score if math.isfinite(score) else None,
      decision=outcome if outcome in (LIVE, SPOOF) else None,
      box=crops.box,
      frame_index=crops.frame_index.tolist(),
      notes=(*([of_box] if of_box else []), *notes),
      crops=crops,
      frames=snippets['frames'],
      maps=maps,
      scores=scores,
    )

  def _decide(self, score, frames, crops, rules) -> tuple[str, tuple[str, ...]]:
    """(outcome, notes) of a scored clip."""
    notes = []
    number = len(crops.pictures)
    if crops.num_faces is not None and crops.num_faces < number:
      notes.append(f'{crops.num_faces} of {number} frames show a face.')
    if 1 < number < self.reading.num_frames:
      notes.append(
        f'{number} frames, repeated to the {self.reading.num_frames} that the '
        'network takes.'
      )
    outcome = LIVE if score > self.threshold.value else SPOOF
    if self.needs_motion and motion(frames) < _STILL_LEVELS:
      notes.append(
        'A still: its dynamic image is flat, or shows noise, and the network '
        'was trained on motion. The score is not to be trusted.'
      )
      outcome = outcome if rules.stills else STILL
    if not math.isfinite(score):
      notes.append('The network gives no finite score.')
      outcome = NO_SCORE
    return outcome, tuple(notes)

  def score(
    self, frames: np.ndarray, box: Box = None, rules: Rules = Rules()
  ) -> float:
    """The score of a clip; live is a score above `threshold.value`.

    Args:
      frames: uint8 RGB [T, H, W, 3], whole and upright. Of many, as many are
        taken as of a video, evenly spread.
      box: of the face; None: `default_box`.
      rules: what is judged. A still is scored whatever they say.

    Raises:
      ValueError: for frames of another form.
      FaceError, ImportError, FileNotFoundError: see `judge`.
    """
    number = self.reading.preparation.num_frames
    return self.judge(sample_array(frames, number), box, rules).score

  def score_file(
    self,
    path: str | os.PathLike[str],
    box: Box = None,
    rules: Rules = Rules(),
  ) -> Judged:
    """Scores a picture or a video, and decides.

    A file that cannot be judged is no exception: its outcome says why, and it
    has no decision.

    Args:
      path: the file.
      box: of the face; None: `default_box`.
      rules: what is judged.

    Raises:
      ImportError, FileNotFoundError: if the face models cannot be loaded.
    """
    return self.attempt(
      lambda: sample_file(
        path, self.reading.preparation.num_frames, rules.limits
      ),
      box,
      rules,
    )

  def score_parts(
    self,
    path: str | os.PathLike[str],
    box: Box,
    num_parts: int,
    rules: Rules = Rules(),
  ) -> list[Part]:
    """The scores of a video's parts, each as if it were the whole clip.

    Args:
      path: the file.
      box: of the face in all parts.
      num_parts: parts of equal length.
      rules: what is judged.

    Returns:
      (first frame, last frame, score) of each part; empty for a picture, or a
      video with too few frames for two parts.

    Raises:
      VideoError: if it cannot be read or is too large.
    """
    prepared = self.reading.preparation
    wanted = dataclasses.replace(
      prepared, num_frames=prepared.num_frames * num_parts
    )
    crops = clip_crops.make_crops(
      sample_file(path, wanted.num_frames, rules.limits),
      wanted,
      box,
      rules.face,
    )
    parts = []
    for first in range(0, len(crops.pictures), prepared.num_frames):
      places = slice(first, first + prepared.num_frames)
      if len(crops.pictures[places]) == prepared.num_frames:
        snippets = self.snippets(crops.pictures[places], crops.face_box)
        scores, _ = self.score_snippets(snippets)
        frame_index = crops.frame_index[places]
        parts.append(
          (int(frame_index[0]), int(frame_index[-1]), float(np.mean(scores)))
        )
    return parts if len(parts) > 1 else []

  def attempt(self, open_clip, box: Box, rules: Rules) -> Judged:
    """As `judge`, with an outcome instead of an exception.

    Args:
      open_clip: () -> the `clip_crops.Sample` to judge; may raise VideoError.
      box: of the face.
      rules: what is judged.
    """
    try:
      return self.judge(open_clip(), box, rules)
    except face_choice.FaceError as error:
      return Judged(error.outcome, notes=(str(error),))
    except (file_limits.TooLargeError, MemoryError) as error:
      return Judged(TOO_LARGE, notes=(str(error) or 'Not enough memory.',))
    except (video.VideoError, cv2.error) as error:
      return Judged(UNREADABLE, notes=(' '.join(str(error).split()),))


def motion(frames: np.ndarray) -> float:
  """How much the frames of snippets move, in grey levels.

  Args:
    frames: uint8 [N, K, S, S, 3].

  Returns:
    The largest mean absolute difference of a frame from the first of its
    snippet; 0 for equal frames.
  """
  differences = frames.astype(np.float32) - frames[:, :1].astype(np.float32)
  return float(np.abs(differences).mean(axis=(2, 3, 4)).max())


def sample_array(frames: np.ndarray, num_frames: int) -> clip_crops.Sample:
  """Reads a clip from memory.

  Args:
    frames: uint8 RGB [T, H, W, 3].
    num_frames: the most frames, evenly spread.

  Raises:
    ValueError: for frames of another form.
  """
  shape = getattr(frames, 'shape', ())
  if (
    getattr(frames, 'dtype', None) != np.uint8
    or len(shape) != 4
    or shape[-1] != 3
    or 0 in shape
  ):
    raise ValueError(
      'frames must be a uint8 array [T, H, W, 3]; here: '
      f'{getattr(frames, "dtype", type(frames).__name__)} {list(shape)}.'
    )
  chosen = video.even_indices(len(frames), num_frames)

  def sample(transform: video.Transform) -> video.Clip:
    return video.Clip([transform(frames[i]) for i in chosen], chosen, 0.0)

  return sample


def sample_file(
  path: str | os.PathLike[str], num_frames: int, limits: file_limits.Limits
) -> clip_crops.Sample:
  """Reads a clip from a file, which is checked here.

  Args:
    path: a picture or a video.
    num_frames: the most frames, evenly spread.
    limits: the largest input that is read.

  Raises:
    VideoError: see `file_limits.check`.
  """
  file_limits.check(path, limits)

  def sample(transform: video.Transform) -> video.Clip:
    def checked(frame):
      # A video's frames may be larger than its header says.
      limits.check_frame(str(path), frame.shape[1], frame.shape[0])
      return transform(frame)

    # And more of them. No more are decoded than tell that.
    clip = video.sample_frames(path, num_frames, checked, limits.frames + 1)
    limits.check_frames(str(path), clip.num_frames)
    return clip

  return sample


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
  """What the files of a run say, but for its weights.

  Attributes:
    config: of the run.
    model: the network.
    genotype: of the network; None for a network without one.
    reading: of clips.
    threshold: of the score.
    needs_motion, boxes: see `Detector`.
  """

  config: settings.Config
  model: nn.Module
  genotype: genotypes.Genotype | None
  reading: Reading
  threshold: Threshold
  needs_motion: bool
  boxes: tuple[str, ...]


def load(
  path: str | os.PathLike[str],
  *,
  crop_size: int | None = None,
  adapted: bool = False,
  threshold: Threshold | None = None,
) -> Detector:
  """Loads the finished run in a workdir, or an export of one.

  Args:
    path: the workdir of a training or of a search, or the folder of an export.
    crop_size: side of the wide crops, for a run on datasets whose preparation
      is not known; None: that of the run.
    adapted: take the batch statistics and the threshold that `calibrate` has
      adapted, see `adaptation`, in place of the run's own.
    threshold: in place of all others; a run that has none needs it, such as
      one of weights from PyTorch.

  Raises:
    ValueError: if the folder holds no run, or one that is unfinished, damaged
      or of another version, or `adapted` and it has no adapted statistics that
      fit.
    FileNotFoundError: if a file of the run is missing.
  """
  source = remote.local(path)
  if package.is_export(source):
    if adapted:
      raise ValueError(
        f'{str(source)!r} is an export, whose batch statistics are fixed; '
        'allowed with adapted: the workdir of a run.'
      )
    exported = _from_export(source, crop_size)
    return dataclasses.replace(
      exported, threshold=threshold or exported.threshold
    )
  run = read_run(source, crop_size, threshold)
  variables, _ = restore_network(
    source,
    run.model,
    run.config,
    jax.sharding.SingleDeviceSharding(jax.devices()[0]),
  )
  chosen, content = run.threshold, None
  if adapted:
    found = adaptation.read(source, variables)
    variables = {**variables, 'batch_stats': found.batch_stats}
    chosen, content = Threshold(*found.threshold), found.content
  return Detector(
    model=run.model,
    variables=variables,
    form=settings.input_form(run.config),
    reading=run.reading,
    threshold=threshold or chosen,
    genotype=run.genotype,
    name=run.config.model,
    source=remote.shown(str(source)),
    trained_on=run.config.protocol,
    needs_motion=run.needs_motion,
    boxes=run.boxes,
    adapted=content,
  )


def restore_network(
  source: pathlib.Path,
  model: nn.Module,
  config: settings.Config,
  sharding: jax.sharding.Sharding,
) -> tuple[dict, int]:
  """The weights of the finished run in a workdir; compiles nothing.

  Args:
    source: the workdir.
    model: the network of the run.
    config: of the run.
    sharding: of every array.

  Returns:
    (dict with 'params' and 'batch_stats', the number of training steps).

  Raises:
    ValueError: if the training is not finished, and as
      `checkpoints.restore_variables`.
    FileNotFoundError: if the run has no checkpoint.
  """
  template = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=sharding
    ),
    jax.eval_shape(
      functools.partial(models.initialize, model),
      jax.random.key(0),
      settings.example_input(config),
    ),
  )
  variables, step = checkpoints.restore_variables(
    checkpoints.folder(source, 'train'), template
  )
  if step < config.train.num_steps:
    raise ValueError(
      f'The run in {str(source)!r} is not finished: its newest checkpoint is '
      f'of step {step} of {config.train.num_steps}. The command that '
      'started it resumes it.'
    )
  return variables, step


def _from_export(source: pathlib.Path, crop_size: int | None) -> Detector:
  """The detector in the folder of an export, whose files are verified."""
  parts = package.read(source)
  prepared = preparation.Preparation(**parts.reading['preparation'])
  if crop_size:
    prepared = dataclasses.replace(prepared, size=crop_size)
  return Detector(
    model=parts.model,
    variables=parts.variables,
    form=parts.form,
    reading=Reading(**{**parts.reading, 'preparation': prepared}),
    threshold=Threshold(**parts.threshold),
    genotype=parts.genotype,
    name=parts.name,
    source=remote.shown(str(source)),
    trained_on=parts.trained_on,
    needs_motion=parts.needs_motion,
    boxes=parts.boxes,
  )


def read_run(
  source: pathlib.Path,
  crop_size: int | None = None,
  threshold: Threshold | None = None,
) -> Run:
  """Reads and checks the files of a run; compiles nothing.

  Args:
    source: the workdir.
    crop_size: see `load`.
    threshold: see `load`.

  Raises:
    ValueError, FileNotFoundError: as `load`.
  """
  source = pathlib.Path(source)
  for name in _FILES:
    path = source / name
    if path.is_file() and path.stat().st_size > _MAX_JSON_BYTES:
      raise ValueError(f'{str(path)!r} is larger than {_MAX_JSON_BYTES} bytes.')
  config = run_config.read_network(source)
  config_checks.check(config)
  threshold = threshold or read_threshold(source)
  path = source / 'data.json'
  data = run_log.read_data(source)
  try:
    prepared = _preparation(data['versions'], crop_size)
    still_share = float(data.get('still_share', 0.0))
    boxes = tuple(sorted(dict(data.get('boxes', {}))))
  except (TypeError, ValueError, OverflowError) as error:
    raise ValueError(f'{str(path)!r}: {error}') from error
  chosen = config.model
  if chosen == 'genotype':
    chosen = genotypes.load(source / 'genotype.json')
  try:
    model = settings.network(config, chosen, scoring=True)
  except (TypeError, ValueError, ZeroDivisionError) as error:
    raise ValueError(
      f'{str(source / run_config.FILE)!r}: config.network: {error}'
    ) from error
  return Run(
    config=config,
    model=model,
    genotype=chosen if isinstance(chosen, genotypes.Genotype) else None,
    reading=Reading(
      preparation=prepared,
      image_size=config.data.image_size,
      num_frames=config.data.num_frames,
      num_snippets=config.data.num_snippets,
      face_scale=config.data.eval_face_scale,
      map_size=config.network.output_size,
    ),
    threshold=threshold,
    # Of a mixture it is not known what motion means to the network.
    needs_motion=not (config.input.fusion == 'static' or still_share >= 1.0),
    boxes=boxes,
  )


def _preparation(
  versions: Sequence[str], crop_size: int | None
) -> preparation.Preparation:
  """That of a run's datasets, with wide crops of another side if one is given.

  Raises:
    ValueError: if it is not known, and no side is given.
  """
  try:
    found = preparation.from_versions(versions)
  except ValueError:
    if not crop_size:
      raise
    found = preparation.Preparation()
  return dataclasses.replace(found, size=crop_size) if crop_size else found


def read_threshold(source: pathlib.Path) -> Threshold:
  """The threshold of a run: that of threshold.json, else of results.json.

  Raises:
    ValueError: if neither file is there, or it has no threshold.
  """
  found = find_threshold(source)
  if found is None:
    raise ValueError(
      f'{str(source / _RESULTS)!r} has no threshold for single clips. '
      '--config.threshold=NUMBER gives one to predict and demo; '
      '--config=calibrate --config.input=LIVE_CLIPS sets one.'
    )
  return found


def find_threshold(source: pathlib.Path) -> Threshold | None:
  """As `read_threshold`; None for a run that was judged without one.

  One that was set on clips normalised by their batch holds for no single clip,
  and does not count.

  Raises:
    ValueError: if neither file is there, or its threshold is damaged.
  """
  path = source / 'threshold.json'
  if path.exists():
    found = run_config.load(path)
  else:
    path = source / _RESULTS
    if not path.exists():
      raise ValueError(
        f'The run in {str(source)!r} has no threshold: there is no '
        f'{path.name}. The command that started it finishes it.'
      )
    results = run_config.load(path)
    how = batch_norm_of(results)
    if 'threshold' not in results or how != scoring.RUNNING:
      return None
    found = results.get('threshold')
  value = found.get('value') if isinstance(found, Mapping) else None
  rule = found.get('rule') if isinstance(found, Mapping) else None
  # Earlier runs have none.
  warning = found.get('warning', '') if isinstance(found, Mapping) else ''
  try:
    number = float(value) if type(value) in (int, float) else math.nan
  except OverflowError:
    number = math.inf
  texts = isinstance(rule, str) and isinstance(warning, str)
  if not math.isfinite(number) or not texts:
    raise ValueError(
      f'{str(path)!r} has no threshold: a finite "value", its "rule" and, if '
      'there is one, its "warning". '
      '--config.threshold=NUMBER gives one to predict and demo.'
    )
  return Threshold(number, rule, remote.shown(str(path)), warning)


def batch_norm_of(results: Mapping[str, Any]) -> str:
  """One of `scoring.BATCH_NORMS`: what the clips of a results.json were.

  Args:
    results: the content; without 'batch_norm' they are `scoring.RUNNING`.
  """
  found = results.get('batch_norm')
  if not found:
    return scoring.RUNNING
  return str(found.get('how') if isinstance(found, Mapping) else found)
