"""The experiment 'calibrate': the threshold of a run from a few live clips.

A threshold carries badly to another place: there, live faces may all score
lower. Live clips are easy to record, attacks are not. So the threshold is set
by the live clips of the new place alone, as high as they can vouch for. On
request the network's batch statistics are moved towards that place too, by the
clips of other persons than those that set the threshold.
"""

import collections
import dataclasses
import filecmp
import math
import pathlib
from collections.abc import Mapping, Sequence

import ml_collections
import numpy as np

from nasfas_jax import (
  adaptation,
  config_checks,
  evaluate,
  files,
  metrics,
  predict,
  progress,
  records,
  remote,
  run_config,
  run_log,
  score_table,
  scoring,
  settings,
  sharding,
)
from nasfas_jax import detector as detector_lib
from nasfas_jax.detector import Detector
from nasfas_jax.exporting import card, package
from nasfas_jax.metrics import rates, tolerance

FILE = 'threshold.json'
CONFIDENCE = 0.95
# The values of config.subjects.
SUBJECTS = ('', 'folder')
# The values of config.split. The network has seen the train clips.
SPLITS = ('dev', 'test')
# Takes no clip for live, until the threshold is set.
_NOTHING_LIVE = detector_lib.Threshold(math.inf, 'none is set', '')
# One in so many persons gives batch statistics, the others set the threshold.
_SHARE = 3
# With fewer of them, their statistics are those of a few faces.
_MANY_PERSONS = 3
_SCORES = 'scores.csv'
# What tells a clip from others.
_CLIP = ('clip_id', 'subject')
# What is kept of `metrics.summarise`.
_FIGURES = (
  *('threshold', 'auc', 'bpcer', 'apcer_max', 'apcer_pooled'),
  *('num_live', 'num_spoof'),
)


def rounded_up(number: float) -> float:
  """The least number of two significant digits that is not below this one.

  Args:
    number: above 0.
  """
  places = 1 - math.floor(math.log10(number))
  # Of numbers that have two digits already, rounding errors are none.
  return round(math.ceil(round(number * 10**places, 6)) / 10**places, 12)


def calibrate(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
  """Writes threshold.json into the folder of the run in config.checkpoint.

  With config.statistics.adapt it writes the folder `adaptation.FOLDER` instead.

  Args:
    config: see configs/calibrate.py.
    workdir: unused.

  Raises:
    ValueError: for an invalid config, an input without a live clip that can be
      scored, clips that are too few for config.bpcer, or a checkpoint that is
      no finished run.
    FileNotFoundError: if a file of the run is missing.
  """
  del workdir
  check(config)
  source = remote.local(config.checkpoint)
  if package.is_export(source):
    raise ValueError(
      f'config.checkpoint: {str(source)!r} is an export, whose threshold is in '
      'its files; give the workdir of the run, and export that again.'
    )
  if config.statistics.adapt:
    _adapt(config, source)
    return
  before = detector_lib.find_threshold(source)
  # A run without one, such as of weights from PyTorch, gets its first.
  in_use = before or _NOTHING_LIVE
  detector_lib.read_run(source, config.crop_size, in_use)
  if config.scores:
    found = _read_scores(config, source)
  else:
    paths = _find_files(config)
    if config.subjects:
      # Before anything is decoded.
      persons_of(paths, config.input)
    detector = detector_lib.load(
      source, crop_size=config.crop_size, threshold=in_use
    )
    box = predict.choose_box(config, detector)
    found = _score_files(config, detector, paths, box)
  content = set_threshold(**found, bpcer=config.bpcer)
  content['replaces'] = before and _replaces(before, found['scores'])
  content |= _test_apcer(source, content['value'])
  files.write_json(source / FILE, content)
  for line in say(content):
    progress.say(line)
  progress.say(f'Threshold: {source / FILE}')


def check(config: ml_collections.ConfigDict) -> None:
  """Checks the fields of the config.

  Raises:
    ValueError: names the field, its value and what is allowed.
  """
  if not config.checkpoint:
    raise ValueError(
      'Give --config.checkpoint=WORKDIR, that of a finished run.'
    )
  if bool(config.input) == bool(config.scores):
    raise ValueError(
      f'config.input is {config.input!r} and config.scores {config.scores!r}; '
      'give one of them: files of live faces, or a CSV file of scores.'
    )
  if not 0 < config.bpcer < 1:
    raise ValueError(
      f'config.bpcer is {config.bpcer}; allowed: between 0 and 1.'
    )
  config_checks.check_fields(
    config,
    {
      'subjects': config_checks.OneOf(SUBJECTS),
      'split': config_checks.OneOf(SPLITS),
      'statistics.prior_clips': config_checks.Number(0, 10**6, above=True),
      'statistics.max_clips': config_checks.Number(1, 10**4),
      'statistics.auc_tolerance': config_checks.Number(0.0, 1.0),
    },
  )
  if config.split != SPLITS[0] and config.input:
    raise ValueError(
      f'config.split is {config.split!r} with config.input, whose files have '
      'no splits; it goes with config.scores.'
    )
  if config.statistics.adapt and config.scores:
    raise ValueError(
      'config.statistics.adapt is True with config.scores; scores have no '
      'frames: give the files, --config.input.'
    )
  if config.subjects and config.scores:
    raise ValueError(
      f'config.subjects is {config.subjects!r} with config.scores, whose '
      'persons are its column subject; it goes with config.input.'
    )
  if config.statistics.adapt and not config.subjects:
    raise ValueError(
      "config.subjects is ''; with config.statistics.adapt the persons must be "
      'known, since some give the statistics and others set the threshold. '
      'Put the clips of each person in a folder of their own, and give '
      '--config.subjects=folder.'
    )
  predict.check_reading(config)


def set_threshold(
  scores: np.ndarray,
  *,
  num_subjects: int | None,
  origin: str,
  not_scored: dict[str, int],
  bpcer: float,
  source_split: str = '',
  warning: str = '',
) -> dict[str, object]:
  """The highest threshold whose BPCER the live clips can vouch for.

  Args:
    scores: floats [N] of live clips, finite.
    num_subjects: number of persons in them; None if it is not known.
    origin: what the clips are, for the file.
    not_scored: outcome -> number of clips that had no score.
    bpcer: the largest BPCER, in (0, 1).
    source_split: the split of `origin` that the clips are; '' without splits.
    warning: of these clips, what else is to be known.

  Returns:
    'value', 'rule' and 'split' as in results.json; 'source' and
    'source_split'; the numbers 'num_live', 'num_subjects' and 'rejected';
    'bpcer', as wanted, its one-sided upper 'bound' with 'confidence';
    'not_scored'; 'warning'.

  Raises:
    ValueError: if the clips are too few, or so many have the lowest score of
      all, 0, that the threshold would accept everything; says what these can
      vouch for.
  """
  number = len(scores)
  most = _most_rejected(number, bpcer)
  value, rejected = tolerance.threshold_below(scores, most)
  if value < 0:
    raise ValueError(_accepts_all(scores, most, bpcer))
  # Of the rank, which was fixed beforehand. With ties fewer are rejected, but
  # how many was seen first, so that number has no bound of this confidence.
  bound = tolerance.upper_bound(most, number, CONFIDENCE)
  split = f'{source_split} ' if source_split else ''
  warnings = [warning] if warning else []
  # The rule goes where the warning does not, so it has the condition too.
  condition = ''
  if num_subjects is None:
    condition = ' if each clip is of another person'
    warnings.append(
      'Who is in the clips is not known, so each counts as a person of its '
      'own: if persons have several clips, new ones may be rejected more often '
      'than the bound says. --config.subjects=folder, or a column subject in '
      'config.scores, says who.'
    )
  elif num_subjects < number:
    condition = f' if the clips, of {num_subjects} subjects, are independent'
    warnings.append(
      f'The bound takes the clips as independent, but they are of only '
      f'{num_subjects} subjects: new persons may be rejected more often.'
    )
  if not_scored:
    listed = ', '.join(f'{n} {name}' for name, n in not_scored.items())
    warnings.append(
      f'{sum(not_scored.values())} clips had no score ({listed}); they do not '
      'count in BPCER, and a user who meets this is not let in either.'
    )
  return {
    'value': value,
    'rule': (
      f'rejects {rejected} of {number} live {split}clips of {origin}: BPCER '
      f'at most {rounded_up(100 * bound):g} % there, with '
      f'{100 * CONFIDENCE:g} % confidence{condition}'
    ),
    'split': 'calibration',
    'source': origin,
    'source_split': source_split,
    'num_live': number,
    'num_subjects': num_subjects,
    'rejected': rejected,
    'bpcer': bpcer,
    'bound': bound,
    'confidence': CONFIDENCE,
    'not_scored': not_scored,
    'warning': ' '.join(warnings),
  }


def _most_rejected(number: int, bpcer: float) -> int:
  """The most clips that may be rejected; ValueError if they are too few."""
  most = tolerance.most_rejected(number, bpcer, CONFIDENCE)
  if most is None:
    best = tolerance.upper_bound(0, number, CONFIDENCE)
    raise ValueError(
      f'{number} live clips are too few for a BPCER of {100 * bpcer:g} %: even '
      'if none is rejected, it may be '
      f'{100 * best:.1f} % (upper bound at {100 * CONFIDENCE:g} %). It takes '
      f'{tolerance.clips_needed(bpcer, CONFIDENCE)} clips, or '
      f'--config.bpcer={np.ceil(1000 * best) / 1000:g}.'
    )
  return most


def _accepts_all(scores: np.ndarray, most: int, bpcer: float) -> str:
  """Why a threshold below 0 is refused; a map, and so a score, ends in a ReLU.

  Args:
    scores: floats [N] of live clips.
    most: how many of them may be rejected.
    bpcer: the largest BPCER.
  """
  number, zeros = len(scores), int(np.sum(scores <= 0))
  best = tolerance.upper_bound(zeros, number, CONFIDENCE)
  possible = np.ceil(1000 * best) / 1000
  return (
    f'{zeros} of {number} live clips have a score of 0, the lowest that a '
    f'network gives, and for a BPCER of {100 * bpcer:g} % no more than {most} '
    'may be rejected: the threshold would lie below 0 and accept every attack. '
    + (
      f'Possible with these clips: --config.bpcer={possible:g}.'
      if possible < 1
      else 'With these clips no BPCER is possible.'
    )
  )


def _replaces(before: detector_lib.Threshold, scores: np.ndarray) -> dict:
  """What the threshold in use does to the live clips."""
  return {
    'value': before.value,
    'rule': before.rule,
    'rejected': int(np.sum(scores <= before.value)),
  }


def say(content: dict) -> list[str]:
  """The lines that a calibration prints."""
  before = content['replaces']
  lines = [
    f'Live is now a score above {content["value"]:.6g}: {content["rule"]}.'
  ]
  if before is None:
    lines.append('The run had no threshold before.')
  else:
    lines.append(
      f'Before, it was {before["value"]:.6g} ({before["rule"]}), which rejects '
      f'{before["rejected"]} of these {content["num_live"]} clips.'
    )
  rates_then = content['test_apcer']
  if rates_then is None:
    lines.append(
      f'What it does to attacks is not known: {content["no_test_apcer"]}'
    )
  else:
    lines.append(
      "Of the attacks in the run's own test set it accepts "
      f'{100 * rates_then["pooled"]:.1f} %, of the worst type '
      f'{100 * rates_then["worst"]:.1f} %. Attacks at the new place may score '
      'otherwise; only attacks recorded there can tell.'
    )
  if content['warning']:
    lines.append(f'Warning: {content["warning"]}')
  return lines


def _read_scores(config, source: pathlib.Path) -> dict[str, object]:
  """The live clips of config.scores, as arguments of `set_threshold`."""
  path, split = config.scores, config.split
  try:
    scored = score_table.read(path)
  except (ValueError, FileNotFoundError) as error:
    raise type(error)(f'config.scores: {error}') from error
  _check_origin(pathlib.Path(path), source)
  if not score_table.has_column(path, 'split'):
    # One set of clips, which `score_table` calls test.
    split, columns = '', scored['test']
  elif split in scored:
    columns = scored[split]
  else:
    raise ValueError(
      f'config.split is {split!r}, and config.scores, {path!r}, has clips of '
      f'{", ".join(scored)}; allowed: one of them that is dev or test.'
    )
  live = score_table.where(columns, columns['label'] == records.LIVE)
  if not len(live['score']):
    named = f'{split} ' if split else ''
    raise ValueError(
      f'config.scores: {path!r} has no {named}clips with label 1.'
    )
  known = score_table.has_column(path, 'subject')
  return {
    'scores': live['score'],
    'num_subjects': len(np.unique(live['subject'])) if known else None,
    'origin': pathlib.Path(path).name,
    'not_scored': {},
    'source_split': split,
    'warning': ' '.join(
      filter(None, (_trained_on(live, source), _shared_with_test(live, source)))
    ),
  }


def _check_origin(path: pathlib.Path, source: pathlib.Path) -> None:
  """Raises ValueError for scores that single clips do not get from a run.

  What results.json says of them is known for the scores.csv beside it, and for
  a copy of the run's own.

  Args:
    path: file of scores.
    source: folder of the run.
  """
  path, folder = path.resolve(), None
  own = source / _SCORES
  if path.name == _SCORES and (path.parent / 'results.json').exists():
    folder = path.parent
  elif own.exists() and filecmp.cmp(own, path, shallow=False):
    folder = source
  if folder is None:
    return
  found, of_run = _results(folder), _results(source)
  advice = 'Give live clips of the place instead: --config.input.'
  how = detector_lib.batch_norm_of(found)
  if how != scoring.RUNNING:
    raise ValueError(
      f'config.scores is {str(path)!r}, scores of batch_norm {how!r}: they '
      'depend on the other clips of their batch, and a single clip gets '
      f'others; allowed: {scoring.RUNNING}. {advice}'
    )
  if found.get('adapted'):
    raise ValueError(
      f'config.scores is {str(path)!r}, scores of adapted batch statistics; '
      'the threshold of the run is for those of its training. --config.input '
      'with --config.statistics.adapt=True sets that of adapted ones.'
    )
  theirs, ours = found.get('model'), of_run.get('model')
  if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
    for field in ('name', 'num_parameters', 'step', 'trained_on', 'digest'):
      # A results.json of an earlier version has no digest.
      known = field in theirs and field in ours
      if known and theirs[field] != ours[field]:
        raise ValueError(
          f'config.scores is {str(path)!r}, scores of another network than '
          f'that of config.checkpoint: its {field} is {theirs[field]!r}, '
          f'not {ours[field]!r}. {advice}'
        )
  if not (folder / run_config.FILE).is_file():
    return
  other = evaluate.other_clips(run_config.read(folder), run_config.read(source))
  if other:
    raise ValueError(
      f'config.scores is {str(path)!r}, scores of other crops or snippets than '
      f'those of the run: {other}. {advice}'
    )


def _results(folder: pathlib.Path) -> dict:
  """The content of a folder's results.json; {} without one."""
  path = folder / 'results.json'
  return run_config.load(path) if path.exists() else {}


def _trained_on(live: score_table.Columns, source: pathlib.Path) -> str:
  """A warning if the run was trained on some of these persons, or ''."""
  persons = set(live['subject'].tolist())
  seen = persons & set(run_log.read_data(source)['train_subjects'])
  if not seen:
    return ''
  return (
    f'The run was trained on {len(seen)} of the {len(persons)} persons of '
    f'these clips, such as {min(seen)!r}: to new persons the threshold carries '
    'over badly.'
  )


def _shared_with_test(live: score_table.Columns, source: pathlib.Path) -> str:
  """A warning if some of these clips are the run's own test clips, or ''."""
  path = source / _SCORES
  test = score_table.read(path).get('test') if path.exists() else None
  if test is None:
    return ''

  def clips(columns):
    return set(zip(*(columns[n].tolist() for n in _CLIP), strict=True))

  shared = clips(live) & clips(test)
  if not shared:
    return ''
  return (
    f"{len(shared)} of these clips are of the run's own test set, so that test "
    'set is no test of this threshold.'
  )


def _find_files(config) -> list[str]:
  """The files of config.input."""
  if config.subjects and not pathlib.Path(config.input).expanduser().is_dir():
    raise ValueError(
      f'config.input is {config.input!r}; allowed with config.subjects='
      "'folder': a folder that holds a folder for each person."
    )
  paths = predict.find_files(config.input, config.limits.files)
  if paths is None:
    raise ValueError(
      f'config.input is {config.input!r}, a camera; allowed: files, a folder '
      'or a pattern.'
    )
  return paths


def _score_files(
  config,
  detector: Detector,
  paths: Sequence[str],
  box: detector_lib.Box,
  *,
  title: str = 'Scoring',
  keep: list | None = None,
) -> dict[str, object]:
  """The scores of files of live faces, as arguments of `set_threshold`.

  Args:
    config: how they are read.
    detector: scores them.
    paths: the files.
    box: of the face in all files.
    title: of the progress bar.
    keep: the snippets of each scored clip are added to it, uint8
      [N, K, S, S, 3].
  """
  rules = predict.rules_of(config)
  scores, others, scored = [], collections.Counter(), []
  with progress.bar(title, len(paths)) as bar:
    for done, path in enumerate(paths, 1):
      judged = detector.score_file(path, box, rules)
      if judged.outcome in (detector_lib.LIVE, detector_lib.SPOOF):
        scores.append(judged.score)
        scored.append(path)
        if keep is not None:
          keep.append(judged.frames)
      else:
        others[judged.outcome] += 1
      bar.update(done)
  if not scores:
    listed = ', '.join(f'{n} {name}' for name, n in others.items())
    raise ValueError(
      f'config.input is {config.input!r}; none of its {len(paths)} files has a '
      f'score ({listed}).'
    )
  return {
    'scores': np.array(scores),
    # Of the clips that count.
    'num_subjects': len(persons_of(scored, config.input))
    if config.subjects
    else None,
    'origin': pathlib.Path(config.input).name or config.input,
    'not_scored': dict(sorted(others.items())),
  }


def persons_of(paths: Sequence[str], folder: str) -> dict[str, list[str]]:
  """The files of each person.

  Args:
    paths: files in `folder`.
    folder: holds a folder for each person.

  Raises:
    ValueError: for a file in no person's folder.
  """
  top, persons = pathlib.Path(folder).expanduser(), {}
  for path in paths:
    name, *inside = pathlib.Path(path).relative_to(top).parts
    if not inside:
      raise ValueError(
        f"config.subjects is 'folder', but {str(path)!r} is in no person's "
        'folder; allowed: config.input/PERSON/FILE.'
      )
    persons.setdefault(name, []).append(path)
  return persons


def split_persons(
  paths: Sequence[str], folder: str
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
  """The files of the persons that give statistics, and of the others.

  Args:
    paths, folder: see `persons_of`.

  Returns:
    Person -> files, of every third person by name; the same of the others.

  Raises:
    ValueError: as `persons_of`, or for fewer than two persons.
  """
  persons = persons_of(paths, folder)
  if len(persons) < 2:
    raise ValueError(
      f'config.input is {folder!r}; the clips are of one person, '
      f'{next(iter(persons))!r}. With config.statistics.adapt the threshold is '
      'set on other persons than those that give the statistics: it takes two '
      f'or more, better {_SHARE * _MANY_PERSONS}.'
    )
  names = sorted(persons)
  giving = names[::_SHARE]
  return (
    {name: persons[name] for name in giving},
    {name: persons[name] for name in names if name not in giving},
  )


def _adapt(config, source: pathlib.Path) -> None:
  """Writes adapted batch statistics and their threshold into a run's folder."""
  wanted = config.statistics
  giving, others = split_persons(_find_files(config), config.input)
  setting = [path for paths in others.values() for path in paths]
  try:
    # Before anything is decoded.
    _most_rejected(len(setting), config.bpcer)
  except ValueError as error:
    raise ValueError(
      f'{error} These are the clips of {len(others)} persons; those of '
      f'{len(giving)} others would give batch statistics.'
    ) from error
  detector = detector_lib.load(source, crop_size=config.crop_size)
  clips, frames = [path for paths in giving.values() for path in paths], []
  if len(clips) > wanted.max_clips:
    places = np.linspace(0, len(clips) - 1, wanted.max_clips)
    clips = [clips[int(place)] for place in np.round(places)]
  # Once, since it warns.
  box = predict.choose_box(config, detector)
  given = _score_files(
    config, detector, clips, box, title='Reading', keep=frames
  )
  weight = adaptation.weight_of(len(frames), wanted.prior_clips)
  with progress.stage('Finding the batch statistics'):
    found = adaptation.find_statistics(
      detector.model,
      detector.variables,
      np.concatenate(frames),
      detector.form,
    )
  new = dataclasses.replace(
    detector,
    variables={
      **detector.variables,
      'batch_stats': adaptation.mix(
        detector.variables['batch_stats'], found, weight
      ),
    },
  )
  content = {
    'num_clips': len(frames),
    'num_subjects': given['num_subjects'],
    'weight': weight,
    'prior_clips': wanted.prior_clips,
    'moments': (
      'all clips in one batch, every batch normalization by its moments; mixed '
      'with those of the training, variances by the law of total variance'
    ),
  }
  before = _score_files(config, detector, setting, box, title='Scoring, before')
  after = _score_files(config, new, setting, box, title='Scoring, after')
  # For comparison only: it may accept everything, and is not written.
  plain, _ = tolerance.threshold_below(
    before['scores'], _most_rejected(len(before['scores']), config.bpcer)
  )
  chosen = set_threshold(**after, bpcer=config.bpcer)
  chosen['rule'] += f'; {adaptation.describe(content)}'
  chosen['replaces'] = _replaces(detector.threshold, before['scores'])
  content['threshold'] = chosen
  content['test'] = _test_figures(
    config,
    source,
    new,
    {
      'before': detector.threshold.value,
      'threshold_only': plain,
      'after': chosen['value'],
    },
  )
  for line in _say_adapted(content):
    progress.say(line)
  _refuse_worse(content['test'], wanted)
  path = adaptation.write(
    source, detector.variables, new.variables['batch_stats'], content
  )
  progress.say(
    f'Batch statistics and threshold: {path}. They are used where '
    '--config.adapted=True, or load(..., adapted=True), asks for them.'
  )


def _test_figures(
  config,
  source: pathlib.Path,
  adapted: Detector,
  thresholds: Mapping[str, float],
) -> dict | None:
  """Figures of the run's own test set; None where they cannot be had.

  They cannot without its prepared clips, or if `_own_test` has none.

  Args:
    config: of the calibration.
    source: folder of the run.
    adapted: the run's detector with the adapted statistics.
    thresholds: 'before' and 'threshold_only' for the scores of the run as
      trained, which are in its scores.csv; 'after' for those of `adapted`.

  Returns:
    The same keys -> `_FIGURES`.
  """
  path = source / _SCORES
  test, reason = _own_test(source)
  if test is None:
    progress.say(reason)
    return None
  run = run_config.read(source)
  if config.statistics.data_dir:
    run.data.data_dir = config.statistics.data_dir
  try:
    rows = settings.selection(run, judging=True).test
  except FileNotFoundError as error:
    progress.say(str(error))
    return None
  if [row['clip_id'] for row in rows] != test['clip_id'].tolist():
    progress.say(
      f'The prepared test clips of {run.protocol!r} are not those of '
      f'{str(path)!r}.'
    )
    return None
  network = scoring.make_predict(
    adapted.model, adapted.variables, adapted.form, sharding.one_device()
  )
  scores = evaluate.score(run, network, rows, 'Scoring the test clips')
  known = test['label'] != records.UNLABELLED
  if not np.isfinite(scores).all():
    raise ValueError(
      'With the adapted batch statistics the network gives scores that are not '
      'finite. Nothing was written.'
    )
  figures = {}
  for name, threshold in thresholds.items():
    summary = metrics.summarise(
      (scores if name == 'after' else test['score'])[known],
      test['label'][known],
      test['attack_type'][known],
      threshold,
    )
    figures[name] = {field: summary[field] for field in _FIGURES}
  return figures


def _refuse_worse(test: Mapping | None, wanted) -> None:
  """Raises ValueError if the AUC falls by more than is tolerated."""
  if not test or test['before']['auc'] is None or wanted.accept_worse:
    return
  before, after = test['before']['auc'], test['after']['auc']
  if before - after > wanted.auc_tolerance:
    raise ValueError(
      f"With the adapted batch statistics the AUC on the run's own test set "
      f'falls from {before:.4f} to {after:.4f}, by more than '
      f'config.statistics.auc_tolerance, {wanted.auc_tolerance:g}. Nothing was '
      'written; --config.statistics.accept_worse=True writes it all the same.'
    )


def _say_adapted(content: dict) -> list[str]:
  """The lines that an adaptation prints."""
  threshold, test = content['threshold'], content['test']
  lines = [
    f'Warning: {adaptation.describe(content)}. They hold live faces only, so '
    'whatever marks this place, or these persons, counts as live to the '
    'network. What that does to attacks at this place is not known: only '
    'attacks recorded there can tell.',
  ]
  if content['num_subjects'] < _MANY_PERSONS:
    lines.append(
      f'Warning: {content["num_subjects"]} persons are few: these are largely '
      'the statistics of their faces.'
    )
  lines.append(
    f'Live is now a score above {threshold["value"]:.6g}: {threshold["rule"]}.'
  )
  if threshold['warning']:
    lines.append(f'Warning: {threshold["warning"]}')
  if test is None:
    lines.append(
      'Warning: how the network now does on the test set of its run is not '
      'known.'
    )
    return lines
  lines.append("On the run's own test set, in percent:")
  for key, name in card.TEST_ROWS.items():
    figures = {
      field: 'none' if value is None else f'{100 * value:.1f}'
      for field, value in test[key].items()
    }
    lines.append(
      f'  batch statistics {name}: AUC {figures["auc"]}, BPCER '
      f'{figures["bpcer"]}, APCER {figures["apcer_max"]} of the worst type, '
      f'{figures["apcer_pooled"]} pooled'
    )
  return lines


def _own_test(source: pathlib.Path) -> tuple[score_table.Columns | None, str]:
  """A run's scores of its test clips, or None and why; '' if there are some.

  Those of clips that were normalised by their batch are none: a threshold for
  single clips does not apply to them.
  """
  path = source / _SCORES
  test = score_table.read(path).get('test') if path.exists() else None
  if test is None:
    return None, f'The run in {str(source)!r} has no scores of test clips.'
  how = detector_lib.batch_norm_of(_results(source))
  if how != scoring.RUNNING:
    return None, (
      f'The scores of test clips in {str(source)!r} are of batch_norm {how!r}; '
      'single clips get others.'
    )
  return test, ''


def _test_apcer(source: pathlib.Path, value: float) -> dict[str, object]:
  """APCER of the run's own test attacks at a threshold.

  Returns:
    'test_apcer', None if it is not known; 'no_test_apcer', why, or ''.
  """
  test, reason = _own_test(source)
  if test is not None and not np.any(test['label'] == records.SPOOF):
    test, reason = None, f'The run in {str(source)!r} has no test attacks.'
  if test is None:
    return {'test_apcer': None, 'no_test_apcer': reason}
  test = score_table.labelled(test)
  by_type = rates.apcer_by_type(
    test['score'], test['label'], test['attack_type'], value
  )
  attacks = test['score'][test['label'] == records.SPOOF]
  figures = {
    'worst': max(by_type.values()),
    'pooled': float(np.mean(attacks > value)),
    'by_type': by_type,
  }
  return {'test_apcer': figures, 'no_test_apcer': ''}
