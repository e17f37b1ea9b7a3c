"""What a protocol is, and the predicates that protocols are made of.

The one module of `nasfas_jax.data` that the folders of datasets import.
"""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping

from nasfas_jax.data.index import Predicate, Row

# Which clips may set the threshold.
THRESHOLD_SOURCES = ('dev', 'train')

# Metrics that the tables of the field print.
ACER = ('apcer_max', 'bpcer', 'acer')
CROSS = ('hter', 'auc')


# The published figures of a dataset, measured by others: protocol, or group of
# folds such as DATASET/3 -> method -> metric -> (mean, standard deviation over
# the folds or 0 where there is one), in percent. Metrics as publications name
# them: how a rate is pooled is theirs.
Published = Mapping[str, Mapping[str, Mapping[str, tuple[float, float]]]]


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


def only(*values: str) -> Callable[[str], bool]:
  """True for the given values."""
  return lambda value: value in values


def all_but(*values: str) -> Callable[[str], bool]:
  """True for any other value."""
  return lambda value: value not in values


def official(
  name: str,
  dataset: str,
  train: dict[str, Callable[[str], bool]],
  test: dict[str, Callable[[str], bool]],
  domain_field: str,
  headline: tuple[str, ...],
  threshold_source: str = 'dev',
) -> Protocol:
  """A protocol on official splits; dev is chosen as train is.

  Args:
    name: of the protocol, such as DATASET/NAME.
    dataset: that it draws on.
    train: field -> condition of the clips that train; {} takes all.
    test: field -> condition of the clips that are scored.
    domain_field: see `Protocol`.
    headline: see `Protocol`.
    threshold_source: see `Protocol`.
  """
  return Protocol(
    name=name,
    datasets=(dataset,),
    train=in_split('train', **train),
    dev=in_split('dev', **train),
    test=in_split('test', **test),
    domain_field=domain_field,
    headline=headline,
    threshold_source=threshold_source,
  )


def leave_attack_out(
  dataset: str,
  live: str,
  attacks: dict[str, Iterable[str]],
  threshold_source: str,
) -> list[Protocol]:
  """Protocols DATASET/leave_out/ATTACK: one attack is scored, the others train.

  Args:
    dataset: that they draw on; its domains are cameras.
    live: the `attack_detail` of live clips.
    attacks: name of an attack -> its values of `attack_detail`.
    threshold_source: see `Protocol`.
  """
  return [
    official(
      f'{dataset}/leave_out/{attack}',
      dataset,
      {'attack_detail': all_but(*details)},
      {'attack_detail': only(live, *details)},
      'camera',
      ('auc', 'eer', 'acer'),
      threshold_source,
    )
    for attack, details in attacks.items()
  ]


def of_subjects(subjects: Collection[str]) -> Predicate:
  """True for clips of the given subjects."""
  return lambda row: row['subject'] in subjects


def of_dataset(splits: dict[str, tuple[str, ...]]) -> Predicate:
  """True for clips of given datasets in given splits; () is every split."""
  return lambda row: (
    row['dataset'] in splits
    and (not splits[row['dataset']] or row['split'] in splits[row['dataset']])
  )
