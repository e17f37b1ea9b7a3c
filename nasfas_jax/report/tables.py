"""The tables of the report, from the content of results.json.

Every function returns HTML, or '' if there is nothing to show.
"""

from collections.abc import Mapping, Sequence

from nasfas_jax.report import style

# (name in results.json, heading, meaning).
_METRICS = (
  ('apcer_max', 'APCER', 'attacks accepted, worst attack type'),
  ('apcer_pooled', 'APCER, pooled', 'attacks accepted, all types together'),
  ('bpcer', 'BPCER', 'live clips rejected'),
  ('acer', 'ACER', 'mean of APCER and BPCER'),
  ('hter', 'HTER', 'mean of pooled APCER and BPCER'),
  ('accuracy', 'Accuracy', 'clips on the right side of the threshold'),
  ('eer', 'EER', 'error where both error rates meet'),
  ('auc', 'AUC', 'area under the ROC curve'),
)
_HEADINGS = {name: heading for name, heading, _ in _METRICS}
_HEADLINE = ('hter', 'acer', 'auc')
_GROUP_METRICS = ('apcer_max', 'bpcer', 'acer', 'hter', 'eer', 'auc')


def results_table(results: Mapping) -> str:
  """The headline metrics as tiles, and all metrics as a table."""
  splits = results.get('splits', {})
  if not splits:
    return ''
  confidence = results.get('confidence', {})
  judged = 'test' if 'test' in splits else next(iter(splits))
  headline = dict.fromkeys((*results.get('headline', ()), *_HEADLINE))
  tiles = [
    (
      _HEADINGS.get(name, name),
      percent(splits[judged].get(name), ' %'),
      interval(confidence.get(name)),
    )
    for name in headline
  ]
  model = results.get('model', {})
  if model.get('num_parameters') is not None:
    gmac = model.get('gmac')
    tiles.append(
      (
        'Parameters',
        f'{model["num_parameters"]:,}',
        '' if gmac is None else f'{gmac:.4g} GMAC',
      )
    )
  threshold = results.get('threshold', {})
  level = 100 * confidence.get('level', 0.95)
  heads = ['metric (%)', *splits, f'{level:g} % interval ({judged})', 'meaning']
  rows = [
    [
      heading,
      *(percent(summary.get(name)) for summary in splits.values()),
      interval(confidence.get(name)),
      meaning,
    ]
    for name, heading, meaning in _METRICS
  ]
  limits = dict.fromkeys(
    fpr for summary in splits.values() for fpr in summary.get('tpr_at_fpr', {})
  )
  for fpr in limits:
    rates = (s.get('tpr_at_fpr', {}).get(fpr) for s in splits.values())
    heading = f'TPR at FPR {100 * float(fpr):g} %'
    meaning = 'live clips accepted at this share of accepted attacks'
    rows.append([heading, *map(percent, rates), '', meaning])
  rows += _fixed_rows(splits, confidence) + _error_rows(splits, confidence)
  for name in ('num_live', 'num_spoof'):
    counts = (str(summary.get(name, '–')) for summary in splits.values())
    kind = name.removeprefix('num_')
    rows.append([f'{kind} clips', *counts, '', 'number of clips'])
  facts = [f'Model {model["name"]}.'] if 'name' in model else []
  if threshold.get('value') is not None:
    facts.append(
      f'Live when the score exceeds {threshold["value"]:.6g} '
      f'({threshold.get("rule", "")}).'
    )
  if eer := results.get('test_eer'):
    facts.append(
      f"At the test clips' own EER threshold, {eer['value']:.6g}, as much of "
      f'the literature takes it, HTER is {percent(eer["hter"])} % and ACER '
      f'{percent(eer["acer"])} %.'
    )
  facts += caveats(results)
  facts.append(
    f'The large figures are those of the {judged} split. Intervals are from a '
    'bootstrap over subjects; where no resample differs, that of a rate of 0 '
    'or 1 is exact, and others have none.'
  )
  return (
    style.tiles(tiles)
    + style.paragraph(' '.join(facts))
    + style.table(heads, rows)
  )


def seeds_table(results: Mapping) -> str:
  """The test figures of every seed of a training, and those over the seeds."""
  over = results.get('over_seeds')
  if not over:
    return ''
  names = [name for name, *_ in _METRICS if name in over]
  rows = []
  for folder, of in results['seeds'].items():
    test = of['splits'].get('test', {})
    rows.append([folder, *(percent(test.get(name)) for name in names)])
  for heading, keys in (
    ('mean', ('mean',)),
    ('standard deviation', ('deviation',)),
    (f'{100 * over["level"]:g} % interval of the mean', ('low', 'high')),
  ):
    cells = [
      interval([over[name][key] for key in keys] if over[name] else None)
      for name in names
    ]
    rows.append([heading, *cells])
  return style.paragraph(
    'Networks of the same training from several seeds, on the test clips, each '
    'at its own threshold. The folder of a seed has the report of its network. '
    'The interval knows the luck of a seed and that of the test subjects.'
  ) + style.table(('seed', *(f'{_HEADINGS[name]} (%)' for name in names)), rows)


def _fixed_rows(splits: Mapping, confidence: Mapping) -> list[list[str]]:
  """BPCER at fixed APCER and the reverse, a row for each limit and pooling."""
  rows = []
  for name, free, fixed in (
    ('bpcer_at_apcer', 'BPCER', 'APCER'),
    ('apcer_at_bpcer', 'APCER', 'BPCER'),
  ):
    found = {split: summary.get(name, {}) for split, summary in splits.items()}
    limits = dict.fromkeys(limit for rates in found.values() for limit in rates)
    for limit in limits:
      for pooling, words in _POOLINGS.items():
        rates = (of.get(limit, {}).get(pooling) for of in found.values())
        bounds = confidence.get(name, {}).get(limit, {}).get(pooling)
        rows.append(
          [
            f'{free} at {fixed} {100 * float(limit):g} %, {pooling}',
            *map(percent, rates),
            interval(bounds),
            f'the threshold set on these very clips; APCER of {words}',
          ]
        )
  return rows


_POOLINGS = {
  'worst': 'the worst attack type',
  'pooled': 'all attacks as one type',
}


def _error_rows(splits: Mapping, confidence: Mapping) -> list[list[str]]:
  """The share of wrong decisions by the share of attacks."""
  found = {
    s: summary.get('error_at_share', {}) for s, summary in splits.items()
  }
  shares = dict.fromkeys(share for rates in found.values() for share in rates)
  return [
    [
      f'Error at {100 * float(share):g} % attacks',
      *(percent(rates.get(share)) for rates in found.values()),
      interval(confidence.get('error_at_share', {}).get(share)),
      'wrong decisions where this share of the clips are attacks',
    ]
    for share in shares
  ]


def caveats(results: Mapping) -> list[str]:
  """Sentences on what qualifies the figures, from content of results.json."""
  facts = [
    results[key]['warning']
    for key in ('threshold', 'confidence')
    if results.get(key, {}).get('warning')
  ]
  for part, number in results.get('unlabelled', {}).items():
    if number:
      facts.append(
        f'{number} of the {part} clips have no label and are not counted.'
      )
  seen = results.get('seen', {})
  if seen.get('status') == 'seen':
    shared = '; '.join(
      f'{field}: {", ".join(values)}'
      for field, values in seen.get('shared', {}).items()
    )
    facts.append(
      'The network was trained on what this protocol tests '
      f'({shared or "it holds out neither a domain nor an attack type"}).'
    )
  if adapted := results.get('adapted'):
    facts.append(
      f'The network has {adapted["text"]}, not the statistics of its training.'
    )
  if batch_norm := results.get('batch_norm'):
    facts.append(batch_norm['text'])
  return facts


def calibration_table(calibration: Mapping | None) -> str:
  """How well probabilities from the score hold, a column for each split."""
  if not calibration:
    return ''
  splits = {k: v for k, v in calibration['splits'].items() if v}
  rows = [
    [
      heading,
      *(
        f'{100 * of[name]:.2f}' if rate else f'{of[name]:.4f}'
        for of in splits.values()
      ),
      meaning,
    ]
    for name, heading, rate, meaning in _CALIBRATION
  ]
  text = (
    f'{calibration["method"]}, fitted on the {calibration["split"]} clips: the '
    'probability of live is 1 / (1 + exp(-(slope * score + offset))) with '
    f'slope {calibration["slope"]:.6g} and offset {calibration["offset"]:.6g}. '
    'Where it was fitted it must hold; what counts is how it holds elsewhere.'
  )
  return style.paragraph(text) + style.table(
    ('measure', *splits, 'meaning'), rows
  )


# (name, heading, in percent, meaning).
_CALIBRATION = (
  (
    'expected_error',
    'Error foretold (%)',
    True,
    'wrong decisions by the probabilities, at equal chances of both classes',
  ),
  ('error', 'Error that came (%)', True, 'the same by the labels: HTER'),
  (
    'ece',
    'ECE (%)',
    True,
    'mean distance of probability and share of live clips, in ten bins',
  ),
  ('brier', 'Brier score', False, "squared error; a coin's is 0.25"),
  ('log_loss', 'Log loss', False, "in nats; a coin's is 0.693"),
)


def groups_table(groups: Mapping[str, Mapping] | None, kind: str) -> str:
  """The metrics of each attack type or domain, one row each."""
  if not groups:
    return ''
  names = [
    name
    for name in _GROUP_METRICS
    if any(name in summary for summary in groups.values())
  ]
  heads = [kind, 'live', 'spoof', *(f'{_HEADINGS[name]} (%)' for name in names)]
  rows = [
    [
      group or '(none)',
      *(str(summary.get(count, '–')) for count in ('num_live', 'num_spoof')),
      *(percent(summary.get(name)) for name in names),
    ]
    for group, summary in groups.items()
  ]
  note = ''
  if kind == 'attack type':
    note = style.paragraph('Each type against all live test clips.')
  return note + style.table(heads, rows)


def fields_table(content: Mapping, label: str) -> str:
  """Every value of nested dicts by its path, in a folded table."""
  rows = []

  def walk(value, name):
    if isinstance(value, Mapping):
      for key, item in value.items():
        walk(item, f'{name}.{key}' if name else str(key))
    else:
      rows.append([name, '–' if value is None else str(value)])

  walk(content, '')
  return style.folded(label, rows) if rows else ''


def percent(rate: float | None, unit: str = '') -> str:
  """A rate in percent; a dash for None."""
  return '–' if rate is None else f'{100 * rate:.2f}{unit}'


def interval(bounds: Sequence[float | None] | None) -> str:
  """Bounds in percent; a dash where there are none."""
  if not bounds or None in bounds:
    return '–'
  return ' to '.join(map(percent, bounds))
