"""Rules for thresholds: their syntax, their choice, and their warnings."""

import numpy as np
import pytest

from nasfas_jax import judgement, metrics
from nasfas_jax.metrics import thresholds


@pytest.mark.parametrize(
  ('text', 'rule'),
  [
    ('eer', thresholds.Rule('eer')),
    ('apcer=0.05', thresholds.Rule('apcer', 0.05)),
    ('bpcer=1e-2', thresholds.Rule('bpcer', 0.01)),
    ('0.25', thresholds.Rule('value', 0.25)),
    ('-3', thresholds.Rule('value', -3.0)),
  ],
)
def test_a_rule_is_read(text, rule):
  assert thresholds.parse(text) == rule


@pytest.mark.parametrize(
  'text',
  ['', 'err', 'apcer', 'apcer=', 'apcer=5', 'bpcer=0', 'apcer=-0.1', 'nan']
  + ['bpcer=1', '1_0', '١', 'eer=0.1', 'inf', '1e999', 'apcer=0.05=1', '0x1'],
)
def test_anything_else_is_refused_in_one_line(text):
  with pytest.raises(ValueError, match='allowed: eer, apcer=RATE') as caught:
    thresholds.parse(text)
  assert repr(text) in str(caught.value)
  assert '\n' not in str(caught.value)


def test_random_texts_are_a_rule_or_refused():
  generator = np.random.default_rng(0)
  letters = np.array(list('eracpb=.0123456789+-_ '))
  read = 0
  for _ in range(2000):
    text = ''.join(generator.choice(letters, generator.integers(0, 9)))
    text = generator.choice(['', 'apcer=', 'bpcer=0.']) + text
    try:
      rule = thresholds.parse(text)
    except ValueError:
      continue
    read += 1
    assert rule.kind in ('eer', 'apcer', 'bpcer', 'value')
    assert rule.kind == 'eer' or np.isfinite(rule.number)
    assert rule.kind in ('eer', 'value') or 0 < rule.number < 1
  assert read > 50


def rates(table, threshold):
  summary = metrics.summarise(*table, threshold)
  return summary['apcer_max'], summary['bpcer']


@pytest.mark.parametrize('seed', range(4))
def test_a_rule_takes_the_best_threshold_within_its_limit(seed):
  generator = np.random.default_rng(seed)
  labels = np.tile([0, 0, 1], 30)
  scores = np.round(generator.normal(size=90) + labels, 1)
  types = np.where(labels == 1, 'live', np.tile(['print', 'replay', ''], 30))
  table = scores, labels, types
  apcer = thresholds.choose(thresholds.Rule('apcer', 0.2), *table)
  bpcer = thresholds.choose(thresholds.Rule('bpcer', 0.2), *table)
  # Every threshold that matters: between and beyond the scores.
  candidates = np.unique(scores)
  candidates = [candidates[0] - 1, *(candidates[1:] - 0.05), candidates[-1]]
  found = [rates(table, x) for x in candidates]
  assert rates(table, apcer)[0] <= 0.2
  assert rates(table, apcer)[1] == min(b for a, b in found if a <= 0.2)
  assert rates(table, bpcer)[1] <= 0.2
  assert rates(table, bpcer)[0] == min(a for a, b in found if b <= 0.2)


def test_a_bpcer_rule_may_accept_all():
  """The lowest score is a live one, and none may be rejected."""
  table = np.array([1.0, 2.0, 3.0]), np.array([1, 0, 0]), ['live', 'x', 'x']
  threshold = thresholds.choose(thresholds.Rule('bpcer', 0.5), *table)
  assert threshold < 1.0 and rates(table, threshold) == (1.0, 0.0)


def test_a_rule_needs_its_class():
  live = np.array([1.0, 2.0]), np.array([1, 1]), ['live', 'live']
  with pytest.raises(ValueError, match='apcer=0.1 needs spoof clips; .*none'):
    thresholds.choose(thresholds.Rule('apcer', 0.1), *live)
  assert thresholds.choose(thresholds.Rule('bpcer', 0.5), *live) == 1.5


def test_a_dev_split_that_is_too_small_is_said():
  labels = np.array([1] * 299 + [0] * 40)
  types = ['live'] * 299 + ['print'] * 10 + ['replay'] * 30

  def said(text):
    return thresholds.warning(thresholds.parse(text), labels, types, 'dev')

  assert said('bpcer=0.01') == (
    'The dev clips are too few to carry a rate of 1 %: 299 live; it takes 300 '
    'of each.'
  )
  assert said('bpcer=0.0101') == said('eer') == said('0.5') == ''
  # 30 replays carry 10 %, exactly; 10 prints do not.
  assert said('apcer=0.1').endswith('10 %: 10 print; it takes 30 of each.')


def test_a_threshold_that_decides_nothing_is_said():
  """Eight of a hundred live clips have the score of every attack."""
  scores = np.r_[np.zeros(8), np.linspace(0.1, 0.3, 92), np.zeros(40)]
  labels = np.repeat([1, 0], [100, 40])
  types = ['live'] * 100 + ['print'] * 40

  def said(text, *table):
    rule = thresholds.parse(text)
    value = thresholds.choose(rule, *table)
    return thresholds.extreme_warning(value, *table[:2], 'dev')

  table = scores, labels, types
  assert said('bpcer=0.05', *table) == (
    'The threshold rejects none of the 140 dev clips: it accepts all 40 '
    'attacks among them.'
  )
  assert said('bpcer=0.08', *table) == said('eer', *table) == ''
  # The other end: an attack has the highest score.
  table = np.append(scores, 1.0), np.append(labels, 0), [*types, 'print']
  assert said('apcer=0.01', *table) == (
    'The threshold accepts none of the 141 dev clips: it rejects all 100 live '
    'ones among them.'
  )
  # Without attacks nothing is let in.
  live = np.array([0.0, 0.0]), np.array([1, 1]), ['live', 'live']
  assert said('bpcer=0.4', *live) == ''
  # As results.json has it, after what else there is.
  columns = {
    'score': scores,
    'label': labels,
    'attack_type': np.array(types),
  }
  found = judgement.set_threshold(
    thresholds.parse('bpcer=0.01'), {'dev': columns}, 'dev'
  )
  assert found['value'] < 0
  assert found['warning'].startswith('The dev clips are too few to carry a rat')
  assert found['warning'].endswith('accepts all 40 attacks among them.')


def test_a_threshold_from_elsewhere_keeps_its_warning():
  found = judgement.given_threshold(1.0, 'EER', 'run', 'few')
  assert found['warning'] == 'few'
  assert judgement.given_threshold(1.0, 'EER', 'run')['warning'] == ''
