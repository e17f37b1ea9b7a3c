"""The protocol of CASIA-SURF: the shipped splits.

The attacks that are tested are none of those that train.
"""

from nasfas_jax.data.protocols.definition import ACER, Protocol, official

PLACE = 76


def protocols() -> list[Protocol]:
  """casia_surf/official."""
  name = 'casia_surf'
  headline = (*ACER, 'auc')
  return [official(f'{name}/official', name, {}, {}, 'dataset', headline)]
