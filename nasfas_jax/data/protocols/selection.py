"""The clips of a protocol, selected by the index alone, without frames."""

import dataclasses
from collections.abc import Sequence

from nasfas_jax import records
from nasfas_jax.data import index
from nasfas_jax.data.index import Row
from nasfas_jax.data.protocols import found
from nasfas_jax.data.protocols.definition import THRESHOLD_SOURCES, Protocol


def get_protocol(name: str) -> Protocol:
  """The protocol of a name.

  Raises:
    ValueError: for an unknown name; lists the known ones.
  """
  known = found.all_protocols()
  if name not in known:
    raise ValueError(
      f'Unknown protocol {name!r}; allowed: {_suggest(name, list(known))}. '
      'All: python -m nasfas_jax.main --config=protocols'
    )
  return known[name]


def _suggest(name: str, names: Sequence[str]) -> str:
  """The protocols of the name's dataset, or the first one of each dataset."""
  family = name.partition('/')[0]
  near = [known for known in names if known.partition('/')[0] == family]
  if not near:
    first = {known.partition('/')[0]: known for known in reversed(names)}
    near = list(reversed(first.values()))
  return ', '.join(near)


@dataclasses.dataclass(frozen=True)
class Selection:
  """The clips of a protocol that are prepared on this machine.

  Attributes:
    train: rows of the index, the train set.
    dev: rows of the set that sets the threshold.
    test: rows of the test set.
    dev_source: 'dev', or 'train' if the train set sets the threshold; `dev` is
      then the train set.
    left_out: datasets of the protocol that are not prepared, see `load`.
  """

  train: list[Row]
  dev: list[Row]
  test: list[Row]
  dev_source: str
  left_out: tuple[str, ...] = ()


def select(
  protocol: Protocol,
  rows: Sequence[Row],
  threshold_source: str = '',
  *,
  judging: bool = False,
) -> Selection:
  """Applies a protocol to the index.

  Args:
    protocol: the protocol.
    rows: of the index.
    threshold_source: one of `THRESHOLD_SOURCES`; '' is the protocol's own.
    judging: only the test set is needed, and that may lack a class.

  Raises:
    ValueError: for an unknown threshold_source, a set without live or spoof
      clips, a clip without a label that is not tested, or a subject in two of
      the sets.
  """
  source = threshold_source or protocol.threshold_source
  if source not in THRESHOLD_SOURCES:
    raise ValueError(
      f'threshold_source is {source!r}; allowed: '
      f'{", ".join(THRESHOLD_SOURCES)}.'
    )
  parts = {
    part: index.select(rows, getattr(protocol, part))
    for part in ('train', 'dev', 'test')
  }
  if source == 'train':
    parts['dev'] = parts['train']
  if judging and not parts['test']:
    raise ValueError(
      f'Protocol {protocol.name!r}: none of the {len(rows)} prepared clips is '
      'in the test set.'
    )
  for part in () if judging else ('train', 'dev', 'test'):
    labels = {row['label'] for row in parts[part]}
    if part == 'test':
      # Those without a label are scored beside them.
      labels.discard(records.UNLABELLED)
    if labels != {0, 1}:
      raise ValueError(
        f'Protocol {protocol.name!r}: the {part} set has {len(parts[part])} '
        f'clips with labels {sorted(labels)}; it needs live (1) and spoof '
        '(0) clips.'
        + (
          ' Without a dev set --config.threshold_source=train sets the '
          'threshold on the training clips.'
          if part == 'dev'
          else ''
        )
      )
  subjects = {part: index.subjects(rows) for part, rows in parts.items()}
  pairs = [('train', 'test'), ('dev', 'test'), ('train', 'dev')]
  if not protocol.disjoint_subjects:
    pairs = []
  elif source == 'train':
    pairs = pairs[:2]
  for first, second in pairs:
    shared = subjects[first] & subjects[second]
    if shared:
      raise ValueError(
        f'Protocol {protocol.name!r}: {len(shared)} subjects are both in '
        f'{first} and in {second}, such as {min(shared)!r}.'
      )
  return Selection(**parts, dev_source=source)


def load(
  name: str,
  data_dir: str,
  builder_config: str,
  threshold_source: str = '',
  *,
  judging: bool = False,
) -> Selection:
  """Loads the clips of a protocol from the indexes of the prepared datasets.

  Args:
    name: of the protocol.
    data_dir: folder of prepared datasets; '' is the default one.
    builder_config: config of the dataset builder; '' is its default.
    threshold_source: see `select`.
    judging: see `select`; datasets that are not prepared are left out.

  Raises:
    ValueError: for an unknown protocol, and as `select`.
    FileNotFoundError: if a dataset is not prepared; with `judging`, if none
      is.
  """
  protocol = get_protocol(name)
  folder = index.resolve_data_dir(data_dir)
  rows = []
  datasets = protocol.datasets
  if judging:
    # Without any of them, the first one is asked for.
    datasets = [
      dataset
      for dataset in datasets
      if index.find_dataset(folder, dataset, builder_config, protocol.version)
    ] or datasets[:1]
  for dataset in datasets:
    rows += index.load_index(folder, dataset, builder_config, protocol.version)
  chosen = select(protocol, rows, threshold_source, judging=judging)
  left_out = tuple(name for name in protocol.datasets if name not in datasets)
  return dataclasses.replace(chosen, left_out=left_out)
