"""The index of prepared datasets: the metadata of all clips, without frames."""

import collections
import concurrent.futures
import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence

from nasfas_jax import files, records

Row = Mapping[str, object]
Predicate = Callable[[Row], bool]


def default_data_dir() -> pathlib.Path:
  """The default folder of prepared datasets, that of TFDS.

  Raises:
    ValueError: as `resolve_data_dir`.
  """
  return _expand(os.environ.get('TFDS_DATA_DIR', '~/tensorflow_datasets'))


def resolve_data_dir(data_dir: str) -> pathlib.Path:
  """The folder of prepared datasets; '' means the default.

  Raises:
    ValueError: if it is in the home folder of a user who has none.
  """
  return _expand(data_dir) if data_dir else default_data_dir()


def _expand(path: str) -> pathlib.Path:
  try:
    return pathlib.Path(path).expanduser()
  except RuntimeError as error:
    raise ValueError(
      f'The folder of prepared datasets is {path!r}, but this user has no home '
      'folder. Give it as config.data.data_dir or TFDS_DATA_DIR, or set HOME.'
    ) from error


def _version_key(path: pathlib.Path) -> tuple[int, ...]:
  parts = path.name.split('.')
  if len(parts) != 3 or not all(part.isdigit() for part in parts):
    return ()
  return tuple(int(part) for part in parts)


def find_dataset(
  data_dir: pathlib.Path,
  name: str,
  builder_config: str = '',
  version: str = '',
) -> pathlib.Path | None:
  """The folder of a version of a prepared dataset, or None.

  Args:
    data_dir: folder of prepared datasets.
    name: of the dataset.
    builder_config: of the builder; '' is the config named 'default', or none
      for a builder without configs.
    version: such as '2.0.0'; '': the newest that is prepared.
  """
  parents = [data_dir / name / (builder_config or 'default')]
  if not builder_config:
    parents.append(data_dir / name)
  for parent in parents:
    versions = [
      path.parent
      for path in parent.glob(f'*/{records.INDEX_FILE}')
      if _version_key(path.parent) and version in ('', path.parent.name)
    ]
    if versions:
      return max(versions, key=_version_key)
  return None


def _not_prepared(
  data_dir: pathlib.Path, name: str, builder_config: str, version: str
) -> str:
  """The message for a dataset that is not prepared, and what prepares it."""
  wanted = f'{name}/{builder_config}' if builder_config else name
  other = version and find_dataset(data_dir, name, builder_config)
  if other:
    return (
      f'The protocol needs version {version} of the dataset {wanted!r}; '
      f'prepared in {str(data_dir)!r} is version {other.name}. Prepare the '
      'other beside it: '
      + _command(data_dir, name, builder_config, f' --version={version}')
    )
  found = sorted(
    path.parent.parent.name
    for path in (data_dir / name).glob(f'*/*/{records.INDEX_FILE}')
  )
  text = f'The dataset {wanted!r} is not prepared in {str(data_dir)!r}'
  if found:
    text += (
      f'; prepared there: {", ".join(dict.fromkeys(found))} '
      '(--config.data.builder_config=NAME)'
    )
  more = f' --version={version}' if version else ''
  command = _command(data_dir, name, builder_config, more)
  return f'{text}. Prepare it with: {command}'


def _command(
  data_dir: pathlib.Path, name: str, builder_config: str, more: str = ''
) -> str:
  """The command that prepares a dataset, and what to know of it."""
  option = f' --config={builder_config}' if builder_config else ''
  text = (
    f'python -m nasfas_datasets.prepare --dataset={name}{option} '
    f'--data_dir={data_dir}'
  )
  if name == records.RENDERED_DATASET:
    return text + more
  text += f' --manual_dir=FOLDER_OF_ITS_FILES{more}'
  if '_' in builder_config:
    text += (
      ' (settings are part of the name of a config: --config=default '
      '--margin=2 makes default_margin2)'
    )
  return text


def load_index(
  data_dir: pathlib.Path,
  name: str,
  builder_config: str = '',
  version: str = '',
) -> list[dict[str, object]]:
  """Reads the index of one prepared dataset.

  Args:
    data_dir: see `find_dataset`.
    name: see `find_dataset`.
    builder_config: see `find_dataset`.
    version: see `find_dataset`.

  Returns:
    One dict per clip: the fields of `records.INDEX_FIELDS`, num_frames, fps,
    digest (a hash of frames, depth and box, if the index has it), and the place
    of the record: `folder`, `tfds_split`, `position`.

  Raises:
    FileNotFoundError: if the dataset is not prepared; gives the command.
    ValueError: if the index is damaged (names file and line), or a shard is
      missing, truncated or another one (names it).
  """
  folder = find_dataset(data_dir, name, builder_config, version)
  if folder is None:
    raise FileNotFoundError(
      _not_prepared(data_dir, name, builder_config, version)
    )
  more = f' --version={version}' if version else ''
  again = _command(data_dir, name, builder_config, f'{more} --replace')
  if wrong := _wrong_shard(folder):
    raise ValueError(f'{wrong}. Prepare the dataset again: {again}')
  rows = []
  positions = collections.Counter()
  path = folder / records.INDEX_FILE
  for number, line in enumerate(path.read_bytes().splitlines(), 1):
    try:
      row = _read_row(line)
    except ValueError as error:
      raise ValueError(
        f'{str(path)!r} is damaged in line {number}: {error}. Prepare the '
        f'dataset again: {again}'
      ) from error
    row['folder'] = str(folder)
    row['position'] = positions[row['tfds_split']]
    positions[row['tfds_split']] += 1
    rows.append(row)
  return rows


def _wrong_shard(folder: pathlib.Path) -> str:
  """The first shard that is not as it was written, and why; '' if all are.

  Datasets that were prepared by earlier versions have no list of shards.

  Args:
    folder: of a prepared dataset.

  Raises:
    ValueError: if the list of shards is damaged.
  """
  path = folder / records.SHARDS_FILE
  if not path.exists():
    return ''
  listed = files.read_json(path)
  if not isinstance(listed, dict) or not all(
    isinstance(found, dict) and {'size', 'ends'} <= found.keys()
    for found in listed.values()
  ):
    raise ValueError(f'{str(path)!r} is no list of shards.')
  # On a remote disk each of them is a wait.
  with concurrent.futures.ThreadPoolExecutor(16) as pool:
    reasons = pool.map(
      lambda item: _why_wrong(folder / item[0], item[1]), listed.items()
    )
    for name, reason in zip(listed, reasons, strict=True):
      if reason:
        return f'The shard {str(folder / name)!r} {reason}'
  return ''


def _why_wrong(path: pathlib.Path, written: Mapping[str, object]) -> str:
  try:
    found = files.quick_sum(path)
  except FileNotFoundError:
    return 'is missing'
  except OSError as error:
    return f'cannot be read ({error.strerror})'
  if found['size'] < written['size']:
    return f'is truncated: {found["size"]} of {written["size"]} bytes'
  if found != written:
    return (
      'is not the one that was written: it is damaged, or of another split or '
      'build'
    )
  return ''


def _read_row(line: bytes) -> dict[str, object]:
  """One line of an index.

  Raises:
    ValueError: if it is not that of a clip.
  """
  try:
    row = json.loads(line)
  except RecursionError as error:
    raise ValueError('nested too deeply') from error
  if not isinstance(row, dict):
    raise ValueError('not an object')
  for name in (*records.INDEX_FIELDS, 'tfds_split'):
    kind = int if name == 'label' else str
    if name not in row:
      raise ValueError(f'no {name}; an older version may have made it')
    if type(row.get(name)) is not kind:
      raise ValueError(f'{name} is {row.get(name)!r}')
  records.check_labels(
    *(row[name] for name in ('clip_id', 'label', 'attack_type', 'split'))
  )
  return row


def select(rows: Sequence[Row], predicate: Predicate) -> list[Row]:
  """The rows that a predicate accepts, sorted by dataset and clip id.

  Sorted, so that the order of clips does not depend on the number of shards.
  """
  chosen = [row for row in rows if predicate(row)]
  return sorted(chosen, key=lambda row: (row['dataset'], row['clip_id']))


def split_halves(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
  """Splits clips into two halves of disjoint subjects, for a plain search.

  The sorted subjects go to the halves in turn, so that each domain and attack
  type with enough subjects is in both.

  Returns:
    (weights half, architecture half).

  Raises:
    ValueError: if there are fewer than two subjects, or a half lacks live or
      spoof clips.
  """
  names = sorted({(row['dataset'], row['subject']) for row in rows})
  if len(names) < 2:
    raise ValueError(
      f'A search needs at least 2 subjects for disjoint halves; got '
      f'{len(names)}: {", ".join(subject for _, subject in names)}.'
    )
  first = set(names[0::2])
  halves = ([], [])
  for row in rows:
    halves[(row['dataset'], row['subject']) not in first].append(row)
  for half in halves:
    labels = {row['label'] for row in half}
    if labels != {0, 1}:
      raise ValueError(
        'A search needs live (1) and spoof (0) clips in both halves; the '
        f'half of the subjects {", ".join(sorted(subjects(half)))} has the '
        f'labels {sorted(labels)}.'
      )
  return halves


def subject(row: Row) -> str:
  """The subject of a clip, unique over all datasets: 'dataset/subject'."""
  return f'{row["dataset"]}/{row["subject"]}'


def subjects(rows: Sequence[Row]) -> set[str]:
  """The subjects of clips, see `subject`."""
  return {subject(row) for row in rows}


# The fields by which a protocol may hold out clips.
HOLDING_FIELDS = (
  'dataset',
  'session',
  'camera',
  'light',
  'medium',
  'attack_type',
  'attack_detail',
)


def values(rows: Sequence[Row], field: str) -> set[str]:
  """The values of a field, without ''; of attacks only for attack fields."""
  attacks = field in ('attack_type', 'attack_detail')
  return {
    row[field]
    for row in rows
    if row.get(field) and not (attacks and row['label'] != records.SPOOF)
  }


def held_out(
  train: Sequence[Row], test: Sequence[Row], domain_field: str
) -> dict[str, set[str]]:
  """The fields whose test values are not in the train set, with those values.

  Over datasets, the codes of rooms and cameras do not compare, so a held-out
  dataset counts instead of them. The attack's own code divides attack types
  further: it counts for a protocol that holds out nothing else, such as the
  printers of OULU-NPU 2.

  Args:
    train: the train set; if it is empty, `domain_field` and the attack type
      count as held out.
    test: the test set.
    domain_field: the field that names a clip's domain.
  """
  found = {}
  fields = HOLDING_FIELDS if train else (domain_field, 'attack_type')
  for field in fields:
    if field == 'attack_detail' and found:
      continue
    if field != 'attack_type' and 'dataset' in found:
      continue
    tested = values(test, field)
    if tested and not tested & values(train, field):
      found[field] = tested
  return found


def fingerprint(rows: Sequence[Row]) -> str:
  """A short hash of clips: their ids, labels, splits and contents."""
  digest = hashlib.sha256()
  for row in rows:
    line = [row[name] for name in ('dataset', 'clip_id', 'label', 'split')]
    # Datasets that were prepared by earlier versions have no digest.
    line += [row['digest']] if 'digest' in row else []
    digest.update(json.dumps(line).encode() + b'\n')
  return digest.hexdigest()[:16]
