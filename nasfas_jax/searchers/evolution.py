"""Evolutionary search with weight sharing, a control of the gradient search.

The supernet's weights are trained on one half of the subjects; each step trains
one random path. Genotypes then evolve by their AUC with these weights on clips
of the other half (single path one-shot, arXiv 1904.00420). Over tasks, the
clips that score them come from a held-out domain or attack type.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from nasfas_jax import augment, inputs, loop, metrics, progress, sharding
from nasfas_jax.data import episodes, index
from nasfas_jax.models import genotypes, sampling
from nasfas_jax.models.supernet import Supernet
from nasfas_jax.searchers import bilevel, supernet_program, supernet_scores
from nasfas_jax.searchers.supernet_program import (
  Search,
  SearchSettings,
  SupernetLoss,
)
from nasfas_jax.states import SearchState

Rows = Sequence[index.Row]


@dataclasses.dataclass(frozen=True)
class EvolutionSettings:
  """The settings of an evolution beside `SearchSettings`.

  Attributes:
    population: number of genotypes in the population, at least 2.
    evaluations: total number of scored genotypes.
    mutation_rate: probability that a gene is drawn anew, in [0, 1].
    num_clips: clips that score a genotype, divided among the tasks.
  """

  population: int
  evaluations: int
  mutation_rate: float
  num_clips: int


def sizes_of(model: Supernet) -> dict[str, object]:
  """The arguments of `sampling.draw` that describe the search space."""
  return {
    'space': model.space,
    'num_cells': model.num_cells,
    'num_nodes': model.num_nodes,
  }


def make_sets(
  rows: Rows, hold_out: str, domain_field: str
) -> list[tuple[Rows, Rows]]:
  """The clips of each task: those that train and those that score.

  Without tasks, the two halves of the subjects make one pair. With tasks, each
  pair is the support set of one half and the query set of the other, so that a
  genotype is scored on a domain, an attack type or both that its weights have
  never seen.

  Args:
    rows: the training clips.
    hold_out: 'none', or what a task holds out, see `episodes.HOLD_OUTS`.
    domain_field: the field that names a clip's domain.

  Returns:
    (clips that train the weights, clips that score genotypes) of each task.

  Raises:
    ValueError: if the clips do not allow two halves, or tasks.
  """
  if hold_out == 'none':
    return [index.split_halves(rows)]
  return [
    ([rows[i] for i in task.support[0]], [rows[i] for i in task.query[1]])
    for task in episodes.make_tasks(rows, hold_out, domain_field)
  ]


def evolutionary_search(
  model: Supernet,
  example: jax.Array,
  rows: Rows,
  *,
  loss_fn: SupernetLoss,
  form: inputs.InputForm,
  search: SearchSettings,
  settings: EvolutionSettings,
  hold_out: str,
  domain_field: str,
  batch_size: int,
  train_batches: Callable[[int], Callable],
  prepare: augment.Prepare,
  read: Callable[[Rows], Iterator[dict]],
  score_batch_size: int,
) -> Search:
  """Trains single paths of the supernet, then evolves genotypes on it.

  Each task has its own weights; a step trains all of them on the same path. The
  leaves of the state have a leading axis of tasks, of length 1 without tasks.

  Args:
    model: the supernet.
    example: an input of the supernet; only its shape is used.
    rows: the training clips.
    loss_fn: see `supernet_program.supernet_loss`.
    form: of the input.
    search: the settings that all searches share.
    settings: of the evolution.
    hold_out: see `make_sets`.
    domain_field: see `make_sets`.
    batch_size: clips of each task per step.
    train_batches: number of streams -> (rows, batch_size, seed, step) -> a
      stream of raw batches.
    prepare: makes batches of them.
    read: rows -> one pass over them, one snippet per clip.
    score_batch_size: size of the batches of `read`.

  Raises:
    ValueError: if the clips do not allow two halves, or tasks.
  """
  sets = make_sets(rows, hold_out, domain_field)
  mesh = sharding.make_mesh()
  replicated = sharding.replicated(mesh)

  def initial_state():
    state = supernet_program.initial_state(model, example, search)
    # All tasks start from the same weights.
    return jax.tree.map(lambda leaf: jnp.stack([leaf] * len(sets)), state)

  def batches(start):
    stream = train_batches(len(sets))
    streams = [
      stream(clips, batch_size=batch_size, seed=search.seed + 1, step=start)
      for clips, _ in sets
    ]
    try:
      step = start
      while True:
        clips = [sharding.put_batch(next(one), mesh) for one in streams]
        yield {'clips': clips, 'path': _path(model, search.seed, step + 1)}
        step += 1
    finally:
      for one in streams:
        one.close()

  def compile_step(state, batch):
    make = supernet_program.jit_prepare(prepare, sharding.batch_sharding(mesh))
    weight_fn, _ = bilevel.jit_steps(loss_fn, search, mesh)
    state = _split(state)[0]
    made = jax.eval_shape(make, batch['clips'][0], state.step, search.seed)
    weights = weight_fn.lower(state, made).compile()

    def step(state, batch):
      states, losses = [], []
      for number, (one, raw) in enumerate(
        zip(_split(state), batch['clips'], strict=True)
      ):
        clips = make(raw, one.step, search.seed + 1 + number)
        # A copy for each task, since the step donates its state.
        arch = jax.device_put(batch['path'], replicated)
        one, loss = weights(one.replace(arch=arch), clips)
        states.append(one)
        losses.append(loss)
      return _join(states), {'train_loss': jnp.mean(jnp.stack(losses))}

    return step

  rate = search.weights.rate()

  def observe(state, scalars, step):
    del state
    numbers = loop.read(scalars)
    return loop.Observed({**numbers, 'learning_rate': float(rate(step - 1))})

  def derive(state):
    aucs = [
      _auc(
        model,
        supernet_scores.even_choice(
          scored, max(2, settings.num_clips // len(sets)), domain_field
        ),
        supernet_scores.statistics_choice(training, domain_field),
        form=form,
        read=read,
        batch_size=score_batch_size,
        mesh=mesh,
      )
      for training, scored in sets
    ]
    weights = [
      {'params': one.params, 'batch_stats': one.batch_stats}
      for one in _split(state)
    ]

    def mean_auc(genotype):
      pairs = zip(aucs, weights, strict=True)
      return np.mean([auc(variables, genotype) for auc, variables in pairs])

    return evolve(mean_auc, model, search.seed, settings)

  return Search(
    loop.Program(
      name='search',
      title='Searching',
      num_steps=search.num_steps,
      state=jax.jit(initial_state, out_shardings=replicated)(),
      compile=compile_step,
      batches=batches,
      observe=observe,
      clips=lambda batch: [
        (clips, part)
        for (clips, _), part in zip(sets, batch['clips'], strict=True)
      ],
    ),
    derive,
  )


def _auc(model, rows, training_rows, **reading):
  """Makes (variables, genotype) -> AUC on the rows."""
  scores = supernet_scores.make_scores(model, rows, training_rows, **reading)
  labels = np.array([row['label'] for row in rows])

  def auc(variables, genotype):
    arch = supernet_scores.genotype_arch(model, genotype)
    return metrics.auc(scores(variables, arch), labels)

  return auc


def _genotype(model: Supernet, sample: sampling.Sample) -> genotypes.Genotype:
  return sampling.to_genotype(sample, model.space, theta=model.theta)


def _path(model: Supernet, seed: int, step: int) -> sampling.Sample:
  """The architecture parameters of the path that step 1, 2, ... trains."""
  rng = np.random.default_rng((seed, step))
  drawn = sampling.draw(rng, **sizes_of(model))
  return supernet_scores.genotype_arch(model, _genotype(model, drawn))


def random_genotype(model: Supernet, seed: int) -> genotypes.Genotype:
  """A random genotype of the supernet's search space and size."""
  rng = np.random.default_rng(seed)
  return _genotype(model, sampling.draw(rng, **sizes_of(model)))


def evolve(
  score: Callable[[genotypes.Genotype], float],
  model: Supernet,
  seed: int,
  settings: EvolutionSettings,
) -> genotypes.Genotype:
  """The best genotype of an evolution; deterministic for a given `score`.

  Args:
    score: genotype -> a number, higher = better.
    model: the supernet, which sets the search space and its size.
    seed: of the draws.
    settings: of the evolution.
  """
  sizes = sizes_of(model)
  rng = np.random.default_rng((seed, 0))
  found = []  # (score, sample), best first.
  with progress.bar('Evolving', settings.evaluations) as bar:
    for number in range(settings.evaluations):
      if number < settings.population:
        sample = sampling.draw(rng, **sizes)
      else:
        # Truncation selection: parents from the better half.
        parents = rng.choice(max(2, settings.population // 2), 2, False)
        sample = sampling.cross(
          rng,
          tuple(found[place][1] for place in parents),
          settings.mutation_rate,
          **sizes,
        )
      found.append((score(_genotype(model, sample)), sample))
      # A stable sort: of equal scores the earlier genotype stays ahead.
      found.sort(key=lambda pair: -pair[0])
      del found[settings.population :]
      bar.update(number + 1, auc=found[0][0])
  return _genotype(model, found[0][1])


@jax.jit
def _split(state: SearchState) -> list[SearchState]:
  """The state of each task."""
  return [
    jax.tree.map(lambda leaf, task=task: leaf[task], state)
    for task in range(len(state.step))
  ]


@jax.jit
def _join(states: list[SearchState]) -> SearchState:
  """The inverse of `_split`."""
  return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
