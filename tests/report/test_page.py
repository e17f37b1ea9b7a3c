"""Tests of the report on workdirs of fabricated files."""

import base64
import csv
import html
import html.parser
import re
import shutil
import xml.etree.ElementTree

import cv2
import fabricated_run
import numpy as np
import pytest

from nasfas_jax.models import search_spaces
from nasfas_jax.report import charts, page, tables


@pytest.fixture(scope='module')
def search_run(tmp_path_factory):
  """A workdir that has every file, and its results."""
  workdir = tmp_path_factory.mktemp('search')
  results = fabricated_run.write(workdir)
  path = page.write_report(workdir)
  assert path == workdir / 'report' / 'index.html'
  return workdir, results, path.read_text(encoding='utf-8')


class Checker(html.parser.HTMLParser):
  """Collects what the page holds and checks that its tags are balanced."""

  _VOID = {'meta', 'img', 'br'}

  def __init__(self, page):
    super().__init__()
    self.open, self.tags, self.sections, self.text = [], [], [], []
    self._joined = False
    self.feed(page)
    self.close()
    assert not self.open

  def handle_starttag(self, tag, attrs):
    if tag == 'wbr':
      # A place where a text may break into lines is no end of the text.
      self._joined = True
      return
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
    if self._joined:
      data = self.text.pop() + data
    self.text.append(data)
    self._joined = False


def test_page_is_well_formed_and_self_contained(search_run):
  page = search_run[2]
  checker = Checker(page)
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
  assert Checker(search_run[2]).sections == [
    'results',
    'searched-cells',
    'operation-weights-over-time',
    'training-curves',
    'roc',
    'det',
    'calibration',
    'scores-by-attack-type',
    'clips-and-depth-maps',
    'by-attack-type',
    'by-domain',
    'config',
    'environment',
  ]


def rows_of(page):
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
  rows = {tuple(row[:4]) for row in rows_of(page)}
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
  assert [
    row[3:] for row in rows_of(page) if row[0] == fabricated_run.HOSTILE
  ] == [
    [
      '–',
      f'{100 * results["per_domain"][fabricated_run.HOSTILE]["bpcer"]:.2f}',
      *'––––',
    ]
  ]
  assert '123,456' in page and '0.0789 GMAC' in page
  assert ('supernet.num_nodes', '4') in {tuple(row) for row in rows_of(page)}
  assert ('network.theta', '–') in {tuple(row) for row in rows_of(page)}


def test_the_tables_say_how_far_to_trust_the_threshold(search_run):
  _, results, page = search_run
  rows = {row[0]: row for row in rows_of(page)}
  dev, test = results['splits']['dev'], results['splits']['test']
  low, high = results['confidence']['bpcer_at_apcer']['0.05']['worst']
  assert rows['BPCER at APCER 5 %, worst'][1:4] == [
    f'{100 * dev["bpcer_at_apcer"]["0.05"]["worst"]:.2f}',
    f'{100 * test["bpcer_at_apcer"]["0.05"]["worst"]:.2f}',
    f'{100 * low:.2f} to {100 * high:.2f}',
  ]
  assert rows['APCER at BPCER 1 %, pooled'][2] == (
    f'{100 * test["apcer_at_bpcer"]["0.01"]["pooled"]:.2f}'
  )
  assert rows['Error at 10 % attacks'][2] == (
    f'{100 * test["error_at_share"]["0.1"]:.2f}'
  )
  held = results['calibration']['splits']['test']
  assert rows['ECE (%)'][2] == f'{100 * held["ece"]:.2f}'
  assert rows['Error that came (%)'][2] == f'{100 * test["hter"]:.2f}'
  assert f'HTER is {100 * results["test_eer"]["hter"]:.2f} %' in page


def test_what_qualifies_the_figures_is_said():
  summary = {'hter': 0.1, 'acer': 0.1, 'auc': 0.9}
  text = tables.results_table(
    {
      'splits': {'test': summary},
      'threshold': {'value': 0.5, 'rule': '<b>', 'warning': 'too few <clips>'},
      'unlabelled': {'dev': 0, 'test': 3},
      'seen': {'status': 'seen', 'shared': {'session': ['night', 'office']}},
      'confidence': {
        'warning': 'few <subjects>',
        'hter': [0, 0.5],
        'auc': None,
      },
    }
  )
  for wanted in (
    '(&lt;b&gt;)',
    'too few &lt;clips&gt;',
    '3 of the test clips have no label',
    'tests (session: night, office)',
    'few &lt;subjects&gt;',
  ):
    assert wanted in text


def test_a_figure_without_an_interval_has_a_dash():
  text = tables.results_table(
    {
      'splits': {'test': {'hter': 0.1, 'auc': 1.0}},
      'confidence': {'hter': [0.0, 0.5], 'auc': None},
    }
  )
  rows = {row[0]: row for row in rows_of(text)}
  assert rows['HTER'][2] == '0.00 to 50.00'
  assert rows['AUC'][2] == rows['Accuracy'][2] == '–'
  of = {'values': [1.0, 1.0], 'mean': 1.0, 'deviation': 0.0}
  text = tables.seeds_table(
    {
      'seeds': {},
      'over_seeds': {
        'level': 0.95,
        'hter': {**of, 'low': 0.5, 'high': 1.0},
        'auc': {**of, 'low': None, 'high': None},
      },
    }
  )
  rows = {row[0]: row[1:] for row in rows_of(text)}
  assert rows['95 % interval of the mean'] == ['50.00 to 100.00', '–']


def test_hostile_names_are_text(search_run):
  page = search_run[2]
  assert '<script' not in page
  checker = Checker(page)
  assert all('onerror' not in attrs for _, attrs in checker.tags)
  # Config, environment, provenance, domain and the caption of a clip.
  assert sum(fabricated_run.HOSTILE in text for text in checker.text) == 5


def _charts(page):
  """The SVG files of a page."""
  return [
    base64.b64decode(data).decode()
    for data in re.findall(r'data:image/svg\+xml;base64,([^"]+)', page)
  ]


def test_charts_are_svg_files_with_the_data(search_run):
  _, results, page = search_run
  charts = _charts(page)
  # Three cells' weights, two phases, ROC, DET, reliability, histograms.
  assert len(charts) == 9
  for chart in charts:
    root = xml.etree.ElementTree.fromstring(chart)
    assert root.tag.endswith('svg')
  # Matplotlib writes every text beside its outlines, as a comment.
  texts = [set(re.findall(r'<!-- (.*?) -->', chart)) for chart in charts]
  operations = {*search_spaces.SPACES['cdcnpp'].operations, '0→1', '3→4'}
  assert all(operations < found for found in texts[:3])
  assert {'loss', 'train_loss', 'val_loss', 'skip_share'} < texts[3]
  # The logarithmic axis has numbers, not formulas.
  assert {'0.01', '0.1', '1'} < texts[5]
  test = results['splits']['test']
  assert f'test, AUC {100 * test["auc"]:.2f} %' in texts[5]
  wrong = round(test['bpcer'] * test['num_live'])
  assert f'{wrong} of {test["num_live"]} wrong' in texts[8]
  # The DET curve of each attack type, on axes in percent.
  assert {'0.1', '40', '0.5'} < texts[6]
  for name in ('all types', 'print', 'replay', 'mask_rigid'):
    assert any(text.startswith(f'{name}, EER ') for text in texts[6])
  assert {'dev', 'test', 'share of live clips'} < texts[7]


def test_hostile_attack_types_are_drawn_as_text(tmp_path):
  with open(tmp_path / 'scores.csv', 'w', encoding='utf-8') as file:
    writer = csv.writer(file)
    writer.writerow(('split', 'label', 'attack_type', 'score'))
    writer.writerow(('test', 1, 'live', 0.9))
    writer.writerow(('test', 0, fabricated_run.HOSTILE, 0.1))
    writer.writerow(('test', 0, '$x^2$', 0.2))
  text = page.write_report(tmp_path).read_text(encoding='utf-8')
  assert Checker(text).sections == ['roc', 'det', 'scores-by-attack-type']
  _, _, histograms = _charts(text)
  texts = re.findall(r'<!-- (.*?) -->', histograms)
  hostile = fabricated_run.HOSTILE.encode('ascii', 'backslashreplace').decode()
  assert {hostile, '$x^2$'} < {html.unescape(text) for text in texts}
  # A formula is drawn as it was written, with a glyph for each character.
  drawn = histograms.partition('<!-- $x^2$ -->')[2].partition('</g>')[0]
  assert drawn.count('<use ') == len('$x^2$')
  # Nothing of the clock.
  assert page.write_report(tmp_path).read_text(encoding='utf-8') == text


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
    (('scores.csv',), ['roc', 'det', 'scores-by-attack-type']),
    (('samples.npz',), ['clips-and-depth-maps']),
    (
      ('results.json',),
      ['results', 'calibration', 'by-attack-type', 'by-domain'],
    ),
  ],
)
def test_missing_files_leave_sections_out(
  search_run, tmp_path, files, sections
):
  for name in files:
    shutil.copy(search_run[0] / name, tmp_path / name)
  text = page.write_report(tmp_path).read_text(encoding='utf-8')
  assert Checker(text).sections == sections


def test_same_files_give_the_same_bytes(search_run, tmp_path):
  copy = tmp_path / 'elsewhere'
  shutil.copytree(search_run[0], copy)
  shutil.rmtree(copy / 'report')
  assert page.write_report(copy).read_text('utf-8') == search_run[2]


def test_one_class_and_one_score_still_make_a_page(tmp_path):
  lines = 'split,label,attack_type,score\ntest,1,live,0.5\ntest,1,live,0.5\n'
  (tmp_path / 'scores.csv').write_text(lines, encoding='utf-8')
  (tmp_path / 'metrics.jsonl').write_text(
    '{"phase": "train", "step": 1, "train_loss": 0.5}\n', encoding='utf-8'
  )
  text = page.write_report(tmp_path).read_text(encoding='utf-8')
  assert Checker(text).sections == ['training-curves', 'scores-by-attack-type']


def test_scores_that_are_not_finite_are_an_error(tmp_path):
  lines = 'split,label,attack_type,score\ntest,1,live,nan\ntest,0,print,0.5\n'
  (tmp_path / 'scores.csv').write_text(lines, encoding='utf-8')
  with pytest.raises(ValueError, match="row 2, score 'nan'; allowed: fin"):
    page.write_report(tmp_path)


def test_a_threshold_that_accepts_no_spoof_is_drawn():
  """FPR 0 has no place on the logarithmic axis (a warning is an error)."""
  curve = (np.array([0.0, 0.5, 1.0]), np.array([0.2, 0.6, 1.0]))
  svg = charts.roc_curves({'dev': curve}, {'dev': (0.0, 0.2)})
  assert svg.rstrip().endswith('</svg>')


def test_a_config_of_another_version_is_refused_by_name(tmp_path):
  (tmp_path / 'config.json').write_text('{"search": {"tasks": "domain"}}')
  with pytest.raises(ValueError, match='search.tasks is now config.search.hol'):
    page.write_report(tmp_path)
