"""Searches by trials, on scores that are known."""

import numpy as np
import pytest

from nasfas_jax.models import sampling
from nasfas_jax.searchers import trials


def draw(place):
  return sampling.random_genotype(
    np.random.default_rng(place),
    **{'space': 'cdcnpp', 'num_cells': 1, 'num_nodes': 4, 'theta': 0.7},
  )


def edges_of(genotype):
  return [e for cells in genotype.cells for cell in cells for e in cell.edges]


def worth(genotype):
  """The share of edges with one operation."""
  return float(
    np.mean([e.operation == 'cdc_2_1.4' for e in edges_of(genotype)])
  )


def run(search, score=lambda trial: worth(trial.genotype)):
  """The chosen genotype, and the trials of each round."""
  rounds, scores = [], None
  try:
    while True:
      asked = search.send(scores)
      rounds.append(asked)
      scores = [score(trial) for trial in asked]
  except StopIteration as end:
    return end.value, rounds


def test_random_search_takes_the_best_of_its_draws():
  chosen, (trained,) = run(
    trials.random_search(draw, number=8, num_steps=5, first_seed=100)
  )
  assert [t.genotype for t in trained] == [draw(i) for i in range(8)]
  assert [t.seed for t in trained] == list(range(100, 108))
  assert worth(chosen) == max(worth(t.genotype) for t in trained)


def test_halving_keeps_the_best_and_judges_the_last_from_several_seeds():
  rungs = [trials.Rung(8, 10, 1), trials.Rung(3, 20, 2), trials.Rung(2, 30, 3)]
  # The first draw looks best, and is not: its later seeds say so.
  first = draw(0)
  values = {draw(i): 0.1 * i for i in range(8)}

  def score(trial):
    if trial.genotype == first and trial.num_steps == 10:
      return 5.0
    return values[trial.genotype]

  chosen, rounds = run(
    trials.successive_halving(draw, rungs, first_seed=0), score
  )
  assert [len(trained) for trained in rounds] == [8, 3, 2]
  trained = [trial for one in rounds for trial in one]
  assert [t.num_steps for t in trained] == [10] * 8 + [20] * 3 + [30] * 2
  assert sum(t.num_steps * t.num_seeds for t in trained) == sum(
    rung.steps for rung in rungs
  )
  # No two trainings share a seed.
  seeds = [s for t in trained for s in range(t.seed, t.seed + t.num_seeds)]
  assert seeds == list(range(20))
  assert [t.genotype for t in rounds[1]] == [first, draw(7), draw(6)]
  assert {t.genotype for t in rounds[2]} == {draw(7), draw(6)}
  assert chosen == draw(7)
  with pytest.raises(ValueError, match=r'\[3, 3\] candidates; allowed: fewer'):
    run(
      trials.successive_halving(draw, [trials.Rung(3, 1, 1)] * 2, first_seed=0)
    )


def evolve(**changes):
  sizes = {'evaluations': 120, 'population': 10, 'sample': 4}
  return run(
    trials.regularised_evolution(
      draw,
      lambda rng, genotype: sampling.mutate(rng, genotype, num_nodes=4),
      **{**sizes, 'num_steps': 7, 'first_seed': 50, **changes},
    )
  )


def test_evolution_climbs_and_is_the_same_again():
  chosen, rounds = evolve()
  trained = sum(rounds, [])
  assert len(trained) == 120 and len(rounds) == 111
  assert worth(chosen) == max(worth(t.genotype) for t in trained)
  first = np.mean([worth(t.genotype) for t in trained[:10]])
  last = np.mean([worth(t.genotype) for t in trained[-10:]])
  assert last > first + 0.15
  assert [t.seed for t in trained] == list(range(50, 170))
  assert evolve() == (chosen, rounds)
  with pytest.raises(ValueError, match='population is 10 with 10 evaluations'):
    evolve(evaluations=10)


def test_the_oldest_dies_though_it_is_the_best():
  """With a sample of the whole population, the parent is the best alive."""
  parents = []

  def mutate(rng, genotype):
    parents.append(genotype)
    return draw(100 + len(parents))

  values = {draw(0): 9.0, draw(1): 1.0}
  search = trials.regularised_evolution(
    draw,
    mutate,
    **{'evaluations': 5, 'population': 2, 'sample': 50, 'num_steps': 1},
    first_seed=0,
  )
  chosen, _ = run(search, lambda trial: values.get(trial.genotype, 0.0))
  assert parents == [draw(0), draw(1), draw(101)]
  # What has died can still be chosen.
  assert chosen == draw(0)


def test_a_score_without_training_needs_no_trial():
  chosen, rounds = run(trials.by_score(draw, worth, number=30))
  assert rounds == []
  assert worth(chosen) == max(worth(draw(i)) for i in range(30))
