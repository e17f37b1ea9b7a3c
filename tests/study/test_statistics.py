import dataclasses

import numpy as np
import pytest
from scipy import stats

from benchmarks import seed_intervals
from nasfas_jax import metrics
from nasfas_jax.study import markdown, statistics
from nasfas_jax.study.statistics import Scores


def make_scores(rng, skill, subjects=12, clips=6):
  labels = np.tile([1, 0], subjects * clips // 2)
  return Scores(
    subjects=np.repeat([f's{i}' for i in range(subjects)], clips),
    labels=labels,
    types=np.where(labels == 1, 'live', 'print'),
    scores=skill * labels + rng.normal(size=len(labels)),
  )


def test_interval_excludes_zero_for_a_real_difference_only():
  rng = np.random.default_rng(0)
  weak = [make_scores(rng, 0.5) for _ in range(5)]
  again = [make_scores(rng, 0.5) for _ in range(5)]
  strong = [make_scores(rng, 2.5) for _ in range(5)]
  mean, low, high = statistics.paired_difference(weak, strong, num_samples=200)
  assert 0 < low < mean < high
  _, low, high = statistics.paired_difference(weak, again, num_samples=200)
  assert low < 0 < high


def test_interval_covers_the_true_difference_as_often_as_it_says():
  """Of studies of two settings that are alike; runs differ in luck and skill.

  The luck of seeds prevails here: a bootstrap over the five of them left zero
  out in 15 %.
  """
  rng = np.random.default_rng(1)
  studies, missed = 200, 0
  for _ in range(studies):
    runs = [
      [make_scores(rng, 1.0 + 0.5 * rng.normal(), 30, 20) for _ in range(5)]
      for _ in range(2)
    ]
    _, low, high = statistics.paired_difference(*runs, num_samples=20)
    missed += not low <= 0 <= high
  # 5 % give 10, with a standard deviation of 3.1.
  assert missed <= 19


def test_interval_of_seeds_is_students_and_that_of_subjects_is_added():
  # One subject of each: no luck of the test set but by the bootstrap's.
  parts = [(4.0, 4)]
  assert statistics.half_width(parts) == pytest.approx(2 * 2.776, 1e-3)
  # Satterthwaite: (3 + 1)^2 / (9 / 4 + 1 / 11) = 6.83 degrees of freedom.
  parts = [(3.0, 4), (1.0, 11)]
  assert statistics.half_width(parts) == pytest.approx(
    2 * stats.t.ppf(0.975, 6.8342), rel=1e-4
  )
  assert statistics.half_width([(0.0, 4), (0.0, 3)]) == 0.0


def test_one_difference_has_no_interval_of_seeds():
  assert statistics.student_interval([0.5]) == (0.5, None, None)
  assert statistics.student_interval([0.1] * 3)[1:] == (None, None)
  # Two equal ones are no certainty.
  assert statistics.student_interval([0.5, 0.5]) == (0.5, None, None)
  assert markdown.paired([0.5]) == '+0.500, no interval'
  # Student's quantile for one degree of freedom is 12.706.
  mean, low, high = statistics.student_interval([1.0, 3.0])
  assert (mean, high - mean, mean - low) == pytest.approx(
    (2.0, 12.706, 12.706), rel=1e-4
  )


def test_one_seed_gives_the_interval_of_its_test_set():
  rng = np.random.default_rng(4)
  mean, low, high = statistics.paired_difference(
    [make_scores(rng, 1.0)], [make_scores(rng, 1.0)], num_samples=50
  )
  assert low < mean < high


def test_mean_difference_is_that_of_the_aucs():
  labels = np.array([1, 0, 1, 0])

  def run(scores):
    return Scores(
      np.array(['a', 'a', 'b', 'b']),
      labels,
      np.array(['live', 'print', 'live', 'print']),
      np.array(scores),
    )

  # AUC 3/4 and 1 for the two seeds, then 1 and 1.
  first = [run([0.9, 0.1, 0.2, 0.3]), run([0.9, 0.1, 0.8, 0.3])]
  second = [run([0.9, 0.1, 0.8, 0.3])] * 2
  mean, *_ = statistics.paired_difference(first, second, num_samples=10)
  assert mean == pytest.approx(0.125)


def test_runs_on_other_clips_are_refused():
  rng = np.random.default_rng(2)
  run, other = make_scores(rng, 1.0), make_scores(rng, 1.0, subjects=10)
  with pytest.raises(ValueError, match='not on the same test clips'):
    statistics.paired_difference([run], [other], num_samples=5)
  with pytest.raises(ValueError, match='1 runs against 0'):
    statistics.paired_difference([run], [], num_samples=5)


def test_runs_without_an_auc_are_refused():
  names, zeros = np.array(['a', 'b']), np.zeros(2)
  live = Scores(names, np.ones(2, int), zeros, zeros)
  with pytest.raises(ValueError, match='Of 2 test clips 2 are live'):
    statistics.paired_difference([live], [live], num_samples=5)
  labels = np.array([1, 0])
  lost = Scores(
    np.array(['a', 'b']), labels, np.zeros(2), np.array([0, np.nan])
  )
  with pytest.raises(ValueError, match='1 of 2 scores are not finite'):
    statistics.paired_difference([lost], [lost], num_samples=5)


def test_interval_of_subjects_is_that_of_clips_repeated():
  """Of one seed, where it is the bootstrap's alone; drawn here clip by clip."""
  data = np.random.default_rng(7)
  # Rounded, so that scores tie.
  runs = [
    dataclasses.replace(run, scores=np.round(run.scores, 1))
    for run in (make_scores(data, 0.5), make_scores(data, 1.0))
  ]
  mean, low, high = statistics.paired_difference(
    runs[:1], runs[1:], num_samples=40, seed=3
  )
  rng, gaps = np.random.default_rng(3), []
  for _ in range(40):
    chosen = np.unique(runs[0].subjects)[rng.integers(0, 12, 12)]
    clips = np.concatenate(
      [np.flatnonzero(runs[0].subjects == name) for name in chosen]
    )
    weak, strong = (metrics.auc(r.scores[clips], r.labels[clips]) for r in runs)
    gaps.append(strong - weak)
  half = stats.t.ppf(0.975, 11) * np.std(gaps, ddof=1)
  assert (high - mean, mean - low) == pytest.approx((half, half))


def test_of_types_keeps_live_clips_and_those_types():
  rng = np.random.default_rng(3)
  scores = make_scores(rng, 1.0)
  kept = statistics.of_types(scores, ['replay'])
  assert set(kept.types) == {'live'}
  assert len(kept.scores) == len(scores.scores) // 2
  assert set(statistics.of_types(scores, ['print']).types) == {
    'live',
    'print',
  }


def test_percentile_counts_ties_half():
  assert statistics.percentile(3.0, [1.0, 2.0, 3.0, 4.0]) == 0.625
  assert statistics.percentile(9.0, [1.0, 2.0]) == 1.0
  with pytest.raises(ValueError):
    statistics.percentile(1.0, [])


def test_interval_over_seeds_alone_by_hand():
  # Differences 1, 2, 3: mean 2, 4.303 standard errors of 1 / sqrt 3.
  found = seed_intervals.interval([0.0, 1.0, 2.0], [1.0, 3.0, 5.0])
  assert found == '+2.000 [-0.484, +4.484]'
  assert seed_intervals.interval([1.0], [3.0]) == '+2.000, no interval'


def test_a_row_without_the_one_it_is_compared_with_has_no_interval():
  row = {'auc': {'values': [0.5, 0.6]}, 'to': 'plain'}
  assert not seed_intervals.lines_of({'tables': {'p': {'domain': row}}})


def test_interval_of_rows_that_are_not_paired_by_hand():
  rows = [
    {'mean': np.mean(values), 'values': values}
    for values in ([0.0, 2.0], [5.0, 7.0, 9.0])
  ]
  # Variances 2 and 4, of the means 2 / 2 and 4 / 3; Welch's degrees of freedom.
  freedom = (1 + 4 / 3) ** 2 / (1**2 / 1 + (4 / 3) ** 2 / 2)
  half = stats.t.ppf(0.975, freedom) * (1 + 4 / 3) ** 0.5
  found = seed_intervals.interval_apart(*rows)
  assert found == f'+6.000 [{6 - half:+.3f}, {6 + half:+.3f}]'
