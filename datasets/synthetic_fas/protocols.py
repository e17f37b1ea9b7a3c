"""The protocols of synthetic_fas, one family for each in the literature.

Those of version 2.0.0: unseen_rooms and seen_rooms train alike and differ in
the rooms that they test; seen_room/ROOM holds one of the seen rooms out, so
that a choice between trainings knows nothing of the unseen ones; room/ROOM and
large_room/ROOM hold one room out of all in the config default or large,
type/TYPE an attack type, unseen_rooms_type/TYPE an attack type and the unseen
rooms. Those of version 1.0.0: intra and the families
cross_domain, cross_type and cross_domain_type.
"""

from nasfas_datasets.synthetic_fas import plan, rooms
from nasfas_datasets.synthetic_fas.v2 import plan as v2_plan
from nasfas_jax.data.protocols.definition import (
  ACER,
  CROSS,
  Protocol,
  all_but,
  official,
  only,
)

PLACE = 10
_MASKS = tuple(kind for kind in plan.ATTACKS if kind.startswith('mask'))


_NAME = 'synthetic_fas'


def protocols() -> list[Protocol]:
  """All protocols; each draws on one version of the dataset."""
  return [*_of_second_version(), *_of_first_version()]


def _of_second_version() -> list[Protocol]:
  def make(title, train, test, headline):
    return official(
      f'{_NAME}/{title}', _NAME, train, test, 'session', headline,
      version='2.0.0',
    )  # fmt: skip

  seen = {'lists': only(v2_plan.SEEN)}
  made = [
    make('unseen_rooms', seen, {'lists': only(v2_plan.UNSEEN)}, CROSS),
    make('seen_rooms', seen, seen, CROSS),
  ]
  default = v2_plan.SIZES['default']
  for number in range(default.rooms - default.unseen):
    room = v2_plan.room_name(number)
    train = {**seen, 'session': all_but(room)}
    test = {'session': only(room)}
    made.append(make(f'seen_room/{room}', train, test, CROSS))
  for family, size in (('room', 'default'), ('large_room', 'large')):
    for number in range(v2_plan.SIZES[size].rooms):
      room = v2_plan.room_name(number)
      held_out = {'session': all_but(room)}
      made.append(
        make(f'{family}/{room}', held_out, {'session': only(room)}, CROSS)
      )
  for attack in v2_plan.ATTACKS:
    made.append(
      make(
        f'type/{attack}',
        {'attack_type': all_but(attack)},
        {'attack_type': only('live', attack)},
        ('acer', 'eer', 'auc'),
      )
    )
  for attack in v2_plan.ATTACKS:
    made.append(
      make(
        f'unseen_rooms_type/{attack}',
        {**seen, 'attack_type': all_but(attack)},
        {
          'lists': only(v2_plan.UNSEEN),
          'attack_type': only('live', attack),
        },
        ('hter', 'auc', 'eer'),
      )
    )
  return made


def _of_first_version() -> list[Protocol]:
  name = _NAME
  domains = [domain.name for domain in rooms.DOMAINS]
  make = [(f'{name}/intra', {}, {}, ACER)]
  for domain in domains:
    make.append(
      (
        f'{name}/cross_domain/{domain}',
        {'session': all_but(domain)},
        {'session': only(domain)},
        CROSS,
      )
    )
  for attack in plan.ATTACKS:
    make.append(
      (
        f'{name}/cross_type/{attack}',
        {'attack_type': all_but(attack)},
        {'attack_type': only('live', attack)},
        ('acer', 'eer', 'auc'),
      )
    )
  for domain in domains:
    # Train on flat attacks, test on masks in an unseen room.
    make.append(
      (
        f'{name}/cross_domain_type/{domain}',
        {'session': all_but(domain), 'attack_type': all_but(*_MASKS)},
        {'session': only(domain), 'attack_type': only('live', *_MASKS)},
        ('hter', 'auc', 'eer'),
      )
    )
  return [
    official(title, name, train, test, 'session', headline, version='1.0.0')
    for title, train, test, headline in make
  ]
