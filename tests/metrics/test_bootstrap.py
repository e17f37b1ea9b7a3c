import itertools
import json

import numpy as np
import pytest

from nasfas_jax import metrics
from nasfas_jax.metrics import bootstrap


def _table(seed, num_clips=60, num_subjects=6):
  """Scores with ties, of three attack types and several clips a subject."""
  generator = np.random.default_rng(seed)
  labels = generator.integers(0, 2, num_clips)
  scores = np.round(generator.normal(size=num_clips) + labels, 1)
  attacks = generator.choice(['print', 'replay', 'mask_rigid'], num_clips)
  types = np.where(labels == 1, 'live', attacks)
  subjects = generator.integers(0, num_subjects, num_clips).astype(str)
  return scores, labels, types, subjects


def _flat(tree, path=()):
  """The leaves of nested dicts by their path."""
  if not isinstance(tree, dict):
    return {path: tree}
  return {
    key: leaf
    for name, branch in tree.items()
    for key, leaf in _flat(branch, (*path, name)).items()
  }


def test_bootstrap_matches_summaries_of_repeated_clips():
  """With three subjects, all 27 ordered draws have known values."""
  scores, labels, types, subjects = _table(0, 24, 3)
  values = []
  for draw in itertools.product('012', repeat=3):
    clips = np.concatenate([np.flatnonzero(subjects == x) for x in draw])
    values.append(
      _flat(metrics.summarise(scores[clips], labels[clips], types[clips], 0.5))
    )
  intervals = metrics.bootstrap_intervals(
    scores,
    labels,
    types,
    subjects,
    0.5,
    num_samples=20_000,
    confidence=0.999,
  )
  # So wide an interval of so many draws ends at the extremes of all draws (the
  # rarest of them, one subject three times, has a chance of 1 / 27).
  for name, (low, high) in _flat(intervals).items():
    exact = [value[name] for value in values]
    assert low == pytest.approx(min(exact), abs=1e-12), name
    assert high == pytest.approx(max(exact), abs=1e-12), name
  # The middle half needs the distribution too, not just its ends.
  half = metrics.bootstrap_intervals(
    scores, labels, types, subjects, 0.5, num_samples=20_000, confidence=0.5
  )
  for name, bounds in _flat(half).items():
    exact = np.sort([value[name] for value in values])
    for bound, rank in zip(bounds, (27 * 0.25, 27 * 0.75), strict=True):
      near = exact[int(rank) - 1], exact[int(rank) + 1]
      assert near[0] - 1e-12 <= bound <= near[1] + 1e-12, name


def test_bootstrap_is_a_function_of_its_seed(monkeypatch):
  table = _table(1)
  first = metrics.bootstrap_intervals(*table, 0.5, num_samples=200, seed=3)
  # Small blocks, same draws.
  monkeypatch.setattr(bootstrap, '_BLOCK_SIZE', 7 * 60)
  assert (
    metrics.bootstrap_intervals(*table, 0.5, num_samples=200, seed=3) == first
  )
  assert (
    metrics.bootstrap_intervals(*table, 0.5, num_samples=200, seed=4) != first
  )
  assert json.loads(json.dumps(first)) == first
  point = _flat(metrics.summarise(*table[:3], 0.5))
  for name, (low, high) in _flat(first).items():
    assert low <= point[name] <= high
    assert low < high


def test_bootstrap_resamples_subjects_not_clips():
  """Copies of a subject's clips must not narrow the interval."""
  scores, labels, types, subjects = _table(2, 30, 5)
  once = metrics.bootstrap_intervals(scores, labels, types, subjects, 0.5)
  many = metrics.bootstrap_intervals(
    *(np.tile(x, 20) for x in (scores, labels, types, subjects)), 0.5
  )
  many = _flat(many)
  for name, bounds in _flat(once).items():
    assert many[name] == pytest.approx(bounds, abs=1e-12)


def test_bootstrap_redraws_resamples_without_a_class():
  # Half of all draws take one subject twice; only the other half counts.
  scores, labels, types = [0.1, 0.9, 0.4], [0, 1, 1], ['print', 'live', 'live']
  intervals = metrics.bootstrap_intervals(
    scores, labels, types, ['a', 'b', 'b'], 0.5
  )
  assert intervals['auc'] == [1.0, 1.0]
  assert intervals['hter'] == [0.25, 0.25]


def test_bootstrap_of_one_class_or_one_subject():
  live = metrics.bootstrap_intervals(
    [0.1, 0.9, 0.8], [1, 1, 1], ['live'] * 3, ['a', 'b', 'c'], 0.5
  )
  assert live.pop('bpcer') == [0.0, 1.0]
  assert set(_flat(live).values()) == {None}
  spoof = metrics.bootstrap_intervals(
    [0.1, 0.9, 0.8], [0, 0, 0], ['print'] * 3, ['a', 'b', 'c'], 0.5
  )
  assert spoof.pop('apcer_max') == [0.0, 1.0]
  assert spoof.pop('apcer_pooled') == [0.0, 1.0]
  assert set(_flat(spoof).values()) == {None}
  scores, labels, types, _ = _table(0)
  single = metrics.bootstrap_intervals(
    scores, labels, types, ['a'] * len(scores), 0.5
  )
  assert {'hter', 'acer', 'apcer_max', 'bpcer', 'eer', 'auc'} < set(single)
  assert set(_flat(single).values()) == {None}


# Scores and labels that are bad: in test_rates.py.
def test_bad_arguments_are_named():
  table = _table(0)
  with pytest.raises(ValueError, match='threshold is inf'):
    metrics.bootstrap_intervals(*table, np.inf)
  with pytest.raises(ValueError, match='confidence is 95'):
    metrics.bootstrap_intervals(*table, 0.5, confidence=95)
  with pytest.raises(ValueError, match='num_samples is 0'):
    metrics.bootstrap_intervals(*table, 0.5, num_samples=0)
  with pytest.raises(ValueError, match='subjects have shape'):
    metrics.bootstrap_intervals(*table[:3], ['a'], 0.5)
