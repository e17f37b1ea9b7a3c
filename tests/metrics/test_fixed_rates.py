"""One rate at a fixed other one, against a loop over all thresholds."""

import numpy as np
import pytest

from nasfas_jax import metrics


def split(seed, num_clips=40):
  generator = np.random.default_rng(seed)
  labels = generator.integers(0, 2, num_clips)
  labels[:2] = 0, 1
  scores = np.round(generator.normal(size=num_clips) + labels, 1)
  attacks = generator.choice(['print', 'replay', 'mask_rigid'], num_clips)
  return scores, labels, np.where(labels == 1, 'live', attacks)


def errors(scores, labels, types):
  """(worst APCER, pooled APCER, BPCER) at every threshold, by counting."""
  for threshold in (-np.inf, *np.unique(scores)):
    accepted = scores > threshold
    by_type = [
      np.mean(accepted[types == kind]) for kind in set(types) - {'live'}
    ]
    yield (
      max(by_type),
      np.mean(accepted[labels == 0]),
      np.mean(~accepted[labels == 1]),
    )


@pytest.mark.parametrize('seed', range(5))
def test_a_fixed_rate_is_the_best_of_all_thresholds(seed):
  scores, labels, types = split(seed)
  found = metrics.at_fixed_rates(scores, labels, types, limits=(0.0, 0.1, 0.25))
  points = list(errors(scores, labels, types))
  for limit in (0.0, 0.1, 0.25):
    for place, pooling in enumerate(('worst', 'pooled')):
      assert found['bpcer_at_apcer'][f'{limit:g}'][pooling] == min(
        point[2] for point in points if point[place] <= limit
      )
      assert found['apcer_at_bpcer'][f'{limit:g}'][pooling] == min(
        point[place] for point in points if point[2] <= limit
      )


def test_the_worst_type_counts_whatever_its_number():
  """One of two masks passes, and none of 98 prints: 50 %, or 1 % pooled."""
  scores = np.concatenate([[0.9, 0.1], np.full(98, 0.2), [0.5, 0.95]])
  labels = np.array([0] * 100 + [1, 1])
  types = ['mask_rigid'] * 2 + ['print'] * 98 + ['live'] * 2
  found = metrics.at_fixed_rates(scores, labels, types, limits=(0.01,))
  assert found['bpcer_at_apcer']['0.01'] == {'worst': 0.5, 'pooled': 0.0}
  assert found['apcer_at_bpcer']['0.01'] == {'worst': 0.5, 'pooled': 0.01}


def test_pooled_bpcer_is_what_tpr_leaves():
  scores, labels, types = split(7, 300)
  found = metrics.at_fixed_rates(scores, labels, types)['bpcer_at_apcer']
  for limit in (0.01, 0.1):
    rate = 1 - metrics.tpr_at_fpr(scores, labels, limit)
    assert found[f'{limit:g}']['pooled'] == pytest.approx(rate)


def test_a_missing_class_gives_none_and_a_bad_limit_is_named():
  found = metrics.at_fixed_rates([0.5], [1], ['live'])
  assert found['bpcer_at_apcer']['0.05'] == {'worst': None, 'pooled': None}
  with pytest.raises(ValueError, match='limit of a rate is 1.5; allowed: 0'):
    metrics.at_fixed_rates([0.5], [1], ['live'], limits=(1.5,))


def test_the_det_curve_holds_every_threshold():
  scores, labels, types = split(3)
  apcer, bpcer = metrics.det(scores, labels)
  wanted = [(pooled, rate) for _, pooled, rate in errors(scores, labels, types)]
  np.testing.assert_allclose(np.stack([apcer, bpcer], axis=1), wanted)
  assert metrics.det([0.5], [0]) is None
