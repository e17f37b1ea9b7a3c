"""Tests of the report on workdirs of fabricated files."""

import base64
import csv
import html
import html.parser
import json
import re
import shutil
import xml.etree.ElementTree

import cv2
import numpy as np
import pytest

from nasfas_jax import cell_drawing, metrics, report
from nasfas_jax.models import search_spaces

# Closes tags, attributes and formulas, and is outside ASCII.
_HOSTILE = '<script src="http://x.org/a.js">"\'&$\\frac{é漢'
_TYPES = ('live', 'print', 'replay', 'mask_rigid')


def _write_json(path, content):
  path.write_text(json.dumps(content), encoding='utf-8')


def _edge(source, target, operation):
  return {'source': source, 'target': target, 'operation': operation}


_GENOTYPE = {
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
  'provenance': {'protocol': _HOSTILE, 'seed': 0, 'steps': 160},
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
  dev, test = scored['dev'], scored['test']
  threshold = metrics.eer_threshold(dev['score'], dev['label'])
  results = {
    'protocol': 'synthetic_fas/cross_domain/night',
    'headline': ['hter', 'auc'],
    'model': {'name': 'genotype', 'num_parameters': 123456, 'gmac': 0.0789},
    'threshold': {'value': threshold, 'rule': 'EER on dev', 'split': 'dev'},
    'splits': {
      split: _summary(c, c['label'] >= 0, threshold)
      for split, c in scored.items()
    },
    'confidence': {
      'level': 0.95,
      **metrics.bootstrap(
        *(test[n] for n in ('score', 'label', 'attack_type', 'subject')),
        threshold,
        num_samples=100,
      ),
    },
    'per_domain': {
      name: _summary(test, test['domain'] == name, threshold)
      for name in ('night', 'office')
    },
    'per_type': {
      kind: _summary(
        test, np.isin(test['attack_type'], (kind, 'live')), threshold
      )
      for kind in _TYPES[1:]
    },
  }
  # A domain without spoofs, whose name is an attack on the page.
  only_live = (test['domain'] == 'night') & (test['label'] == 1)
  results['per_domain'][_HOSTILE] = _summary(test, only_live, threshold)
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
  chosen['clip_id'] = np.array([*chosen['clip_id'][:7], _HOSTILE])
  live = chosen['label'].astype(np.float32)[:, None, None]
  noise = generator.random((8, 16, 16), np.float32)
  shade = np.kron(dome, np.ones((4, 4), np.float32))[..., None]
  image = (shade * generator.uniform(80, 250, (8, 1, 1, 3))).astype(np.uint8)
  np.savez(
    workdir / 'samples.npz',
    **{n: chosen[n] for n in ('clip_id', 'attack_type', 'domain')},
    **{n: chosen[n] for n in ('label', 'score')},
    image=image,
    dynamic=255 - image,
    predicted=dome * (0.2 + 0.7 * live) + 0.2 * noise,
    depth=dome * live,
  )


@pytest.fixture(scope='module')
def search_run(tmp_path_factory):
  """A workdir that has every file, and its results."""
  workdir = tmp_path_factory.mktemp('search')
  generator = np.random.default_rng(0)
  config = {
    'experiment': 'search',
    'seed': 0,
    'supernet': {'space': 'cdcnpp', 'num_nodes': 4},
    'genotype': '',
    'theta': None,
    'note': _HOSTILE,
  }
  _write_json(workdir / 'config.json', config)
  _write_json(workdir / 'environment.json', {'jax': '0.10.2', 'cpu': _HOSTILE})
  _write_json(workdir / 'genotype.json', _GENOTYPE)
  lines = [json.dumps(line) for line in _metric_lines(generator)]
  # The last line was cut off by a kill.
  text = '\n'.join(lines) + '\n' + '{"phase": "train", "step": 410, "tr'
  (workdir / 'metrics.jsonl').write_text(text, encoding='utf-8')
  results = _write_scored(workdir, generator)
  path = report.write_report(workdir)
  assert path == workdir / 'report' / 'index.html'
  return workdir, results, path.read_text(encoding='utf-8')


class _Checker(html.parser.HTMLParser):
  """Collects what the page holds and checks that its tags are balanced."""

  _VOID = {'meta', 'img', 'br'}

  def __init__(self, page):
    super().__init__()
    self.open, self.tags, self.sections, self.text = [], [], [], []
    self.feed(page)
    self.close()
    assert not self.open

  def handle_starttag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))
    if tag not in self._VOID:
      self.open.append(tag)
    if tag == 'section':
      self.sections.append(dict(attrs)['id'])

  def handle_startendtag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    self.text.append(data)


def test_page_is_well_formed_and_self_contained(search_run):
  page = search_run[2]
  checker = _Checker(page)
  tags = {tag for tag, _ in checker.tags}
  assert not tags & {'script', 'link', 'iframe', 'object', 'embed'}
  ids = [attrs['id'] for _, attrs in checker.tags if 'id' in attrs]
  assert len(ids) == len(set(ids))
  for tag, attrs in checker.tags:
    for name in ('src', 'href', 'xlink:href'):
      if name in attrs:
        target = attrs[name]
        assert target.startswith('data:image/') or target[1:] in ids
    if tag == 'img':
      assert attrs['alt']
    if tag == 'th':
      assert attrs['scope'] in ('col', 'row')
  assert 'url(http' not in page and '@import' not in page
  assert len(page) < 5_000_000


def test_page_has_every_section(search_run):
  assert _Checker(search_run[2]).sections == [
    'results',
    'searched-cells',
    'operation-weights-over-time',
    'training-curves',
    'roc',
    'scores-by-attack-type',
    'clips-and-depth-maps',
    'by-attack-type',
    'by-domain',
    'config',
    'environment',
  ]


def _rows(page):
  """Table rows as lists of the cells' text."""
  return [
    [html.unescape(re.sub(r'<[^>]+>', '', cell)) for cell in cells]
    for cells in (
      re.findall(r'<t[hd].*?</t[hd]>', row)
      for row in re.findall(r'<tr>.*?</tr>', page)
    )
  ]


def test_tables_hold_the_numbers_of_the_results(search_run):
  _, results, page = search_run
  rows = {tuple(row[:4]) for row in _rows(page)}
  dev, test = results['splits']['dev'], results['splits']['test']
  headings = {'ACER': 'acer', 'HTER': 'hter', 'AUC': 'auc', 'BPCER': 'bpcer'}
  for heading, name in headings.items():
    low, high = results['confidence'][name]
    assert (
      heading,
      f'{100 * dev[name]:.2f}',
      f'{100 * test[name]:.2f}',
      f'{100 * low:.2f} to {100 * high:.2f}',
    ) in rows
  rate = f'{100 * test["tpr_at_fpr"]["0.01"]:.2f}'
  assert any(row[0] == 'TPR at FPR 1 %' and row[2] == rate for row in rows)
  kind = results['per_type']['print']
  counts = str(kind['num_live']), str(kind['num_spoof'])
  assert ('print', *counts, f'{100 * kind["apcer_max"]:.2f}') in rows
  # A group without spoofs has dashes, not numbers.
  assert [row[3:] for row in _rows(page) if row[0] == _HOSTILE] == [
    ['–', f'{100 * results["per_domain"][_HOSTILE]["bpcer"]:.2f}', *'––––']
  ]
  assert '123,456' in page and '0.0789 GMAC' in page
  assert ('supernet.num_nodes', '4') in {tuple(row) for row in _rows(page)}
  assert ('theta', '–') in {tuple(row) for row in _rows(page)}


def test_hostile_names_are_text(search_run):
  page = search_run[2]
  assert '<script' not in page
  checker = _Checker(page)
  assert all('onerror' not in attrs for _, attrs in checker.tags)
  # Config, environment, provenance, domain and the caption of a clip.
  assert sum(_HOSTILE in text for text in checker.text) == 5


def test_charts_are_svg_files_with_the_data(search_run):
  page = search_run[2]
  charts = [
    base64.b64decode(data).decode()
    for data in re.findall(r'data:image/svg\+xml;base64,([^"]+)', page)
  ]
  # Three cells' weights, two phases, ROC, histograms.
  assert len(charts) == 7
  for chart in charts:
    root = xml.etree.ElementTree.fromstring(chart)
    assert root.tag.endswith('svg')
    assert 'date' not in chart.split('<defs>')[0].lower()


def test_maps_of_samples_are_drawn_where_they_belong(search_run):
  """The centre of a live target is bright, a spoof target is dark."""
  workdir, _, page = search_run
  with np.load(workdir / 'samples.npz') as file:
    kinds = file['label']
  expected = [255] * int(kinds.sum()) + [0] * int((kinds == 0).sum())
  pictures = re.findall(r'base64,([^"]+)" title="true depth"', page)
  for data, level in zip(pictures, expected, strict=True):
    raw = np.frombuffer(base64.b64decode(data), np.uint8)
    picture = cv2.imdecode(raw, cv2.IMREAD_COLOR)
    colour = cv2.applyColorMap(
      np.full((1, 1), level, np.uint8), cv2.COLORMAP_VIRIDIS
    )[0, 0]
    assert np.abs(picture[8, 8].astype(int) - colour).max() < 12


@pytest.mark.parametrize(
  'files, sections',
  [
    ((), []),
    (('metrics.jsonl',), ['operation-weights-over-time', 'training-curves']),
    (('genotype.json',), ['searched-cells']),
    (('config.json', 'environment.json'), ['config', 'environment']),
    (('scores.csv',), ['roc', 'scores-by-attack-type']),
    (('samples.npz',), ['clips-and-depth-maps']),
    (('results.json',), ['results', 'by-attack-type', 'by-domain']),
  ],
)
def test_missing_files_leave_sections_out(
  search_run, tmp_path, files, sections
):
  for name in files:
    shutil.copy(search_run[0] / name, tmp_path / name)
  page = report.write_report(tmp_path).read_text(encoding='utf-8')
  assert _Checker(page).sections == sections


def test_same_files_give_the_same_bytes(search_run, tmp_path):
  copy = tmp_path / 'elsewhere'
  shutil.copytree(search_run[0], copy)
  shutil.rmtree(copy / 'report')
  assert report.write_report(copy).read_text('utf-8') == search_run[2]


def test_one_class_and_one_score_still_make_a_page(tmp_path):
  lines = 'split,label,attack_type,score\ntest,1,live,0.5\ntest,1,live,0.5\n'
  (tmp_path / 'scores.csv').write_text(lines, encoding='utf-8')
  (tmp_path / 'metrics.jsonl').write_text(
    '{"phase": "train", "step": 1, "train_loss": 0.5}\n', encoding='utf-8'
  )
  page = report.write_report(tmp_path).read_text(encoding='utf-8')
  assert _Checker(page).sections == ['training-curves', 'scores-by-attack-type']


def test_scores_that_are_not_finite_are_an_error(tmp_path):
  lines = 'split,label,attack_type,score\ntest,1,live,nan\ntest,0,print,0.5\n'
  (tmp_path / 'scores.csv').write_text(lines, encoding='utf-8')
  with pytest.raises(ValueError, match='1 of 2 scores are not finite'):
    report.write_report(tmp_path)


def test_drawing_has_every_edge_and_output():
  cell = _GENOTYPE['cells']['low'][0]
  root = xml.etree.ElementTree.fromstring(cell_drawing.draw_cell(cell, 'low'))
  groups = [(g.get('class'), g.find('text').text) for g in root.iter('g')]
  edges = [text for kind, text in groups if kind.startswith('edge')]
  assert edges == [edge['operation'] for edge in cell['edges']]
  assert [t for kind, t in groups if kind == 'output'] == ['0.38', '0.62']
  assert [t for kind, t in groups if kind == 'node'] == [
    'in',
    *'1234',
    'out',
  ]
  assert ('edge skip', 'skip_connect') in groups
  spoken = root.get('aria-label')
  assert spoken.startswith('low. in to 1: cdc_3x3; 1 to 2: cdc_2_1.2;')
  assert spoken.endswith('output: 0.38 x 3 + 0.62 x 4')
  # No two labels at one place.
  places = [(t.get('x'), t.get('y')) for t in root.iter('text')]
  assert len(places) == len(set(places))
