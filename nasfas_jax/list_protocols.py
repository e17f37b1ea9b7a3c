"""The experiment 'protocols': prints all protocols and their clip counts."""

import pathlib

import ml_collections

from nasfas_jax import progress, records
from nasfas_jax.data import index, protocols


def list_protocols(
  config: ml_collections.ConfigDict, workdir: pathlib.Path
) -> None:
  """Prints the table of protocols; writes nothing.

  Args:
    config: config.data sets the data folder and the builder config.
    workdir: unused.
  """
  del workdir
  progress.say(table(config.data.data_dir, config.data.builder_config))


def table(data_dir: str, builder_config: str) -> str:
  """One line per protocol: live/spoof clips of its sets, or what is missing.

  Clips without a label do not count. After the protocols stands a line for each
  dataset whose index cannot be read.

  Args:
    data_dir: folder of prepared datasets; '' is the default one.
    builder_config: config of the dataset builder; '' is its default.
  """
  folder = index.resolve_data_dir(data_dir)
  known = protocols.all_protocols().values()
  rows, unreadable = {}, {}
  for name in {dataset for protocol in known for dataset in protocol.datasets}:
    found = index.find_dataset(folder, name, builder_config)
    if found is not None:
      try:
        rows[name] = index.load_index(folder, name, builder_config)
      except ValueError as error:
        unreadable[name] = str(error)
  lines = [
    f'Live/spoof clips prepared in {folder}. The threshold is the EER point of '
    'the set in its column.',
    f'{"protocol":44} {"train":>12} {"threshold":>18} {"test":>12}  metrics',
  ]
  for protocol in known:
    missing = [name for name in protocol.datasets if name not in rows]
    headline = ', '.join(protocol.headline)
    damaged = [name for name in missing if name in unreadable]
    if damaged:
      lines.append(f'{protocol.name:44} damaged: {", ".join(damaged)}')
      continue
    if missing:
      lines.append(f'{protocol.name:44} not prepared: {", ".join(missing)}')
      continue
    clips = [row for name in protocol.datasets for row in rows[name]]
    try:
      chosen = protocols.select(protocol, clips)
    except ValueError as error:
      lines.append(f'{protocol.name:44} {error}')
      continue
    source = f'{chosen.dev_source} {_count(chosen.dev)}'
    lines.append(
      f'{protocol.name:44} {_count(chosen.train):>12} {source:>18} '
      f'{_count(chosen.test):>12}  {headline}'
    )
  return '\n'.join([*lines, *unreadable.values()])


def _count(rows) -> str:
  labels = [row['label'] for row in rows]
  return f'{labels.count(records.LIVE)}/{labels.count(records.SPOOF)}'
