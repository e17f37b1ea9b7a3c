"""The processes that make clips end with whoever started them."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from nasfas_datasets import workers

MAIN = """
import os, pathlib, sys, time
from nasfas_datasets import workers

def wait(folder):
  (pathlib.Path(folder) / str(os.getpid())).touch()
  time.sleep(600)

if __name__ == '__main__':
  list(workers.spread(wait, [sys.argv[1]] * 2, 2))
"""


def double(number):
  return 2 * number


def end(number):
  os._exit(number)


def is_alive(pid: int) -> bool:
  try:
    text = pathlib.Path(f'/proc/{pid}/stat').read_text()
  except OSError:
    return False
  return text.rpartition(')')[2].split()[0] != 'Z'


def until(condition, seconds=60):
  end = time.monotonic() + seconds
  while not condition():
    assert time.monotonic() < end
    time.sleep(0.05)


def test_results_come_in_order_and_a_killed_process_is_named():
  assert list(workers.spread(double, range(5), 2)) == [0, 2, 4, 6, 8]
  with pytest.raises(ChildProcessError, match='One of the 2 processes that'):
    list(workers.spread(end, [3], 2))


@pytest.mark.skipif(not os.path.isdir('/proc'), reason='reads /proc')
def test_a_kill_ends_the_workers_too(tmp_path):
  script = tmp_path / 'main.py'
  script.write_text(MAIN)
  folder = tmp_path / 'pids'
  folder.mkdir()
  process = subprocess.Popen([sys.executable, str(script), str(folder)])
  until(lambda: len(list(folder.iterdir())) == 2)
  process.send_signal(signal.SIGKILL)
  process.wait()
  pids = [int(path.name) for path in folder.iterdir()]
  until(lambda: not any(map(is_alive, pids)))
