"""Small trees of the datasets with real, tiny videos."""

import cv2
import numpy as np
import trees

FOURCC = {'.avi': 'MJPG', '.mov': 'mp4v', '.mp4': 'mp4v'}
WIDTH, HEIGHT, FRAMES = 96, 64, 10


def square_frames():
  """A bright square, the face, that stands in the left upper quarter."""
  frames = np.full((FRAMES, HEIGHT, WIDTH, 3), 40, np.uint8)
  frames[:, 8:40, 8:40] = 220
  return frames


def write_video(path, frames=None):
  path.parent.mkdir(parents=True, exist_ok=True)
  writer = cv2.VideoWriter(
    str(path),
    cv2.VideoWriter_fourcc(*FOURCC[path.suffix.lower()]),
    25,
    (WIDTH, HEIGHT),
  )
  assert writer.isOpened()
  for frame in square_frames() if frames is None else frames:
    writer.write(frame)
  writer.release()


def write_picture(path, frames):
  picture = cv2.cvtColor(frames[0], cv2.COLOR_RGB2BGR)
  assert cv2.imwrite(str(path), picture)


def write_clip(name, root, file):
  """One clip of a dataset and the annotation that ships with it."""
  example = trees.example(name)
  path = root / file
  path.parent.mkdir(parents=True, exist_ok=True)
  usual = write_video if path.suffix.lower() in FOURCC else write_picture
  getattr(example, 'write_clip', usual)(path, square_frames())
  if hasattr(example, 'annotation'):
    target, text = example.annotation(file, FRAMES)
    (root / target).parent.mkdir(parents=True, exist_ok=True)
    (root / target).write_text(text)


def make_tree(name, root):
  example = trees.example(name)
  for file in filter(example.is_small, example.names()):
    write_clip(name, root, file)
  trees.write_lists(name, root)
  return root
