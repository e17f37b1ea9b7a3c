"""Ctrl-C and SIGTERM before, in and after the work of a command."""

import os
import queue
import signal
import subprocess
import sys
import time

import pytest

from nasfas_configs import predict as predict_config
from nasfas_configs import search as search_config
from nasfas_jax import main, stopping


@pytest.fixture
def handler():
  """Sets the handler of Ctrl-C for one test; returns what is set."""
  before = signal.getsignal(signal.SIGINT)
  of_term = signal.getsignal(signal.SIGTERM)
  # Of a watch that another test began by a command.
  watched = signal.set_wakeup_fd(-1)

  def choose(chosen):
    signal.signal(signal.SIGINT, chosen)
    return lambda: signal.getsignal(signal.SIGINT)

  yield choose
  signal.signal(signal.SIGINT, before)
  signal.signal(signal.SIGTERM, of_term)
  signal.set_wakeup_fd(watched)


def test_imports_end_without_a_traceback_and_the_work_with_a_line(handler):
  now = handler(signal.default_int_handler)
  stopping.quiet_imports()
  assert now() is signal.SIG_DFL
  with stopping.ending_at_once():
    assert now() is signal.default_int_handler


def test_a_command_in_the_background_still_ignores_it(handler):
  now = handler(signal.SIG_IGN)
  stopping.quiet_imports()
  with stopping.ending_at_once():
    assert now() is signal.SIG_IGN


def test_a_stopped_process_does_not_wait_for_the_compiler(monkeypatch):
  class Ended(Exception):
    pass

  def end(status):
    raise Ended(status)

  monkeypatch.setattr(stopping.os, '_exit', end)
  with pytest.raises(Ended, match='130'), stopping.ending_at_once():
    raise SystemExit(130)
  with pytest.raises(SystemExit, match='2'), stopping.ending_at_once():
    raise SystemExit(2)


@pytest.mark.parametrize(
  ('number', 'line', 'status'),
  [
    (signal.SIGTERM, 'Stopped by SIGTERM while waiting.', stopping.PREEMPTED),
    (signal.SIGINT, 'Stopped while waiting.', stopping.STATUS),
  ],
)
def test_a_wait_in_c_code_is_stopped(
  number, line, status, handler, monkeypatch, capsys
):
  ended = queue.Queue()
  handler(lambda *_: None)
  signal.signal(signal.SIGTERM, lambda *_: None)
  monkeypatch.setattr(stopping, 'end', ended.put)
  with stopping.heeded_in_c_code('waiting'):
    os.kill(os.getpid(), number)
    assert ended.get(timeout=30) == status
  assert capsys.readouterr().err.strip() == line
  # Afterwards it is as before.
  os.kill(os.getpid(), number)
  with pytest.raises(queue.Empty):
    ended.get(timeout=0.1)


def test_only_what_resumes_is_said_to_resume(tmp_path):
  again = 'The same command starts again.'
  search = search_config.get_config()
  assert main.going_on(search, tmp_path / 'nothing') == again
  assert 'resumes from the last checkpoint' in main.going_on(search, tmp_path)
  assert main.going_on(predict_config.get_config(), tmp_path) == again


def ended_by_sigterm(source):
  """Sends SIGTERM once the source prints; returns status, output, seconds."""
  process = subprocess.Popen(
    [sys.executable, '-c', f'from nasfas_jax import stopping\n{source}'],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  with process:
    assert process.stdout.readline() == 'ready\n'
    process.terminate()
    began = time.monotonic()
    try:
      out, said = process.communicate(timeout=300)
    finally:
      process.kill()
  return process.returncode, out, said, time.monotonic() - began


# C code that never looks at signals, as XLA's compiler.
BUSY = "import hashlib; hashlib.pbkdf2_hmac('sha256', b'a', b'b', 1 << 30)"


def test_sigterm_ends_imports_with_the_status_that_launchers_restart():
  status, _, said, _ = ended_by_sigterm(
    'stopping.quiet_imports()\n'
    'import time; print("ready", flush=True); time.sleep(600)'
  )
  assert (status, said) == (os.EX_TEMPFAIL, '')


def test_sigterm_ends_a_long_compilation_at_once():
  status, _, said, seconds = ended_by_sigterm(
    f"""
stopping.sigterm.start(lambda: 'Stopped.')
print('ready', flush=True)
{BUSY}
"""
  )
  assert (status, said) == (stopping.PREEMPTED, 'Stopped.\n')
  # It would last for minutes.
  assert seconds < 60


def test_sigterm_waits_for_what_is_being_saved():
  status, out, said, _ = ended_by_sigterm("""
import time
stopping.sigterm.start(lambda: 'Stopped.')
try:
  with stopping.sigterm.saving():
    print('ready', flush=True)
    while not stopping.sigterm.asked:
      time.sleep(0.01)
    print('saved')
except stopping.Preempted:
  raise SystemExit(7)
""")
  assert (status, out, said) == (7, 'saved\n', '')


def test_sigterm_is_left_to_a_handler_of_its_own():
  status, out, said, _ = ended_by_sigterm("""
import signal, time
stopping.sigterm.start(lambda: 'Stopped.')
got = []
with stopping.handled_by(lambda number, _: got.append(number), signal.SIGTERM):
  print('ready', flush=True)
  while not got:
    time.sleep(0.01)
  # A watch would have ended the process by now.
  time.sleep(0.5)
print('went on', flush=True)
signal.raise_signal(signal.SIGTERM)
time.sleep(600)
""")
  assert (out, said) == ('went on\n', 'Stopped.\n')
  assert status == stopping.PREEMPTED


def test_sigterm_of_a_child_does_not_stop_its_parent():
  status, _, said, _ = ended_by_sigterm("""
import os, signal, time
stopping.sigterm.start(lambda: 'Stopped.')
child = os.fork()
if not child:
  time.sleep(600)
  os._exit(0)
os.kill(child, signal.SIGTERM)
assert os.waitpid(child, 0)[1] == signal.SIGTERM
with stopping.sigterm.saving():
  print('ready', flush=True)
  while not stopping.sigterm.asked:
    time.sleep(0.01)
""")
  assert status == 1 and said.endswith('Preempted\n')


def test_the_handler_of_jax_is_called_too():
  """Here another handler in C; that of jax.distributed is one."""
  status, out, _, _ = ended_by_sigterm("""
import ctypes, threading, time
heard = threading.Event()
told = ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda _: heard.set())
ctypes.CDLL(None).signal(15, told)
stopping.sigterm.start(lambda: 'Stopped.', chain=True)
with stopping.sigterm.saving():
  print('ready', flush=True)
  while not stopping.sigterm.asked:
    time.sleep(0.01)
  # This handler needs the interpreter; one in C may run in any thread.
  print('told' if heard.wait(30) else 'not told', flush=True)
""")
  assert out == 'told\n'


def test_one_of_several_hosts_ends_if_the_others_do_not_know(monkeypatch):
  """Were it to raise, the others would wait for it."""
  watch = stopping.Watch()
  watch._line = lambda: 'stopped'
  monkeypatch.setattr(stopping, 'end', sys.exit)
  with pytest.raises(SystemExit) as ended, watch.saving(alone=False):
    watch._asked.set()
  assert ended.value.code == stopping.PREEMPTED
  with pytest.raises(stopping.Preempted), watch.saving():
    pass
