"""The protocols of synthetic_fas, one family for each in the literature."""

from nasfas_datasets.synthetic_fas import plan, rooms
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


def protocols() -> list[Protocol]:
  """intra, cross_domain/ROOM, cross_type/ATTACK, cross_domain_type/ROOM."""
  name = 'synthetic_fas'
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
    official(title, name, train, test, 'session', headline)
    for title, train, test, headline in make
  ]
