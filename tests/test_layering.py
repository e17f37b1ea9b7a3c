"""Who may import whom, and other rules over the text of the sources.

Import statements are read with `ast`: no module is imported. Files are found
by glob, so that a file to come is under the same rules.
"""

import ast
import graphlib
import pathlib
import sys
from collections.abc import Iterable, Iterator

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Where each package's modules lie.
PACKAGES = {'nasfas_jax': 'nasfas_jax', 'nasfas_datasets': 'datasets'}
OTHERS = 'configs launch tests benchmarks docs .ci'.split()
FOLDERS = (*PACKAGES.values(), *OTHERS)
MAX_LINES = 350

# The group of a module is that of the longest name here that it is or lies in.
GROUPS = {
  'nasfas_jax.main': 'main',
  'nasfas_jax.search': 'experiments',
  'nasfas_jax.train': 'experiments',
  'nasfas_jax.evaluate': 'experiments',
  'nasfas_jax.predict': 'experiments',
  'nasfas_jax.export': 'experiments',
  'nasfas_jax.list_protocols': 'experiments',
  'nasfas_jax.study': 'experiments',
  'nasfas_jax.family_table': 'experiments',
  'nasfas_jax.compare': 'compare',
  'nasfas_jax.baseline': 'baseline',
  # meta, losses, metrics, optimizers, checkpoints, report, scoring, ...
  'nasfas_jax': 'library',
  'nasfas_jax.progress': 'progress',
  'nasfas_jax.xla_options': 'progress',
  'nasfas_jax.models': 'models',
  'nasfas_jax.models.supernet': 'networks',
  'nasfas_jax.models.network': 'networks',
  'nasfas_jax.models.cdcn': 'networks',
  'nasfas_jax.models.backbone': 'backbone',
  'nasfas_jax.models.cells': 'cells',
  'nasfas_jax.models.mixed_edges': 'cells',
  'nasfas_jax.models.operations': 'operations',
  'nasfas_jax.models.layers': 'layers',
  'nasfas_jax.models.architecture': 'architecture',
  'nasfas_jax.models.genotypes': 'genotypes',
  'nasfas_jax.models.sampling': 'genotypes',
  'nasfas_jax.models.search_spaces': 'genotypes',
  'nasfas_jax.models.schema_checks': 'genotypes',
  'nasfas_jax.data': 'data',
  'nasfas_jax.preprocessing': 'preprocessing',
  'nasfas_jax.records': 'records',
  'nasfas_jax.ops': 'ops',
  'nasfas_datasets': 'datasets',
  'nasfas_datasets.prepare': 'prepare',
}

_BLOCKS = 'cells operations layers architecture genotypes ops'.split()
_MODELS = ['models', 'networks', 'backbone', *_BLOCKS]
_BELOW = [*_MODELS, 'progress', 'data', 'preprocessing', 'records']

# Which other groups a group may import; its own it always may, without cycles.
MAY_IMPORT = {
  # Embedded data is prepared where missing: the one use of nasfas_datasets.
  'main': ['experiments', 'compare', 'progress', 'data', 'prepare'],
  'experiments': ['library', *_BELOW],
  'compare': ['experiments', 'baseline', 'library', *_BELOW],
  'baseline': ['genotypes'],
  'library': _BELOW,
  'progress': [],
  'models': _MODELS,
  'networks': ['backbone', *_BLOCKS],
  'backbone': _BLOCKS,
  'cells': _BLOCKS[1:],
  'operations': ['layers', 'genotypes', 'ops'],
  'layers': ['ops'],
  'architecture': ['genotypes'],
  'genotypes': [],
  'data': ['records'],
  'preprocessing': ['records'],
  'records': [],
  'ops': [],
  'datasets': ['prepare', 'preprocessing', 'records'],
  'prepare': ['datasets', 'preprocessing', 'progress', 'records'],
}

# Packages from outside that only these groups may import.
ONLY_IN = {
  'torch': ['baseline', 'compare'],
  'torchvision': ['baseline', 'compare'],
  'tensorflow': ['datasets', 'prepare'],
  'apache_beam': ['datasets'],
  'ai_edge_litert': ['preprocessing'],
  **dict.fromkeys('pickle cloudpickle dill joblib marshal shelve'.split(), []),
}
# Groups that worker processes or plain tools load, and the networks of another
# framework: no accelerator runtime.
NO_JAX = ['data', 'preprocessing', 'records', 'genotypes', 'baseline']
JAX_PACKAGES = ['jax', 'jaxlib', 'flax', 'optax', 'orbax', 'chex']
# Data documents: the standard library, NumPy and each other.
PLAIN = ['genotypes']

FORBIDDEN_CALLS = ('eval', 'exec', '__import__')


def group_of(module: str) -> str:
  while module not in GROUPS:
    module = module.rpartition('.')[0]
  return GROUPS[module]


def is_project(module: str) -> bool:
  return module.partition('.')[0] in PACKAGES


def imported(tree: ast.AST, modules: Iterable[str]) -> Iterator[str]:
  """The modules that a source imports, lazily or not."""
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      base = '.' * node.level + (node.module or '')
      for alias in node.names:
        # `from package import module` imports the module, `from module import
        # name` the module that holds the name.
        full = f'{base}.{alias.name}'
        known = full in modules or full in GROUPS or base in PACKAGES
        yield full if known else base


def import_violations(
  module: str, source: str, modules: Iterable[str]
) -> list[str]:
  """What a module imports and may not, one line each."""
  group = group_of(module)
  found = []
  for name in imported(ast.parse(source), modules):
    top = name.partition('.')[0]
    if name.startswith('.'):
      found.append(f'{module}: relative import of {name}')
    elif is_project(name):
      target = group_of(name)
      if target != group and target not in MAY_IMPORT[group]:
        found.append(f'{module} ({group}) imports {name} ({target})')
    elif top in ONLY_IN and group not in ONLY_IN[top]:
      found.append(f'{module} ({group}) imports {name}')
    elif top in JAX_PACKAGES and group in NO_JAX:
      found.append(f'{module} ({group}) imports {name}')
    elif group in PLAIN and top not in {*sys.stdlib_module_names, 'numpy'}:
      found.append(f'{module} ({group}) imports {name}')
  return found


def unsafe_code(source: str) -> list[str]:
  """Calls and imports that run or unpickle data; `model.eval()` is none."""
  tree = ast.parse(source)
  found = [
    name for name in imported(tree, ()) if ONLY_IN.get(name.split('.')[0]) == []
  ]
  for node in ast.walk(tree):
    if isinstance(node, ast.Call):
      if isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN_CALLS:
        found.append(node.func.id)
      for keyword in node.keywords:
        refused = isinstance(keyword.value, ast.Constant) and (
          keyword.value.value is False
        )
        if keyword.arg == 'allow_pickle' and not refused:
          found.append(keyword.arg)
  return found


def find_cycle(graph: dict[str, set[str]]) -> list[str]:
  """The modules of one import cycle, or []."""
  try:
    graphlib.TopologicalSorter(graph).prepare()
  except graphlib.CycleError as error:
    return error.args[1]
  return []


def sources() -> dict[str, str]:
  """Module name -> source of everything in the two packages."""
  found = {}
  for package, folder in PACKAGES.items():
    for path in sorted((ROOT / folder).rglob('*.py')):
      parts = path.relative_to(ROOT / folder).with_suffix('').parts
      if parts[-1] == '__init__':
        parts = parts[:-1]
      found['.'.join((package, *parts))] = path.read_text(encoding='utf-8')
  return found


def project_files() -> list[pathlib.Path]:
  paths = [path for path in ROOT.iterdir() if path.is_file()]
  for folder in FOLDERS:
    paths += (ROOT / folder).rglob('*')
  return sorted(
    path for path in paths if path.is_file() and '__pycache__' not in path.parts
  )


def test_every_module_imports_only_what_it_may():
  modules = sources()
  assert {'nasfas_jax.main', 'nasfas_datasets.fas_builder'} <= modules.keys()
  found = [
    line
    for module, source in modules.items()
    for line in import_violations(module, source, modules)
  ]
  assert not found, '\n'.join(found)


def test_no_import_cycle():
  modules = sources()
  graph = {
    module: {
      name
      for name in imported(ast.parse(source), modules)
      if is_project(name) and name != module
    }
    for module, source in modules.items()
  }
  cycle = find_cycle(graph)
  assert not cycle, ' -> '.join(cycle)


def test_package_root_imports_nothing():
  # Every worker process loads it.
  assert not list(imported(ast.parse(sources()['nasfas_jax']), ()))


def test_datasets_folder_has_no_init():
  # With one, `import datasets` from the checkout would shadow that package.
  assert not (ROOT / 'datasets' / '__init__.py').exists()


def test_files_are_short_and_named_for_what_they_hold():
  python = [path for path in project_files() if path.suffix == '.py']
  lengths = {
    str(path.relative_to(ROOT)): path.read_text(encoding='utf-8').count('\n')
    for path in python
  }
  assert not {k: v for k, v in lengths.items() if v > MAX_LINES}
  assert not [path for path in python if path.name in ('utils.py', 'util.py')]


def test_nothing_evaluates_or_unpickles_data():
  # A test may pickle what it made itself, as worker processes will.
  found = {
    str(path.relative_to(ROOT)): unsafe_code(path.read_text(encoding='utf-8'))
    for path in project_files()
    if path.suffix == '.py' and ROOT / 'tests' not in path.parents
  }
  assert not {name: names for name, names in found.items() if names}


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


@pytest.mark.parametrize(
  'module, source',
  [
    ('nasfas_jax.main', 'from nasfas_jax import losses'),
    ('nasfas_jax.main', 'from nasfas_datasets import fas_builder'),
    ('nasfas_jax.search', 'from nasfas_jax import main'),
    ('nasfas_jax.search', 'from nasfas_datasets import prepare'),
    ('nasfas_jax.search', 'from nasfas_jax.baseline import networks'),
    ('nasfas_jax.losses', 'from nasfas_jax import search'),
    ('nasfas_jax.losses', 'def f():\n  from nasfas_jax import train'),
    ('nasfas_jax.a_module_to_come', 'import nasfas_jax.evaluate'),
    ('nasfas_jax.models.supernet', 'from nasfas_jax import losses'),
    ('nasfas_jax.models.cells', 'from nasfas_jax.models import supernet'),
    ('nasfas_jax.models.layers', 'from nasfas_jax.models.cells import Cell'),
    ('nasfas_jax.models.genotypes', 'import jax.numpy as jnp'),
    ('nasfas_jax.models.genotypes', 'import yaml'),
    ('nasfas_jax.models.genotypes', 'from nasfas_jax.ops import pooling'),
    ('nasfas_jax.data.pipeline', 'from nasfas_jax.models import genotypes'),
    ('nasfas_jax.data.pipeline', 'import jax'),
    ('nasfas_jax.preprocessing.crop', 'from flax import linen'),
    ('nasfas_jax.records', 'from nasfas_jax import progress'),
    ('nasfas_jax.ops.pooling', 'from nasfas_jax import records'),
    ('nasfas_jax.ops.pooling', 'from . import fusion'),
    ('nasfas_jax.baseline.networks', 'import jax.numpy as jnp'),
    ('nasfas_jax.baseline.layers', 'from nasfas_jax.models import layers'),
    ('nasfas_jax.export', 'import tensorflow as tf'),
    ('nasfas_jax.export', 'import torch.nn as nn'),
    ('nasfas_datasets.clip_faces', 'import ai_edge_litert'),
    ('nasfas_jax.checkpoints', 'import pickle'),
    ('nasfas_datasets.manifest_fas.manifest', 'import torch'),
    ('nasfas_datasets.manifest_fas.manifest', 'from nasfas_jax import data'),
    (
      'nasfas_datasets.synthetic_fas.difficulty',
      'def f():\n  from nasfas_jax import train',
    ),
  ],
)
def test_a_forbidden_import_is_caught(module, source):
  (line,) = import_violations(module, source, sources())
  assert line.startswith(module)


@pytest.mark.parametrize(
  'module, source',
  [
    ('nasfas_jax.main', 'from nasfas_datasets import prepare'),
    (
      'nasfas_jax.compare',
      'import torch\nfrom nasfas_jax.baseline import networks',
    ),
    ('nasfas_jax.baseline.networks', 'import torch.nn'),
    ('nasfas_jax.losses', 'import jax\nfrom nasfas_jax import records'),
    ('nasfas_jax.models.genotypes', 'import json\nimport numpy as np'),
    ('nasfas_jax.models.cells', 'from nasfas_jax.models.layers import Conv'),
    ('nasfas_jax.data.pipeline', 'import tensorflow_datasets as tfds'),
    ('nasfas_datasets.oulu_npu.x', 'from nasfas_jax.preprocessing import crop'),
  ],
)
def test_an_allowed_import_passes(module, source):
  assert not import_violations(module, source, sources())


def test_unsafe_code_and_cycles_are_caught():
  assert unsafe_code('eval("1")') == ['eval']
  assert unsafe_code('import pickle as p') == ['pickle']
  assert unsafe_code('np.load(f, allow_pickle=True)') == ['allow_pickle']
  assert not unsafe_code('model.eval()\nnp.load(f, allow_pickle=False)')
  assert find_cycle({'a': {'b'}, 'b': {'c'}, 'c': {'a'}})
  assert not find_cycle({'a': {'b', 'c'}, 'b': {'c'}})


def test_every_group_has_a_rule():
  assert set(GROUPS.values()) == MAY_IMPORT.keys()
  assert {name for names in MAY_IMPORT.values() for name in names} <= set(
    MAY_IMPORT
  )
