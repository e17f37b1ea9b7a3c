"""The pages: every command, field, file and link in them can be right."""

import ast
import json
import pathlib
import re
import shlex

import documents
import pytest

from nasfas_datasets import folders

# Of ml_collections.
pytestmark = pytest.mark.filterwarnings(
  'ignore:the load_module:DeprecationWarning'
)


def read(name):
  return (documents.ROOT / name).read_text(encoding='utf-8')


@pytest.mark.parametrize('page', documents.PAGES)
def test_the_commands_and_fields_of_a_page_exist(page):
  text = read(page)
  for command in documents.commands(text):
    documents.check_command(command)
  for span in documents.spans(text):
    documents.check_span(span)
  documents.check_links(page, text)


def test_the_commands_in_the_docstrings_of_configs_exist():
  found = {
    name: documents.of_docstring(read(name)) for name in documents.CONFIGS
  }
  for command in sum(found.values(), []):
    documents.check_command(command)
  without = {name for name, lines in found.items() if not lines}
  assert without == {'configs/default.py', 'configs/variants.py'}


# Options of a launcher whose product is the number of devices.
_COUNTS = (
  *('--nodes', '--gpus-per-node'),
  *('--hosts', '--chips'),
  *('--accelerator', '-n'),
)


def started(line):
  """(number of devices, config) of the run that a launcher's command starts."""
  script, *words = shlex.split(line)[1:]
  # The largest host of a Cloud TPU has eight chips.
  number = 8 if script == 'launch/tpu_vm.sh' else 1
  if '--' in words:
    options = words[: words.index('--')]
    words = words[words.index('--') + 1 :]
    # Also `-n 2`.
    for text in re.findall(r'(\S+?)[= ](\S+)', ' '.join(options)):
      if text[0] in _COUNTS:
        number *= int(text[1].rpartition('-')[2])
  elif not any(word.startswith('--config=') for word in words):
    return number, None
  return number, documents.parse_main(words)[0]


@pytest.mark.parametrize('page', ['README.md', 'launch/README.md'])
def test_the_batches_of_a_launched_run_divide_its_devices(page):
  found = set()
  for line in documents.commands(read(page)):
    if not line.startswith('bash launch/'):
      continue
    number, config = started(line)
    if config is None:
      continue
    found.add(number)
    sizes = [config.train.batch_size, config.evaluate.batch_size]
    if config.experiment == 'search' and config.search.hold_out == 'none':
      sizes.append(config.search.batch_size)
    assert not any(size % number for size in sizes), line
  assert {8, 16} <= found


def test_pages_have_commands_and_fields():
  """What is checked is found in the first place."""
  counts = {
    page: len(documents.commands(read(page))) for page in documents.PAGES
  }
  assert counts['README.md'] >= 18
  assert counts['docs/judging.md'] >= 5
  assert counts['datasets/oulu_npu/README.md'] == 3
  assert counts['launch/README.md'] >= 2
  spans = documents.spans(read('docs/training.md'))
  assert 'loss.binary_mask' in spans


def test_every_run_that_a_page_reads_is_made_on_it_or_in_the_readme():
  made, _ = documents.runs(documents.commands(read('README.md')))
  assert {'runs/search', 'runs/cdcnpp'} <= made
  for page in documents.PAGES:
    own, used = documents.runs(documents.commands(read(page)))
    assert used <= made | own, page


@pytest.mark.parametrize(
  ('command', 'message'),
  [
    (
      'python -m nasfas_jax.main --config=search --config.serach.num_steps=3',
      'Unknown field config.serach',
    ),
    (
      'python -m nasfas_jax.main --config=search --config.meta.inner_stps=3',
      'Unknown field config.meta.inner_stps',
    ),
    (
      'python -m nasfas_jax.main --config=train:type',
      "Unknown variant 'type'",
    ),
    ('python -m nasfas_jax.main --config=serach', "Unknown config 'serach'"),
    (
      'python -m nasfas_jax.main --config=configs/x.py',
      'no file .configs/x.py',
    ),
    (
      'python -m nasfas_jax.main --config=search --wrkdir=runs/x',
      "Unknown command line flag 'wrkdir'",
    ),
    (
      'python -m nasfas_jax.main --config=search --config.train.num_steps=x',
      'invalid literal',
    ),
    (
      'python -m nasfas_jax.main --config=train --config.protocol=oulu/1',
      "no protocol 'oulu/1'",
    ),
    (
      'bash launch/tpu_vm.sh --config=search:papr',
      "Unknown variant 'papr'",
    ),
    ('bash launch/gpu_vm.sh --config=search', 'no .launch/gpu_vm.sh'),
    (
      'bash launch/local.sh -n 2 -- --config=search:papr',
      "Unknown variant 'papr'",
    ),
    (
      'bash launch/slurm.sh --tiem=9 -- --config=search',
      'launch/slurm.sh has no option --tiem',
    ),
    (
      'python -m nasfas_datasets.prepare --dataset=oulu_npu --worker=8',
      "Unknown command line flag 'worker'",
    ),
    (
      'python -m nasfas_datasets.prepare --dataset=oulu_npu --faces=found',
      'faces=found.*should be one of',
    ),
    ('python -m nasfas_datasets.prepare --dataset=oulu', "no dataset 'oulu'"),
    (
      'python -m nasfas_datasets.prepare --dataset=oulu_npu --config=tiny',
      "oulu_npu has no config 'tiny'",
    ),
    ('python -m benchmarks.default_tables', 'no .benchmarks/default_tables.py'),
    ('python -m benchmarks.run --jsn=x', 'benchmarks.run has no flag --jsn'),
    ("pip install -e '.[prepare,toch]'", "no extra 'toch'"),
    ('pytest tests/test_lop.py', "no 'tests/test_lop.py'"),
  ],
)
def test_a_wrong_command_is_found(command, message):
  page = f'Text.\n\n```\npip install -e .\n{command}\n```\n'
  *_, last = documents.commands(page)
  with pytest.raises(documents.DocumentError, match=message):
    documents.check_command(last)
  assert documents.commands(f'Text: `{command}`.') == [command]


@pytest.mark.parametrize(
  'span',
  [
    '--config.data.balanced=class',
    'meta.inner_rate',
    'search.holdout=type',
    'config.loss.depths',
    '--config=search:debg',
    'nasfas_jax/loops.py',
  ],
)
def test_a_wrong_span_is_found(span):
  with pytest.raises(documents.DocumentError):
    for found in documents.spans(f'Set `{span}` here.'):
      documents.check_span(found)


def test_a_wrong_link_is_found():
  documents.check_links('docs/x.md', '[a](data.md#frames) [b](#x)\n# X')
  for link in ('dat.md', 'data.md#frame', '#y', '../README.md#quick'):
    with pytest.raises(documents.DocumentError, match='there is no'):
      documents.check_links('docs/data.md', f'[a]({link})')


def test_other_lines_in_a_block_of_commands_are_found():
  (_, line) = documents.commands('```\npip install -e .\nTest: 0.3\n```')
  with pytest.raises(documents.DocumentError, match="is 'Test:' a program"):
    documents.check_command(line)


def test_the_snippet_of_the_readme_is_that_of_the_page_whose_test_runs_it():
  own, page = (
    [body for language, body in documents.blocks(read(name)) if language]
    for name in ('README.md', 'docs/predicting.md')
  )
  assert len(own) == 1 and own[0] in page


def test_every_page_is_in_the_index_of_the_readme():
  index = read('README.md')
  for page in documents.PAGES:
    if page.startswith('docs/') and page.count('/') == 1:
      assert f'({page})' in index, page


def test_every_dataset_is_in_the_table_of_the_data_page():
  text = read('docs/data.md')
  for name in folders.dataset_folders():
    assert f'[`{name}`](../datasets/{name}/README.md)' in text, name
  # All but synthetic_fas and manifest_fas.
  assert len(folders.dataset_folders()) - 2 == 17
  assert 'Seventeen published datasets' in read('README.md')


NOTEBOOKS = sorted(documents.ROOT.glob('examples/*.ipynb'))


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_clean(path: pathlib.Path):
  """No outputs, no counts; .ci/run runs it."""
  content = json.loads(path.read_text(encoding='utf-8'))
  assert (content['nbformat'], content['nbformat_minor']) == (4, 5)
  ids = [cell['id'] for cell in content['cells']]
  assert len(set(ids)) == len(ids) > 5
  for cell in content['cells']:
    text = ''.join(cell['source'])
    if cell['cell_type'] == 'code':
      assert cell['outputs'] == [] and cell['execution_count'] is None
      ast.parse(text)
    else:
      for span in documents.spans(text):
        documents.check_span(span)
      for command in documents.commands(text):
        documents.check_command(command)
  assert re.search(rf'\b{path.name}\b', read('.ci/run'))
