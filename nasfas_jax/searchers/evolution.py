"""Evolutionary search with weight sharing, the control of the gradient's.

The supernet's weights are trained on one half of the subjects with one path
drawn at random in every step; genotypes then evolve by their AUC with these
weights on clips of the other half (single path one-shot, arXiv 1904.00420).
Over tasks, the clips that score are of a domain or type that was held out.
"""

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from nasfas_jax import progress, states, supervised
from nasfas_jax.data import episodes, index
from nasfas_jax.models import genotypes, sampling
from nasfas_jax.ops.cpu import xla_options
from nasfas_jax.searchers import bilevel, supernet_scores
from nasfas_jax.states import SearchState


def sizes_of(config: ml_collections.ConfigDict) -> dict[str, object]:
  """What `sampling.draw` is told of the search space."""
  fields = ('space', 'num_cells', 'num_nodes')
  return {name: config.supernet[name] for name in fields}


def make_sets(
  config: ml_collections.ConfigDict, rows: list[index.Row], domain_field: str
) -> list[tuple[list[index.Row], list[index.Row]]]:
  """Clips that train the weights and clips that score genotypes, by task.

  Without tasks they are the two halves of the subjects. With tasks each pair
  is the support set of one half and the query set of the other, so that every
  genotype is scored on a domain, a type or both that its weights never saw.

  Raises:
    ValueError: if the clips do not make two halves, or no tasks.
  """
  if config.search.tasks == 'none':
    return [index.split_halves(rows)]
  return [
    ([rows[i] for i in task.support[0]], [rows[i] for i in task.query[1]])
    for task in episodes.make_tasks(rows, config.search.tasks, domain_field)
  ]


class Evolution:
  """Trains single paths of the supernet, then evolves genotypes by it.

  Over tasks every task has weights of its own, and every step trains all of
  them on one path. The state's leaves have a leading axis of tasks, of length
  1 without tasks.

  Attributes:
    model: the supernet.
    mesh: of the devices.
  """

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    rows: list[index.Row],
    domain_field: str,
  ):
    """config: of the run; rows: the training clips; see `make_sets`.

    Raises:
      ValueError: if the clips do not make two halves, or no tasks.
    """
    self.model = bilevel.build_supernet(config)
    self.mesh = states.make_mesh()
    self._config = config
    self._sets = make_sets(config, rows, domain_field)
    self._domain_field = domain_field

  def initial_state(self) -> SearchState:
    """A fresh state; every task starts from the same weights."""
    state = bilevel.initial_state(self._config, self.model)
    return jax.tree.map(lambda leaf: jnp.stack([leaf] * len(self._sets)), state)

  def begin(self, state: SearchState, start: int) -> SearchState:
    """Opens the streams after `start` steps and compiles; returns the state."""
    config = self._config
    self._streams = [
      supervised.train_stream(
        config,
        clips,
        batch_size=config.search.batch_size,
        map_size=config.supernet.output_size,
        seed=config.seed + 1,
        step=start,
        num_streams=len(self._sets),
      )
      for clips, _ in self._sets
    ]
    self._batches = self._read()
    weight_fn, _ = bilevel.jit_steps(config, self.model, self.mesh)
    one = _split(state)[0]
    self._weight_fn = xla_options.compile_step(
      weight_fn.lower(one, self._batches[0]), in_sequence=config.supernet.remat
    )
    return state

  def _read(self) -> list[dict]:
    return [
      states.put_batch(next(stream), self.mesh) for stream in self._streams
    ]

  def _genotype(self, sample: sampling.Sample) -> genotypes.Genotype:
    settings = self._config.supernet
    return sampling.to_genotype(sample, settings.space, theta=settings.theta)

  def run(
    self, state: SearchState, step: int
  ) -> tuple[SearchState, dict[str, jax.Array]]:
    """Runs one step, counted from 1; returns the state and the losses."""
    config = self._config
    batches = self._batches or self._read()
    self._batches = None
    rng = np.random.default_rng((config.seed, step))
    genotype = self._genotype(sampling.draw(rng, **sizes_of(config)))
    path = sampling.to_arch(
      genotype, config.supernet.num_nodes, config.search.temperature
    )
    states, losses = [], []
    for one, batch in zip(_split(state), batches, strict=True):
      # A copy for each task: the step gives its state away.
      arch = jax.device_put(path, states.replicated(self.mesh))
      one, loss = self._weight_fn(one.replace(arch=arch), batch)
      states.append(one)
      losses.append(loss)
    return _join(states), {'train_loss': jnp.mean(jnp.stack(losses))}

  def close(self) -> None:
    """Closes the streams, and lets the clips go that they keep in memory."""
    for stream in self._streams:
      stream.close()
    self._streams = []

  def evolve(self, state: SearchState) -> genotypes.Genotype:
    """The best genotype of an evolution; the same for the same state.

    A genotype's score is its AUC, over tasks their mean.
    """
    config = self._config
    settings = config.evolution
    scorers = [
      supernet_scores.SupernetScorer(
        config,
        self.model,
        supernet_scores.even_choice(
          scored,
          max(2, settings.num_clips // len(self._sets)),
          self._domain_field,
        ),
        supernet_scores.statistics_choice(training, self._domain_field),
        self.mesh,
      )
      for training, scored in self._sets
    ]
    weights = [
      {'params': one.params, 'batch_stats': one.batch_stats}
      for one in _split(state)
    ]
    sizes = sizes_of(config)
    rng = np.random.default_rng((config.seed, 0))
    found = []  # (AUC, sample), best first.
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
        genotype = self._genotype(sample)
        auc = np.mean(
          [
            scorer.auc(variables, genotype)
            for scorer, variables in zip(scorers, weights, strict=True)
          ]
        )
        found.append((auc, sample))
        # Stable: of equal ones the earlier stays ahead.
        found.sort(key=lambda pair: -pair[0])
        del found[settings.population :]
        bar.update(number + 1, auc=found[0][0])
    return self._genotype(found[0][1])


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
