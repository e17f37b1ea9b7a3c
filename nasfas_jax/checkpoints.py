"""The one place that knows Orbax: save, restore, resume."""

import os
import pathlib
from collections.abc import Iterator
from typing import TypeVar

import jax
import orbax.checkpoint as ocp

State = TypeVar('State')


def folder(workdir: str | os.PathLike[str], name: str) -> pathlib.Path:
  """The checkpoint folder of one program of a run, 'search' or 'train'."""
  return pathlib.Path(workdir) / 'checkpoints' / name


class Checkpointer:
  """Asynchronous checkpoints of one program of a run.

  A checkpoint holds the state (parameters, batch statistics, architecture,
  optimizer states, step) and the step of the data stream. Orbax commits it by
  renaming its folder, so a kill leaves the previous checkpoint intact.
  """

  def __init__(self, directory: pathlib.Path, *, keep: int = 2):
    """Opens a folder of checkpoints.

    Args:
      directory: created if missing.
      keep: number of the newest checkpoints to keep, at least 1.

    Raises:
      ValueError: for `keep` below 1.
    """
    if keep < 1:
      raise ValueError(f'keep is {keep}; it must be at least 1.')
    self._manager = ocp.CheckpointManager(
      pathlib.Path(directory).absolute(),
      options=ocp.CheckpointManagerOptions(
        max_to_keep=keep,
        create=True,
        cleanup_tmp_directories=True,
        enable_async_checkpointing=True,
      ),
    )

  def __enter__(self) -> 'Checkpointer':
    return self

  def __exit__(self, *unused) -> None:
    self._manager.close()

  @property
  def latest_step(self) -> int | None:
    """The step of the newest checkpoint; None without one."""
    return self._manager.latest_step()

  def save(self, step: int, state: State) -> None:
    """Starts saving in the background and returns at once."""
    self._manager.save(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardSave(state),
        data=ocp.args.JsonSave({'step': step}),
      ),
    )

  def restore_or(self, state: State) -> tuple[State, int]:
    """Restores the newest checkpoint, or returns `state` if there is none.

    Args:
      state: a fresh state; sets shapes, dtypes and shardings.

    Returns:
      (state, the step at which the data stream resumes).

    Raises:
      ValueError: if the checkpoint does not fit the state.
    """
    step = self.latest_step
    if step is None:
      return state, 0
    target = jax.tree.map(_abstract, state)
    restored = self._manager.restore(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardRestore(target),
        data=ocp.args.JsonRestore(),
      ),
    )
    return restored.state, restored.data['step']


def _abstract(array: jax.Array) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=array.sharding)


def save_due(step: int, every: int, num_steps: int) -> bool:
  """Whether to save after `step` steps: a multiple of `every`, or the last."""
  return step == num_steps or (every > 0 and step % every == 0)


def restore_variables(
  directory: pathlib.Path, variables: State
) -> tuple[State, int]:
  """Restores some fields of a state, such as a network's variables.

  Args:
    directory: checkpoint folder of a training or a search, see `folder`.
    variables: dict of fields of the state, such as 'params' and 'batch_stats';
      sets shapes and dtypes.

  Returns:
    (the same tree with the values of the newest checkpoint, its step).

  Raises:
    FileNotFoundError: if the folder holds no checkpoint.
  """
  directory = pathlib.Path(directory).absolute()
  steps = sorted(_committed_steps(directory))
  if not steps:
    raise FileNotFoundError(f'There is no checkpoint in {str(directory)!r}.')
  target = jax.tree.map(_abstract, variables)
  restored = ocp.PyTreeCheckpointer().restore(
    directory / str(steps[-1]) / 'state',
    args=ocp.args.PyTreeRestore(
      item=target,
      restore_args=ocp.checkpoint_utils.construct_restore_args(target),
      partial_restore=True,
    ),
  )
  return restored, steps[-1]


def _committed_steps(directory: pathlib.Path) -> Iterator[int]:
  if directory.is_dir():
    for path in directory.iterdir():
      if path.name.isdigit() and (path / 'state').is_dir():
        yield int(path.name)
