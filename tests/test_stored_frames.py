import io
import struct
import tracemalloc

import hypothesis
import numpy as np
import pytest
import zstandard
from hypothesis import strategies as st
from hypothesis.extra import numpy as hypothesis_numpy
from PIL import Image

from nasfas_jax import stored_frames
from tests import fuzz_cases

HEADER = struct.Struct('<4sHH')


def pictures(number=3, height=7, width=5, seed=0):
  shape = (number, height, width, 3)
  return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def png(picture):
  file = io.BytesIO()
  Image.fromarray(picture).save(file, 'png')
  return file.getvalue()


@hypothesis.given(
  hypothesis_numpy.arrays(
    np.uint8,
    st.tuples(*[st.integers(1, 9)] * 3, st.just(3)),
  )
)
def test_what_is_stored_comes_back(frames):
  files = [stored_frames.encode(frame) for frame in frames]
  np.testing.assert_array_equal(stored_frames.decode(files), frames)
  assert {stored_frames.size(file) for file in files} == {frames.shape[1:3]}
  assert {stored_frames.form(file) for file in files} == {'planes'}


def test_views_are_stored_as_they_look():
  frame = pictures(1, 8, 6)[0]
  for view in (frame[::-1], frame[..., ::-1], frame.transpose(1, 0, 2)):
    file = stored_frames.encode(view)
    np.testing.assert_array_equal(stored_frames.decode([file])[0], view)


def test_the_file_is_what_the_docstring_says():
  """Undone value by value, with the loops of the text."""
  frame = pictures(1)[0]
  file = stored_frames.encode(frame)
  magic, height, width = HEADER.unpack_from(file)
  assert (magic, height, width) == (b'\x93FPL', 7, 5)
  assert zstandard.get_frame_parameters(file[8:]).has_checksum
  planes = np.frombuffer(zstandard.decompress(file[8:]), np.uint8)
  planes = planes.reshape(3, 7, 5).astype(int)
  for x in range(5):
    column = np.zeros(3, int)
    for y in range(7):
      column = (column + planes[:, y, x]) % 256
      red, green, blue = column
      rgb = [(red + green) % 256, green, (blue + green) % 256]
      np.testing.assert_array_equal(frame[y, x], rgb)


def test_png_files_of_earlier_records_are_read_in_rgb():
  frames = pictures()
  files = [png(frame) for frame in frames]
  assert stored_frames.form(files[0]) == 'png'
  assert stored_frames.size(files[0]) == (7, 5)
  np.testing.assert_array_equal(stored_frames.decode(files), frames)


@pytest.mark.parametrize(
  ('frame', 'message'),
  [
    (np.zeros((4, 4), np.uint8), r'uint8 \(4, 4\)'),
    (np.zeros((4, 4, 4), np.uint8), r'uint8 \(4, 4, 4\)'),
    (np.zeros((4, 4, 3), np.float32), 'float32'),
    (np.zeros((0, 4, 3), np.uint8), '4 x 0 pixels; allowed: sides of 1 to'),
    (np.zeros((2049, 1, 3), np.uint8), '1 x 2049 pixels; .* 1 to 2048'),
  ],
)
def test_what_is_no_frame_is_not_stored(frame, message):
  with pytest.raises(ValueError, match=message):
    stored_frames.encode(frame)


def header(height, width):
  return HEADER.pack(b'\x93FPL', height, width)


def zeros(length, **options):
  return zstandard.ZstdCompressor(**options).compress(bytes(length))


@pytest.mark.parametrize(
  ('files', 'message'),
  [
    ([], '0 frames have the sizes'),
    ([b''], '0 bytes is not a picture'),
    ([b'\x93FPL'], '4 bytes is not a picture'),
    ([header(2, 2)], '8 bytes is not a picture'),
    ([header(0, 2) + zeros(0)], '2 x 0 pixels'),
    ([header(60000, 60000) + zeros(12)], '60000 x 60000 pixels'),
    ([header(2, 2) + zeros(1 << 30)], 'claims 1073741824 bytes'),
    ([header(2, 2) + zeros(11)], 'claims 11 bytes of planes; expected 12'),
    # Of an unknown length, which a stream writes.
    ([header(2, 2) + zeros(12, write_content_size=False)], 'claims'),
    ([header(2, 2) + zeros(12) + b'x'], 'is not a picture'),
    ([header(2, 2) + zeros(12)[:-1]], 'is not a picture'),
    ([header(2, 2) + zeros(12), header(2, 3) + zeros(18)], 'sizes'),
    ([header(2, 2) + zeros(12), png(np.zeros((2, 2, 3), np.uint8))], 'forms'),
    # A PNG that claims more pixels than any frame has.
    (
      [
        b'\x89PNG\r\n\x1a\n\0\0\0\rIHDR'
        + struct.pack('>IIBBBBB', 1 << 20, 1 << 20, 8, 2, 0, 0, 0)
        + bytes(100)
      ],
      '1048576 x 1048576 pixels',
    ),
  ],
)
def test_damaged_and_hostile_files_are_refused(files, message):
  tracemalloc.start()
  try:
    with pytest.raises(ValueError, match=message):
      stored_frames.decode(files)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
  finally:
    tracemalloc.stop()


def test_fuzzed_files_are_refused_or_are_frames():
  """Cut, flipped and joined: never a crash, nor more memory than claimed."""
  rng = np.random.default_rng(0)
  whole = [stored_frames.encode(frame) for frame in pictures(2, 24, 20)]
  whole += [png(frame) for frame in pictures(2, 24, 20)]
  read = 0
  for case in range(fuzz_cases.CASES):
    data = bytearray(whole[case % len(whole)])
    for _ in range(rng.integers(1, 4)):
      # More often in the headers, which say how much to allocate.
      end = 24 if rng.uniform() < 0.5 else len(data)
      data[rng.integers(end)] ^= 1 << rng.integers(8)
    if case % 3 == 0:
      data = data[: rng.integers(len(data))]
    if case % 7 == 0:
      data += whole[0]
    try:
      frames = stored_frames.decode([bytes(data)])
    except ValueError as error:
      assert len(str(error).splitlines()) == 1
    else:
      read += 1
      assert frames.dtype == np.uint8
      assert max(frames.shape) <= stored_frames.MAX_SIDE
  # A flip in what the decoders of PNG skip; the planes have a checksum.
  assert read < fuzz_cases.CASES / 4
