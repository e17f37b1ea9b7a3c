"""Numbers that are not finite: the step, its clips, and a run without them.

A step is not waited for. So what it gave is looked at when a line is logged or
a checkpoint is saved, and the first bad step since then is found.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

PyTree = Any
Scalars = Mapping[str, jax.Array]
# (rows of the index, a dict of arrays whose 'index' are places in the rows).
Clips = tuple[Sequence[Mapping[str, Any]], Mapping[str, jax.Array]]

# The scalar of a step that was skipped: 1, else 0.
SKIPPED = 'skipped'
# The most clips that a message names.
_MAX_NAMED = 4


def skipping(
  step: Callable, state: PyTree, *, members: bool = False
) -> Callable:
  """Makes a step that leaves the state as it is where numbers are not finite.

  The choice is made on the device, so nothing waits. A good step gives the very
  same state and scalars.

  Args:
    step: (state, batch) -> (state, scalars); may donate its state.
    state: with the fields `step` and `skipped`; only its shapes and shardings
      are used.
    members: the state's leaves and the scalars have a leading axis, and the
      choice is made for each place on it by itself.

  Returns:
    As `step`, and with the scalar `SKIPPED`. If a scalar, or a number of the
    new state, is not finite, the new state is the old one, but for `step`,
    which counts batches, and `skipped`, which is one higher.
  """
  shardings = jax.tree.map(lambda leaf: leaf.sharding, state)

  def choose(old, new, scalars):
    good = is_finite((new, scalars))
    chosen = jax.tree.map(lambda n, o: jnp.where(good, n, o), new, old)
    bad = jnp.where(good, 0, 1).astype(jnp.int32)
    return chosen.replace(step=new.step, skipped=old.skipped + bad), bad

  if members:
    choose = jax.vmap(choose)
  # The step may donate its state, so the old one is a copy.
  copy = jax.jit(
    lambda old: jax.tree.map(jnp.copy, old), out_shardings=shardings
  )
  choose = jax.jit(
    choose, out_shardings=(shardings, shardings.step), donate_argnums=0
  )

  def chosen_step(state, batch):
    old = copy(state)
    new, scalars = step(state, batch)
    new, skipped = choose(old, new, scalars)
    return new, {**scalars, SKIPPED: skipped}

  return chosen_step


@jax.jit
def is_finite(tree: PyTree) -> jax.Array:
  """Whether all numbers of some arrays are finite: a bool scalar."""
  good = jnp.array(True)
  for leaf in jax.tree.leaves(tree):
    if jnp.issubdtype(leaf.dtype, jnp.inexact):
      good &= jnp.all(jnp.isfinite(leaf))
  return good


def count(state: PyTree) -> int:
  """Steps that were skipped; over tasks, each of them counts all."""
  return int(np.max(np.asarray(state.skipped)))


def skipped(
  recent: Sequence[tuple[int, Scalars]],
) -> Iterator[tuple[int, str]]:
  """The skipped steps among recent ones, and what was not finite in each."""
  for step, scalars in recent:
    if int(scalars.get(SKIPPED, 0)):
      found = _first(scalars)
      reason = 'a gradient or a statistic is not finite'
      yield step, '{} is {}'.format(*found) if found else reason


def first(
  recent: Sequence[tuple[int, Scalars]],
) -> tuple[int, str, float] | None:
  """The first recent step with a scalar that is not finite, and the scalar.

  Args:
    recent: (number of steps done, scalars of the last of them).

  Returns:
    (number of steps done, name, value); None if all are finite.
  """
  for step, scalars in recent:
    if found := _first(scalars):
      return step, *found
  return None


def _first(scalars: Scalars) -> tuple[str, float] | None:
  for name, value in scalars.items():
    if not math.isfinite(float(value)):
      return name, float(value)
  return None


def name_clips(parts: Sequence[Clips]) -> str:
  """A sentence on the clips of a batch: which hold numbers that are not finite.

  Args:
    parts: of the batch. Of arrays that are split over several hosts, those of
      this one are named.
  """
  bad, names = [], []
  for rows, arrays in parts:
    index = _local(arrays['index'], arrays['index'].ndim)[:, 0]
    wrong = np.zeros(len(index), bool)
    for array in arrays.values():
      if jnp.issubdtype(array.dtype, jnp.inexact):
        values = _local(array, arrays['index'].ndim)
        wrong |= ~np.isfinite(values.astype(np.float32)).all(axis=1)
    ids = [rows[place]['clip_id'] for place in index]
    names += ids
    bad += [name for name, is_wrong in zip(ids, wrong, strict=True) if is_wrong]
  if bad:
    return f'Of its clips, {_listed(bad)} hold numbers that are not finite.'
  return f'None of its clips ({_listed(names)}) holds such a number.'


def _local(array: jax.Array, num_axes: int) -> np.ndarray:
  """This host's part, with the first axes, and the others, made one each."""
  array = jnp.asarray(array)
  rest = math.prod(array.shape[num_axes:])
  if array.is_fully_addressable:
    return np.asarray(array).reshape(-1, rest)
  shards = [np.asarray(shard.data) for shard in array.addressable_shards]
  return np.concatenate([shard.reshape(-1, rest) for shard in shards])


def _listed(names: Sequence[str]) -> str:
  names = list(dict.fromkeys(names))
  more = len(names) - _MAX_NAMED
  shown = ', '.join(map(repr, names[:_MAX_NAMED]))
  return f'{shown} and {more} more' if more > 0 else shown
