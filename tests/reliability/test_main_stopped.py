"""SIGTERM while XLA compiles the search of the main module."""

import os
import signal
import subprocess
import sys
import time

import pytest

from nasfas_jax import stopping

pytestmark = pytest.mark.slow_processes


def test_sigterm_during_a_compilation_ends_it_within_seconds(
  tiny_data_dir, tmp_path
):
  """The program of users, which compiles for half a minute."""
  workdir = tmp_path / 'run'
  process = subprocess.Popen(
    [
      *(sys.executable, '-m', 'nasfas_jax.main', '--config=search:debug'),
      f'--workdir={workdir}',
      f'--config.data.data_dir={tiny_data_dir}',
      '--compilation_cache=',
    ],
    env={**os.environ, 'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': ''},
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
    text=True,
  )
  with process:
    try:
      for line in process.stderr:
        if line.startswith('Compiling: searching ...'):
          break
      # In the middle of it.
      time.sleep(4)
      assert process.poll() is None
      process.send_signal(signal.SIGTERM)
      began = time.monotonic()
      said = process.communicate(timeout=300)[1]
      seconds = time.monotonic() - began
    finally:
      process.kill()
  assert process.returncode == stopping.PREEMPTED
  # Less than what is left of the compilation, on a slow machine too.
  assert seconds < 15
  assert said == (
    '\nStopped by SIGTERM. The same command resumes from the last checkpoint '
    f'in {str(workdir)!r}.\n'
  )
