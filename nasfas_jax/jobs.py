"""Many runs of the main module, each in a process of its own; resumable.

What is finished, because its results.json is there, is not run again.
"""

import concurrent.futures
import dataclasses
import json
import os
import pathlib
import queue
import subprocess
import sys
from collections.abc import Sequence

from nasfas_jax import progress, run_log

ARGUMENTS_FILE = 'arguments.json'
_LOG_FILE = 'log.txt'


@dataclasses.dataclass(frozen=True)
class Job:
  """One run.

  Attributes:
    name: its folder below that of all jobs.
    arguments: of `python -m nasfas_jax.main`, without --workdir.
  """

  name: str
  arguments: tuple[str, ...]

  def command(self, folder: pathlib.Path) -> list[str]:
    return [
      *(sys.executable, '-m', 'nasfas_jax.main'),
      *self.arguments,
      f'--workdir={folder / self.name}',
    ]


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
    RuntimeError: if jobs failed; the others have been run.
  """
  waiting = [job for job in jobs if not _finished(job, folder)]
  shares = queue.SimpleQueue()
  for share in cpu_shares(num_workers):
    shares.put(share)
  failed = []
  with (
    progress.bar('Running', len(jobs), len(jobs) - len(waiting)) as bar,
    concurrent.futures.ThreadPoolExecutor(num_workers) as pool,
  ):
    begun = [pool.submit(_run, job, folder, shares) for job in waiting]
    for future in concurrent.futures.as_completed(begun):
      if future.result():
        failed.append(future.result())
      bar.update(len(jobs) - sum(not future.done() for future in begun))
  if failed:
    raise RuntimeError(
      f'{len(failed)} of {len(jobs)} runs failed; the others are finished. '
      f'The first: {failed[0]}'
    )
  return {
    job.name: run_log.read_json(folder / job.name / 'results.json')
    for job in jobs
  }


def _finished(job: Job, folder: pathlib.Path) -> bool:
  path = folder / job.name / ARGUMENTS_FILE
  if path.exists():
    kept = run_log.read_json(path)
    if kept != list(job.arguments):
      raise ValueError(
        f'{path.parent} holds a run of other arguments: '
        f'{sorted(set(kept) ^ set(job.arguments))} differ. Choose another '
        '--workdir.'
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


def _run(job: Job, folder: pathlib.Path, shares) -> str:
  """Runs a job on a free share of the CPUs; returns what went wrong."""
  workdir = folder / job.name
  workdir.mkdir(parents=True, exist_ok=True)
  (workdir / ARGUMENTS_FILE).write_text(
    json.dumps(job.arguments), encoding='utf-8'
  )
  share = shares.get()
  try:
    with open(workdir / _LOG_FILE, 'ab') as log:
      process = subprocess.Popen(
        job.command(folder), stdout=log, stderr=subprocess.STDOUT
      )
      if share:
        # Before the process has threads: it has yet to import anything.
        os.sched_setaffinity(process.pid, share)
      code = process.wait()
  finally:
    shares.put(share)
  if code == 0:
    return ''
  lines = (workdir / _LOG_FILE).read_text(errors='replace').splitlines()
  return f'{job.name}: {lines[-1] if lines else f"exit status {code}"}'
