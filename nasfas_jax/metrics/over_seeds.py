"""A figure over networks that differ in their seed, and its interval."""

from collections.abc import Sequence

import numpy as np

from nasfas_jax.metrics import bootstrap, operating_points

FIGURES = ('hter', 'acer', 'apcer_max', 'bpcer', 'auc')
# The interval of HTER may need those of its parts.
_WITH_PARTS = (*FIGURES, 'apcer_pooled')


def over_seeds(
  scores: np.ndarray,
  labels: np.ndarray,
  attack_types: Sequence[str],
  subjects: Sequence[str],
  thresholds: Sequence[float],
  *,
  num_samples: int = 1000,
  confidence: float = 0.95,
  seed: int = 0,
) -> dict[str, dict[str, object] | None]:
  """Mean, spread and interval of metrics over networks of several seeds.

  The networks are judged on the same clips. Two things move their mean: the
  luck of a training, whose variance is that of the values over the seeds
  divided by their number, and the luck of the test set, whose variance is that
  of the mean over resampled subjects, which the networks share. The interval is
  Student's for the sum of both, with degrees of freedom after Satterthwaite
  (1946), cut to [0, 1]. The thresholds stay fixed.

  Where neither moves a figure, there is no variance to go by. A rate that is 0
  or 1 for every network then has `bootstrap.exact_intervals`; other figures
  have no interval. A mean of rates of which one does not move has the mean of
  their bounds.

  Args:
    scores: floats [S, N], S at least 2.
    labels: ints [N], 1 live, 0 spoof.
    attack_types: strings [N], 'live' for live clips and only for them.
    subjects: strings [N].
    thresholds: of each network, [S].
    num_samples: resamples of the subjects, at least 2.
    confidence: of the interval, in (0, 1).
    seed: same seed, same interval.

  Returns:
    Name in `FIGURES` -> 'values' [S], 'mean', 'deviation' (sample standard
    deviation over the seeds), 'low' and 'high', None without an interval; None
    if a class is missing, or there are fewer than two subjects.

  Raises:
    ValueError: for one network only, numbers out of range, or columns that
      `operating_points.check_scores` refuses.
  """
  if len(scores) < 2 or len(scores) != len(thresholds):
    raise ValueError(
      f'{len(scores)} networks and {len(thresholds)} thresholds; allowed: the '
      'same number of both, at least 2.'
    )
  if num_samples < 2 or not 0 < confidence < 1:
    raise ValueError(
      f'num_samples is {num_samples} and confidence {confidence}; allowed: at '
      'least 2, and between 0 and 1.'
    )
  checked = [
    operating_points.check_scores(
      one, labels, attack_types=attack_types, subjects=subjects
    )
    for one in scores
  ]
  live = checked[0][1]
  names, subject_of = np.unique(np.asarray(subjects, str), return_inverse=True)
  if live.all() or not live.any() or len(names) < 2:
    return dict.fromkeys(FIGURES)
  kinds = np.asarray(attack_types, str)
  species = kinds[:, None] == np.unique(kinds[~live])[None]

  def figures(weights):
    """Name -> float64 [S, draws]."""
    of_each = [
      _figures(one, live, species, operating_points.check_threshold(t), weights)
      for (one, _), t in zip(checked, thresholds, strict=True)
    ]
    return {name: np.stack([f[name] for f in of_each]) for name in _WITH_PARTS}

  drawn = [
    figures(weights)
    for weights in bootstrap.resamples(subject_of, live, num_samples, seed)
  ]
  found = figures(np.ones((1, len(live)), np.int64))
  bounds = {}
  for name in _WITH_PARTS:
    values = found[name][:, 0]
    means = np.concatenate([of[name].mean(axis=0) for of in drawn])
    half = half_width(
      [
        (float(np.var(means, ddof=1)), len(names) - 1),
        (float(np.var(values, ddof=1)) / len(values), len(values) - 1),
      ],
      confidence,
    )
    mean = float(values.mean())
    bounds[name,] = (
      [max(0.0, mean - half), min(1.0, mean + half)]
      if half > bootstrap.SAME
      else None
    )
  wrong = np.mean(
    [
      (one > threshold) != live
      for (one, _), threshold in zip(checked, thresholds, strict=True)
    ],
    axis=0,
  )
  bounds = bootstrap.with_exact(
    bounds, bootstrap.exact_intervals(wrong, kinds, subject_of, confidence)
  )
  result = {}
  for name in FIGURES:
    values = found[name][:, 0]
    low, high = bounds[name,] or (None, None)
    result[name] = {
      'values': values.tolist(),
      'mean': float(values.mean()),
      'deviation': float(np.std(values, ddof=1)),
      'low': low,
      'high': high,
    }
  return result


def half_width(
  parts: Sequence[tuple[float, int]], confidence: float = 0.95
) -> float:
  """Half of Student's interval for a sum of independent variances.

  Args:
    parts: (variance, its degrees of freedom) of each, after Satterthwaite.
    confidence: of the interval, in (0, 1).
  """
  # It takes a second to import, and an ordinary run does without it.
  from scipy import stats

  total = sum(variance for variance, _ in parts)
  if not total:
    return 0.0
  freedom = total**2 / sum(variance**2 / degrees for variance, degrees in parts)
  return float(stats.t.ppf((1 + confidence) / 2, freedom) * total**0.5)


def _figures(scores, live, species, threshold, weights) -> dict:
  """The metrics of a network for each row of weights: float64 [draws]."""
  accepted = scores > threshold
  attacks = weights @ species.astype(np.int64)
  passed = weights @ (species & accepted[:, None]).astype(np.int64)
  worst = (passed / np.maximum(attacks, 1)).max(axis=1)
  pooled = passed.sum(axis=1) / attacks.sum(axis=1)
  rejected = weights @ (live & ~accepted).astype(np.int64)
  bona_fide = rejected / (weights @ live.astype(np.int64))
  curve = operating_points.count_errors(scores, live, weights)
  return {
    'hter': (pooled + bona_fide) / 2,
    'acer': (worst + bona_fide) / 2,
    'apcer_max': worst,
    'apcer_pooled': pooled,
    'bpcer': bona_fide,
    'auc': operating_points.areas(curve),
  }
