"""The protocols of CASIA-SURF HiFiMask, by its lists.

1 has all masks, 2.k tests mask k (1 transparent, 2 plaster, 3 resin), which did
not train, 3 trains on fewer clips.
"""

from nasfas_datasets.hifimask import layout
from nasfas_jax.data.protocols.definition import ACER, Protocol, in_list

PLACE = 82


def protocols() -> list[Protocol]:
  """1, 2.1, 2.2, 2.3 and 3; those of 2 are the folds of one group."""
  return [_protocol(number) for number in layout.PROTOCOLS]


def _protocol(number: str) -> Protocol:
  return Protocol(
    name=f'hifimask/{number.replace(".", "/")}',
    datasets=('hifimask',),
    train=in_list(f'{number}/train'),
    dev=in_list(f'{number}/dev'),
    test=in_list(f'{number}/test'),
    domain_field='session',
    headline=(*ACER, 'auc'),
  )
