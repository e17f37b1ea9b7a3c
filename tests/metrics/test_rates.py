"""Tests of the metrics against scikit-learn, loops and hand-worked numbers."""

import json

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from nasfas_jax import metrics

# Live 9 8 6 4, print 7 3, replay 5 2 1 1.
_SCORES = np.array([9, 8, 6, 4, 7, 3, 5, 2, 1, 1], np.float32)
_LABELS = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0])
_TYPES = ['live'] * 4 + ['print'] * 2 + ['replay'] * 4


@st.composite
def _splits(draw):
  """Scores with many ties, and labels of both classes."""
  size = draw(st.integers(2, 40))
  scores = draw(st.lists(st.integers(-4, 4), min_size=size, max_size=size))
  labels = draw(st.lists(st.integers(0, 1), min_size=size, max_size=size))
  labels[:2] = [0, 1]
  return np.array(scores) / 4, np.array(labels)


def _rates(scores, labels, threshold):
  """FPR and FNR by counting."""
  spoof = [s for s, label in zip(scores, labels, strict=True) if label == 0]
  live = [s for s, label in zip(scores, labels, strict=True) if label == 1]
  fpr = sum(s > threshold for s in spoof) / len(spoof)
  fnr = sum(s <= threshold for s in live) / len(live)
  return fpr, fnr


def test_summary_is_the_hand_worked_one():
  summary = metrics.summarise(
    _SCORES, _LABELS, _TYPES, 4.0, fprs=(0.5, 0.2, 0.1)
  )
  # At 4: live 4 is rejected; print 7 and replay 5 are accepted.
  assert summary == {
    'num_live': 4,
    'num_spoof': 6,
    'threshold': 4.0,
    'apcer_by_type': {'print': 1 / 2, 'replay': 1 / 4},
    'apcer_max': 1 / 2,
    'apcer_pooled': 2 / 6,
    'bpcer': 1 / 4,
    'acer': 3 / 8,
    'acer_pooled': (2 / 6 + 1 / 4) / 2,
    'hter': (2 / 6 + 1 / 4) / 2,
    'accuracy': 7 / 10,
    # Between 4 and 5: FPR 2/6, FNR 1/4, gap 1/12. Between 5 and 6: 1/6, 1/4,
    # gap 1/12 as well and the smaller sum.
    'eer': 5 / 24,
    # Pairs won by live: 9 and 8 beat all 6, 6 beats 5, 4 beats 4; of 24.
    'auc': 21 / 24,
    'error_at_share': {
      '0.01': pytest.approx(0.01 * 2 / 6 + 0.99 / 4),
      '0.1': pytest.approx(0.1 * 2 / 6 + 0.9 / 4),
      '0.5': pytest.approx((2 / 6 + 1 / 4) / 2),
    },
    'tpr_at_fpr': {'0.5': 1.0, '0.2': 3 / 4, '0.1': 2 / 4},
    # No attack may pass, then no live clip may be rejected.
    'bpcer_at_apcer': dict.fromkeys(
      ('0.01', '0.05', '0.1'), {'worst': 1 / 2, 'pooled': 1 / 2}
    ),
    'apcer_at_bpcer': dict.fromkeys(
      ('0.01', '0.05', '0.1'), {'worst': 1 / 2, 'pooled': 2 / 6}
    ),
  }
  assert json.loads(json.dumps(summary)) == summary


def test_eer_threshold_is_midway_between_the_neighbouring_scores():
  rate, threshold = metrics.eer(_SCORES, _LABELS)
  assert (rate, threshold) == (5 / 24, 5.5)
  assert metrics.eer_threshold(_SCORES, _LABELS) == 5.5


@pytest.mark.parametrize(
  'live, spoof, rate, threshold',
  [
    ([4, 8], [1, 2], 0.0, 3.0),  # A gap: its middle.
    ([1, 2], [4, 8], 1.0, 3.0),  # The wrong way round: FPR = FNR = 1.
    ([5, 5], [5, 5, 5], 0.5, 5.0),  # One score: it accepts nobody.
    # FPR 3/4, FNR 1/4 or the reverse: the higher of the two.
    ([2, 5, 5, 9], [2, 5, 5, 9], 0.5, 7.0),
    # Equal gap and equal sum at 1.5 (FPR 1/2, FNR 0) and 2.5 (0, 1/2).
    ([2, 3], [1, 2], 0.25, 2.5),
  ],
)
def test_eer_ties(live, spoof, rate, threshold):
  scores = np.array(live + spoof, float)
  labels = np.array([1] * len(live) + [0] * len(spoof))
  assert metrics.eer(scores, labels)[0] == rate
  assert metrics.eer_threshold(scores, labels) == threshold


def test_threshold_between_neighbouring_floats_still_separates():
  low = np.float64(1.0)
  for _ in range(3):
    high = np.nextafter(low, 2.0)
    threshold = metrics.eer_threshold(np.array([high, low]), np.array([1, 0]))
    assert low <= threshold < high
    low = high
  huge = np.finfo(np.float64).max
  assert metrics.eer_threshold(np.array([huge, -huge]), np.array([1, 0])) == 0


@settings(deadline=None)
@given(_splits())
def test_eer_is_the_best_operating_point(split):
  scores, labels = split
  rate, threshold = metrics.eer(scores, labels)
  fpr, fnr = _rates(scores, labels, threshold)
  assert rate == pytest.approx((fpr + fnr) / 2)
  values = np.unique(scores)
  candidates = [values[0] - 1, *values]
  best = min(
    (round(abs(a - b), 9), round(a + b, 9))
    for a, b in (_rates(scores, labels, t) for t in candidates)
  )
  assert (round(abs(fpr - fnr), 9), round(fpr + fnr, 9)) == best


@settings(deadline=None)
@given(_splits())
def test_roc_and_auc_agree_with_scikit_learn(split):
  scores, labels = split
  fpr, tpr, thresholds = metrics.roc(scores, labels)
  # scikit-learn accepts at score >= threshold, so the points are the same.
  expected = sklearn.metrics.roc_curve(labels, scores, drop_intermediate=False)
  np.testing.assert_allclose(fpr, expected[0], rtol=0, atol=1e-15)
  np.testing.assert_allclose(tpr, expected[1], rtol=0, atol=1e-15)
  for point in zip(fpr, tpr, thresholds, strict=True):
    a, b = _rates(scores, labels, point[2])
    assert point[:2] == pytest.approx((a, 1 - b))
  assert metrics.auc(scores, labels) == pytest.approx(
    sklearn.metrics.roc_auc_score(labels, scores), abs=1e-12
  )


@settings(deadline=None)
@given(_splits(), st.floats(0, 1))
def test_tpr_at_fpr_is_the_best_allowed_point(split, limit):
  scores, labels = split
  thresholds = [scores.min() - 1, *scores]
  points = [_rates(scores, labels, t) for t in thresholds]
  expected = max(1 - fnr for fpr, fnr in points if fpr <= limit)
  assert metrics.tpr_at_fpr(scores, labels, limit) == pytest.approx(expected)


@settings(deadline=None)
@given(_splits())
def test_metrics_ignore_the_scale_and_order_of_scores(split):
  scores, labels = split
  types = np.where(labels == 1, 'live', 'print')
  plain = metrics.summarise(scores, labels, types, 0.0)
  # x ** 3 + x keeps the order and the sign.
  bent = metrics.summarise(scores**3 + scores, labels, types, 0.0)
  order = np.random.default_rng(0).permutation(len(scores))
  mixed = metrics.summarise(scores[order], labels[order], types[order], 0.0)
  assert plain == bent == mixed
  # Swapping the classes and the sign swaps the two errors.
  assert metrics.auc(-scores, 1 - labels) == pytest.approx(plain['auc'])
  assert metrics.eer(-scores, 1 - labels)[0] == pytest.approx(plain['eer'])


def test_threshold_comes_from_dev_only():
  dev = np.array([1.0, 3.0]), np.array([0, 1])
  threshold = metrics.eer_threshold(*dev)
  # A test split that is shifted has no error at its own threshold, but half at
  # that of dev.
  scores, labels = np.array([3.0, 5.0]), np.array([0, 1])
  summary = metrics.summarise(scores, labels, ['print', 'live'], threshold)
  assert summary['eer'] == 0
  assert summary['hter'] == 0.5
  assert summary['threshold'] == 2.0


def test_missing_class_gives_none():
  live = metrics.summarise([0.2, 0.8], [1, 1], ['live', 'live'], 0.5)
  spoof = metrics.summarise([0.2, 0.8], [0, 0], ['print', 'replay'], 0.5)
  shared = ('acer', 'acer_pooled', 'hter', 'eer', 'auc')
  for name in (*shared, 'apcer_max', 'apcer_pooled'):
    assert live[name] is None
  for name in (*shared, 'bpcer'):
    assert spoof[name] is None
  assert set(live['tpr_at_fpr'].values()) == {None}
  assert live['apcer_by_type'] == {}
  assert live['bpcer'] == 0.5
  assert spoof['apcer_by_type'] == {'print': 0.0, 'replay': 1.0}
  assert spoof['apcer_max'] == 1.0
  assert metrics.eer([0.2], [1]) == (None, None)
  assert metrics.roc([0.2], [0]) is None
  with pytest.raises(ValueError, match='has 0 live and 2 spoof'):
    metrics.eer_threshold(np.array([0.2, 0.8]), np.array([0, 0]))


@pytest.mark.parametrize(
  'scores, labels, types, message',
  [
    ([], [], [], r'shape \(0,\)'),
    ([[1.0]], [1], ['live'], r'shape \(1, 1\)'),
    ([1.0, 2.0], [1], ['live'] * 2, r'labels have shape \(1,\)'),
    ([1.0, 2.0], [1, 1], ['live'], r'attack_types have shape \(1,\)'),
    (
      [np.nan, np.inf, -np.inf, np.nan, 1.0],
      [1, 1, 1, 0, 0],
      ['live'] * 3 + ['print'] * 2,
      r'4 of 5 scores are not finite \(2 NaN, 2 infinite\)',
    ),
    ([1.0, 2.0, 3.0], [1, 2, -1], ['live'] * 3, 'labels hold -1, 2'),
    ([1.0, 2.0], [1, 1], ['live', 'print'], 'clip 1 with label 1 .*print'),
    ([1.0, 2.0], [0, 1], ['live', 'live'], 'clip 0 with label 0 .*live'),
  ],
)
def test_bad_input_is_named(scores, labels, types, message):
  with pytest.raises(ValueError, match=message):
    metrics.summarise(scores, labels, types, 0.5)
  subjects = ['a'] * len(scores)
  with pytest.raises(ValueError, match=message):
    metrics.bootstrap_intervals(scores, labels, types, subjects, 0.5)


def test_bad_arguments_are_named():
  with pytest.raises(ValueError, match='threshold is nan'):
    metrics.summarise(_SCORES, _LABELS, _TYPES, np.nan)
  with pytest.raises(ValueError, match='fpr is 1.5'):
    metrics.tpr_at_fpr(_SCORES, _LABELS, 1.5)


@settings(max_examples=30, deadline=None)
@given(_splits(), st.floats(-1.5, 1.5))
def test_apcer_by_type_counts_each_type(split, threshold):
  scores, labels = split
  names = ['print', 'replay', 'mask_rigid']
  types = ['live' if label else names[i % 3] for i, label in enumerate(labels)]
  by_type = metrics.apcer_by_type(scores, labels, types, threshold)
  for name in names:
    clips = [i for i, attack in enumerate(types) if attack == name]
    if clips:
      accepted = sum(scores[i] > threshold for i in clips)
      assert by_type[name] == pytest.approx(accepted / len(clips))
    else:
      assert name not in by_type
