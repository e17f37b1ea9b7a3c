"""What of a video is stored: the settings that video datasets share."""

import dataclasses

import tensorflow_datasets as tfds

from nasfas_jax import records
from nasfas_jax.preprocessing import crop

BORDERS = (*crop.BORDERS, 'stretch')

# Settings that the user may change; each makes other records.
SETTINGS = ('margin', 'border', 'train_frames', 'faces', 'depth')
FACES = ('shipped', 'detected')
DEPTHS = ('ellipse', 'mesh')


@dataclasses.dataclass(eq=False)
class ClipConfig(tfds.core.BuilderConfig):
  """Settings of a build.

  Attributes:
    size: side of the stored crops in pixels.
    num_frames: K, frames stored a video, evenly spread over it.
    margin: side of the crop over the larger side of the face box. Training
      draws its crops from inside it.
    border: what stands past the border of the frame, one of `crop.BORDERS`; or
      'stretch', as CDCN's code does it: the box is clipped to the frame and
      stretched to the square, which distorts the face.
    train_frames: training clips are read up to so many frames only, as SiW's
      protocol 1 has it (60); 0 for no limit.
    max_bad_share: share of clips that may be skipped, in [0, 1].
    faces: where the face box of a clip is from: 'shipped' (the dataset's
      annotation, the whole frame where there is none) or 'detected' (found in
      the stored frames, the median of them).
    depth: the depth map of a clip without a depth picture: 'ellipse' (the
      ellipse in the face box) or 'mesh' (of a dense face mesh, each frame its
      own). Attacks get it as live clips do: a region that knew the label
      would give it away.
  """

  size: int = 256
  num_frames: int = 8
  margin: float = records.WIDE_MARGIN
  border: str = 'replicate'
  train_frames: int = 0
  max_bad_share: float = 0.1
  faces: str = 'shipped'
  depth: str = 'ellipse'

  def __post_init__(self):
    if self.size < 8:
      raise ValueError(f'size is {self.size}; it must be at least 8.')
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
    for name, allowed in (('faces', FACES), ('depth', DEPTHS)):
      value = getattr(self, name)
      if value not in allowed:
        raise ValueError(f'{name} is {value!r}; allowed: {", ".join(allowed)}.')


def with_settings(config: ClipConfig, **settings) -> ClipConfig:
  """A config with other settings.

  It makes other records, and so has a name of its own that tells them, such as
  default_margin2 or default_detected_mesh.

  Args:
    config: of a video dataset.
    **settings: some of `SETTINGS`; None is the config's.

  Raises:
    TypeError: for an unknown setting.
    ValueError: for a value that is not allowed.
  """
  if unknown := settings.keys() - set(SETTINGS):
    raise TypeError(
      f'Unknown settings {", ".join(sorted(unknown))}; allowed: '
      f'{", ".join(SETTINGS)}.'
    )
  # In this order, so that a build has one name.
  changed = {
    name: settings[name]
    for name in SETTINGS
    if settings.get(name) not in (None, getattr(config, name))
  }
  # The values that are names are no setting's but one's.
  parts = [
    value if isinstance(value, str) else f'{name}{value:g}'
    for name, value in changed.items()
  ]
  return dataclasses.replace(
    config, **changed, name='_'.join((config.name, *parts))
  )
