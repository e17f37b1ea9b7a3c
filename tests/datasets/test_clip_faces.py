"""Boxes by a detector and depth by a mesh, in the records of a build."""

import csv
import pathlib

import cv2
import numpy as np
import pytest

from nasfas_datasets import (
  clip_config,
  clip_faces,
  clip_record,
  fas_builder,
  listing,
  prepare,
  video_builder,
)
from nasfas_jax import records, stored_frames
from nasfas_jax.data import clips, index, transforms
from nasfas_jax.preprocessing import crop, face_mesh, face_models, video

SIZE, FRAMES = 160, 5
MANIFEST = ('path', 'label', 'attack_type', 'subject', 'split')


def write(path, frames):
  path.parent.mkdir(parents=True, exist_ok=True)
  writer = cv2.VideoWriter(
    str(path), cv2.VideoWriter_fourcc(*'mp4v'), 25, frames[0].shape[1::-1]
  )
  assert writer.isOpened()
  for frame in frames:
    writer.write(np.ascontiguousarray(frame[..., ::-1]))
  writer.release()


def moving_face():
  """The astronaut in the lower right part, 2 pixels further each frame."""
  from skimage import data

  face = cv2.resize(
    data.astronaut()[20:220, 124:324], (100, 100), interpolation=cv2.INTER_AREA
  )
  frames = []
  for i in range(FRAMES):
    frame = np.full((SIZE, SIZE, 3), 90, np.uint8)
    frame[58 : 58 + 100, 40 + 2 * i : 140 + 2 * i] = face
    frames.append(frame)
  return frames


def coffee():
  from skimage import data

  return [cv2.resize(data.coffee(), (SIZE, SIZE))] * FRAMES


@pytest.fixture(scope='module')
def root(tmp_path_factory):
  folder = tmp_path_factory.mktemp('videos')
  rows = []
  for split in records.SPLITS:
    for kind in ('live', 'print'):
      write(folder / f'{split}_{kind}.mp4', moving_face())
      label = 'live' if kind == 'live' else 'spoof'
      rows.append((f'{split}_{kind}.mp4', label, kind, split, split))
  write(folder / 'cup.mp4', coffee())
  rows.append(('cup.mp4', 'spoof', 'replay', 'train', 'train'))
  with open(folder / 'manifest.csv', 'w', encoding='utf-8') as file:
    csv.writer(file).writerows((MANIFEST, *rows))
  return folder


@pytest.fixture(scope='module')
def clip(root):
  """The moving face, with an annotation that is wrong."""
  boxes = root / 'wrong.face'
  boxes.write_text('0 0 30 30\n' * FRAMES)
  return listing.Clip(
    root / 'train_print.mp4',
    'a',
    'anna',
    'train',
    0,
    'print',
    boxes=listing.Boxes('corners', boxes),
  )


@pytest.fixture(scope='module')
def built(root, needs_face_models, tmp_path_factory):
  folder = tmp_path_factory.mktemp('data')
  shards = prepare.prepare(
    'manifest_fas',
    config='small',
    data_dir=folder,
    manual_dir=root,
    faces='detected',
    depth='mesh',
    max_bad_share=0.2,
  )
  return folder, shards


def test_a_record_has_the_face_and_its_depth(built):
  folder, shards = built
  assert shards.parent.name == 'small_detected_mesh'
  rows = index.load_index(folder, 'manifest_fas', 'small_detected_mesh')
  assert len(rows) == 6
  config = clip_config.with_settings(
    fas_builder.builder_class('manifest_fas').BUILDER_CONFIGS[1],
    faces='detected',
    depth='mesh',
  )
  builder = fas_builder.builder_class('manifest_fas')(
    config=config, data_dir=folder
  )
  for record in builder.as_data_source('train'):
    # The crop is 1.6 times the face, the attack's as the live clip's.
    x0, y0, x1, y1 = record['face_box']
    assert 80 / max(x1 - x0, y1 - y0) == pytest.approx(1.6, rel=0.05)
    depth = record['depth']
    assert depth.shape == (FRAMES, 32, 32) and depth.dtype == np.uint8
    ellipse = crop.face_ellipse(record['face_box'], 80, 32) > 0
    for frame in depth:
      face = frame > 0
      assert (face & ellipse).sum() / (face | ellipse).sum() > 0.6
    # Each frame has its own: the face goes to the right.
    columns = [np.nonzero(frame)[1].mean() for frame in depth]
    assert columns[-1] - columns[0] > 1
    record = {**record, 'frames': clips.Frames(record['frames'])}
    snippet = transforms.make_snippet(
      record,
      np.arange(3),
      image_size=64,
      map_size=8,
      face_scale=1.2,
    )
    # A region that depends on the box only, as without a mesh.
    plain = transforms.make_snippet(
      {**record, 'depth': np.zeros((0, 32, 32), np.uint8)},
      np.arange(3),
      image_size=64,
      map_size=8,
      face_scale=1.2,
    )
    np.testing.assert_array_equal(snippet['score_mask'], plain['score_mask'])
    assert snippet['depth'].max() > 0.8 > snippet['depth'].mean()


def test_a_clip_without_a_face_is_a_listed_skip(built):
  _, shards = built
  text = (shards / 'skipped.csv').read_text(encoding='utf-8')
  assert 'cup.mp4,No frame of the clip has a face box.' in text


def test_a_detected_box_goes_before_the_annotation(needs_face_models, clip):
  config = video_builder.CONFIGS[1]
  square = {}
  for faces in clip_config.FACES:
    record = clip_record.make_clip(
      clip,
      dataset='x',
      config=clip_config.with_settings(config, faces=faces, depth='ellipse'),
    )
    picture = stored_frames.decode(record['frames'])[0]
    square[faces] = picture
  # The wrong annotation shows the grey corner alone.
  assert square['shipped'].std() < 5 < 20 < square['detected'].std()


def test_no_mesh_in_the_crop_is_a_skip(needs_face_models, clip):
  config = clip_config.with_settings(
    video_builder.CONFIGS[1], faces='shipped', depth='mesh'
  )
  with pytest.raises(listing.ClipError, match='has a face for a depth map'):
    clip_record.make_clip(clip, dataset='x', config=config)


def face_at(x, y, side):
  """A face whose mesh is a cone about a point of a square."""
  angle = np.linspace(0, 2 * np.pi, face_mesh.NUM_POINTS, endpoint=False)
  radius = side / 2 * (np.arange(face_mesh.NUM_POINTS) % 4 + 1) / 4
  points = np.stack(
    [x + radius * np.sin(angle), y - radius * np.cos(angle), radius], axis=1
  )
  # Where the frontal view expects them.
  for left, right, height in ((33, 263, -0.2), (61, 291, 0.3), (234, 454, 0)):
    points[left] = x - side / 3, y + height * side, side / 2
    points[right] = x + side / 3, y + height * side, side / 2
  points[10], points[152] = (x, y - side / 2, 1), (x, y + side / 2, 1)
  half = np.full(2, side / 2)
  box = np.concatenate([[x, y] - half, [x, y] + half])
  return face_mesh.Face(box, points, 0.9, 1.0)


def test_box_of_the_largest_and_depth_of_the_most_central(monkeypatch):
  monkeypatch.setattr(face_models, 'load', lambda folder: None)
  large, central = face_at(60, 60, 100), face_at(150, 140, 60)
  monkeypatch.setattr(
    face_mesh, 'find_faces', lambda models, image: [large, central]
  )
  frame = np.zeros((256, 256, 3), np.uint8)
  np.testing.assert_array_equal(
    clip_faces.find_box(None, frame), [10, 10, 110, 110]
  )
  depth = clip_faces.find_depth(None, frame, crop.Square(0, 0, 256))
  rows, columns = np.nonzero(depth)
  assert abs(columns.mean() + 0.5 - 150 / 8) < 0.5
  assert abs(rows.mean() + 0.5 - 140 / 8) < 0.5
  monkeypatch.setattr(face_mesh, 'find_faces', lambda models, image: [])
  assert np.isnan(clip_faces.find_box(None, frame)).all()
  assert clip_faces.find_depth(None, frame, crop.Square(0, 0, 256)) is None


def test_a_frame_without_a_map_takes_the_nearest():
  maps = [np.full((32, 32), i, np.uint8) for i in range(7)]
  given = [None, maps[1], None, None, maps[4], None, None]
  filled = clip_faces.fill(given)
  assert filled.shape == (7, 32, 32) and filled.dtype == np.uint8
  assert filled[:, 0, 0].tolist() == [1, 1, 1, 4, 4, 4, 4]
  with pytest.raises(listing.ClipError, match='No frame of the clip has a fa'):
    clip_faces.fill([None, None])


def test_the_box_of_a_clip_is_inside_its_frames():
  boxes = np.array([[-5, 10, 40, 60], [np.nan] * 4, [-5, 10, 40, 60]])
  np.testing.assert_array_equal(
    clip_faces.clip_box(boxes, 100, 50), [0, 10, 40, 50]
  )
  with pytest.raises(listing.ClipError, match='No frame of the clip'):
    clip_faces.clip_box(np.full((3, 4), np.nan), 100, 50)


@pytest.mark.parametrize(
  ('faces', 'depth', 'name'),
  [
    ('shipped', 'ellipse', 'default'),
    ('detected', 'ellipse', 'default_detected'),
    ('shipped', 'mesh', 'default_mesh'),
    ('detected', 'mesh', 'default_detected_mesh'),
  ],
)
def test_other_faces_are_a_config_of_another_name(faces, depth, name):
  config = clip_config.with_settings(
    video_builder.CONFIGS[0], faces=faces, depth=depth
  )
  assert (config.name, config.faces, config.depth) == (name, faces, depth)


@pytest.mark.parametrize(
  ('name', 'changes', 'message'),
  [
    ('oulu_npu', {'faces': 'found'}, "'found'; allowed: shipped, detected"),
    ('oulu_npu', {'depth': 'net'}, "'net'; allowed: ellipse, mesh"),
    ('synthetic_fas', {'depth': 'mesh'}, 'not made of videos: it has no depth'),
  ],
)
def test_bad_settings_are_errors(name, changes, message, tmp_path):
  with pytest.raises(ValueError, match=message):
    prepare.prepare(name, data_dir=tmp_path, manual_dir=tmp_path, **changes)


def test_missing_models_stop_the_build(root, tmp_path):
  pytest.importorskip('ai_edge_litert')
  with pytest.raises(FileNotFoundError, match='fetch_face_models --folder='):
    prepare.prepare(
      'manifest_fas',
      data_dir=tmp_path,
      manual_dir=root,
      faces='detected',
      face_models=tmp_path / 'none',
    )


def test_the_picture_of_the_docs_is_what_the_models_give(needs_face_models):
  from skimage import data

  from nasfas_datasets import face_depth_example

  path = pathlib.Path(__file__).parents[2] / 'docs' / 'face_depth.png'
  stored = video.read_image(path).astype(int)
  drawn = face_depth_example.draw(data.astronaut())
  # Another CPU may round otherwise: within a few grey levels nearly all over.
  assert np.quantile(np.abs(stored - drawn), 0.98) <= 4
