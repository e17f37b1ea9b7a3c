"""Scores under the statistics of the training and of the batch."""

from collections.abc import Callable

import flax.linen as nn
import jax
import numpy as np
import pytest

from nasfas_configs import evaluate as evaluate_config
from nasfas_jax import evaluate, inputs, scoring, sharding
from nasfas_jax.exporting import signature
from nasfas_jax.models import layers
from nasfas_jax.models.outputs import Outputs

FORM = inputs.InputForm('static', 'approximate', 'fixed')
SIZE = 4


class Normalizer(nn.Module):
  @nn.compact
  def __call__(self, x, *, train):
    x = layers.batch_norm(x, train=train, affine=False, name='norm')
    return Outputs(nn.relu(x[..., 0]), {})


class Plain(nn.Module):
  @nn.compact
  def __call__(self, x, *, train):
    return Outputs(x[..., 0], {})


def make_batch(seed, number=4):
  rng = np.random.default_rng(seed)
  return {
    'frames': rng.integers(0, 256, (number, 1, SIZE, SIZE, 3), np.uint8),
    'score_mask': np.ones((number, SIZE, SIZE), np.float32),
    'index': np.arange(number, dtype=np.int32),
    'weight': np.ones(number, np.float32),
  }


STATISTICS = {
  'norm': {
    'mean': np.float32([0.1, 0.2, 0.3]),
    'var': np.float32([0.5, 0.6, 0.7]),
  }
}


@pytest.mark.parametrize('batch_norm', ['running', 'test'])
def test_what_clips_are_normalised_by(batch_norm):
  mesh = sharding.make_mesh()
  variables = jax.device_put(
    {'params': {}, 'batch_stats': STATISTICS}, sharding.replicated(mesh)
  )
  predict = scoring.make_predict(
    Normalizer(), variables, FORM, mesh, batch_norm=batch_norm
  )
  for seed in range(2):
    batch = make_batch(seed)
    # The first channel of the 'fixed' input: red, -1 to 1.
    red = (batch['frames'][:, 0, ..., 0].astype(np.float64) - 127.5) / 128
    mean, variance = 0.1, 0.5
    if batch_norm == 'test':
      mean, variance = red.mean(), red.var()
    wanted = np.maximum(0, (red - mean) / np.sqrt(variance + 1e-5))
    found = predict(batch)
    np.testing.assert_allclose(found['map'], wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
      found['score'], wanted.mean(axis=(1, 2)), rtol=1e-4
    )


class Asking(nn.Module):
  """Tells `ask` in what precision its products would be."""

  ask: Callable

  @nn.compact
  def __call__(self, x, *, train):
    self.ask(jax.config.jax_default_matmul_precision)
    return Outputs(x[..., 0], {})


def test_scores_are_of_full_products_whatever_the_run_takes():
  mesh, asked = sharding.make_mesh(), []
  with jax.default_matmul_precision('tensorfloat32'):
    predict = scoring.make_predict(Asking(asked.append), {}, FORM, mesh)
    predict(make_batch(0))
    program = signature.program(
      Asking(asked.append), {}, FORM, face_scale=1.28, map_size=SIZE
    )
    program(make_batch(0)['frames'], np.ones((4, 2), np.float32))
  assert len(asked) >= 2 and set(asked) == {'float32'}


def test_a_network_without_batch_normalization_is_refused():
  with pytest.raises(ValueError, match="'test', but the network has no batch"):
    scoring.make_predict(
      Plain(),
      {'params': {}, 'batch_stats': {}},
      FORM,
      sharding.one_device(),
      batch_norm='test',
    )


def test_groups_hold_every_clip_once_in_one_order():
  domains = ['a', 'b', 'a', 'b', 'b', 'a', 'a', 'a', 'b', 'a']
  (whole,) = scoring.groups(domains, 'test')
  assert sorted(whole.tolist()) == list(range(10))
  assert whole.tolist() != list(range(10))
  (again,) = scoring.groups(domains, 'test')
  assert whole.tolist() == again.tolist()
  a, b = scoring.groups(domains, 'test_domain')
  assert sorted(a.tolist()) == [0, 2, 5, 6, 7, 9]
  assert sorted(b.tolist()) == [1, 3, 4, 8]
  with pytest.raises(ValueError, match="only 1 clip of the domain 'c'"):
    scoring.groups([*domains, 'c'], 'test_domain')
  with pytest.raises(ValueError, match='only 1 clip;'):
    scoring.groups(['a'], 'test')


def test_batches_are_of_one_group_and_scores_go_where_they_belong(monkeypatch):
  """A clip scores its number plus the mean of its batch."""
  config = evaluate_config.get_config()
  config.protocol = 'synthetic_fas/intra'
  config.evaluate.batch_norm = 'test_domain'
  config.evaluate.batch_size = 2
  config.data.num_snippets = 1
  rows = [
    {
      'clip_id': str(i),
      'label': i % 2,
      'attack_type': 'print',
      'session': 'ab'[i % 2],
      'dataset': 'd',
      'subject': str(i),
    }
    for i in range(6)
  ]
  field = evaluate.protocols.get_protocol(config.protocol).domain_field
  for row in rows:
    row[field] = row['session']
  seen = []

  def batches(config, rows, num_snippets):
    for start in range(0, len(rows), 2):
      places = [place % len(rows) for place in (start, start + 1)]
      yield {
        'clips': [int(rows[place]['clip_id']) for place in places],
        'index': np.array(places),
        'weight': np.array([1.0, float(start + 1 < len(rows))]),
      }

  def predict(batch):
    numbers = np.array(batch['clips'], np.float64)
    seen.append(set(numbers.astype(int) % 2))
    return {
      **batch,
      'score': numbers + numbers.mean(),
      'map': numbers[:, None, None],
    }

  monkeypatch.setattr(evaluate, '_batches', batches)
  scores, maps = evaluate._score_together(config, predict, rows, '', [1, 4])
  assert seen == [{0}, {0}, {1}, {1}]
  assert {place: one.item() for place, one in maps.items()} == {1: 1, 4: 4}
  groups = scoring.groups([row['session'] for row in rows], 'test_domain')
  for group in groups:
    first, second, third = group.tolist()
    pair = (first + second) / 2
    assert scores[[first, second]].tolist() == [first + pair, second + pair]
    # Alone in the last batch, which the first clip of the group fills up.
    assert scores[third] == third + (third + first) / 2


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'scores': 'x.csv'}, 'config.scores, which are no network: running'),
    ({'adapted': True}, 'whose statistics would not be used: running'),
    ({'threshold': 'run'}, 'under which scores are others: eer'),
    ({'evaluate': {'batch_size': 1}}, 'batch_norm=test: 2 or more'),
    ({'evaluate': {'batch_norm': 'dev'}}, 'running, test, test_domain'),
  ],
)
def test_what_statistics_of_test_clips_exclude(changes, message):
  config = evaluate_config.get_config()
  config.evaluate.batch_norm = 'test'
  config.data.eval_face_scale, config.data.num_snippets = 1.28, 1
  config.update(changes)
  with pytest.raises(ValueError, match=message):
    evaluate._check(config)
