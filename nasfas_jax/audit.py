"""The experiment 'audit': what of the clips, beside faces, tells the label.

A property with an AUC near 1, such as the resolution, is a shortcut: a network
that learns it scores well here and fails elsewhere. The clips are those of the
protocol's datasets, in all splits, since the official splits share the way in
which a dataset was recorded.
"""

import pathlib

import ml_collections

from nasfas_jax import progress
from nasfas_jax.data import index, nuisance, protocols


def audit(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
  """Prints the audit of each dataset of config.protocol; writes nothing.

  Args:
    config: config.protocol names the datasets, config.data where they are.
    workdir: unused.

  Raises:
    ValueError: for an unknown protocol.
    FileNotFoundError: if a dataset is not prepared.
  """
  del workdir
  folder = index.resolve_data_dir(config.data.data_dir)
  protocol = protocols.get_protocol(config.protocol)
  for name in protocol.datasets:
    rows = index.load_index(
      folder, name, config.data.builder_config, protocol.version
    )
    with progress.reader_may_leave():
      progress.answer('\n'.join(lines(name, rows)))


def lines(name: str, rows: list[index.Row]) -> list[str]:
  """The audit of one dataset.

  Args:
    name: of the dataset.
    rows: of its index.
  """
  return [
    f'{name}: {nuisance.count(rows)} clips',
    *nuisance.box_lines(rows),
    *nuisance.still_lines(rows),
    *nuisance.audit_lines(rows),
  ]
