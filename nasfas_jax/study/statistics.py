"""Statistics of runs that differ in their seed or in one setting."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from nasfas_jax import score_table
from nasfas_jax.metrics import operating_points
from nasfas_jax.metrics.over_seeds import half_width


@dataclasses.dataclass(frozen=True)
class Scores:
  """The test clips of a run: what the intervals are drawn from.

  Attributes:
    subjects: [N] strings.
    labels: [N], 1 live, 0 spoof.
    types: [N] strings.
    scores: [N].
  """

  subjects: np.ndarray
  labels: np.ndarray
  types: np.ndarray
  scores: np.ndarray


def read_scores(path: pathlib.Path) -> Scores:
  """The test clips of a scores.csv."""
  columns = score_table.labelled(score_table.read(path)['test'])
  return Scores(
    subjects=columns['subject'],
    labels=columns['label'],
    types=columns['attack_type'],
    scores=columns['score'],
  )


def of_types(scores: Scores, types: Sequence[str]) -> Scores:
  """Live clips and the attacks of some types."""
  kept = (scores.labels == 1) | np.isin(scores.types, types)
  return Scores(
    *(getattr(scores, field.name)[kept] for field in dataclasses.fields(Scores))
  )


def paired_difference(
  first: Sequence[Scores],
  second: Sequence[Scores],
  *,
  num_samples: int,
  seed: int = 0,
  thresholds: tuple[Sequence[float], Sequence[float]] | None = None,
) -> tuple[float, float | None, float | None]:
  """Mean difference in AUC of two settings, with a 95 % interval.

  The luck of training is in the spread of the differences over seeds, that of
  the test set in a bootstrap over subjects, which the runs share. The interval
  is Student's for the sum of both variances, with degrees of freedom after
  Satterthwaite (1946): five seeds are too few for a bootstrap over them, whose
  interval, where their luck prevails, leaves out the truth three times as often
  as it says.

  Args:
    first: a run for each seed.
    second: the same seeds in the same order, on the same clips.
    num_samples: of the bootstrap, at least 2.
    seed: of the bootstrap.
    thresholds: of the runs of both settings: the difference is in HTER at them
      instead.

  Returns:
    (mean of second - first, lower bound, upper bound). With one seed the
    interval knows the luck of the test set alone. The bounds are None where
    neither seeds nor draws of subjects differ.

  Raises:
    ValueError: if the runs are not on the same clips, or there are none; if
      the clips are of one class, or a score is not finite.
  """
  if len(first) != len(second) or not first:
    raise ValueError(
      f'{len(first)} runs against {len(second)}; pairs are needed.'
    )
  for run in (*first, *second):
    if not (
      np.array_equal(run.subjects, first[0].subjects)
      and np.array_equal(run.labels, first[0].labels)
    ):
      raise ValueError('The runs are not on the same test clips.')
    _, live = operating_points.check_scores(run.scores, run.labels)
  if live.all() or not live.any():
    raise ValueError(
      f'Of {len(live)} test clips {int(live.sum())} are live; an AUC needs '
      'both classes.'
    )
  names, subject_of = np.unique(first[0].subjects, return_inverse=True)
  rng = np.random.default_rng(seed)
  # How often each subject is drawn, and with it each of its clips.
  draws = []
  while len(draws) < num_samples:
    chosen = rng.integers(0, len(names), len(names))
    counts = np.bincount(chosen, minlength=len(names))
    taken = counts[subject_of] > 0
    # There is no AUC without both classes.
    if taken[live].any() and taken[~live].any():
      draws.append(counts)
  weights = np.stack(draws)[:, subject_of]

  def figures(runs, values, weights):
    """Of every run and every draw of clips: float64 [runs, draws]."""
    if values is not None:
      pairs = zip(runs, values, strict=True)
      return np.stack([half_total_error(*pair, weights) for pair in pairs])
    return np.stack(
      [
        operating_points.areas(
          operating_points.count_errors(run.scores, live, weights)
        )
        for run in runs
      ]
    )

  def differences(weights):
    before, after = thresholds or (None, None)
    return figures(second, after, weights) - figures(first, before, weights)

  drawn = differences(weights).mean(axis=0)
  found = differences(np.ones((1, len(live)), np.int64))[:, 0]
  parts = [(np.var(drawn, ddof=1), max(len(names) - 1, 1))]
  if len(found) > 1:
    parts.append(variance_of_mean(found))
  return bounded(found.mean(), parts)


def half_total_error(
  run: Scores, threshold: float, weights: np.ndarray
) -> np.ndarray:
  """HTER at a threshold: the mean of the shares of both classes in error.

  Args:
    run: N clips of both classes.
    threshold: a clip is live if its score is above.
    weights: [draws, N], how often each clip counts.

  Returns:
    float64 [draws].
  """
  live = run.labels == 1
  wrong = (run.scores > threshold) != live
  shares = [
    np.sum(weights[:, of] * wrong[of], axis=1) / np.sum(weights[:, of], axis=1)
    for of in (live, ~live)
  ]
  return (shares[0] + shares[1]) / 2


def student_interval(
  values: Sequence[float],
) -> tuple[float, float | None, float | None]:
  """(mean, lower, upper bound of Student's 95 %).

  One value has no bounds, and neither have several that do not differ.
  """
  parts = [variance_of_mean(values)] if len(values) > 1 else []
  return bounded(np.mean(values), parts)


def bounded(
  mean: float, parts: Sequence[tuple[float, int]]
) -> tuple[float, float | None, float | None]:
  """A mean and the bounds of its 95 % interval.

  Values that do not differ have no bounds: chance alone would give them a
  width.

  Args:
    mean: the estimate.
    parts: of its variance, see `half_width`. Two, of means, give Welch's
      interval of their difference.

  Returns:
    (mean, lower, upper bound); the bounds are None without a variance.
  """
  half = half_width(parts)
  if not half:
    return float(mean), None, None
  return float(mean), float(mean - half), float(mean + half)


def variance_of_mean(values: Sequence[float]) -> tuple[float, int]:
  """(variance of the mean, degrees of freedom) of two values or more."""
  # Rounding may leave equal values with a variance.
  variance = float(np.var(values, ddof=1)) if np.ptp(values) else 0.0
  return variance / len(values), len(values) - 1


def percentile(value: float, among: Sequence[float]) -> float:
  """Share of values that lie below, ties counted half, in [0, 1]."""
  among = np.asarray(among)
  if not len(among):
    raise ValueError('There is nothing to compare with.')
  return float(np.mean(among < value) + np.mean(among == value) / 2)
