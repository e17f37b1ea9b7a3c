import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasfas_jax.data import episodes

DOMAINS = ('a', 'b', 'c')
TYPES = ('print', 'replay', 'mask_rigid')


def make_rows(domains=DOMAINS, types=TYPES, subjects=6, copies=None):
  """One clip of every subject, domain and type; copies: extra ones a domain."""
  rows = []
  for domain, subject, kind in itertools.product(
    domains, range(subjects), ('live', *types)
  ):
    for copy in range((copies or {}).get(domain, 1)):
      rows.append(
        {
          'clip_id': f'{domain}/{subject}/{kind}/{copy}',
          'dataset': 'made_up',
          'subject': f's{subject}',
          'label': int(kind == 'live'),
          'attack_type': kind,
          'session': domain,
        }
      )
  return rows


def make(rows, hold_out, **changes):
  options = {'num_tasks': 2, 'support_size': 4, 'query_size': 4, 'seed': 0}
  tasks = tuple(episodes.make_tasks(rows, hold_out, 'session'))
  live = np.array([bool(row['label']) for row in rows])
  return episodes.Episodes(tasks=tasks, live=live, **{**options, **changes})


def pool(halves):
  return np.concatenate(halves)


def fields(rows, numbers, name):
  return {rows[i][name] for i in numbers}


# A dataset may know the domain of no clip, or not of all.
@pytest.mark.parametrize(
  ('hold_out', 'domains'),
  [
    *((hold_out, DOMAINS) for hold_out in episodes.HOLD_OUTS),
    *((hold_out, ('', 'a', 'b')) for hold_out in episodes.HOLD_OUTS),
    ('type', ('',)),
  ],
)
def test_support_and_query_are_on_their_sides(hold_out, domains):
  rows = make_rows(domains)
  stream = make(rows, hold_out, num_tasks=3, support_size=9, query_size=7)
  for step in range(20):
    held = stream.held_out(step)
    for task, numbers in zip(held, stream.episode(step), strict=True):
      support, query = numbers[:9], numbers[9:]
      subjects = fields(rows, support, 'subject')
      assert not subjects & fields(rows, query, 'subject')
      assert (task.domain is None) == (hold_out == 'type')
      assert (task.attack_type is None) == (hold_out == 'domain')
      if task.domain is not None:
        assert task.domain not in fields(rows, support, 'session')
        assert fields(rows, query, 'session') == {task.domain}
      else:
        assert fields(rows, pool(task.support), 'session') == set(domains)
        assert fields(rows, pool(task.query), 'session') == set(domains)
      if task.attack_type is not None:
        assert task.attack_type not in fields(rows, support, 'attack_type')
        kinds = fields(rows, query, 'attack_type')
        assert kinds == {'live', task.attack_type}


@pytest.mark.parametrize('hold_out', episodes.HOLD_OUTS)
@pytest.mark.parametrize('size', [2, 6])
def test_half_of_every_set_is_live(hold_out, size):
  # Three attacks for every live clip, as they fall.
  rows = make_rows()
  labels = np.array([row['label'] for row in rows])
  stream = make(rows, hold_out, support_size=size, query_size=size)
  parts = np.concatenate([stream.episode(step) for step in range(30)])
  live = labels[parts].reshape(-1, size).sum(1)
  np.testing.assert_array_equal(live, size // 2)


@pytest.mark.parametrize('hold_out', ['domain', 'type'])
def test_half_of_every_domain_is_live(hold_out):
  rows = make_rows()
  labels = np.array([row['label'] for row in rows])
  domains = np.array([row['session'] for row in rows])
  stream = make(rows, hold_out, support_size=12, query_size=12, domains=domains)
  for step in range(10):
    for numbers in stream.episode(step).reshape(-1, 12):
      for name in set(domains[numbers]):
        here = labels[numbers][domains[numbers] == name]
        assert sum(here) * 2 == len(here)


def test_the_odd_clip_is_of_either_class():
  rows = make_rows()
  labels = np.array([row['label'] for row in rows])
  stream = make(rows, 'domain', support_size=3, query_size=5)
  parts = np.concatenate([stream.episode(step) for step in range(30)])
  assert set(labels[parts[:, :3]].sum(1).tolist()) == {1, 2}
  assert set(labels[parts[:, 3:]].sum(1).tolist()) == {2, 3}


@pytest.mark.parametrize(
  ('hold_out', 'number'), [('domain', 3), ('type', 3), ('domain_type', 9)]
)
def test_every_held_out_part_has_its_turn(hold_out, number):
  stream = make(make_rows(), hold_out, num_tasks=1)
  for turn in range(3):
    steps = range(turn * number, (turn + 1) * number)
    held = [stream.held_out(step)[0] for step in steps]
    assert len({(task.domain, task.attack_type) for task in held}) == number


def test_more_tasks_than_held_out_parts():
  stream = make(make_rows(), 'domain', num_tasks=7)
  assert stream.episode(0).shape == (7, 8)


def test_the_same_seed_and_step_give_the_same_episode():
  rows = make_rows()
  first, second = make(rows, 'domain'), make(rows, 'domain')
  np.testing.assert_array_equal(first.episode(5), second.episode(5))
  assert not np.array_equal(first.episode(5), first.episode(7))
  other = make(rows, 'domain', seed=1)
  assert not np.array_equal(first.episode(5), other.episode(5))


def test_the_flat_stream_is_the_episodes_in_a_row():
  stream = make(make_rows(), 'type')
  flat = [stream.row(place) for place in range(3 * stream.size)]
  expected = np.concatenate([stream.episode(i).reshape(-1) for i in range(3)])
  assert flat == expected.tolist()


@settings(max_examples=25, deadline=None)
@given(
  sizes=st.lists(st.integers(1, 5), min_size=2, max_size=5),
  subjects=st.integers(2, 7),
)
def test_any_number_of_domains_of_any_size(sizes, subjects):
  domains = [f'd{i}' for i in range(len(sizes))]
  copies = dict(zip(domains, sizes, strict=True))
  rows = make_rows(domains, subjects=subjects, copies=copies)
  stream = make(rows, 'domain', support_size=50, query_size=50)
  assert len(stream.tasks) == len(sizes)
  assert stream.episode(0).shape == (2, 100)


def test_small_sets_repeat_only_what_they_must():
  rows = make_rows()
  stream = make(rows, 'type', num_tasks=1, query_size=18)
  query = stream.episode(0)[0, 4:]
  # Half of the 6 subjects, 3 domains, live and one type: 18 clips.
  assert len(set(query.tolist())) == 18


@pytest.mark.parametrize(
  ('rows', 'hold_out', 'message'),
  [
    (
      make_rows(domains=('a',)),
      'domain',
      "at least 2 domains; .* have 1 \\('a' .*hold_out=type or none .*:type or",
    ),
    (
      make_rows(types=('print',)),
      'type',
      'at least 2 types; .* have 1 \\(print\\).*hold_out=domain or none',
    ),
    (make_rows(), 'subject', "'subject'; allowed: domain, type, domain_type"),
    (
      make_rows(subjects=1),
      'domain',
      "holds out 'a' needs .* its support set .domains 'b', 'c'. has no live "
      'clips in one half of the subjects, .* These clips allow no search',
    ),
    (
      [r for r in make_rows() if r['session'] != 'b' or r['label'] == 0],
      'domain',
      "out 'b' needs .*; its query set .domains 'b'. has no live clips. With "
      'these clips works: --config.search.hold_out=type or domain_type or ',
    ),
    (
      [r for r in make_rows() if r['session'] == 'a' or r['label']],
      'domain_type',
      "Of the domains, 'b' has no mask_rigid, print, replay; 'c' has no mask_",
    ),
  ],
)
def test_clips_that_make_no_tasks_are_an_error_with_advice(
  rows, hold_out, message
):
  with pytest.raises(ValueError, match=message):
    episodes.make_tasks(rows, hold_out, 'session')


def test_a_pair_without_clips_is_left_out_of_domain_type():
  rows = [
    row
    for row in make_rows()
    if (row['session'], row['attack_type']) != ('a', 'replay')
  ]
  tasks = episodes.make_tasks(rows, 'domain_type', 'session')
  assert len(tasks) == 8
  assert ('a', 'replay') not in {(t.domain, t.attack_type) for t in tasks}


def test_subjects_of_one_domain_each_are_in_both_halves():
  rows = [
    {**row, 'subject': f'{row["session"]}{row["subject"]}'}
    for row in make_rows()
  ]
  halves = episodes.subject_halves(rows, 'session')
  for domain in DOMAINS:
    here = [
      h for h, r in zip(halves, rows, strict=True) if r['session'] == domain
    ]
    assert sorted(set(here)) == [0, 1]
    assert sum(here) * 2 == len(here)


def test_domains_in_equal_number_lie_one_after_the_other():
  rows = make_rows(copies={'b': 5})
  domains = np.array([row['session'] for row in rows])
  stream = make(rows, 'type', support_size=6, query_size=3, domains=domains)
  for step in range(10):
    for numbers in stream.episode(step):
      assert domains[numbers].tolist() == [*'aabbcc', *'abc']
  stream = make(rows, 'domain', support_size=6, domains=domains)
  for task, numbers in zip(stream.held_out(0), stream.episode(0), strict=True):
    others = sorted(set('abc') - {task.domain})
    assert (
      domains[numbers].tolist()
      == [name for name in others for _ in range(3)] + [task.domain] * 4
    )


def test_the_domains_of_the_sets_are_counted():
  rows = make_rows()
  domains = np.array([row['session'] for row in rows])
  for hold_out, expected in (
    ('domain', {'support': 2, 'query': 1}),
    ('type', {'support': 3, 'query': 3}),
    ('domain_type', {'support': 2, 'query': 1}),
  ):
    tasks = episodes.make_tasks(rows, hold_out, 'session')
    assert episodes.count_domains(tasks, domains) == expected
  # The rigid masks are in one domain alone.
  rows = [r for r in rows if r['attack_type'] != 'mask_rigid'] + [
    r for r in rows if r['attack_type'] == 'mask_rigid' and r['session'] == 'a'
  ]
  live_in_a = [r for r in rows if r['label'] == 0 or r['session'] == 'a']
  domains = np.array([row['session'] for row in live_in_a])
  tasks = episodes.make_tasks(live_in_a, 'type', 'session')
  with pytest.raises(
    ValueError, match=r'query sets of the tasks have \[1, 3\]'
  ):
    episodes.count_domains(tasks, domains)
