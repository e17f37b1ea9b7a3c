"""What a run records: its config, its environment, its metrics."""

import importlib.metadata
import json
import os
import pathlib
import platform

try:
  import fcntl
except ImportError:  # Not on Windows.
  fcntl = None

import jax
import ml_collections
import tensorboardX

from nasfas_jax import files, run_config
from nasfas_jax.data import index, protocols

# Fields that change a run's speed or its checkpoints, never its result.
_FREE_FIELDS = (
  'data.num_workers',
  'data.cache_mib',
  'data.data_dir',
  'checkpoint_every',
)


def start(
  workdir: pathlib.Path,
  config: ml_collections.ConfigDict,
  selection: protocols.Selection,
) -> None:
  """Claims a workdir for a config and its clips, or resumes the run in it.

  Writes config.json, environment.json and data.json. Locks the workdir until
  this process ends.

  Raises:
    ValueError: if the workdir holds a run with another config or other clips
      (names what differs), or if another process is using it.
  """
  _hold(workdir)
  path = workdir / 'config.json'
  data = describe(selection)
  # Through JSON, where tuples become lists, so that old and new compare equal.
  content = json.loads(json.dumps(config.to_dict()))
  if path.exists():
    defaults = json.loads(json.dumps(run_config.defaults_of(config)))
    old = run_config.complete(run_config.load(path), defaults, path)
    new = run_config.flatten(content)
    changed = [
      f'{name}: {old[name]!r} there, {new.get(name)!r} now'
      for name in sorted(old)
      if old[name] != new.get(name) and name not in _FREE_FIELDS
    ]
    if changed:
      raise ValueError(
        f'{str(workdir)!r} holds a run of another config '
        f'({"; ".join(changed)}). Choose another --workdir, or delete it.'
      )
    then = files.read_json(workdir / 'data.json')
    changed = [
      f'{name}: {then.get(name)!r} there, {data[name]!r} now'
      for name in data
      if then.get(name) != data[name]
    ]
    if changed:
      raise ValueError(
        f'{str(workdir)!r} holds a run on other clips ({"; ".join(changed)}). '
        'Choose another --workdir, or delete it.'
      )
    return
  # The config last: its presence marks the other two files as written.
  files.write_json(workdir / 'environment.json', environment())
  files.write_json(workdir / 'data.json', data)
  files.write_json(path, content)


# Open files of the workdirs that this process holds.
_held = {}


def _hold(workdir: pathlib.Path) -> None:
  """Locks a workdir until this process ends, in whatever way.

  Two processes that write the same files would ruin both runs; a kill that
  leaves a child running can cause that. The hosts of one run share the workdir,
  so only the first locks it. On a file system without locks nothing is locked.
  """
  path = workdir.resolve() / '.lock'
  if fcntl is None or path in _held or jax.process_index():
    return
  path.parent.mkdir(parents=True, exist_ok=True)
  file = open(path, 'wb')  # noqa: SIM115
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError as error:
    file.close()
    raise ValueError(
      f'Another process is using {str(workdir)!r}: wait for it to end, stop '
      'it, or choose another --workdir.'
    ) from error
  except OSError:
    file.close()
    return
  _held[path] = file


def describe(selection: protocols.Selection) -> dict[str, object]:
  """The content of data.json: what clips a run uses."""
  parts = {name: getattr(selection, name) for name in ('train', 'dev', 'test')}
  # The end of a row's folder, DATASET/CONFIG/VERSION, is the same everywhere.
  versions = {
    '/'.join(pathlib.PurePath(row['folder']).parts[-3:])
    for rows in parts.values()
    for row in rows
  }
  return {
    'versions': sorted(versions),
    'num_clips': {name: len(rows) for name, rows in parts.items()},
    'fingerprints': {
      name: index.fingerprint(rows) for name, rows in parts.items()
    },
    'train_subjects': sorted(index.subjects(selection.train)),
    # Of the training clips, those of one frame, which have no motion.
    'still_share': sum(row.get('num_frames') == 1 for row in selection.train)
    / max(1, len(selection.train)),
  }


def environment() -> dict[str, str]:
  """The content of environment.json: versions and devices."""
  packages = ('nasfas_jax', 'jax', 'jaxlib', 'flax', 'optax', 'numpy', 'grain')
  return {
    'python': platform.python_version(),
    'machine': platform.machine(),
    'cpu_count': str(os.cpu_count()),
    'devices': ', '.join(str(device) for device in jax.devices()),
    **{name: importlib.metadata.version(name) for name in packages},
  }


class MetricWriter:
  """Appends metrics to metrics.jsonl and to TensorBoard event files.

  metrics.jsonl is the source of truth. It holds nothing that depends on the
  clock, so a resumed run ends with the same file as an uninterrupted one.
  """

  def __init__(self, workdir: pathlib.Path, phase: str, start_step: int):
    """Opens the files, and drops the lines that will be written again.

    Args:
      workdir: of the run.
      phase: 'search' or 'train'.
      start_step: lines of this phase after this step are dropped.
    """
    self._phase = phase
    self._path = workdir / 'metrics.jsonl'
    kept = [
      json.dumps(entry) + '\n'
      for entry in read_metrics(self._path)
      if entry['phase'] != phase or entry['step'] <= start_step
    ]
    files.write_whole(self._path, ''.join(kept))
    self._file = open(self._path, 'a', encoding='utf-8')  # noqa: SIM115
    self._events = tensorboardX.SummaryWriter(
      str(workdir / 'tensorboard' / phase),
      purge_step=start_step + 1,
      write_to_disk=True,
    )

  def __enter__(self) -> 'MetricWriter':
    return self

  def __exit__(self, *unused) -> None:
    self._file.close()
    self._events.close()

  def write(self, step: int, scalars: dict[str, float], **other) -> None:
    """Writes one line.

    Args:
      step: number of steps done.
      scalars: name -> number; also written to TensorBoard.
      **other: JSON content of the line only.

    Raises:
      ValueError: for a number that is not finite.
    """
    entry = {'phase': self._phase, 'step': step, **scalars, **other}
    self._file.write(json.dumps(entry, allow_nan=False) + '\n')
    self._file.flush()
    for name, value in scalars.items():
      self._events.add_scalar(name, value, step)

  def write_speed(self, step: int, steps_per_second: float) -> None:
    """Writes the speed to TensorBoard only."""
    self._events.add_scalar('steps_per_second', steps_per_second, step)


def read_metrics(path: pathlib.Path) -> list[dict]:
  """The lines of a metrics.jsonl, without a last line that was cut off.

  Returns:
    One dict per line; [] if the file does not exist.
  """
  if not path.exists():
    return []
  entries = []
  for line in path.read_text(encoding='utf-8').splitlines(keepends=True):
    if line.endswith('\n'):
      entries.append(json.loads(line))
  return entries
