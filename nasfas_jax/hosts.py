"""Several processes that make one run: how they find each other.

A host is one process of the run: one a machine, which has all devices of that
machine, or one of several on a machine. Every host gets the same command. Host
0 coordinates, writes the files of the run, and alone says its progress.

The interface, which launch/ relies on:

  --hosts=auto (the default)
    One process, unless it is one of several tasks of a Slurm step, a pod of an
    indexed Kubernetes job, or a worker of a Cloud TPU slice. JAX then knows
    address, number and id.
  --hosts=off
    One process, whatever is around it.
  --hosts=NAME:PORT --num_hosts=N --host_id=I
    Host I of N; all three are needed. NAME:PORT is where host 0 listens: a name
    or an IP address of its machine that all hosts reach, and a port that is
    free there.
  --host_timeout=SECONDS (default 60)
    A host that has been silent for so long is given up by the others.

So N processes on this machine are, for I from 0 to N - 1:

  python -m nasfas_jax.main --config=search --workdir=DIR \\
    --hosts=127.0.0.1:PORT --num_hosts=N --host_id=I

A host uses the devices that it sees. On CPU that is one. On one machine with
several GPUs, one process has all of them; for a process a GPU, set
CUDA_VISIBLE_DEVICES to I. All hosts must see the same workdir and the same
prepared data, on a shared file system or in a remote folder.

Exit statuses are those of a single process, and `LOST` if another host died or
never came: the same command, on all hosts, then goes on from the last
checkpoint. It may have another number of hosts.
"""

import contextlib
import ctypes
import dataclasses
import faulthandler
import importlib.util
import json
import os
import re
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from nasfas_jax import progress, stopping

# The status of a host that another one left alone. A launcher starts the same
# command again.
LOST = stopping.PREEMPTED

_SLURM = (
  'SLURM_JOB_ID',
  'SLURM_STEP_NODELIST',
  'SLURM_NTASKS',
  'SLURM_PROCID',
  'SLURM_LOCALID',
)
_TPU_WORKERS = ('TPU_PROCESS_ADDRESSES', 'TPU_WORKER_HOSTNAMES')


@dataclasses.dataclass(frozen=True)
class Place:
  """The place of this process among the hosts.

  Attributes:
    coordinator: NAME:PORT of host 0.
    num_hosts: number of hosts.
    host_id: of this process, from 0.
  """

  coordinator: str
  num_hosts: int
  host_id: int


def given_place(
  hosts: str, num_hosts: int | None, host_id: int | None
) -> Place | None:
  """The place that the flags of these names say; None for 'auto' and 'off'.

  Raises:
    ValueError: for flags that do not go together; names them.
  """
  if hosts in ('auto', 'off'):
    for name, value in (('num_hosts', num_hosts), ('host_id', host_id)):
      if value is not None:
        raise ValueError(
          f'--{name} is {value}, but --hosts is {hosts!r}; it goes with '
          '--hosts=NAME:PORT, where host 0 listens.'
        )
    return None
  match = re.fullmatch(r'(\S+):(\d{1,5})', hosts)
  if not match or not 0 < int(match[2]) < 1 << 16:
    raise ValueError(
      f'--hosts is {hosts!r}; allowed: auto, off, or NAME:PORT of host 0 with '
      'a port from 1 to 65535.'
    )
  if num_hosts is None or host_id is None:
    raise ValueError(
      f'--hosts is {hosts!r}: give --num_hosts=N, the number of hosts, and '
      '--host_id=I, the number of this one from 0.'
    )
  if num_hosts < 1:
    raise ValueError(f'--num_hosts is {num_hosts}; allowed: 1 or more.')
  if not 0 <= host_id < num_hosts:
    raise ValueError(
      f'--host_id is {host_id}; allowed: 0 to {num_hosts - 1}, since '
      f'--num_hosts is {num_hosts}.'
    )
  return Place(hosts, num_hosts, host_id)


def cluster(environ: Mapping[str, str]) -> str:
  """The cluster that runs this process as one of several; '' for none.

  Args:
    environ: the environment, after the import of jax, which sets
      TPU_SKIP_MDS_QUERY where there is no TPU.

  Raises:
    ValueError: in an indexed Kubernetes job without the package that asks
      Kubernetes for the other pods.
  """
  if all(name in environ for name in _SLURM):
    # A step of one task, such as an interactive shell, has no others.
    return 'Slurm' if environ['SLURM_NTASKS'] != '1' else ''
  workers = [environ[name] for name in _TPU_WORKERS if name in environ]
  if environ.get('JAX_PLATFORMS', 'tpu').startswith('tpu') and _has('libtpu'):
    # On Kubernetes the names are in the environment, elsewhere JAX asks.
    if workers and ',' in workers[0]:
      return 'Cloud TPU'
    if not workers and 'TPU_SKIP_MDS_QUERY' not in environ:
      return 'Cloud TPU'
  if 'KUBERNETES_SERVICE_HOST' in environ and (
    'JOB_COMPLETION_INDEX' in environ
  ):
    if not _has('kubernetes'):
      raise ValueError(
        'This is a pod of an indexed Kubernetes job, and the package '
        'kubernetes, which finds the other pods, is not here: pip install '
        "'jax[k8s]', or give --hosts=NAME:PORT --num_hosts=N --host_id=I, or "
        '--hosts=off if each pod is a run of its own.'
      )
    return 'Kubernetes'
  return ''


def _has(package: str) -> bool:
  return importlib.util.find_spec(package) is not None


# Seconds that hosts wait for each other at the start and at the end: a machine
# may have to fetch the program first, or host 0 to write its report.
_PATIENCE = 600
# Seconds of waiting at the start after which that is said.
_SILENCE = 120
# Seconds after the timeout until which the runtime has noticed a loss.
_MARGIN = 30
# What JAX's runtime logs, in C++, when it has lost the other hosts. It then
# ends the process by SIGABRT.
_LOSS = re.compile(
  rb'propagate the following error to all tasks'
  rb'|Polled an error from coordination service'
  rb'|Shutdown barrier in coordination service has failed'
  rb'|Terminating process because the JAX distributed service'
)
# Where it says which ones.
_GONE = re.compile(
  r'(?:heartbeats\):\s*|Task (?=\d+ heartbeat timeout))((?:\d+[\s,]*)+)'
)
# How the text of an error of the runtime begins, whatever its class in Python.
_OF_RUNTIME = re.compile(
  '(?:ABORTED|CANCELLED|DEADLINE_EXCEEDED|FAILED_PRECONDITION|INTERNAL|UNKNOWN'
  '|UNAVAILABLE): '
)
# What it logs beside, with the next lines of that entry, and what it says of a
# good start.
_NOISE = re.compile(
  rb'preemption_sync_manager\.cc:|^\[Gloo\] Rank \d+ is '
  rb'|^Additional GRPC error information from remote target coordination_'
  rb'|^:UNKNOWN:Error received from peer '
)


@dataclasses.dataclass
class _Joined:
  """What a process knows once it has joined others.

  Attributes:
    timeout: seconds after which a silent host is given up.
    name: of this host, for messages, once it has met the others.
  """

  timeout: int
  name: str = ''


_joined: _Joined | None = None


def start(
  hosts: str = 'auto',
  num_hosts: int | None = None,
  host_id: int | None = None,
  *,
  timeout: int = 60,
) -> None:
  """Joins the other hosts, if there are any; call it before any computation.

  It touches no device, so that these may still be set up.

  Args:
    hosts: see the flags above, as the others.
    num_hosts: see above.
    host_id: see above.
    timeout: seconds.

  Raises:
    ValueError: for flags that do not go together, or if the cluster does not
      say who the other hosts are.
  """
  global _joined
  place = given_place(hosts, num_hosts, host_id)
  found = cluster(os.environ) if hosts == 'auto' else ''
  if place is None and not found:
    return
  # Of CPUs; other devices have their own.
  jax.config.update('jax_cpu_collectives_implementation', 'gloo')
  given = {}
  if place is not None:
    given = {
      'coordinator_address': place.coordinator,
      'num_processes': place.num_hosts,
      'process_id': place.host_id,
      'cluster_detection_method': 'deactivate',
    }
  who = f'host {place.host_id} of {place.num_hosts}' if place else found
  _watch_for_losses(who)
  where = f' at {place.coordinator}' if place else ''
  try:
    with (
      _saying_if_long(
        f'Still waiting for the other hosts{where}; this is {who}.'
      ),
      stopping.heeded_in_c_code('waiting for the other hosts'),
    ):
      jax.distributed.initialize(
        **given,
        heartbeat_timeout_seconds=timeout,
        initialization_timeout=_PATIENCE,
        shutdown_timeout_seconds=_PATIENCE,
      )
  except (RuntimeError, ValueError, OSError) as error:
    reason = str(error).strip().splitlines()[:1]
    raise ValueError(
      f'The hosts of this run do not find each other ({who}{where}: '
      f'{"".join(reason)}). --hosts=off runs one process alone.'
    ) from error
  _joined = _Joined(timeout)


@contextlib.contextmanager
def _saying_if_long(text: str) -> Iterator[None]:
  """Says a text if the block takes longer than `_SILENCE` seconds."""
  timer = threading.Timer(_SILENCE, progress.say, [text])
  timer.daemon = True
  timer.start()
  try:
    yield
  finally:
    timer.cancel()


def meet() -> None:
  """Finds the devices of all hosts; then only host 0 says its progress."""
  if _joined is None:
    return
  _joined.name = f'host {jax.process_index()}'
  if jax.process_index():
    progress.mute()
  else:
    progress.say(
      f'{jax.process_count()} hosts with {len(jax.devices())} devices'
    )


def finish() -> None:
  """Waits for the other hosts at the end of a run, and leaves them."""
  if _joined is not None:
    jax.distributed.shutdown()


@contextlib.contextmanager
def ending_at_once() -> Iterator[None]:
  """Ends a process that has joined others at once, after an error.

  The interpreter's own end would wait for the other hosts, which wait for this
  one.
  """
  try:
    yield
  except SystemExit as stop:
    if _joined is not None and stop.code:
      stopping.end(stop.code)
    raise
  except BaseException:
    if _joined is not None:
      traceback.print_exc()
      stopping.end(1)
    raise


def label() -> str:
  """What tells the errors of this host from those of others; '' for one."""
  return f' ({_joined.name})' if _joined is not None and _joined.name else ''


def check_loss(error: BaseException) -> None:
  """Ends the process with `LOST` if an error comes of the loss of a host.

  A collective operation fails at once on some devices and hangs on others. If
  it failed, the runtime knows after the timeout whether a host was lost; until
  then this waits. It returns if the error is this host's own, which is then
  what ends it.
  """
  if _joined is None:
    return
  chain = []
  while error is not None and error not in chain:
    chain.append(error)
    error = error.__cause__ or error.__context__
  # JAX makes a ValueError of some of them.
  failed = [
    one
    for one in chain
    if isinstance(one, jax.errors.JaxRuntimeError)
    or _OF_RUNTIME.match(str(one))
  ]
  if any('Gloo' in str(one) for one in failed):
    _lost(sys.stderr.fileno(), '')
  if failed:
    time.sleep(_joined.timeout + _MARGIN)
  # No line about a loss after that of this error.
  _ending.acquire()


def gather(text: str) -> list[str]:
  """The texts of all hosts, by their number; all of them call it together."""
  if jax.process_count() == 1:
    return [text]
  content = np.frombuffer(text.encode(), np.uint8)
  sizes = multihost_utils.process_allgather(np.int32(content.size)).tolist()
  # Of few sizes, since each compiles a program.
  room = 1 << max(8, (max(sizes) - 1).bit_length())
  padded = np.zeros(room, np.uint8)
  padded[: content.size] = content
  rows = multihost_utils.process_allgather(padded)
  return [
    row[:size].tobytes().decode() for row, size in zip(rows, sizes, strict=True)
  ]


def first(work: Callable[[], Any]) -> Any:
  """What `work` returns on host 0, which alone does it; as JSON to the others.

  All hosts call it together, and go on when it is done.

  Raises:
    ValueError, OSError: that of host 0, as a ValueError on the others.
  """
  if jax.process_count() == 1:
    return work()
  answer, failure = {}, None
  if jax.process_index() == 0:
    try:
      answer = {'result': work()}
    except (ValueError, OSError) as error:
      answer, failure = {'error': str(error)}, error
  told = json.loads(gather(json.dumps(answer))[0])
  if failure is not None:
    raise failure
  if 'error' in told:
    raise ValueError(f'Host 0 says: {told["error"]}')
  return told['result']


def check_same(what: str, mine: object) -> None:
  """Raises ValueError on all hosts unless a JSON value is the same on all."""
  if jax.process_count() == 1:
    return
  values = gather(json.dumps(mine, sort_keys=True))
  for host, value in enumerate(values):
    if value != values[0]:
      differing = _differing(values[0], value)
      raise ValueError(
        f'Host {host} has another {what} than host 0: {differing}.'
      )


def _differing(ours: str, theirs: str) -> str:
  """Where two texts begin to differ."""
  place = len(os.path.commonprefix([ours, theirs]))
  begin = max(0, place - 40)
  return f'...{theirs[begin : place + 60]!r} for {ours[begin : place + 60]!r}'


def _watch_for_losses(who: str) -> None:
  """Makes the end of a process that has lost the others one line and `LOST`.

  JAX's runtime ends such a process by SIGABRT, after pages of text that C++
  writes to file 2. So what is written there goes through a pipe to a thread,
  which passes it on, or ends the process at the first sign of a loss. What
  Python writes does not take that way, nor do the tracebacks of a crash.

  Args:
    who: this host, for the line.
  """
  real = os.dup(2)
  sys.stderr.flush()
  sys.stderr = open(  # noqa: SIM115
    real, 'w', buffering=1, encoding='utf-8', errors='backslashreplace'
  )
  faulthandler.enable(sys.stderr)
  _wait_in_aborts()
  reading, writing = os.pipe()
  os.dup2(writing, 2)
  os.close(writing)
  threading.Thread(
    target=_pass_on, args=(reading, real, who), daemon=True
  ).start()


def _wait_in_aborts() -> None:
  """Lets a thread that aborts the process wait for some seconds before.

  The runtime logs its last line and aborts at once. The thread that reads the
  line needs that time, the more so where other processes are at work. The
  handler is C code, since the aborting thread is the runtime's: `sleep` itself,
  whose argument is then the number of the signal, 6 on all systems.
  """
  libc = ctypes.CDLL(None)
  handler = ctypes.cast(libc.sleep, ctypes.c_void_p)
  libc.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
  libc.signal.restype = ctypes.c_void_p
  libc.signal(signal.SIGABRT, handler)


def _pass_on(reading: int, real: int, who: str) -> None:
  """Passes on the lines of a pipe; ends the process at a sign of a loss."""
  rest = b''
  while chunk := os.read(reading, 1 << 16):
    *lines, rest = (rest + chunk).split(b'\n')
    for place, line in enumerate(lines):
      if _LOSS.search(line):
        said = b'\n'.join([*lines[place:], rest])
        # The numbers of the lost hosts may be in the next lines.
        while (
          b'CoordinationServiceError' not in said
          and (select.select([reading], [], [], 0.02)[0])
        ):
          said += os.read(reading, 1 << 16)
        _lost(real, said.decode(errors='replace'), who)
      if not _NOISE.search(line):
        os.write(real, line + b'\n')
    if rest and not select.select([reading], [], [], 1.0)[0]:
      # The beginning of a line that nobody ends.
      os.write(real, rest)
      rest = b''


# Held by the thread that ends the process: the one that computes and the one
# that reads what the runtime logs may both notice the same loss.
_ending = threading.RLock()


def _lost(real: int, said: str, who: str = '') -> None:
  """Ends the process; the line names the lost hosts if `said` does."""
  _ending.acquire()
  who = who or f'host {jax.process_index()} of {jax.process_count()}'
  found = _GONE.search(said)
  if found:
    gone = f'Host {", ".join(re.findall(r"[0-9]+", found[1]))} is gone'
  elif _joined is None and 'DEADLINE_EXCEEDED' in said:
    gone = f'The other hosts did not come in {_PATIENCE} s'
  elif 'leader task' in said or 'DEADLINE_EXCEEDED' in said:
    # Host 0 is the one that all others ask.
    gone = 'Host 0 is gone'
  else:
    gone = 'Another host is gone'
  # Not behind a progress bar.
  line = '\n' if os.isatty(real) else ''
  line += (
    f'error: {gone}; this is {who}. What was saved is kept: the same command '
    'on all hosts, of this number or another, goes on from there.\n'
  )
  os.write(real, line.encode())
  stopping.end(LOST)
