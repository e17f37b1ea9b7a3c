"""The four published protocols of OULU-NPU; 3 and 4 leave one phone out.

`layout.in_protocol` has the rules.
"""

from nasfas_datasets.oulu_npu import layout
from nasfas_jax.data.protocols.definition import ACER, Protocol

PLACE = 30


def protocols() -> list[Protocol]:
  """Protocols 1, 2, 3/PHONE and 4/PHONE."""
  made = [_protocol('1', 1), _protocol('2', 2)]
  for number in (3, 4):
    for phone in range(1, 7):
      made.append(_protocol(f'{number}/{phone}', number, phone))
  return made


def _protocol(title: str, number: int, fold: int = 0) -> Protocol:
  def part(split: str):
    return lambda row: (
      row['split'] == split
      and layout.in_protocol(
        number,
        fold,
        split,
        *(int(row[name]) for name in ('camera', 'session', 'attack_detail')),
      )
    )

  return Protocol(
    name=f'oulu_npu/{title}',
    datasets=('oulu_npu',),
    train=part('train'),
    dev=part('dev'),
    test=part('test'),
    domain_field='session',
    headline=ACER,
  )
