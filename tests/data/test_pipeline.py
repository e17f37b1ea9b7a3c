import collections
import dataclasses
import itertools
from multiprocessing import shared_memory

import numpy as np
import pytest

from nasfas_jax import records, stored_frames
from nasfas_jax.data import (
  clips,
  episodes,
  index,
  pipeline,
  protocols,
)

SHAPE = pipeline.SnippetShape(num_frames=4, image_size=24, map_size=8)


def reading(num_workers=0, cache_bytes=0):
  return pipeline.Reading(num_workers=num_workers, cache_bytes=cache_bytes)


@pytest.fixture(scope='module')
def rows(tiny_data_dir):
  name = 'synthetic_fas/unseen_rooms'
  chosen = protocols.load(name, str(tiny_data_dir), 'tiny')
  return chosen.train


def stream(rows, **changes):
  options = {
    'shape': SHAPE,
    'reading': reading(),
    'domain_field': 'session',
    'batch_size': 4,
    'seed': 0,
    **changes,
  }
  return pipeline.train_batches(rows, **options)


def take(batches, number):
  taken = list(itertools.islice(batches, number))
  if hasattr(batches, 'close'):
    batches.close()
  return taken


def assert_same(first, second):
  assert len(first) == len(second)
  for a, b in zip(first, second, strict=True):
    assert a.keys() == b.keys()
    for name in a:
      np.testing.assert_array_equal(a[name], b[name])


def test_batches_have_the_documented_shapes(rows):
  (batch,) = take(stream(rows), 1)
  shapes = {name: (array.shape, array.dtype) for name, array in batch.items()}
  assert shapes == {
    'frames': ((4, 4, 80, 80, 3), np.uint8),
    'frame_size': ((4, 2), np.int32),
    'depth': ((4, 32, 32), np.uint8),
    'has_depth': ((4,), np.bool_),
    'face_box': ((4, 4), np.float32),
    'place': ((4,), np.int32),
    'label': ((4,), np.int32),
    'index': ((4,), np.int32),
    'domain': ((4,), np.int32),
    'attack_type': ((4,), np.int32),
  }
  assert batch['place'].tolist() == [0, 1, 2, 3]


def test_a_raw_clip_is_that_of_its_record(rows):
  source = clips.ClipSource(rows)
  starts = set()
  for batch in take(stream(rows), 4):
    for i, clip in enumerate(batch['index']):
      record = source[int(clip)]
      pictures = np.stack(list(record['frames']))
      (start,) = [
        start
        for start in range(len(pictures) - 3)
        if np.array_equal(batch['frames'][i], pictures[start : start + 4])
      ]
      starts.add(start)
      assert batch['frame_size'][i].tolist() == [80, 80]
      np.testing.assert_array_equal(batch['face_box'][i], record['face_box'])
      assert batch['has_depth'][i]
      # Of the static frame.
      np.testing.assert_array_equal(
        batch['depth'][i], record['depth'][start + 2]
      )
  assert starts == {0, 1, 2, 3, 4}


def test_smaller_clips_are_padded_and_larger_ones_refused():
  grey = np.arange(2 * 6 * 5 * 3, dtype=np.uint8).reshape(2, 6, 5, 3)
  files = [stored_frames.encode(picture) for picture in grey]
  record = {
    'frames': clips.Frames(files, name='small/1'),
    'depth': np.zeros((0, 32, 32), np.uint8),
    'face_box': np.array([1, 1, 4, 4], np.float32),
    'label': 1,
    'index': 0,
  }
  rng = np.random.default_rng(0)
  made = pipeline.StoredSnippet(SHAPE, 8).random_map(record, rng)
  # Two frames, repeated to four.
  np.testing.assert_array_equal(made['frames'][:, :6, :5], grey[[0, 0, 1, 1]])
  assert made['frames'].shape == (4, 8, 8, 3)
  assert not made['frames'][:, 6:].any() and not made['frames'][:, :, 5:].any()
  assert made['frame_size'].tolist() == [6, 5]
  assert not made['has_depth'] and made['depth'].shape == (32, 32)
  with pytest.raises(ValueError, match="'small/1' has frames of 5 x 6 pixels"):
    pipeline.StoredSnippet(SHAPE, 5).random_map(record, rng)


def test_the_largest_stored_side_is_that_of_all_datasets(monkeypatch):
  sides = {'a': 8, 'b': 12, 'c': 10}
  rows = [
    {'folder': name, 'tfds_split': 'train', 'position': 0, 'clip_id': name}
    for name in 'aabcb'
  ]
  read = []

  def record_of(source, i):
    read.append(i)
    side = sides[source._clip_ids[i]]
    picture = np.zeros((side, side - 1, 3), np.uint8)
    return {
      'frames': [stored_frames.encode(picture)],
      'depth': np.zeros((0, 2, 2)),
    }

  monkeypatch.setattr(clips.ClipSource, '_read', record_of)
  assert clips.ClipSource(rows).largest_side() == 12
  assert read == [0, 2, 3]


def check_numbers(batch, rows, field='session'):
  """The numbers of a batch against the index, by name."""
  names = sorted({row[field] for row in rows})
  for i, clip in enumerate(batch['index']):
    row = rows[clip]
    assert batch['label'][i] == row['label']
    assert names[batch['domain'][i]] == row[field]
    assert records.ATTACK_TYPES[batch['attack_type'][i]] == row['attack_type']


def test_labels_domains_and_types_are_those_of_the_index(rows):
  # Every clip once.
  seen = take(stream(rows), len(rows) // 4)
  for batch in seen:
    check_numbers(batch, rows)
  kinds = {kind for batch in seen for kind in batch['attack_type'].tolist()}
  assert len(kinds) == len({row['attack_type'] for row in rows}) > 2
  for batch in take(stream(rows, domain_field='camera'), 2):
    check_numbers(batch, rows, 'camera')
  for batch in evaluation(rows[:7], num_snippets=2):
    check_numbers(batch, rows[:7])


def test_an_episode_has_the_numbers_of_its_clips(rows):
  live = np.array([row['label'] == records.LIVE for row in rows])
  made = episodes.Episodes(
    tasks=tuple(episodes.make_tasks(rows, 'type', 'session')),
    num_tasks=2,
    support_size=4,
    query_size=4,
    seed=1,
    live=live,
  )

  def read(step, places=None):
    return pipeline.episode_batches(
      rows,
      episodes=made,
      shape=SHAPE,
      reading=reading(),
      domain_field='session',
      seed=0,
      step=step,
      places=places,
    )

  for step, batch in enumerate(take(read(3), 2), 3):
    assert batch['index'].tolist() == made.episode(step).reshape(-1).tolist()
    assert batch['place'].tolist() == list(range(16))
    check_numbers(batch, rows)
    # With the same frames and places, whoever reads a part.
    (part,) = take(read(step, [1, 2, 11]), 1)
    assert_same([part], [{k: v[[1, 2, 11]] for k, v in batch.items()}])


def test_the_domains_are_named_in_the_order_of_their_numbers(rows):
  names = pipeline.domain_names(rows, 'session')
  assert names == ('room00', 'room01', 'room02', 'room03')
  assert pipeline.domain_names(rows, '') == ('',)
  (batch,) = take(stream(rows, domain_field=''), 1)
  assert batch['domain'].tolist() == [0, 0, 0, 0]


def test_a_field_that_clips_lack_is_an_error(rows):
  with pytest.raises(ValueError, match="no field 'room'.*'camera'.*'session'"):
    stream(rows, domain_field='room')


def test_an_unknown_attack_type_is_an_error(rows):
  wrong = [*rows[:3], {**rows[3], 'attack_type': 'hologram'}]
  message = f"{rows[3]['clip_id']}.*'hologram'; allowed: live, print, .*glasses"
  with pytest.raises(ValueError, match=message):
    stream(wrong)
  # When the stream is made, not when it is read.
  with pytest.raises(ValueError, match=message):
    pipeline.evaluation_batches(wrong, **EVALUATION)


@pytest.mark.parametrize('name', ['class', 'domain', 'domain_class'])
def test_a_balanced_stream_gives_equal_parts_and_resumes(name, rows):
  keys = {
    'class': lambda row: (row['label'],),
    'domain': lambda row: (row['session'],),
    'domain_class': lambda row: (row['session'], row['label']),
  }[name]
  groups = {keys(row) for row in rows}
  whole = take(stream(rows, balance=name, batch_size=6), 16)
  for batch in whole:
    check_numbers(batch, rows)
    counts = collections.Counter(keys(rows[i]) for i in batch['index'])
    found = [counts[group] for group in groups]
    assert max(found) - min(found) <= 1
  total = collections.Counter(
    keys(rows[i]) for batch in whole for i in batch['index']
  )
  assert total == dict.fromkeys(groups, 16 * 6 // len(groups))
  # By worker processes too, which start slowly.
  workers = int(name == 'domain_class')
  rest = stream(
    rows, balance=name, batch_size=6, step=13, reading=reading(workers)
  )
  assert_same(whole[13:], take(rest, 3))


def test_clips_that_cannot_be_balanced_are_an_error(rows):
  with pytest.raises(ValueError, match="balance 'domain' needs .*found: ''"):
    stream(rows, balance='domain', domain_field='')
  with pytest.raises(ValueError, match="Unknown balance 'type'"):
    stream(rows, balance='type')


def test_same_seed_same_stream_other_seed_other_stream(rows):
  first = take(stream(rows), 3)
  assert_same(first, take(stream(rows), 3))
  other = take(stream(rows, seed=1), 3)
  assert any(
    not np.array_equal(a['index'], b['index'])
    for a, b in zip(first, other, strict=True)
  )


def test_a_stream_from_a_step_on_is_the_rest_of_the_whole(rows):
  whole = take(stream(rows), 12)
  assert_same(whole[9:], take(stream(rows, step=9), 3))


def test_worker_processes_give_the_same_stream(rows):
  whole = take(stream(rows), 6)
  found = take(stream(rows, step=2, reading=reading(2)), 4)
  assert_same(whole[2:], found)
  # Their shared memory has no name that could stay behind.
  names = [array.shm.name for batch in found for array in batch.values()]
  assert len(names) == 4 * len(whole[0])
  for name in names:
    with pytest.raises(FileNotFoundError):
      shared_memory.SharedMemory(name)


@pytest.mark.parametrize('share', [0.5, 2.0])
@pytest.mark.parametrize('num_workers', [0, 2])
def test_what_is_kept_in_memory_changes_nothing(num_workers, share, rows):
  source = clips.ClipSource(rows, 2**30)
  for i in range(len(rows)):
    list(source[i]['frames'])
  # In every process.
  needed = 2**30 - source._room._left
  whole = take(stream(rows), 24)
  kept = stream(
    rows,
    reading=reading(num_workers, int(share * needed) * max(1, num_workers)),
  )
  assert_same(whole, take(kept, 24))


def test_every_epoch_holds_every_clip_once_in_another_order(rows):
  number = len(rows) // 4
  assert len(rows) == number * 4
  batches = take(stream(rows), 2 * number)
  places = np.concatenate([batch['index'] for batch in batches])
  first, second = places[: len(rows)], places[len(rows) :]
  assert sorted(first) == sorted(second) == list(range(len(rows)))
  assert first.tolist() != second.tolist()


@pytest.mark.parametrize(
  ('count', 'balance'), [(2, ''), (4, ''), (2, 'domain_class')]
)
def test_processes_read_equal_parts_of_each_global_batch(count, balance, rows):
  whole = take(stream(rows, balance=balance), 4)
  parts = [
    take(stream(rows, balance=balance, process_index=i, process_count=count), 4)
    for i in range(count)
  ]
  for step in range(4):
    for i in range(count):
      # With the same frames and places.
      assert_same(
        [parts[i][step]],
        [
          {
            name: np.split(array, count)[i]
            for name, array in whole[step].items()
          }
        ],
      )


def test_batch_size_must_be_a_multiple_of_the_processes(rows):
  with pytest.raises(ValueError, match='batch_size 4 must be'):
    stream(rows, process_count=3)


def test_no_clips_is_an_error():
  with pytest.raises(ValueError, match='no clips'):
    stream([])


EVALUATION = {
  'shape': SHAPE,
  'face_scale': 1.3,
  'num_snippets': 1,
  'num_workers': 0,
  'domain_field': 'session',
  'batch_size': 4,
}


def evaluation(rows, **changes):
  return list(pipeline.evaluation_batches(rows, **{**EVALUATION, **changes}))


def test_evaluation_reads_every_snippet_once_and_fills_the_last_batch(rows):
  batches = evaluation(rows[:7], num_snippets=3)
  assert all(len(batch['label']) == 4 for batch in batches)
  kept = np.concatenate([b['index'][b['weight'] > 0] for b in batches])
  assert kept.tolist() == [i // 3 for i in range(21)]
  assert sum(b['weight'].sum() for b in batches) == 21
  # Filled up with different clips, as the statistics of a batch want it.
  assert batches[-1]['index'].tolist() == [6, 0, 0, 0]
  assert evaluation(rows[:3])[-1]['index'].tolist() == [0, 1, 2, 0]


def test_evaluation_is_the_same_for_several_processes(rows):
  whole = evaluation(rows[:7])
  parts = [
    evaluation(rows[:7], process_index=i, process_count=2) for i in range(2)
  ]
  assert len(parts[0]) == len(parts[1])
  found = {}
  for batch in itertools.chain(*parts):
    for place, weight, frames in zip(
      batch['index'], batch['weight'], batch['frames'], strict=True
    ):
      if weight:
        assert place not in found
        found[int(place)] = frames
  expected = np.concatenate([b['frames'][b['weight'] > 0] for b in whole])
  np.testing.assert_array_equal([found[i] for i in range(7)], expected)


@pytest.mark.parametrize('total', [1, 63, 64, 1000])
def test_up_to_64_processes_read_even_shares(total):
  for count in range(1, 65):
    shares = [
      pipeline.process_share(total, 2 * count, i, count) for i in range(count)
    ]
    assert len({len(places) for places, _ in shares}) == 1
    read = [weights.sum() for _, weights in shares]
    # The last batch is filled up at its end, so by what one process reads.
    assert max(read) - min(read) <= 2
    places = [
      place
      for share in shares
      for place, weight in zip(*share, strict=True)
      if weight
    ]
    assert sorted(places) == list(range(total))


@pytest.mark.parametrize('field', ['num_frames', 'image_size', 'map_size'])
def test_sizes_must_be_positive(field):
  with pytest.raises(ValueError, match=f'{field} is 0'):
    dataclasses.replace(SHAPE, **{field: 0})


def test_unprepared_data_is_an_error(tmp_path):
  with pytest.raises(FileNotFoundError, match='is not prepared'):
    index.load_index(tmp_path, 'synthetic_fas', 'tiny')
  folder = tmp_path / 'synthetic_fas' / 'small' / '1.0.0'
  folder.mkdir(parents=True)
  (folder / records.INDEX_FILE).touch()
  with pytest.raises(FileNotFoundError, match='prepared there: small '):
    index.load_index(tmp_path, 'synthetic_fas', 'tiny')
