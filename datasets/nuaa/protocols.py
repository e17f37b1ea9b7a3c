"""The protocol of NUAA: sessions 1 and 2 train, session 3 is tested.

There is no dev set, and subjects are in both.
"""

from nasfas_jax.data.protocols.definition import Protocol, in_split

PLACE = 95


def protocols() -> list[Protocol]:
  """nuaa/official."""
  return [
    Protocol(
      name='nuaa/official',
      datasets=('nuaa',),
      train=in_split('train'),
      dev=lambda row: False,
      test=in_split('test'),
      domain_field='dataset',
      headline=('hter', 'auc', 'eer'),
      threshold_source='train',
      disjoint_subjects=False,
    )
  ]
