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
# So many that a run outlives the kills.
STEPS = 240
SECONDS = 120


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
  assert made.process.wait(30) == 0
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


def disturb(server, workdir, number, rng, num_stops):
  """Runs with a signal at a random moment; returns the status.

  The moment is so many steps further on, and of every second kill while a
  checkpoint is being written; then some milliseconds later.
  """
  ahead = rng.integers(2 * STEPS // num_stops)
  during_save = rng.random() < 0.5
  later = rng.uniform(0, 0.03)
  before = num_lines(workdir)
  pid = server.start(workdir, f'--steps={STEPS}')
  deadline = time.monotonic() + SECONDS
  while num_lines(workdir) < before + ahead and not ended(pid):
    assert time.monotonic() < deadline
    time.sleep(0.001)
  if during_save:
    while not saving(workdir) and not ended(pid):
      assert time.monotonic() < deadline
  time.sleep(later)
  hit_a_save = saving(workdir)
  with contextlib.suppress(ProcessLookupError):
    os.kill(pid, number)
  return server.status(), hit_a_save


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
    disturb(server, workdir, signal.SIGKILL, rng, NUM_KILLS)
    for _ in range(NUM_KILLS)
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
  for _ in range(NUM_TERMS):
    status, _ = disturb(server, workdir, signal.SIGTERM, rng, NUM_TERMS)
    assert status == stopping.PREEMPTED
  server.finish(workdir, f'--steps={STEPS}')
  assert_same_end(undisturbed, workdir)
