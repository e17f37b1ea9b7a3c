"""What a supernet's weights say of single architectures (weight sharing)."""

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


# (variables, architecture parameters) -> the score of every clip, float64.
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
  """A supernet as a function that scores clips, which are held in memory.

  Batch normalization uses the statistics that the architecture itself has on
  training clips. The supernet's running ones are those of the mixture; those of
  the clips that are scored would make a score depend on which clips share its
  batch, and would know the domain that was held out.

  Args:
    model: the supernet.
    rows: clips that are scored, live and spoof.
    training_rows: clips of the statistics, see `statistics_choice`.
    form: of the input.
    read: rows -> this process's part of one pass over them, one snippet a clip.
    batch_size: of the global batches that `read` gives.
    mesh: of the devices.

  Returns:
    scores(variables, arch) -> float64 [clips], in their order; variables are
    the supernet's 'params' and 'batch_stats'.
  """

  def batches_of(clips):
    return [sharding.put_batch(batch, mesh) for batch in read(clips)]

  scored = batches_of(rows)
  places = dealt(len(training_rows), batch_size)
  training = batches_of([training_rows[place] for place in places])

  def statistics(variables, arch, batch):
    images = inputs.network_input(batch['frames'], form)
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

  def scores_of(params, batch_stats, arch, batch):
    images = inputs.network_input(batch['frames'], form)
    # The mean over batches that are alike.
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
    # All are under way before the first is waited for.
    batch_stats = [statistics(variables, arch, batch) for batch in training]
    found = [
      scores_of(variables['params'], batch_stats, arch, batch)
      for batch in scored
    ]
    values = np.zeros(len(rows))
    # By the index: several processes read every other clip, and the last batch
    # is filled up with clips of weight 0.
    for part in found:
      some, indices, weights = map(np.asarray, part)
      kept = weights > 0
      values[indices[kept]] = some[kept]
    return values

  return scores


def genotype_arch(model: Supernet, genotype: Genotype) -> sampling.Sample:
  """The architecture parameters with which a supernet computes a genotype.

  Raises:
    ValueError: for a genotype of another search space.
  """
  if genotype.space != model.space:
    raise ValueError(
      f'The genotype is of the space {genotype.space!r}; allowed: that of the '
      f'supernet, {model.space!r}.'
    )
  return sampling.to_arch(
    genotype,
    model.num_nodes,
    model.temperature,
    edge_normalization=model.edge_normalization,
    node_attention=model.node_attention,
  )
