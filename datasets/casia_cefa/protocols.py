"""The protocols of CASIA-SURF CeFA on colour frames: 1, 2 and 4.

1 trains on one race and tests the others, 2 trains on one attack and tests the
other, 4 does both. All of them test the masks. Protocol 3 crosses modalities,
and only colour is read.
"""

from collections.abc import Callable

from nasfas_datasets.casia_cefa import layout
from nasfas_jax.data.protocols.definition import ACER, Protocol

PLACE = 78


def protocols() -> list[Protocol]:
  """1/RACE and 4/RACE by the race that trains, 2/ATTACK likewise."""
  made = [_protocol(f'1/{race}', race=race) for race in layout.RACES]
  made += [
    _protocol(f'2/{trained}', trained=trained, tested=tested)
    for trained, tested in (('cloth', 'screen'), ('screen', 'cloth'))
  ]
  made += [
    _protocol(f'4/{race}', race=race, trained='screen', tested='cloth')
    for race in layout.RACES
  ]
  return made


def _protocol(
  title: str, *, race: str = '', trained: str = '', tested: str = ''
) -> Protocol:
  def part(split: str) -> Callable:
    def predicate(row) -> bool:
      if row['split'] != split:
        return False
      if row['attack_detail'] in layout.PUBLISHED_MASKS:
        return True
      testing = split == 'test'
      if race and (row['session'] == race) == testing:
        return False
      kind = tested if testing else trained
      return bool(row['label']) or not kind or row['attack_detail'] == kind

    return predicate

  return Protocol(
    name=f'casia_cefa/{title}',
    datasets=('casia_cefa',),
    train=part('train'),
    dev=part('dev'),
    test=part('test'),
    domain_field='session',
    headline=(*ACER, 'auc'),
  )
