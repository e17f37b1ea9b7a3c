"""How a process stops: Ctrl-C and SIGTERM, from the first import to the end.

Ctrl-C ends it in one line. SIGTERM is what a machine sends that is about to be
taken away: what is at work is saved, and the status asks for another start.
"""

import contextlib
import faulthandler
import multiprocessing
import os
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator

from nasfas_jax import remote

# Status of a process that Ctrl-C stopped, as of a shell's command.
STATUS = 128 + signal.SIGINT
# Status of a process that SIGTERM stopped, EX_TEMPFAIL: "try again later". A
# launcher starts the same command again.
PREEMPTED = 75

_ENDS = {
  signal.SIGINT: ('', STATUS),
  signal.SIGTERM: (' by SIGTERM', PREEMPTED),
}


class Preempted(BaseException):  # noqa: N818
  """SIGTERM came, and what was at work has been saved.

  As a KeyboardInterrupt, no handler of errors takes it for one.
  """


def quiet_imports() -> None:
  """Lets Ctrl-C and SIGTERM end the process in order; call it before imports.

  Where they are ignored or handled, that stays so.
  """
  if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
  if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
    # Nothing has begun that could be lost.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(PREEMPTED))


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
    end(STATUS)


def end(status: int) -> None:
  """Ends the process and its workers at once; of exit handlers, runs one."""
  for stream in (sys.stdout, sys.stderr):
    with contextlib.suppress(OSError, ValueError):
      stream.flush()
  # Their parent's end would not end them.
  for child in multiprocessing.active_children():
    child.kill()
  remote.discard()
  os._exit(status)


def end_with_parent() -> None:
  """Ends this worker process when its parent ends, however that is ended."""

  def wait():
    multiprocessing.parent_process().join()
    os._exit(1)

  threading.Thread(target=wait, daemon=True).start()


@contextlib.contextmanager
def handled_by(
  handler: Callable[[int, types.FrameType | None], None], *numbers: int
) -> Iterator[None]:
  """Leaves signals to a handler of the block's own, also if a `Watch` is there.

  A watch that chains would be gone afterwards. In another thread than the main
  one, which alone may, it changes nothing.

  Args:
    handler: as of `signal.signal`.
    *numbers: of the signals.
  """
  if threading.current_thread() is not threading.main_thread():
    yield
    return
  before = {number: signal.signal(number, handler) for number in numbers}
  watched = signal.set_wakeup_fd(-1)
  try:
    yield
  finally:
    signal.set_wakeup_fd(watched, warn_on_full_buffer=False)
    for number, found in before.items():
      signal.signal(number, found)


@contextlib.contextmanager
def heeded_in_c_code(doing: str) -> Iterator[None]:
  """Lets Ctrl-C and SIGTERM end the process while the block is in C code.

  For a wait before there is anything to lose. Python's handlers would run only
  when that code returns; but what Python has for every signal, which is C code
  too, writes to a pipe at once, and a thread reads there. Signals that Python
  does not handle stay as they are.

  Args:
    doing: what is stopped, for the line on stderr.
  """
  if threading.current_thread() is not threading.main_thread():
    # Only the main thread may have signals written to a pipe.
    yield
    return
  reading, writing = _signal_pipe()
  before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
  threading.Thread(
    target=_end_at_signal, args=(reading, doing), daemon=True
  ).start()
  try:
    yield
  finally:
    signal.set_wakeup_fd(before, warn_on_full_buffer=False)
    os.close(writing)


def _signal_pipe() -> tuple[int, int]:
  """(end to read, end to which a handler of signals writes)."""
  reading, writing = os.pipe()
  # A handler must not wait, however many signals come.
  os.set_blocking(writing, False)
  return reading, writing


def _end_at_signal(reading: int, doing: str) -> None:
  """Reads the numbers of signals until the pipe is closed at its other end."""
  with os.fdopen(reading, 'rb', buffering=0) as pipe:
    while number := pipe.read(1):
      if number[0] in _ENDS:
        how, status = _ENDS[number[0]]
        print(f'\nStopped{how} while {doing}.', file=sys.stderr)
        end(status)


def _hold_sigterm(how: int) -> None:
  signal.pthread_sigmask(how, [signal.SIGTERM])


def _forget_in_child() -> None:
  """A child has the pipe too, and its SIGTERM is not that of its parent."""
  if not faulthandler.unregister(signal.SIGTERM):
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
  _hold_sigterm(signal.SIG_UNBLOCK)


class Watch:
  """Heeds SIGTERM, also while the main thread is in C code, such as XLA's.

  A Python handler would run only when that returns, after minutes of
  compiling. So C code writes to a pipe, whichever thread gets the signal, and a
  thread waits there. Outside `saving` it ends the process at once: nothing is
  lost then that a checkpoint does not have.
  """

  def __init__(self):
    self._asked = threading.Event()
    self._lock = threading.Lock()
    self._saving = False
    self._line = None

  def start(self, line: Callable[[], str], *, chain: bool = False) -> None:
    """Begins to watch; a second call changes nothing but the line.

    Args:
      line: gives what to print at the end, on stderr.
      chain: call the handler of C code that was there before too, such as that
        of jax.distributed, which tells the other hosts. Only faulthandler does
        that. It writes nothing if a thread without Python gets the signal, as
        may happen to a process that was stopped; the other handler does know.
    """
    watching, self._line = self._line is not None, line
    if watching or not hasattr(faulthandler, 'register'):  # On Windows.
      return
    reading, writing = _signal_pipe()
    if chain:
      faulthandler.register(
        signal.SIGTERM, writing, all_threads=False, chain=True
      )
    else:
      signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
      signal.signal(signal.SIGTERM, lambda *_: None)
    os.register_at_fork(
      before=lambda: _hold_sigterm(signal.SIG_BLOCK),
      after_in_parent=lambda: _hold_sigterm(signal.SIG_UNBLOCK),
      after_in_child=_forget_in_child,
    )
    threading.Thread(
      target=self._wait, args=(reading, chain), daemon=True
    ).start()

  @property
  def asked(self) -> bool:
    """Whether SIGTERM came while `saving`."""
    return self._asked.is_set()

  @contextlib.contextmanager
  def saving(self, *, alone: bool = True) -> Iterator[None]:
    """Leaves SIGTERM to the block, which looks at `asked` and saves.

    Args:
      alone: whether this process is the whole run. If not, the block must agree
        with the others on `asked`, and raise Preempted on all of them. After a
        SIGTERM that they do not know of, this process ends at once, as it does
        outside: were it alone to raise, the others would wait for it for long.

    Raises:
      Preempted: at the end of the block, if SIGTERM came and `alone`.
    """
    with self._lock:
      self._saving = True
    try:
      yield
    finally:
      with self._lock:
        self._saving = False
    if self.asked and alone:
      raise Preempted
    if self.asked:
      self._end()

  def _wait(self, reading: int, chain: bool) -> None:
    # faulthandler writes a text, Python the number of any signal it handles.
    while os.read(reading, 1) != bytes([signal.SIGTERM]) and not chain:
      pass
    with self._lock:
      self._asked.set()
      if self._saving:
        return
    self._end()

  def _end(self) -> None:
    print(self._line(), file=sys.stderr)
    end(PREEMPTED)


# A process has one handler of a signal, so there is one watch.
sigterm = Watch()
