"""The figures of a study as a page of Markdown."""

import statistics
from collections.abc import Mapping, Sequence

from nasfas_jax.study import statistics as study_statistics


def cell(value: Mapping, form: str = '.3f') -> str:
  """Mean ± standard deviation.

  Args:
    value: with 'mean' and 'deviation', None if that is of one seed.
    form: of each number.
  """
  text = format(value['mean'], form)
  if value['deviation'] is not None:
    text += f' ± {format(value["deviation"], form)}'
  return text


def interval(mean: float, low: float | None, high: float | None) -> str:
  """A difference and the bounds of its interval, if it has one."""
  if low is None or high is None:
    return f'{mean:+.3f}, no interval'
  return f'{mean:+.3f} [{low:+.3f}, {high:+.3f}]'


def paired(gaps: Sequence[float]) -> str:
  """The mean of differences by seed, with Student's 95 % interval."""
  return interval(*study_statistics.student_interval(gaps))


def difference(value: Mapping | None, missing: str = '') -> str:
  """A difference and its interval.

  Args:
    value: with 'mean', 'low' and 'high'.
    missing: the text if there is no value.
  """
  if value is None:
    return missing
  return interval(value['mean'], value['low'], value['high'])


def _rank(value: float | None) -> str:
  """A rank correlation; a dash where one side was constant."""
  return '–' if value is None else f'{value:+.2f}'


def page(figures: Mapping) -> str:
  """The page: every figure of study.json as a table."""
  lines = ['# Figures of the study', '']
  lines += [
    'Written by `configs/study.py`; the same figures are in study.json. Mean ± '
    'standard deviation over seeds; differences in AUC are paired by seed, '
    "with a 95 % interval (Student's, for the luck of seeds and subjects).",
    '',
  ]
  for protocol, rows in figures['tables'].items():
    lines += [f'## {protocol}', '']
    lines += [
      '| | seeds | test HTER | test AUC | parameters | AUC less that of |',
      '|---|---|---|---|---|---|',
    ]
    for row, value in rows.items():
      against = ''
      if value.get('difference'):
        against = f'{value["to"]}: {difference(value["difference"])}'
      lines.append(
        f'| {row} | {len(value["auc"]["values"])} | {cell(value["hter"])} | '
        f'{cell(value["auc"])} | {cell(value["parameters"], ",.0f")} | '
        f'{against} |'
      )
    lines.append('')
  if among := figures['random']:
    lines += [
      f'## Among {among["number"]} random genotypes',
      '',
      'Share of the random genotypes with a lower test AUC, for each seed.',
      '',
      '![Test AUC of random and searched genotypes](random.svg)',
      '',
    ]
    for row, shares in among['percentiles'].items():
      lines.append(f'- {row}: {", ".join(f"{s:.0%}" for s in shares)}')
    lines.append('')
  if figures['supernets']:
    lines += [
      '## Supernets',
      '',
      "AUC on dev clips with the supernet's weights: of the searched mixture, "
      'of the derived genotype, of the random ones; and of the derived network '
      'trained by itself. Rank correlation over the random genotypes of that '
      'AUC and that of the network trained by itself.',
      '',
      '![Supernet against stand-alone scores](supernets.svg)',
      '',
      '| search | mixture | derived, shared weights | random, shared weights | '
      'derived, trained | genotypes | Spearman, dev | Kendall, dev | '
      'Spearman, test |',
      '|---|---|---|---|---|---|---|---|---|',
    ]
    for name, value in figures['supernets'].items():
      lines.append(
        f'| {name} | {value["mixture"]:.3f} | {value["derived"]:.3f} | '
        f'{cell(value["random"])} | {value["trained"]:.3f} | '
        f'{value["number"]} | '
        f'{_rank(value["spearman_dev_auc"])} | '
        f'{_rank(value["kendall_dev_auc"])} | {_rank(value["spearman_auc"])} |'
      )
    lines.append('')
  for protocol, rows in figures['fusions'].items():
    if not rows:
      continue
    kinds = [k for k in next(iter(rows.values())) if k.startswith('auc/')]
    names = [kind.removeprefix('auc/') for kind in kinds]
    lines += [
      f'## Inputs of CDCN++, {protocol}',
      '',
      'AUC; below it the difference to the static input.',
      '',
      f'| | seeds | all | {" | ".join(names)} |',
      '|---' * (3 + len(names)) + '|',
    ]
    for fusion, value in rows.items():
      cells = ' | '.join(cell(value[kind]) for kind in ('auc', *kinds))
      lines.append(f'| {fusion} | {len(value["auc"]["values"])} | {cells} |')
      if value.get('difference'):
        found = value['difference'].values()
        cells = ' | '.join(difference(item) for item in found)
        lines.append(f'| | | {cells} |')
    lines.append('')
  lines += [
    '## Alarms of a collapsing search',
    '',
    'At the end of the search, mean over the seeds: entropy of the operations '
    'over its maximum, and the share of edges on which skip-connect is the '
    'strongest operation.',
    '',
    '| search | entropy | skip edges |',
    '|---|---|---|',
  ]
  for name, value in figures['alarms'].items():
    lines.append(
      f'| {name} | {statistics.mean(value["alpha_entropy"]):.3f} | '
      f'{statistics.mean(value["skip_edge_share"]):.2f} |'
    )
  return '\n'.join(lines) + '\n'
