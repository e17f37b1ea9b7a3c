"""What of a video is stored: the settings that video datasets share."""

import dataclasses

import tensorflow_datasets as tfds

from nasfas_jax import records

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
    if not 0 <= self.max_bad_share <= 1:
      raise ValueError(
        f'max_bad_share is {self.max_bad_share}; allowed: 0 to 1.'
      )
    for name, allowed in (('faces', FACES), ('depth', DEPTHS)):
      value = getattr(self, name)
      if value not in allowed:
        raise ValueError(f'{name} is {value!r}; allowed: {", ".join(allowed)}.')


def with_margin(config: ClipConfig, margin: float) -> ClipConfig:
  """A config with another margin.

  It makes other records, and so has a name of its own, such as
  default_margin2.
  """
  if margin == config.margin:
    return config
  return dataclasses.replace(
    config, margin=margin, name=f'{config.name}_margin{margin:g}'
  )


def with_faces(config: ClipConfig, faces: str, depth: str) -> ClipConfig:
  """A config with another source of boxes or depth maps.

  It makes other records, and so has a name of its own, such as
  default_detected, default_mesh or default_detected_mesh.
  """
  changed = [
    value
    for value, old in ((faces, config.faces), (depth, config.depth))
    if value != old
  ]
  return dataclasses.replace(
    config, faces=faces, depth=depth, name='_'.join([config.name, *changed])
  )
