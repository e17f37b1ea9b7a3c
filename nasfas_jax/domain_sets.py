"""A balanced batch, divided by domain.

With equal numbers of clips of every domain (`data.balance` 'domain' or
'domain_class', a batch of whole turns) the shapes are fixed, and a compiled
step can take the domains apart.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from nasfas_jax import sharding
from nasfas_jax.data import balance as balance_lib
from nasfas_jax.data.index import Row

Batch = dict[str, jax.Array]


def clips_per_domain(
  rows: Sequence[Row], domains: Sequence[str], balance: str, batch_size: int
) -> int:
  """The number of clips of each domain in every batch.

  Args:
    rows: the training clips.
    domains: of every row.
    balance: of the batches, see `balance.make_turns`.
    batch_size: clips of a batch.

  Raises:
    ValueError: if it is not the same for every domain and batch, or there is
      only one domain; says what is allowed.
  """
  if balance not in ('domain', 'domain_class'):
    raise ValueError(
      f'balance is {balance!r}; allowed where a step divides its clips by '
      'domain: domain, domain_class.'
    )
  names = sorted(set(domains))
  if len(names) < 2:
    raise ValueError(
      f'the training clips are of {len(names)} domain; allowed where a step '
      'divides its clips by domain: 2 or more.'
    )
  turns = balance_lib.make_turns(rows, balance, domains, seed=0)
  number = len(turns.groups)
  counts = {name: 0 for name in names}
  for group in turns.groups:
    counts[domains[int(group[0])]] += 1
  if len(set(counts.values())) > 1:
    raise ValueError(
      f'balance is {balance!r}, and some domains lack a class; allowed where a '
      'step divides its clips by domain: domain.'
    )
  if batch_size % number:
    raise ValueError(
      f'the batch has {batch_size} clips; allowed where a step divides its '
      f'clips by domain: a multiple of {number}, the groups of balance '
      f'{balance!r}.'
    )
  return batch_size // len(names)


def sort(batch: Batch, mesh: Mesh | None = None) -> Batch:
  """The batch in the order of its clips' domains; their order stays else.

  Args:
    batch: arrays [N, ...].
    mesh: of the devices, see `sharding.divide_clips`.
  """
  order = jnp.argsort(batch['domain'], stable=True)
  ordered = jax.tree.map(lambda leaf: leaf[order], batch)
  return sharding.divide_clips(ordered, mesh)


def hold_out(
  batch: Batch, held: jax.Array, per_domain: int, mesh: Mesh | None = None
) -> tuple[Batch, Batch]:
  """Takes one domain out of a sorted batch.

  Args:
    batch: see `sort`.
    held: int scalar, which of its domains.
    per_domain: clips of each domain.
    mesh: of the devices, see `sharding.divide_clips`.

  Returns:
    (the clips of the other domains, the clips of this one).
  """
  number = batch['domain'].shape[0] // per_domain
  others = (held + 1 + jnp.arange(number - 1)) % number

  def parts(leaf):
    by_domain = leaf.reshape(number, per_domain, *leaf.shape[1:])
    kept = by_domain[others]
    return kept.reshape(-1, *leaf.shape[1:]), by_domain[held]

  divided = {name: parts(leaf) for name, leaf in batch.items()}
  return tuple(
    sharding.divide_clips(
      {name: pair[i] for name, pair in divided.items()}, mesh
    )
    for i in range(2)
  )
