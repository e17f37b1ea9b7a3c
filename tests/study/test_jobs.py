import json
import os
import signal
import subprocess
import sys
import time

import pytest

from nasfas_jax.study import jobs


def write_job(monkeypatch, source):
  """Replaces the main module's command by a Python source."""

  def command(self, folder):
    import sys

    return [sys.executable, '-c', source, str(folder / self.name)]

  monkeypatch.setattr(jobs.Job, 'command', command)


WRITE = (
  'import json, os, sys; '
  'path = os.path.join(sys.argv[1], "results.json"); '
  'json.dump({"cpus": sorted(os.sched_getaffinity(0))}, open(path, "w"))'
)


def test_what_is_finished_is_not_run_again(monkeypatch, tmp_path):
  write_job(monkeypatch, WRITE)
  listed = [jobs.Job(f'job{i}', (f'--config.seed={i}',)) for i in range(3)]
  found = jobs.run(listed, tmp_path)
  assert sorted(found) == ['job0', 'job1', 'job2']
  write_job(monkeypatch, 'raise SystemExit("run again")')
  assert jobs.run(listed, tmp_path) == found


def test_a_failure_leaves_the_others_finished(monkeypatch, tmp_path):
  write_job(
    monkeypatch,
    'import sys; sys.exit("no such thing") if "job1" in sys.argv[1] else '
    f'exec({WRITE!r})',
  )
  listed = [jobs.Job(f'job{i}', ()) for i in range(3)]
  with pytest.raises(ChildProcessError, match='1 of 3 .* job1: no such thing'):
    jobs.run(listed, tmp_path, num_workers=2)
  assert (tmp_path / 'job2' / 'results.json').exists()
  assert not (tmp_path / 'job1' / 'results.json').exists()


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_stop_ends_the_runs_and_begins_no_other(number, tmp_path):
  source = """
import pathlib, signal, sys, time
from nasfas_jax.study import jobs
# A shell without job control starts what is in the background, perhaps these
# tests, with Ctrl-C ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
WAIT = (
  'import pathlib, sys, time; folder = pathlib.Path(sys.argv[1]); '
  '(folder / "begun").touch(); time.sleep(60); (folder / "done").touch()'
)
jobs.Job.command = lambda self, folder: [
  sys.executable, '-c', WAIT, str(folder / self.name)
]
listed = [jobs.Job(f'job{i}', ()) for i in range(4)]
jobs.run(listed, pathlib.Path(sys.argv[1]), num_workers=2)
"""
  parent = subprocess.Popen(
    [sys.executable, '-c', source, str(tmp_path)], stderr=subprocess.DEVNULL
  )
  for _ in range(600):
    if len(list(tmp_path.glob('*/begun'))) == 2:
      break
    time.sleep(0.1)
  try:
    # Of the parent alone: as by `kill`, or by a service that ends.
    parent.send_signal(number)
    assert parent.wait(timeout=30) != 0
  finally:
    parent.kill()
    parent.wait()
  assert len(list(tmp_path.glob('*/begun'))) == 2
  assert not list(tmp_path.glob('*/done'))


def test_a_folder_of_another_job_is_refused(monkeypatch, tmp_path):
  write_job(monkeypatch, WRITE)
  jobs.run([jobs.Job('job', ('--config.seed=1',))], tmp_path)
  with pytest.raises(ValueError, match='other arguments.*seed=1.*seed=2'):
    jobs.run([jobs.Job('job', ('--config.seed=2',))], tmp_path)


@pytest.mark.skipif(
  not hasattr(os, 'sched_getaffinity'), reason='no CPU affinity here'
)
def test_workers_share_the_cpus_out(monkeypatch, tmp_path):
  cpus = os.sched_getaffinity(0)
  shares = jobs.cpu_shares(2)
  assert set().union(*shares) == cpus
  if len(cpus) > 1:
    assert not set(shares[0]) & set(shares[1])
  write_job(monkeypatch, WRITE)
  found = jobs.run([jobs.Job('job', ())], tmp_path, num_workers=2)
  assert found['job']['cpus'] in shares
  assert len(jobs.cpu_shares(len(cpus) + 1)) == len(cpus) + 1
  with pytest.raises(ValueError, match='num_workers is 0'):
    jobs.cpu_shares(0)


def test_the_arguments_are_kept(monkeypatch, tmp_path):
  write_job(monkeypatch, WRITE)
  jobs.run([jobs.Job('job', ('--config.seed=1',))], tmp_path)
  path = tmp_path / 'job' / jobs.ARGUMENTS_FILE
  assert json.loads(path.read_text()) == ['--config.seed=1']
