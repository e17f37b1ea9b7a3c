"""Many runs of the main module, each in a process of its own; resumable.

What is finished, because its results.json is there, is not run again. A stop
(Ctrl-C, a SIGTERM) stops the runs as well and begins no other.
"""

import concurrent.futures
import contextlib
import dataclasses
import os
import pathlib
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence

from nasfas_jax import files, progress, stopping

ARGUMENTS_FILE = 'arguments.json'
_LOG_FILE = 'log.txt'


@dataclasses.dataclass(frozen=True)
class Job:
  """One run.

  Attributes:
    name: its folder below that of all jobs.
    arguments: of `python -m nasfas_jax.main`, without --workdir.
    inputs: (field of the config, file below the folder of all jobs) that it is
      set to. So arguments do not change when that folder is moved.
  """

  name: str
  arguments: tuple[str, ...]
  inputs: tuple[tuple[str, str], ...] = ()

  def command(self, folder: pathlib.Path) -> list[str]:
    return [
      *(sys.executable, '-m', 'nasfas_jax.main'),
      *self.arguments,
      *(f'--{field}={folder / path}' for field, path in self.inputs),
      f'--workdir={folder / self.name}',
    ]

  def kept_arguments(self) -> list[str]:
    """What its folder keeps of what makes it: the content of a file."""
    return [*self.arguments, *(f'--{f}={path}' for f, path in self.inputs)]


def run(
  jobs: Sequence[Job], folder: pathlib.Path, num_workers: int = 1
) -> dict[str, dict]:
  """Runs the jobs that are not finished.

  Args:
    jobs: in the order in which they are begun.
    folder: of all of them.
    num_workers: processes at a time; the CPUs are shared out evenly.

  Returns:
    The results.json of every job, by its name.

  Raises:
    ValueError: if a job's folder holds a run of other arguments.
    ChildProcessError: if jobs failed; the others have been run.
  """
  waiting = [job for job in jobs if not is_finished(job, folder)]
  workers = _Workers(folder, cpu_shares(num_workers))
  failed = []
  with (
    _term_interrupts(),
    progress.bar('Running', len(jobs), len(jobs) - len(waiting)) as bar,
    concurrent.futures.ThreadPoolExecutor(num_workers) as pool,
  ):
    try:
      begun = [pool.submit(workers.run, job) for job in waiting]
      for future in concurrent.futures.as_completed(begun):
        if future.result():
          failed.append(future.result())
        bar.update(len(jobs) - sum(not future.done() for future in begun))
    except BaseException:
      pool.shutdown(wait=False, cancel_futures=True)
      workers.stop()
      raise
  if failed:
    raise ChildProcessError(
      f'{len(failed)} of {len(jobs)} runs failed; the others are finished. '
      f'The first: {failed[0]} The same command runs those again.'
    )
  return {
    job.name: files.read_json(folder / job.name / 'results.json')
    for job in jobs
  }


@contextlib.contextmanager
def _term_interrupts() -> Iterator[None]:
  """Lets SIGTERM end it in order, as Ctrl-C does."""
  if threading.current_thread() is not threading.main_thread():
    yield
    return

  def stop(number, frame):
    del number, frame
    raise stopping.Preempted

  before = signal.signal(signal.SIGTERM, stop)
  try:
    yield
  finally:
    signal.signal(signal.SIGTERM, before)


def is_finished(job: Job, folder: pathlib.Path) -> bool:
  """Whether a job's results are there.

  Raises:
    ValueError: if its folder holds a run of other arguments.
  """
  path = folder / job.name / ARGUMENTS_FILE
  if path.exists():
    kept = set(files.read_json(path))
    if differing := sorted(kept ^ set(job.kept_arguments())):
      raise ValueError(
        f'{path.parent} holds a run of other arguments: {differing} differ. '
        'Choose another --workdir.'
      )
  return (path.parent / 'results.json').exists()


def cpu_shares(num_workers: int) -> list[list[int]]:
  """The CPUs of each worker; empty lists where they cannot be shared out."""
  if num_workers < 1:
    raise ValueError(f'num_workers is {num_workers}; allowed: 1 or more.')
  if num_workers == 1 or not hasattr(os, 'sched_getaffinity'):
    return [[] for _ in range(num_workers)]
  cpus = sorted(os.sched_getaffinity(0))
  # More workers than CPUs share them in turn.
  return [
    cpus[number::num_workers] or [cpus[number % len(cpus)]]
    for number in range(num_workers)
  ]


class _Workers:
  """Runs jobs on shares of the CPUs, from several threads."""

  def __init__(self, folder: pathlib.Path, shares: Sequence[list[int]]):
    self._folder = folder
    self._shares = queue.SimpleQueue()
    for share in shares:
      self._shares.put(share)
    self._lock = threading.Lock()
    self._processes = set()
    self._stopped = False

  def stop(self) -> None:
    """Ends the processes; none is begun afterwards."""
    with self._lock:
      self._stopped = True
      for process in self._processes:
        process.terminate()

  def run(self, job: Job) -> str:
    """Runs a job on a free share of the CPUs; returns what went wrong."""
    workdir = self._folder / job.name
    files.write_json(workdir / ARGUMENTS_FILE, job.kept_arguments())
    share = self._shares.get()
    try:
      with open(workdir / _LOG_FILE, 'ab') as log:
        code = self._call(job.command(self._folder), log, share)
    finally:
      self._shares.put(share)
    if code == 0:
      return ''
    lines = (workdir / _LOG_FILE).read_text(errors='replace').splitlines()
    return f'{job.name}: {lines[-1] if lines else f"exit status {code}"}'

  def _call(self, command, log, share) -> int:
    with self._lock:
      if self._stopped:
        return -signal.SIGTERM
      process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
      self._processes.add(process)
    if share:
      # Before the process has threads: it has yet to import anything.
      os.sched_setaffinity(process.pid, share)
    try:
      return process.wait()
    finally:
      with self._lock:
        self._processes.discard(process)
