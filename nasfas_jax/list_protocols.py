"""The experiment 'protocols': prints all protocols and their clip counts."""

import pathlib

import ml_collections

from nasfas_jax import progress, records, remote
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
  text = table(config.data.data_dir, config.data.builder_config)
  with progress.reader_may_leave():
    progress.answer(text)


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
  for name, version in {source for p in known for source in _sources(p)}:
    found = index.find_dataset(folder, name, builder_config, version)
    if found is not None:
      try:
        rows[name, version] = index.load_index(
          folder, name, builder_config, version
        )
      except (ValueError, OSError) as error:
        if remote.is_remote(folder) and isinstance(error, OSError):
          # Of the bucket, and so of all.
          raise
        unreadable[name, version] = str(error)
  lines = [
    f'Live/spoof clips prepared in {folder}. The threshold is the EER point of '
    'the set in its column.',
    f'{"protocol":44} {"train":>12} {"threshold":>18} {"test":>12}  metrics',
  ]
  for protocol in known:
    missing = [source for source in _sources(protocol) if source not in rows]
    headline = ', '.join(protocol.headline)
    damaged = [source for source in missing if source in unreadable]
    if damaged:
      lines.append(f'{protocol.name:44} damaged: {_listed(damaged)}')
      continue
    if missing:
      lines.append(f'{protocol.name:44} not prepared: {_listed(missing)}')
      continue
    clips = [row for source in _sources(protocol) for row in rows[source]]
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
  return '\n'.join([*lines, *dict.fromkeys(unreadable.values())])


def _sources(protocol) -> list[tuple[str, str]]:
  """(dataset, version) of what a protocol draws on."""
  return [(name, protocol.version) for name in protocol.datasets]


def _listed(sources: list[tuple[str, str]]) -> str:
  return ', '.join(f'{name} {version}'.strip() for name, version in sources)


def _count(rows) -> str:
  labels = [row['label'] for row in rows]
  return f'{labels.count(records.LIVE)}/{labels.count(records.SPOOF)}'
