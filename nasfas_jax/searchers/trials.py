"""Searches that train candidates by themselves: no supernet, no gradient.

A search is a generator. It yields the trials that it needs next, receives their
scores (higher is better), and returns the genotype that it chose. So whoever
runs the trials decides how, and a search that was stopped is replayed from the
scores that are known.
"""

import collections
import dataclasses
from collections.abc import Callable, Generator, Sequence

import numpy as np

from nasfas_jax.models.genotypes import Genotype


@dataclasses.dataclass(frozen=True)
class Trial:
  """A training from one seed or several; its score is their mean.

  Attributes:
    genotype: what is trained.
    num_steps: for how long.
    seed: the first one.
    num_seeds: seeds, which are consecutive.
  """

  genotype: Genotype
  num_steps: int
  seed: int
  num_seeds: int = 1


@dataclasses.dataclass(frozen=True)
class Rung:
  """A round of successive halving.

  Attributes:
    candidates: that are left.
    num_steps: of each training.
    num_seeds: trainings of each candidate.
  """

  candidates: int
  num_steps: int
  num_seeds: int

  @property
  def steps(self) -> int:
    """Of all trainings of the round."""
    return self.candidates * self.num_steps * self.num_seeds


Search = Generator[list[Trial], Sequence[float], Genotype]
# Number of a genotype -> a random one.
Draw = Callable[[int], Genotype]


def random_search(
  draw: Draw, *, number: int, num_steps: int, first_seed: int
) -> Search:
  """The best of some random genotypes, each trained once."""
  drawn = [draw(place) for place in range(number)]
  scores = yield [
    Trial(genotype, num_steps, first_seed + place)
    for place, genotype in enumerate(drawn)
  ]
  return drawn[int(np.argmax(scores))]


def successive_halving(
  draw: Draw, rungs: Sequence[Rung], *, first_seed: int
) -> Search:
  """Successive halving (Jamieson and Talwalkar, AISTATS 2016).

  Each round trains what is left anew, for longer or from more seeds, and keeps
  the best by their mean score. The schedule of the learning rate is over when a
  training ends, so a longer one does not continue a shorter one.

  Args:
    draw: gives the candidates of the first round.
    rungs: the rounds; candidates become fewer. The best of the last is chosen.
    first_seed: of the trainings, which have consecutive ones.

  Raises:
    ValueError: if candidates do not become fewer.
  """
  numbers = [rung.candidates for rung in rungs]
  if any(b >= a for a, b in zip(numbers, numbers[1:], strict=False)):
    raise ValueError(
      f'The rounds have {numbers} candidates; allowed: fewer in each round.'
    )
  left = [draw(place) for place in range(rungs[0].candidates)]
  seed = first_seed
  for rung in rungs:
    left = left[: rung.candidates]
    trials = []
    for genotype in left:
      trials.append(Trial(genotype, rung.num_steps, seed, rung.num_seeds))
      seed += rung.num_seeds
    scores = np.asarray((yield trials))
    # A stable sort: of equal scores the one that was ahead stays ahead.
    left = [left[place] for place in np.argsort(-scores, kind='stable')]
  return left[0]


def regularised_evolution(
  draw: Draw,
  mutate: Callable[[np.random.Generator, Genotype], Genotype],
  *,
  evaluations: int,
  population: int,
  sample: int,
  num_steps: int,
  first_seed: int,
) -> Search:
  """Regularised evolution (Real et al., AAAI 2019, algorithm 1).

  After a random population, each candidate is a mutation of the best of a
  random sample of the population, whose oldest member then dies. The best
  candidate of all is chosen.

  Args:
    draw: gives the population.
    mutate: (rng, parent) -> child.
    evaluations: trainings in all, the population's among them.
    population: its size.
    sample: members that a parent is the best of, drawn with replacement.
    num_steps: of each training.
    first_seed: of the trainings, which have consecutive ones, and of the draws.

  Raises:
    ValueError: unless there are more evaluations than members.
  """
  if not 1 <= population < evaluations:
    raise ValueError(
      f'The population is {population} with {evaluations} evaluations; '
      'allowed: 1 or more, below the evaluations.'
    )
  rng = np.random.default_rng((first_seed, 1))
  drawn = [draw(place) for place in range(population)]
  scores = yield [
    Trial(genotype, num_steps, first_seed + place)
    for place, genotype in enumerate(drawn)
  ]
  living = collections.deque(zip(scores, drawn, strict=True))
  history = list(living)
  for place in range(population, evaluations):
    sampled = [living[i] for i in rng.integers(population, size=sample)]
    parent = max(sampled, key=lambda member: member[0])[1]
    child = mutate(rng, parent)
    (score,) = yield [Trial(child, num_steps, first_seed + place)]
    living.append((score, child))
    living.popleft()
    history.append(living[-1])
  return max(history, key=lambda member: member[0])[1]


def by_score(
  draw: Draw, score: Callable[[Genotype], float], *, number: int
) -> Search:
  """The random genotype of the highest score that needs no training."""
  # Without a trial; a search all the same.
  yield from ()
  drawn = [draw(place) for place in range(number)]
  return drawn[int(np.argmax([score(genotype) for genotype in drawn]))]
