"""The protocols of SiW-M: leave-one-type-out (13 types), and known attacks.

They use the shipped split of the live clips. The threshold is set on the
training clips.
"""

from collections.abc import Callable

from nasfas_datasets.siw_m import layout
from nasfas_jax.data.protocols.definition import Protocol

PLACE = 50
# In the order of the layout, each once.
TYPES = tuple(
  dict.fromkeys(code for _, code in layout.TYPES.values() if code != 'live')
)


def protocols() -> list[Protocol]:
  """siw_m/TYPE, and siw_m/known."""
  return [*(_held_out(kind) for kind in TYPES), _known()]


def _held_out(kind: str) -> Protocol:
  return _protocol(
    kind,
    lambda row: row['split'] == 'train' and row['attack_detail'] != kind,
    lambda row: row['split'] == 'test' or row['attack_detail'] == kind,
  )


def _known() -> Protocol:
  def tested(row) -> bool:
    # Our own choice: every fifth attack, by the number in its name. The data
    # comes without lists of known attacks.
    if row['attack_type'] == 'live':
      return row['split'] == 'test'
    return int(row['subject'].rpartition('_')[2]) % 5 == 0

  return _protocol('known', lambda row: not tested(row), tested)


def _protocol(title: str, train: Callable, test: Callable) -> Protocol:
  return Protocol(
    name=f'siw_m/{title}',
    datasets=('siw_m',),
    train=train,
    dev=lambda row: False,
    test=test,
    domain_field='dataset',
    headline=('acer', 'eer', 'auc'),
    threshold_source='train',
    # The names do not identify subjects.
    disjoint_subjects=False,
  )
