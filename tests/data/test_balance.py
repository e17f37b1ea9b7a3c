import collections

import numpy as np
import pytest

from nasfas_jax.data import balance


def make_rows(counts):
  """Clips of (domain, class) pairs, mixed as a sort by clip id mixes them."""
  rows = [
    {'session': domain, 'label': label}
    for (domain, label), count in counts.items()
    for _ in range(count)
  ]
  order = np.random.default_rng(0).permutation(len(rows))
  return [rows[i] for i in order]


ROWS = make_rows(
  {('a', 0): 7, ('a', 1): 2, ('b', 0): 3, ('b', 1): 5, ('', 0): 4}
)
# What a clip counts as, by balance.
KEYS = {
  'class': lambda row: row['label'],
  'domain': lambda row: row['session'],
  'domain_class': lambda row: (row['session'], row['label']),
}


def turns(name, rows=ROWS, seed=0):
  domains = [row['session'] for row in rows]
  return balance.make_turns(rows, name, domains, seed)


def read(stream, number, start=0):
  return [stream.row(place) for place in range(start, start + number)]


@pytest.mark.parametrize('name', KEYS)
def test_every_group_is_seen_equally_often_in_any_run_of_places(name):
  keys = [KEYS[name](row) for row in ROWS]
  groups = set(keys)
  # Two epochs of the largest group.
  largest = max(collections.Counter(keys).values())
  places = read(turns(name), 2 * largest * len(groups))
  seen = [keys[i] for i in places]
  counts = collections.Counter(seen)
  assert counts == dict.fromkeys(groups, 2 * largest)
  for size in range(1, 2 * len(groups) + 2):
    for start in range(len(seen) - size + 1):
      window = collections.Counter(seen[start : start + size])
      found = [window[key] for key in groups]
      assert max(found) - min(found) <= 1


@pytest.mark.parametrize('name', KEYS)
def test_a_group_shows_all_its_clips_before_one_again(name):
  keys = [KEYS[name](row) for row in ROWS]
  groups = set(keys)
  places = read(turns(name), 2 * len(ROWS) * len(groups))
  for key in groups:
    clips = [i for i in range(len(ROWS)) if keys[i] == key]
    shown = [i for i in places if keys[i] == key]
    epochs = [
      shown[start : start + len(clips)]
      for start in range(0, len(shown) - len(clips) + 1, len(clips))
    ]
    assert len(epochs) >= 2
    assert all(sorted(epoch) == clips for epoch in epochs)
    # In a new order: of two clips, not every time.
    assert len(clips) == 1 or any(epoch != epochs[0] for epoch in epochs)


def test_the_stream_is_a_function_of_the_seed_and_the_place():
  whole = read(turns('domain_class'), 60)
  assert read(turns('domain_class'), 23, start=37) == whole[37:]
  other = read(turns('domain_class', seed=1), 60)
  assert other != whole
  # Far out, as after many steps.
  assert turns('class').row(10**15) == turns('class').row(10**15)


def test_a_pair_without_clips_is_no_group():
  assert len(turns('domain_class').groups) == 5
  assert len(turns('domain').groups) == 3


@pytest.mark.parametrize(
  ('name', 'counts', 'message'),
  [
    ('class', {('a', 0): 2, ('b', 0): 1}, "balance 'class'.*found: 'spoof'"),
    ('domain', {('a', 0): 2, ('a', 1): 1}, "balance 'domain' .*found: 'a'"),
    ('domain_class', {('a', 1): 2}, "found: 'a live'.*allowed"),
    ('domain', {}, 'found: none'),
    ('type', {('a', 0): 1, ('b', 1): 1}, "Unknown balance 'type'"),
  ],
)
def test_what_cannot_be_balanced_is_an_error(name, counts, message):
  with pytest.raises(ValueError, match=f'(?i){message}') as raised:
    turns(name, make_rows(counts))
  assert "'', 'class', 'domain', 'domain_class'" in str(raised.value)
