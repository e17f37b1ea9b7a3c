"""A clip is cropped as the builders crop it, and faces are chosen as there."""

import cv2
import numpy as np
import pytest

from nasfas_datasets import (
  clip_config,
  clip_faces,
  clip_record,
  fas_builder,
  folders,
  listing,
)
from nasfas_datasets.synthetic_fas.v2 import plan
from nasfas_jax import stored_frames
from nasfas_jax.preprocessing import (
  clip_crops,
  face_choice,
  file_limits,
  preparation,
  video,
)

RULES = face_choice.FaceRules()


def test_the_name_of_a_builders_config_says_how_it_prepares():
  changes = (
    {},
    {'margin': 2.0},
    {'margin': 1.25, 'border': 'reflect', 'train_frames': 60},
    {'border': 'stretch', 'faces': 'detected', 'depth': 'mesh'},
    {'train_frames': 3, 'missing_boxes': 'whole_frame', 'depth': 'mesh'},
  )
  checked = 0
  for name in folders.dataset_folders():
    for config in fas_builder.builder_class(name).BUILDER_CONFIGS:
      if not isinstance(config, clip_config.ClipConfig):
        made = preparation.from_name(name, config.name)
        size = plan.SIZES[config.name]
        assert (made.size, made.margin) == (
          size.pixels,
          pytest.approx(size.pixels / size.face),
        ), config.name
        continue
      for settings in changes:
        made = clip_config.with_settings(config, **settings)
        assert preparation.from_name(name, made.name) == (
          preparation.Preparation(
            made.size, made.num_frames, made.margin, made.border
          )
        ), made.name
        checked += 1
  assert checked >= 8 * 2 * len(changes)


def test_versions_that_say_nothing_or_two_things_are_refused():
  both = ['synthetic_fas/default/1.0.0', 'siw/default/1.0.0']
  for versions, message in (
    ([], 'prepared in one way; here: none'),
    (both, 'prepared in one way; here: siw'),
    (['siw/default'], 'is not DATASET/CONFIG/VERSION'),
    ([3], '3 is not DATASET/CONFIG/VERSION'),
    (['siw/own/1.0.0'], 'siw/own were prepared in a way that is not known'),
    (['siw/default_marginx/1.0.0'], 'siw/default_marginx'),
  ):
    with pytest.raises(ValueError, match=message):
      preparation.from_versions(versions)
  assert preparation.from_versions(both[:1]).size == 80


def write_clip(folder, size, box):
  rng = np.random.default_rng(0)
  width, height = size
  path = folder / 'x.avi'
  writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 25, size)
  for _ in range(11):
    writer.write(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
  writer.release()
  return listing.Clip(path, 'x', 's', 'test', 1, 'live', box=box)


@pytest.mark.parametrize('border', ['replicate', 'reflect', 'stretch'])
@pytest.mark.parametrize('box', [None, (3.0, 8.0, 31.5, 52.0)])
def test_crops_are_bit_for_bit_those_of_a_record(tmp_path, border, box):
  clip = write_clip(tmp_path, (72, 64), box)
  config = clip_config.ClipConfig(name='x', size=48, border=border, margin=1.8)
  record = clip_record.make_clip(clip, dataset='manifest_fas', config=config)
  found = clip_crops.make_crops(
    lambda transform: video.sample_frames(clip.path, 8, transform),
    preparation.Preparation(48, 8, 1.8, border),
    clip_crops.WHOLE_FRAME if box is None else box,
    RULES,
  )
  pictures = stored_frames.decode(record['frames'])
  np.testing.assert_array_equal(found.pictures, pictures)
  np.testing.assert_array_equal(
    found.face_box.astype(np.float32), record['face_box']
  )
  np.testing.assert_array_equal(found.frame_index, record['frame_index'])


def test_the_face_is_the_one_that_builders_choose():
  rng = np.random.default_rng(0)
  boxes = np.array([20.0, 30.0, 60.0, 80.0]) + rng.normal(0, 2, (8, 4))
  boxes[3] = [0, 0, 99, 99]
  found = [box[None] for box in boxes]
  chosen = face_choice.choose(found, 100, 100, RULES)
  expected = clip_faces.clip_box(boxes, 100, 100)
  np.testing.assert_array_equal(chosen, expected)
  # Frames without a face do not count, as long as they are the smaller part.
  found[:4] = [np.zeros((0, 4))] * 4
  assert face_choice.choose(found, 100, 100, RULES) is not None
  found[4] = np.zeros((0, 4))
  with pytest.raises(face_choice.FaceError, match='3 of 8') as error:
    face_choice.choose(found, 100, 100, RULES)
  assert error.value.outcome == face_choice.NO_FACE


def test_a_small_second_face_is_no_rival():
  large, small = np.array([10.0, 10, 50, 50]), np.array([60.0, 60, 79, 79])
  assert (
    face_choice.choose([np.stack([large, small])] * 2, 99, 99, RULES).tolist()
    == large.tolist()
  )
  # Nor is a second box about the same face.
  inner = np.array([20.0, 20, 48, 48])
  assert face_choice.choose([np.stack([large, inner])], 99, 99, RULES).tolist()
  with pytest.raises(face_choice.FaceError) as error:
    face_choice.choose([np.stack([large, small + [0, 0, 1, 1]])], 99, 99, RULES)
  assert error.value.outcome == face_choice.SEVERAL


def test_a_box_that_is_none_is_no_face():
  for box in (np.full(4, np.nan), np.array([5.0, 5, 5, 9])):
    with pytest.raises(face_choice.FaceError) as error:
      face_choice.choose([box[None]], 99, 99, RULES)
    assert error.value.outcome == face_choice.NO_FACE


def test_frames_of_two_sizes_and_endless_crops_are_refused():
  frames = [np.zeros((9, 9, 3), np.uint8), np.zeros((8, 9, 3), np.uint8)]

  def sample(frames):
    return lambda transform: video.Clip(
      [transform(frame) for frame in frames], np.arange(len(frames)), 0.0
    )

  prepared = preparation.Preparation(size=16)
  with pytest.raises(video.VideoError, match='differ in size'):
    clip_crops.make_crops(sample(frames), prepared, (1, 1, 8, 8), RULES)
  narrow = [np.zeros((1, 20_000, 3), np.uint8)]
  with pytest.raises(file_limits.TooLargeError, match='side of 20000'):
    clip_crops.make_crops(
      sample(narrow), prepared, clip_crops.WHOLE_FRAME, RULES
    )


def test_limits_are_checked_before_decoding(tmp_path):
  clip = write_clip(tmp_path, (72, 64), None)
  picture = tmp_path / 'x.jpg'
  cv2.imwrite(str(picture), np.zeros((64, 72, 3), np.uint8))
  for path, kind in ((clip.path, 'video'), (picture, 'picture')):
    size = path.stat().st_size
    good = {'file_bytes': size, 'pixels': 64 * 72, 'frames': 11}
    assert file_limits.check(path, file_limits.Limits(**good)) == kind
    for name in good if kind == 'video' else ('file_bytes', 'pixels'):
      limits = file_limits.Limits(**{**good, name: good[name] - 1})
      with pytest.raises(file_limits.TooLargeError, match='allowed are'):
        file_limits.check(path, limits)
  with pytest.raises(ValueError, match='pixels is 0'):
    file_limits.Limits(pixels=0)


def test_a_picture_of_many_pixels_in_few_bytes_is_not_decoded(tmp_path):
  import zlib

  # The header says 60,000 x 60,000; the data are missing.
  def chunk(kind, data):
    body = kind + data
    return len(data).to_bytes(4) + body + zlib.crc32(body).to_bytes(4)

  header = (60_000).to_bytes(4) * 2 + bytes((8, 2, 0, 0, 0))
  path = tmp_path / 'bomb.png'
  path.write_bytes(
    b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', b'')
  )
  with pytest.raises(file_limits.TooLargeError):
    file_limits.check(path, file_limits.Limits())


def test_detected_faces_are_those_of_the_builders(needs_face_models):
  data = pytest.importorskip('skimage.data')
  picture = data.astronaut()
  boxes = face_choice.detector()(picture)
  assert len(boxes) == 1
  np.testing.assert_array_equal(boxes[0], clip_faces.find_box(None, picture))
  assert face_choice.detector()(np.zeros_like(picture)).shape == (0, 4)
