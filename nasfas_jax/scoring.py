"""Scores of clips: a network applied to every snippet of every clip."""

from collections.abc import Callable, Iterator, Sequence

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


def make_predict(
  model: nn.Module,
  variables: dict,
  form: inputs.InputForm,
  mesh: Mesh,
  *,
  members: bool = False,
) -> Predict:
  """A trained network as a function of batches, compiled at its first call.

  Args:
    model: maps an input to `models.outputs.Outputs`.
    variables: dict with 'params' and 'batch_stats'.
    form: of the input.
    mesh: of the devices.
    members: the variables have a leading axis [S], that of several networks.
      Each scores the batch; 'map' is then [S, B, D, D] and 'score' [S, B].

  Returns:
    predict(batch) -> float32 'map' [B, S, S], 'score' and 'weight' [B], int32
    'index' [B], as NumPy arrays of the global batch. Each process passes its
    own part of the batch.
  """

  def predict(variables, batch):
    images = inputs.network_input(batch['frames'], form)

    def judge(variables):
      maps = model.apply(variables, images, train=False).map
      return maps, losses.map_score(maps, batch['score_mask'])

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


def score_clips(
  predict: Predict,
  rows: Sequence[Row],
  batches: Iterator[Batch],
  *,
  num_batches: int,
  title: str,
) -> np.ndarray:
  """The score of every clip: the mean over its snippets.

  Args:
    predict: see `make_predict`.
    rows: of the index, one per clip.
    batches: this process's part of one pass over all snippets, see
      `data.pipeline.evaluation_batches`.
    num_batches: number of batches.
    title: label of the progress bar.

  Returns:
    float64 [len(rows)], higher = more evidence for live; of several networks
    [S, len(rows)].
  """
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
      bar.update(done)
  return totals / counts
