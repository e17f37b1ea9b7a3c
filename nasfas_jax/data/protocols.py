"""Protocols: which clips train, which set the threshold, which test.

A protocol is three predicates over the metadata of clips; no frame is read to
evaluate one. The families follow the field: intra-dataset intra-type,
cross-type (leave one attack type out), cross-domain (leave one domain out),
and cross-domain cross-type at once.
"""

import dataclasses
from collections.abc import Sequence

from nasfas_jax.data import index
from nasfas_jax.data.index import Predicate, Row

SYNTHETIC_DOMAINS = ('office', 'window', 'corridor', 'night')
SYNTHETIC_TYPES = ('print', 'print_cut', 'replay', 'mask_rigid', 'mask_paper')
# Which clips may set the threshold.
THRESHOLD_SOURCES = ('dev', 'train')
_FLAT_TYPES = ('live', 'print', 'print_cut', 'replay')


@dataclasses.dataclass(frozen=True)
class Protocol:
  """A named choice of clips.

  Attributes:
    name: as users write it.
    datasets: names of the datasets it draws on.
    train: predicate of the clips that train (and search).
    dev: predicate of the clips that set the threshold.
    test: predicate of the clips that are scored.
    domain_field: the metadata field that names a clip's domain.
    headline: the metrics that the protocol's tables print.
    threshold_source: 'dev', or 'train' for a protocol without a dev set.
  """

  name: str
  datasets: tuple[str, ...]
  train: Predicate
  dev: Predicate
  test: Predicate
  domain_field: str
  headline: tuple[str, ...]
  threshold_source: str = 'dev'


def _in_split(split: str, **conditions) -> Predicate:
  """True for clips of an official split that pass all field conditions."""

  def predicate(row: Row) -> bool:
    return row['split'] == split and all(
      accepts(row[field]) for field, accepts in conditions.items()
    )

  return predicate


def _only(*values: str):
  return lambda value: value in values


def _all_but(*values: str):
  return lambda value: value not in values


def _protocol(name, dataset, train, test, domain_field, headline) -> Protocol:
  """A protocol on official splits; dev is chosen as train is."""
  return Protocol(
    name=name,
    datasets=(dataset,),
    train=_in_split('train', **train),
    dev=_in_split('dev', **train),
    test=_in_split('test', **test),
    domain_field=domain_field,
    headline=headline,
  )


def _synthetic() -> list[Protocol]:
  name = 'synthetic_fas'
  make = [(f'{name}/intra', {}, {}, ('apcer_max', 'bpcer', 'acer'))]
  for domain in SYNTHETIC_DOMAINS:
    make.append(
      (
        f'{name}/cross_domain/{domain}',
        {'session': _all_but(domain)},
        {'session': _only(domain)},
        ('hter', 'auc'),
      )
    )
  for attack in SYNTHETIC_TYPES:
    make.append(
      (
        f'{name}/cross_type/{attack}',
        {'attack_type': _all_but(attack)},
        {'attack_type': _only('live', attack)},
        ('acer', 'eer', 'auc'),
      )
    )
  for domain in SYNTHETIC_DOMAINS:
    make.append(
      (
        f'{name}/cross_domain_type/{domain}',
        {'session': _all_but(domain), 'attack_type': _only(*_FLAT_TYPES)},
        {
          'session': _only(domain),
          'attack_type': _only('live', 'mask_rigid', 'mask_paper'),
        },
        ('hter', 'auc', 'eer'),
      )
    )
  return [
    _protocol(title, name, train, test, 'session', headline)
    for title, train, test, headline in make
  ]


def _manifest() -> list[Protocol]:
  return [
    _protocol(
      'manifest_fas/official',
      'manifest_fas',
      {},
      {},
      'session',
      ('hter', 'acer', 'auc'),
    )
  ]


PROTOCOLS = {
  protocol.name: protocol for protocol in (*_synthetic(), *_manifest())
}


def get_protocol(name: str) -> Protocol:
  """The protocol of a name.

  Raises:
    ValueError: for an unknown name; lists the known ones.
  """
  if name not in PROTOCOLS:
    raise ValueError(
      f'Unknown protocol {name!r}; allowed: {", ".join(PROTOCOLS)}.'
    )
  return PROTOCOLS[name]


@dataclasses.dataclass(frozen=True)
class Selection:
  """The clips of a protocol that are prepared on this machine.

  Attributes:
    train: rows of the index that train.
    dev: rows that set the threshold.
    test: rows that are scored.
    dev_source: 'dev', or 'train' where the threshold comes from the training
      clips, which `dev` then repeats.
  """

  train: list[Row]
  dev: list[Row]
  test: list[Row]
  dev_source: str


def select(
  protocol: Protocol, rows: Sequence[Row], threshold_source: str = ''
) -> Selection:
  """Applies a protocol to the index.

  Args:
    protocol: the protocol.
    rows: of the index.
    threshold_source: one of `THRESHOLD_SOURCES`; '' is the protocol's own.

  Raises:
    ValueError: if a set lacks live or spoof clips, or one subject is in two
      of the sets.
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
  for part in ('train', 'dev', 'test'):
    labels = {row['label'] for row in parts[part]}
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
  for first, second in pairs[: 2 if source == 'train' else 3]:
    shared = subjects[first] & subjects[second]
    if shared:
      raise ValueError(
        f'Protocol {protocol.name!r}: {len(shared)} subjects are both in '
        f'{first} and in {second}, such as {min(shared)!r}.'
      )
  return Selection(**parts, dev_source=source)


def load(
  name: str, data_dir: str, builder_config: str, threshold_source: str = ''
) -> Selection:
  """The clips of a protocol, from the indices of the prepared datasets.

  Args:
    name: of the protocol.
    data_dir: folder of prepared datasets; '' is the default one.
    builder_config: config of the dataset builder; '' is its default.
    threshold_source: see `select`.

  Raises:
    ValueError: for an unknown protocol, or one whose clips do not suffice.
    FileNotFoundError: if a dataset is not prepared.
  """
  protocol = get_protocol(name)
  folder = index.resolve_data_dir(data_dir)
  rows = []
  for dataset in protocol.datasets:
    rows += index.load_index(folder, dataset, builder_config)
  return select(protocol, rows, threshold_source)
