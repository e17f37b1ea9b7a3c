"""OULU-NPU as CDCN's preprocessing leaves it, on a small tree."""

import csv
import shutil

import cv2
import numpy as np
import pytest

from nasfas_datasets import fas_builder, prepare
from nasfas_datasets.oulu_npu import cdcn_layout
from nasfas_jax import stored_frames
from nasfas_jax.data import index, protocols
from nasfas_jax.preprocessing import frame_folder

WIDTH, HEIGHT = 60, 80
# Left, top, width, height.
BOX = (20, 24, 20, 24)
FOLDERS = (('Train', '01'), ('Dev', '21'), ('Test', '36'))


def write_clip(root, split, name, numbers=range(1, 13), depth=True):
  folder = root / f'{split}_images' / name
  maps = root / 'IJCB_re' / f'OULU{split.lower()}_images' / name
  folder.mkdir(parents=True)
  if depth:
    maps.mkdir(parents=True)
  x, y, w, h = BOX
  for number in numbers:
    frame = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
    frame[y : y + h, x : x + w] = (30, 60, 220)  # Red, in OpenCV's order.
    grey = np.zeros((HEIGHT, WIDTH), np.uint8)
    grey[y : y + h, x : x + w] = 100 + number
    stem = f'{name}_{number:03d}'
    cv2.imwrite(str(folder / f'{stem}_scene.jpg'), frame)
    (folder / f'{stem}_scene.dat').write_text(
      '\n'.join(map(str, BOX)) + '\n0\n'
    )
    if depth:
      cv2.imwrite(str(maps / f'{stem}_depth1D.jpg'), grey)
  return folder, maps


@pytest.fixture
def root(tmp_path):
  root = tmp_path / 'oulu'
  for split, user in FOLDERS:
    for phone in (1, 2):
      for session in (1, 3):
        for code in (1, 2, 3, 4, 5):
          write_clip(
            root, split, f'{phone}_{session}_{user}_{code}', range(1, 10)
          )
  return root


def build(root, tmp_path, **options):
  return prepare.prepare(
    'oulu_npu',
    config='cdcn_small',
    data_dir=tmp_path / 'data',
    manual_dir=root,
    allow_missing=True,
    **options,
  )


def records_of(tmp_path, config='cdcn_small'):
  builder = fas_builder.builder_class('oulu_npu')(
    config=config, data_dir=tmp_path / 'data'
  )
  return {
    record['clip_id'].decode(): record
    for split in builder.info.splits
    for record in builder.as_data_source(split)
  }


def test_frames_and_depth_maps_come_through(root, tmp_path):
  build(root, tmp_path)
  rows = index.load_index(tmp_path / 'data', 'oulu_npu', 'cdcn_small')
  assert len(rows) == 60
  record = records_of(tmp_path)['Train_files/1_1_01_1']
  # The middle frames of eight parts of the numbers 1 to 9.
  assert list(record['frame_index']) == [1, 2, 3, 4, 6, 7, 8, 9]
  frame = stored_frames.decode(record['frames'])[0]
  np.testing.assert_allclose(frame[40, 40], (220, 60, 30), atol=12)
  np.testing.assert_allclose(frame[2, 2], (40, 40, 40), atol=12)
  # Depth of the frame that it belongs to, over the same square.
  for number, depth in zip(record['frame_index'], record['depth'], strict=True):
    assert abs(int(depth[16, 16]) - (100 + number)) <= 2
    assert depth[0, 0] <= 2
  x0, y0, x1, y1 = record['face_box'] * 32 / 80
  inside = record['depth'][0] > 50
  rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
  np.testing.assert_allclose(
    (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1),
    (x0, y0, x1, y1),
    atol=1.5,
  )


def test_attacks_keep_their_depth_and_protocols_select(root, tmp_path):
  build(root, tmp_path)
  attack = records_of(tmp_path)['Test_files/2_3_36_4']
  assert attack['label'] == 0 and attack['depth'].max() > 90
  chosen = protocols.load('oulu_npu/1', str(tmp_path / 'data'), 'cdcn_small')
  assert {len(chosen.train), len(chosen.dev), len(chosen.test)} == {10}


def test_frames_without_box_or_map_are_passed_over(root, tmp_path):
  folder = root / 'Train_images' / '1_1_01_1'
  maps = root / 'IJCB_re' / 'OULUtrain_images' / '1_1_01_1'
  (folder / '1_1_01_1_002_scene.dat').unlink()
  (maps / '1_1_01_1_005_depth1D.jpg').unlink()
  build(root, tmp_path)
  record = records_of(tmp_path)['Train_files/1_1_01_1']
  assert list(record['frame_index']) == [1, 3, 4, 6, 7, 8, 9]


def test_a_live_frame_whose_map_is_black_is_left_out(root, tmp_path):
  maps = root / 'IJCB_re' / 'OULUtrain_images'
  for clip, numbers in (('1_1_01_1', (3,)), ('1_1_01_2', (2,))):
    for number in numbers:
      path = maps / clip / f'{clip}_{number:03d}_depth1D.jpg'
      cv2.imwrite(str(path), np.zeros_like(cv2.imread(str(path), 0)))
  build(root, tmp_path)
  found = records_of(tmp_path)
  live, attack = (found[f'Train_files/1_1_01_{i}'] for i in (1, 2))
  assert (live['label'], attack['label']) == (1, 0)
  assert list(live['frame_index']) == [1, 2, 4, 6, 7, 8, 9]
  assert len(live['frames']) == len(live['depth']) == 7
  assert list(attack['frame_index']) == [1, 2, 3, 4, 6, 7, 8, 9]


def test_unusable_clips_are_listed(root, tmp_path):
  def path(name, suffix):
    return root / 'Train_images' / name / f'{name}_001{suffix}'

  for file in (root / 'Train_images' / '1_1_01_1').glob('*.dat'):
    file.unlink()
  path('1_1_01_2', '_scene.dat').write_text('1\n2\n3\n')
  for file in (root / 'Train_images' / '1_1_01_3').glob('*.jpg'):
    file.write_text('no picture')
  maps = root / 'IJCB_re' / 'OULUtrain_images' / '1_1_01_4'
  for file in maps.glob('*.jpg'):
    cv2.imwrite(str(file), np.zeros((8, 8), np.uint8))
  shards = build(root, tmp_path, max_bad_share=0.1)
  with open(shards / 'skipped.csv', encoding='utf-8') as file:
    skipped = dict(list(csv.reader(file))[1:])
  reasons = {
    '1_1_01_1': 'none of 9 frames',
    '1_1_01_2': '3 lines; 4 are needed',
    '1_1_01_3': 'not a picture',
    '1_1_01_4': 'the depth map of frame 1 is 8 x 8, the frame 60 x 80',
  }
  assert len(skipped) == len(reasons)
  for name, reason in reasons.items():
    assert reason in skipped[f'Train_files/{name}']


def test_clips_without_maps_have_the_ellipse_and_a_note(tmp_path):
  root = tmp_path / 'oulu'
  for split, user in FOLDERS:
    write_clip(root, split, f'1_1_{user}_1', depth=False)
  listed = prepare.list_clips('oulu_npu', root, 'cdcn_small')
  assert listed['clips'] == 3
  assert '3 clips have no folder of depth maps.' in listed['notes']
  build(root, tmp_path)
  record = records_of(tmp_path)['Train_files/1_1_01_1']
  assert set(np.unique(record['depth'])) == {0, 255}


def test_other_folders_are_refused_with_what_was_expected(tmp_path):
  (tmp_path / 'Train_files').mkdir()
  with pytest.raises(FileNotFoundError, match='lacks the folders Train_images'):
    cdcn_layout.list_clips(tmp_path)


def test_cdcns_crop_is_stretched(tmp_path):
  root = tmp_path / 'oulu'
  for split, user in FOLDERS:
    write_clip(root, split, f'1_1_{user}_1')
  shards = build(root, tmp_path, border='stretch', margin=1.3)
  assert shards.parent.name == 'cdcn_small_margin1.3_stretch'
  found = [p for p in (tmp_path / 'data').rglob('*.array_record*')]
  assert found
  from nasfas_datasets import clip_config

  config = next(
    c
    for c in fas_builder.builder_class('oulu_npu').BUILDER_CONFIGS
    if c.name == 'cdcn_small'
  )
  config = clip_config.with_settings(config, margin=1.3, border='stretch')
  record = records_of(tmp_path, config)['Train_files/1_1_01_1']
  # The box is 20 x 24: both sides are stretched to 80 / 1.3.
  x0, y0, x1, y1 = record['face_box']
  assert x1 - x0 == pytest.approx(80 / 1.3, rel=0.03)
  assert y1 - y0 == pytest.approx(80 / 1.3, rel=0.03)


@pytest.mark.parametrize('file', ['scene.jpg', 'scene.dat', 'depth1D.jpg'])
def test_a_file_that_is_a_link_out_of_the_folder_skips_its_clip(file, tmp_path):
  root = tmp_path / 'oulu'
  for split, user in FOLDERS:
    folder, maps = write_clip(root, split, f'1_1_{user}_1')
  whole = cdcn_layout.list_clips(root)
  place = maps if file.startswith('depth') else folder
  path = place / f'1_1_36_1_003_{file}'
  path.rename(tmp_path / 'store')
  path.symlink_to(tmp_path / 'store')
  found = cdcn_layout.list_clips(root)
  told = [*found.skipped, *((bad.name, bad.reason) for bad in found.bad)]
  ((name, reason),) = told
  assert name.endswith('/1_1_36_1')
  assert reason.startswith(f'{path.name}: a link out of the folder')
  assert found.clips == whole.clips[:1] + whole.clips[2:]


def test_depth_maps_on_a_disk_that_is_not_there_skip_their_clip(tmp_path):
  for split, user in FOLDERS:
    _, maps = write_clip(tmp_path, split, f'1_1_{user}_1')
  shutil.rmtree(maps)
  maps.symlink_to(tmp_path / 'unmounted')
  ((name, reason),) = cdcn_layout.list_clips(tmp_path).skipped
  assert name == 'Test_images/1_1_36_1' and 'a link to a place' in reason


def test_hidden_copies_of_files_are_no_frames(tmp_path):
  folder, _ = write_clip(tmp_path, 'Test', '1_1_36_1')
  for name in ('scene.jpg', 'scene.dat'):
    (folder / f'._1_1_36_1_003_{name}').write_bytes(b'x')
  found = frame_folder.usable(folder)
  assert found[3].name == '1_1_36_1_003_scene.jpg' and len(found) == 12
