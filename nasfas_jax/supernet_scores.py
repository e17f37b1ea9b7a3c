"""What a supernet's weights say of single architectures (weight sharing)."""

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax
import ml_collections
import numpy as np
from jax.sharding import Mesh

from nasfas_jax import losses, metrics, scoring, supervised, train_state
from nasfas_jax.data.index import Row
from nasfas_jax.models import genotypes, sampling


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


def _scores(variables, arch, batch, *, model, config):
  """Scores of an architecture on a batch, with what assigns them to clips."""
  images = supervised.fused_input(config, batch['frames'])
  maps, _ = model.apply(
    variables, images, arch, train=True, mutable=['batch_stats']
  )
  scores = losses.map_score(maps, batch['score_mask'])
  return scores, batch['index'], batch['weight']


class SupernetScorer:
  """Scores genotypes by a supernet on clips that are held in memory.

  Batch normalization uses the statistics of each batch: the running ones are
  those of the mixture, not of one architecture.
  """

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    model: nn.Module,
    rows: Sequence[Row],
    mesh: Mesh,
  ):
    """Reads the clips.

    Args:
      config: of the search.
      model: the supernet.
      rows: clips, live and spoof.
      mesh: of the devices; each process reads its part.
    """
    self._num_nodes = config.supernet.num_nodes
    self._labels = np.array([row['label'] for row in rows])
    self._batches = [
      train_state.put_batch(batch, mesh)
      for batch in scoring.evaluation_stream(
        config, rows, 1, config.supernet.output_size
      )
    ]
    replicated = train_state.replicated(mesh)
    self._scores = jax.jit(
      functools.partial(_scores, model=model, config=config),
      in_shardings=(replicated, replicated, train_state.batch_sharding(mesh)),
      out_shardings=replicated,
    )

  def auc(self, variables: dict, genotype: genotypes.Genotype) -> float:
    """AUC of a genotype with the supernet's weights.

    Args:
      variables: the supernet's 'params' and 'batch_stats'.
      genotype: of the supernet's space.
    """
    return self.auc_of_arch(
      variables, sampling.to_arch(genotype, self._num_nodes)
    )

  def auc_of_arch(self, variables: dict, arch: dict) -> float:
    """AUC with architecture parameters, such as those of a searched mixture."""
    # All are under way before the first is waited for.
    found = [self._scores(variables, arch, batch) for batch in self._batches]
    scores = np.zeros(len(self._labels))
    # By the index: several processes read every other clip, and the last batch
    # is filled up with clips of weight 0.
    for part in found:
      values, places, weights = map(np.asarray, part)
      kept = weights > 0
      scores[places[kept]] = values[kept]
    return metrics.auc(scores, self._labels)
