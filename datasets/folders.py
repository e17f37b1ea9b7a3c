"""The datasets that there are: a folder each, with a dataset builder.

Nothing keeps a list of them. A folder counts if it holds
`<name>/<name>_dataset_builder.py` anywhere on the search path of this package,
which other distributions may extend by a folder of the same name.
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
        # The first on the search path is the one that is imported.
        found.setdefault(name, path.parent)
  return dict(sorted(found.items()))
