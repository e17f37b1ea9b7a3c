"""manifest_fas: from a CSV and real video files to records and a report."""

import csv
import json
import pathlib

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from nasfas_datasets.manifest_fas import manifest, manifest_fas_dataset_builder
from nasfas_jax import records, stored_frames
from nasfas_jax.preprocessing import video

HEADER = ('path', 'label', 'attack_type', 'subject', 'split')


def write_video(path, colour, num_frames=12, size=(64, 48), code='MJPG'):
  """A grey clip with a rectangle of one RGB colour at x 20-44, y 12-30."""
  writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), 25, size)
  assert writer.isOpened()
  frame = np.full((size[1], size[0], 3), 90, np.uint8)
  frame[12:30, 20:44] = colour[::-1]
  for _ in range(num_frames):
    writer.write(frame)
  writer.release()


def write_manifest(root, rows, header=HEADER, name='manifest.csv'):
  with open(root / name, 'w', encoding='utf-8', newline='') as file:
    csv.writer(file).writerows([header, *rows])


def build(root, data_dir, progress=None, **settings):
  settings = {'name': 'test', 'size': 40, 'num_frames': 4, **settings}
  builder = manifest_fas_dataset_builder.Builder(
    config=manifest_fas_dataset_builder.ManifestConfig(**settings),
    data_dir=data_dir,
    progress=progress,
  )
  builder.download_and_prepare(
    download_config=tfds.download.DownloadConfig(manual_dir=root)
  )
  return builder


def read_report(folder):
  with open(folder / 'skipped.csv', encoding='utf-8', newline='') as file:
    return list(csv.DictReader(file))


def decode(data):
  return stored_frames.decode([data])[0]


@pytest.fixture
def root(tmp_path):
  """A folder with four good files."""
  root = tmp_path / 'mine'
  root.mkdir()
  write_video(root / 'a.avi', (250, 30, 30))
  write_video(root / 'b.mp4', (30, 30, 250), code='mp4v')
  write_video(root / 'c.avi', (30, 250, 30), num_frames=3)
  cv2.imwrite(str(root / 'd.png'), np.full((30, 30, 3), 77, np.uint8))
  return root


GOOD = (
  ('a.avi', 'live', '', 'anna', 'train'),
  ('b.mp4', 'SPOOF', 'Print', 'anna', 'Train'),
  ('c.avi', 'Attack', 'replay', 'ben', 'dev'),
  ('d.png', 'BonaFide', 'live', 'cleo', 'test'),
)


def test_records_of_good_rows(root, tmp_path):
  header = (*HEADER, *manifest.BOX_COLUMNS, 'depth', 'light', 'attack_detail')
  depth = np.zeros((48, 64), np.uint8)
  depth[12:30, 20:44] = 200
  cv2.imwrite(str(root / 'depth.png'), depth)
  box = ('20', '12', '44', '30')
  rows = [
    (*GOOD[0], *box, 'depth.png', 'lamp', ''),
    (*GOOD[1], *box, '', '', 'printer 2'),
    (*GOOD[2], '', '', '', '', '', '', ''),
    (*GOOD[3], '', '', '', '', '', '', ''),
  ]
  write_manifest(root, rows, header)
  builder = build(root, tmp_path / 'data', missing_boxes='whole_frame')
  clips = {
    clip['clip_id'].decode(): clip
    for split in ('train', 'dev', 'test')
    for clip in builder.as_data_source(split)
  }
  assert sorted(clips) == ['a', 'b', 'c', 'd']
  assert [clips[c]['label'] for c in 'abcd'] == [1, 0, 0, 1]
  assert [clips[c]['attack_type'].decode() for c in 'abcd'] == [
    'live',
    'print',
    'replay',
    'live',
  ]
  assert [len(clips[c]['frames']) for c in 'abcd'] == [4, 4, 3, 1]
  assert list(clips['a']['frame_index']) == [1, 4, 7, 10]
  assert [clips[c]['fps'] for c in 'abcd'] == [25, 25, 25, 0]
  assert clips['a']['light'] == b'lamp'
  assert clips['b']['attack_detail'] == b'printer 2'
  assert {clip['dataset'] for clip in clips.values()} == {b'manifest_fas'}
  # Box 24 x 18 about (32, 21); side 1.6 * 24 = 38 from (13, 2); 40 / 38.
  expected_box = (np.array([20, 12, 44, 30]) - [13, 2, 13, 2]) * 40 / 38
  for name, colour in (('a', (250, 30, 30)), ('b', (30, 30, 250))):
    np.testing.assert_allclose(clips[name]['face_box'], expected_box, rtol=1e-6)
    for data in clips[name]['frames']:
      frame = decode(data)
      assert frame.shape == (40, 40, 3)
      # Inside and outside the painted face; RGB, not BGR.
      np.testing.assert_allclose(
        frame[14:26, 12:28].mean((0, 1)), colour, atol=12
      )
      np.testing.assert_allclose(frame[34:, :].mean((0, 1)), 90, atol=6)
  # The depth picture, and the mask for the attack without one.
  maps = clips['a']['depth']
  assert maps.shape == (4, 32, 32)
  x0, y0, x1, y1 = np.round(expected_box * 32 / 40).astype(int)
  assert np.all(maps[:, y0 + 1 : y1 - 1, x0 + 1 : x1 - 1] == 200)
  assert np.all(maps[:, : y0 - 1] == 0) and np.all(maps[:, :, x1 + 1 :] == 0)
  mask = clips['b']['depth'][0]
  assert set(np.unique(mask)) == {0, 255}
  area = np.pi / 4 * (24 * 32 / 38) * (18 * 32 / 38)
  assert abs((mask > 0).sum() - area) < 0.05 * area
  # Without a box the crop is the frame, and the box its middle.
  np.testing.assert_allclose(clips['d']['face_box'], [7.5, 7.5, 32.5, 32.5])
  np.testing.assert_array_equal(decode(clips['d']['frames'][0]), 77)


def test_report_and_index_beside_the_shards(root, tmp_path):
  write_manifest(root, GOOD)
  builder = build(root, tmp_path / 'data')
  folder = pathlib.Path(builder.data_dir)
  assert folder == tmp_path / 'data/manifest_fas/test/1.0.0'
  assert read_report(folder) == []
  lines = (folder / records.INDEX_FILE).read_text().splitlines()
  assert {json.loads(line)['clip_id'] for line in lines} == set('abcd')
  assert not list(folder.parent.glob('incomplete*'))
  assert 'manifest' in builder.info.description
  assert builder.info.citation.startswith('@article')


def test_same_files_give_the_same_records(root, tmp_path):
  write_manifest(root, GOOD)
  first, second = (
    list(build(root, tmp_path / name).as_data_source('train'))
    for name in ('one', 'two')
  )
  assert len(first) == 2
  for a, b in zip(first, second, strict=True):
    for field in a:
      np.testing.assert_array_equal(a[field], b[field])


def bad_rows(root):
  """Rows (with box and depth cells) that must be skipped, and why."""
  data = (root / 'a.avi').read_bytes()
  (root / 'half.avi').write_bytes(data[: int(0.7 * len(data))])
  (root / 'head.avi').write_bytes(data[:400])
  whole = (root / 'b.mp4').read_bytes()
  (root / 'cut.mp4').write_bytes(whole[: len(whole) // 2])
  (root / 'zero.avi').write_bytes(b'')
  (root / 'text.avi').write_text('no video\n' * 99)
  (root / 'text.png').write_text('no picture\n' * 99)
  (root / 'notes.txt').write_text('notes')
  (root.parent / 'secret.avi').write_bytes(data)
  (root / 'link.avi').symlink_to(root.parent / 'secret.avi')
  (root / 'loop.avi').symlink_to(root / 'loop.avi')
  cv2.imwrite(str(root / 'black.png'), np.zeros((48, 64), np.uint8))
  cv2.imwrite(str(root / 'wide.png'), np.ones((48, 99), np.uint8))
  cv2.imwrite(str(root / 'strip.png'), np.ones((2, 20000), np.uint8))
  names = iter(range(99))

  def fresh():  # Another good file for each row whose path is not at fault.
    name = f'fresh{next(names)}.avi'
    (root / name).write_bytes(data)
    return name

  def row(path=None, label='live', kind='', subject='eve', split='train'):
    return (path or fresh(), label, kind, subject, split)

  none = ('',) * 5
  depth = lambda name: ('',) * 4 + (name,)  # noqa: E731
  return [
    (row('missing.avi') + none, 'no such file'),
    (row('half.avi') + none, 'cut off'),
    (row('head.avi') + none, 'head.avi'),
    (row('cut.mp4') + none, 'not a video'),
    (row('zero.avi') + none, '0 bytes'),
    (row('text.avi') + none, 'first bytes are not those of a video'),
    (row('text.png') + none, 'not a picture'),
    (row('notes.txt') + none, "suffix '.txt'"),
    (row('a.avi') + none, 'the same file as in row 2'),
    (row('./a.avi') + none, 'the same file as in row 2'),
    (row('../secret.avi') + none, "must not hold '..'"),
    (row(str(root / 'a.avi')) + none, 'must be relative'),
    (row('link.avi') + none, 'link out of the folder'),
    (row('loop.avi') + none, 'loop.avi'),
    (row('a' * 5000 + '.avi') + none, 'not a path'),
    (('', 'live', '', 'eve', 'train') + none, 'path is empty'),
    (row('strip.png') + none, 'side of 20000'),
    (row(label='real') + none, "label 'real'; allowed: live"),
    (row(label='') + none, 'label is empty in the split train; allowed: live'),
    (row(label='', split='dev') + none, 'label is empty in the split dev'),
    (
      row(label='', split='test', kind='print') + none,
      "attack_type 'print' in a row without a label; allowed: none",
    ),
    (row(label='spoof') + none, "attack_type ''; allowed: live, print"),
    (row(label='spoof', kind='prnt') + none, "attack_type 'prnt'; allowed"),
    (row(label='live', kind='print') + none, 'does not go with'),
    (row(label='0', kind='live') + none, 'does not go with'),
    (row(split='valid') + none, "split 'valid'; allowed: train, dev, test"),
    (row(subject='  ') + none, 'subject is empty'),
    (row() + ('nan', '0', '9', '9', ''), 'finite'),
    (row() + ('-1', '0', '9', '9', ''), 'not inside'),
    (row() + ('9', '0', '9', '9', ''), 'empty'),
    (row() + ('0', '0', '65', '9', ''), 'not inside the frame of 64 x 48'),
    (row() + ('0', '0', '9', '', ''), 'not four numbers'),
    (row() + depth('gone.png'), "depth 'gone.png': there is no such file"),
    (row() + depth('text.png'), 'not a picture'),
    (row() + depth('wide.png'), 'must cover the frame of 64 x 48'),
    (row() + depth('black.png'), '0 all over the face'),
    (row(), 'the row has 5 cells, the header 10'),
  ]


def test_bad_rows_are_skipped_and_listed(root, tmp_path, capfd):
  header = (*HEADER, *manifest.BOX_COLUMNS, 'depth')
  bad = bad_rows(root)
  good = [row + ('',) * 5 for row in GOOD]
  rows = [good[0], *(row for row, _ in bad), *good[1:]]
  write_manifest(root, rows, header)
  builder = build(
    root, tmp_path / 'data', max_bad_share=0.95, missing_boxes='whole_frame'
  )
  report = read_report(pathlib.Path(builder.data_dir))
  assert [int(line['row']) for line in report] == list(range(3, 3 + len(bad)))
  for line, (row, reason) in zip(report, bad, strict=True):
    assert reason in line['reason'], (row, line['reason'])
    assert line['path'] == row[0]
  assert builder.info.splits.total_num_examples == 4
  capfd.readouterr()  # What OpenCV says of such files.


def test_share_of_bad_rows_found_before_decoding(root, tmp_path):
  rows = [*GOOD, ('x.avi', 'live', '', 'dora', 'train')]
  write_manifest(root, rows)
  with pytest.raises(
    ValueError,
    match=r'1 of 5 rows cannot be used, a share of 0\.2; max_bad_share allows '
    r"0\.1\..*row 6: 'x\.avi': .*no such file",
  ):
    build(root, tmp_path / 'data')
  folder = tmp_path / 'data/manifest_fas/test'
  assert [line['row'] for line in read_report(folder)] == ['6']
  # The finished clips stay for the next build.
  assert {path.name for path in folder.iterdir()} == {
    'finished-1.0.0',
    'skipped.csv',
  }


def test_share_of_bad_rows_found_while_decoding(root, tmp_path):
  (root / 'text.avi').write_text('no video\n' * 99)
  rows = [*GOOD, ('text.avi', 'live', '', 'dora', 'train')]
  write_manifest(root, rows)
  with pytest.raises(ValueError, match='1 of 5 rows cannot be used.*0.1'):
    build(root, tmp_path / 'data')
  done = []
  builder = build(
    root,
    tmp_path / 'data',
    lambda *counts: done.append(counts),
    max_bad_share=0.2,
  )
  assert done == [(i, 5) for i in range(1, 6)]
  folder = pathlib.Path(builder.data_dir)
  assert len(read_report(folder)) == 1
  assert not (folder.parent / 'skipped.csv').exists()  # Of the failed build.


def test_split_without_a_clip(root, tmp_path):
  (root / 'd.png').write_text('no picture\n' * 99)
  write_manifest(root, GOOD)
  with pytest.raises(ValueError, match="no clip of the split 'test'"):
    build(root, tmp_path / 'data', max_bad_share=0.5)


def test_manifest_elsewhere(root, tmp_path):
  write_manifest(tmp_path, GOOD[:1], name='list.csv')
  builder = build(root, tmp_path / 'data', manifest=str(tmp_path / 'list.csv'))
  assert list(builder.info.splits) == ['train']


def test_no_folder(tmp_path):
  with pytest.raises(FileNotFoundError, match='manifest.csv'):
    build(tmp_path / 'none', tmp_path / 'data')


@pytest.mark.parametrize(
  'settings, message',
  [
    ({'num_frames': 33}, 'num_frames is 33; allowed: 1 to 32'),
    ({'num_frames': 0}, 'num_frames is 0'),
    ({'max_bad_share': 1.5}, 'max_bad_share is 1.5; allowed: 0 to 1'),
    ({'size': 0}, 'size is 0'),
  ],
)
def test_config_is_checked(settings, message):
  with pytest.raises(ValueError, match=message):
    manifest_fas_dataset_builder.ManifestConfig(name='test', **settings)


def test_frames_of_two_sizes(root, tmp_path, monkeypatch):
  """Some streams change their size; one crop cannot serve both."""
  frames = [np.zeros((48, 64, 3), np.uint8), np.zeros((24, 32, 3), np.uint8)]

  def sample(path, num_frames, transform, limit):
    return [transform(frame) for frame in frames]

  monkeypatch.setattr(video, 'sample_frames', sample)
  write_manifest(root, GOOD)
  with pytest.raises(
    ValueError, match=r'changes from \(64, 48\) to \(32, 24\)'
  ):
    build(root, tmp_path / 'data')


def test_depth_is_scaled_to_the_frame_and_zero_past_its_border(root, tmp_path):
  # Half the frame's resolution; the box fills the upper left corner.
  cv2.imwrite(str(root / 'depth.png'), np.full((24, 32), 200, np.uint8))
  header = (*HEADER, *manifest.BOX_COLUMNS, 'depth')
  write_manifest(root, [(*GOOD[0], 0, 0, 20, 20, 'depth.png')], header)
  (clip,) = build(root, tmp_path / 'data').as_data_source('train')
  # The crop is 32 pixels from (-6, -6): one pixel a cell of the map.
  expected = np.zeros((4, 32, 32), np.uint8)
  expected[:, 6:, 6:] = 200
  np.testing.assert_array_equal(clip['depth'], expected)
