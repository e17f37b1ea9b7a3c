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
      _interval(confidence.get(name)),
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
      _interval(confidence.get(name)),
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
  facts.append(
    f'The large figures are those of the {judged} split. Intervals are from a '
    'bootstrap over subjects.'
  )
  return (
    style.tiles(tiles)
    + style.paragraph(' '.join(facts))
    + style.table(heads, rows)
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


def _interval(bounds: Sequence[float] | None) -> str:
  return '–' if bounds is None else ' to '.join(map(percent, bounds))
