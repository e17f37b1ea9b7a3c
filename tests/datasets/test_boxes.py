import numpy as np
import pytest
from fuzz_cases import CASES

from nasfas_datasets import boxes


def write(tmp_path, text):
  path = tmp_path / 'clip.face'
  path.write_text(text)
  return path


@pytest.mark.parametrize(
  ('reader', 'text', 'expected'),
  [
    ('corners', '10 20 110 140\n0 0 0 0\n', [[10, 20, 110, 140], None]),
    ('frame_xywh', '0 10 20 100 120\n1 0 0 0 0\n', [[10, 20, 110, 140], None]),
    (
      'frame_corners',
      '1,10,20,110,140,30,50,80,50\n',
      [[10, 20, 110, 140]],
    ),
    ('lines_xywh', '10.5\n20\n100\n120\n', [[10.5, 20, 110.5, 140]]),
    # Eyes 50 apart at (100, 200) and (150, 200): side 120 about (125, 225).
    ('frame_eyes', '0,100,200,150,200\n\n', [[65, 165, 185, 285]]),
    ('frame_eyes', '0,0,0,0,0\n', [None]),
  ],
)
def test_formats(reader, text, expected, tmp_path):
  found = boxes.READERS[reader](write(tmp_path, text))
  wanted = [row or [np.nan] * 4 for row in expected]
  np.testing.assert_allclose(found, wanted)


@pytest.mark.parametrize(
  ('reader', 'text', 'message'),
  [
    ('corners', '1 2 3\n', "line 1: '1 2 3' is not 4 numbers"),
    ('corners', '1 2 3 4\n1 2 x 4\n', 'line 2'),
    ('corners', '1 2 nan 4\n', 'is not 4 numbers'),
    ('corners', '1 2 inf 4\n', 'is not 4 numbers'),
    ('frame_xywh', '0,1,2,3,4\n', 'is not 5 numbers'),
    ('lines_xywh', '1\n2\n3\n', '3 lines; 4 are needed'),
  ],
)
def test_what_is_no_annotation_is_an_error(reader, text, message, tmp_path):
  with pytest.raises(boxes.AnnotationError, match=message):
    boxes.READERS[reader](write(tmp_path, text))


def test_a_file_that_is_no_text_is_an_error(tmp_path):
  path = tmp_path / 'x.face'
  path.write_bytes(b'\x00\xff\xfe' * 10)
  with pytest.raises(boxes.AnnotationError, match='x.face is not UTF-8 text'):
    boxes.corners(path)
  with pytest.raises(boxes.AnnotationError, match='not a text file'):
    boxes.corners(tmp_path / 'missing.face')


def test_a_box_turned_inside_out_counts_as_no_face(tmp_path):
  found = boxes.corners(write(tmp_path, '110 20 10 140\n-5 -5 10 10\n'))
  assert np.isnan(found[0]).all()
  np.testing.assert_array_equal(found[1], [-5, -5, 10, 10])


def test_a_byte_order_mark_is_no_part_of_the_numbers(tmp_path):
  path = tmp_path / 'x.face'
  for encoding in ('utf-8-sig', 'utf-16'):
    path.write_text('10 20 110 140\n', encoding=encoding)
    np.testing.assert_array_equal(boxes.corners(path), [[10, 20, 110, 140]])


def test_any_text_is_boxes_or_an_error(tmp_path, monkeypatch):
  rng = np.random.default_rng(0)
  known = np.array([ord(c) for c in '0123456789-., \n\tenaif'])
  texts = []
  for _ in range(CASES):
    codes = known[rng.integers(len(known), size=rng.integers(80))]
    texts.append(''.join(map(chr, codes)))
  # Without the disk, which takes a hundred times longer.
  monkeypatch.setattr(
    boxes.text_files, 'read', lambda path: texts[int(path.name)]
  )
  accepted = 0
  for number in range(len(texts)):
    for reader in boxes.READERS.values():
      try:
        found = reader(tmp_path / str(number))
      except boxes.AnnotationError:
        continue
      assert found.ndim == 2 and found.shape[1] == 4
      kept = found[~np.isnan(found).any(axis=1)]
      accepted += len(kept)
      assert np.all(np.isfinite(kept))
      assert np.all(kept[:, 2:] > kept[:, :2])
