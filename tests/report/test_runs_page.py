"""Tests of the page of several runs, on fabricated files."""

import base64
import html
import itertools
import json
import re
import shutil

import fabricated_run
import numpy as np
import pytest
from test_page import Checker, rows_of

from nasfas_configs import report as report_config
from nasfas_jax import files, main, score_table
from nasfas_jax.report import runs_page


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
  """A search, the same with a worse threshold, and a run without genotype."""
  parent = tmp_path_factory.mktemp('runs')
  results = fabricated_run.write_run(parent / 'search')
  shutil.copytree(parent / 'search', parent / '<b>&"')
  changed = json.loads(json.dumps(results))
  changed['threshold']['value'] += 0.2
  files.write_json(parent / '<b>&"' / 'results.json', changed)
  plain = parent / 'plain'
  plain.mkdir()
  for name in ('results.json', 'scores.csv'):
    shutil.copy(parent / 'search' / name, plain / name)
  return [parent / 'search', parent / '<b>&"', plain]


@pytest.fixture(scope='module')
def text(folders, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('page')
  config = report_config.get_config()
  config.workdirs = ', '.join(map(str, folders))
  main.run(config, workdir)
  return (workdir / 'index.html').read_text(encoding='utf-8')


def test_the_page_is_whole_escaped_and_self_contained(text):
  checker = Checker(text)
  assert checker.sections == [
    'results',
    'det',
    'apcer-by-attack-type',
    'genotypes',
    'worst-mistakes',
  ]
  assert not {tag for tag, _ in checker.tags} & {'script', 'link', 'b'}
  ids = [attrs['id'] for _, attrs in checker.tags if 'id' in attrs]
  assert len(ids) == len(set(ids))
  for tag, attrs in checker.tags:
    if tag == 'img':
      assert attrs['alt'] and attrs['src'].startswith('data:image/')
    if tag == 'svg' and attrs.get('role') == 'img':
      assert attrs['aria-label']
    if tag == 'a':
      assert attrs['href'][1:] in ids
    if tag == 'div' and attrs.get('class') == 'scroll':
      assert attrs['tabindex'] == '0'
  assert 'url(http' not in text and '@import' not in text
  assert any('<b>&"' in piece for piece in checker.text)


def test_figures_stand_in_a_column_for_each_run(folders, text):
  rows = {row[0]: row[1:] for row in rows_of(text)}
  results = files.read_json(folders[0] / 'results.json')
  test, bounds = results['splits']['test'], results['confidence']['hter']
  hter = (
    f'{100 * test["hter"]:.2f} ({100 * bounds[0]:.2f} to {100 * bounds[1]:.2f})'
  )
  assert rows['HTER (%)'] == [hter] * 3
  value = results['threshold']['value']
  assert rows['threshold'][:2] == [f'{value:.6g}', f'{value + 0.2:.6g}']
  assert rows['print'][0] == f'{100 * test["apcer_by_type"]["print"]:.2f}'
  assert 'cannot be compared' not in text


def test_the_det_curves_lie_over_each_other(text):
  (data,) = re.findall(r'data:image/svg\+xml;base64,([^"]+)', text)
  labels = re.findall(r'<!-- (.*?) -->', base64.b64decode(data).decode())
  labels = [html.unescape(label) for label in labels]
  for name in ('search', '<b>&"', 'plain'):
    assert any(label.startswith(f'{name}, EER ') for label in labels)


def test_genotypes_are_side_by_side(text):
  section = text.partition('id="genotypes"')[2].partition('</section>')[0]
  # Three cells of two runs.
  assert section.count('<svg class="cell"') == 6
  assert 'A network without a genotype.' in section


def test_the_worst_mistakes_are_the_farthest_from_the_threshold(folders):
  (run,) = runs_page.read([folders[1]])
  threshold = run.results['threshold']['value']
  scored = score_table.read(folders[1] / 'scores.csv')['test']
  wrong = [
    (abs(score - threshold), i)
    for i, (score, label) in enumerate(
      zip(scored['score'], scored['label'], strict=True)
    )
    if (score > threshold) != (label == 1)
  ]
  expected = [i for _, i in sorted(wrong, key=lambda pair: (-pair[0], pair[1]))]
  assert runs_page.worst(run, 5) == expected[:5]
  assert runs_page.worst(run, 10**6) == expected


def test_what_the_others_get_wrong_too_is_said(folders, text):
  """The second run rejects more live clips; all its errors are there."""
  section = text.partition('id="worst-mistakes"')[2]
  found = rows_of(section)
  run = runs_page.read(folders)[0]
  clip = str(run.test['clip_id'][runs_page.worst(run, 1)[0]])
  first = next(row for row in found if row[0] == clip)
  assert 'plain' in first[3]
  # Pictures of the runs that kept some.
  assert section.count('<article class="card">') in range(1, 9)
  assert 'class="right"' not in section


def test_other_protocols_or_clips_are_warned_of(folders, tmp_path):
  for name, change, warning in (
    ('results.json', 'protocol', 'on different protocols'),
    ('scores.csv', 'clip', 'on different clips'),
  ):
    other = tmp_path / change
    shutil.copytree(folders[2], other)
    content = (other / name).read_text(encoding='utf-8')
    old, new = {
      'protocol': ('cross_domain/night', 'cross_domain/office'),
      'clip': ('test/0007', 'test/9999'),
    }[change]
    assert old in content
    (other / name).write_text(content.replace(old, new), encoding='utf-8')
    runs = runs_page.read([folders[0], other])
    assert warning in runs_page._results(runs)


def test_files_of_scores_are_compared_by_their_clips(folders, tmp_path):
  """The same clips under other files are the same; nameless ones are not."""

  def one(name, change=lambda text: text):
    folder = tmp_path / name
    shutil.copytree(folders[2], folder)
    results = files.read_json(folder / 'results.json')
    files.write_json(
      folder / 'results.json', {**results, 'protocol': f'scores of {name}.csv'}
    )
    path = folder / 'scores.csv'
    text = change(path.read_text(encoding='utf-8'))
    path.write_text(text, encoding='utf-8')
    return folder

  def without_names(text):
    numbers = itertools.count(2)
    return re.sub('test/[0-9]+', lambda _: f'row {next(numbers)}', text)

  a, b = one('a'), one('b')
  for pair in ((a, b), (folders[0], a)):
    assert 'compared' not in runs_page._results(runs_page.read(pair))
  other = one('other', lambda text: text.replace('test/0007', 'test/9999'))
  said = runs_page._results(runs_page.read([a, other]))
  assert 'judged on different clips' in said
  said = runs_page._results(runs_page.read([a, one('c', without_names)]))
  assert 'The clips of c have no names' in said


def test_what_qualifies_the_figures_of_a_run_stands_under_them(
  folders, tmp_path
):
  """All that its own report says."""
  other = tmp_path / 'other'
  shutil.copytree(folders[2], other)
  results = files.read_json(other / 'results.json')
  results['threshold']['warning'] = 'few <dev> clips'
  results['confidence'] |= {'warning': 'few subjects', 'auc': None}
  results['unlabelled'] = {'dev': 0, 'test': 7}
  results['seen'] = {'status': 'seen', 'shared': {'session': ['night']}}
  results['adapted'] = {'text': 'statistics of 9 clips', 'source': 'x'}
  results['batch_norm'] = {'how': 'test', 'text': 'normalised by its batch'}
  files.write_json(other / 'results.json', results)
  results['confidence']['warning'] = results['threshold']['warning'] = ''
  for name in ('unlabelled', 'seen', 'adapted', 'batch_norm'):
    del results[name]
  plain = tmp_path / 'plain'
  shutil.copytree(folders[2], plain)
  files.write_json(plain / 'results.json', results)
  text = runs_page._results(runs_page.read([plain, other]))
  rows = {row[0]: row[1:] for row in rows_of(text)}
  none, qualified = rows['what qualifies them']
  assert none == '–'
  for wanted in (
    'few <dev> clips',
    'few subjects',
    '7 of the test clips have no label',
    'tests (session: night)',
    'statistics of 9 clips',
    'normalised by its batch',
  ):
    assert wanted in qualified
  auc = f'{100 * results["splits"]["test"]["auc"]:.2f} (–)'
  assert rows['AUC (%)'] == [auc, auc]


@pytest.mark.parametrize('kept', ['its own', 'another', 'none'])
def test_a_picture_is_of_the_clip_of_its_subject(kept, folders, tmp_path):
  """Clips of two datasets may have one name."""
  folder = tmp_path / 'run'
  shutil.copytree(folders[0], folder)
  (run,) = runs_page.read([folder])
  place = runs_page.worst(run, 1)[0]
  with np.load(folder / 'samples.npz') as file:
    samples = {name: file[name] for name in file.files}
  samples['clip_id'][:] = run.test['clip_id'][place]
  samples['subject'][:] = 'nobody'
  if kept == 'its own':
    samples['subject'][3] = run.test['subject'][place]
  if kept == 'none':
    # As before subjects were kept.
    del samples['subject']
  np.savez(folder / 'samples.npz', **samples)
  shown = 'class="card"' in runs_page._cards(run)
  assert shown == (kept != 'another')


@pytest.mark.parametrize(
  ('workdirs', 'message'),
  [
    ('', 'Give --config.workdirs=RUN,RUN'),
    (' , ', 'Give --config.workdirs=RUN,RUN'),
    ('none', "'none' holds no evaluated run: there is no results.json"),
    ('{0},{0}', "config.workdirs: The run '.*search' stands twice"),
    (','.join('abcdefghijklm'), '13 runs; allowed: 1 to 12'),
  ],
)
def test_a_mistake_is_one_line(workdirs, message, folders, tmp_path):
  config = report_config.get_config()
  config.workdirs = workdirs.format(folders[0])
  with pytest.raises(ValueError, match=message) as caught:
    main.run(config, tmp_path / 'out')
  assert '\n' not in str(caught.value) and not (tmp_path / 'out').exists()


def test_damaged_files_are_named(folders, tmp_path):
  shutil.copytree(folders[2], tmp_path / 'run')
  path = tmp_path / 'run' / 'results.json'
  generator = np.random.default_rng(0)
  whole = path.read_bytes()
  for content, message in (
    (
      whole[: int(generator.integers(1, len(whole) - 5))],
      'is truncated or not',
    ),
    (b'{}', 'is not that of an evaluated run'),
    (
      b'{"threshold": {"value": "x"}, "splits": {}}',
      'not that of an evaluated',
    ),
    (b'[]', 'is not that of an evaluated run'),
  ):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
      runs_page.read([tmp_path / 'run'])
    assert str(caught.value).count('results.json') == 1
