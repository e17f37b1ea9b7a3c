"""What a protocol is, and the predicates to build one.

The only module of `nasfas_jax.data` that dataset folders import.
"""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping

from nasfas_jax.data.index import Predicate, Row

# The sets that can set the threshold.
THRESHOLD_SOURCES = ('dev', 'train')

# The metrics that tables in the literature print.
ACER = ('apcer_max', 'bpcer', 'acer')
CROSS = ('hter', 'auc')


# Published figures of a dataset, measured by others: protocol, or group of
# folds such as DATASET/3 -> method -> metric -> (mean, standard deviation over
# the folds; 0 for a single fold), in percent. A metric has the name that the
# publication gives it, which may pool attack types in its own way.
Published = Mapping[str, Mapping[str, Mapping[str, tuple[float, float]]]]


@dataclasses.dataclass(frozen=True)
class Protocol:
  """A named selection of clips.

  Attributes:
    name: as users write it.
    datasets: names of the datasets that it uses.
    train: predicate of the train set, which also searches.
    dev: predicate of the dev set, which sets the threshold.
    test: predicate of the test set.
    domain_field: the metadata field that names a clip's domain.
    headline: the metrics that the protocol's tables print.
    threshold_source: 'dev', or 'train' for a protocol without a dev set.
    disjoint_subjects: require that no subject is in two sets; False if the
      dataset does not identify its subjects.
    version: the version of its dataset that it selects from, of a dataset with
      several; '': the newest that is prepared.
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
  version: str = ''


def in_split(*splits: str, **conditions) -> Predicate:
  """Accepts clips of the given official splits that meet all conditions.

  Args:
    *splits: some of `records.SPLITS`.
    **conditions: metadata field -> predicate of its value.
  """

  def predicate(row: Row) -> bool:
    return row['split'] in splits and all(
      accepts(row[field]) for field, accepts in conditions.items()
    )

  return predicate


def only(*values: str) -> Callable[[str], bool]:
  """Accepts the given values."""
  return lambda value: value in values


def all_but(*values: str) -> Callable[[str], bool]:
  """Accepts all values but the given ones."""
  return lambda value: value not in values


def official(
  name: str,
  dataset: str,
  train: dict[str, Callable[[str], bool]],
  test: dict[str, Callable[[str], bool]],
  domain_field: str,
  headline: tuple[str, ...],
  threshold_source: str = 'dev',
  version: str = '',
) -> Protocol:
  """A protocol on the official splits; the train conditions hold for dev too.

  Args:
    name: of the protocol, such as DATASET/NAME.
    dataset: name of the dataset.
    train: field -> condition of the train and dev sets; {} accepts all clips.
    test: field -> condition of the test set.
    domain_field: see `Protocol`.
    headline: see `Protocol`.
    threshold_source: see `Protocol`.
    version: see `Protocol`.
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
    version=version,
  )


def leave_attack_out(
  dataset: str,
  live: str,
  attacks: dict[str, Iterable[str]],
  threshold_source: str,
  domain_field: str = 'camera',
) -> list[Protocol]:
  """Leave-one-attack-out protocols, DATASET/leave_out/ATTACK.

  Args:
    dataset: name of the dataset.
    live: the `attack_detail` of live clips.
    attacks: name of an attack -> its values of `attack_detail`.
    threshold_source: see `Protocol`.
    domain_field: see `Protocol`; one that the dataset has.
  """
  return [
    official(
      f'{dataset}/leave_out/{attack}',
      dataset,
      {'attack_detail': all_but(*details)},
      {'attack_detail': only(live, *details)},
      domain_field,
      ('auc', 'eer', 'acer'),
      threshold_source,
    )
    for attack, details in attacks.items()
  ]


def of_subjects(subjects: Collection[str]) -> Predicate:
  """Accepts clips of the given subjects."""
  return lambda row: row['subject'] in subjects


def in_list(*names: str) -> Predicate:
  """Accepts clips that one of the named lists of their dataset holds."""
  return lambda row: not set(names).isdisjoint(row.get('lists', '').split())


def of_dataset(splits: dict[str, tuple[str, ...]]) -> Predicate:
  """Accepts clips by dataset -> its accepted splits; () is every split."""
  return lambda row: (
    row['dataset'] in splits
    and (not splits[row['dataset']] or row['split'] in splits[row['dataset']])
  )
