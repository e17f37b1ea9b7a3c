"""The one place that knows Orbax: save, restore, resume, verify.

A checkpoint carries, beside the state, what made it (see `run_log.origin`) and
a checksum for every array. Both are verified when it is read: what does not
belong to the run is refused, and a damaged checkpoint is passed over, aloud,
for the one before it.
"""

import errno
import json
import logging
import os
import pathlib
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp

from nasfas_jax import hosts, progress, remote, run_log

State = TypeVar('State')
# What stands in the item 'data' of a checkpoint.
Record = dict[str, Any]

_FOLDER = 'checkpoints'
# Of Orbax, in a bucket.
_COMMITTED = 'commit_success.txt'
# Orbax takes the time of a save from the clock, which jumps ahead when a
# machine wakes up. Its default of 600 s would then end the run.
_MAX_SECONDS = 86_400
# The most differences that an error lists.
_MAX_LISTED = 4


class Damaged(Exception):
  """A checkpoint that cannot be read or is not as it was written."""


def folder(workdir: str | os.PathLike[str], name: str) -> pathlib.Path:
  """The checkpoint folder of one program of a run, 'search' or 'train'."""
  return pathlib.Path(workdir) / _FOLDER / name


class _RaisedAnyway(logging.Filter):
  """Drops the tracebacks that Orbax logs of what it then raises."""

  def filter(self, record: logging.LogRecord) -> bool:
    of_orbax = f'{os.sep}orbax{os.sep}' in record.pathname
    return not (of_orbax and record.exc_info)


_NO_TRACEBACKS = _RaisedAnyway()


class Checkpointer:
  """Asynchronous checkpoints of one program of a run.

  A checkpoint holds the state (parameters, batch statistics, architecture,
  optimizer states, step) and a record: the step of the data stream, the run's
  origin and the arrays' checksums. Orbax commits it by renaming its folder, so
  a kill leaves the previous checkpoint intact.
  """

  def __init__(self, directory: pathlib.Path, *, keep: int = 2):
    """Opens a folder of checkpoints.

    Args:
      directory: created if missing. In the `folder` of a run, checkpoints get
        the origin of that run.
      keep: number of the newest checkpoints to keep, at least 1.

    Raises:
      ValueError: for `keep` below 1.
    """
    if keep < 1:
      raise ValueError(f'keep is {keep}; it must be at least 1.')
    # The logger of absl, which keeps one filter once.
    logging.getLogger('absl').addFilter(_NO_TRACEBACKS)
    directory = pathlib.Path(directory).absolute()
    self._origin = _origin(directory)
    # Of a run in a bucket, checkpoints are there only.
    self._directory = remote.stored(directory)
    self._manager = ocp.CheckpointManager(
      self._directory,
      options=ocp.CheckpointManagerOptions(
        max_to_keep=keep,
        create=True,
        cleanup_tmp_directories=True,
        enable_async_checkpointing=True,
        async_options=ocp.AsyncOptions(timeout_secs=_MAX_SECONDS),
      ),
    )

  def __enter__(self) -> 'Checkpointer':
    return self

  def __exit__(self, kind, *unused) -> None:
    try:
      self._manager.close()
    except Exception as error:
      # Orbax's errors have no common base class. Another error goes first.
      if kind is None:
        raise self._not_written(error) from error

  @property
  def latest_step(self) -> int | None:
    """The step of the newest checkpoint; None without one."""
    return self._manager.latest_step()

  def save(self, step: int, state: State) -> None:
    """Starts saving in the background and returns at once.

    Raises:
      OSError: if this checkpoint cannot be written, or the one before could
        not.
    """
    record = {
      'step': step,
      'made_by': self._origin,
      'arrays': describe(state),
    }
    try:
      self._manager.save(
        step,
        args=ocp.args.Composite(
          state=ocp.args.StandardSave(state),
          data=ocp.args.JsonSave({**record, 'checksum': _seal(record)}),
        ),
      )
    except Exception as error:
      raise self._not_written(error) from error

  def wait(self) -> None:
    """Waits until what `save` began is on the disk.

    Raises:
      OSError: if it could not be written.
    """
    try:
      self._manager.wait_until_finished()
    except Exception as error:
      raise self._not_written(error) from error

  def restore_or(self, state: State) -> tuple[State, int]:
    """Restores the newest good checkpoint; returns `state` if there is none.

    Damaged checkpoints after it are set aside under another name.

    Args:
      state: a fresh state; sets shapes, dtypes and shardings.

    Returns:
      (state, the step at which the data stream resumes).

    Raises:
      ValueError: if the checkpoint does not fit the state or was made by
        another run, or if all checkpoints are damaged.
    """
    steps = _committed_steps(self._directory)
    if not steps:
      return state, 0
    restored, step = _newest_good(
      self._directory, steps, state, self._origin, whole=True
    )
    if late := [other for other in steps if other > step]:
      hosts.first(lambda: [self._set_aside(other) for other in late])
      self._manager.reload()
    return restored, step

  def _set_aside(self, step: int) -> None:
    """Renames a damaged checkpoint, whose step will be saved again."""
    path = self._directory / str(step)
    aside = path.with_name(f'{step}.damaged')
    if remote.is_remote(path):
      if aside.exists():
        aside.rmtree()
      path.rename(aside)
      return
    shutil.rmtree(aside, ignore_errors=True)
    os.replace(path, aside)

  def _not_written(self, error: Exception) -> OSError:
    reason = _first_line(error)
    # TensorStore says it at the end of a long line, with other paths in it.
    if 'No space left on device' in str(error):
      reason = 'no space left on the disk'
    return OSError(
      f'A checkpoint in {str(self._directory)!r} could not be written: '
      f'{reason}. The earlier checkpoints are kept, and the same command '
      'resumes from the last one.'
    )


def has_any(directory: pathlib.Path) -> bool:
  """Whether a checkpoint folder, see `folder`, holds a finished checkpoint."""
  return bool(_committed_steps(remote.stored(directory.absolute())))


def save_due(step: int, every: int, num_steps: int) -> bool:
  """Whether to save after `step` steps: a multiple of `every`, or the last."""
  return step == num_steps or (every > 0 and step % every == 0)


def restore_variables(
  directory: pathlib.Path, variables: State
) -> tuple[State, int]:
  """Restores some fields of a state, such as a network's variables.

  Args:
    directory: checkpoint folder of a training or a search, see `folder`. What
      made the checkpoint is compared with the files of that run.
    variables: dict of fields of the state, such as 'params' and 'batch_stats';
      sets shapes and dtypes.

  Returns:
    (the same tree with the values of the newest good checkpoint, its step).

  Raises:
    FileNotFoundError: if the folder holds no checkpoint.
    ValueError: if the checkpoint does not fit the variables or was made by
      another genotype, config or data than the run's files say, or if all
      checkpoints are damaged.
  """
  directory = pathlib.Path(directory).absolute()
  origin = _origin(directory)
  directory = remote.stored(directory)
  steps = _committed_steps(directory)
  if not steps:
    raise FileNotFoundError(f'There is no checkpoint in {str(directory)!r}.')
  return _newest_good(directory, steps, variables, origin)


def describe(state: State) -> dict[str, list]:
  """Path of each array -> [dtype, shape, CRC-32 of its bytes].

  The checksum is that of the whole array, also where it is split over several
  hosts, which then call this together.
  """
  leaves = jax.tree_util.tree_leaves_with_path(state)
  split = {_name(path): leaf for path, leaf in leaves if _is_split(leaf)}
  sums = _split_crcs(split) if split else {}
  described = {}
  for path, leaf in leaves:
    name = _name(path)
    checksum = sums[name] if name in sums else _crc(leaf)
    described[name] = [str(leaf.dtype), list(leaf.shape), checksum]
  return described


def _is_split(leaf) -> bool:
  """Whether no host holds the whole array."""
  return isinstance(leaf, jax.Array) and not (
    leaf.is_fully_addressable or leaf.is_fully_replicated
  )


def _split_crcs(arrays: Mapping[str, jax.Array]) -> dict[str, int]:
  """The CRC-32 of whole arrays, each host of which holds a part.

  CRC-32 is affine: that of a whole is the exclusive or of those of its parts,
  each among zeros, as long as that of zeros is in it once. So it does not
  depend on how many hosts there are, nor on how an array is split.
  """
  mine = {}
  for name, array in arrays.items():
    part = np.zeros(array.shape, array.dtype)
    zeros = _crc(part)
    for shard in array.addressable_shards:
      # Of equal copies, on whatever host, one counts.
      if shard.replica_id == 0:
        part[shard.index] = shard.data
    mine[name] = [zeros, _crc(part) ^ zeros]
  found = {name: zeros for name, (zeros, _) in mine.items()}
  for theirs in map(json.loads, hosts.gather(json.dumps(mine))):
    for name, (_, differing) in theirs.items():
      found[name] ^= differing
  return found


def _crc(leaf) -> int:
  if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
    leaf = leaf.addressable_data(0)
  # As bytes, since bfloat16 has no buffer of its own.
  array = np.ascontiguousarray(np.asarray(leaf))
  return zlib.crc32(array.reshape(-1).view(np.uint8))


def _name(path) -> str:
  # The same for a field of a dataclass and a key of a dict.
  return jax.tree_util.keystr(path, simple=True, separator='/')


def _seal(record: Record) -> int:
  return zlib.crc32(json.dumps(record, sort_keys=True).encode())


def _origin(directory: pathlib.Path) -> dict[str, Any]:
  """The origin of the run that a checkpoint folder belongs to."""
  if directory.parent.name != _FOLDER:
    return {}
  return hosts.first(
    lambda: run_log.origin(directory.parent.parent, directory.name)
  )


def _newest_good(
  directory: pathlib.Path,
  steps: list[int],
  state: State,
  origin: Mapping[str, Any],
  *,
  whole: bool = False,
) -> tuple[State, int]:
  """The state of the newest checkpoint that is whole; says what it passes.

  Hosts call it together, and all pass what one of them finds damaged.
  """
  reasons = []
  for step in reversed(steps):
    path = directory / str(step)
    restored, reason = None, ''
    try:
      restored, recorded = _restore(path, state, origin, whole=whole)
    except Damaged as error:
      reason = str(error)
    reason = _first_reason(reason)
    if not reason:
      try:
        _check_sums(restored, recorded)
      except Damaged as error:
        reason = str(error)
      reason = _first_reason(reason)
    if reason:
      reasons.append(f'that of step {step}: {reason}')
      continue
    if reasons:
      progress.say(
        f'Warning: damaged checkpoints in {str(directory)!r} '
        f'({"; ".join(reasons)}). The one before, of step {step}, is used.'
      )
    return restored, step
  raise ValueError(
    f'All checkpoints in {str(directory)!r} are damaged '
    f'({"; ".join(reasons)}). Put a copy in their place, or start again in '
    'another --workdir.'
  )


def _first_reason(mine: str) -> str:
  """Why the first host that cannot read a checkpoint cannot; '' if all can."""
  for host, reason in enumerate(hosts.gather(mine)):
    if reason:
      return f'{reason} (host {host})' if jax.process_count() > 1 else reason
  return ''


def _restore(
  path: pathlib.Path, state: State, origin: Mapping[str, Any], *, whole: bool
) -> tuple[State, dict[str, list]]:
  """Restores one checkpoint without waiting for other hosts.

  Args:
    path: its folder.
    state: what is restored.
    origin: of the run.
    whole: whether `state` is all that the checkpoint holds.

  Returns:
    (the state, what is recorded of its arrays, see `describe`).
  """
  record = _read_record(path)
  _check_origin(path, record['made_by'], origin)
  target = jax.tree.map(_abstract, state)
  recorded = record['arrays']
  wanted = {
    _name(where): [str(leaf.dtype), list(leaf.shape)]
    for where, leaf in jax.tree_util.tree_leaves_with_path(target)
  }
  unlike = [
    f'{name} is {form}, there {recorded[name][:2]}'
    if name in recorded
    else f'{name} is not there'
    for name, form in wanted.items()
    if recorded.get(name, [])[:2] != form
  ]
  if whole:
    unlike += [f'{name} is only there' for name in recorded.keys() - wanted]
  if unlike:
    raise ValueError(
      f'The checkpoint {str(path)!r} does not fit this network or optimizer: '
      f'{_listed(unlike)}.'
    )
  if not (path / 'state').is_dir():
    raise Damaged("'state' is missing")
  restored = _reading(
    lambda: ocp.Checkpointer(
      ocp.PyTreeCheckpointHandler(multiprocessing_options=_alone()),
      multiprocessing_options=_alone(),
    ).restore(
      path / 'state',
      args=ocp.args.PyTreeRestore(
        item=target,
        restore_args=ocp.checkpoint_utils.construct_restore_args(target),
        partial_restore=True,
      ),
    )
  )
  return restored, recorded


def _alone() -> ocp.options.MultiprocessingOptions:
  """Lets a host read without a barrier, where one that fails lacks."""
  host = jax.process_index()
  return ocp.options.MultiprocessingOptions(
    primary_host=host,
    active_processes={host},
    barrier_sync_key_prefix=f'host_{host}',
  )


def _check_sums(restored: State, recorded: Mapping[str, list]) -> None:
  """Raises Damaged if an array is not what was saved."""
  wrong = [
    name
    for name, (*_, checksum) in describe(restored).items()
    if checksum != recorded[name][2]
  ]
  if wrong:
    raise Damaged(f'the checksum of {_listed(wrong)} is wrong')


def _read_record(path: pathlib.Path) -> Record:
  if not (path / 'data').is_dir():
    raise Damaged("'data' is missing")
  content = _reading(
    lambda: ocp.Checkpointer(
      ocp.JsonCheckpointHandler(multiprocessing_options=_alone()),
      multiprocessing_options=_alone(),
    ).restore(path / 'data')
  )
  if not isinstance(content, dict):
    raise Damaged("'data' is no record")
  checksum = content.pop('checksum', None)
  if checksum != _seal(content) or str(content.get('step')) != path.name:
    raise Damaged("the checksum of 'data' is wrong or missing")
  return content


def _reading(read: Callable[[], Any]) -> Any:
  try:
    return read()
  except OSError as error:
    if error.errno in (errno.EACCES, errno.EMFILE, errno.ENOMEM):
      raise
    raise Damaged(_first_line(error)) from error
  except (MemoryError, jax.errors.JaxRuntimeError):
    # Of this machine, not of the file.
    raise
  except Exception as error:
    # Of JSON, zstd, TensorStore and Orbax; they have no common base class.
    raise Damaged(_first_line(error)) from error


def _first_line(error: Exception) -> str:
  text = str(error).strip() or type(error).__name__
  return text.splitlines()[0][:200]


def _check_origin(
  path: pathlib.Path, made_by: Mapping[str, Any], origin: Mapping[str, Any]
) -> None:
  """Refuses a checkpoint that these files of a run did not make.

  Raises:
    ValueError: names the file and what differs in it.
  """
  for file, then in made_by.items():
    if file not in origin:
      raise ValueError(
        f'The checkpoint {str(path)!r} was made with a {file}, which is '
        'missing in the folder of the run.'
      )
    if differs := list(_differences(then, origin[file])):
      raise ValueError(
        f'The checkpoint {str(path)!r} was not made with this {file} '
        f'({_listed(differs)}). Put back the file with which it was made, or '
        'choose another --workdir.'
      )


def _differences(then, now, path: str = '') -> Iterator[str]:
  """What differs between two JSON values, by the path of a field."""
  if isinstance(then, dict) and isinstance(now, dict):
    # A field that only one of them has is of another version: see run_config.
    for name in sorted(then.keys() & now.keys()):
      yield from _differences(then[name], now[name], f'{path}.{name}')
  elif (
    isinstance(then, list) and isinstance(now, list) and len(then) == len(now)
  ):
    for i, pair in enumerate(zip(then, now, strict=True)):
      yield from _differences(*pair, f'{path}[{i}]')
  elif then != now:
    before, after = (json.dumps(value)[:60] for value in (then, now))
    yield f'{path.removeprefix(".")}: {before} there, {after} here'


def _listed(names: list[str]) -> str:
  shown = ', '.join(names[:_MAX_LISTED])
  more = len(names) - _MAX_LISTED
  return f'{shown} and {more} more' if more > 0 else shown


def _abstract(array) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=array.sharding)


def _committed_steps(directory: pathlib.Path) -> list[int]:
  """The steps of the checkpoints, the damaged ones too, ascending.

  As host 0 sees them: another may see a shared folder a little later.
  """

  def steps():
    if not directory.is_dir():
      return []
    return sorted(
      int(path.name)
      for path in directory.iterdir()
      if path.name.isdecimal() and path.is_dir() and _is_committed(path)
    )

  return hosts.first(steps)


def _is_committed(path: pathlib.Path) -> bool:
  """Whether all of a checkpoint is written.

  In a folder it then has its name; a bucket has no renaming, but a file.
  """
  return not remote.is_remote(path) or (path / _COMMITTED).exists()
