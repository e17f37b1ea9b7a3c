"""From the scores of clips to the content of results.json.

Plain data in and out: the scores may come from a network of this package or
from any other system.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from nasfas_jax import metrics, records, score_table
from nasfas_jax.metrics import bootstrap, calibration, thresholds
from nasfas_jax.score_table import Columns

LEVEL = 0.95
# With the name of a file, what results.json says in place of a protocol.
OF_FILE = 'scores of '


def check_finite(scored: Mapping[str, Columns]) -> None:
  """Raises ValueError for a score that is not finite, of any clip."""
  for split, columns in scored.items():
    bad = ~np.isfinite(columns['score'])
    if bad.any():
      first = int(np.argmax(bad))
      raise ValueError(
        f'The network scores {bad.sum()} of {len(bad)} {split} clips with no '
        f'finite number, such as {str(columns["clip_id"][first])!r} with '
        f'{columns["score"][first]}.'
      )


def set_threshold(
  rule: thresholds.Rule, scored: Mapping[str, Columns], source: str
) -> dict[str, object]:
  """The threshold that a rule sets, as it is in results.json.

  Args:
    rule: the rule.
    scored: split -> its columns.
    source: the split that sets the threshold, unless the rule is a value.

  Returns:
    'value', 'rule' (in words), 'split', the numbers of clips that set it
    ('num_live', 'num_spoof'), and 'warning', '' or why they are too few or
    the threshold decides nothing on them.

  Raises:
    ValueError: if the split lacks a class that the rule needs.
  """
  if rule.kind == 'value':
    return given_threshold(rule.number, 'given', 'given')
  columns = score_table.labelled(scored[source])
  arrays = columns['score'], columns['label'], columns['attack_type']
  try:
    value = thresholds.choose(rule, *arrays)
  except ValueError as error:
    raise ValueError(f'The {source} clips set no threshold: {error}') from error
  return {
    'value': float(value),
    'rule': thresholds.describe(rule, source),
    'split': source,
    'num_live': int(np.sum(columns['label'] == 1)),
    'num_spoof': int(np.sum(columns['label'] == 0)),
    'warning': ' '.join(
      text
      for text in (
        thresholds.warning(rule, *arrays[1:], source),
        thresholds.extreme_warning(value, *arrays[:2], source),
      )
      if text
    ),
  }


def given_threshold(
  value: float, rule: str, split: str, warning: str = ''
) -> dict[str, object]:
  """A threshold that none of the clips at hand has set; see `set_threshold`."""
  return {
    'value': float(value),
    'rule': rule,
    'split': split,
    'num_live': 0,
    'num_spoof': 0,
    'warning': warning,
  }


def judge(
  scored: Mapping[str, Columns],
  threshold: Mapping[str, object],
  source: str,
  *,
  bootstrap_samples: int,
  seed: int,
) -> dict[str, object]:
  """Every figure of results.json that follows from scores.

  Clips without a label are counted and otherwise left out.

  Args:
    scored: split -> its columns, with 'test'.
    threshold: see `set_threshold`.
    source: the split that calibrates, if it is there.
    bootstrap_samples: resamples of the subjects.
    seed: of the bootstrap.

  Returns:
    A dict ready for JSON. A split without labelled clips is not in 'splits'.
  """
  value = threshold['value']
  judged = {
    part: score_table.labelled(columns) for part, columns in scored.items()
  }
  judged = {part: c for part, c in judged.items() if len(c['label'])}
  test = judged.get('test')
  results = {
    'threshold': dict(threshold),
    'splits': {part: _summary(c, value) for part, c in judged.items()},
    # Maps of zeros come from a network whose last ReLU has died.
    'zero_score_share': {
      part: float(np.mean(columns['score'] == 0.0))
      for part, columns in scored.items()
    },
    'unlabelled': {
      part: len(columns['label']) - len(judged[part]['label'])
      if part in judged
      else len(columns['label'])
      for part, columns in scored.items()
    },
    'calibration': _calibrate(judged, source, value),
    'confidence': {
      'level': LEVEL,
      'samples': bootstrap_samples,
      'warning': '',
    },
    'test_eer': None,
    'per_domain': {},
    'per_type': {},
  }
  if test is None:
    return results
  results['confidence']['warning'] = bootstrap.warning(
    test['label'], test['subject'], test['attack_type'], 'test'
  )
  results['confidence'] |= metrics.bootstrap_intervals(
    test['score'],
    test['label'],
    test['attack_type'],
    test['subject'],
    value,
    num_samples=bootstrap_samples,
    confidence=LEVEL,
    seed=seed,
  )
  results['test_eer'] = _at_test_eer(test)
  results['per_domain'] = {
    domain: _summary(score_table.where(test, test['domain'] == domain), value)
    for domain in np.unique(test['domain']).tolist()
  }
  results['per_type'] = {
    kind: _summary(
      score_table.where(
        test, (test['attack_type'] == kind) | (test['label'] == 1)
      ),
      value,
    )
    for kind in np.unique(test['attack_type']).tolist()
    if kind != 'live'
  }
  return results


def _at_test_eer(test: Columns) -> dict[str, object] | None:
  """The errors at the EER point of the test clips.

  Much of the literature, the table of MCIO above all, takes this threshold. It
  has seen the labels of what it judges, so it is a bound and no forecast.
  """
  threshold = metrics.eer(test['score'], test['label'])[1]
  if threshold is None:
    return None
  summary = _summary(test, threshold)
  names = ('apcer_max', 'apcer_pooled', 'bpcer', 'acer', 'hter')
  return {
    'value': threshold,
    'rule': 'EER point of the test clips themselves, as in the literature',
    **{name: summary[name] for name in names},
  }


def _calibrate(
  judged: Mapping[str, Columns], source: str, threshold: float
) -> dict[str, object] | None:
  """Platt scaling on one split, and how it holds on each."""
  if source not in judged:
    return None
  fitted = calibration.fit(judged[source]['score'], judged[source]['label'])
  if fitted is None:
    return None
  return {
    'method': 'Platt scaling, live and spoof at equal chances',
    'split': source,
    'slope': fitted.slope,
    'offset': fitted.offset,
    'splits': {
      part: calibration.judge(
        fitted, columns['score'], columns['label'], threshold
      )
      for part, columns in judged.items()
    },
  }


def _summary(columns: Columns, threshold: float) -> dict[str, object]:
  return metrics.summarise(
    columns['score'], columns['label'], columns['attack_type'], threshold
  )


def say(results: Mapping) -> list[str]:
  """The lines that an evaluation prints."""
  lines = []
  for part, share in results['zero_score_share'].items():
    if share > 0.9:
      lines.append(
        f'Warning: the map is zero for {share:.0%} of the {part} clips. The '
        'last ReLU has died: train again with a lower learning rate or a '
        'longer warm-up.'
      )
  threshold = results['threshold']
  for warning in (threshold['warning'], results['confidence']['warning']):
    if warning:
      lines.append(f'Warning: {warning}')
  for part, number in results['unlabelled'].items():
    if number:
      lines.append(
        f'{number} of the {part} clips have no label: scored, not judged.'
      )
  test = results['splits'].get('test')
  if test is None:
    return lines
  names = dict.fromkeys((*results['headline'], 'hter', 'auc', 'acer'))
  figures = _figures(test, names)
  if threshold['split'] in records.SPLITS:
    origin = f'from {threshold["split"]}'
  else:
    origin = f'{threshold["value"]:.6g}, {threshold["rule"]}'
  lines.append(
    f'Test of {results["protocol"]} ({test["num_live"]} live, '
    f'{test["num_spoof"]} spoof clips; threshold {origin}): {figures}'
  )
  return lines


def _figures(summary: Mapping, names: Sequence[str]) -> str:
  return ', '.join(
    f'{name.upper().replace("_MAX", "")} '
    + ('-' if summary[name] is None else f'{summary[name]:.4f}')
    for name in names
  )
