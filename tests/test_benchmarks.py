"""The benchmarks: what they take of the package is there.

They are not run here: names and arguments are compared with the functions.
"""

import ast
import importlib
import inspect
import pathlib
import re
import types

import pytest

from benchmarks import run

FOLDER = pathlib.Path(run.__file__).parent
FILES = sorted(FOLDER.glob('*.py'))
# File -> a package of an extra that it imports.
NEEDS = {'accelerator_twins': 'torch', 'exporting': 'onnxruntime'}


def imported(tree: ast.Module) -> dict[str, object]:
  """What a file imports by `from ... import`, by the name that it has there.

  Raises:
    AttributeError: if there is no such thing to import.
  """
  found = {}
  for node in ast.walk(tree):
    if isinstance(node, ast.ImportFrom):
      for alias in node.names:
        module = importlib.import_module(node.module)
        if not hasattr(module, alias.name):
          try:
            importlib.import_module(f'{node.module}.{alias.name}')
          except ModuleNotFoundError as error:
            raise AttributeError(str(error)) from error
        found[alias.asname or alias.name] = getattr(module, alias.name)
  return found


def problems(source: str) -> list[str]:
  """What a source takes of modules that do not have it, or calls wrongly."""
  tree = ast.parse(source)
  modules = {
    name: value
    for name, value in imported(tree).items()
    if isinstance(value, types.ModuleType)
  }
  calls = {
    id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)
  }
  found = []
  for node in ast.walk(tree):
    if (
      not isinstance(node, ast.Attribute)
      or not isinstance(node.value, ast.Name)
      or node.value.id not in modules
    ):
      continue
    name = f'{node.value.id}.{node.attr}'
    module = modules[node.value.id]
    if not hasattr(module, node.attr):
      found.append(f'{name} is missing')
    elif id(node) in calls and module.__name__.startswith('nasfas_'):
      try:
        bind(getattr(module, node.attr), calls[id(node)])
      except TypeError as error:
        found.append(f'{name}: {error}')
  return found


def bind(function, call: ast.Call) -> None:
  """Raises TypeError if a function does not take a call's arguments."""
  signature = inspect.signature(function)
  names = [keyword.arg for keyword in call.keywords]
  values = [None for place in call.args if not isinstance(place, ast.Starred)]
  # What hides behind * and ** is not known.
  whole = len(values) == len(call.args) and None not in names
  keywords = dict.fromkeys(name for name in names if name)
  (signature.bind if whole else signature.bind_partial)(*values, **keywords)


def test_what_is_not_there_is_found():
  assert problems(
    'from nasfas_jax import loop\n'
    'loop.walk\n'
    'loop.run(program, workdir, log_every=1)\n'
    'loop.run(program, workdir, log_every=1, checkpoint_every=1)\n'
    'loop.run(program, **others)\n'
    'loop.run(program, pace=2, **others)\n'
  ) == [
    'loop.walk is missing',
    "loop.run: missing a required argument: 'checkpoint_every'",
    "loop.run: got an unexpected keyword argument 'pace'",
  ]
  with pytest.raises(AttributeError, match='nasfas_jax.walk'):
    problems('from nasfas_jax import walk')


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_what_is_taken_of_other_modules_is_there(path):
  if path.stem in NEEDS:
    pytest.importorskip(NEEDS[path.stem])
  assert not problems(path.read_text(encoding='utf-8'))


def test_the_readme_names_every_command_and_group():
  text = (FOLDER / 'README.md').read_text(encoding='utf-8')
  commands = set(re.findall(r'`python -m benchmarks\.(\w+)', text))
  with_main = {
    path.stem
    for path in FILES
    if 'app.run(main)' in path.read_text(encoding='utf-8')
  }
  assert commands == with_main
  listed = text.partition('The groups:')[2].partition('\n\n')[0]
  assert set(run.GROUPS) <= set(re.findall(r'`(\w+)`', listed))
