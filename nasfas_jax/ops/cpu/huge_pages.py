"""Large pages for the arrays of the process, asked for before it starts."""

import os
import sys
from collections.abc import Callable, MutableMapping

_VARIABLE = 'GLIBC_TUNABLES'
_TUNABLE = 'glibc.malloc.hugetlb'


def restart_with_huge_pages(
  environ: MutableMapping[str, str] = os.environ,
  execute: Callable[[str, list[str]], None] = os.execv,
) -> None:
  """Starts the program anew with memory in pages of 2 MiB, on Linux.

  XLA for the CPU takes the buffers of every step from the system and gives them
  back after it, and the system clears them page by page: with pages of 4 KiB
  the default search step took 1.15 to 1.4 times as long in trials on two cores
  (benchmarks/README.md). glibc reads the setting when a process starts, hence
  the second start, which is the same process to whoever waits for it. Other C
  libraries do not read it.

  To be called before the imports that take time. A setting of the user's stays,
  such as GLIBC_TUNABLES=glibc.malloc.hugetlb=0 to keep small pages.

  Args:
    environ: the environment, changed in place.
    execute: replaces the process; takes a program and its arguments.
  """
  tunables = environ.get(_VARIABLE, '')
  if sys.platform != 'linux' or _TUNABLE in tunables:
    return
  ours = f'{_TUNABLE}=1'
  environ[_VARIABLE] = f'{tunables}:{ours}' if tunables else ours
  execute(sys.executable, [sys.executable, *sys.orig_argv[1:]])
