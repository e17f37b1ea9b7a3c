"""The metrics of a protocol for both frameworks, on the same clips."""

import jax.numpy as jnp
import ml_collections
import numpy as np
import torch

from nasfas_jax import losses, metrics, scoring, states, supervised
from nasfas_jax.comparison import parity, twins
from nasfas_jax.comparison.source import Source
from nasfas_jax.data import protocols


class TwinScorer(scoring.Scorer):
  """Scores clips by the PyTorch module; the rest is that of `Scorer`."""

  def __init__(self, config, source: Source, mesh):
    """config: of the run; source: the network in both frameworks."""
    super().__init__(config, source.model, source.variables, mesh)
    self._twin = source.twin

  def predict(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Maps, scores, clip indices and weights of a batch."""
    images = twins.to_torch(
      supervised.fused_input(self._config, jnp.asarray(batch['frames']))
    )
    with torch.inference_mode():
      maps = self._twin.eval()(images).numpy()
    self._twin.train()
    return {
      'map': maps,
      'score': np.asarray(losses.map_score(maps, batch['score_mask'])),
      'index': batch['index'],
      'weight': batch['weight'],
    }


def judge(
  config: ml_collections.ConfigDict,
  source: Source,
  selection: protocols.Selection,
) -> dict:
  """Metrics of the test clips by the dev clips' threshold, for both.

  Returns:
    {'jax', 'torch'}: a threshold and the metrics of `metrics.summarise`;
    'scores': the difference of the scores of all clips.
  """
  mesh = states.make_mesh()
  scorers = {
    'jax': scoring.Scorer(config, source.model, source.variables, mesh),
    'torch': TwinScorer(config, source, mesh),
  }
  rows = [*selection.dev, *selection.test]
  split = len(selection.dev)
  labels = np.array([row['label'] for row in rows])
  types = np.array([row['attack_type'] for row in rows])
  found, scores = {}, {}
  for name, scorer in scorers.items():
    values = scores[name] = scorer.score(rows, f'Scoring with {name}')
    threshold = float(metrics.eer_threshold(values[:split], labels[:split]))
    found[name] = {
      'threshold': threshold,
      **metrics.summarise(
        values[split:], labels[split:], types[split:], threshold
      ),
    }
  found['scores'] = parity.difference(scores['torch'], scores['jax'])
  return found
