"""The datasets' lists of names as trees of files of one byte.

Every folder of a dataset of videos has an `example_tree.py`: its names, and
what must be read from them. Nothing here knows a dataset.
"""

import importlib
import pathlib
import types

from nasfas_datasets import folders

NAMES = tuple(
  name
  for name, folder in folders.dataset_folders().items()
  if (folder / 'example_tree.py').is_file()
)


def example(name: str) -> types.ModuleType:
  """The `example_tree` of a dataset."""
  return importlib.import_module(f'nasfas_datasets.{name}.example_tree')


def write(root: pathlib.Path, names) -> pathlib.Path:
  """Writes one byte under every name: to be listed, not to be decoded."""
  made = set()
  for name in names:
    path = root / name
    if path.parent not in made:
      path.parent.mkdir(parents=True, exist_ok=True)
      made.add(path.parent)
    path.write_bytes(b'x')
  return root


def write_lists(name: str, root: pathlib.Path) -> None:
  """Writes the lists that ship with a dataset, if it has any."""
  write = getattr(example(name), 'write_lists', None)
  if write is not None:
    write(root)
