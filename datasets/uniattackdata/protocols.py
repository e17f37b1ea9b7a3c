"""The protocols of UniAttackData, by its lists.

1 has all groups of attacks; 1.1 trains on no digital ones, 1.2 on no
adversarial ones, 1.3 on a few of both. 2.1 tests physical attacks, which did
not train, 2.2 tests adversarial and digital ones.
"""

from nasfas_datasets.uniattackdata import layout
from nasfas_jax.data.protocols.definition import ACER, Protocol, in_list

PLACE = 84


def protocols() -> list[Protocol]:
  """1, 1_1, 1_2, 1_3, 2/1 and 2/2; those of 2 are the folds of one group."""
  return [_protocol(number) for number in layout.PUBLISHED]


def _protocol(number: str) -> Protocol:
  # 1 is a protocol of its own, not a group.
  title = number.replace('1.', '1_').replace('2.', '2/')
  return Protocol(
    name=f'uniattackdata/{title}',
    datasets=('uniattackdata',),
    train=in_list(f'{number}/train'),
    dev=in_list(f'{number}/dev'),
    test=in_list(f'{number}/test'),
    domain_field='session',
    headline=(*ACER, 'auc'),
    # Attacks that are tested may show a person who trains.
    disjoint_subjects=False,
  )
