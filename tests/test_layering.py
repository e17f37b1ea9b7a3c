"""Who may import whom, and other rules over the text of the sources.

The import rules are contracts of import-linter and ruff in pyproject.toml; here
they are run, each is shown to catch what it forbids, and what those tools
cannot say is checked.
"""

import ast
import pathlib
import re
import shutil
import subprocess
import sys

import grimp
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Where each package's modules lie.
PACKAGES = {
  'nasfas_jax': 'nasfas_jax',
  'nasfas_datasets': 'datasets',
  'nasfas_configs': 'configs',
}
FOLDERS = (*PACKAGES.values(), *'launch tests benchmarks docs .ci'.split())
# Data documents: the standard library, NumPy and each other.
DOCUMENTS = ('genotypes', 'sampling', 'search_spaces')


@pytest.fixture
def copy(tmp_path):
  """A copy of the packages and their contracts.

  Of packages without __init__.py, import-linter does not find the modules of an
  editable install; the copy's have one.
  """
  for package, folder in PACKAGES.items():
    shutil.copytree(
      ROOT / folder,
      tmp_path / package,
      ignore=shutil.ignore_patterns('__pycache__'),
    )
    (tmp_path / package / '__init__.py').touch()
  shutil.copy(ROOT / 'pyproject.toml', tmp_path)
  return tmp_path


def lint_imports(folder):
  """What `lint-imports` says of the packages in a folder, and its status."""
  program = 'from importlinter import cli; cli.lint_imports_command()'
  done = subprocess.run(
    [sys.executable, '-c', program, '--no-cache'],
    cwd=folder,
    capture_output=True,
    text=True,
    check=False,
  )
  return done.stdout + done.stderr, done.returncode


def project_files():
  # In a worktree of git, .git is a file.
  paths = [p for p in ROOT.iterdir() if p.is_file() and p.name != '.git']
  for folder in FOLDERS:
    paths += (ROOT / folder).rglob('*')
  return sorted(
    path for path in paths if path.is_file() and '__pycache__' not in path.parts
  )


def sources():
  return [
    path
    for path in project_files()
    if path.suffix == '.py' and ROOT / 'tests' not in path.parents
  ]


def test_the_import_contracts_are_kept(copy):
  text, status = lint_imports(copy)
  assert status == 0 and ', 0 broken' in text, text


# Module, what it imports and may not, and how the contract's name begins.
FORBIDDEN = [
  ('nasfas_jax.losses', 'nasfas_jax.search', 'main ->'),
  ('nasfas_jax.evaluate', 'nasfas_jax.main', 'main ->'),
  ('nasfas_jax.models.cost', 'nasfas_jax.losses', 'main ->'),
  ('nasfas_jax.ops.pooling', 'nasfas_jax.records', 'main ->'),
  ('nasfas_jax.data.clips', 'nasfas_jax.models', 'main ->'),
  ('nasfas_jax.to_come', 'json', 'main ->'),
  (
    'nasfas_jax.models.layers',
    'nasfas_jax.models.cells',
    'supernet ->',
  ),
  ('nasfas_jax.report.style', 'nasfas_jax.report.tables', 'no cycles'),
  ('nasfas_jax.models.sampling', 'ml_collections', 'genotypes are data'),
  ('nasfas_jax.preprocessing.video', 'flax', 'no jax in'),
  ('nasfas_jax.baseline.layers', 'jax', 'no jax in'),
  ('nasfas_jax.checkpoints', 'torch', 'torch in the comparison'),
  ('nasfas_jax.train', 'nasfas_jax.baseline.layers', 'torch in the comp'),
  ('nasfas_jax.states', 'tensorflow', 'tensorflow and beam'),
  ('nasfas_jax.predict', 'gradio', 'gradio in the demo'),
  ('nasfas_datasets.clip_faces', 'ai_edge_litert', 'the runtime of LiteRT'),
  ('nasfas_jax.report.page', 'gradio', 'gradio in the demo'),
  ('nasfas_jax.search', 'nasfas_datasets.prepare', 'the builders are known'),
  ('nasfas_datasets.listing', 'nasfas_jax.train', 'builders import'),
  ('nasfas_jax.searchers.meta', 'nasfas_configs.search', 'configs are read'),
  ('nasfas_configs.train', 'nasfas_jax.metrics', 'configs import each other'),
]
# What is said of those that are no import of one module by another.
SAID = {
  'nasfas_jax.to_come': 'not listed as layers: - nasfas_jax.to_come',
  'nasfas_jax.report.style': '- .tables -> .style (1 import)',
}


def test_each_contract_catches_what_it_forbids(copy):
  for module, imported, _ in FORBIDDEN:
    path = copy.joinpath(*module.split('.')).with_suffix('.py')
    with open(path, 'a', encoding='utf-8') as file:
      # A lazy import is one as well.
      file.write(f'\n\ndef late():\n  import {imported}\n')
  text, status = lint_imports(copy)
  assert status == 1
  # After the summary, a part for each broken contract: its name underlined.
  _, _, told = text.partition('Broken contracts')
  parts = re.split(r'\n(?=[^\n]+\n-{4,}\n)', told)
  for module, imported, contract in FORBIDDEN:
    (part,) = [part for part in parts if part.startswith(contract)]
    said = SAID.get(module, f'- {module} -> {imported} (l.')
    assert said in ' '.join(part.split()), part
  contracts = re.findall(
    r'^name = "(.+)"$', (ROOT / 'pyproject.toml').read_text(), re.MULTILINE
  )
  for name in contracts:
    assert f'{name} BROKEN' in text, name


def test_data_documents_need_numpy_only():
  # A contract would have to name every package there is.
  graph = grimp.build_graph('nasfas_jax', include_external_packages=True)
  for name in DOCUMENTS:
    found = graph.find_modules_directly_imported_by(f'nasfas_jax.models.{name}')
    outside = {module.partition('.')[0] for module in found} - {'nasfas_jax'}
    assert outside <= {*sys.stdlib_module_names, 'numpy'}, name


def test_package_root_imports_nothing():
  # Every worker process loads it.
  tree = ast.parse((ROOT / 'nasfas_jax' / '__init__.py').read_text())
  # `load` imports what it needs when it is called.
  assert {type(node) for node in tree.body} <= {ast.Expr, ast.FunctionDef}


@pytest.mark.parametrize('folder', ['datasets', 'configs'])
def test_folders_of_common_names_are_no_packages(folder):
  # With an __init__.py, the checkout would shadow other packages of the name.
  assert not (ROOT / folder / '__init__.py').exists()


def unsafe(source):
  """Calls that unpickle data or import by a name; ruff knows the others."""
  found = re.findall(r'allow_pickle\s*=\s*(?!False\b)\w+', source)
  return found + re.findall(r'\b__import__\(', source)


def test_nothing_unpickles_data():
  assert unsafe('np.load(f, allow_pickle=True)') == ['allow_pickle=True']
  assert unsafe('m = __import__("os")') == ['__import__(']
  assert not unsafe('np.load(f, allow_pickle=False)')
  found = {
    str(path.relative_to(ROOT)): unsafe(path.read_text(encoding='utf-8'))
    for path in sources()
  }
  assert not {name: calls for name, calls in found.items() if calls}


def test_files_are_named_for_what_they_hold():
  names = {path.name for path in sources()}
  assert not names & {'utils.py', 'util.py', 'helpers.py', 'common.py'}


def test_no_file_names_a_path_of_one_machine():
  # Put together here, so that this file does not hold them itself.
  paths = ['/'.join(('', 'work', '')), '/'.join(('..', 'shared'))]
  found = [
    f'{path.relative_to(ROOT)}: {text}'
    for path in project_files()
    for text in paths
    if text.encode() in path.read_bytes()
  ]
  assert not found, '\n'.join(found)
