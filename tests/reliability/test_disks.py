"""A disk that is full, and one that cannot be written: a real file system."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow_processes

# Three processes on a small file system in memory, which no other process sees.
# A checkpoint has half a MiB; two are kept while a third is written.
SCRIPT = """
run() { "$PYTHON" "$COUNTING" "$1/run" --steps=12 --kib=512; echo "status $?"; }
mount -t tmpfs -o size=1300k none "$1" || exit 99
run "$1"
echo "kept $(ls "$1/run/checkpoints/search" | grep -c '^[0-9]*$')"
mount -o remount,ro none "$1"
run "$1"
mount -o remount,rw,size=64m none "$1"
run "$1"
cp -r "$1/run" "$2"
"""


@pytest.fixture
def namespace():
  """Skips where a user may not mount anything, even for himself."""
  try:
    subprocess.run(['unshare', '-Urm', 'true'], check=True, timeout=60)
  except (OSError, subprocess.SubprocessError):
    pytest.skip('unshare -Urm is not allowed here.')


def test_a_full_and_a_read_only_disk_lose_nothing(namespace, tmp_path):
  mounted = tmp_path / 'mounted'
  mounted.mkdir()
  counting = pathlib.Path(__file__).parent / 'counting_run.py'
  done = subprocess.run(
    ['unshare', '-Urm', 'sh', '-c', SCRIPT, '-', mounted, tmp_path / 'copy'],
    env={**os.environ, 'PYTHON': sys.executable, 'COUNTING': str(counting)},
    capture_output=True,
    text=True,
    timeout=900,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  full, kept, read_only, later = done.stdout.splitlines()
  assert (full, read_only, later) == ('status 2', 'status 2', 'status 0')
  # TensorStore's own traceback may end in the middle of a line, before ours.
  errors = re.findall(r'\berror: .*', done.stderr)
  assert len(errors) == 2, done.stderr
  assert 'could not be written: no space left on the disk' in errors[0]
  assert 'the same command resumes from the last one' in errors[0]
  assert 'Nothing can be written in' in errors[1]
  assert 'Read-only file system' in errors[1]
  # TensorStore may print one of its own, of a write that nobody waits for.
  frames = [line for line in done.stderr.splitlines() if 'File "' in line]
  assert not [line for line in frames if 'nasfas_jax' in line], done.stderr
  assert int(kept.removeprefix('kept ')) >= 1
  whole = tmp_path / 'whole'
  subprocess.run(
    [sys.executable, counting, whole, '--steps=12', '--kib=512'],
    check=True,
    capture_output=True,
    timeout=900,
  )
  for name in ('metrics.jsonl', 'genotype.json', 'results.json'):
    found = (tmp_path / 'copy' / name).read_bytes()
    assert found == (whole / name).read_bytes(), name
  described = json.loads((whole / 'results.json').read_text())['state']
  assert 'params/ballast' in described
