"""How much of the spread of many trainings is the genotype, how much is luck.

Every genotype is trained from several seeds, its own. The one-way analysis of
variance with random effects (Searle, Casella, McCulloch, Variance Components,
1992, chapter 3) splits the spread of the scores into that between genotypes and
the luck of a training. From the split follows what a search could gain at most,
before any search is run: the effect of the best of N genotypes, known for
certain, is on average that of the largest of N draws.
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
from scipy import integrate, stats

_TAIL = 0.025


@dataclasses.dataclass(frozen=True)
class Estimate:
  """A value with its 95 % interval."""

  value: float
  low: float
  high: float


@dataclasses.dataclass(frozen=True)
class Spread:
  """The spread of scores, split in two.

  Attributes:
    between: mean square between genotypes.
    within: mean square within them, the variance of luck.
    genotype: standard deviation of the genotypes' true means. The interval is
      that of Williams (1962).
    luck: standard deviation of a training around its genotype's mean. The
      interval is that of chi square.
    ratio: of the genotypes' variance to that of luck. The interval is exact for
      normal effects, from F.
  """

  between: float
  within: float
  genotype: Estimate
  luck: Estimate
  ratio: Estimate

  @property
  def share(self) -> Estimate:
    """Of the variance that is the genotype's, in [0, 1].

    The reliability of the score of one seed: the intraclass correlation
    ICC(1,1) of Shrout and Fleiss (1979), never below 0.
    """
    values = (self.ratio.value, self.ratio.low, self.ratio.high)
    return Estimate(*(value / (1 + value) for value in values))


@dataclasses.dataclass(frozen=True)
class Split:
  """The split of a table of scores, genotypes x seeds.

  Attributes:
    num_genotypes: rows of the table.
    num_seeds: columns.
    mean: of all scores.
    spread: genotype and luck.
    effects: of each genotype, in the units of the scores: its mean less that of
      all, shrunk by the reliability of a mean of `num_seeds` (the best linear
      unbiased prediction). The largest is what was gained by taking the
      genotype with the highest mean.
  """

  num_genotypes: int
  num_seeds: int
  mean: float
  spread: Spread
  effects: np.ndarray


@dataclasses.dataclass(frozen=True)
class Ceiling:
  """What choosing one of N genotypes could gain over taking one at random.

  Attributes:
    number: N.
    perfect: by their true means, in the units of the scores.
    by_means: by means of 1, 2, ... seeds; number of seeds -> gain.
    to_luck: `perfect` over the luck of a seed, with its exact interval.
  """

  number: int
  perfect: Estimate
  by_means: dict[int, float]
  to_luck: Estimate

  @property
  def worth_a_search(self) -> bool:
    """Whether a perfect choice gains as much as the luck of one seed."""
    return self.to_luck.value >= 1.0


def split(table: np.ndarray) -> Split:
  """Splits the spread of scores into genotype and luck.

  Args:
    table: [genotypes, seeds], finite; a genotype a row. Seeds of two rows are
      not shared: a luck that all genotypes have in common would count as luck
      of one.

  Raises:
    ValueError: for fewer than two genotypes or seeds, or a score that is not
      finite, or scores that are all alike within every genotype.
  """
  table = np.asarray(table, np.float64)
  if table.ndim != 2 or min(table.shape) < 2:
    raise ValueError(
      f'The table of scores has the shape {table.shape}; allowed: two '
      'genotypes and two seeds, or more.'
    )
  if not np.isfinite(table).all():
    raise ValueError('The table holds scores that are not finite.')
  genotypes, seeds = table.shape
  means = table.mean(axis=1)
  between = float(seeds * means.var(ddof=1))
  within = float(table.var(axis=1, ddof=1).mean())
  if not has_luck(table):
    raise ValueError(
      'Within each genotype all seeds have the same score; there is no luck to '
      'compare with.'
    )
  shrinkage = max(0.0, 1 - within / between) if between else 0.0
  return Split(
    num_genotypes=genotypes,
    num_seeds=seeds,
    mean=float(table.mean()),
    spread=of_mean_squares(
      between,
      within,
      degrees=(genotypes - 1, genotypes * (seeds - 1)),
      num_seeds=seeds,
    ),
    effects=(means - means.mean()) * shrinkage,
  )


def has_luck(table: np.ndarray) -> bool:
  """Whether some genotype's scores differ by more than rounding."""
  table = np.asarray(table, np.float64)
  spread = np.ptp(table, axis=1).max()
  return bool(spread > 1e-12 * max(1.0, float(np.abs(table).max())))


def of_mean_squares(
  between: float, within: float, *, degrees: tuple[int, int], num_seeds: int
) -> Spread:
  """Genotype and luck from their mean squares.

  Args:
    between: mean square between genotypes: `num_seeds` times the variance of
      their means.
    within: mean square within them, above 0; it may be from other trainings
      than those of `between`, such as many seeds of one genotype.
    degrees: of freedom, of both.
    num_seeds: of each mean.
  """
  variances = [(between - within) / num_seeds]
  ratios = [(between / within - 1) / num_seeds]
  luck = [within]
  for tail in (1 - _TAIL, _TAIL):
    bound = float(stats.f.ppf(tail, *degrees))
    ratios.append((between / within / bound - 1) / num_seeds)
    squares = degrees[0] * (between - within * bound)
    chi = [float(stats.chi2.ppf(tail, degree)) for degree in degrees]
    variances.append(squares / (num_seeds * chi[0]))
    luck.append(degrees[1] * within / chi[1])
  return Spread(
    between=between,
    within=within,
    genotype=Estimate(*(max(0.0, value) ** 0.5 for value in variances)),
    luck=Estimate(*(value**0.5 for value in luck)),
    ratio=Estimate(*(max(0.0, value) for value in ratios)),
  )


def reliability(share: float, num_seeds: int) -> float:
  """Squared correlation of a mean over seeds with the genotype's true mean.

  Args:
    share: that of one seed, in [0, 1].
    num_seeds: of the mean (Spearman, 1910; Brown, 1910).
  """
  if not share:
    return 0.0
  return num_seeds * share / (1 + (num_seeds - 1) * share)


@functools.cache
def expected_maximum(number: int) -> float:
  """The mean of the largest of `number` draws of a standard normal.

  The integral over x of x times the density of the largest (David and Nagaraja,
  Order Statistics, 2003, section 3.1).

  Raises:
    ValueError: for a number below 1.
  """
  if number < 1:
    raise ValueError(f'The number of draws is {number}; allowed: 1 or more.')

  def part(x):
    return x * number * stats.norm.pdf(x) * stats.norm.cdf(x) ** (number - 1)

  # Beyond it a draw of a million has no weight that a float can hold.
  return float(integrate.quad(part, -12.0, 12.0, points=[0.0, 3.0])[0])


def ceiling(
  found: Spread, number: int, num_seeds: Sequence[int] = (1, 3, 10)
) -> Ceiling:
  """What a search among `number` genotypes could gain at most.

  Args:
    found: of trainings of genotypes of this space.
    number: of genotypes to choose from, at least 1.
    num_seeds: sizes of the means of `Ceiling.by_means`.
  """
  largest = expected_maximum(number)
  perfect = _times(found.genotype, largest)
  return Ceiling(
    number=number,
    perfect=perfect,
    by_means={
      seeds: perfect.value * reliability(found.share.value, seeds) ** 0.5
      for seeds in num_seeds
    },
    to_luck=Estimate(
      *(
        largest * value**0.5
        for value in (found.ratio.value, found.ratio.low, found.ratio.high)
      )
    ),
  )


def expected_to_luck(
  to_luck: float, number: int, *, num_genotypes: int, num_seeds: int
) -> Estimate:
  """The interval that a table has whose estimate is exactly `to_luck`.

  So the size of a table is chosen before it is filled: what it could tell.

  Args:
    to_luck: see `Ceiling`.
    number: of genotypes to choose from.
    num_genotypes: rows of the table.
    num_seeds: its columns.
  """
  ratio = (to_luck / expected_maximum(number)) ** 2
  spread = of_mean_squares(
    1 + num_seeds * ratio,
    1.0,
    degrees=(num_genotypes - 1, num_genotypes * (num_seeds - 1)),
    num_seeds=num_seeds,
  )
  return ceiling(spread, number).to_luck


def _times(estimate: Estimate, factor: float) -> Estimate:
  return Estimate(
    *(factor * v for v in (estimate.value, estimate.low, estimate.high))
  )


def shared_deviation(seen: np.ndarray, unseen: np.ndarray) -> float:
  """How far the unseen scores of genotypes follow the seen ones.

  A search sees the scores of seen rooms only. Choosing the best of N genotypes
  by their true seen means gains, in unseen rooms, the expected maximum of N
  times the value returned: the covariance of both true means over the deviation
  of the seen ones, by the mean products of the one-way analysis.

  Args:
    seen: [genotypes, seeds], see `split`.
    unseen: the same, of the same trainings.

  Returns:
    In the units of the unseen scores; below 0 where the better genotypes of
    seen rooms are the worse ones of unseen rooms. 0 if the genotypes do not
    differ in seen rooms.

  Raises:
    ValueError: as `split`, and for tables of two shapes.
  """
  spread = split(seen).spread.genotype.value
  split(unseen)
  first, second = (np.asarray(t, np.float64) for t in (seen, unseen))
  if first.shape != second.shape:
    raise ValueError(
      f'The tables have the shapes {first.shape} and {second.shape}; allowed: '
      'one shape.'
    )
  genotypes, seeds = first.shape
  means = [table.mean(axis=1) for table in (first, second)]
  between = (
    seeds
    * np.sum(np.prod([m - m.mean() for m in means], axis=0))
    / (genotypes - 1)
  )
  within = np.sum(
    np.prod(
      [
        table - m[:, None]
        for table, m in zip((first, second), means, strict=True)
      ],
      axis=0,
    )
  ) / (genotypes * (seeds - 1))
  if not spread:
    return 0.0
  return float((between - within) / seeds / spread)
