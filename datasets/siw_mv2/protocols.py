"""Protocols I to III of SiW-Mv2, by the shipped lists.

I tests known attacks, II leaves one of 14 types out, III tests five groups of
clips (domains A to E). The threshold is set on the training clips.
"""

from collections.abc import Callable

from nasfas_datasets.siw_mv2 import layout
from nasfas_jax.data.protocols.definition import ACER, Protocol, in_list

PLACE = 52


def protocols() -> list[Protocol]:
  """siw_mv2/1, siw_mv2/2/TYPE and siw_mv2/3/DOMAIN."""
  attacks = [kind for kind in layout.TYPES if kind != 'Live']
  return [
    _protocol('1', in_list('1/train'), in_list('1/test')),
    *(_left_out(kind) for kind in attacks),
    *(_domain(letter) for letter in 'ABCDE'),
  ]


def _left_out(kind: str) -> Protocol:
  """As published: every clip of the type is tested, listed or not.

  A type leaves the train set by a part of the name: without `Paper`, neither
  Mask_Paper nor Partial_Paperglass trains.
  """
  trained, tested = in_list('1/train'), in_list('1/test')

  def train(row) -> bool:
    return trained(row) and kind not in row['subject']

  def test(row) -> bool:
    if row['label']:
      return tested(row)
    return row['attack_detail'] == kind

  return _protocol(f'2/{kind}', train, test)


def _domain(letter: str) -> Protocol:
  """Clips of the tested group do not train: of A, two live ones would."""
  trained, tested = in_list('3/train'), in_list(f'3/test_{letter}')
  return _protocol(
    f'3/{letter}', lambda row: trained(row) and not tested(row), tested
  )


def _protocol(title: str, train: Callable, test: Callable) -> Protocol:
  return Protocol(
    name=f'siw_mv2/{title}',
    datasets=('siw_mv2',),
    train=train,
    dev=lambda row: False,
    test=test,
    domain_field='dataset',
    headline=(*ACER, 'auc'),
    threshold_source='train',
    # The names do not identify subjects.
    disjoint_subjects=False,
  )
