"""The protocols of CelebA-Spoof, each by the shipped lists.

There is no dev set: the threshold is set on the training pictures. Light and
environment are known of attacks alone, so they are not domains.
"""

from nasfas_datasets.celeba_spoof import layout
from nasfas_jax.data.protocols.definition import ACER, Protocol, in_list

PLACE = 55


def protocols() -> list[Protocol]:
  """intra, protocol1 and protocol2/QUALITY."""
  return [_protocol(title) for title in layout.LISTS]


def _protocol(title: str) -> Protocol:
  return Protocol(
    name=f'celeba_spoof/{title}',
    datasets=('celeba_spoof',),
    train=in_list(f'{title}/train'),
    dev=lambda row: False,
    test=in_list(f'{title}/test'),
    domain_field='dataset',
    headline=(*ACER, 'auc'),
    threshold_source='train',
  )
