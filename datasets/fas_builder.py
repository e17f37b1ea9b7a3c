"""The base of every dataset builder: records, index, paths.

All builders yield records of one schema (`nasfas_jax.records`), so that any
union of datasets is one data source. Nothing here needs TensorFlow: ArrayRecord
shards store frames in the form of `stored_frames` and depth maps as zlib
tensors.
"""

import hashlib
import importlib
import json
import pathlib
import sys

import numpy as np
import tensorflow_datasets as tfds

from nasfas_datasets import folders
from nasfas_jax import files, records, stored_frames
from nasfas_jax.data import nuisance

# Counts the changes of this code that change records or what is beside them.
SCHEMA = 2
MADE_FROM_FILE = 'made_from.json'

_TEXT_FIELDS = tuple(name for name in records.INDEX_FIELDS if name != 'label')


def record_features() -> tfds.features.FeaturesDict:
  """The features of a record.

  Returns:
    Strings for the metadata; `label` int32; `frames` RGB crops, all of one
    size, as files of `stored_frames`; `frame_index` int32 [K]; `face_box`
    float32 [4] (x0, y0, x1, y1 in pixels of the crop); `fps` float32; `depth`
    uint8 [K or 0, 32, 32] over the whole crop, 255 = nearest.
  """
  text = tfds.features.Text
  return tfds.features.FeaturesDict(
    {
      **{name: text() for name in _TEXT_FIELDS},
      'label': np.int32,
      'frames': tfds.features.Sequence(text()),
      'frame_index': tfds.features.Sequence(np.int32),
      'face_box': tfds.features.Tensor(shape=(4,), dtype=np.float32),
      'fps': np.float32,
      'depth': tfds.features.Tensor(
        shape=(None, records.DEPTH_SIZE, records.DEPTH_SIZE),
        dtype=np.uint8,
        encoding='zlib',
      ),
    }
  )


def make_record(
  *,
  clip_id: str,
  dataset: str,
  subject: str,
  split: str,
  label: int,
  attack_type: str,
  frames: list[bytes],
  frame_index,
  face_box,
  depth: np.ndarray | None = None,
  attack_detail: str = '',
  session: str = '',
  camera: str = '',
  light: str = '',
  medium: str = '',
  lists: str = '',
  fps: float = 0.0,
) -> dict[str, object]:
  """Checks the fields of a clip and returns them as a record.

  Args:
    clip_id: unique and stable name of the clip.
    dataset: name of the dataset.
    subject: identity of the person.
    split: one of `records.SPLITS`.
    label: 1 live, 0 spoof, -1 not labelled (test clips only).
    attack_type: one of `records.ATTACK_TYPES`; '' without a label.
    frames: 1 to `records.MAX_FRAMES` files of `stored_frames`, of one size.
    frame_index: ints [K], the place of each frame in the clip.
    face_box: floats [4], x0, y0, x1, y1 in pixels of the crop.
    depth: uint8 [K, 32, 32], 255 = nearest; None if it is unknown.
    attack_detail: the dataset's own code of the attack.
    session: domain field; '' if the dataset has none.
    camera: domain field, likewise.
    light: domain field, likewise.
    medium: domain field, likewise.
    lists: the dataset's own lists that name the clip, separated by blanks.
    fps: frames per second of the clip; 0 if unknown.

  Raises:
    ValueError: for a clip that breaks the schema; names the clip and the field.
  """
  records.check_labels(clip_id, label, attack_type, split)
  if split not in records.SPLITS:
    raise ValueError(
      f'Clip {clip_id!r}: unknown split {split!r}; allowed: '
      f'{", ".join(records.SPLITS)}.'
    )
  if not subject:
    raise ValueError(f'Clip {clip_id!r}: the subject is empty.')
  if not 1 <= len(frames) <= records.MAX_FRAMES:
    raise ValueError(
      f'Clip {clip_id!r}: {len(frames)} frames; allowed: 1 to '
      f'{records.MAX_FRAMES}.'
    )
  try:
    sizes = {stored_frames.size(frame) for frame in frames}
  except ValueError as error:
    raise ValueError(f'Clip {clip_id!r}: {error}') from error
  if len(sizes) > 1:
    raise ValueError(
      f'Clip {clip_id!r}: frames of {len(sizes)} sizes; expected one.'
    )
  if len(frame_index) != len(frames):
    raise ValueError(
      f'Clip {clip_id!r}: {len(frame_index)} frame indices for '
      f'{len(frames)} frames.'
    )
  size = records.DEPTH_SIZE
  if depth is None:
    depth = np.zeros((0, size, size), np.uint8)
  elif depth.shape != (len(frames), size, size) or depth.dtype != np.uint8:
    raise ValueError(
      f'Clip {clip_id!r}: depth is {depth.dtype} {depth.shape}; expected '
      f'uint8 {(len(frames), size, size)}.'
    )
  box = np.asarray(face_box, np.float32)
  if box.shape != (4,) or not np.all(np.isfinite(box)):
    raise ValueError(f'Clip {clip_id!r}: face_box {face_box!r} is not valid.')
  if box[2] <= box[0] or box[3] <= box[1]:
    raise ValueError(f'Clip {clip_id!r}: face_box {box.tolist()} is empty.')
  return {
    'clip_id': clip_id,
    'dataset': dataset,
    'subject': subject,
    'split': split,
    'label': int(label),
    'attack_type': attack_type,
    'attack_detail': attack_detail,
    'session': session,
    'camera': camera,
    'light': light,
    'medium': medium,
    'lists': lists,
    'frames': list(frames),
    'frame_index': np.asarray(frame_index, np.int32),
    'face_box': box,
    'fps': float(fps),
    'depth': depth,
  }


class FasBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """A TFDS builder that writes shards of records and their index.

  A subclass is named `Builder`, is in `<name>/<name>_dataset_builder.py`, and
  implements `_split_generators` and `_generate_examples`.
  """

  HOMEPAGE = ''

  def __init_subclass__(cls, **kwargs):
    # TFDS would look up the package's folder by its import name, which differs
    # here: datasets/ installs as nasfas_datasets.
    path = pathlib.Path(sys.modules[cls.__module__].__file__).resolve()
    cls.code_path = path
    cls.pkg_dir_path = path.parent
    super().__init_subclass__(**kwargs)

  def __init__(
    self, *, progress=None, max_bad_share=None, face_models=None, **kwargs
  ):
    """Makes a builder.

    Args:
      progress: called with (clips done, total) as clips are made, or None.
      max_bad_share: the largest share of skipped clips; None: the config's.
      face_models: folder of the face models, for a config that needs them;
        None: the default folder of `fetch_face_models`.
      **kwargs: those of `tfds.core.DatasetBuilder`.
    """
    self.progress = progress
    self.face_models = face_models
    if max_bad_share is not None and not 0 <= max_bad_share <= 1:
      raise ValueError(f'max_bad_share is {max_bad_share}; allowed: 0 to 1.')
    super().__init__(**{'file_format': 'array_record', **kwargs})
    if max_bad_share is None:
      max_bad_share = getattr(self.builder_config, 'max_bad_share', 0.0)
    self.max_bad_share = max_bad_share

  @classmethod
  def versions_of(cls, config: str | None) -> list[str]:
    """The versions that can be built of a config; the first is the default."""
    del config
    return [str(cls.VERSION), *map(str, cls.SUPPORTED_VERSIONS)]

  def _info(self) -> tfds.core.DatasetInfo:
    return self.dataset_info_from_configs(
      features=record_features(), homepage=self.HOMEPAGE or None
    )

  @property
  def index_path(self) -> pathlib.Path:
    """The path of the index."""
    return pathlib.Path(self.data_dir) / records.INDEX_FILE

  def settings(self) -> dict[str, object]:
    """The settings that change the records: JSON content."""
    return {}

  def made_from(self) -> dict[str, object]:
    """What the shards are made from beside files: JSON content."""
    return {
      'schema': SCHEMA,
      'version': str(self.version),
      'frames': stored_frames.FORM,
      'settings': self.settings(),
    }

  def difference(self, root: pathlib.Path | None) -> list[str]:
    """How the prepared dataset differs from what this builder would make.

    Args:
      root: the manual folder; None: only the settings are compared.

    Returns:
      Differences in words; [] if there is none.
    """
    del root
    path = pathlib.Path(self.data_dir) / MADE_FROM_FILE
    if not path.exists():
      return ['it does not say what it was made from (an earlier version)']
    try:
      old, new = dict(files.read_json(path)), self.made_from()
    except (ValueError, TypeError):
      return [f'its {MADE_FROM_FILE} is damaged']
    found = [
      f'{name} {old.get(name)!r} is now {new[name]!r}'
      for name in ('schema', 'version')
      if old.get(name) != new[name]
    ]
    before = old.get('settings', {})
    return found + [
      f'{name} {before.get(name)!r} is now {value!r}'
      for name, value in new['settings'].items()
      if before.get(name) != value
    ]

  def form_lines(self) -> list[str]:
    """What to know of the stored form of the prepared frames; [] if nothing.

    Another form is no difference: it is read as well, and shows the same.
    """
    path = pathlib.Path(self.data_dir) / MADE_FROM_FILE
    form = dict(files.read_json(path)).get('frames', 'png')
    if form == stored_frames.FORM:
      return []
    return [
      f'NOTE: its frames are stored as {form!r}, which takes several times as '
      f'long to decode as {stored_frames.FORM!r}; --replace stores them anew.'
    ]

  def download_and_prepare(self, **kwargs) -> None:
    """Builds the shards, then the index, as far as they are missing."""
    super().download_and_prepare(**kwargs)
    if not self.index_path.exists():
      self._write_index()

  def _download_and_prepare(self, dl_manager, download_config) -> None:
    """Builds the shards and, beside them, what they are made from.

    TFDS builds in a temporary folder, now data_dir, and renames it at the end:
    all files appear together.
    """
    self._write_shards(dl_manager, download_config)
    folder = pathlib.Path(self.data_dir)
    files.write_json(folder / MADE_FROM_FILE, self.made_from())
    # A run looks at them before it reads a clip.
    shards = sorted(folder.glob('*.array_record-*'))
    files.write_json(
      folder / records.SHARDS_FILE,
      {path.name: files.quick_sum(path) for path in shards},
    )

  def rows(self) -> list[dict[str, object]]:
    """The rows of the index."""
    text = self.index_path.read_text(encoding='utf-8')
    return [json.loads(line) for line in text.splitlines()]

  def summary(self, root: pathlib.Path | None = None) -> list[str]:
    """What was built and what is to be known of it: lines for the user.

    Args:
      root: the manual folder, if there is one.
    """
    del root
    rows = self.rows()
    return [
      f'Built {nuisance.count(rows)} clips in {self.data_dir}',
      *nuisance.box_lines(rows),
      *nuisance.still_lines(rows),
      *nuisance.audit_lines(rows),
    ]

  def _write_shards(self, dl_manager, download_config) -> None:
    """Writes the shards from `_split_generators`, by TFDS."""
    super()._download_and_prepare(
      dl_manager=dl_manager, download_config=download_config
    )

  def file_properties(self) -> dict[str, dict[str, object]]:
    """Clip id -> what is known of the clip's file, see `nuisance`."""
    return {}

  def _write_index(self) -> None:
    """Writes the metadata of all records, in the order of the shards."""
    lines = []
    properties = self.file_properties()
    for split in self.info.splits:
      for example in self.as_data_source(split):
        row = {
          name: example[name].decode()
          if isinstance(example[name], bytes)
          else int(example[name])
          for name in records.INDEX_FIELDS
        }
        row['num_frames'] = len(example['frame_index'])
        row['fps'] = float(example['fps'])
        row['digest'] = _digest(example)
        row['tfds_split'] = split
        row['properties'] = {
          **_properties(example),
          **properties.get(row['clip_id'], {}),
        }
        lines.append(json.dumps(row))
    files.write_whole(self.index_path, '\n'.join(lines) + '\n')


def _properties(example) -> dict[str, object]:
  """What a record alone tells, for `nuisance`."""
  frames = example['frames']
  height, width = stored_frames.size(frames[0])
  size = sum(map(len, frames)) / (len(frames) * width * height)
  x0, y0, x1, y1 = example['face_box']
  return {
    'stored_bytes_per_pixel': float(f'{size:.4g}'),
    'stored_framing': round(
      float(max(x1 - x0, y1 - y0)) / min(width, height), 4
    ),
    'stored_side': min(width, height),
    'still': len(set(frames)) == 1,
  }


def _digest(example) -> str:
  """A short hash of a clip's pixels, depth maps and face box."""
  digest = hashlib.sha256()
  # Not of the files: they depend on who packs them, and how.
  frames = stored_frames.decode(example['frames'])
  for part in (frames, example['depth'], example['face_box']):
    digest.update(part.tobytes())
  return digest.hexdigest()[:16]


def builder_class(name: str) -> type[FasBuilder]:
  """The builder class of a dataset.

  Raises:
    ValueError: for an unknown dataset; lists the known ones.
  """
  names = folders.dataset_folders()
  if name not in names:
    raise ValueError(f'Unknown dataset {name!r}; allowed: {", ".join(names)}.')
  package = __name__.rpartition('.')[0]
  module = importlib.import_module(f'{package}.{name}.{name}_dataset_builder')
  return module.Builder
