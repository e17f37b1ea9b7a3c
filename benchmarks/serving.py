"""Sections of a measurement in a process of their own, with a time limit.

A compiler or a driver that hangs, or ends its process, costs its section only,
and not what the section had told by then.
"""

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable

# Seconds for what is left in a pipe after the process at its end is gone.
_LINGER_SECONDS = 2.0
# Is given what a section has found so far; the last of it counts.
Tell = Callable[[dict], None]


class OutOfTime(Exception):
  """A section did not end within its limit."""


class Server:
  """The asking end of a process that runs `serve`; a context.

  Attributes:
    part: what the section asked for last has told before its answer.
  """

  def __init__(self, command: list[str], environ: dict[str, str]):
    """Starts the process.

    Args:
      command: arguments of the Python interpreter.
      environ: its environment.
    """
    self.part = {}
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
    # A process that it has started may outlive it, and keep the pipe open.
    self._reader.join(_LINGER_SECONDS)
    if not self._reader.is_alive():
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
    self.part = {}
    end = time.monotonic() + limit
    # A process that has ended is told of below, with its last words.
    with contextlib.suppress(BrokenPipeError):
      self._process.stdin.write(f'{json.dumps(request)}\n')
      self._process.stdin.flush()
    while True:
      try:
        line = self._answers.get(timeout=max(0.0, end - time.monotonic()))
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
      if 'answer' in found:
        return found['answer']
      self.part = found['part']


def serve(function: Callable[[dict, Tell], dict]) -> None:
  """Answers requests of standard input on standard output until it ends."""
  # Libraries that print, in whatever language, print elsewhere.
  replies = os.fdopen(os.dup(1), 'w', encoding='utf-8')
  os.dup2(2, 1)

  def reply(kind: str, content) -> None:
    print(json.dumps({kind: content}), file=replies, flush=True)

  for line in sys.stdin:
    try:
      found = function(json.loads(line), lambda part: reply('part', part))
    except Exception as error:
      # Of whatever kind: the rest is still worth having.
      text = str(error).strip() or type(error).__name__
      reply('error', f'{type(error).__name__}: {text.splitlines()[0][:200]}')
    else:
      reply('answer', found)
