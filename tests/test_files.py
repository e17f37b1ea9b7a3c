import errno
import hashlib
import os

import numpy as np
import pytest

from nasfas_jax import files


class Stop(BaseException):
  """What a Ctrl-C is: no Exception."""


def listed(folder):
  return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize('data', ['a\r\nü\n', b'\0\xff', ''])
def test_a_file_is_written_as_it_is_and_replaces_the_old_one(tmp_path, data):
  path = tmp_path / 'x' / 'y' / 'a.txt'
  files.write_whole(path, 'old')
  files.write_whole(str(path), data)
  expected = data if isinstance(data, bytes) else bytes(data, 'utf-8')
  assert path.read_bytes() == expected
  assert listed(path.parent) == ['a.txt']


@pytest.mark.parametrize('error', [ValueError, Stop])
@pytest.mark.parametrize('old', [None, 'old'])
def test_a_failure_in_the_middle_leaves_what_was_there(tmp_path, error, old):
  path = tmp_path / 'a.txt'
  if old:
    path.write_text(old)
  with pytest.raises(error), files.replacing(path) as partial:
    partial.write_text('half')
    # Beside the file, where a rename is atomic.
    assert partial.parent == tmp_path and partial != path
    raise error
  assert listed(tmp_path) == (['a.txt'] if old else [])
  assert not old or path.read_text() == old


def test_the_content_is_on_the_disk_before_the_name(tmp_path, monkeypatch):
  path, calls = tmp_path / 'a.txt', []
  fsync, replace = os.fsync, os.replace

  def synced(file):
    calls.append((os.fstat(file).st_ino, path.exists()))
    fsync(file)

  def replaced(source, target):
    calls.append((os.stat(source).st_ino, target))
    replace(source, target)

  monkeypatch.setattr(os, 'fsync', synced)
  monkeypatch.setattr(os, 'replace', replaced)
  files.write_whole(path, 'text')
  inode = path.stat().st_ino
  assert calls == [(inode, False), (inode, path)]


def test_a_failed_sync_leaves_the_old_file(tmp_path, monkeypatch):
  files.write_whole(tmp_path / 'a.txt', 'old')

  def full(_):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(os, 'fsync', full)
  with pytest.raises(OSError, match='No space left'):
    files.write_whole(tmp_path / 'a.txt', 'new')
  assert listed(tmp_path) == ['a.txt']
  assert (tmp_path / 'a.txt').read_text() == 'old'


def test_a_writer_may_ask_for_a_suffix(tmp_path):
  path = tmp_path / 'arrays.npz'
  with files.replacing(path, suffix='.npz') as partial:
    # It appends '.npz' to a name that does not end in it.
    np.savez(partial, x=np.arange(3))
  with np.load(path) as found:
    assert found['x'].tolist() == [0, 1, 2]
  assert listed(tmp_path) == ['arrays.npz']


def test_a_writer_that_wrote_elsewhere_is_an_error(tmp_path):
  path = tmp_path / 'a.txt'
  with pytest.raises(FileNotFoundError) as raised, files.replacing(path):
    pass
  assert raised.value.filename == str(path)


def test_a_place_that_cannot_be_written_is_named(tmp_path):
  (tmp_path / 'taken').mkdir()
  with pytest.raises(OSError) as raised:
    files.write_whole(tmp_path / 'taken', 'text')
  assert raised.value.filename == str(tmp_path / 'taken')
  assert listed(tmp_path) == ['taken']
  with pytest.raises(OSError, match='x' * 300):
    files.write_whole(tmp_path / ('x' * 300), 'text')
  (tmp_path / 'file').touch()
  with pytest.raises(OSError) as raised:
    files.write_whole(tmp_path / 'file' / 'a.txt', 'text')
  assert raised.value.filename == str(tmp_path / 'file')


def test_an_unwritable_folder_is_an_error_that_names_the_file(
  tmp_path, monkeypatch
):
  def refused(self, *args, **kwargs):
    # As for a folder without write permission, which root does not mind.
    raise PermissionError(13, 'Permission denied', str(self))

  path = tmp_path / 'a.txt'
  monkeypatch.setattr('pathlib.Path.write_bytes', refused)
  with pytest.raises(PermissionError) as raised:
    files.write_whole(path, 'text')
  assert raised.value.filename == str(path)
  assert not listed(tmp_path)


def test_json_there_and_back(tmp_path):
  path = tmp_path / 'a' / 'b.json'
  files.write_json(path, {'ü': [1, None, 0.5]})
  assert files.read_json(path) == {'ü': [1, None, 0.5]}
  assert path.read_text(encoding='utf-8').endswith('}\n')
  with pytest.raises(ValueError, match='JSON compliant'):
    files.write_json(path, {'x': float('nan')})
  assert files.read_json(path) == {'ü': [1, None, 0.5]}
  assert listed(path.parent) == ['b.json']


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path):
  def full(data):
    # As `write` fails: without a name.
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  with pytest.raises(OSError, match='No space left.*a.json') as error:
    with files.replacing(tmp_path / 'a.json') as partial:
      partial.write_bytes(b'half')
      full(b'')
  assert error.value.errno == errno.ENOSPC
  assert not list(tmp_path.iterdir())


def test_the_quick_sum_tells_truncated_and_other_files(tmp_path):
  path = tmp_path / 'x'
  content = bytes(range(256)) * 400
  path.write_bytes(content)
  found = files.quick_sum(path)
  ends = content[: 1 << 14] + content[-(1 << 14) :]
  assert found == {
    'size': len(content),
    'ends': hashlib.sha256(ends).hexdigest(),
  }
  path.write_bytes(content[:-1])
  assert files.quick_sum(path)['size'] == len(content) - 1
  path.write_bytes(content[:-1] + b'\0')
  assert files.quick_sum(path)['ends'] != found['ends']
  path.write_bytes(b'abc')
  assert files.quick_sum(path)['size'] == 3
