"""The builder settings that all video datasets share."""

import dataclasses

import tensorflow_datasets as tfds

from nasfas_jax import records, stored_frames
from nasfas_jax.preprocessing import crop

BORDERS = (*crop.BORDERS, 'stretch')

# The settings that a user can change. Each of them changes the records.
SETTINGS = (
  'margin',
  'border',
  'train_frames',
  'faces',
  'missing_boxes',
  'depth',
)
FACES = ('shipped', 'detected')
MISSING_BOXES = ('skip', 'whole_frame')
DEPTHS = ('ellipse', 'mesh')


@dataclasses.dataclass(eq=False)
class ClipConfig(tfds.core.BuilderConfig):
  """Settings of a build.

  Attributes:
    size: side of the stored crops in pixels.
    num_frames: K, stored frames per video, evenly spread over it.
    margin: side of the crop over the larger side of the face box. Training
      draws its crops from inside it.
    border: the pixels past the border of the frame, one of `crop.BORDERS`; or
      'stretch', as in CDCN's code: the box is clipped to the frame and
      stretched to a square, which distorts the face.
    train_frames: only this many first frames of training clips are used, such
      as 60 for SiW's protocol 1; 0: all.
    max_bad_share: the largest share of skipped clips, in [0, 1].
    faces: the source of a clip's face box: 'shipped' (the dataset's annotation,
      or the whole frame if no clip has one) or 'detected' (the median box of
      the faces found in the stored frames).
    missing_boxes: what a clip without an annotation becomes among clips that
      have theirs: 'skip' (it is left out and listed) or 'whole_frame', with
      which the framing can give the label away.
    depth: the depth maps of a clip without depth pictures: 'ellipse' (the
      ellipse in the face box) or 'mesh' (a dense face mesh for each frame).
      Attacks have them too, since otherwise the depth would leak the label.
  """

  size: int = 256
  num_frames: int = 8
  margin: float = records.WIDE_MARGIN
  border: str = 'replicate'
  train_frames: int = 0
  max_bad_share: float = 0.1
  faces: str = 'shipped'
  missing_boxes: str = 'skip'
  depth: str = 'ellipse'

  def __post_init__(self):
    if not 8 <= self.size <= stored_frames.MAX_SIDE:
      raise ValueError(
        f'size is {self.size}; allowed: 8 to {stored_frames.MAX_SIDE}.'
      )
    if not 1 <= self.num_frames <= records.MAX_FRAMES:
      raise ValueError(
        f'num_frames is {self.num_frames}; allowed: 1 to {records.MAX_FRAMES}.'
      )
    if not 1 <= self.margin <= 8:
      raise ValueError(f'margin is {self.margin}; allowed: 1 to 8.')
    if self.border not in BORDERS:
      raise ValueError(
        f'border is {self.border!r}; allowed: {", ".join(BORDERS)}.'
      )
    if self.train_frames < 0:
      raise ValueError(
        f'train_frames is {self.train_frames}; allowed: 0 or more.'
      )
    if not 0 <= self.max_bad_share <= 1:
      raise ValueError(
        f'max_bad_share is {self.max_bad_share}; allowed: 0 to 1.'
      )
    for name, allowed in (
      ('faces', FACES),
      ('missing_boxes', MISSING_BOXES),
      ('depth', DEPTHS),
    ):
      value = getattr(self, name)
      if value not in allowed:
        raise ValueError(f'{name} is {value!r}; allowed: {", ".join(allowed)}.')

  def content(self) -> dict[str, object]:
    """The settings that change the records: JSON content."""
    found = {
      name: getattr(self, name) for name in ('size', 'num_frames', *SETTINGS)
    }
    if self.train_frames and self.faces == 'shipped':
      # Earlier versions took the boxes of the whole clip.
      found['boxes'] = 'of the train_frames'
    return found


def needs_face_models(config: object) -> bool:
  """Whether a builder's config needs the models of `fetch_face_models`."""
  return isinstance(config, ClipConfig) and (
    config.faces == 'detected' or config.depth == 'mesh'
  )


def with_settings(config: ClipConfig, **settings) -> ClipConfig:
  """A config with some settings changed, and a name that says which.

  Such as default_margin2 or default_detected_mesh.

  Args:
    config: of a video dataset.
    **settings: some of `SETTINGS`; None keeps the config's value.

  Raises:
    TypeError: for an unknown setting.
    ValueError: for a value that is not allowed.
  """
  if unknown := settings.keys() - set(SETTINGS):
    raise TypeError(
      f'Unknown settings {", ".join(sorted(unknown))}; allowed: '
      f'{", ".join(SETTINGS)}.'
    )
  # In a fixed order, so that the same settings give the same name.
  changed = {
    name: settings[name]
    for name in SETTINGS
    if settings.get(name) not in (None, getattr(config, name))
  }
  # A value that is a word belongs to one setting only, so it stands alone.
  parts = [
    value if isinstance(value, str) else f'{name}{value:g}'
    for name, value in changed.items()
  ]
  return dataclasses.replace(
    config, **changed, name='_'.join((config.name, *parts))
  )
