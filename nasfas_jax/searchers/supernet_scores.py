"""What a supernet's weights say of single architectures (weight sharing)."""

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax.sharding import Mesh

from nasfas_jax import losses, scoring, states, supervised
from nasfas_jax.data.index import Row
from nasfas_jax.metrics import rates
from nasfas_jax.models import genotypes, layers, sampling

# With 96 the genotypes came in the same order in a trial (rank correlation
# 0.98).
STATISTICS_CLIPS = 32


def even_choice(
  rows: Sequence[Row], number: int, domain_field: str
) -> list[Row]:
  """At most `number` of the rows, evenly over label, type and domain."""
  order = sorted(
    rows,
    key=lambda row: (row['label'], row['attack_type'], str(row[domain_field])),
  )
  if len(order) <= number:
    return order
  places = np.linspace(0, len(order) - 1, number).round().astype(int)
  return [order[place] for place in places]


def statistics_choice(rows: Sequence[Row], domain_field: str) -> list[Row]:
  """The training clips that a genotype's batch statistics are taken from."""
  return even_choice(rows, STATISTICS_CLIPS, domain_field)


def dealt(number: int, batch_size: int) -> np.ndarray:
  """Places of `number` sorted rows in whole batches that are all alike.

  Every batch has rows from the first to the last in even steps, so what the
  rows are sorted by is in each as often as in the others. Where `number` does
  not fill the batches, rows all over the list come twice.

  Args:
    number: of rows, at least 1.
    batch_size: of a batch.

  Returns:
    int [batches * batch_size], batch after batch; each row is among them.
  """
  batches = -(-number // batch_size)
  places = np.linspace(0, number - 1, batches * batch_size).round().astype(int)
  return places.reshape(batch_size, batches).T.reshape(-1)


def _statistics(variables, arch, batch, *, model, config):
  """The batch statistics of an architecture on a batch."""
  images = supervised.fused_input(config, batch['frames'])
  # Running statistics from zero have moved by a fixed share of the batch's.
  zeros = jax.tree.map(jnp.zeros_like, variables['batch_stats'])
  _, updates = model.apply(
    {'params': variables['params'], 'batch_stats': zeros},
    *(images, arch),
    train=True,
    mutable=['batch_stats'],
  )
  share = 1.0 - layers.BATCH_NORM_MOMENTUM
  return jax.tree.map(lambda leaf: leaf / share, updates['batch_stats'])


def _scores(params, batch_stats, arch, batch, *, model, config):
  """Scores of an architecture on a batch, with what assigns them to clips."""
  images = supervised.fused_input(config, batch['frames'])
  # The mean over batches that are alike.
  mean = jax.tree.map(lambda *leaves: sum(leaves) / len(leaves), *batch_stats)
  maps = model.apply(
    {'params': params, 'batch_stats': mean}, images, arch, train=False
  ).map
  scores = losses.map_score(maps, batch['score_mask'])
  return scores, batch['index'], batch['weight']


class SupernetScorer:
  """Scores genotypes by a supernet on clips that are held in memory.

  Batch normalization uses the statistics that the genotype itself has on
  training clips. The supernet's running ones are those of the mixture; those of
  the clips that are scored would make a score depend on which clips share its
  batch, and would know the domain that was held out.
  """

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    model: nn.Module,
    rows: Sequence[Row],
    training_rows: Sequence[Row],
    mesh: Mesh,
  ):
    """Reads the clips.

    Args:
      config: of the search.
      model: the supernet.
      rows: clips that are scored, live and spoof.
      training_rows: clips of the statistics, see `statistics_choice`.
      mesh: of the devices; each process reads its part.
    """
    self._to_arch = functools.partial(
      sampling.to_arch,
      num_nodes=config.supernet.num_nodes,
      temperature=config.search.temperature,
      edge_normalization=config.supernet.edge_normalization,
      node_attention=config.supernet.node_attention,
    )
    self._labels = np.array([row['label'] for row in rows])

    def read(clips):
      return [
        states.put_batch(batch, mesh)
        for batch in scoring.evaluation_stream(
          config, clips, 1, config.supernet.output_size
        )
      ]

    self._batches = read(rows)
    places = dealt(len(training_rows), config.evaluate.batch_size)
    self._training_batches = read([training_rows[place] for place in places])
    replicated = states.replicated(mesh)
    clips = states.batch_sharding(mesh)
    fixed = {'model': model, 'config': config}
    self._statistics = jax.jit(
      functools.partial(_statistics, **fixed),
      in_shardings=(replicated, replicated, clips),
      out_shardings=replicated,
    )
    self._scores = jax.jit(
      functools.partial(_scores, **fixed),
      in_shardings=(replicated, replicated, replicated, clips),
      out_shardings=replicated,
    )

  def auc(self, variables: dict, genotype: genotypes.Genotype) -> float:
    """AUC of a genotype with the supernet's weights.

    Args:
      variables: the supernet's 'params' and 'batch_stats'.
      genotype: of the supernet's space.
    """
    return self.auc_of_arch(variables, self._to_arch(genotype))

  def auc_of_arch(self, variables: dict, arch: dict) -> float:
    """AUC with architecture parameters, such as those of a searched mixture."""
    return rates.auc(self.scores(variables, arch), self._labels)

  def scores(self, variables: dict, arch: dict) -> np.ndarray:
    """The score of every clip, in their order: float64 [clips]."""
    # All are under way before the first is waited for.
    statistics = [
      self._statistics(variables, arch, batch)
      for batch in self._training_batches
    ]
    found = [
      self._scores(variables['params'], statistics, arch, batch)
      for batch in self._batches
    ]
    scores = np.zeros(len(self._labels))
    # By the index: several processes read every other clip, and the last batch
    # is filled up with clips of weight 0.
    for part in found:
      values, places, weights = map(np.asarray, part)
      kept = weights > 0
      scores[places[kept]] = values[kept]
    return scores
