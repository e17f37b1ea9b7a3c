"""Ctrl-C ends a process in one line, from its first import to its end."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator

# Status of a process that Ctrl-C stopped, as of a shell's command.
STATUS = 128 + signal.SIGINT


def quiet_imports() -> None:
  """Lets Ctrl-C end the process without a traceback; call it before imports.

  Where Ctrl-C is ignored or handled, that stays so.
  """
  if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextlib.contextmanager
def ending_at_once() -> Iterator[None]:
  """Makes Ctrl-C a KeyboardInterrupt; after one, the process ends at once.

  Threads of XLA may still compile then. They crash the process where the
  interpreter takes their backend down, so that is left out.

  Raises:
    SystemExit: of another status than `STATUS`.
  """
  if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
    signal.signal(signal.SIGINT, signal.default_int_handler)
  try:
    yield
  except SystemExit as stop:
    if stop.code != STATUS:
      raise
    for stream in (sys.stdout, sys.stderr):
      with contextlib.suppress(OSError):
        stream.flush()
    os._exit(STATUS)
