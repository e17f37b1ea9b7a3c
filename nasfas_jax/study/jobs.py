"""Many runs of the main module, each in a process of its own; resumable.

What is finished, because its results.json is there, is not run again. A stop
(Ctrl-C, a SIGTERM) stops the runs as well and begins no other.
"""

import concurrent.futures
import dataclasses
import functools
import json
import os
import pathlib
import queue
import re
import signal
import subprocess
import sys
import threading
import types
from collections.abc import Sequence
from typing import NamedTuple

from nasfas_jax import files, progress, run_config, stopping
from nasfas_jax.models import genotypes

ARGUMENTS_FILE = 'arguments.json'
_LOG_FILE = 'log.txt'
# The most seeds that a training takes side by side.
_MOST_SEEDS = 64


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


class _Process(NamedTuple):
  """A process to be started, and the jobs whose results it leaves."""

  job: Job
  parts: tuple[Job, ...]


def side_by_side(jobs: Sequence[Job]) -> list[_Process]:
  """Makes one process of trainings that differ in their seed only.

  Such jobs are named PARENT/seedN, have the argument --config.seed=N, and are
  all that PARENT has; their seeds are consecutive. One training with
  config.train.num_seeds in the folder PARENT then leaves what each of them
  would, but for rounding. The choice depends on the list alone, not on what is
  finished, so that what was stopped is resumed as it was begun.

  Args:
    jobs: the jobs.

  Returns:
    The processes, each in the place of its first job.
  """
  by_parent = {}
  for job in jobs:
    parent = job.name.rpartition('/')[0]
    by_parent.setdefault(parent, []).append(job)
  joined = {}
  for parent, parts in by_parent.items():
    if one := _join(parent, parts):
      joined |= dict.fromkeys((part.name for part in parts), one)
  found = {}
  for job in jobs:
    one = joined.get(job.name, _Process(job, (job,)))
    found.setdefault(one.job.name, one)
  return list(found.values())


def _join(parent: str, parts: Sequence[Job]) -> _Process | None:
  """The training of some seeds side by side; None if they are not that."""
  seeds, others = {}, set()
  for part in parts:
    match = re.fullmatch(r'seed(\d+)', part.name.rpartition('/')[2])
    flag = f'--config.seed={match[1]}' if match else ''
    if part.arguments.count(flag) != 1:
      return None
    seeds[int(match[1])] = part
    rest = tuple(text for text in part.arguments if text != flag)
    others.add((rest, part.inputs))
  first, number = min(seeds), len(parts)
  if (
    not parent
    or len(others) > 1
    or not 1 < number <= _MOST_SEEDS
    or sorted(seeds) != list(range(first, first + number))
  ):
    return None
  ((rest, inputs),) = others
  if rest[:1] != ('--config=train',):
    return None
  flags = (f'--config.seed={first}', f'--config.train.num_seeds={number}')
  together = Job(parent, (*rest, *flags), inputs)
  return _Process(together, tuple(seeds[seed] for seed in sorted(seeds)))


def run(
  jobs: Sequence[Job],
  folder: pathlib.Path,
  num_workers: int = 1,
  *,
  together: bool = False,
) -> dict[str, dict]:
  """Runs the jobs that are not finished.

  Args:
    jobs: in the order in which they are begun.
    folder: of all of them.
    num_workers: processes at a time; the CPUs are shared out evenly.
    together: see `side_by_side`. Where only some of the seeds are finished,
      the others are run one by one.

  Returns:
    The results.json of every job, by its name.

  Raises:
    ValueError: if a job's folder holds a run of other arguments.
    ChildProcessError: if jobs failed; the others have been run.
  """
  waiting = _waiting(jobs, folder, together)
  left = sum(len(one.parts) for one in waiting)
  workers = _Workers(folder, cpu_shares(num_workers))
  failed = []
  with (
    stopping.handled_by(_stop, signal.SIGTERM),
    progress.bar('Running', len(jobs), len(jobs) - left) as bar,
    concurrent.futures.ThreadPoolExecutor(num_workers) as pool,
  ):
    try:
      begun = {pool.submit(workers.run, one): one for one in waiting}
      for future in concurrent.futures.as_completed(begun):
        number = len(begun[future].parts)
        if future.result():
          failed += [future.result()] * number
        left -= number
        bar.update(len(jobs) - left)
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


def _waiting(
  jobs: Sequence[Job], folder: pathlib.Path, together: bool
) -> list[_Process]:
  """The processes of the jobs that are not finished."""
  alone = [_Process(job, (job,)) for job in jobs]
  found = []
  for one in side_by_side(jobs) if together else alone:
    left = [part for part in one.parts if not is_finished(part, folder)]
    if len(left) == len(one.parts) and not _is_taken(one, folder):
      found.append(one)
    else:
      found += [_Process(part, (part,)) for part in left]
  return found


def _is_taken(one: _Process, folder: pathlib.Path) -> bool:
  """Whether the folder of seeds side by side has a training of other seeds.

  So it is where a study begins some seeds first, and others later.
  """
  path = folder / one.job.name / run_config.FILE
  if len(one.parts) == 1 or not path.exists():
    return False
  kept = run_config.load(path)
  flags = (
    f'--config.seed={kept["seed"]}',
    f'--config.train.num_seeds={kept["train"]["num_seeds"]}',
  )
  return not all(flag in one.job.arguments for flag in flags)


def _stop(number: int, frame: types.FrameType | None) -> None:
  """Lets SIGTERM end the runs in order, as Ctrl-C does."""
  del number, frame
  raise stopping.Preempted


def keep_genotype(path: pathlib.Path, genotype: genotypes.Genotype) -> None:
  """Writes a genotype that jobs read, unless it is there.

  Raises:
    ValueError: if another one is there.
  """
  if not path.exists():
    genotype.save(path)
  elif genotypes.load(path) != genotype:
    raise ValueError(
      f'{path} is another genotype than the one that the study asks for now. '
      'Choose another --workdir.'
    )


def is_finished(job: Job, folder: pathlib.Path) -> bool:
  """Whether a job's results are there.

  Raises:
    ValueError: if its folder holds a run of other arguments, or a search or a
      training that took another default for what the arguments do not set.
  """
  path = folder / job.name / ARGUMENTS_FILE
  if path.exists():
    kept = set(files.read_json(path))
    if differing := sorted(kept ^ set(job.kept_arguments())):
      raise ValueError(
        f'{path.parent} holds a run of other arguments: {differing} differ. '
        'Choose another --workdir.'
      )
  if not (path.parent / 'results.json').exists():
    return False
  _check_defaults(job, path.parent)
  return True


# Fields that a run records as it settled them: 'auto', and what a genotype
# chose.
_SETTLED = ('dtype', 'input.fusion')


def _check_defaults(job: Job, workdir: pathlib.Path) -> None:
  """Refuses a finished run whose defaults are not those of its config now.

  Of an evaluation the config is that of the run that it judges.
  """
  arguments = job.kept_arguments()
  name = ''.join(arguments[:1]).removeprefix('--config=')
  path = workdir / run_config.FILE
  if name.partition(':')[0] not in ('search', 'train') or not path.exists():
    return
  given = {a.partition('=')[0].removeprefix('--config.') for a in arguments}
  then = run_config.flatten(run_config.load(path))
  if differing := [
    f'config.{field}: {then[field]!r} there, {value!r} now'
    for field, value in _defaults(name).items()
    if field not in given
    and field not in (*run_config.FREE_FIELDS, *_SETTLED)
    # A field that is newer than the run had its default there.
    and then.get(field, value) != value
  ]:
    raise ValueError(
      f'{str(workdir)!r} holds a run of other defaults '
      f'({"; ".join(differing)}). Choose another --workdir.'
    )


@functools.cache
def _defaults(name: str) -> dict[str, object]:
  """Path -> default of each field of a config, as a config.json says it."""
  fields = run_config.flatten(run_config.by_name(name))
  return json.loads(json.dumps(fields))


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

  def run(self, one: _Process) -> str:
    """Runs a process on a free share of the CPUs; returns what went wrong."""
    job = one.job
    workdir = self._folder / job.name
    for part in one.parts:
      path = self._folder / part.name / ARGUMENTS_FILE
      files.write_json(path, part.kept_arguments())
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
