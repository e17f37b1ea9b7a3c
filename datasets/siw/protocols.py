"""The published protocols of SiW; the dev set is ten training subjects.

As published, protocol 1 trains on the first 60 frames of a clip; build with
--train_frames=60 for that. Another build has frames of the whole clip.
"""

from nasfas_jax.data.protocols.definition import ACER, Protocol, official, only

PLACE = 40


def protocols() -> list[Protocol]:
  """1; 2/MEDIUM leaves one replay medium out, 3/1 and 3/2 one attack type."""
  name = 'siw'
  make = [('1', {}, {})]
  for medium in '1234':
    others = [f'replay{other}' for other in '1234' if other != medium]
    make.append(
      (
        f'2/{medium}',
        {'medium': only('', *others)},
        {'medium': only('', f'replay{medium}')},
      )
    )
  for number, first, second in (
    ('1', 'print', 'replay'),
    ('2', 'replay', 'print'),
  ):
    make.append(
      (
        f'3/{number}',
        {'attack_type': only('live', first)},
        {'attack_type': only('live', second)},
      )
    )
  return [
    official(f'{name}/{title}', name, train, test, 'session', ACER)
    for title, train, test in make
  ]
