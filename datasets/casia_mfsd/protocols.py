"""The seven scenarios of CASIA-MFSD, and leave-one-attack-out.

The threshold is set on the training clips. Sources disagree on which of the odd
and even files the paper calls low and which normal quality, so the names here
are odd and even.
"""

from nasfas_datasets.casia_mfsd import layout
from nasfas_jax.data.protocols.definition import (
  ACER,
  Protocol,
  leave_attack_out,
  official,
  only,
)

PLACE = 60


def protocols() -> list[Protocol]:
  """overall, one per quality, one per attack, and leave_out/ATTACK."""
  name = 'casia_mfsd'
  details = dict.fromkeys(detail for _, detail in layout.CODES.values())
  live, *attacks = details
  make = {
    'overall': {},
    **{kind: {'camera': only(kind)} for kind in ('odd', 'even', 'high')},
    **{kind: {'attack_detail': only(live, kind)} for kind in attacks},
  }
  return [
    *(
      official(f'{name}/{title}', name, both, both, 'camera', ACER, 'train')
      for title, both in make.items()
    ),
    *leave_attack_out(name, live, {kind: (kind,) for kind in attacks}, 'train'),
  ]
