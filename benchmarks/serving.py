"""Sections of a measurement in a process of their own, with a time limit.

A compiler or a driver that hangs, or ends its process, costs its section only.
"""

import contextlib
import json
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable


class OutOfTime(Exception):
  """A section did not end within its limit."""


class Server:
  """The asking end of a process that runs `serve`; a context."""

  def __init__(self, command: list[str], environ: dict[str, str]):
    """Starts the process.

    Args:
      command: arguments of the Python interpreter.
      environ: its environment.
    """
    self._log = tempfile.TemporaryFile('w+', encoding='utf-8')
    self._process = subprocess.Popen(
      [sys.executable, *command],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=self._log,
      text=True,
      env=environ,
    )
    self._answers = queue.SimpleQueue()
    self._reader = threading.Thread(target=self._read, daemon=True)
    self._reader.start()

  def _read(self):
    for line in self._process.stdout:
      self._answers.put(line)
    self._answers.put('')

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self._process.kill()
    self._process.wait()
    self._reader.join()
    self._process.stdout.close()
    with contextlib.suppress(BrokenPipeError):
      self._process.stdin.close()
    self._log.close()

  def ask(self, request: dict, limit: float) -> dict:
    """Sends a request and waits for its answer.

    Args:
      request: for `serve`'s function.
      limit: seconds.

    Raises:
      OutOfTime: if there is no answer within the limit. The process is of no
        use any more.
      RuntimeError: if the function raised, or the process ended.
    """
    # A process that has ended is told of below, with its last words.
    with contextlib.suppress(BrokenPipeError):
      self._process.stdin.write(f'{json.dumps(request)}\n')
      self._process.stdin.flush()
    try:
      line = self._answers.get(timeout=limit)
    except queue.Empty:
      raise OutOfTime(f'no answer within {limit:.0f} s') from None
    if not line:
      self._process.wait()
      self._log.seek(0)
      words = self._log.read().strip().splitlines() or ['no reason given']
      raise RuntimeError(f'the process ended: {words[-1][:200]}')
    found = json.loads(line)
    if 'error' in found:
      raise RuntimeError(found['error'])
    return found

  def is_alive(self) -> bool:
    """Whether the process still runs."""
    return self._process.poll() is None


def serve(function: Callable[[dict], dict]) -> None:
  """Answers requests of standard input on standard output until it ends."""
  replies, sys.stdout = sys.stdout, sys.stderr
  for line in sys.stdin:
    try:
      found = function(json.loads(line))
    except Exception as error:
      # Of whatever kind: the rest is still worth having.
      text = str(error).strip() or type(error).__name__
      found = {'error': f'{type(error).__name__}: {text.splitlines()[0][:200]}'}
    print(json.dumps(found), file=replies, flush=True)
