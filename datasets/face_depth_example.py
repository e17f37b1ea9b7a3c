"""Draws a face beside its depth map, made as `prepare` makes it.

python -m nasfas_datasets.face_depth_example --out=docs/face_depth.png

The picture is `skimage.data.astronaut()` (NASA, public domain), which comes
with scikit-image.
"""

import sys

import cv2
import numpy as np
from absl import app, flags

from nasfas_datasets import clip_faces
from nasfas_jax import files
from nasfas_jax.preprocessing import crop

_SIZE = 256


def draw(picture: np.ndarray, folder: str | None = None) -> np.ndarray:
  """The crop of a picture's largest face beside its map, enlarged.

  Args:
    picture: uint8 RGB [H, W, 3].
    folder: of the face models; None is the default.

  Returns:
    uint8 RGB [256, 512, 3].

  Raises:
    ClipError: if there is no face.
  """
  height, width = picture.shape[:2]
  found = clip_faces.find_box(folder, picture)
  box = clip_faces.clip_box(found[None], width, height)
  square = crop.square_around(box)
  (depth,) = clip_faces.fill([clip_faces.find_depth(folder, picture, square)])
  enlarged = cv2.resize(depth, (_SIZE, _SIZE), interpolation=cv2.INTER_NEAREST)
  face = crop.cut(picture, square, _SIZE)
  return np.concatenate([face, np.repeat(enlarged[..., None], 3, axis=2)], 1)


def main(argv) -> None:
  if len(argv) > 1:
    raise app.UsageError(f'Unknown arguments: {argv[1:]}')
  options = flags.FLAGS
  try:
    from skimage import data  # An extra: only this script needs it.

    drawn = draw(data.astronaut(), options.face_models)
    done, picture = cv2.imencode('.png', drawn[..., ::-1])
    if not done:
      raise OSError(f'OpenCV cannot write a PNG of shape {drawn.shape}.')
    files.write_whole(options.out, picture.tobytes())
  except (ValueError, OSError, ImportError) as error:
    sys.exit(f'error: {error}')
  print(options.out)


if __name__ == '__main__':
  flags.DEFINE_string('out', 'docs/face_depth.png', 'The picture to write.')
  flags.DEFINE_string(
    'face_models', None, 'Folder of what fetch_face_models has fetched.'
  )
  app.run(main)
