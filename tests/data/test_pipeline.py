import itertools

import numpy as np
import pytest

from nasfas_jax.data import clips, index, pipeline, protocols, transforms

SHAPE = pipeline.SnippetShape(num_frames=4, image_size=24, map_size=8)


@pytest.fixture(scope='module')
def rows(tiny_data_dir):
  chosen = protocols.load('synthetic_fas/intra', str(tiny_data_dir), 'tiny')
  return chosen.train


def stream(rows, **changes):
  options = {
    'shape': SHAPE,
    'augmentation': transforms.Augmentation(),
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
    'frames': ((4, 4, 24, 24, 3), np.uint8),
    'depth': ((4, 8, 8), np.float32),
    'face_mask': ((4, 8, 8), np.float32),
    'score_mask': ((4, 8, 8), np.float32),
    'label': ((4,), np.int32),
    'index': ((4,), np.int32),
  }
  assert 0 <= batch['depth'].min() and batch['depth'].max() <= 1


def test_labels_are_those_of_the_index(rows):
  for batch in take(stream(rows), 5):
    expected = [rows[i]['label'] for i in batch['index']]
    assert batch['label'].tolist() == expected


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
  assert_same(whole[2:], take(stream(rows, step=2, num_workers=2), 4))


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
    num_workers=num_workers,
    cache_bytes=int(share * needed) * max(1, num_workers),
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


@pytest.mark.parametrize('count', [2, 4])
def test_processes_read_equal_parts_of_each_global_batch(count, rows):
  whole = take(stream(rows), 4)
  parts = [
    take(stream(rows, process_index=i, process_count=count), 4)
    for i in range(count)
  ]
  for step in range(4):
    read = [part[step]['index'] for part in parts]
    assert {len(places) for places in read} == {4 // count}
    assert sorted(np.concatenate(read)) == sorted(whole[step]['index'])


def test_batch_size_must_be_a_multiple_of_the_processes(rows):
  with pytest.raises(ValueError, match='batch_size 4 must be'):
    stream(rows, process_count=3)


def test_no_clips_is_an_error():
  with pytest.raises(ValueError, match='no clips'):
    stream([])


def evaluation(rows, **changes):
  options = {
    'shape': SHAPE,
    'face_scale': 1.3,
    'num_snippets': 1,
    'batch_size': 4,
    **changes,
  }
  return list(pipeline.evaluation_batches(rows, **options))


def test_evaluation_reads_every_snippet_once_and_fills_the_last_batch(rows):
  batches = evaluation(rows[:7], num_snippets=3)
  assert all(len(batch['label']) == 4 for batch in batches)
  kept = np.concatenate([b['index'][b['weight'] > 0] for b in batches])
  assert kept.tolist() == [i // 3 for i in range(21)]
  assert sum(b['weight'].sum() for b in batches) == 21


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
    assert max(read) - min(read) <= 1
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
    pipeline.SnippetShape(**{field: 0})


def test_unprepared_data_is_an_error(tmp_path):
  with pytest.raises(FileNotFoundError, match='is not prepared'):
    index.load_index(tmp_path, 'synthetic_fas', 'tiny')
