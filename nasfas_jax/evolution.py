"""Evolutionary search with weight sharing, the control of the gradient's.

The supernet's weights are trained on one half of the subjects with one path
drawn at random in every step; genotypes then evolve by their AUC with these
weights on clips of the other half (single path one-shot, arXiv 1904.00420).
"""

import jax
import ml_collections
import numpy as np

from nasfas_jax import (
  bilevel,
  progress,
  supernet_scores,
  supervised,
  train_state,
)
from nasfas_jax.data import index
from nasfas_jax.models import genotypes, sampling
from nasfas_jax.train_state import SearchState


def sizes_of(config: ml_collections.ConfigDict) -> dict[str, object]:
  """What `sampling.draw` is told of the search space."""
  fields = ('space', 'num_cells', 'num_nodes')
  return {name: config.supernet[name] for name in fields}


class Evolution:
  """Trains single paths of the supernet, then evolves genotypes by it.

  Attributes:
    model: the supernet.
    mesh: of the devices.
  """

  def __init__(self, config: ml_collections.ConfigDict, rows: list[index.Row]):
    """config: of the run; rows: the training clips.

    Raises:
      ValueError: if the clips do not make two halves.
    """
    self.model = bilevel.build_supernet(config)
    self.mesh = train_state.make_mesh()
    self._config = config
    self._halves = index.split_halves(rows)

  def begin(self, state: SearchState, start: int) -> SearchState:
    """Opens the stream after `start` steps and compiles; returns the state."""
    config = self._config
    self._stream = supervised.train_stream(
      config,
      self._halves[0],
      batch_size=config.search.batch_size,
      map_size=config.supernet.output_size,
      seed=config.seed + 1,
      step=start,
    )
    self._batch = train_state.put_batch(next(self._stream), self.mesh)
    weight_fn, _ = bilevel.jit_steps(config, self.model, self.mesh)
    self._weight_fn = weight_fn.lower(state, self._batch).compile()
    return state

  def _genotype(self, sample: sampling.Sample) -> genotypes.Genotype:
    settings = self._config.supernet
    return sampling.to_genotype(sample, settings.space, theta=settings.theta)

  def run(
    self, state: SearchState, step: int
  ) -> tuple[SearchState, dict[str, jax.Array]]:
    """Runs one step, counted from 1; returns the state and the losses."""
    config = self._config
    batch = self._batch
    if batch is None:
      batch = train_state.put_batch(next(self._stream), self.mesh)
    self._batch = None
    rng = np.random.default_rng((config.seed, step))
    genotype = self._genotype(sampling.draw(rng, **sizes_of(config)))
    path = sampling.to_arch(genotype, config.supernet.num_nodes)
    state, loss = self._weight_fn(
      state.replace(
        arch=jax.device_put(path, train_state.replicated(self.mesh))
      ),
      batch,
    )
    return state, {'train_loss': loss}

  def close(self) -> None:
    self._stream.close()

  def evolve(self, state: SearchState) -> genotypes.Genotype:
    """The best genotype of an evolution; the same for the same state."""
    config = self._config
    settings = config.evolution
    scorer = supernet_scores.SupernetScorer(
      config,
      self.model,
      supernet_scores.even_choice(self._halves[1], settings.num_clips),
      self.mesh,
    )
    variables = {'params': state.params, 'batch_stats': state.batch_stats}
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
        auc = scorer.auc(variables, self._genotype(sample))
        found.append((auc, sample))
        # Stable: of equal ones the earlier stays ahead.
        found.sort(key=lambda pair: -pair[0])
        del found[settings.population :]
        bar.update(number + 1, auc=found[0][0])
    return self._genotype(found[0][1])
