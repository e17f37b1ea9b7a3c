"""The experiment 'export': a trained network as files for other software.

Each file is loaded again and compared with the network; export.json is written
last, so a folder that has one is whole.
"""

import dataclasses
import importlib.util
import itertools
import json
import math
import pathlib
import re
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from nasfas_jax import (
  adaptation,
  config_checks,
  files,
  metrics,
  models,
  progress,
  records,
  remote,
  run_config,
  run_log,
  settings,
)
from nasfas_jax import detector as detector_lib
from nasfas_jax.data import protocols
from nasfas_jax.data.clips import ClipSource
from nasfas_jax.data.index import Row
from nasfas_jax.detector import Detector
from nasfas_jax.exporting import (
  card,
  clip_checks,
  package,
  parameters,
  signature,
  stablehlo,
)
from nasfas_jax.exporting.clip_checks import Clips
from nasfas_jax.metrics import thresholds
from nasfas_jax.ops import rank_pooling

FORMATS = ('orbax', 'onnx', 'int8', 'stablehlo', 'litert')
ONNX, INT8 = 'model.onnx', 'model_int8.onnx'
STABLEHLO, LITERT = 'model.stablehlo', 'model.tflite'
SELF_TEST, CARD, CHECK = 'selftest.npz', 'README.md', 'check_onnx.py'
# What `clear` makes of a card that was completed by hand.
_OLD_CARD = re.compile(r'README\.before[0-9]+\.md')
_WRITTEN = (ONNX, INT8, STABLEHLO, LITERT, SELF_TEST, CARD, CHECK)
DECISION = (
  'live if score > threshold; the score of a clip is the mean of its snippets'
)
# Below the workdir: an export that is not whole yet.
_PARTIAL = '.partial'
_GENERATED_CLIPS = 4
_ROUNDS = 50


def export(
  config: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  prepare: Callable[[ml_collections.ConfigDict], None],
) -> None:
  """Exports the run in config.checkpoint to the folder `workdir`.

  Args:
    config: see configs/export.py.
    workdir: a new folder, or one of an earlier export, which is replaced.
    prepare: renders the embedded dataset of a run's config if it is missing.

  Raises:
    ValueError: for a bad field, a folder that is no finished run or holds other
      files, or a file that differs from the network by more than 1e-4; for
      int8 also if the clips on this machine are not those of the run. An
      earlier export stays then.
    FileNotFoundError: if the clips for int8 are not on this machine.
  """
  check_config(config)
  source = remote.local(config.checkpoint)
  if package.is_export(source):
    raise ValueError(
      f'config.checkpoint: {str(source)!r} is an export already; give the '
      'workdir of the run.'
    )
  check_workdir(workdir)
  check_installed(config.formats)
  detector = in_float32(
    detector_lib.load(
      source, crop_size=config.crop_size, adapted=config.adapted
    )
  )
  check_formats(detector.model, config.formats)
  run = run_config.read(source)
  if config.data_dir:
    run.data.data_dir = config.data_dir
  content = describe(detector, source, config)
  try:
    prepare(run)
    selection = find_clips(run, source)
  except (FileNotFoundError, ValueError) as error:
    if 'int8' in config.formats:
      text = f"{error} 'int8' in config.formats needs the clips of the run."
      if isinstance(error, FileNotFoundError):
        raise FileNotFoundError(text) from error
      raise ValueError(text) from error
    progress.say(f'{error} The files are compared on generated clips only.')
    selection = None
  reading = detector.reading
  parts = [
    clip_checks.generated(
      _GENERATED_CLIPS,
      num_frames=reading.num_frames,
      image_size=reading.image_size,
      face_scale=reading.face_scale,
      map_size=reading.map_size,
    )
  ]
  if selection is not None:
    chosen = spread(selection.dev, config.compared_clips)
    parts += [clip for _, clip in read_clips(detector, chosen)]
  clips = clip_checks.joined(parts)
  scores, maps = detector.score_snippets(
    {'frames': clips.frames, 'score_mask': clips.score_mask}
  )
  content['compared'] = {
    'clips_of_the_run': len(parts) - 1,
    'generated_clips': _GENERATED_CLIPS,
    'largest_score': float(scores.max()),
    'tolerance': clip_checks.TOLERANCE,
  }
  # An earlier export stays until this one is whole.
  partial = workdir / _PARTIAL
  try:
    _write(
      partial,
      content,
      detector,
      _Comparison(clips, scores, maps),
      selection,
      config,
    )
    clear(workdir)
    # export.json last: it says that the others are there.
    made = list(partial.iterdir())
    for path in sorted(made, key=lambda path: path.name == package.FILE):
      path.rename(workdir / path.name)
  finally:
    shutil.rmtree(partial, ignore_errors=True)


def _write(
  workdir: pathlib.Path,
  content: dict,
  detector: Detector,
  comparison: '_Comparison',
  selection: protocols.Selection | None,
  config: ml_collections.ConfigDict,
) -> None:
  """Writes an export into a new folder."""
  shutil.rmtree(workdir, ignore_errors=True)
  workdir.mkdir(parents=True)
  clips = comparison.clips
  formats = content['formats']
  for name in FORMATS:
    if name in config.formats:
      with progress.stage(f'Exporting {name}'):
        formats[name] = _WRITERS[name](
          workdir, detector, comparison, selection, config
        )
      progress.say(_announce(name, formats[name]))
  np.savez_compressed(
    workdir / SELF_TEST,
    frames=clips.frames[:_GENERATED_CLIPS],
    face_size=clips.face_size[:_GENERATED_CLIPS],
    score=comparison.scores[:_GENERATED_CLIPS],
    map=comparison.maps[:_GENERATED_CLIPS],
  )
  if 'onnx' in config.formats:
    folder = pathlib.Path(package.__file__).parent
    shutil.copyfile(folder / CHECK, workdir / CHECK)
  names = [n for n in (*_WRITTEN, parameters.FOLDER) if (workdir / n).exists()]
  text = card.make_card(content, [*names, package.FILE])
  files.write_whole(workdir / CARD, card.signed(text))
  package.write(workdir, content, names)
  package.read_content(workdir)


def find_clips(
  run: ml_collections.ConfigDict, source: pathlib.Path
) -> protocols.Selection:
  """The clips of a run, as far as they are prepared on this machine.

  Raises:
    ValueError: if other clips are prepared, or a set lacks a class.
    FileNotFoundError: if a dataset is not prepared.
  """
  selection = settings.selection(run)
  # What an older run does not say cannot be compared.
  then = run_log.read_data(source).get('fingerprints') or {}
  now = run_log.describe(selection)['fingerprints']
  if other := [name for name in now if then.get(name, now[name]) != now[name]]:
    raise ValueError(
      f'The {" and ".join(other)} clips that are prepared here are not those '
      f'of the run in {str(source)!r}.'
    )
  return selection


@dataclasses.dataclass(frozen=True, eq=False)
class _Comparison:
  """Clips with the network's own scores and maps."""

  clips: Clips
  scores: np.ndarray
  maps: np.ndarray

  def of(self, name: str, program: clip_checks.Program) -> float:
    """The difference of a file; raises ValueError if it is not allowed."""
    worst = clip_checks.difference(program, self.clips, self.scores, self.maps)
    clip_checks.check(name, worst)
    return worst


def check_config(config: ml_collections.ConfigDict) -> None:
  """Raises ValueError for a field outside its range; names it."""
  if not config.checkpoint:
    raise ValueError(
      'Give --config.checkpoint=WORKDIR, the workdir of a finished run.'
    )
  unknown = [name for name in config.formats if name not in FORMATS]
  if unknown or not config.formats:
    raise ValueError(
      f'config.formats is {tuple(config.formats)!r}; allowed: one or more of '
      f'{", ".join(FORMATS)}.'
    )
  if 'int8' in config.formats and 'onnx' not in config.formats:
    raise ValueError(
      "config.formats has 'int8' without 'onnx', which it is made from."
    )
  allowed = {
    'calibration_clips': config_checks.Number(1, 10_000),
    'compared_clips': config_checks.Number(0, 1000),
  }
  if config.crop_size is not None:
    allowed['crop_size'] = config_checks.Number(8, 4096)
  config_checks.check_fields(config, allowed)


def check_installed(formats: Sequence[str]) -> None:
  """Raises ValueError if a format needs a package that is not installed."""
  needs = {
    'onnx': ('export', ('onnx', 'onnxruntime')),
    'int8': ('export', ('onnx', 'onnxruntime')),
    'stablehlo': ('export', ('flatbuffers',)),
    'litert': ('litert', ('litert_converter', 'ai_edge_litert')),
  }
  for name in formats:
    extra, modules = needs.get(name, ('', ()))
    for module in modules:
      if importlib.util.find_spec(module) is None:
        raise ValueError(
          f'config.formats has {name!r}, which needs {module}: pip install -e '
          f"'.[{extra}]', or leave it out."
        )


def check_formats(model: nn.Module, formats: Sequence[str]) -> None:
  """Raises ValueError for a format that a network does not have.

  Args:
    model: the network.
    formats: that are asked for.
  """
  choices = getattr(getattr(model, 'genotype', None), 'choices', None)
  if 'onnx' in formats and choices is not None and choices.norm != 'batch':
    others = tuple(name for name in formats if name not in ('onnx', 'int8'))
    raise ValueError(
      f"config.formats has 'onnx', but the genotype of the run normalises by "
      f'{choices.norm!r}; allowed with onnx and int8: batch. Give '
      f'--config.formats="{others!r}".'
    )


def check_workdir(workdir: pathlib.Path) -> None:
  """Raises ValueError for a folder with files that are not of an export."""
  if not workdir.exists():
    return
  known = {*_WRITTEN, parameters.FOLDER, package.FILE, _PARTIAL}
  other = sorted(
    p.name
    for p in workdir.iterdir()
    if p.name not in known and not _OLD_CARD.fullmatch(p.name)
  )
  if other:
    raise ValueError(
      f'{str(workdir)!r} holds {other[0]!r}, which is not of an export; give '
      'another --workdir.'
    )


def clear(workdir: pathlib.Path) -> None:
  """Removes an earlier export, export.json first.

  A card that was completed by hand stays, as README.before1.md or so.
  """
  workdir.mkdir(parents=True, exist_ok=True)
  if card.is_edited(workdir / CARD):
    numbers = (f'README.before{number}.md' for number in itertools.count(1))
    kept = next(n for n in numbers if not (workdir / n).exists())
    (workdir / CARD).rename(workdir / kept)
    progress.say(f'The card was completed by hand; it is now {workdir / kept}')
  for name in (package.FILE, *_WRITTEN):
    (workdir / name).unlink(missing_ok=True)
  if (workdir / parameters.FOLDER).exists():
    shutil.rmtree(workdir / parameters.FOLDER)


def in_float32(detector: Detector) -> Detector:
  """The detector with a network that computes in float32."""
  model = detector.model.clone(dtype=jnp.float32)
  if hasattr(model, 'remat'):
    model = model.clone(remat=False)
  return dataclasses.replace(detector, model=model)


def describe(
  detector: Detector,
  source: pathlib.Path,
  config: ml_collections.ConfigDict,
) -> dict:
  """The content of export.json, but for the files and the formats."""
  results = files.read_json(source / 'results.json')
  # One of weights from PyTorch is compared, not judged.
  of_model = results.get('model', {})
  data = files.read_json(source / 'data.json')
  reading, form = detector.reading, detector.form
  coefficients = rank_pooling.COEFFICIENTS.get(form.rank_pooling)
  return {
    'name': detector.name,
    'network': package.describe_network(detector.model),
    'num_parameters': models.count_parameters(detector.variables['params']),
    'gmac': of_model.get('gmac'),
    'steps': of_model.get('step'),
    'trained_on': detector.trained_on,
    'needs_motion': detector.needs_motion,
    'boxes': list(detector.boxes),
    'signature': {
      'frames': f'uint8 [batch, {reading.num_frames}, {reading.image_size}, '
      f'{reading.image_size}, 3], RGB, in order of time; the card says how '
      'they are made',
      'face_size': 'float32 [batch, 2], width and height of the face box in '
      'the pictures of step 2 of the card, in any unit; 0, 0 if unknown',
      'score': 'float32 [batch], sum of the whole map, divided by the number '
      'of its cells in the ellipse inscribed in the face box; the mean of the '
      'map if the face is unknown',
      'map': f'float32 [batch, {reading.map_size}, {reading.map_size}]',
    },
    'input': {
      'fusion': form.fusion,
      'rank_pooling': form.rank_pooling,
      'normalization': form.normalization,
      'mean': 127.5,
      'scale': 128.0,
      'static_frame': reading.num_frames // 2,
      'coefficients': None
      if coefficients is None or form.fusion == 'static'
      else [float(c) for c in coefficients(reading.num_frames)],
    },
    'reading': dataclasses.asdict(reading),
    'label': {
      'live': 1,
      'spoof': 0,
      'score': 'higher is more evidence for live',
      'decision': DECISION,
    },
    'threshold': {
      **dataclasses.asdict(detector.threshold),
      # Of the run's folder, which the export may leave.
      'source': pathlib.Path(detector.threshold.source).name,
    },
    'adapted': adapted_content(detector.adapted),
    'metrics': _metrics(results),
    'data': {
      'versions': data.get('versions'),
      'num_clips': data.get('num_clips'),
      'fingerprints': data.get('fingerprints'),
      'licence': config.data_licence,
    },
    'made_with': {'jax': jax.__version__},
    'formats': {},
  }


def _metrics(results: Mapping) -> dict | None:
  """What an export says of a run's figures; None for one that has none."""
  if 'test' not in results.get('splits', {}):
    return None
  return {
    'protocol': results['protocol'],
    'batch_norm': detector_lib.batch_norm_of(results),
    'test': results['splits']['test'],
    'level': results['confidence']['level'],
    'intervals': {
      name: value
      for name, value in results['confidence'].items()
      if isinstance(value, list)
    },
  }


def adapted_content(content: Mapping | None) -> dict | None:
  """What an export says of adapted batch statistics; None without them."""
  if content is None:
    return None
  return {
    'text': adaptation.describe(content),
    'clips': content['threshold']['source'],
    'test': content.get('test'),
  }


def spread(rows: Sequence[Row], number: int) -> list[Row]:
  """At most `number` rows, evenly spread."""
  places = np.linspace(0, len(rows) - 1, min(number, len(rows)))
  return [rows[int(place)] for place in np.round(places)]


def read_clips(
  detector: Detector, rows: Sequence[Row]
) -> Iterator[tuple[Row, Clips]]:
  """The snippets of prepared clips, as the evaluation makes them."""
  source = ClipSource(rows)
  for i, row in enumerate(rows):
    record = source[i]
    made = detector.snippets(record['frames'], record['face_box'])
    x0, y0, x1, y1 = (float(value) for value in record['face_box'])
    size = np.array([[x1 - x0, y1 - y0]], np.float32)
    number = len(made['frames'])
    yield (
      row,
      Clips(made['frames'], size.repeat(number, 0), made['score_mask']),
    )


def program_of(detector: Detector) -> Callable:
  """What every format holds, see `signature.program`."""
  return signature.program(
    detector.model,
    detector.variables,
    detector.form,
    face_scale=detector.reading.face_scale,
    map_size=detector.reading.map_size,
  )


def _write_orbax(workdir, detector, comparison, selection, config) -> dict:
  del comparison, selection, config
  folder = workdir / parameters.FOLDER
  parameters.write(folder, detector.variables)
  shapes = parameters.template(
    detector.model, detector.reading.image_size, detector.form.channels
  )
  again = parameters.read(folder, shapes)
  same = jax.tree.map(
    lambda a, b: np.array_equal(np.asarray(a), np.asarray(b)),
    again,
    dict(detector.variables),
  )
  clip_checks.check(
    parameters.FOLDER, 0.0 if all(jax.tree.leaves(same)) else math.inf
  )
  return {'file': parameters.FOLDER, 'difference': 0.0}


def _metadata(threshold: dict) -> dict[str, str]:
  return {
    'threshold': repr(threshold['value']),
    'threshold_rule': threshold['rule'],
    'decision': DECISION,
    'export': package.FILE,
  }


def _session(path: pathlib.Path) -> tuple[clip_checks.Program, float]:
  """(the program of an ONNX file, its median milliseconds for one clip)."""
  from nasfas_jax.exporting import check_onnx

  session = check_onnx.open_session(path, 1)
  shape = session.get_inputs()[0].shape
  one = {
    'frames': np.zeros((1, *shape[1:]), np.uint8),
    'face_size': np.ones((1, 2), np.float32),
  }
  times = []
  for _ in range(_ROUNDS):
    start = time.perf_counter()
    session.run(None, one)
    times.append(time.perf_counter() - start)

  def run(frames, face_size):
    return session.run(
      list(signature.OUTPUTS), {'frames': frames, 'face_size': face_size}
    )

  return run, 1e3 * statistics.median(times)


def graph_of(detector: Detector, metadata: dict[str, str] | None = None):
  """The ONNX graph of a detector, an onnx.ModelProto.

  Raises:
    ValueError: as `onnx_graph.build`.
    ModuleNotFoundError: if onnx is not installed.
  """
  # Imported late: the package is an extra.
  from nasfas_jax.exporting import onnx_graph

  return onnx_graph.build(
    detector.model,
    detector.variables,
    detector.form,
    num_frames=detector.reading.num_frames,
    image_size=detector.reading.image_size,
    face_scale=detector.reading.face_scale,
    metadata=metadata,
  )


def _write_onnx(workdir, detector, comparison, selection, config) -> dict:
  # Imported late: the packages are an extra.
  import onnx
  import onnxruntime

  from nasfas_jax.exporting import onnx_graph

  del selection, config
  made = graph_of(
    detector, metadata=_metadata(dataclasses.asdict(detector.threshold))
  )
  path = workdir / ONNX
  files.write_whole(path, made.SerializeToString())
  run, milliseconds = _session(path)
  return {
    'file': ONNX,
    'difference': comparison.of(ONNX, run),
    'bytes': path.stat().st_size,
    'nodes': len(made.graph.node),
    'opset': onnx_graph.OPSET,
    'milliseconds_one_clip_one_thread': round(milliseconds, 3),
    'onnx': onnx.__version__,
    'onnxruntime': onnxruntime.__version__,
  }


def _write_int8(workdir, detector, comparison, selection, config) -> dict:
  from nasfas_jax.exporting import int8

  if not (selection.train and selection.dev and selection.test):
    raise ValueError(
      f'The protocol {detector.trained_on!r} has no train, dev or test clips '
      "here; leave 'int8' out of config.formats."
    )
  path = workdir / INT8
  rows = spread(selection.train, config.calibration_clips)
  calibration = (
    {
      'frames': clip.frames[i : i + 1],
      'face_size': clip.face_size[i : i + 1],
    }
    for _, clip in read_clips(detector, rows)
    for i in range(len(clip.frames))
  )
  int8.quantize(workdir / ONNX, path, calibration)
  whole, _ = _session(workdir / ONNX)
  quantised, milliseconds = _session(path)
  scored = {
    part: score_both(detector, part_rows, (whole, quantised))
    for part, part_rows in (
      (selection.dev_source, selection.dev),
      ('test', selection.test),
    )
  }
  labels = {
    selection.dev_source: np.array([r['label'] for r in selection.dev]),
    'test': np.array([r['label'] for r in selection.test]),
  }
  threshold = int8_threshold(
    detector.threshold,
    run_config.read(remote.local(config.checkpoint)).threshold,
    *scored[selection.dev_source],
    labels[selection.dev_source],
    [row['attack_type'] for row in selection.dev],
    selection.dev_source,
  )
  int8.set_metadata(path, _metadata(threshold))
  found, _ = quantised(comparison.clips.frames, comparison.clips.face_size)
  return {
    'file': INT8,
    'difference': float(np.abs(found - comparison.scores).max()),
    'bytes': path.stat().st_size,
    'milliseconds_one_clip_one_thread': round(milliseconds, 3),
    'calibration_clips': len(rows),
    'threshold': threshold,
    'auc': {
      part: {
        'float32': _auc(both[0], labels[part]),
        'int8': _auc(both[1], labels[part]),
      }
      for part, both in scored.items()
    },
  }


def int8_threshold(
  whole: detector_lib.Threshold,
  rule: str,
  scores: np.ndarray,
  quantised: np.ndarray,
  labels: np.ndarray,
  attack_types: Sequence[str],
  split: str,
) -> dict[str, object]:
  """The threshold of the int8 network, by the policy of the run's own.

  A threshold that the rule of the run has set on its clips is set by that rule
  again, on the scores in int8. One that was given, calibrated or adapted is
  carried over, see `carry_over`.

  Args:
    whole: threshold of the network in float32, as it is exported.
    rule: config.threshold of the run.
    scores: float64 [N], of the split by the network in float32.
    quantised: float64 [N], the same in int8.
    labels: ints [N], 1 live, 0 spoof.
    attack_types: strings [N].
    split: name of the clips.

  Returns:
    'value', 'rule' in words, and 'bpcer': 'float32' and 'int8', that of the
    split at the threshold of each.

  Raises:
    ValueError: as `thresholds.choose`.
  """
  parsed = thresholds.parse(rule)
  of_the_rule = pathlib.Path(whole.source).name == 'results.json'
  if of_the_rule and parsed.kind != 'value':
    value = thresholds.choose(parsed, quantised, labels, attack_types)
    words = f'{thresholds.describe(parsed, split)}, in int8'
  else:
    live = labels == 1
    value = carry_over(whole.value, scores[live], quantised[live])
    words = (
      f'score in int8 with the BPCER of the {split} clips in float32 at the '
      f'threshold: {whole.rule}'
    )
  return {
    'value': float(value),
    'rule': words,
    'bpcer': {
      'float32': metrics.bpcer(scores, labels, whole.value),
      'int8': metrics.bpcer(quantised, labels, value),
    },
  }


def carry_over(
  threshold: float, scores: np.ndarray, others: np.ndarray
) -> float:
  """The threshold at which other scores of live clips have the same BPCER.

  Its place between the neighbouring scores is that of the threshold between
  its own; beyond all scores it keeps its distance.

  Args:
    threshold: of `scores`.
    scores: float64 [N] of live clips, at least one.
    others: float64 [N], another network's of the same clips.
  """
  scores, others = np.sort(scores), np.sort(others)
  # So many are rejected: those at the threshold, too.
  number = int(np.searchsorted(scores, threshold, side='right'))
  if number == len(scores):
    return float(others[-1] + (threshold - scores[-1]))
  # A sum may be rounded up to the next score.
  below = np.nextafter(others[number], -np.inf)
  if number == 0:
    return float(min(others[0] - (scores[0] - threshold), below))
  low, width = others[number - 1], others[number] - others[number - 1]
  share = (threshold - scores[number - 1]) / (
    scores[number] - scores[number - 1]
  )
  return float(max(low, min(low + share * width, below)))


def _auc(scores: np.ndarray, labels: np.ndarray) -> float | None:
  known = labels != records.UNLABELLED
  if not known.any():
    return None
  return metrics.auc(scores[known], labels[known])


def score_both(
  detector: Detector,
  rows: Sequence[Row],
  programs: Sequence[clip_checks.Program],
) -> np.ndarray:
  """The scores of clips by several programs: float64 [programs, rows]."""
  found = np.zeros((len(programs), len(rows)))
  with progress.bar('Scoring clips', len(rows)) as bar:
    for i, (_, clip) in enumerate(read_clips(detector, rows)):
      for j, program in enumerate(programs):
        scores, _ = program(clip.frames, clip.face_size)
        found[j, i] = np.mean(scores, dtype=np.float64)
      bar.update(i + 1)
  return found


def _write_stablehlo(workdir, detector, comparison, selection, config) -> dict:
  del selection, config
  reading = detector.reading
  data = stablehlo.serialize(
    program_of(detector),
    num_frames=reading.num_frames,
    image_size=reading.image_size,
  )
  path = workdir / STABLEHLO
  files.write_whole(path, data)
  program = jax.jit(stablehlo.load(path.read_bytes()))
  return {
    'file': STABLEHLO,
    'difference': comparison.of(STABLEHLO, program),
    'bytes': len(data),
    'platforms': list(stablehlo.PLATFORMS),
    'compared_on': jax.default_backend(),
    'jax': jax.__version__,
    'promise': stablehlo.PROMISE,
  }


def _write_litert(workdir, detector, comparison, selection, config) -> dict:
  from nasfas_jax.exporting import litert

  del selection, config
  reading = detector.reading
  path = workdir / LITERT
  files.write_whole(
    path,
    litert.convert(
      program_of(detector),
      num_frames=reading.num_frames,
      image_size=reading.image_size,
    ),
  )
  program = litert.load(path.read_bytes())
  worst = comparison.of(LITERT, program)
  frames, size = comparison.clips.frames[:1], comparison.clips.face_size[:1]
  times = []
  for _ in range(_ROUNDS):
    start = time.perf_counter()
    program(frames, size)
    times.append(time.perf_counter() - start)
  return {
    'file': LITERT,
    'difference': worst,
    'bytes': path.stat().st_size,
    'milliseconds_one_clip_one_thread': round(
      1e3 * statistics.median(times), 3
    ),
  }


_WRITERS = {
  'orbax': _write_orbax,
  'onnx': _write_onnx,
  'int8': _write_int8,
  'stablehlo': _write_stablehlo,
  'litert': _write_litert,
}


def _announce(name: str, figures: dict) -> str:
  text = f'{figures["file"]}: differs by {figures["difference"]:.1e}'
  if 'bytes' in figures:
    text += f', {figures["bytes"] / 1024:.0f} KiB'
  if 'milliseconds_one_clip_one_thread' in figures:
    text += f', {figures["milliseconds_one_clip_one_thread"]:.2f} ms a clip'
  if name == 'int8':
    text += ', AUC (float32, int8) ' + json.dumps(
      {
        part: [None if v is None else round(v, 4) for v in both.values()]
        for part, both in figures['auc'].items()
      }
    )
  return text
