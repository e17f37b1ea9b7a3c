"""Finds the datasets: each is a folder with a dataset builder.

There is no list of datasets. Any `<name>/<name>_dataset_builder.py` on the
search path of this package is one. Other distributions can add datasets with a
`nasfas_datasets` folder of their own.
"""

import pathlib
import sys


def dataset_folders() -> dict[str, pathlib.Path]:
  """Name of a dataset -> its folder, sorted by name."""
  found = {}
  for parent in sys.modules[__package__].__path__:
    for path in pathlib.Path(parent).glob('*/*_dataset_builder.py'):
      name = path.parent.name
      if path.name == f'{name}_dataset_builder.py':
        # Python imports the first one on the search path.
        found.setdefault(name, path.parent)
  return dict(sorted(found.items()))
