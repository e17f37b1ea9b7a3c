"""The order of clips in a balanced training stream.

Groups of clips (a class, a domain, or a pair of both) take turns, so that each
group is seen equally often, however many clips it has. The clip at a place of
the stream is a pure function of the seed and the place.
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from nasfas_jax import records
from nasfas_jax.data.index import Row

# What makes a group; '': the stream is not balanced.
BALANCES = ('', 'class', 'domain', 'domain_class')


# Compared by identity: it holds arrays.
@dataclasses.dataclass(frozen=True, eq=False)
class Turns:
  """An endless stream of clips in which the groups take turns.

  In any run of consecutive places the groups appear equally often, give or take
  one. A group shows all of its clips before it repeats one, in a new order each
  time.

  Attributes:
    groups: row numbers of each group, int [n] each; none is empty.
    seed: same seed, same stream.
  """

  groups: tuple[np.ndarray, ...]
  seed: int

  def row(self, place: int) -> int:
    """The row number at a place of the stream."""
    # The groups keep one order. If it were drawn anew for every turn, a batch
    # across two turns could show one group two times more than another.
    turn, number = divmod(place, len(self.groups))
    group = self.groups[number]
    epoch, within = divmod(turn, len(group))
    order = _permutation(self.seed, number, epoch, len(group))
    return int(group[order[within]])


@functools.lru_cache(maxsize=256)
def _permutation(seed: int, group: int, epoch: int, size: int) -> np.ndarray:
  return np.random.default_rng((seed, group, epoch)).permutation(size)


def make_turns(
  rows: Sequence[Row], balance: str, domains: Sequence[str], seed: int
) -> Turns:
  """The balanced stream of clips.

  Args:
    rows: the training clips.
    balance: what is seen equally often: the classes live and spoof ('class'),
      the domains ('domain'), or the pairs of a domain and a class that have
      clips ('domain_class').
    domains: the domain of every row.
    seed: same seed, same stream.

  Raises:
    ValueError: for an unknown balance, or clips of a single group.
  """
  if balance not in BALANCES[1:]:
    raise ValueError(f'Unknown balance {balance!r}; allowed: {_allowed()}.')
  groups = {}
  for number, (row, domain) in enumerate(zip(rows, domains, strict=True)):
    kind = 'live' if row['label'] == records.LIVE else 'spoof'
    key = {
      'class': (kind,),
      'domain': (domain,),
      'domain_class': (domain, kind),
    }[balance]
    groups.setdefault(key, []).append(number)
  if len(groups) < 2:
    found = ', '.join(repr(' '.join(key)) for key in groups) or 'none'
    raise ValueError(
      f'balance {balance!r} needs clips of at least 2 groups; found: {found}. '
      f'Allowed: {_allowed()}.'
    )
  return Turns(tuple(np.array(groups[key]) for key in sorted(groups)), seed)


def _allowed() -> str:
  return ', '.join(map(repr, BALANCES))
