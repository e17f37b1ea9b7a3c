"""The metrics of a protocol for both frameworks, on the same clips."""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
import torch

from nasfas_jax import inputs, losses, metrics, records, scoring, sharding
from nasfas_jax.comparison import parity, twins
from nasfas_jax.comparison.source import Source
from nasfas_jax.data import protocols
from nasfas_jax.data.index import Row
from nasfas_jax.metrics import thresholds

# (predict, rows, title) -> the score of every clip.
Score = Callable[[scoring.Predict, Sequence[Row], str], np.ndarray]


def make_twin_predict(
  twin: torch.nn.Module, form: inputs.InputForm
) -> scoring.Predict:
  """`scoring.make_predict` of the PyTorch module, which stays in training."""

  def predict(batch):
    images = inputs.network_input(jnp.asarray(batch['frames']), form)
    with torch.inference_mode():
      maps = twin.eval()(twins.to_torch(images)).numpy()
    twin.train()
    return {
      'map': maps,
      'score': np.asarray(losses.map_score(maps, batch['score_mask'])),
      'index': batch['index'],
      'weight': batch['weight'],
    }

  return predict


def judge(
  source: Source,
  form: inputs.InputForm,
  score: Score,
  selection: protocols.Selection,
  rule: thresholds.Rule,
) -> dict:
  """Metrics of the test clips by the dev clips' threshold, for both.

  Args:
    source: the network in both frameworks.
    form: of its input.
    score: what gives every clip its score by a predict function.
    selection: the protocol's clips.
    rule: of the threshold.

  Returns:
    {'jax', 'torch'}: a threshold and the metrics of `metrics.summarise`;
    'scores': the difference of the scores of all clips.
  """
  predicts = {
    'jax': scoring.make_predict(
      source.model, source.variables, form, sharding.make_mesh()
    ),
    'torch': make_twin_predict(source.twin, form),
  }
  rows = [*selection.dev, *selection.test]
  split = len(selection.dev)
  labels = np.array([row['label'] for row in rows])
  types = np.array([row['attack_type'] for row in rows])
  # Test clips without a label are scored beside the others.
  judged = np.flatnonzero(labels != records.UNLABELLED)
  judged = judged[judged >= split]
  found, scores = {}, {}
  for name, predict in predicts.items():
    values = scores[name] = score(predict, rows, f'Scoring with {name}')
    threshold = rule.number
    if rule.kind != 'value':
      threshold = thresholds.choose(
        rule, values[:split], labels[:split], types[:split]
      )
    found[name] = {
      'threshold': threshold,
      **metrics.summarise(
        values[judged], labels[judged], types[judged], threshold
      ),
    }
  found['scores'] = parity.difference(scores['torch'], scores['jax'])
  return found
