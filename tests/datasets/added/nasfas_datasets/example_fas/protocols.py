"""The protocols of Example-FAS: the shipped splits, and one room left out."""

from nasfas_datasets.example_fas import layout
from nasfas_jax.data.protocols.definition import (
  ACER,
  CROSS,
  Protocol,
  all_but,
  official,
  only,
)


def protocols() -> list[Protocol]:
  """official, cross_room/ROOM."""
  name = 'example_fas'
  return [
    official(f'{name}/official', name, {}, {}, 'session', ACER),
    *(
      official(
        f'{name}/cross_room/{room}',
        name,
        {'session': all_but(room)},
        {'session': only(room)},
        'session',
        CROSS,
      )
      for room in layout.ROOMS
    ),
  ]
