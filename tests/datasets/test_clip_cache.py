import dataclasses
import json

import numpy as np
import pytest

from nasfas_datasets import boxes, clip_cache, listing, video_builder

CONFIG = video_builder.CONFIGS[1]
RECORD = {
  'clip_id': 'a/b',
  'label': 1,
  'fps': 25.0,
  'frames': [b'first', b'second frame'],
  'frame_index': np.arange(2, dtype=np.int32),
  'face_box': np.array([1, 2, 3, 4], np.float32),
  'depth': np.zeros((2, 32, 32), np.uint8),
}


@pytest.fixture
def kept(tmp_path):
  """(folder of the cache, a clip whose record is in it)."""
  path = tmp_path / 'b.avi'
  path.write_bytes(b'video')
  boxes = tmp_path / 'b.face'
  boxes.write_text('1 2 3 4')
  clip = listing.Clip(
    path, 'a/b', 's', 'train', 1, 'live', boxes=listing.Boxes('corners', boxes)
  )
  folder = tmp_path / 'cache'
  clip_cache.ClipCache(folder, CONFIG).put(clip, RECORD)
  return folder, clip


def test_a_record_comes_back_as_it_was(kept):
  folder, clip = kept
  found = clip_cache.ClipCache(folder, CONFIG).get(clip)
  assert found.keys() == RECORD.keys()
  for name, value in RECORD.items():
    np.testing.assert_array_equal(found[name], value)


@pytest.mark.parametrize(
  'changes',
  [{'split': 'dev'}, {'subject': 't'}, {'turn': 2}, {'clip_id': 'a/c'}],
)
def test_another_field_is_another_record(changes, kept):
  folder, clip = kept
  changed = dataclasses.replace(clip, **changes)
  assert clip_cache.ClipCache(folder, CONFIG).get(changed) is None


def test_boxes_by_a_function_are_told_by_its_name(kept):
  """Its address, another one in each process, would read every clip again."""
  folder, clip = kept
  reader = listing.Boxes(boxes.corners, clip.boxes.path)
  cache = clip_cache.ClipCache(folder, CONFIG)
  other = dataclasses.replace(clip, boxes=reader)
  assert cache.get(other) is None
  cache.put(other, RECORD)
  assert cache.get(other) is not None
  assert 'nasfas_datasets.boxes.corners' in json.dumps(cache._source(other))
  assert '0x' not in json.dumps(cache._source(other)[1]['boxes']['format'])


def test_other_settings_make_another_record(kept):
  folder, clip = kept
  other = dataclasses.replace(CONFIG, size=96)
  assert clip_cache.ClipCache(folder, other).get(clip) is None


@pytest.mark.parametrize('name', ['path', 'boxes'])
def test_a_changed_file_makes_another_record(name, kept):
  folder, clip = kept
  path = clip.path if name == 'path' else clip.boxes.path
  path.write_bytes(path.read_bytes() + b'!')
  assert clip_cache.ClipCache(folder, CONFIG).get(clip) is None


def test_a_file_cut_off_by_a_kill_is_no_record(kept):
  folder, clip = kept
  (path,) = folder.iterdir()
  path.write_bytes(path.read_bytes()[:100])
  assert clip_cache.ClipCache(folder, CONFIG).get(clip) is None


def test_a_file_of_no_bytes_is_no_record(kept):
  folder, clip = kept
  (path,) = folder.iterdir()
  path.write_bytes(b'')
  cache = clip_cache.ClipCache(folder, CONFIG)
  assert cache.get(clip) is None and cache.properties(clip) is None


def test_what_a_file_browser_leaves_changes_nothing(tmp_path):
  (tmp_path / '0.png').write_bytes(b'picture')
  before = clip_cache.status(tmp_path)
  for name in ('.DS_Store', '._0.png', 'Thumbs.db', 'desktop.ini'):
    (tmp_path / name).write_bytes(b'view')
  # As some editors leave it.
  (tmp_path / '.#0.png').symlink_to('nowhere')
  assert clip_cache.status(tmp_path) == before
  (tmp_path / '1.png').write_bytes(b'picture')
  assert clip_cache.status(tmp_path) != before
