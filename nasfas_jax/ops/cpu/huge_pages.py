"""Huge pages for the arrays of the process, requested before it starts."""

import os
import sys
from collections.abc import Callable, MutableMapping

_VARIABLE = 'GLIBC_TUNABLES'
_TUNABLE = 'glibc.malloc.hugetlb'


def restart_with_huge_pages(
  environ: MutableMapping[str, str] = os.environ,
  execute: Callable[[str, list[str]], None] = os.execv,
) -> None:
  """Re-executes the program with memory in pages of 2 MiB, on Linux.

  On CPU, XLA allocates the buffers of every step anew, and the kernel clears
  them page by page. With pages of 4 KiB the default search step took 1.15 to
  1.4 times as long in trials on two cores (benchmarks/README.md). glibc reads
  the setting only when a process starts, so the program replaces itself; its
  process id stays the same. Other C libraries ignore the setting.

  Call it before slow imports. A value that the user has set stays, such as
  GLIBC_TUNABLES=glibc.malloc.hugetlb=0 for small pages.

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
