"""The split of variance, against textbooks and tables of a known split."""

import math

import numpy as np
import pytest

from benchmarks import luck_of_study
from nasfas_jax.study import variance

# Shrout and Fleiss (1979), table 2: six targets, four judges.
JUDGED = np.array(
  [
    *([9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8]),
    *([7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]),
  ]
)
# Montgomery, Design and Analysis of Experiments: the strength of fabric of
# four looms, four samples each.
LOOMS = np.array(
  [[98, 97, 99, 96], [91, 90, 93, 92], [96, 95, 97, 95], [95, 96, 99, 98]]
)


def test_the_figures_of_shrout_and_fleiss():
  found = variance.split(JUDGED).spread
  assert found.between == pytest.approx(11.24, abs=0.01)
  assert found.within == pytest.approx(6.26, abs=0.01)
  assert found.share.value == pytest.approx(0.17, abs=0.005)
  assert variance.reliability(found.share.value, 4) == pytest.approx(
    0.44, abs=0.005
  )
  # The interval is [-0.13, 0.72] there; a share is not below 0 here.
  assert found.share.low == 0
  assert found.share.high == pytest.approx(0.72, abs=0.005)


def test_the_figures_of_montgomery():
  split = variance.split(LOOMS)
  found = split.spread
  assert found.between == pytest.approx(29.73, abs=0.01)
  assert found.within == pytest.approx(1.90, abs=0.01)
  assert found.genotype.value**2 == pytest.approx(6.96, abs=0.01)
  assert found.ratio.low == pytest.approx(0.625, abs=0.005)
  assert found.ratio.high == pytest.approx(55.88, abs=0.3)
  assert found.share.low == pytest.approx(0.38, abs=0.01)
  assert found.share.high == pytest.approx(0.98, abs=0.01)
  # By hand: the mean of the first loom is 97.5, that of all 95.4375.
  shrunk = (97.5 - 95.4375) * (1 - 1.8958333 / 29.729167)
  assert split.effects[0] == pytest.approx(shrunk, abs=1e-4)
  assert split.effects.sum() == pytest.approx(0, abs=1e-9)


def draw(rng, genotype, luck, tables, shape=(40, 3)):
  effects = rng.normal(0, genotype, (tables, shape[0], 1))
  return 0.8 + effects + rng.normal(0, luck, (tables, *shape))


def test_tables_with_a_known_split_are_split_so():
  """The estimates are right on average and the intervals hold what they say."""
  splits = [
    variance.split(table).spread
    for table in draw(np.random.default_rng(0), 0.02, 0.03, 400)
  ]
  squares = [(s.between - s.within) / 3 for s in splits]
  assert np.mean(squares) == pytest.approx(0.02**2, rel=0.05)
  assert np.mean([s.within for s in splits]) == pytest.approx(0.03**2, rel=0.03)
  for name, truth in (
    ('genotype', 0.02),
    ('luck', 0.03),
    ('ratio', (0.02 / 0.03) ** 2),
  ):
    held = [
      getattr(s, name).low <= truth <= getattr(s, name).high for s in splits
    ]
    # 95 %, less or more three standard errors of 400 tables.
    assert 0.92 <= np.mean(held) <= 0.985, name


def test_what_a_choice_gains_is_what_is_said():
  """Choosing in drawn tables, whose true effects are known."""
  rng = np.random.default_rng(1)
  effects = rng.normal(0, 0.02, (3000, 40))
  means = effects + rng.normal(0, 0.03 / 3**0.5, effects.shape)
  found = variance.split(
    # One large table, whose split is the true one nearly.
    draw(rng, 0.02, 0.03, 1, (4000, 3))[0]
  ).spread
  ceiling = variance.ceiling(found, 40)
  assert ceiling.perfect.value == pytest.approx(
    effects.max(axis=1).mean(), rel=0.05
  )
  chosen = np.take_along_axis(effects, means.argmax(axis=1)[:, None], axis=1)
  assert ceiling.by_means[3] == pytest.approx(chosen.mean(), rel=0.07)
  assert ceiling.by_means[1] < ceiling.by_means[3] < ceiling.by_means[10]
  assert ceiling.by_means[10] < ceiling.perfect.value
  assert ceiling.to_luck.value == pytest.approx(2.16 * 2 / 3, rel=0.05)
  # Predicted effects are not larger than true ones, on average.
  predicted = [
    variance.split(table).effects.max() for table in draw(rng, 0.02, 0.03, 300)
  ]
  assert np.mean(predicted) == pytest.approx(chosen.mean(), rel=0.07)


@pytest.mark.parametrize(
  ('number', 'expected'),
  [
    (1, 0.0),
    (2, 1 / math.sqrt(math.pi)),
    (3, 1.5 / math.sqrt(math.pi)),
    # Tabulated, as in Teichroew (1956).
    (10, 1.53875),
    (100, 2.50759),
  ],
)
def test_expected_maximum(number, expected):
  assert variance.expected_maximum(number) == pytest.approx(expected, abs=1e-5)


def test_a_space_without_differences_is_not_worth_a_search():
  rng = np.random.default_rng(3)
  same = variance.split(rng.normal(0.8, 0.03, (40, 3))).spread
  assert not variance.ceiling(same, 40).worth_a_search
  apart = variance.split(draw(rng, 0.06, 0.03, 1)[0]).spread
  assert variance.ceiling(apart, 40).worth_a_search
  # Equal means: nothing to shrink, nothing to gain.
  equal = variance.split(np.array([[0.7, 0.8], [0.8, 0.7]])).spread
  assert variance.ceiling(equal, 40).perfect.value == 0
  assert variance.ceiling(equal, 40, (5,)).by_means == {5: 0.0}


def test_what_a_table_could_tell_is_known_before_it_is_filled():
  # A table whose mean squares are 3 and 1.
  means = np.array([-1.0, 0.0, 1.0])
  table = means[:, None] + np.array([-1.0, 0.0, 1.0])
  split = variance.split(table)
  assert (split.spread.between, split.spread.within) == pytest.approx((3, 1))
  found = variance.ceiling(split.spread, 40).to_luck
  expected = variance.expected_to_luck(
    found.value, 40, num_genotypes=3, num_seeds=3
  )
  for name in ('value', 'low', 'high'):
    assert getattr(expected, name) == pytest.approx(getattr(found, name))
  # More seeds tell more.
  highs = [
    variance.expected_to_luck(0.0, 40, num_genotypes=40, num_seeds=n).high
    for n in (3, 5, 10)
  ]
  assert highs == pytest.approx([1.10, 0.82, 0.56], abs=0.01)


def test_what_choosing_in_seen_rooms_gains_in_unseen_ones():
  """Both scores follow one effect, with luck that they share in part."""
  rng = np.random.default_rng(4)
  shape = (6000, 3)
  effect = rng.normal(size=(shape[0], 1))
  luck = rng.normal(size=shape)
  seen = 0.01 * effect + 0.02 * luck
  other = rng.normal(size=(shape[0], 1))
  unseen = 0.6 * effect + 0.8 * other + luck + rng.normal(size=shape)
  # Choosing by the effect moves the unseen mean by 0.6 a deviation.
  found = variance.shared_deviation(seen, unseen)
  assert found == pytest.approx(0.6, abs=0.08)
  assert variance.shared_deviation(seen, -unseen) == pytest.approx(-found)


@pytest.mark.parametrize(
  ('table', 'message'),
  [
    (np.zeros((1, 3)), r'shape \(1, 3\)'),
    (np.zeros((3, 1)), r'shape \(3, 1\)'),
    (np.zeros(3), r'shape \(3,\)'),
    (np.array([[0.1, np.nan], [0.2, 0.3]]), 'not finite'),
    (np.array([[0.1, 0.1], [0.3, 0.3]]), 'no luck'),
  ],
)
def test_tables_that_cannot_be_split(table, message):
  with pytest.raises(ValueError, match=message):
    variance.split(table)


def test_other_refusals():
  with pytest.raises(ValueError, match='is 0; allowed: 1 or more'):
    variance.expected_maximum(0)
  with pytest.raises(ValueError, match='allowed: one shape'):
    variance.shared_deviation(LOOMS, JUDGED)


def study_of(**rows):
  """The part of a study.json that is read."""
  table = {row: {'auc': {'values': values}} for row, values in rows.items()}
  return {'tables': {'p': table}}


def test_the_split_of_an_earlier_study():
  random = [0.70, 0.80, 0.90, 0.80]
  study = study_of(random=random, net=[0.80, 0.84])
  lines = luck_of_study.lines_of([study], 'net', 'auc')
  # Variances 0.02 / 3 and 0.0008, by hand.
  genotype = math.sqrt(0.02 / 3 - 0.0008)
  assert lines[0] == '4 genotypes, luck of 2 seeds of net:'
  assert f'genotypes {genotype:.3f} [' in lines[1]
  assert f'luck {math.sqrt(0.0008):.3f} [' in lines[1]
  # Another file with the same genotypes: two trainings of each.
  other = study_of(random=[value + 0.01 for value in random[:3]] + [0.82])
  lines = luck_of_study.lines_of([study, other], 'net', 'auc')
  assert lines[0] == '4 genotypes in both files:'
  # Differences 0.01, 0.01, 0.01, 0.02: half the mean of their squares.
  assert f'luck {math.sqrt(0.0007 / 8):.3f} [' in lines[1]
