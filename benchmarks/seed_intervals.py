"""Student's intervals over seeds alone, of the figures that a study left.

python -m benchmarks.seed_intervals FILE.json [OTHER.json] [--skip=N]

For figures whose runs are gone: `configs/study.py` itself has the luck of the
test subjects in its intervals. Prints the mean difference in AUC of every row
to the one that it is compared with, of every input to the static one, and the
rank correlation of parameters and AUC among the random genotypes, and the
difference of every search to them (Welch's interval: they are not paired); with
another file, the rank correlation of the AUCs of the random genotypes that are
in both. --skip leaves the first seeds out of the differences, but those of the
random genotypes.
"""

import numpy as np
from absl import app, flags
from scipy import stats

from nasfas_jax import files
from nasfas_jax.study import contest, markdown

_SKIP = flags.DEFINE_integer('skip', 0, 'Seeds to leave out.', lower_bound=0)


def interval(first, second) -> str:
  """Mean of second - first, paired, with a 95 % interval, as text."""
  gaps = np.subtract(second, first)[_SKIP.value :]
  if not len(gaps):
    return 'of no seed'
  return markdown.paired(gaps)


def interval_apart(first: dict, second: dict) -> str:
  """The same of two rows that are not paired (Welch)."""
  values = second['values'][_SKIP.value :]
  found = contest.unpaired(values, first['values'])
  return markdown.difference(found, missing='of too few seeds')


def lines_of(figures: dict) -> list[str]:
  """What is printed for the content of a study.json."""
  lines = []
  for protocol, rows in figures['tables'].items():
    for name, row in rows.items():
      # Figures of an earlier study name a row that may not be there.
      if row.get('to') in rows:
        other = rows[row['to']]['auc']['values']
        lines.append(
          f'{protocol}: {name} less {row["to"]}: '
          f'{interval(other, row["auc"]["values"])}'
        )
    if 'random' in rows:
      found = stats.spearmanr(
        rows['random']['parameters']['values'], rows['random']['auc']['values']
      )
      lines.append(
        f'{protocol}: random, parameters and AUC: rank correlation '
        f'{found.statistic:+.2f}, p = {found.pvalue:.3f}'
      )
      for name, row in rows.items():
        if name != 'random':
          apart = interval_apart(rows['random']['auc'], row['auc'])
          lines.append(f'{protocol}: {name} less random: {apart}')
  for protocol, rows in figures.get('fusions', {}).items():
    for name, row in rows.items():
      if name != 'static':
        for key in (k for k in row if k.startswith('auc')):
          values = [rows[place][key]['values'] for place in ('static', name)]
          lines.append(
            f'{protocol}: {name} less static, {key}: {interval(*values)}'
          )
  return lines


def main(argv):
  if len(argv) not in (2, 3):
    raise app.UsageError('One file or two, such as docs/study/study.json.')
  studies = [files.read_json(path) for path in argv[1:]]
  print('\n'.join(lines_of(studies[0])))
  if len(studies) == 2:
    aucs = [figures['random']['auc']['values'] for figures in studies]
    # By seed, from 0 on, in both.
    number = min(map(len, aucs))
    found = stats.spearmanr(aucs[0][:number], aucs[1][:number])
    print(
      f'random, AUC of {number} in both files: rank correlation '
      f'{found.statistic:+.2f}'
    )


if __name__ == '__main__':
  app.run(main)
