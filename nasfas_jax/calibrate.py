"""The experiment 'calibrate': the threshold of a run from a few live clips.

A threshold carries badly to another place: there, live faces may all score
lower. Live clips are easy to record, attacks are not. So the threshold is set
by the live clips of the new place alone, as high as they can vouch for.
"""

import collections
import pathlib

import ml_collections
import numpy as np

from nasfas_jax import detector as detector_lib
from nasfas_jax import files, predict, progress, records, score_table
from nasfas_jax.metrics import rates, tolerance

FILE = 'threshold.json'
CONFIDENCE = 0.95


def calibrate(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
  """Writes threshold.json into the folder of the run in config.checkpoint.

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
  source = pathlib.Path(config.checkpoint)
  run = detector_lib.read_run(source, config.crop_size)
  if config.scores:
    found = _read_scores(config.scores)
  else:
    found = _score_files(config)
  content = set_threshold(**found, bpcer=config.bpcer)
  before = run.threshold
  content['replaces'] = {
    'value': before.value,
    'rule': before.rule,
    'rejected': int(np.sum(found['scores'] <= before.value)),
  }
  content['test_apcer'] = _test_apcer(source, content['value'])
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
  predict.check_reading(config)


def set_threshold(
  scores: np.ndarray,
  *,
  num_subjects: int | None,
  origin: str,
  not_scored: dict[str, int],
  bpcer: float,
) -> dict[str, object]:
  """The highest threshold whose BPCER the live clips can vouch for.

  Args:
    scores: floats [N] of live clips, finite.
    num_subjects: number of persons in them; None if it is not known.
    origin: what the clips are, for the file.
    not_scored: outcome -> number of clips that had no score.
    bpcer: the largest BPCER, in (0, 1).

  Returns:
    'value', 'rule' and 'split' as in results.json; 'source', the numbers
    'num_live', 'num_subjects' and 'rejected'; 'bpcer', as wanted, its
    one-sided upper 'bound' with 'confidence'; 'not_scored'; 'warning'.

  Raises:
    ValueError: if the clips are too few; says how many it takes, and what these
      can vouch for.
  """
  number = len(scores)
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
  value, rejected = tolerance.threshold_below(scores, most)
  # Of the rank, which was fixed beforehand. With ties fewer are rejected, but
  # how many was seen first, so that number has no bound of this confidence.
  bound = tolerance.upper_bound(most, number, CONFIDENCE)
  warnings = []
  if num_subjects is not None and num_subjects < number:
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
      f'rejects {rejected} of {number} live clips of {origin}: BPCER at most '
      f'{100 * bound:.2g} % there, with {100 * CONFIDENCE:g} % confidence'
    ),
    'split': 'calibration',
    'source': origin,
    'num_live': number,
    'num_subjects': num_subjects,
    'rejected': rejected,
    'bpcer': bpcer,
    'bound': bound,
    'confidence': CONFIDENCE,
    'not_scored': not_scored,
    'warning': ' '.join(warnings),
  }


def say(content: dict) -> list[str]:
  """The lines that a calibration prints."""
  before = content['replaces']
  lines = [
    f'Live is now a score above {content["value"]:.6g}: {content["rule"]}.',
    f'Before, it was {before["value"]:.6g} ({before["rule"]}), which rejects '
    f'{before["rejected"]} of these {content["num_live"]} clips.',
  ]
  rates_then = content['test_apcer']
  if rates_then is None:
    lines.append(
      'What it does to attacks is not known: the run has no scores.csv.'
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


def _read_scores(path: str) -> dict[str, object]:
  """The live clips of a file of scores, as arguments of `set_threshold`."""
  try:
    scored = score_table.read(path)
  except (ValueError, FileNotFoundError) as error:
    raise type(error)(f'config.scores: {error}') from error
  live = [
    score_table.where(columns, columns['label'] == records.LIVE)
    for columns in scored.values()
  ]
  scores = np.concatenate([columns['score'] for columns in live])
  if not len(scores):
    raise ValueError(f'config.scores: {path!r} has no clips with label 1.')
  subjects = np.concatenate([columns['subject'] for columns in live])
  known = score_table.has_column(path, 'subject')
  return {
    'scores': scores,
    'num_subjects': len(np.unique(subjects)) if known else None,
    'origin': pathlib.Path(path).name,
    'not_scored': {},
  }


def _score_files(config) -> dict[str, object]:
  """The scores of files of live faces, as arguments of `set_threshold`."""
  paths = predict.find_files(config.input, config.limits.files)
  if paths is None:
    raise ValueError(
      f'config.input is {config.input!r}, a camera; allowed: files, a folder '
      'or a pattern.'
    )
  detector = detector_lib.load(config.checkpoint, crop_size=config.crop_size)
  box, rules = predict.choose_box(config, detector), predict.rules_of(config)
  scores, others = [], collections.Counter()
  with progress.bar('Scoring', len(paths)) as bar:
    for done, path in enumerate(paths, 1):
      judged = detector.score_file(path, box, rules)
      if judged.outcome in (detector_lib.LIVE, detector_lib.SPOOF):
        scores.append(judged.score)
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
    'num_subjects': None,
    'origin': pathlib.Path(config.input).name or config.input,
    'not_scored': dict(sorted(others.items())),
  }


def _test_apcer(source: pathlib.Path, value: float) -> dict | None:
  """APCER of the run's own test attacks at a threshold; None without any."""
  path = source / 'scores.csv'
  if not path.exists():
    return None
  test = score_table.read(path).get('test')
  if test is None or not np.any(test['label'] == records.SPOOF):
    return None
  test = score_table.labelled(test)
  by_type = rates.apcer_by_type(
    test['score'], test['label'], test['attack_type'], value
  )
  attacks = test['score'][test['label'] == records.SPOOF]
  return {
    'worst': max(by_type.values()),
    'pooled': float(np.mean(attacks > value)),
    'by_type': by_type,
  }
