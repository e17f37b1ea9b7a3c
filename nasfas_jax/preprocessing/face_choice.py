"""Which face of a clip is judged, and when none is.

Builders take the largest face of every frame and the median of these boxes; so
does this. Beyond that it refuses clips about which a decision would mislead.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from nasfas_jax.preprocessing import crop, face_mesh, face_models

# A frame, uint8 RGB [H, W, 3] -> its face boxes, floats [N, 4], largest first.
FindFaces = Callable[[np.ndarray], np.ndarray]

NO_FACE = 'no_face'
SEVERAL = 'several_faces'
TOO_SMALL = 'face_too_small'
CUT_OFF = 'face_cut_off'
BAD_BOX = 'bad_box'
OUTCOMES = (NO_FACE, SEVERAL, TOO_SMALL, CUT_OFF, BAD_BOX)


class FaceError(ValueError):
  """A clip has no face that can be judged; `outcome` is one of `OUTCOMES`."""

  def __init__(self, outcome: str, message: str):
    super().__init__(message)
    self.outcome = outcome


@dataclasses.dataclass(frozen=True)
class FaceRules:
  """When a face is refused.

  Attributes:
    several: judge the largest of several faces, instead of none.
    rival: area of a second face over that of the largest, from which on a frame
      has several faces.
    frames: least share of the frames that show a face; also the share of frames
      with several from which on the clip has several.
    inside: least share of the face box that is inside the frame.
    enlarged: the most that the crop may be enlarged to the network's input.
      Texture that was never recorded tells nothing.
  """

  several: bool = False
  rival: float = 0.25
  frames: float = 0.5
  inside: float = 0.75
  enlarged: float = 2.0


def detector(folder: str | None = None) -> FindFaces:
  """The face detector of the extra `prepare`, as builders use it.

  Args:
    folder: of the face models; None is the default.

  Raises:
    ImportError, FileNotFoundError, ValueError: as `face_models.load`.
  """
  models = face_models.load(folder)

  def find(frame: np.ndarray) -> np.ndarray:
    faces = face_mesh.find_faces(models, frame)
    return np.array([face.box for face in faces]).reshape(-1, 4)

  return find


def choose(
  found: Sequence[np.ndarray], width: int, height: int, rules: FaceRules
) -> np.ndarray:
  """The one face box of a clip, inside its frames: float64 [4].

  Args:
    found: the face boxes of every frame, [N, 4], largest first.
    width: of the frames.
    height: of the frames.
    rules: when a face is refused.

  Raises:
    FaceError: if there is no face, there are several, or the face is cut off.
  """
  faces = [boxes for boxes in found if len(boxes)]
  if len(faces) < max(1, rules.frames * len(found)):
    raise FaceError(
      NO_FACE, f'{len(faces)} of {len(found)} frames show a face.'
    )
  crowded = sum(
    any(_is_rival(box, boxes[0], rules.rival) for box in boxes[1:])
    for boxes in faces
  )
  if crowded >= max(1, rules.frames * len(faces)) and not rules.several:
    raise FaceError(
      SEVERAL,
      f'{crowded} of {len(found)} frames show several faces of similar size.',
    )
  try:
    box = crop.median_box(np.stack([boxes[0] for boxes in faces]))
    inside = np.clip(box, 0, np.array([width, height] * 2, np.float64))
    share = _area(inside) / _area(box)
    if share < rules.inside:
      raise FaceError(CUT_OFF, f'{share:.0%} of the face is inside the frame.')
    return crop.check_box(inside, width, height)
  except FaceError:
    raise
  except ValueError as error:
    raise FaceError(NO_FACE, str(error)) from error


def given(box, width: int, height: int) -> np.ndarray:
  """A box that the caller gives: float64 [4].

  Raises:
    FaceError: if it is not a box inside the frame.
  """
  try:
    return crop.check_box(box, width, height)
  except (TypeError, ValueError) as error:
    raise FaceError(BAD_BOX, str(error)) from error


def check_size(
  box: np.ndarray, face_scale: float, image_size: int, rules: FaceRules
) -> None:
  """Raises FaceError if the crop would be enlarged more than allowed.

  Args:
    box: of the face, in pixels of the frame.
    face_scale: side of the crop over the larger side of the box.
    image_size: side of the network's input.
    rules: when a face is refused.
  """
  side = float(np.max(box[2:] - box[:2]))
  least = image_size / (rules.enlarged * face_scale)
  if side < least:
    raise FaceError(
      TOO_SMALL,
      f'The face is {side:.0f} pixels wide or high; this network needs '
      f'{least:.0f}.',
    )


def _is_rival(box: np.ndarray, largest: np.ndarray, share: float) -> bool:
  """Whether a box is of another face, of at least a share of the area.

  A box that lies mostly in the largest is a second one about the same face.
  """
  shared = np.concatenate(
    [np.maximum(box[:2], largest[:2]), np.minimum(box[2:], largest[2:])]
  )
  area = _area(box)
  return area >= share * _area(largest) and _area(shared) < area / 2


def _area(box: np.ndarray) -> float:
  return float(np.prod(np.maximum(box[2:] - box[:2], 0)))
