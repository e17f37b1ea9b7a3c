"""The base builder: records are checked, the index is kept."""

import hashlib
import pathlib
import pickle

import numpy as np
import pytest

from nasfas_datasets import fas_builder
from nasfas_jax import records, stored_frames
from nasfas_jax.data import index

FRAME = stored_frames.encode(np.zeros((80, 80, 3), np.uint8))
SMALL = stored_frames.encode(np.zeros((8, 80, 3), np.uint8))


def make(**changes):
  fields = {
    'clip_id': 'a/b',
    'dataset': 'some',
    'subject': 's1',
    'split': 'train',
    'label': 1,
    'attack_type': 'live',
    'frames': [FRAME, FRAME],
    'frame_index': [0, 4],
    'face_box': (10, 12, 60, 62),
  }
  return fas_builder.make_record(**{**fields, **changes})


def test_record_has_every_feature():
  record = make()
  features = fas_builder.record_features()
  assert record.keys() == features.keys()
  assert record['depth'].shape == (0, 32, 32)
  assert record['face_box'].dtype == np.float32
  restored = features.deserialize_example_np(features.serialize_example(record))
  assert restored['frames'][1] == FRAME
  np.testing.assert_array_equal(restored['frame_index'], [0, 4])
  assert restored['depth'].shape == (0, 32, 32)


def test_depth_survives():
  depth = np.arange(2 * 32 * 32, dtype=np.uint32).astype(np.uint8)
  depth = depth.reshape(2, 32, 32)
  features = fas_builder.record_features()
  data = features.serialize_example(make(depth=depth))
  restored = features.deserialize_example_np(data)
  np.testing.assert_array_equal(restored['depth'], depth)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'label': 0}, "'a/b'.*label 0.*'live'"),
    ({'label': 2}, 'label 2; allowed: 1'),
    ({'label': 0, 'attack_type': ''}, "label 0 .*attack_type ''"),
    ({'label': -1, 'split': 'test'}, "label -1 .*attack_type 'live'"),
    ({'label': -1, 'attack_type': '', 'split': 'dev'}, "'dev' without a label"),
    ({'attack_type': 'wig'}, "'wig'; allowed: live, print"),
    ({'split': 'valid'}, "'valid'; allowed: train, dev, test"),
    ({'subject': ''}, 'subject is empty'),
    ({'frames': []}, '0 frames; allowed: 1 to 32'),
    ({'frames': [FRAME] * 33}, '33 frames'),
    ({'frames': [FRAME, b'JPEG']}, "'a/b': .* 4 bytes is not a picture"),
    ({'frames': [FRAME, SMALL]}, "'a/b': frames of 2 sizes"),
    ({'frame_index': [0]}, '1 frame indices for 2'),
    ({'depth': np.zeros((1, 32, 32), np.uint8)}, r'\(1, 32, 32\)'),
    ({'depth': np.zeros((2, 32, 32), np.float32)}, 'float32'),
    ({'face_box': (10, 12, 10, 62)}, 'is empty'),
    ({'face_box': (10, 12, np.nan, 62)}, 'not valid'),
    ({'face_box': (10, 12, 60)}, 'not valid'),
  ],
)
def test_bad_records_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    make(**changes)


def test_builder_class_by_name():
  builder = fas_builder.builder_class('synthetic_fas')
  assert issubclass(builder, fas_builder.FasBuilder)
  assert builder.name == 'synthetic_fas'
  with pytest.raises(ValueError, match="'nothing'; allowed: .*casia_mfsd,"):
    fas_builder.builder_class('nothing')


def test_missing_index_is_written_again(tiny_data_dir):
  builder = fas_builder.builder_class('synthetic_fas')(
    config='tiny', data_dir=tiny_data_dir
  )
  text = builder.index_path.read_text()
  builder.index_path.unlink()
  builder.download_and_prepare()
  assert builder.index_path.read_text() == text
  assert builder.index_path.name == records.INDEX_FILE


def test_the_index_has_a_digest_of_what_a_clip_shows(tiny_data_dir):
  rows = index.load_index(tiny_data_dir, 'synthetic_fas', 'tiny')
  assert len({row['digest'] for row in rows}) == len(rows) == 108
  row = rows[3]
  builder = fas_builder.builder_class('synthetic_fas')(
    config='tiny', data_dir=tiny_data_dir
  )
  record = builder.as_data_source(row['tfds_split'])[row['position']]
  content = stored_frames.decode(record['frames']).tobytes()
  content += record['depth'].tobytes() + record['face_box'].tobytes()
  assert row['digest'] == hashlib.sha256(content).hexdigest()[:16]
  for field in ('depth', 'face_box'):
    other = {**record, field: record[field] + np.ones_like(record[field])}
    assert fas_builder._digest(other) != row['digest']


def test_another_stored_form_is_no_difference_but_is_told(tiny_data_dir):
  def make(name, config, folder):
    return fas_builder.builder_class(name)(config=config, data_dir=folder)

  new = make('synthetic_fas', 'tiny', tiny_data_dir)
  assert new.form_lines() == [] and new.made_from()['frames'] == 'planes'
  old = make(
    'manifest_fas',
    'small',
    pathlib.Path(__file__).parents[1] / 'data' / 'png_build',
  )
  assert not any('frames' in line for line in old.difference(None))
  (line,) = old.form_lines()
  assert "stored as 'png'" in line and '--replace' in line


def test_builder_info_and_pickle(tiny_data_dir):
  builder = fas_builder.builder_class('synthetic_fas')(
    config='tiny', data_dir=tiny_data_dir, progress=lambda done, total: None
  )
  assert builder.info.description.startswith('Rendered clips')
  assert 'synthetic_fas' in builder.info.citation
  assert builder.info.splits['train'].num_examples == 36
  restored = pickle.loads(pickle.dumps(builder))
  assert restored.progress is None
  assert restored.info.full_name == builder.info.full_name
