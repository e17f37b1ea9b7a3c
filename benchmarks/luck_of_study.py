"""Genotype and luck in the random genotypes of an earlier study.

python -m benchmarks.luck_of_study FILE.json [OTHER.json] [--row=cdcnpp_concat]

For studies that trained each random genotype once: the luck of a training is
that of the many seeds of one network, a row of the other file (of the same one
without another). If both files have the same random genotypes, trained from the
same seeds by two versions of the code, they are two trainings of each; their
luck is then that of rounding alone, and the genotype's share holds its seed's.
Prints both splits, and what perfect choice among the genotypes could gain.
"""

import numpy as np
from absl import app, flags

from nasfas_jax import files
from nasfas_jax.study import variance

_ROW = flags.DEFINE_string('row', 'cdcnpp_concat', 'The network of many seeds.')
_FIGURE = flags.DEFINE_enum('figure', 'auc', ('auc', 'hter'), 'The score.')


def values_of(figures: dict, row: str, figure: str) -> list[float]:
  """Every seed of a row on the first protocol; none if it is not there."""
  rows = next(iter(figures['tables'].values()))
  return rows[row][figure]['values'] if row in rows else []


def lines_of(studies: list[dict], row: str, figure: str) -> list[str]:
  """What is printed for the contents of one or two study.json."""
  random = [values_of(study, 'random', figure) for study in studies]
  carrier = values_of(studies[-1], row, figure)
  lines = []
  if len(carrier) > 1:
    spread = variance.of_mean_squares(
      np.var(random[0], ddof=1),
      np.var(carrier, ddof=1),
      degrees=(len(random[0]) - 1, len(carrier) - 1),
      num_seeds=1,
    )
    name = f'{len(random[0])} genotypes, luck of {len(carrier)} seeds of {row}'
    lines += _lines(name, spread, len(random[0]))
  if len(random) == 2 and all(random):
    number = min(map(len, random))
    table = np.array([values[:number] for values in random]).T
    found = variance.split(table)
    lines += _lines(f'{number} genotypes in both files', found.spread, number)
  return lines


def _lines(name, spread: variance.Spread, number: int) -> list[str]:
  found = variance.ceiling(spread, number)
  return [
    f'{name}:',
    f'  deviation of genotypes {_text(spread.genotype)}, '
    f'of luck {_text(spread.luck)}',
    f'  share of the genotype {_text(spread.share)}',
    f'  perfect choice among {number} gains {_text(found.perfect)}, '
    f'{_text(found.to_luck)} times the luck of a seed',
    '  choice by one seed gains '
    f'{found.by_means[1]:.3f}, by three {found.by_means[3]:.3f}',
  ]


def _text(value: variance.Estimate) -> str:
  return f'{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]'


def main(argv):
  if len(argv) not in (2, 3):
    raise app.UsageError('One file or two, such as docs/study/room.json.')
  studies = [files.read_json(path) for path in argv[1:]]
  print('\n'.join(lines_of(studies, _ROW.value, _FIGURE.value)))


if __name__ == '__main__':
  app.run(main)
