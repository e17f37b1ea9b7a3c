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

import dataclasses
import importlib.util
import os
import re
from collections.abc import Mapping

import jax

# The status of a host that another one left alone: "temporary failure".
LOST = 75

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


def start(
  hosts: str = 'auto',
  num_hosts: int | None = None,
  host_id: int | None = None,
  *,
  timeout: int = 60,
) -> None:
  """Joins the other hosts, if there are any; call it before any computation.

  Args:
    hosts: see the flags above, as the others.
    num_hosts: see above.
    host_id: see above.
    timeout: seconds.

  Raises:
    ValueError: for flags that do not go together, or if the cluster does not
      say who the other hosts are.
  """
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
  try:
    jax.distributed.initialize(**given, heartbeat_timeout_seconds=timeout)
  except (RuntimeError, ValueError, OSError) as error:
    who = f'host {place.host_id} of {place.num_hosts}' if place else found
    reason = str(error).strip().splitlines()[:1]
    raise ValueError(
      f'The hosts of this run do not find each other ({who}: '
      f'{"".join(reason)}). --hosts=off runs one process alone.'
    ) from error
