"""One build of a dataset at a time, and what others left behind."""

import contextlib
import errno
import fcntl
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator

LOCK_FILE = '.prepare.lock'
# What a file system without locks says.
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


@contextlib.contextmanager
def alone(
  folder: pathlib.Path, waiting: Callable[[], None] = lambda: None
) -> Iterator[None]:
  """Waits until no other process builds in a folder, and keeps others out.

  The lock ends with the process, even if that is killed.

  Args:
    folder: of the builds of one config; it is created.
    waiting: called once if there is another process.

  Raises:
    OSError: if the folder cannot be written.
  """
  folder.mkdir(parents=True, exist_ok=True)
  with open(folder / LOCK_FILE, 'w') as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      waiting()
      fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
      if error.errno not in _NO_LOCKS:
        raise
    yield


@contextlib.contextmanager
def in_place_of(folder: pathlib.Path) -> Iterator[None]:
  """Moves a prepared dataset away until another one is made in its place.

  It comes back if the block fails, and by `put_back` after a kill. To be used
  alone.
  """
  old = _aside(folder)
  folder.rename(old)
  try:
    yield
  except BaseException:
    if folder.exists():
      shutil.rmtree(folder)
    old.rename(folder)
    raise
  shutil.rmtree(old)


def put_back(folder: pathlib.Path) -> None:
  """Ends what a killed `in_place_of` left behind; to be called alone.

  Args:
    folder: of the prepared dataset. It appears whole, so if it is there it is
      the new one.
  """
  old = _aside(folder)
  if old.exists() and folder.exists():
    shutil.rmtree(old)
  elif old.exists():
    old.rename(folder)


def _aside(folder: pathlib.Path) -> pathlib.Path:
  """Where the old dataset is meanwhile."""
  return folder.with_name(f'replaced-{folder.name}')


def remove_leftovers(folder: pathlib.Path, version: str) -> None:
  """Deletes what stopped builds of a version left in the folder of a config.

  Finished clips stay: the next build goes on from them. To be called alone.
  """
  for path in folder.iterdir():
    # TFDS builds in `incomplete.<random>_<version>`.
    if path.name.startswith('incomplete.') and path.name.endswith(version):
      shutil.rmtree(path)
  for path in folder.glob(f'finished-{version}/.*.tmp*'):
    path.unlink()


def size(folder: pathlib.Path) -> int:
  """The bytes of all files below a folder."""
  total = 0
  for parent, _, names in os.walk(folder):
    for name in names:
      with contextlib.suppress(OSError):
        total += os.lstat(os.path.join(parent, name)).st_size
  return total
