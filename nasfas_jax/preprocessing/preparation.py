"""How a dataset was prepared, as far as a new clip must be prepared alike.

A run records which prepared datasets it used, as DATASET/CONFIG/VERSION. The
name of the config holds the settings of the build: `small_margin2_detected`.
"""

import dataclasses
import re
from collections.abc import Iterable

from nasfas_jax import records

# Side of the stored crops, by the name of the builder's config. 'cdcn' is
# OULU-NPU as CDCN's preprocessing leaves it.
SIZES = {'default': 256, 'small': 80, 'cdcn': 256, 'cdcn_small': 80}
_NUMBER = r'[0-9.e+-]+'
# The settings of a build follow, in a fixed order.
_NAME = re.compile(
  rf'(?P<base>{"|".join(SIZES)})(_margin(?P<margin>{_NUMBER}))?'
  r'(_(?P<border>replicate|reflect|zero|stretch))?'
  rf'(_train_frames{_NUMBER})?(_shipped|_detected)?'
  r'(_skip|_whole_frame)?(_ellipse|_mesh)?'
)
# The rendered dataset has no video to crop: side and margin of its records, by
# the name of the config.
RENDERED = {
  'synthetic_fas': {
    'default': (80, records.WIDE_MARGIN),
    'tiny': (80, records.WIDE_MARGIN),
    'many': (80, records.WIDE_MARGIN),
    'large': (128, records.WIDE_MARGIN),
    'wide': (136, 2.72),
  }
}


@dataclasses.dataclass(frozen=True)
class Preparation:
  """What turns a clip into the frames of a record.

  Attributes:
    size: side of the stored crops in pixels.
    num_frames: stored frames of a clip, evenly spread over it.
    margin: side of the crop over the larger side of the face box.
    border: the pixels past the border of the frame, one of `crop.BORDERS`, or
      'stretch' (see `crop.clipped_region`).
  """

  size: int = 256
  num_frames: int = 8
  margin: float = records.WIDE_MARGIN
  border: str = 'replicate'


def from_name(dataset: str, config: str) -> Preparation:
  """The preparation that the name of a builder's config stands for.

  Args:
    dataset: name of the dataset.
    config: such as 'default', 'small_margin2_reflect' or 'cdcn_small'.

  Raises:
    ValueError: for a config that no builder here has.
  """
  match = _NAME.fullmatch(config)
  try:
    if dataset in RENDERED:
      size, margin = RENDERED[dataset][config]
      return Preparation(size=size, margin=margin)
    return Preparation(
      size=SIZES[match['base']],
      margin=float(match['margin'] or records.WIDE_MARGIN),
      border=match['border'] or 'replicate',
    )
  except (TypeError, ValueError, KeyError) as error:
    raise ValueError(
      f'The clips of {dataset}/{config} were prepared in a way that is not '
      f'known here; known are the configs '
      f'{", ".join(RENDERED.get(dataset, SIZES))} and their settings. Give '
      'the side of their crops with --config.crop_size.'
    ) from error


def from_versions(versions: Iterable[str]) -> Preparation:
  """The one preparation of several datasets, each DATASET/CONFIG/VERSION.

  Raises:
    ValueError: if a name is not of this form or not known, or the datasets were
      prepared in different ways.
  """
  found = {}
  for version in versions:
    parts = version.split('/') if isinstance(version, str) else []
    if len(parts) != 3:
      raise ValueError(f'{version!r} is not DATASET/CONFIG/VERSION.')
    found[version] = from_name(*parts[:2])
  if len(set(found.values())) != 1:
    names = ', '.join(sorted(found)) or 'none'
    raise ValueError(
      f'The datasets of a run must be prepared in one way; here: {names}.'
    )
  return next(iter(found.values()))
