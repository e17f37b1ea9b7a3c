"""Scores of single architectures with a supernet's weights (weight sharing)."""

from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from nasfas_jax import inputs, losses, sharding
from nasfas_jax.data.index import Row
from nasfas_jax.models import layers, sampling
from nasfas_jax.models.genotypes import Genotype
from nasfas_jax.models.supernet import Supernet

# In a trial, 96 clips ranked the genotypes almost the same (rank correlation
# 0.98).
STATISTICS_CLIPS = 32


def even_choice(
  rows: Sequence[Row], number: int, domain_field: str
) -> list[Row]:
  """At most `number` of the rows, evenly over label, attack type, domain."""
  order = sorted(
    rows,
    key=lambda row: (row['label'], row['attack_type'], str(row[domain_field])),
  )
  if len(order) <= number:
    return order
  places = np.linspace(0, len(order) - 1, number).round().astype(int)
  return [order[place] for place in places]


def statistics_choice(rows: Sequence[Row], domain_field: str) -> list[Row]:
  """The training clips for a genotype's batch statistics."""
  return even_choice(rows, STATISTICS_CLIPS, domain_field)


def dealt(number: int, batch_size: int) -> np.ndarray:
  """Deals sorted rows out to full batches of the same composition.

  Each batch takes rows at even steps from first to last, so that every batch
  has the same share of whatever the rows are sorted by. If the rows do not fill
  the batches, some evenly spread rows appear twice.

  Args:
    number: of rows, at least 1.
    batch_size: rows per batch.

  Returns:
    int [num_batches * batch_size], row numbers, batch after batch; every row
    appears.
  """
  batches = -(-number // batch_size)
  places = np.linspace(0, number - 1, batches * batch_size).round().astype(int)
  return places.reshape(batch_size, batches).T.reshape(-1)


# (variables, architecture parameters) -> float64 [clips], a score per clip.
Scores = Callable[[dict, dict], np.ndarray]


def make_scores(
  model: Supernet,
  rows: Sequence[Row],
  training_rows: Sequence[Row],
  *,
  form: inputs.InputForm,
  read: Callable[[Sequence[Row]], Iterator[dict]],
  batch_size: int,
  mesh: Mesh,
) -> Scores:
  """Makes a function that scores clips with a supernet's weights.

  The clips are read once and kept in memory. Batch normalization uses the batch
  statistics of the architecture itself on training clips. The supernet's
  running statistics are those of the mixture of all operations. Statistics of
  the scored clips would make a score depend on the other clips of its batch,
  and would leak the held-out domain.

  Args:
    model: the supernet.
    rows: the clips to score, live and spoof.
    training_rows: the clips of the statistics, see `statistics_choice`.
    form: of the input.
    read: rows -> this process's part of one pass over them, one snippet per
      clip.
    batch_size: global size of the batches of `read`.
    mesh: of the devices.

  Returns:
    scores(variables, arch) -> float64 [len(rows)]; `variables` are the
    supernet's 'params' and 'batch_stats'.
  """

  def batches_of(clips):
    return [sharding.put_batch(batch, mesh) for batch in read(clips)]

  scored = batches_of(rows)
  places = dealt(len(training_rows), batch_size)
  training = batches_of([training_rows[place] for place in places])

  def statistics(variables, arch, batch):
    images = inputs.network_input(batch['frames'], form)
    # From zeros, the running statistics move to a fixed share of the batch's.
    zeros = jax.tree.map(jnp.zeros_like, variables['batch_stats'])
    _, updates = model.apply(
      {'params': variables['params'], 'batch_stats': zeros},
      *(images, arch),
      train=True,
      mutable=['batch_stats'],
    )
    share = 1.0 - layers.BATCH_NORM_MOMENTUM
    return jax.tree.map(lambda leaf: leaf / share, updates['batch_stats'])

  def scores_of(params, batch_stats, arch, batch):
    images = inputs.network_input(batch['frames'], form)
    # The batches have the same composition, so their mean is fair.
    mean = jax.tree.map(lambda *leaves: sum(leaves) / len(leaves), *batch_stats)
    variables = {'params': params, 'batch_stats': mean}
    maps = model.apply(variables, images, arch, train=False).map
    found = losses.map_score(maps, batch['score_mask'])
    return found, batch['index'], batch['weight']

  replicated = sharding.replicated(mesh)
  clips = sharding.batch_sharding(mesh)
  statistics = jax.jit(
    statistics,
    in_shardings=(replicated, replicated, clips),
    out_shardings=replicated,
  )
  scores_of = jax.jit(
    scores_of,
    in_shardings=(replicated, replicated, replicated, clips),
    out_shardings=replicated,
  )

  def scores(variables, arch):
    # Dispatch all batches before waiting for the first.
    batch_stats = [statistics(variables, arch, batch) for batch in training]
    found = [
      scores_of(variables['params'], batch_stats, arch, batch)
      for batch in scored
    ]
    values = np.zeros(len(rows))
    # Placed by index: the processes read interleaved clips, and the last batch
    # is padded with clips of weight 0.
    for part in found:
      some, indices, weights = map(np.asarray, part)
      kept = weights > 0
      values[indices[kept]] = some[kept]
    return values

  return scores


def genotype_arch(model: Supernet, genotype: Genotype) -> sampling.Sample:
  """The architecture parameters that make a supernet compute a genotype."""
  return sampling.to_arch(
    genotype,
    model.num_nodes,
    model.temperature,
    edge_normalization=model.edge_normalization,
    node_attention=model.node_attention,
  )
