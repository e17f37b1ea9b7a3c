"""Decoding: the right frames, upright, in RGB; clear errors for bad files."""

import os
import struct

import cv2
import numpy as np
import pytest

from nasfas_jax.preprocessing import file_limits, video

# Frame i has this red level; codecs keep flat colours to within a few levels.
LEVEL = 8
CODECS = [('avi', 'MJPG'), ('mp4', 'mp4v')]


def write_video(path, num_frames, code, width=64, height=48):
  """Frame i: red = LEVEL * i, green 40, blue 200; upper left quarter white."""
  writer = cv2.VideoWriter(
    str(path), cv2.VideoWriter_fourcc(*code), 25, (width, height)
  )
  assert writer.isOpened()
  for i in range(num_frames):
    frame = np.zeros((height, width, 3), np.uint8)
    frame[:] = (200, 40, LEVEL * i)
    frame[: height // 2, : width // 2] = 255
    writer.write(frame)
  writer.release()
  return path


def frame_numbers(frames):
  """Which frame each picture shows, read from its red level."""
  return [round(float(f[30:46, 40:60, 0].mean()) / LEVEL) for f in frames]


@pytest.fixture(params=CODECS, ids=lambda codec: codec[1])
def clip(request, tmp_path):
  suffix, code = request.param
  return write_video(tmp_path / f'clip.{suffix}', 30, code)


def set_rotation(path, degrees):
  """Writes a clockwise rotation into the track header of an MP4 file."""
  data = bytearray(path.read_bytes())
  # The matrix stands 40 bytes into a version-0 'tkhd' box; 16.16 fixed point.
  place = data.index(b'tkhd') + 4 + 40
  one = 1 << 16
  assert struct.unpack('>9i', data[place : place + 36])[0] == one
  cosine, sine = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
  matrix = (cosine, sine, 0, -sine, cosine, 0, 0, 0, 1 << 14)
  scaled = [v * one for v in matrix[:8]] + [1 << 30]
  data[place : place + 36] = struct.pack('>9i', *scaled)
  path.write_bytes(data)


def test_read_frames_are_the_wanted_ones_in_rgb(clip):
  frames = video.read_frames(clip, [0, 7, 8, 29])
  assert frame_numbers(frames) == [0, 7, 8, 29]
  for frame in frames:
    assert frame.shape == (48, 64, 3) and frame.dtype == np.uint8
    np.testing.assert_allclose(frame[36, 48, 1:], (40, 200), atol=6)
    np.testing.assert_allclose(frame[8, 8], 255, atol=6)


def test_transform_is_applied_to_each_frame(clip):
  reds = video.read_frames(clip, [3, 5], lambda f: f[36:37, 48:49, 0])
  assert [r.shape for r in reds] == [(1, 1)] * 2
  np.testing.assert_allclose(np.ravel(reds), [24, 40], atol=4)


@pytest.mark.parametrize('indices', [[3, 3], [4, 2], [-1]])
def test_indices_must_ascend(clip, indices):
  with pytest.raises(ValueError, match='ascending'):
    video.read_frames(clip, indices)


def test_index_past_the_end(clip):
  with pytest.raises(video.VideoError, match='frame 30 is wanted.* 30 frames'):
    video.read_frames(clip, [2, 30])


@pytest.mark.parametrize('degrees', [90, 180, 270])
def test_rotation_tag_is_honoured_once(tmp_path, degrees):
  path = write_video(tmp_path / 'phone.mp4', 6, 'mp4v')
  (plain,) = video.read_frames(path, [3])
  set_rotation(path, degrees)
  (upright,) = video.read_frames(path, [3])
  np.testing.assert_array_equal(upright, np.rot90(plain, -degrees // 90))


def test_even_indices_are_middles_of_equal_parts():
  assert video.even_indices(30, 8).tolist() == [1, 5, 9, 13, 16, 20, 24, 28]
  assert video.even_indices(5, 8).tolist() == [0, 1, 2, 3, 4]
  for available in range(1, 60):
    for wanted in range(1, 33):
      indices = video.even_indices(available, wanted)
      assert len(indices) == min(available, wanted)
      if available > wanted:
        middles = [(k + 0.5) * available / wanted for k in range(wanted)]
        assert indices.tolist() == [int(m + 1e-9) for m in middles]
  with pytest.raises(ValueError, match='8 of 0'):
    video.even_indices(0, 8)


def test_sample_video(clip):
  sample = video.sample_frames(clip, 8)
  assert frame_numbers(sample.frames) == sample.frame_index.tolist()
  assert sample.frame_index.tolist() == [1, 5, 9, 13, 16, 20, 24, 28]
  assert (sample.fps, sample.num_frames, sample.num_claimed) == (25.0, 30, 30)


def test_a_few_missing_frames_are_sampled_around(tmp_path):
  path = write_video(tmp_path / 'clip.avi', 30, 'MJPG')
  data = path.read_bytes()
  path.write_bytes(data[: int(0.95 * len(data))])
  sample = video.sample_frames(path, 30)
  assert sample.num_claimed == 30
  assert 27 <= len(sample.frames) < 30
  assert frame_numbers(sample.frames) == sample.frame_index.tolist()


def test_cut_off_video(tmp_path):
  path = write_video(tmp_path / 'clip.avi', 30, 'MJPG')
  data = path.read_bytes()
  path.write_bytes(data[: len(data) // 2])
  with pytest.raises(video.VideoError, match=r'clip.avi: cut off: \d+ of 30'):
    video.sample_frames(path, 8)


@pytest.mark.parametrize(
  'name, data, message',
  [
    ('a.avi', b'', 'the file has 0 bytes'),
    ('a.avi', b'just some text\n' * 99, 'its first bytes are not those of a'),
    ('a.mp4', b'just some text\n' * 99, 'its first bytes are not those of a'),
    ('a.avi', b'RIFF\0\0\0\0AVI ' * 99, 'not a video that can be opened'),
    # Play lists, which name other files and addresses.
    ('a.mp4', b'ffconcat version 1.0\nfile b.mp4\n', 'its first bytes are'),
    ('a.mp4', b'#EXTM3U\n#EXTINF:1,\nb.mp4\n', 'its first bytes are'),
    ('a.png', b'', 'the file has 0 bytes'),
    ('a.png', b'just some text\n' * 99, 'not a picture'),
    ('a.txt', b'text', "unknown suffix '.txt'; allowed: .3gp, .avi"),
  ],
)
def test_bad_files(tmp_path, name, data, message):
  (tmp_path / name).write_bytes(data)
  with pytest.raises(video.VideoError, match=f'{name}: {message}'):
    video.sample_frames(tmp_path / name, 8)


@pytest.mark.parametrize('name', ['none.avi', 'none.png'])
def test_missing_file(tmp_path, name):
  with pytest.raises(video.VideoError, match=f'{name}: .*o such file'):
    video.sample_frames(tmp_path / name, 8)


def test_video_without_frames(tmp_path):
  path = write_video(tmp_path / 'clip.avi', 0, 'MJPG')
  with pytest.raises(video.VideoError, match='clip.avi'):
    video.sample_frames(path, 8)


@pytest.mark.parametrize('suffix', ['png', 'bmp', 'jpg'])
def test_picture_is_a_clip_of_one_frame(tmp_path, suffix):
  image = np.zeros((10, 20, 3), np.uint8)
  image[:] = (10, 120, 230)
  path = tmp_path / f'still.{suffix.upper()}'
  done, data = cv2.imencode(f'.{suffix}', image[..., ::-1])
  path.write_bytes(data.tobytes())
  sample = video.sample_frames(path, 8)
  assert sample.frame_index.tolist() == [0] and sample.fps == 0.0
  np.testing.assert_allclose(
    sample.frames[0], image, atol=3 if suffix == 'jpg' else 0
  )


def jpeg(progressive=0, restart=0):
  rng = np.random.default_rng(0)
  picture = cv2.GaussianBlur(
    rng.integers(0, 256, (80, 96, 3), np.uint8), (5, 5), 2
  )
  settings = (
    *(cv2.IMWRITE_JPEG_PROGRESSIVE, progressive),
    *(cv2.IMWRITE_JPEG_RST_INTERVAL, restart),
  )
  return cv2.imencode('.jpg', picture, settings)[1].tobytes()


@pytest.mark.parametrize('kind', [{}, {'progressive': 1}, {'restart': 4}])
def test_a_jpeg_without_its_end_is_cut_off(tmp_path, kind):
  data = jpeg(**kind)
  path = tmp_path / 'a.jpg'
  for share in (0.5, 0.97, 0.995):
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(video.VideoError, match='a.jpg: (cut off|not a pict)'):
      video.read_image(path)
  # Of a download whose rest has not come yet.
  half = len(data) // 2
  path.write_bytes(data[:half] + bytes(len(data) - half))
  with pytest.raises(video.VideoError, match='a.jpg: (cut off|not a pict)'):
    video.read_image(path)


def test_a_preview_is_no_end_of_a_jpeg_and_a_film_after_it_no_part(tmp_path):
  data = jpeg()
  preview = jpeg()[:2000] + b'\xff\xd9'
  segment = b'\xff\xe1' + (len(preview) + 2).to_bytes(2, 'big') + preview
  whole = data[:2] + segment + data[2:]
  path = tmp_path / 'a.jpg'
  path.write_bytes(whole + b'a film' * 1000)
  assert video.read_image(path).shape == (80, 96, 3)
  path.write_bytes(whole[: len(segment) + len(data) // 2])
  with pytest.raises(video.VideoError, match='a.jpg: (cut off|not a pict)'):
    video.read_image(path)


@pytest.mark.parametrize('name', ['12:30:05.avi', 'file:a.avi'])
def test_a_name_with_a_colon_is_a_name(name, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  write_video(tmp_path / 'a.avi', 4, 'MJPG')
  write_video(tmp_path / 'b.avi', 7, 'MJPG').rename(tmp_path / name)
  assert video.sample_frames(name, 8).num_frames == 7
  assert file_limits.check(name, file_limits.Limits(frames=7)) == 'video'


def test_a_name_that_is_not_utf_8_is_refused_by_every_reader(tmp_path):
  path = write_video(tmp_path / 'a.avi', 4, 'MJPG')
  name = path.rename(os.fsdecode(os.fsencode(tmp_path) + b'/\xe9.avi'))
  for read in (
    lambda: video.sample_frames(name, 8),
    lambda: file_limits.check(name, file_limits.Limits()),
  ):
    with pytest.raises(video.VideoError, match='the name is not UTF-8'):
      read()


def test_depth_must_be_8_bit_grey(tmp_path):
  grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
  same = np.repeat(grey[..., None], 3, axis=2)
  for name, array in (('grey', grey), ('same', same)):
    cv2.imwrite(str(tmp_path / f'{name}.png'), array)
    depth = video.read_depth(tmp_path / f'{name}.png')
    np.testing.assert_array_equal(depth, grey)
  cv2.imwrite(str(tmp_path / 'deep.png'), grey.astype(np.uint16))
  with pytest.raises(video.VideoError, match='depth is uint16'):
    video.read_depth(tmp_path / 'deep.png')
  colour = same.copy()
  colour[1, 2, 0] = 99
  cv2.imwrite(str(tmp_path / 'colour.png'), colour)
  with pytest.raises(video.VideoError, match='in colour'):
    video.read_depth(tmp_path / 'colour.png')
