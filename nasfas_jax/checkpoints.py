"""The one place that knows Orbax: save, restore, resume."""

import pathlib
from collections.abc import Iterator
from typing import TypeVar

import jax
import orbax.checkpoint as ocp

State = TypeVar('State')


class Checkpointer:
  """Asynchronous checkpoints of one stage of a run, newest kept.

  A checkpoint holds the state (parameters, batch statistics, architecture,
  optimizer states, step) and the step of the data stream. It is committed by
  renaming its folder, so a kill leaves the previous one whole.
  """

  def __init__(self, directory: pathlib.Path, *, keep: int = 2):
    """directory: made if missing; keep: how many of the newest to keep."""
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
    return self._manager.latest_step()

  def save(self, step: int, state: State) -> None:
    """Starts saving; returns before it is on disk."""
    self._manager.save(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardSave(state),
        data=ocp.args.JsonSave({'step': step}),
      ),
    )

  def restore_or(self, state: State) -> tuple[State, int]:
    """The newest checkpoint, or the given state if there is none.

    Args:
      state: a freshly made state; gives shapes, dtypes and shardings.

    Returns:
      (state, the step of the data stream to go on from).

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
  """Whether to save after `step` steps: every so many, and at the end."""
  return step == num_steps or (every > 0 and step % every == 0)


def restore_variables(
  directory: pathlib.Path, variables: State
) -> tuple[State, int]:
  """Restores only some fields of a state, such as a network's variables.

  Args:
    directory: the folder of checkpoints that a training or a search wrote.
    variables: dict with 'params' and 'batch_stats', or with other fields of the
      state; gives shapes and dtypes.

  Returns:
    (the same tree with the newest checkpoint's values, its step).

  Raises:
    FileNotFoundError: if there is no checkpoint.
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
