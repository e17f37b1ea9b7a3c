"""From a clip to the wide crops that a record of it would hold."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from nasfas_jax.preprocessing import crop, face_choice, file_limits, video
from nasfas_jax.preprocessing.preparation import Preparation

# transform -> the clip's evenly spread frames, each through the transform.
Sample = Callable[[video.Transform], video.Clip]
WHOLE_FRAME = 'whole_frame'
DETECTOR = 'detector'
# Where the face box of a prepared clip is from, as data.json has it, in words.
GIVEN, DETECTED = 'given', 'detected'
_ORIGINS = {
  GIVEN: 'annotated',
  DETECTED: 'of a face detector',
  WHOLE_FRAME: 'the whole frame',
  'unknown': 'of unknown origin',
}


@dataclasses.dataclass(frozen=True)
class Crops:
  """The wide crops of a clip.

  Attributes:
    pictures: K crops, uint8 RGB [size, size, 3].
    face_box: float64 [4], in pixels of the crops.
    box: float64 [4], in pixels of the frames.
    frame: uint8 RGB [H, W, 3], the first of the frames.
    frame_index: int32 [K], the place of each frame in the clip.
    fps: frames per second; 0 if unknown.
    num_faces: frames in which a face was found; None if none was looked for.
  """

  pictures: Sequence[np.ndarray]
  face_box: np.ndarray
  box: np.ndarray
  frame: np.ndarray
  frame_index: np.ndarray
  fps: float
  num_faces: int | None


def make_crops(
  sample: Sample,
  prepared: Preparation,
  box: str | Sequence[float] | face_choice.FindFaces,
  rules: face_choice.FaceRules,
) -> Crops:
  """Crops the frames of a clip as a builder does.

  Args:
    sample: reads the clip; is called twice if faces are to be found, so that
      one full frame is in memory at a time.
    prepared: how the training's clips were prepared.
    box: x0, y0, x1, y1 of the face in pixels of the frames; `WHOLE_FRAME`, for
      a network that was trained on clips without boxes; or what finds faces.
    rules: when a face is refused.

  Raises:
    FaceError: see `face_choice`.
    VideoError: if the frames differ in size or cannot be decoded.
    TooLargeError: if the crop would be too large.
  """
  found = list(sample(box).frames) if callable(box) else None
  border = 'replicate' if prepared.border == 'stretch' else prepared.border
  placed = []  # Box, view and first frame, set at the first frame.

  def cut(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    if not placed:
      if found is not None:
        chosen = face_choice.choose(found, width, height, rules)
      elif isinstance(box, str):
        chosen = crop.default_box(width, height, prepared.margin)
      else:
        chosen = face_choice.given(box, width, height)
      try:
        view = crop.wide_view(
          chosen, prepared.margin, prepared.border, width, height
        )
      except ValueError as error:
        raise file_limits.TooLargeError(str(error)) from error
      placed.extend((chosen, view, frame))
    if placed[2].shape != frame.shape:
      raise video.VideoError('The frames of the clip differ in size.')
    return crop.cut(frame, placed[1], prepared.size, border=border)

  clip = sample(cut)
  chosen, view, frame = placed
  return Crops(
    pictures=clip.frames,
    face_box=crop.box_in_crop(chosen, view, prepared.size),
    box=chosen,
    frame=frame,
    frame_index=clip.frame_index,
    fps=clip.fps,
    num_faces=found and sum(len(boxes) > 0 for boxes in found),
  )


def describe_boxes(origins: Sequence[str]) -> str:
  """Where the face boxes of a training are from, in words.

  Args:
    origins: of the boxes in data.json; none are recorded in older runs.
  """
  words = [_ORIGINS.get(origin, origin) for origin in origins or ('unknown',)]
  return ' or '.join(words)
