"""What a run records: its config, its environment, its metrics."""

import atexit
import contextlib
import importlib.metadata
import json
import os
import pathlib
import platform
import time
from collections.abc import Iterator, Mapping
from typing import Any

try:
  import fcntl
except ImportError:  # Not on Windows.
  fcntl = None

import jax
import ml_collections
from tensorboardX import event_file_writer, summary
from tensorboardX.proto import event_pb2

from nasfas_jax import files, hosts, run_config
from nasfas_jax.data import index, nuisance, protocols

# Sections and fields of a config that fix the state of each program.
_OF_BOTH = (
  *('seed', 'dtype', 'protocol', 'loss', 'input', 'augmentation', 'mix_style'),
  *('data.image_size', 'data.num_frames', 'data.balance'),
)
_FIX_STATE = {
  'search': (*_OF_BOTH, 'supernet', 'search', 'meta', 'evolution'),
  'train': (*_OF_BOTH, 'model', 'network', 'train'),
}
# What every version has written into data.json.
_ALWAYS = ('versions', 'num_clips', 'fingerprints', 'train_subjects')


def start(
  workdir: pathlib.Path,
  config: ml_collections.ConfigDict,
  selection: protocols.Selection,
  before: Mapping[str, Any] | None = None,
) -> None:
  """Claims a workdir for a config and its clips, or resumes the run in it.

  Writes config.json, environment.json and data.json. Locks the workdir until
  this process ends. Of several hosts the first does all that.

  Args:
    workdir: folder of the run.
    config: of the run.
    selection: its clips.
    before: 'train_subjects' and 'train_values' that its weights have seen
      before, and 'run', where; see `starting.before`.

  Raises:
    ValueError: if the workdir holds a run with another config or other clips
      (names what differs), if another process is using it (names it), or if
      hosts have different configs or clips.
    OSError: if nothing can be written there.
  """
  data = describe(selection)
  # Through JSON, where tuples become lists, so that old and new compare equal.
  content = json.loads(json.dumps(config.to_dict()))
  fields = run_config.flatten(content)
  hosts.check_same(
    'config',
    {k: v for k, v in fields.items() if k not in run_config.OF_A_HOST},
  )
  hosts.check_same('data.json', data)
  hosts.first(lambda: _claim(workdir, config, content, data, before))


def _claim(
  workdir: pathlib.Path,
  config,
  content: dict,
  data: dict,
  before: Mapping[str, Any] | None,
) -> None:
  """As `start`, on one host."""
  _hold(workdir)
  path = workdir / 'config.json'
  if path.exists():
    defaults = json.loads(json.dumps(run_config.defaults_of(config)))
    old = run_config.complete(run_config.load(path), defaults, path)
    new = run_config.flatten(content)
    changed = [
      f'{name}: {old[name]!r} there, {new.get(name)!r} now'
      for name in sorted(old)
      if old[name] != new.get(name) and name not in run_config.FREE_FIELDS
    ]
    if changed:
      raise ValueError(
        f'{str(workdir)!r} holds a run of another config '
        f'({"; ".join(changed)}). Choose another --workdir, or delete it.'
      )
    then = _read_data(workdir)
    # A run of an earlier version lacks the newer ones.
    changed = [
      f'{name}: {then.get(name)!r} there, {data[name]!r} now'
      for name in data
      if then.get(name) != data[name] and (name in then or name in _ALWAYS)
    ]
    if changed:
      raise ValueError(
        f'{str(workdir)!r} holds a run on other clips ({"; ".join(changed)}). '
        'Choose another --workdir, or delete it.'
      )
    return
  if kept := sorted((workdir / 'checkpoints').glob('*/[0-9]*')):
    raise ValueError(
      f'{str(workdir)!r} holds checkpoints, such as {str(kept[0])!r}, but no '
      f'{path.name} that says what made them. Put it back, choose another '
      '--workdir, or delete the folder.'
    )
  # The config last: its presence marks the other two files as written.
  files.write_json(workdir / 'environment.json', environment())
  files.write_json(
    workdir / 'data.json', {**data, **({'before': before} if before else {})}
  )
  files.write_json(path, content)


def read_data(workdir: pathlib.Path) -> dict[str, object]:
  """The content of a run's data.json, see `describe`.

  'train_subjects' and 'train_values' have also what the weights had seen before
  the run.

  Raises:
    ValueError: if it is missing, torn or something else; names it.
  """
  content = _read_data(workdir)
  before = content.get('before')
  if not isinstance(before, dict):
    return content
  content['train_subjects'] = sorted(
    {*content['train_subjects'], *before['train_subjects']}
  )
  if isinstance(values := content.get('train_values'), dict):
    # A run that did not record them may have seen anything.
    earlier = before['train_values']
    content['train_values'] = {
      field: sorted({*values[field], *earlier[field]})
      for field in values
      if field in earlier
    }
  return content


def kept_before(workdir: pathlib.Path) -> dict[str, object] | None:
  """What a run that has begun says of `start`'s `before`; None before."""
  if not (workdir / run_config.FILE).is_file():
    return None
  return _read_data(workdir).get('before')


def _read_data(workdir: pathlib.Path) -> dict[str, object]:
  """As `read_data`, as the file has it."""
  content = run_config.load(workdir / 'data.json')
  fields = {
    'versions': list,
    'num_clips': dict,
    'fingerprints': dict,
    'train_subjects': list,
  }
  for name, kind in fields.items():
    if not isinstance(content.get(name), kind):
      raise ValueError(
        f'{str(workdir / "data.json")!r} has no {kind.__name__} under '
        f'{name!r}: it is not that of a run.'
      )
  # A run of an earlier version has none.
  boxes = content.get('boxes', {})
  if not isinstance(boxes, dict) or not all(
    type(number) is int and number >= 0 for number in boxes.values()
  ):
    raise ValueError(
      f'{str(workdir / "data.json")!r}: boxes is {str(boxes)[:80]}; allowed: '
      'numbers of clips by the source of their face boxes.'
    )
  return content


def origin(workdir: pathlib.Path, phase: str) -> dict[str, dict]:
  """What fixes the state of a program, by the files of its run.

  Args:
    workdir: of the run.
    phase: 'search' or 'train'.

  Returns:
    File -> JSON content: of config.json the fields that count, of data.json
    the training clips and, for a training of one, the genotype without its
    provenance. A file that is not there is left out.

  Raises:
    ValueError: if a file is torn; names it.
  """
  found = {}
  if (workdir / run_config.FILE).is_file():
    chosen = _FIX_STATE.get(phase, ())
    fields = run_config.flatten(run_config.load(workdir / run_config.FILE))
    found[run_config.FILE] = {
      name: value
      for name, value in fields.items()
      if any(f'{name}.'.startswith(f'{part}.') for part in chosen)
    }
  if (workdir / 'data.json').is_file():
    data = read_data(workdir)
    found['data.json'] = {
      'versions': data['versions'],
      'train': data['fingerprints'].get('train'),
    }
  path = workdir / 'genotype.json'
  if phase == 'train' and path.is_file():
    genotype = run_config.load(path)
    found['genotype.json'] = {
      name: genotype.get(name) for name in ('space', 'theta', 'cells')
    }
    # Of a wide space only; older checkpoints know of none.
    if 'choices' in genotype:
      found['genotype.json']['choices'] = genotype['choices']
  return found


# Bytes of a lock file that are read.
_MAX_HOLDER = 300
# Open files of the workdirs that this process holds.
_held = {}


def _hold(workdir: pathlib.Path) -> None:
  """Locks a workdir until this process ends, in whatever way.

  Two processes that write the same files would ruin both runs; a kill that
  leaves a child running can cause that. On a file system without locks nothing
  is locked.
  """
  path = workdir.resolve() / '.lock'
  if fcntl is None or path in _held:
    return
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not truncated: it says who holds it.
    file = open(path, 'a+b')  # noqa: SIM115
  except OSError as error:
    raise OSError(
      f'Nothing can be written in {str(workdir)!r} ({error.strerror}): choose '
      'another --workdir.'
    ) from error
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError as error:
    with file:
      file.seek(0)
      holder = file.read(_MAX_HOLDER).decode(errors='replace').strip()
    raise ValueError(
      f'Another process{holder and f" ({holder})"} is using {str(workdir)!r}: '
      'wait for it to end, stop it, or choose another --workdir.'
    ) from error
  except OSError:
    file.close()
    return
  # The lock of a process that is dead is free, and what it wrote is replaced.
  holder = f'process {os.getpid()} on {platform.node()}\n'
  with contextlib.suppress(OSError):  # Of a full disk.
    file.truncate(0)
    os.write(file.fileno(), holder.encode())
  _held[path] = file
  # Left open at the end, it would be a ResourceWarning.
  atexit.register(file.close)


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
    # So that an evaluation elsewhere can tell what the run has seen.
    'train_values': {
      field: sorted(index.values(selection.train, field))
      for field in index.HOLDING_FIELDS
    },
    # Of the training clips, those of one frame, which have no motion.
    'still_share': sum(row.get('num_frames') == 1 for row in selection.train)
    / max(1, len(selection.train)),
    # Where their face boxes are from, and how many are from there.
    'boxes': nuisance.box_sources(selection.train),
  }


def environment() -> dict[str, str]:
  """The content of environment.json: versions and devices."""
  packages = ('nasfas_jax', 'jax', 'jaxlib', 'flax', 'optax', 'numpy', 'grain')
  return {
    'python': platform.python_version(),
    'machine': platform.machine(),
    'cpu_count': str(os.cpu_count()),
    'devices': ', '.join(str(device) for device in jax.devices()),
    'matmul_precision': str(jax.config.jax_default_matmul_precision),
    **{name: importlib.metadata.version(name) for name in packages},
  }


class _EventFile:
  """Scalars in one event file of TensorBoard.

  Written in this thread. The thread of tensorboardX's own SummaryWriter ends on
  a full disk, and what waits for it waits for ever.
  """

  # Each flush waits for the disk.
  _SECONDS_BETWEEN_FLUSHES = 60.0

  def __init__(self, folder: pathlib.Path, start_step: int):
    """Opens a new file; TensorBoard hides earlier ones after `start_step`."""
    self._folder = folder
    self._flushed = time.monotonic()
    with self._named():
      folder.mkdir(parents=True, exist_ok=True)
      self._file = event_file_writer.EventsWriter(str(folder / 'events'))
    start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    self._write(start_step + 1, session_log=start)

  def add(self, step: int, scalars: Mapping[str, float]) -> None:
    """Adds the scalars of a step."""
    for name, value in scalars.items():
      self._write(step, summary=summary.scalar(name, value))
    if time.monotonic() - self._flushed > self._SECONDS_BETWEEN_FLUSHES:
      self._flushed = time.monotonic()
      with self._named():
        self._file.flush()

  def close(self) -> None:
    with self._named():
      self._file.close()

  def _write(self, step: int, **content) -> None:
    event = event_pb2.Event(wall_time=time.time(), step=step, **content)
    with self._named():
      self._file.write_event(event)

  @contextlib.contextmanager
  def _named(self) -> Iterator[None]:
    """Names the folder in the error of a full disk, which names no file."""
    try:
      yield
    except OSError as error:
      raise OSError(error.errno, error.strerror, str(self._folder)) from error


class MetricWriter:
  """Appends metrics to metrics.jsonl and to TensorBoard event files.

  metrics.jsonl is the source of truth. It holds nothing that depends on the
  clock, so a resumed run ends with the same file as an uninterrupted one. Of
  several hosts only the first writes.
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
    self._files = ()
    if jax.process_index():
      return
    kept = [
      json.dumps(entry) + '\n'
      for entry in read_metrics(self._path)
      if entry['phase'] != phase or entry['step'] <= start_step
    ]
    files.write_whole(self._path, ''.join(kept))
    self._file = open(self._path, 'a', encoding='utf-8')  # noqa: SIM115
    self._events = _EventFile(workdir / 'tensorboard' / phase, start_step)
    self._files = (self._file, self._events)

  def __enter__(self) -> 'MetricWriter':
    return self

  def __exit__(self, kind, *unused) -> None:
    for file in self._files:
      try:
        file.close()
      except OSError:
        # What could not be written has been said.
        if kind is None:
          raise

  def write(self, step: int, scalars: dict[str, float], **other) -> None:
    """Writes one line.

    Args:
      step: number of steps done.
      scalars: name -> number; also written to TensorBoard.
      **other: JSON content of the line only.

    Raises:
      ValueError: for a number that is not finite.
      OSError: if the line cannot be written; names the file.
    """
    if not self._files:
      return
    entry = {'phase': self._phase, 'step': step, **scalars, **other}
    line = json.dumps(entry, allow_nan=False) + '\n'
    try:
      self._file.write(line)
      self._file.flush()
    except OSError as error:
      # Of a full disk, which names no file.
      raise OSError(error.errno, error.strerror, str(self._path)) from error
    self._events.add(step, scalars)

  def write_speed(self, step: int, steps_per_second: float) -> None:
    """Writes the speed to TensorBoard only."""
    if self._files:
      self._events.add(step, {'steps_per_second': steps_per_second})


def read_metrics(path: pathlib.Path) -> list[dict]:
  """The lines of a metrics.jsonl, without a last line that was cut off.

  Returns:
    One dict per line; [] if the file does not exist.

  Raises:
    ValueError: if another line is damaged; names file and line.
  """
  if not path.exists():
    return []
  entries = []
  for number, line in enumerate(path.read_bytes().splitlines(True), 1):
    if not line.endswith(b'\n'):
      continue
    try:
      entry = json.loads(line)
      if not isinstance(entry, dict) or not (
        isinstance(entry.get('phase'), str) and type(entry.get('step')) is int
      ):
        raise ValueError('it has no phase and step')
    except (ValueError, RecursionError) as error:
      raise ValueError(
        f'{str(path)!r} is damaged in line {number}: {error}. Without that '
        'line the run goes on and its curves have a gap.'
      ) from error
    entries.append(entry)
  return entries


def skipped_steps(workdir: pathlib.Path) -> dict[str, dict[str, int]]:
  """The skipped steps of each phase, as results.json has them; {} if unknown.

  They are in metrics.jsonl where config.max_skipped_steps is not 0.
  """
  entries = read_metrics(workdir / 'metrics.jsonl')
  counts = {
    entry['phase']: entry['skipped_steps']
    for entry in entries
    if 'skipped_steps' in entry
  }
  return {'skipped_steps': counts} if counts else {}
