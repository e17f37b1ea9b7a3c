"""The bounds for a few live clips, against SciPy's tests and a simulation."""

import numpy as np
import pytest
from scipy import stats

from nasfas_jax.metrics import tolerance


@pytest.mark.parametrize(('rejected', 'number'), [(0, 10), (3, 50), (49, 50)])
def test_the_bound_is_the_exact_binomial_one(rejected, number):
  exact = stats.binomtest(rejected, number, alternative='less')
  high = exact.proportion_ci(0.95, method='exact').high
  assert tolerance.upper_bound(rejected, number) == pytest.approx(high)


def test_with_none_rejected_it_has_a_closed_form():
  for number in (1, 10, 59, 299):
    bound = 1 - 0.05 ** (1 / number)
    assert tolerance.upper_bound(0, number) == pytest.approx(bound)
  assert tolerance.upper_bound(5, 5) == 1.0


def test_the_numbers_of_clips_are_the_known_ones():
  """59 clips for 5 %, 299 for 1 % (Wilks, at 95 %)."""
  assert tolerance.clips_needed(0.05) == 59
  assert tolerance.clips_needed(0.01) == 299
  assert tolerance.clips_needed(0.1) == 29
  # 93 clips allow one to be rejected at 5 %, 92 none.
  assert tolerance.most_rejected(93, 0.05) == 1
  assert tolerance.most_rejected(92, 0.05) == 0
  assert tolerance.most_rejected(58, 0.05) is None


def test_a_threshold_on_the_same_clips_keeps_its_promise():
  """Over many draws of 93 clips, the true BPCER exceeds 5 % in about 5 %."""
  generator = np.random.default_rng(0)
  above = 0
  for _ in range(4000):
    scores = generator.random(93)
    threshold, rejected = tolerance.threshold_below(scores, 1)
    assert rejected == 1
    above += threshold > 0.05  # Of a uniform score, the true BPCER.
  share = stats.beta.sf(0.05, 2, 92)
  assert share <= 0.05
  assert above / 4000 == pytest.approx(share, abs=0.012)


def test_tied_scores_reject_fewer():
  scores = np.array([0.2, 0.5, 0.5, 0.5, 0.9])
  assert tolerance.threshold_below(scores, 2) == (np.nextafter(0.5, 0), 1)


def test_impossible_counts_are_named():
  with pytest.raises(ValueError, match='6 of 5 live clips are rejected'):
    tolerance.upper_bound(6, 5)
