"""The processes that make clips."""

import concurrent.futures
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import process
from typing import TypeVar

from nasfas_jax import stopping

_Item = TypeVar('_Item')
_Result = TypeVar('_Result')


def spread(
  work: Callable[[_Item], _Result],
  items: Sequence[_Item],
  num_workers: int,
  begin: Callable[[], None] | None = None,
) -> Iterator[_Result]:
  """Applies a function to items in several processes.

  They end with this one, even if that is killed.

  Args:
    work: picklable.
    items: picklable, too.
    num_workers: processes.
    begin: called once in each of them.

  Yields:
    The results, in order.

  Raises:
    ChildProcessError: if one of the processes was killed.
  """
  # Spawned: a fork of a process with threads may hang.
  with concurrent.futures.ProcessPoolExecutor(
    num_workers,
    multiprocessing.get_context('spawn'),
    initializer=_begin,
    initargs=(begin,),
  ) as pool:
    try:
      yield from pool.map(work, items)
    except process.BrokenProcessPool as error:
      raise ChildProcessError(
        f'One of the {num_workers} processes that make clips was killed, '
        'perhaps for want of memory. Finished clips are kept, and the same '
        'command goes on; fewer processes need less memory.'
      ) from error
    finally:
      pool.shutdown(cancel_futures=True)


def _begin(begin: Callable[[], None] | None) -> None:
  # Ctrl-C reaches all processes; it is left to the one that started us.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  stopping.end_with_parent()
  if begin is not None:
    begin()
