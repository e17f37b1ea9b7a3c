"""Probabilities from scores, against scikit-learn and loops."""

import numpy as np
import pytest
from sklearn import linear_model
from sklearn import metrics as reference

from nasfas_jax.metrics import calibration


def split(seed, num_live=40, num_spoof=200, shift=1.5):
  generator = np.random.default_rng(seed)
  labels = np.array([1] * num_live + [0] * num_spoof)
  scores = generator.normal(size=len(labels)) + shift * labels
  return 0.01 * scores + 3.0, labels


@pytest.mark.parametrize('shift', [0.0, 1.5, 20.0])
def test_the_fit_is_that_of_a_logistic_regression_on_soft_targets(shift):
  scores, labels = split(0, shift=shift)
  found = calibration.fit(scores, labels)
  # Every clip twice, once as each class, weighted by its target.
  numbers = np.where(labels == 1, 40, 200)
  target = np.where(labels == 1, numbers + 1, 1) / (numbers + 2)
  weights = 0.5 / numbers
  z = (scores - scores.mean()) / scores.std()
  regression = linear_model.LogisticRegression(
    C=np.inf, tol=1e-10, max_iter=1000
  ).fit(
    np.tile(z, 2)[:, None],
    np.repeat([1, 0], len(z)),
    1000 * np.concatenate([weights * target, weights * (1 - target)]),
  )
  np.testing.assert_allclose(
    calibration.probability(found, scores),
    regression.predict_proba(z[:, None])[:, 1],
    atol=2e-4,
  )


def test_the_figures_are_those_of_scikit_learn_and_of_a_loop():
  fitted = calibration.fit(*split(1))
  scores, labels = split(2, 60, 90)
  found = calibration.judge(fitted, scores, labels, 3.0075)
  p = calibration.probability(fitted, scores)
  weights = np.where(labels == 1, 0.5 / 60, 0.5 / 90)
  assert found['log_loss'] == pytest.approx(
    reference.log_loss(labels, p, sample_weight=weights)
  )
  assert found['brier'] == pytest.approx(
    reference.brier_score_loss(labels, p, sample_weight=weights)
  )
  gap, clips = 0.0, 0
  for low in np.arange(10) / 10:
    inside = [i for i in range(150) if low <= p[i] < low + 0.1]
    clips += len(inside)
    gap += abs(sum(weights[i] * (p[i] - labels[i]) for i in inside))
  assert clips == sum(entry['clips'] for entry in found['bins']) == 150
  assert found['ece'] == pytest.approx(gap)
  accepted = scores > 3.0075
  hter = (np.mean(accepted[60:]) + np.mean(~accepted[:60])) / 2
  assert found['error'] == pytest.approx(hter)
  expected = sum(
    w * (1 - q if yes else q)
    for w, q, yes in zip(weights, p, accepted, strict=True)
  )
  assert found['expected_error'] == pytest.approx(expected)


def test_it_holds_on_more_of_the_same_and_not_after_a_shift():
  fitted = calibration.fit(*split(3, 2000, 2000))
  same = calibration.judge(fitted, *split(4, 2000, 4000), 3.0075)
  assert same['ece'] < 0.03
  assert abs(same['expected_error'] - same['error']) < 0.02
  scores, labels = split(5, 2000, 2000)
  moved = calibration.judge(fitted, scores - 0.02, labels, 3.0075)
  assert moved['ece'] > 0.2 and moved['brier'] > same['brier'] + 0.1


def test_one_class_or_one_score_has_no_slope():
  assert calibration.fit(np.array([1.0, 2.0]), np.array([1, 1])) is None
  flat = calibration.fit(np.full(4, 0.5), np.array([0, 0, 1, 1]))
  assert flat == calibration.Calibration(0.0, 0.0)
  assert calibration.judge(flat, np.array([0.5]), np.array([1]), 0.1) is None
  huge = np.array([-1e308, 1e308, 0.0]), np.array([0, 1, 1])
  assert calibration.fit(*huge).slope == 0.0


def test_random_splits_give_finite_probabilities():
  generator = np.random.default_rng(0)
  for _ in range(300):
    num = generator.integers(2, 30)
    labels = generator.integers(0, 2, num)
    labels[:2] = 0, 1
    scores = generator.normal(size=num) * 10.0 ** generator.integers(-9, 9)
    scores = np.where(generator.random(num) < 0.3, scores[0], scores)
    fitted = calibration.fit(scores, labels)
    found = calibration.judge(fitted, scores, labels, 0.0)
    assert 0 <= found['ece'] <= 1 and np.isfinite(found['log_loss'])
    # A fit is no worse than saying 1/2 always.
    assert found['log_loss'] < 0.72
