"""kill -9 and SIGTERM at random moments; the same command ends bit-equal.

The program is a tiny one, the loop, checkpoints and files are those of every
run. `tests/test_resume.py` kills the main module itself.
"""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from nasfas_jax import stopping

pytestmark = pytest.mark.slow_processes

NUM_KILLS = 25
NUM_TERMS = 8
STEPS = 240
# Of all lines of metrics.jsonl, the share before which all signals come.
DISTURBED = 0.75
# Lines, a few saves; far less than the rest.
PATIENCE = 30
# Far more than a loaded machine needs.
SECONDS = 600


class Server:
  """Starts runs as children of one process, which has paid the imports."""

  def __init__(self):
    self.process = subprocess.Popen(
      [sys.executable, str(pathlib.Path(__file__).parent / 'counting_run.py')]
      + ['--serve'],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=subprocess.DEVNULL,
      text=True,
    )

  def start(self, *arguments):
    """Begins a run; returns its process id."""
    self.process.stdin.write(json.dumps(list(map(str, arguments))) + '\n')
    self.process.stdin.flush()
    return int(self.process.stdout.readline())

  def status(self):
    """Waits for the run to end; returns its status."""
    return int(self.process.stdout.readline())

  def finish(self, *arguments):
    self.start(*arguments)
    assert self.status() == 0


@pytest.fixture(scope='module')
def server():
  made = Server()
  yield made
  made.process.stdin.close()
  assert made.process.wait(SECONDS) == 0
  made.process.stdout.close()


@pytest.fixture(scope='module')
def undisturbed(server, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('kills') / 'whole'
  server.finish(workdir, f'--steps={STEPS}')
  return workdir


def num_lines(workdir):
  path = workdir / 'metrics.jsonl'
  return path.read_bytes().count(b'\n') if path.exists() else 0


def saving(workdir):
  """Whether a checkpoint is being written."""
  return any(workdir.glob('checkpoints/*/*.orbax-checkpoint-tmp*'))


def disturb(server, workdir, number, moment, rng):
  """Runs with a signal at a random moment.

  Args:
    server: starts the run.
    workdir: of the run.
    number: of the signal.
    moment: lines of metrics.jsonl after which it comes. If the run before had
      as many, it comes while this one begins. Every second one waits for a
      checkpoint that is being written, for `PATIENCE` lines at most; others
      come some milliseconds later.
    rng: chooses that.

  Returns:
    (status of the run, whether the signal came during a save).
  """
  during_save = rng.random() < 0.5
  later = rng.uniform(0, 0.03)
  pid = server.start(workdir, f'--steps={STEPS}')
  deadline = time.monotonic() + SECONDS
  while num_lines(workdir) < moment and not ended(pid):
    assert time.monotonic() < deadline
    time.sleep(0.001)
  if during_save:
    # A save is short: on a loaded machine this may miss every one of them.
    last = num_lines(workdir) + PATIENCE
    while not saving(workdir) and num_lines(workdir) < last and not ended(pid):
      assert time.monotonic() < deadline
  else:
    time.sleep(later)
  hit_a_save = False
  with contextlib.suppress(ProcessLookupError):
    # What it did at that moment is looked at while it stands still.
    os.kill(pid, signal.SIGSTOP)
    hit_a_save = saving(workdir)
    os.kill(pid, number)
    os.kill(pid, signal.SIGCONT)
  return server.status(), hit_a_save


def moments(rng, count):
  """Numbers of lines, not above `DISTURBED` of all that a run writes."""
  return np.sort(rng.integers(int(DISTURBED * 2 * STEPS), size=count))


def ended(pid):
  return not pathlib.Path(f'/proc/{pid}').exists()


def state_of(workdir, phase):
  folder = workdir / 'checkpoints' / phase / str(STEPS) / 'state'
  return ocp.StandardCheckpointer().restore(folder.absolute())


def assert_same_end(first, second):
  for phase in ('search', 'train'):
    jax.tree.map(
      np.testing.assert_array_equal,
      state_of(first, phase),
      state_of(second, phase),
    )
  for name in ('metrics.jsonl', 'genotype.json', 'results.json'):
    assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_killed_at_25_random_moments_ends_bit_equal(
  server, undisturbed, tmp_path
):
  rng = np.random.default_rng(0)
  workdir = tmp_path / 'run'
  found = [
    disturb(server, workdir, signal.SIGKILL, moment, rng)
    for moment in moments(rng, NUM_KILLS)
  ]
  statuses = [status for status, _ in found]
  assert statuses == [-signal.SIGKILL] * NUM_KILLS
  # During saves, too.
  assert sum(hit for _, hit in found) >= 5
  server.finish(workdir, f'--steps={STEPS}')
  assert_same_end(undisturbed, workdir)
  # Nothing half-written stays.
  left = [path.name for path in workdir.rglob('*tmp*')]
  assert not left


def test_sigterm_at_random_moments_ends_bit_equal(
  server, undisturbed, tmp_path
):
  rng = np.random.default_rng(1)
  workdir = tmp_path / 'run'
  for moment in moments(rng, NUM_TERMS):
    status, _ = disturb(server, workdir, signal.SIGTERM, moment, rng)
    assert status == stopping.PREEMPTED
  server.finish(workdir, f'--steps={STEPS}')
  assert_same_end(undisturbed, workdir)
