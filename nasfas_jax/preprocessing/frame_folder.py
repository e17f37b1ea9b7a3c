"""Clips that are folders of pictures, as CDCN's preprocessing writes them.

A frame is `<clip>_<number>_scene.jpg` with its face box in a `.dat` of the same
stem; a depth map is `<clip>_<number>_depth1D.jpg` in a folder of its own, of
the size of the frame.
"""

import pathlib
import re
from collections.abc import Callable

import numpy as np

from nasfas_jax.preprocessing import video

SCENE = '_scene.jpg'
BOX = '_scene.dat'
DEPTH = '_depth1D.jpg'
_NUMBER = re.compile(r'.*_(\d{1,9})')


def numbers(folder: pathlib.Path, suffix: str) -> dict[int, pathlib.Path]:
  """The files `..._<number><suffix>` of a folder, by ascending number.

  Hidden ones do not count: some systems leave `._<name>` beside a file.
  """
  found = {}
  for path in folder.iterdir():
    if path.name.startswith('.'):
      continue
    match = _NUMBER.fullmatch(path.name.removesuffix(suffix))
    if path.name.endswith(suffix) and match:
      found[int(match.group(1))] = path
  return dict(sorted(found.items()))


def usable(
  folder: pathlib.Path, depth: pathlib.Path | None = None
) -> dict[int, pathlib.Path]:
  """Number -> picture of the frames with a box and, given `depth`, a depth map.

  Args:
    folder: of the pictures and boxes.
    depth: folder of the depth maps; None: no depth map is needed.

  Raises:
    VideoError: if there is none.
  """
  scenes = numbers(folder, SCENE)
  kept = scenes.keys() & numbers(folder, BOX).keys()
  if depth is not None:
    kept &= numbers(depth, DEPTH).keys()
  if not kept:
    wanted = f'a {BOX}' + (f' and a {DEPTH}' if depth is not None else '')
    raise video.VideoError(
      f'{folder}: none of {len(scenes)} frames ({SCENE}) has {wanted}.'
    )
  return {number: scenes[number] for number in sorted(kept)}


def sample_frames(
  folder: pathlib.Path,
  num_frames: int,
  transform: Callable[[np.ndarray], np.ndarray] | None = None,
  limit: int = 0,
  *,
  depth: pathlib.Path | None = None,
) -> video.Clip:
  """Takes evenly spread frames of a folder; see `video.sample_frames`.

  Args:
    folder: of the pictures.
    num_frames: the number of frames; all frames if the folder has fewer.
    transform: applied to each frame.
    limit: take them from the first `limit` frames only; 0: from all.
    depth: folder of the depth maps; frames without one are skipped.

  Returns:
    The frames; their indices are the numbers in their names.

  Raises:
    VideoError: if no frame is usable or one cannot be decoded.
  """
  found = usable(folder, depth)
  chosen = list(found)[: limit or None]
  places = video.even_indices(len(chosen), num_frames)
  chosen = [chosen[place] for place in places]
  frames = [video.read_image(found[number]) for number in chosen]
  if transform is not None:
    frames = [transform(frame) for frame in frames]
  return video.Clip(
    frames, np.asarray(chosen, np.int32), 0.0, len(found), len(found)
  )


def read_depth(folder: pathlib.Path, number: int) -> np.ndarray:
  """The depth map of a frame: uint8 [H, W], 255 = nearest.

  Raises:
    VideoError: if it is missing or not an 8-bit grey picture.
  """
  found = numbers(folder, DEPTH)
  if number not in found:
    raise video.VideoError(f'{folder}: frame {number} has no {DEPTH}.')
  return video.read_depth(found[number])
