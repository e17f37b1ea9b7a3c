"""The protocol of MSU-MFSD, and leave-one-attack-out.

There is no dev set, so the threshold is set on the training clips.
"""

from nasfas_datasets.msu_mfsd import layout
from nasfas_jax.data.protocols.definition import (
  Protocol,
  leave_attack_out,
  official,
)

PLACE = 80


def protocols() -> list[Protocol]:
  """msu_mfsd, and leave_out/ATTACK."""
  name = 'msu_mfsd'
  headline = ('hter', 'eer', 'auc')
  attacks = {kind: (kind,) for kind in layout.ATTACKS}
  return [
    official(name, name, {}, {}, 'camera', headline, 'train'),
    *leave_attack_out(name, '', attacks, 'train'),
  ]
