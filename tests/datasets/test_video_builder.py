"""Each dataset of videos on a small tree of real, tiny ones."""

import json
import pathlib

import contract
import numpy as np
import pytest
import trees
from small_trees import make_tree, write_clip

from nasfas_datasets import prepare
from nasfas_jax import records
from nasfas_jax.data import protocols


@pytest.fixture(scope='module')
def built(tmp_path_factory):
  """Every dataset, prepared: name -> index rows and the folder of shards."""
  folder = tmp_path_factory.mktemp('small')
  return folder, {name: contract.build(name, folder) for name in trees.NAMES}


@pytest.mark.parametrize('name', trees.NAMES)
def test_every_clip_becomes_a_record_with_its_face(name, built):
  folder, made = built
  contract.check_built(name, folder, *made[name])


@pytest.mark.parametrize(
  'name',
  [
    *(trees.example(name).SMALL_PROTOCOL for name in trees.NAMES),
    'cross/casia-replay',
  ],
)
def test_protocols_select_from_what_was_built(name, built):
  folder, _ = built
  chosen = protocols.load(name, str(folder / 'data'), 'small')
  assert chosen.train and chosen.dev and chosen.test


def test_workers_make_the_same_records(tmp_path):
  root = make_tree('three_d_mad', tmp_path / 'mad')
  found = []
  for workers in (1, 2):
    shards = prepare.prepare(
      'three_d_mad',
      config='small',
      data_dir=tmp_path / str(workers),
      manual_dir=root,
      allow_missing=True,
      num_workers=workers,
    )
    found.append(
      {
        path.name: path.read_bytes()
        for path in sorted(shards.glob('*.array_record*'))
      }
    )
    assert (shards / records.INDEX_FILE).exists()
  assert found[0] == found[1]
  lines = [(tmp_path / str(n)).rglob(records.INDEX_FILE) for n in (1, 2)]
  first, second = (next(paths).read_text() for paths in lines)
  assert [json.loads(x) for x in first.splitlines()] == [
    json.loads(x) for x in second.splitlines()
  ]


def test_missing_clips_are_an_error_unless_allowed(tmp_path):
  root = make_tree('three_d_mad', tmp_path / 'mad')
  with pytest.raises(FileNotFoundError, match='243 of 255 clips are missing'):
    prepare.prepare('three_d_mad', data_dir=tmp_path / 'data', manual_dir=root)


@pytest.mark.parametrize(
  ('damage', 'reason'),
  [
    (lambda path: path.write_bytes(path.read_bytes()[:2000]), '1_1_01_1'),
    (lambda path: path.write_text('not a video\n' * 100), '1_1_01_1'),
    (
      lambda path: path.with_suffix('.txt').write_text('0,1,2,3\n'),
      'is not 5 numbers',
    ),
    (
      lambda path: path.with_suffix('.txt').write_text('0,0,0,0,0\n'),
      'No frame of the clip has a face box',
    ),
    (
      lambda path: path.with_suffix('.txt').write_text('0,900,9,990,9\n'),
      'is empty',
    ),
  ],
)
def test_a_damaged_clip_is_a_listed_skip_or_too_many(damage, reason, tmp_path):
  root = tmp_path / 'oulu'
  for user, folder in (('01', 'Train'), ('21', 'Dev'), ('36', 'Test')):
    for code in range(1, 6):
      write_clip('oulu_npu', root, f'{folder}_files/1_1_{user}_{code}.avi')
  damage(root / 'Train_files' / '1_1_01_1.avi')
  options = {'manual_dir': root, 'allow_missing': True, 'config': 'small'}
  with pytest.raises(
    ValueError, match='1 of 15 clips cannot be used'
  ) as caught:
    prepare.prepare('oulu_npu', data_dir=tmp_path / 'data', **options)
  assert reason in str(caught.value)


def test_a_file_that_turns_itself_is_not_turned_twice(monkeypatch):
  from nasfas_datasets import clip_record, listing, video_builder
  from nasfas_jax.preprocessing import video

  seen = []

  def sample(path, number, cut, limit):
    assert limit == 0
    frame = np.zeros((40, 60, 3), np.uint8)
    frame[:5] = 255
    seen.append(cut(frame))
    return video.Clip(seen[-1:], np.zeros(1, np.int32), 25.0)

  monkeypatch.setattr(video, 'sample_frames', sample)
  config = video_builder.CONFIGS[1]
  for tag, top in ((0, 0), (180, 255)):
    monkeypatch.setattr(video, 'orientation', lambda path, tag=tag: tag)
    clip = listing.Clip(
      pathlib.Path('x.mp4'), 'x', '1', 'train', 1, 'live', turn=2
    )
    clip_record.make_clip(clip, dataset='msu_mfsd', config=config)
    # The whole frame is the crop: the bright rows are where they were put.
    picture, *_ = seen[-1]
    assert picture[14, 40, 0] == top


def test_another_margin_is_a_dataset_of_another_name(tmp_path):
  root = make_tree('three_d_mad', tmp_path / 'mad')
  shards = prepare.prepare(
    'three_d_mad',
    config='small',
    data_dir=tmp_path / 'data',
    manual_dir=root,
    allow_missing=True,
    margin=2.0,
  )
  assert shards.parent.name == 'small_margin2'
  from nasfas_datasets import clip_config, fas_builder, video_builder

  builder = fas_builder.builder_class('three_d_mad')(
    config=clip_config.with_settings(video_builder.CONFIGS[1], margin=2.0),
    data_dir=tmp_path / 'data',
  )
  record = builder.as_data_source('train')[0]
  x0, _, x1, _ = record['face_box']
  assert 80 / (x1 - x0) == pytest.approx(2.0, rel=0.1)


def test_training_clips_are_read_up_to_some_frames_only(tmp_path):
  from nasfas_datasets import clip_config, fas_builder, video_builder

  root = make_tree('three_d_mad', tmp_path / 'mad')
  prepare.prepare(
    'three_d_mad',
    config='small',
    data_dir=tmp_path / 'data',
    manual_dir=root,
    allow_missing=True,
    train_frames=4,
  )
  config = clip_config.with_settings(video_builder.CONFIGS[1], train_frames=4)
  assert config.name == 'small_train_frames4'
  builder = fas_builder.builder_class('three_d_mad')(
    config=config, data_dir=tmp_path / 'data'
  )
  for split, expected in (
    ('train', [0, 1, 2, 3]),
    # The middles of eight parts of ten frames.
    ('test', [0, 1, 3, 4, 5, 6, 8, 9]),
  ):
    record = builder.as_data_source(split)[0]
    assert list(record['frame_index']) == expected


def test_too_many_bad_clips_can_be_allowed(tmp_path):
  root = make_tree('three_d_mad', tmp_path / 'mad')
  (root / '01_01_01.hdf5').write_text('no recording')
  options = {'manual_dir': root, 'allow_missing': True, 'config': 'small'}
  with pytest.raises(ValueError, match='1 of 12 clips cannot be used'):
    prepare.prepare('three_d_mad', data_dir=tmp_path / 'a', **options)
  shards = prepare.prepare(
    'three_d_mad', data_dir=tmp_path / 'b', max_bad_share=0.5, **options
  )
  assert '01_01_01' in (shards / 'skipped.csv').read_text()
  assert len((shards / records.INDEX_FILE).read_text().splitlines()) == 11


def test_damaged_eyes_make_a_bad_clip_and_not_a_stop(tmp_path):
  import h5py

  root = make_tree('three_d_mad', tmp_path / 'mad')
  path = root / '01_01_01.hdf5'
  with h5py.File(path, 'r+') as file:
    eyes = file['Eye_Pos'][:]
    del file['Eye_Pos']
    file.create_dataset('Eye_Pos', data=eyes, compression='gzip')
    chunk = file['Eye_Pos'].id.get_chunk_info(0)
  data = bytearray(path.read_bytes())
  data[chunk.byte_offset : chunk.byte_offset + chunk.size] = bytes(chunk.size)
  path.write_bytes(data)
  shards = prepare.prepare(
    'three_d_mad',
    data_dir=tmp_path / 'data',
    max_bad_share=0.5,
    manual_dir=root,
    allow_missing=True,
    config='small',
  )
  assert '01_01_01.hdf5: Eye_Pos: ' in (shards / 'skipped.csv').read_text()
  assert len((shards / records.INDEX_FILE).read_text().splitlines()) == 11


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'margin': 0.5}, 'margin is 0.5; allowed: 1 to 8'),
    ({'border': 'wrap'}, "border is 'wrap'; allowed: replicate, reflect"),
    ({'max_bad_share': 2.0}, 'max_bad_share is 2.0; allowed: 0 to 1'),
  ],
)
def test_bad_settings_are_errors(changes, message, tmp_path):
  with pytest.raises(ValueError, match=message):
    prepare.prepare(
      'three_d_mad', data_dir=tmp_path, manual_dir=tmp_path, **changes
    )


def test_a_rendered_dataset_has_no_margin(tmp_path):
  with pytest.raises(ValueError, match='not made of videos: it has no margin'):
    prepare.prepare('synthetic_fas', data_dir=tmp_path, margin=2.0)


def test_a_restart_goes_on_and_reads_a_changed_file_again(
  tmp_path, monkeypatch
):
  from nasfas_datasets import clip_record

  root = make_tree('three_d_mad', tmp_path / 'mad')
  options = {
    'config': 'small',
    'data_dir': tmp_path / 'data',
    'manual_dir': root,
    'allow_missing': True,
  }
  made = []
  real = clip_record.make_clip

  def make_clip(clip, **settings):
    if len(made) == 5:
      raise KeyboardInterrupt
    made.append(clip.clip_id)
    return real(clip, **settings)

  monkeypatch.setattr(clip_record, 'make_clip', make_clip)
  with pytest.raises(KeyboardInterrupt):
    prepare.prepare('three_d_mad', **options)
  first, made[:] = list(made), []
  # One finished clip has changed since.
  write_clip('three_d_mad', root, f'{first[2]}.hdf5')
  monkeypatch.setattr(
    clip_record,
    'make_clip',
    lambda clip, **s: made.append(clip.clip_id) or real(clip, **s),
  )
  shards = prepare.prepare('three_d_mad', **options)
  assert set(made) & set(first) == {first[2]}
  assert len(made) == 12 - 4
  assert not list(shards.parent.glob('finished*'))
  whole = prepare.prepare(
    'three_d_mad', **{**options, 'data_dir': tmp_path / 'whole'}
  )
  assert (shards / records.INDEX_FILE).read_text() == (
    whole / records.INDEX_FILE
  ).read_text()
