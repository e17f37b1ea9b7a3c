import itertools
import json
import tracemalloc

import numpy as np
import pytest
from scipy import stats

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
  index, live = np.array([0, 1, 1]), np.array([False, True, True])
  draws = np.concatenate(list(bootstrap.resamples(index, live, 1000, 0)))
  np.testing.assert_array_equal(draws, np.ones((1000, 3)))
  scores, labels, types = [0.1, 0.9, 0.4], [0, 1, 1], ['print', 'live', 'live']
  intervals = metrics.bootstrap_intervals(
    scores, labels, types, ['a', 'b', 'b'], 0.5
  )
  # They are all alike. An APCER of 0 has an exact interval, a BPCER of a half
  # has none, and so their mean has none.
  assert intervals['apcer_max'] == pytest.approx([0.0, 0.975])
  for name in ('auc', 'eer', 'bpcer', 'hter', 'acer'):
    assert intervals[name] is None


def test_the_draws_are_those_of_one_multinomial(monkeypatch):
  """In small blocks, with draws that lack a class and are left out."""
  monkeypatch.setattr(bootstrap, '_BLOCK_SIZE', 7 * 6)
  index, live = np.arange(6), np.arange(6) == 0
  found = np.concatenate(list(bootstrap.resamples(index, live, 50, 3)))
  whole = np.random.default_rng(3).multinomial(6, np.full(6, 1 / 6), size=200)
  whole = whole[(whole[:, 0] > 0) & (whole[:, 1:].sum(axis=1) > 0)]
  np.testing.assert_array_equal(found, whole[:50])


def test_memory_does_not_grow_with_the_number_of_draws(monkeypatch):
  """All 500 draws at once would be 64 MB."""
  monkeypatch.setattr(bootstrap, '_BLOCK_SIZE', 1 << 16)
  live = np.arange(16_000) % 2 == 0
  tracemalloc.start()
  try:
    for _ in bootstrap.resamples(np.arange(16_000), live, 500, 0):
      pass
    _, most = tracemalloc.get_traced_memory()
  finally:
    tracemalloc.stop()
  # Int64, and a few copies of a block.
  assert most < 5 * 8 * bootstrap._BLOCK_SIZE


def _without_error(num_live=20, num_spoof=20, num_subjects=4):
  """Clips that the threshold 0.5 judges rightly; two types of attack."""
  labels = np.repeat([1, 0], [num_live, num_spoof])
  generator = np.random.default_rng(0)
  scores = np.where(labels == 1, 0.6, 0.0) + 0.3 * generator.random(len(labels))
  types = np.where(labels == 1, 'live', 'print')
  types[-num_spoof // 2 :] = 'replay'
  subjects = np.array([f's{i % num_subjects}' for i in range(len(labels))])
  return scores, labels, types, subjects


def _clopper_pearson(errors, trials):
  found = stats.binomtest(errors, trials).proportion_ci(0.95, method='exact')
  return pytest.approx([found.low, found.high], abs=1e-12)


def test_without_an_error_the_bound_is_that_of_clopper_and_pearson():
  table = _without_error()
  found = metrics.bootstrap_intervals(*table, 0.5, num_samples=50)
  # Four subjects, not twenty clips.
  for name in ('bpcer', 'apcer_max', 'apcer_pooled', 'hter', 'acer'):
    assert found[name] == _clopper_pearson(0, 4), name
  assert found['error_at_share']['0.1'] == _clopper_pearson(0, 4)
  # For these there is no exact bound.
  for name in ('eer', 'auc'):
    assert found[name] is None
  for name in ('bpcer_at_apcer', 'apcer_at_bpcer'):
    assert set(_flat(found[name]).values()) == {None}
  # All wrong: the same from the other side.
  scores, *columns = table
  found = metrics.bootstrap_intervals(-scores, *columns, -0.5, num_samples=50)
  for name in ('bpcer', 'apcer_max', 'apcer_pooled', 'hter', 'acer'):
    assert found[name] == _clopper_pearson(4, 4), name


def test_every_rate_has_the_subjects_of_its_own_clips():
  scores, labels, types, _ = _without_error(20, 20)
  # Eleven live subjects, five of prints and two of replays.
  subjects = np.array(
    [f'live{i % 11}' for i in range(20)]
    + [f'print{i % 5}' for i in range(10)]
    + [f'replay{i % 2}' for i in range(10)]
  )
  found = metrics.bootstrap_intervals(
    scores, labels, types, subjects, 0.5, num_samples=50
  )
  assert found['bpcer'] == _clopper_pearson(0, 11)
  assert found['apcer_pooled'] == _clopper_pearson(0, 7)
  assert found['apcer_max'] == _clopper_pearson(0, 2)
  means = {
    name: (np.array(found[name]) + found['bpcer']) / 2
    for name in ('apcer_max', 'apcer_pooled')
  }
  assert found['acer'] == pytest.approx(means['apcer_max'])
  assert found['hter'] == pytest.approx(means['apcer_pooled'])
  assert found['error_at_share']['0.01'] == pytest.approx(
    0.01 * np.array(found['apcer_pooled']) + 0.99 * np.array(found['bpcer'])
  )
  # Prints always pass: they are the worst type, whatever the replays do.
  wrong = (types == 'print') | (subjects == 'replay1')
  found = bootstrap.exact_intervals(wrong, types, subjects, 0.95)
  assert found['apcer_max'] == _clopper_pearson(5, 5)
  assert found['apcer_pooled'] is None
  found = bootstrap.exact_intervals(
    subjects == 'replay1', types, subjects, 0.95
  )
  assert found['apcer_max'] is None


def test_a_rate_that_moves_keeps_its_resamples():
  """BPCER moves and APCER does not: their mean has the mean of the bounds."""
  scores, *columns = _without_error(40, 40, 8)
  before = metrics.bootstrap_intervals(scores, *columns, 0.5, num_samples=200)
  scores[:3] = 0.1
  found = metrics.bootstrap_intervals(scores, *columns, 0.5, num_samples=200)
  assert 0 <= found['bpcer'][0] < found['bpcer'][1] < before['bpcer'][1]
  assert found['apcer_max'] == before['apcer_max'] == _clopper_pearson(0, 8)
  assert found['acer'] == pytest.approx(
    (np.array(found['apcer_max']) + found['bpcer']) / 2
  )
  assert found['auc'][0] < found['auc'][1]


def test_few_subjects_of_a_class_are_warned_of():
  labels = np.repeat([1, 0], [30, 50])
  subjects = np.array([f's{i % 20}' for i in range(80)])
  types = np.where(labels, 'live', 'print')
  assert bootstrap.warning(labels, subjects, types, 'test') == ''
  subjects[:30] = 'anna'
  found = bootstrap.warning(labels, subjects, types, 'test')
  assert 'few subjects of the test clips: 1 live; below 20' in found
  few = labels[30:], subjects[30:]
  assert bootstrap.warning(*few, types[30:], 'test') == ''
  # A type may have few where the attacks together have enough.
  types[30:33] = 'mask'
  found = bootstrap.warning(*few, types[30:], 'test')
  assert 'clips: 3 mask; below 20' in found


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
