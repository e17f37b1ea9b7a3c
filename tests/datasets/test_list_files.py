"""Lists that datasets ship, as text and as JSON."""

import numpy as np
import pytest
from fuzz_cases import CASES

from nasfas_datasets import list_files


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16'])
def test_lines_in_every_accepted_encoding(encoding, tmp_path):
  path = tmp_path / 'list.txt'
  path.write_bytes(' Live_1\r\n\r\nLivé_2'.encode(encoding))
  assert list_files.read_lines(path) == [(1, 'Live_1'), (3, 'Livé_2')]


@pytest.mark.parametrize(
  ('data', 'message'),
  [
    (b'{\x00}\x00', 'is not UTF-8 text'),
    (b'\x80abc', 'is not UTF-8 text'),
    (b'{"a": 1', 'is not JSON'),
    (b'[1]', 'is not a JSON object but of type list'),
    (b'{"a": 1, "a": 2}', "'a' is there twice"),
    (b'{"a": ' + b'9' * 5000 + b'}', 'is not JSON'),
    (b'[' * 100000, 'is not JSON'),
  ],
)
def test_an_error_names_the_file(data, message, tmp_path):
  path = tmp_path / 'list.json'
  path.write_bytes(data)
  with pytest.raises(ValueError, match=message) as caught:
    list_files.read_object(path)
  assert str(path) in str(caught.value)


def test_any_bytes_are_read_or_refused_with_the_name(tmp_path):
  rng = np.random.default_rng(0)
  path = tmp_path / 'list.json'
  start = [b'', b'{"a": [0, 1]}', b'\xef\xbb\xbf{}', b'\xff\xfe{\x00}\x00']
  read = 0
  for _ in range(CASES):
    data = bytearray(start[rng.integers(len(start))])
    for _ in range(rng.integers(0, 3)):
      data.insert(rng.integers(len(data) + 1), rng.integers(256))
    path.write_bytes(data)
    try:
      assert isinstance(list_files.read_object(path), dict)
      read += 1
    except ValueError as error:
      assert str(path) in str(error)
  assert CASES * 0.15 < read < CASES
