"""Batches that are divided by domain, by counts."""

import jax.numpy as jnp
import numpy as np
import pytest

from nasfas_jax import domain_sets
from nasfas_jax.data import balance


def make_rows(*groups):
  """(domain, label, number) ... -> rows, and their domains."""
  rows, domains = [], []
  for domain, label, number in groups:
    rows += [{'label': label}] * number
    domains += [domain] * number
  return rows, domains


FULL = make_rows(('a', 1, 2), ('a', 0, 9), ('b', 1, 3), ('b', 0, 4))


@pytest.mark.parametrize(
  ('name', 'size', 'expected'),
  [('domain', 6, 3), ('domain_class', 8, 4), ('domain_class', 4, 2)],
)
def test_every_batch_has_as_many_clips_of_each_domain(name, size, expected):
  rows, domains = FULL
  assert domain_sets.clips_per_domain(rows, domains, name, size) == expected
  turns = balance.make_turns(rows, name, domains, seed=3)
  for start in range(0, 20 * size, size):
    places = [turns.row(place) for place in range(start, start + size)]
    seen = [domains[place] for place in places]
    assert seen.count('a') == seen.count('b') == expected
    if name == 'domain_class':
      labels = [rows[place]['label'] for place in places]
      assert labels.count(1) == size // 2


@pytest.mark.parametrize(
  ('given', 'name', 'size', 'message'),
  [
    (FULL, '', 8, "balance is ''; allowed .*: domain, domain_class"),
    (FULL, 'class', 8, "balance is 'class'; allowed"),
    (FULL, 'domain_class', 6, 'the batch has 6 clips; .* a multiple of 4'),
    (FULL, 'domain', 5, 'a multiple of 2'),
    (
      make_rows(('a', 1, 2), ('a', 0, 2), ('b', 0, 3)),
      *('domain_class', 6, 'some domains lack a class; .*: domain'),
    ),
    (make_rows(('a', 1, 2), ('a', 0, 2)), 'domain', 4, 'are of 1 domain'),
  ],
)
def test_what_cannot_be_divided_is_an_error(given, name, size, message):
  with pytest.raises(ValueError, match=message):
    domain_sets.clips_per_domain(*given, name, size)


def test_one_domain_is_held_out_and_the_others_stay():
  batch = {
    'domain': jnp.array([2, 0, 1, 2, 1, 0]),
    'index': jnp.arange(6),
    'frames': jnp.arange(12).reshape(6, 2),
  }
  batch = domain_sets.sort(batch)
  assert batch['domain'].tolist() == [0, 0, 1, 1, 2, 2]
  assert batch['index'].tolist() == [1, 5, 2, 4, 0, 3]
  for held in range(3):
    others, own = domain_sets.hold_out(batch, jnp.int32(held), 2)
    assert own['domain'].tolist() == [held, held]
    assert sorted(others['domain'].tolist()) == sorted(
      2 * [d for d in range(3) if d != held]
    )
    both = np.concatenate([others['index'], own['index']])
    assert sorted(both.tolist()) == list(range(6))
    for part in (others, own):
      np.testing.assert_array_equal(part['frames'][:, 0], 2 * part['index'])
