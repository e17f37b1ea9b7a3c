"""Scores of clips: the network of a run, applied to a protocol's clips."""

import functools
import pathlib
from collections.abc import Iterator, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax.sharding import Mesh

from nasfas_jax import losses, models, progress, states, supervised
from nasfas_jax.data import pipeline
from nasfas_jax.data.index import Row
from nasfas_jax.models import cost, genotypes
from nasfas_jax.ops import fusion


def choose_network(
  config: ml_collections.ConfigDict, workdir: pathlib.Path
) -> str | genotypes.Genotype:
  """What config.model names; a genotype is read from workdir/genotype.json."""
  if config.model == 'genotype':
    return genotypes.load(workdir / 'genotype.json')
  return config.model


def build_network(
  config: ml_collections.ConfigDict, chosen: str | genotypes.Genotype
) -> nn.Module:
  """The network of a name or genotype, in the sizes of config.network."""
  network = config.network
  return models.build_model(
    chosen,
    stem_features=tuple(network.stem_features),
    cell_features=network.cell_features,
    head_features=network.head_features,
    output_size=network.output_size,
    theta=network.theta,
    dtype=jnp.dtype(network.dtype),
    remat=network.remat,
    two_stream=config.input.fusion == 'two_stream',
  )


def example_input(config: ml_collections.ConfigDict) -> jax.Array:
  """Zeros in the shape of the network's input, batch of one."""
  size = config.data.image_size
  channels = fusion.fusion_channels(config.input.fusion)
  return jnp.zeros((1, size, size, channels), jnp.float32)


def _predict(variables, batch, *, model, config):
  """Maps and scores of a batch, with what assigns them to clips."""
  images = supervised.fused_input(config, batch['frames'])
  maps = model.apply(variables, images, train=False).map
  return {
    'map': maps,
    'score': losses.map_score(maps, batch['score_mask']),
    'index': batch['index'],
    'weight': batch['weight'],
  }


def evaluation_stream(
  config: ml_collections.ConfigDict,
  rows: Sequence[Row],
  num_snippets: int,
  map_size: int,
) -> Iterator[dict[str, np.ndarray]]:
  """This process's part of one pass over clips, see `evaluation_batches`."""
  return pipeline.evaluation_batches(
    rows,
    shape=pipeline.SnippetShape(
      num_frames=config.data.num_frames,
      image_size=config.data.image_size,
      map_size=map_size,
    ),
    face_scale=config.data.eval_face_scale,
    num_snippets=num_snippets,
    batch_size=config.evaluate.batch_size,
    num_workers=config.data.num_workers,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
  )


class Scorer:
  """A trained network that scores clips; compiled once."""

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    model: nn.Module,
    variables: dict,
    mesh: Mesh,
  ):
    """config: of the run; variables: 'params' and 'batch_stats'."""
    self._config = config
    self._model = model
    self._variables = variables
    self._mesh = mesh
    self._compiled = None
    self._predict = jax.jit(
      functools.partial(_predict, model=model, config=config),
      in_shardings=(
        states.replicated(mesh),
        states.batch_sharding(mesh),
      ),
      # Replicated, so that every process reads the scores of all clips.
      out_shardings=states.replicated(mesh),
    )

  def predict(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Maps [B, D, D], scores, clip indices and weights of a batch."""
    batch = states.put_batch(batch, self._mesh)
    if self._compiled is None:
      with progress.stage('Compiling the network'):
        lowered = self._predict.lower(self._variables, batch)
        self._compiled = lowered.compile()
    out = self._compiled(self._variables, batch)
    return jax.tree.map(np.asarray, out)

  def count_macs(self) -> int:
    """Multiply-accumulates for one input."""
    return cost.count_macs(
      functools.partial(self._model.apply, train=False),
      self._variables,
      example_input(self._config),
    )

  def batches(
    self, rows: Sequence[Row], num_snippets: int
  ) -> Iterator[dict[str, np.ndarray]]:
    """This process's batches of all snippets of the clips, in order."""
    config = self._config
    return evaluation_stream(
      config, rows, num_snippets, config.network.output_size
    )

  def score(self, rows: Sequence[Row], stage: str) -> np.ndarray:
    """The score of every clip: the mean over its snippets.

    Args:
      rows: entries of the index.
      stage: what the progress bar calls it.

    Returns:
      float64 [len(rows)], higher = more evidence for live.
    """
    num_snippets = self._config.data.num_snippets
    totals = np.zeros(len(rows))
    counts = np.zeros(len(rows))
    size = self._config.evaluate.batch_size
    number = -(-len(rows) * num_snippets // size)
    with progress.bar(stage, number) as bar:
      for done, batch in enumerate(self.batches(rows, num_snippets), 1):
        out = self.predict(batch)
        weight = out['weight'].astype(np.float64)
        np.add.at(totals, out['index'], weight * out['score'])
        np.add.at(counts, out['index'], weight)
        bar.update(done)
    return totals / counts
