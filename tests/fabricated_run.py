"""Fabricated files of a whole run, for the tests of the report."""

import csv
import json

import numpy as np

from nasfas_jax import judgement, metrics
from nasfas_jax.metrics import thresholds
from nasfas_jax.models import search_spaces

# Closes tags, attributes and formulas, and is outside ASCII.
HOSTILE = '<script src="http://x.org/a.js">"\'&$\\frac{é漢'
_TYPES = ('live', 'print', 'replay', 'mask_rigid')


def _write_json(path, content):
  path.write_text(json.dumps(content), encoding='utf-8')


def _edge(source, target, operation):
  return {'source': source, 'target': target, 'operation': operation}


GENOTYPE = {
  'schema_version': 1,
  'space': 'cdcnpp',
  'theta': 0.7,
  'cells': {
    'low': [
      {
        'edges': [
          _edge(0, 1, 'cdc_3x3'),
          _edge(1, 2, 'cdc_2_1.2'),
          _edge(0, 3, 'skip_connect'),
          _edge(2, 3, 'cdc_2_0.8'),
          _edge(1, 4, 'cdc_2_1.6'),
          _edge(0, 4, 'cdc_2_1.4'),
        ],
        'outputs': [{'node': 3, 'weight': 0.375}, {'node': 4, 'weight': 0.625}],
      }
    ],
    'mid': [
      {
        'edges': [_edge(0, 1, 'cdc_2_1.2'), _edge(1, 2, 'cdc_2_1.4')],
        'outputs': [{'node': 2, 'weight': 1.0}],
      }
    ],
    'high': [
      {
        'edges': [_edge(0, 2, 'cdc_3x3')],
        'outputs': [{'node': 2, 'weight': 1.0}],
      }
    ],
  },
  'provenance': {'protocol': HOSTILE, 'seed': 0, 'steps': 160},
}


def _metric_lines(generator):
  logits = {level: np.zeros((1, 10, 8)) for level in search_spaces.LEVELS}
  for step in range(10, 161, 10):
    for level in logits:
      logits[level] += 0.3 * generator.normal(size=(1, 10, 8))
    alphas = {
      level: np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)
      for level, x in logits.items()
    }
    line = {
      'phase': 'search',
      'step': step,
      'train_loss': 0.4 * np.exp(-step / 60),
      'alpha_entropy': 2.0 - step / 400,
      'skip_share': 0.125 + step / 2000,
      'learning_rate': 1e-3 * (1 - step / 170),
      'alphas': {level: x.tolist() for level, x in alphas.items()},
    }
    if step > 40:
      line['val_loss'] = 0.5 * np.exp(-step / 80)
    yield line
  for step in range(10, 401, 10):
    loss = 0.3 * np.exp(-step / 80) + 0.02 * generator.random()
    yield {'phase': 'train', 'step': step, 'train_loss': loss}


def _scores(generator, split, num_clips):
  kinds = generator.choice(_TYPES, num_clips, p=(0.4, 0.2, 0.2, 0.2))
  labels = (kinds == 'live').astype(int)
  return {
    'clip_id': np.array([f'{split}/{i:04}' for i in range(num_clips)]),
    'label': labels,
    'attack_type': kinds,
    'domain': generator.choice(['night', 'office'], num_clips),
    'subject': generator.integers(0, 9, num_clips).astype(str),
    'score': np.clip(
      0.15 + 0.35 * labels + 0.12 * generator.normal(size=num_clips), 0, None
    ),
  }


def _summary(columns, mask, threshold):
  return metrics.summarise(
    *(columns[name][mask] for name in ('score', 'label', 'attack_type')),
    threshold,
  )


def _write_scored(workdir, generator):
  """Writes results.json, scores.csv and samples.npz; returns the results."""
  scored = {
    s: _scores(generator, s, n) for s, n in (('dev', 200), ('test', 300))
  }
  test = scored['test']
  threshold = judgement.set_threshold(thresholds.Rule('eer'), scored, 'dev')
  results = {
    'protocol': 'synthetic_fas/cross_domain/night',
    'headline': ['hter', 'auc'],
    'model': {'name': 'genotype', 'num_parameters': 123456, 'gmac': 0.0789},
    **judgement.judge(scored, threshold, 'dev', bootstrap_samples=100, seed=0),
  }
  # A domain without spoofs, whose name is an attack on the page.
  only_live = (test['domain'] == 'night') & (test['label'] == 1)
  results['per_domain'][HOSTILE] = _summary(test, only_live, threshold['value'])
  _write_json(workdir / 'results.json', results)
  with open(workdir / 'scores.csv', 'w', encoding='utf-8', newline='') as file:
    names = list(test)
    writer = csv.writer(file)
    writer.writerow(['split', *names])
    for split, columns in scored.items():
      rows = zip(*(columns[name] for name in names), strict=True)
      writer.writerows([split, *row] for row in rows)
  _write_samples(workdir, generator, test)
  return results


def _write_samples(workdir, generator, test):
  y, x = np.mgrid[-1:1:16j, -1:1:16j]
  dome = np.clip(1 - x**2 - y**2, 0, 1).astype(np.float32)
  chosen = {name: test[name][:8] for name in test}
  chosen['clip_id'] = np.array([*chosen['clip_id'][:7], HOSTILE])
  live = chosen['label'].astype(np.float32)[:, None, None]
  noise = generator.random((8, 16, 16), np.float32)
  shade = np.kron(dome, np.ones((4, 4), np.float32))[..., None]
  image = (shade * generator.uniform(80, 250, (8, 1, 1, 3))).astype(np.uint8)
  np.savez(
    workdir / 'samples.npz',
    **{n: chosen[n] for n in ('clip_id', 'attack_type', 'domain')},
    **{n: chosen[n] for n in ('subject', 'label', 'score')},
    image=image,
    dynamic=255 - image,
    predicted=dome * (0.2 + 0.7 * live) + 0.2 * noise,
    depth=dome * live,
  )


def write_run(workdir):
  """Writes what a finished run is compared by; returns its results."""
  workdir.mkdir(parents=True)
  _write_json(workdir / 'genotype.json', GENOTYPE)
  return _write_scored(workdir, np.random.default_rng(0))


def write(workdir):
  """Writes every file of a search run; returns the content of results.json."""
  generator = np.random.default_rng(0)
  config = {
    'experiment': 'search',
    'seed': 0,
    'supernet': {'space': 'cdcnpp', 'num_nodes': 4},
    'genotype': '',
    'network': {'theta': None},
    'protocol': HOSTILE,
  }
  _write_json(workdir / 'config.json', config)
  _write_json(workdir / 'environment.json', {'jax': '0.10.2', 'cpu': HOSTILE})
  _write_json(workdir / 'genotype.json', GENOTYPE)
  lines = [json.dumps(line) for line in _metric_lines(generator)]
  # The last line was cut off by a kill.
  text = '\n'.join(lines) + '\n' + '{"phase": "train", "step": 410, "tr'
  (workdir / 'metrics.jsonl').write_text(text, encoding='utf-8')
  results = _write_scored(workdir, generator)
  return results
