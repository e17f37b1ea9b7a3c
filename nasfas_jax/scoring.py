"""Scores of clips: a network applied to every snippet of every clip.

What a batch normalization normalises by is one of `BATCH_NORMS`:

  running      the running statistics of the training;
  test         those of the batch of clips that are scored together (Nado et
               al., arXiv 2006.10963, section 3: prediction-time batch
               normalization), in one fixed random order;
  test_domain  the same, with batches of one domain each.

With the last two, the score of a clip depends on the others in its batch.
"""

from collections.abc import Callable, Collection, Iterator, Sequence

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import Mesh

from nasfas_jax import inputs, losses, progress, sharding
from nasfas_jax.data.index import Row

Batch = dict[str, np.ndarray]
# This process's part of a batch -> 'map' [B, S, S] and 'score', 'index' and
# 'weight' [B] of the global batch.
Predict = Callable[[Batch], Batch]

RUNNING, TEST, TEST_DOMAIN = BATCH_NORMS = ('running', 'test', 'test_domain')
# Of a float32 network's products where it scores. By default a GPU takes TF32
# and a TPU bfloat16, and a threshold that one machine set would not hold on
# another.
PRECISION = 'float32'
# The order of the clips. It is that of every run, so that runs are compared on
# the same batches.
_ORDER_SEED = 0


def make_predict(
  model: nn.Module,
  variables: dict,
  form: inputs.InputForm,
  mesh: Mesh,
  *,
  batch_norm: str = RUNNING,
  members: bool = False,
) -> Predict:
  """A trained network as a function of batches, compiled at its first call.

  Args:
    model: maps an input to `models.outputs.Outputs`.
    variables: dict with 'params' and 'batch_stats'.
    form: of the input.
    mesh: of the devices.
    batch_norm: with `RUNNING`, of the training; else every batch is normalised
      by its own statistics, over all devices and processes.
    members: the variables have a leading axis [S], that of several networks.
      Each scores the batch; 'map' is then [S, B, D, D] and 'score' [S, B].

  Returns:
    predict(batch) -> float32 'map' [B, S, S], 'score' and 'weight' [B], int32
    'index' [B], as NumPy arrays of the global batch. Each process passes its
    own part of the batch.

  Raises:
    ValueError: for statistics of the batch, if the network has no batch
      normalization.
  """
  of_batch = batch_norm != RUNNING
  if of_batch and not jax.tree.leaves(variables['batch_stats']):
    raise ValueError(
      f'batch_norm is {batch_norm!r}, but the network has no batch '
      f'normalization; allowed: {RUNNING}.'
    )

  def predict(variables, batch):
    images = inputs.network_input(batch['frames'], form)

    def judge(variables):
      if of_batch:
        # The running statistics that this would update are left as they are.
        outputs, _ = model.apply(
          variables, images, train=True, mutable=['batch_stats']
        )
      else:
        outputs = model.apply(variables, images, train=False)
      return outputs.map, losses.map_score(outputs.map, batch['score_mask'])

    with jax.default_matmul_precision(PRECISION):
      maps, scores = (jax.vmap(judge) if members else judge)(variables)
    return {
      'map': maps,
      'score': scores,
      'index': batch['index'],
      'weight': batch['weight'],
    }

  jitted = jax.jit(
    predict,
    in_shardings=(sharding.replicated(mesh), sharding.batch_sharding(mesh)),
    # Replicated, so that every process can read all scores.
    out_shardings=sharding.replicated(mesh),
  )
  compiled = None

  def call(batch):
    nonlocal compiled
    batch = sharding.put_batch(batch, mesh)
    if compiled is None:
      with progress.stage('Compiling the network'):
        compiled = jitted.lower(variables, batch).compile()
    return jax.tree.map(np.asarray, compiled(variables, batch))

  return call


def groups(domains: Sequence[str], batch_norm: str) -> list[np.ndarray]:
  """Which clips are scored together, and in what order.

  Clips are stored by person and medium. A batch of neighbours would have the
  statistics of one of them, so the order is a fixed random one.

  Args:
    domains: of every clip.
    batch_norm: `TEST` or `TEST_DOMAIN`.

  Returns:
    Places of clips, int [n] each: one group, or one for each domain.

  Raises:
    ValueError: for a group of a single clip, whose statistics say nothing.
  """
  order = np.random.default_rng(_ORDER_SEED).permutation(len(domains))
  found = {'': order}
  if batch_norm == TEST_DOMAIN:
    own = np.asarray(domains)[order]
    found = {name: order[own == name] for name in np.unique(own).tolist()}
  for name, places in found.items():
    if len(places) < 2:
      where = f' of the domain {name!r}' if name else ''
      raise ValueError(
        f'batch_norm is {batch_norm!r}, but there is only {len(places)} clip'
        f'{where}; allowed: {RUNNING}, or 2 clips or more.'
      )
  return list(found.values())


def score_clips(
  predict: Predict,
  rows: Sequence[Row],
  batches: Iterator[Batch],
  *,
  num_batches: int,
  title: str,
  keep: Collection[int] = (),
) -> tuple[np.ndarray, dict[int, np.ndarray]]:
  """The score of every clip: the mean over its snippets.

  Args:
    predict: see `make_predict`.
    rows: of the index, one per clip.
    batches: this process's part of one pass over all snippets, see
      `data.pipeline.evaluation_batches`.
    num_batches: number of batches.
    title: label of the progress bar.
    keep: places in `rows` of the clips whose maps are returned.

  Returns:
    (float64 [len(rows)], higher = more evidence for live; place -> the map of
    the clip's first snippet, float32 [S, S]). Of several networks, their axis
    comes first in both.
  """
  maps = {}
  totals = None
  counts = np.zeros(len(rows))
  with progress.bar(title, num_batches) as bar:
    for done, batch in enumerate(batches, 1):
      out = predict(batch)
      weight = out['weight'].astype(np.float64)
      if totals is None:
        totals = np.zeros((*out['score'].shape[:-1], len(rows)))
      np.add.at(totals, (..., out['index']), weight * out['score'])
      np.add.at(counts, out['index'], weight)
      for place in set(out['index'].tolist()) & set(keep) - set(maps):
        first = int(np.argmax(out['index'] == place))
        maps[place] = out['map'][..., first, :, :]
      bar.update(done)
  return totals / counts, maps
