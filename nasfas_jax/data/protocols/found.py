"""The protocols and published figures that dataset folders define.

The only module of the library that looks into `nasfas_datasets`. It knows no
dataset by name: it lists the dataset folders and imports their `protocols.py`
and `published.py` if they exist.
"""

import functools
import importlib
import types
from collections.abc import Mapping

from nasfas_datasets import folders
from nasfas_jax.data.protocols import cross_dataset
from nasfas_jax.data.protocols.definition import Protocol, Published

_PACKAGE = 'nasfas_datasets'


def all_protocols() -> Mapping[str, Protocol]:
  """Every protocol by its name.

  They are in the order of tables: datasets by the PLACE in their
  `protocols.py`, then datasets without a PLACE by name, then the cross-dataset
  protocols.

  Raises:
    ValueError: if a folder's protocol is not named after its dataset, uses
      another dataset, or has the name of another protocol.
  """
  return _all_protocols(_datasets())


def published(dataset: str) -> Published:
  """The published figures of a dataset's protocols; {} if it has none.

  Args:
    dataset: a dataset, or the first part of the names of protocols over
      several, such as mcio.
  """
  if dataset in cross_dataset.PUBLISHED:
    return cross_dataset.PUBLISHED[dataset]
  if dataset not in _datasets():
    return {}
  module = _module(dataset, 'published')
  return {} if module is None else module.PUBLISHED


def _datasets() -> tuple[str, ...]:
  """The names of the datasets that have a folder, sorted."""
  return tuple(folders.dataset_folders())


# Cached by the set of folders, since a package may add datasets later.
@functools.lru_cache(maxsize=8)
def _all_protocols(datasets: tuple[str, ...]) -> Mapping[str, Protocol]:
  modules = {name: _module(name, 'protocols') for name in datasets}
  modules = {name: found for name, found in modules.items() if found}
  last = float('inf')
  order = sorted(modules, key=lambda d: (getattr(modules[d], 'PLACE', last), d))
  found = {}
  for dataset in order:
    for protocol in modules[dataset].protocols():
      _check(protocol, dataset, found)
      found[protocol.name] = protocol
  for protocol in cross_dataset.protocols():
    found[protocol.name] = protocol
  return types.MappingProxyType(found)


def _check(protocol: Protocol, dataset: str, found: Mapping) -> None:
  name = protocol.name
  where = f'{_PACKAGE}/{dataset}/protocols.py: the protocol {name!r}'
  if name != dataset and not name.startswith(f'{dataset}/'):
    raise ValueError(f"{where}; allowed: '{dataset}' and '{dataset}/...'.")
  if protocol.datasets != (dataset,):
    raise ValueError(
      f'{where} draws on {", ".join(protocol.datasets) or "nothing"}; allowed: '
      f'{dataset}.'
    )
  if name in found:
    raise ValueError(f'{where} is there twice.')


def _module(dataset: str, name: str) -> types.ModuleType | None:
  """A module of a dataset's folder, or None if the folder has none."""
  full = f'{_PACKAGE}.{dataset}.{name}'
  try:
    return importlib.import_module(full)
  except ModuleNotFoundError as error:
    # The module exists, but something that it imports does not.
    if error.name != full:
      raise
    return None
