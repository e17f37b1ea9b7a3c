"""What a protocol is, and the predicates that protocols are made of."""

import dataclasses
from collections.abc import Collection

from nasfas_jax.data.index import Predicate, Row

# Which clips may set the threshold.
THRESHOLD_SOURCES = ('dev', 'train')

# Metrics that the tables of the field print.
ACER = ('apcer_max', 'bpcer', 'acer')
CROSS = ('hter', 'auc')


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
    disjoint_subjects: whether no subject may be in two of the sets; False
      where the dataset does not tell its subjects.
  """

  name: str
  datasets: tuple[str, ...]
  train: Predicate
  dev: Predicate
  test: Predicate
  domain_field: str
  headline: tuple[str, ...]
  threshold_source: str = 'dev'
  disjoint_subjects: bool = True


def in_split(*splits: str, **conditions) -> Predicate:
  """True for clips of the official splits that pass all field conditions."""

  def predicate(row: Row) -> bool:
    return row['split'] in splits and all(
      accepts(row[field]) for field, accepts in conditions.items()
    )

  return predicate


def only(*values: str):
  """True for the given values."""
  return lambda value: value in values


def all_but(*values: str):
  """True for any other value."""
  return lambda value: value not in values


def official(
  name, dataset, train, test, domain_field, headline, source='dev'
) -> Protocol:
  """A protocol on official splits; dev is chosen as train is."""
  return Protocol(
    name=name,
    datasets=(dataset,),
    train=in_split('train', **train),
    dev=in_split('dev', **train),
    test=in_split('test', **test),
    domain_field=domain_field,
    headline=headline,
    threshold_source=source,
  )


def of_subjects(subjects: Collection[str]) -> Predicate:
  """True for clips of the given subjects."""
  return lambda row: row['subject'] in subjects


def of_dataset(splits: dict[str, tuple[str, ...]]) -> Predicate:
  """True for clips of given datasets in given splits; () is every split."""
  return lambda row: (
    row['dataset'] in splits
    and (not splits[row['dataset']] or row['split'] in splits[row['dataset']])
  )
