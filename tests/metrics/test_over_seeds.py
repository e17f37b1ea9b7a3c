"""Intervals over seeds against loops and SciPy's own."""

import numpy as np
import pytest
from scipy import stats

from nasfas_jax import metrics
from nasfas_jax.metrics import bootstrap


def clips(rng, num_seeds, num_subjects=6, each=4):
  """Scores [S, N] and the columns of their clips, two types of attack."""
  number = num_subjects * each
  labels = np.arange(number) % 2
  types = np.where(
    labels == 1, 'live', np.where(rng.random(number) < 0.5, 'a', 'b')
  )
  subjects = np.repeat([f's{i}' for i in range(num_subjects)], each)
  scores = labels + rng.normal(0, 1, (num_seeds, number))
  return scores, labels, types, subjects


def test_the_values_are_those_of_each_network():
  rng = np.random.default_rng(0)
  scores, *columns = clips(rng, 3)
  thresholds = [0.3, 0.5, 0.9]
  found = metrics.over_seeds(scores, *columns, thresholds, num_samples=5)
  labels, types, _ = columns
  for name, of in found.items():
    values = [
      metrics.summarise(one, labels, types, threshold)[name]
      for one, threshold in zip(scores, thresholds, strict=True)
    ]
    assert of['values'] == pytest.approx(values)
    assert of['mean'] == pytest.approx(np.mean(values))
    assert of['deviation'] == pytest.approx(np.std(values, ddof=1))


def test_equal_networks_have_the_luck_of_the_subjects_alone():
  """Against a loop that repeats the clips of the subjects drawn."""
  rng = np.random.default_rng(1)
  one, labels, types, subjects = clips(rng, 1)
  scores = np.repeat(one, 2, axis=0)
  found = metrics.over_seeds(
    scores, labels, types, subjects, [0.5, 0.5], num_samples=40, seed=3
  )
  names, index = np.unique(subjects, return_inverse=True)
  drawn = {'hter': [], 'auc': []}
  (draws,) = bootstrap.resamples(index, labels == 1, 40, 3)
  for counts in draws:
    places = np.repeat(np.arange(len(labels)), counts)
    summary = metrics.summarise(
      one[0][places], labels[places], types[places], 0.5
    )
    for name, values in drawn.items():
      values.append(summary[name])
  for name, values in drawn.items():
    half = stats.t.ppf(0.975, len(names) - 1) * np.std(values, ddof=1)
    assert found[name]['low'] == pytest.approx(
      max(0, found[name]['mean'] - half)
    )
    assert found[name]['high'] == pytest.approx(
      min(1, found[name]['mean'] + half)
    )


def test_equal_subjects_leave_the_luck_of_the_seeds_alone():
  """Whoever is drawn, a network's figures stay: Student's interval."""
  rng = np.random.default_rng(2)
  first, labels, types, _ = clips(rng, 5, num_subjects=1, each=20)
  scores = np.tile(first, (1, 3))
  subjects = np.repeat(['a', 'b', 'c'], 20)
  found = metrics.over_seeds(
    scores, np.tile(labels, 3), np.tile(types, 3), subjects, [0.5] * 5
  )['auc']
  low, high = stats.t.interval(
    0.95, 4, np.mean(found['values']), stats.sem(found['values'])
  )
  assert (found['low'], found['high']) == pytest.approx(
    (max(low, 0), min(high, 1))
  )


def test_networks_without_an_error_have_exact_bounds():
  """No variance is no evidence that there is none."""
  labels = np.repeat([1, 0], 18)
  types = np.repeat(['live', 'a', 'b'], [18, 12, 6])
  # Nine live subjects, six of attacks a and three of attacks b.
  subjects = np.concatenate(
    [np.arange(18) % 9, 10 + np.arange(12) % 6, 20 + np.arange(6) % 3]
  ).astype(str)
  scores = labels + np.array([[0.0], [0.1]])
  found = metrics.over_seeds(
    scores, labels, types, subjects, [0.5, 0.5], num_samples=20
  )

  def upper(trials):
    return stats.binomtest(0, trials).proportion_ci(0.95, method='exact').high

  for name, high in (
    ('bpcer', upper(9)),
    ('apcer_max', upper(3)),
    ('acer', (upper(9) + upper(3)) / 2),
    ('hter', (upper(9) + upper(9)) / 2),
  ):
    of = found[name]
    assert (of['mean'], of['low']) == (0, 0)
    assert of['high'] == pytest.approx(high)
  of = found['auc']
  assert (of['mean'], of['low'], of['high']) == (1, None, None)


def test_without_a_class_there_are_no_figures():
  rng = np.random.default_rng(0)
  scores, labels, types, subjects = clips(rng, 2)
  live = labels == 1
  found = metrics.over_seeds(
    scores[:, live], labels[live], types[live], subjects[live], [0, 0]
  )
  assert set(found.values()) == {None}


@pytest.mark.parametrize(
  'changes', [{'num_samples': 1}, {'confidence': 1.0}, {'thresholds': [0.5]}]
)
def test_what_is_out_of_range_is_refused(changes):
  scores, labels, types, subjects = clips(np.random.default_rng(0), 2)
  with pytest.raises(ValueError, match='allowed: '):
    metrics.over_seeds(
      scores, labels, types, subjects, **{'thresholds': [0, 0], **changes}
    )
