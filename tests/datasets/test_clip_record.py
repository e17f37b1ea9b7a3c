"""The box of a clip: upside down (MSU-MFSD), and of its first frames."""

import dataclasses

import cv2
import numpy as np
import pytest
import small_trees

from nasfas_datasets import (
  boxes,
  clip_config,
  clip_faces,
  clip_record,
  listing,
  video_builder,
)
from nasfas_datasets.siw import layout as siw
from nasfas_jax import stored_frames

SMALL = video_builder.CONFIGS[1]
WIDTH, HEIGHT = 96, 64


def msu_clip(tmp_path, row, turn):
  path = tmp_path / 'x.face'
  path.write_text(f'{row}\n' * 3)
  return listing.Clip(
    *(tmp_path / 'x.mp4', 'x', '1', 'train', 1, 'live'),
    boxes=listing.Boxes('frame_corners', path),
    turn=turn,
  )


@pytest.mark.parametrize(
  ('row', 'turn', 'expected'),
  [
    # Eyes in the upper half: the boxes count in the upright frame.
    ('0,8,10,40,50,17,20,30,20', 0, [8, 10, 40, 50]),
    ('0,8,10,40,50,17,20,30,20', 2, [8, 10, 40, 50]),
    # Eyes in the lower half: they count in the stored one.
    ('0,8,10,40,50,17,40,30,40', 2, [56, 14, 88, 54]),
    # No eyes: they cannot tell.
    ('0,8,10,40,50', 2, [8, 10, 40, 50]),
  ],
)
def test_the_eyes_tell_how_the_boxes_of_msu_are_turned(
  row, turn, expected, tmp_path
):
  clip = msu_clip(tmp_path, row, turn)
  box, _ = clip_record.place(clip, None, SMALL, WIDTH, HEIGHT)
  assert box.tolist() == expected


def test_upside_down_boxes_of_an_upright_clip_are_a_skip(tmp_path):
  clip = msu_clip(tmp_path, '0,8,10,40,50,17,40,30,40', 0)
  with pytest.raises(listing.ClipError, match='eyes lie in the lower half'):
    clip_record.place(clip, None, SMALL, WIDTH, HEIGHT)


# A line of each format, and the box in it.
ROWS = {
  'corners': ('{x} 10 {y} 50\n', lambda x, y: [x, 10, y, 50]),
  'frame_xywh': ('{i} {x} 10 30 40\n', lambda x, y: [x, 10, y, 50]),
  'frame_corners': ('{i},{x},10,{y},50\n', lambda x, y: [x, 10, y, 50]),
  # Eyes at one height, 30 apart: the side is 72 about a point 15 below them.
  'frame_eyes': (
    '{i},{x},25,{y},25\n',
    lambda x, y: [x - 21, 4, y + 21, 76],
  ),
}


@pytest.mark.parametrize('reader', ROWS)
def test_a_limit_takes_the_boxes_of_the_first_frames(reader, tmp_path):
  line, expected = ROWS[reader]
  path = tmp_path / 'x.face'
  path.write_text(
    ''.join(
      line.format(i=i, x=x, y=x + 30)
      for i, x in enumerate([21, 21, 90, 90, 90])
    )
  )
  read = boxes.READERS[reader]
  np.testing.assert_allclose(read(path, 2), [expected(21, 51)] * 2)
  assert len(read(path)) == len(read(path, 0)) == 5
  clip = listing.Clip(
    *(tmp_path / 'x.mp4', 'x', '1', 'train', 1, 'live'),
    boxes=listing.Boxes(reader, path),
  )
  for split, limit, x in (
    ('train', 2, 21), ('train', 0, 90), ('test', 2, 90)
  ):  # fmt: skip
    config = clip_config.with_settings(SMALL, train_frames=limit)
    moved = dataclasses.replace(clip, split=split)
    box, _ = clip_record.place(moved, None, config, 200, 100)
    np.testing.assert_allclose(box, expected(x, x + 30))


def test_numbered_rows_count_by_their_number(tmp_path):
  path = tmp_path / 'x.face'
  # The face was found in the frames 0, 59 and 60 only.
  path.write_text('0 1 10 30 40\n59 2 10 30 40\n60 3 10 30 40\n')
  assert boxes.frame_xywh(path, 60)[:, 0].tolist() == [1, 2]
  clip = listing.Clip(
    *(tmp_path / 'x.mov', 'x', '1', 'train', 1, 'live'),
    boxes=listing.Boxes('frame_xywh', path),
  )
  path.write_text('60 3 10 30 40\n')
  config = clip_config.with_settings(SMALL, train_frames=60)
  with pytest.raises(listing.NoFaceError, match='among its first 60'):
    clip_record.place(clip, None, config, 200, 100)


def test_siw_protocol_1_frames_the_face_of_the_frames_it_takes(tmp_path):
  for folder in ('Train/live', 'Train/spoof', 'Test/live', 'Test/spoof'):
    (tmp_path / folder).mkdir(parents=True)
  path = tmp_path / 'Train/live/031/031-1-1-1-1.mov'
  # The face is far at first, and near most of the time.
  places = [(8, 16, 24, 32)] * 3 + [(48, 8, 88, 48)] * 7
  frames = np.full((10, 64, 96, 3), 40, np.uint8)
  for frame, (x0, y0, x1, y1) in zip(frames, places, strict=True):
    frame[y0:y1, x0:x1] = 220
  small_trees.write_video(path, frames)
  path.with_suffix('.face').write_text(
    ''.join('{} {} {} {}\n'.format(*place) for place in places)
  )
  (clip,) = siw.list_clips(tmp_path).clips
  for limit, side in ((0, 40), (3, 16)):
    config = clip_config.with_settings(SMALL, train_frames=limit)
    made = clip_record.make_clip(clip, dataset='siw', config=config)
    x0, _, x1, _ = made['face_box']
    assert (x1 - x0) * 1.6 == pytest.approx(80, rel=0.03)
    assert made['properties']['framing'] == side / 64


def test_the_first_frames_of_a_folder_are_those_that_are_read(tmp_path):
  depth = tmp_path / 'depth'
  depth.mkdir()
  for number, x in ((1, 60), (2, 10), (3, 10), (4, 60), (5, 60)):
    stem = tmp_path / f'x_{number:03d}_scene'
    stem.with_suffix('.jpg').write_bytes(b'x')
    stem.with_suffix('.dat').write_text(f'{x}\n10\n30\n30\n')
    if number > 1:
      # The first frame has no depth map, and is not read.
      (depth / f'x_{number:03d}_depth1D.jpg').write_bytes(b'x')
  clip = listing.Clip(
    *(tmp_path, 'x', '1', 'train', 1, 'live'),
    boxes=listing.Boxes('frame_folder', tmp_path),
    depth=depth,
  )
  assert clip_record.read_boxes(clip, 96, 64, 2)[:, 0].tolist() == [10, 10]
  assert len(clip_record.read_boxes(clip, 96, 64)) == 5


def test_a_build_of_first_frames_knows_whose_boxes_it_has():
  plain = SMALL.content()
  assert plain['train_frames'] == 0 and 'boxes' not in plain
  first = clip_config.with_settings(SMALL, train_frames=60)
  # What was built with the boxes of whole clips is another dataset.
  assert first.content()['boxes'] == 'of the train_frames'
  detected = clip_config.with_settings(first, faces='detected')
  assert 'boxes' not in detected.content()


def picture_clip(folder, sizes, **changes):
  """A clip that is a folder of pictures of some (width, height)."""
  folder.mkdir()
  rng = np.random.default_rng(0)
  for number, (width, height) in enumerate(sizes):
    picture = rng.integers(0, 256, (height, width, 3), np.uint8)
    assert cv2.imwrite(str(folder / f'{number:04d}.png'), picture)
  clip = listing.Clip(folder, 'x', '1', 'train', 1, 'live')
  return dataclasses.replace(clip, **changes)


def alone(clip, config):
  """The records of the frames of a folder, each as a clip of its own."""
  return [
    clip_record.make_clip(
      dataclasses.replace(clip, path=path), dataset='x', config=config
    )
    for path in sorted(clip.path.iterdir())
  ]


@pytest.mark.parametrize('border', ['replicate', 'stretch'])
def test_pictures_of_several_sizes_are_each_taken_whole(border, tmp_path):
  config = clip_config.with_settings(SMALL, border=border)
  clip = picture_clip(tmp_path / 'x', [(90, 60), (60, 90), (40, 50), (90, 60)])
  made = clip_record.make_clip(clip, dataset='x', config=config)
  each = alone(clip, config)
  np.testing.assert_array_equal(
    stored_frames.decode(made['frames']),
    np.concatenate([stored_frames.decode(one['frames']) for one in each]),
  )
  # Depth follows each frame: the face fills its own part of the square.
  np.testing.assert_array_equal(
    made['depth'], np.concatenate([one['depth'] for one in each])
  )
  assert (made['depth'][0] != made['depth'][1]).any() == (border != 'stretch')
  # Sides of the boxes in the crop, by hand: 80 / 1.6 for the larger side.
  widths, heights = (50, 100 / 3, 40, 50), (100 / 3, 50, 50, 100 / 3)
  if border != 'stretch':
    x0, y0, x1, y1 = made['face_box']
    assert x1 - x0 == pytest.approx(np.median(widths))
    assert y1 - y0 == pytest.approx(np.median(heights))
  known = made['properties']
  assert (known['width'], known['height'], known['box']) == (
    90,
    60,
    'whole_frame',
  )


def test_a_depth_picture_is_scaled_to_each_frame(tmp_path):
  grey = np.zeros((30, 45), np.uint8)
  grey[8:22, 10:30] = 200
  cv2.imwrite(str(tmp_path / 'depth.png'), grey)
  clip = picture_clip(
    tmp_path / 'x', [(90, 60), (60, 40)], depth=tmp_path / 'depth.png'
  )
  made = clip_record.make_clip(clip, dataset='x', config=SMALL)
  each = alone(clip, SMALL)
  np.testing.assert_array_equal(
    made['depth'], np.concatenate([one['depth'] for one in each])
  )
  other = picture_clip(
    tmp_path / 'y', [(90, 60), (60, 60)], depth=tmp_path / 'depth.png'
  )
  with pytest.raises(listing.ClipError, match='cover the frame of 60 x 60'):
    clip_record.make_clip(other, dataset='x', config=SMALL)


def test_a_mesh_is_searched_in_each_whole_frame(tmp_path, monkeypatch):
  sides = []

  def find(models, frame, square):
    sides.append(square.side)
    return np.full((32, 32), len(sides), np.uint8)

  monkeypatch.setattr(clip_faces, 'find_depth', find)
  config = clip_config.with_settings(SMALL, depth='mesh')
  clip = picture_clip(tmp_path / 'x', [(90, 60), (40, 50)])
  made = clip_record.make_clip(clip, dataset='x', config=config)
  assert sides == [90, 50] and made['depth'][:, 0, 0].tolist() == [1, 2]


def test_with_a_box_a_change_of_size_is_an_error(tmp_path, monkeypatch):
  clip = picture_clip(tmp_path / 'x', [(90, 60), (60, 90)])
  message = r'changes from \(90, 60\) to \(60, 90\)'
  boxed = dataclasses.replace(clip, box=(10, 10, 40, 40))
  with pytest.raises(listing.ClipError, match=message):
    clip_record.make_clip(boxed, dataset='x', config=SMALL)
  monkeypatch.setattr(
    clip_faces, 'find_box', lambda *args: np.array([10.0, 10, 40, 40])
  )
  config = clip_config.with_settings(SMALL, faces='detected')
  with pytest.raises(listing.ClipError, match=message):
    clip_record.make_clip(clip, dataset='x', config=config)


def test_a_turned_folder_of_pictures_is_turned(tmp_path):
  clip = picture_clip(tmp_path / 'x', [(90, 60)] * 2, turn=1)
  turned = clip_record.make_clip(clip, dataset='x', config=SMALL)
  for path in clip.path.iterdir():
    picture = cv2.imread(str(path))
    cv2.imwrite(str(path), cv2.rotate(picture, cv2.ROTATE_90_CLOCKWISE))
  upright = clip_record.make_clip(
    dataclasses.replace(clip, turn=0), dataset='x', config=SMALL
  )
  np.testing.assert_array_equal(
    stored_frames.decode(turned['frames']),
    stored_frames.decode(upright['frames']),
  )


def test_boxes_of_another_resolution_are_scaled_in_every_format(tmp_path):
  path = tmp_path / 'x.box'
  path.write_text('4 5 20 25\n')
  expected = [4 * 96 / 48, 5 * 64 / 32, 20 * 96 / 48, 25 * 64 / 32]
  for reader in ('corners', boxes.corners):
    clip = listing.Clip(
      *(tmp_path / 'x.mp4', 'x', '1', 'train', 1, 'live'),
      boxes=listing.Boxes(reader, path, (48, 32)),
    )
    (found,) = clip_record.read_boxes(clip, WIDTH, HEIGHT)
    assert found.tolist() == expected


@pytest.mark.parametrize('error', [TypeError, KeyError, IndexError])
def test_an_annotation_that_breaks_its_reader_is_a_bad_clip(error, tmp_path):
  def reader(path):
    raise error('odd')

  clip = listing.Clip(
    *(tmp_path / 'x.mp4', 'x', '1', 'train', 1, 'live'),
    boxes=listing.Boxes(reader, tmp_path / 'x.json'),
  )
  with pytest.raises(listing.ClipError, match=f'x.json: {error.__name__}: '):
    clip_record.read_boxes(clip, WIDTH, HEIGHT)


def test_a_live_depth_map_without_the_face_is_refused(tmp_path):
  grey = np.zeros((60, 90), np.uint8)
  # Beside the face, in its wide crop.
  grey[:4, :4] = 200
  cv2.imwrite(str(tmp_path / 'depth.png'), grey)
  clip = picture_clip(
    tmp_path / 'x',
    [(90, 60)],
    depth=tmp_path / 'depth.png',
    box=(20.0, 20.0, 50.0, 50.0),
  )
  with pytest.raises(listing.ClipError, match='0 all over the face'):
    clip_record.make_clip(clip, dataset='x', config=SMALL)
  attack = dataclasses.replace(clip, label=0, attack_type='print')
  clip_record.make_clip(attack, dataset='x', config=SMALL)
