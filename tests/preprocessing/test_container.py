"""Wrong headers, edit lists, variable rates: decoding decides."""

import io
import pathlib
import struct

import cv2
import numpy as np
import pytest
from fuzz_cases import CASES

from nasfas_jax.preprocessing import container, video

# 40 frames, of which an edit list hides the first half; Motion JPEG whose
# container claims twice its frames.
FOLDER = pathlib.Path(__file__).parent
EDITED, VARIABLE = FOLDER / 't_elst.mp4', FOLDER / 't_vfr.mkv'


def element(name, content):
  """An EBML element with a size of eight bytes."""
  return (
    bytes.fromhex(name) + b'\x01' + len(content).to_bytes(7, 'big') + content
  )


def write_mkv(path, times, claimed_seconds=None):
  """Motion JPEG whose frame i is shown at times[i] milliseconds."""
  blocks = b''
  for i, time in enumerate(times):
    picture = np.full((48, 64, 3), 5 * i, np.uint8)
    data = cv2.imencode('.jpg', picture)[1].tobytes()
    blocks += element('a3', b'\x81' + struct.pack('>hB', time, 0x80) + data)
  seconds = claimed_seconds or times[-1] / 1000
  info = element('2ad7b1', (10**6).to_bytes(4, 'big'))
  info += element('4489', struct.pack('>d', 1000 * seconds))
  track = element('d7', b'\x01') + element('73c5', b'\x01')
  track += element('83', b'\x01') + element('86', b'V_MJPEG')
  track += element('e0', element('b0', b'\x40') + element('ba', b'\x30'))
  segment = element('1549a966', info)
  segment += element('1654ae6b', element('ae', track))
  segment += element('1f43b675', element('e7', b'\x00') + blocks)
  head = element('4282', b'matroska')
  path.write_bytes(element('1a45dfa3', head) + element('18538067', segment))
  return path


def shown(frames):
  return [round(float(frame.mean()) / 5) for frame in frames]


def test_an_edit_list_hides_frames():
  clip = video.sample_frames(EDITED, 8)
  assert (clip.num_frames, clip.num_claimed) == (20, 40)
  assert clip.frame_index.tolist() == video.even_indices(20, 8).tolist()
  assert container.outline(EDITED) == container.Outline(1.0, 1.0)


def test_a_container_that_claims_twice_its_frames():
  clip = video.sample_frames(VARIABLE, 8)
  assert (clip.num_frames, clip.num_claimed) == (40, 80)
  assert clip.frame_index.tolist() == video.even_indices(40, 8).tolist()


@pytest.mark.parametrize('share', [0.4, 0.67, 0.85])
@pytest.mark.parametrize('kind', ['avi', 'mkv', 'vfr', 'mp4'])
def test_a_file_without_its_end_is_still_refused(kind, share, tmp_path):
  path = tmp_path / f'a.{kind}'
  if kind == 'avi':
    writer = cv2.VideoWriter(
      str(path), cv2.VideoWriter_fourcc(*'MJPG'), 25, (64, 48)
    )
    for i in range(30):
      writer.write(np.full((48, 64, 3), 5 * i, np.uint8))
    writer.release()
  elif kind == 'mp4':
    path.write_bytes(EDITED.read_bytes())
  else:
    path = tmp_path / 'a.mkv'
    # 'vfr': the header claims fewer frames than the file holds.
    seconds = 1.2 if kind == 'mkv' else 0.3
    write_mkv(path, list(range(0, 1200, 40)), seconds)
  data = path.read_bytes()
  path.write_bytes(data[: int(share * len(data))])
  with pytest.raises(video.VideoError, match='cut off|not a video'):
    video.sample_frames(path, 8)


def test_time_stamps_decide_where_the_rate_changes(tmp_path):
  # 20 frames in the first second, then 10 in ten.
  times = [*range(0, 1000, 50), *range(1000, 11000, 1000)]
  path = write_mkv(tmp_path / 'a.mkv', times)
  clip = video.sample_frames(path, 4)
  # The last frame counts as long as most, 50 ms: the middles of four parts are
  # 1.26, 3.77, 6.28 and 8.79 s. By numbers they would be 3, 11, 18 and 26.
  assert clip.frame_index.tolist() == [20, 22, 25, 27]
  assert shown(clip.frames) == [20, 22, 25, 27]


def test_a_constant_rate_keeps_the_middles_of_its_frames():
  rng = np.random.default_rng(0)
  for _ in range(200):
    count, wanted = rng.integers(1, 300), rng.integers(1, 33)
    # Rounded to milliseconds, as Matroska does.
    times = np.round(np.arange(count) * 1000 / rng.uniform(10, 60))
    np.testing.assert_array_equal(
      video.even_in_time(times, wanted), video.even_indices(count, wanted)
    )


def test_any_times_give_ascending_frames():
  rng = np.random.default_rng(1)
  for _ in range(300):
    count, wanted = int(rng.integers(1, 60)), int(rng.integers(1, 33))
    times = np.cumsum(rng.exponential(40, count) ** rng.uniform(0, 3))
    chosen = video.even_in_time(times, wanted)
    assert len(chosen) == min(count, wanted)
    assert np.all(np.diff(chosen) > 0)
    assert chosen[0] >= 0 and chosen[-1] < count


@pytest.mark.parametrize(
  'times', [[0.0] * 30, [np.nan] * 30, list(range(30, 0, -1)), [-1.0] * 30]
)
def test_times_that_tell_nothing_leave_the_frames(times):
  np.testing.assert_array_equal(
    video.even_in_time(times, 8), video.even_indices(30, 8)
  )


def test_a_header_that_claims_too_few_frames(tmp_path):
  path = write_mkv(tmp_path / 'a.mkv', list(range(0, 1200, 40)), 0.4)
  clip = video.sample_frames(path, 8)
  assert clip.num_claimed < 15 and clip.num_frames == 30
  assert shown(clip.frames) == video.even_indices(30, 8).tolist()


def test_any_bytes_have_an_outline():
  rng = np.random.default_rng(2)
  whole = [EDITED.read_bytes(), VARIABLE.read_bytes()[:2000], b'RIFF' * 9]
  for _ in range(CASES):
    data = bytearray(whole[rng.integers(3)])
    for place in rng.integers(0, min(len(data), 3000), rng.integers(1, 9)):
      data[place] = rng.integers(256)
    data = data[: rng.integers(1, len(data) + 1)]
    found = container.read(io.BytesIO(data), len(data))
    assert 0 <= found.share <= 1 and 0 <= found.seconds < float('inf')
