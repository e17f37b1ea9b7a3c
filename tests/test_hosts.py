"""What a process finds out about the other processes of its run."""

import json
import os
import subprocess
import sys
import threading

import jax
import pytest

from nasfas_jax import hosts, main, progress

SLURM = {
  'SLURM_JOB_ID': '7',
  'SLURM_STEP_NODELIST': 'node[1-2]',
  'SLURM_NTASKS': '2',
  'SLURM_PROCID': '1',
  'SLURM_LOCALID': '0',
}
POD = {'KUBERNETES_SERVICE_HOST': '10.0.0.1', 'JOB_COMPLETION_INDEX': '1'}


@pytest.mark.parametrize(
  ('given', 'message'),
  [
    (('auto', 2, None), "--num_hosts is 2, but --hosts is 'auto'"),
    (('off', None, 0), "--host_id is 0, but --hosts is 'off'"),
    (('on', None, None), "--hosts is 'on'; allowed: auto, off, or NAME:PORT"),
    (('here:0', 1, 0), 'a port from 1 to 65535'),
    (('here:65536', 1, 0), 'a port from 1 to 65535'),
    (('here:1', None, 0), 'give --num_hosts=N'),
    (('here:1', 2, None), 'and --host_id=I'),
    (('here:1', 0, 0), '--num_hosts is 0; allowed: 1 or more'),
    (('here:1', 2, 2), '--host_id is 2; allowed: 0 to 1'),
    (('here:1', 2, -1), '--host_id is -1; allowed: 0 to 1'),
  ],
)
def test_flags_that_do_not_go_together_are_refused(given, message):
  with pytest.raises(ValueError, match=message):
    hosts.start(*given)


@pytest.mark.parametrize('address', ['node1:80', '10.0.0.1:1', '[::1]:65535'])
def test_the_place_that_the_flags_say(address):
  assert hosts.given_place(address, 3, 2) == hosts.Place(address, 3, 2)


@pytest.mark.parametrize(
  ('environ', 'packages', 'found'),
  [
    ({}, (), ''),
    (SLURM, (), 'Slurm'),
    # An interactive shell, and a batch script outside its steps.
    ({**SLURM, 'SLURM_NTASKS': '1'}, (), ''),
    ({k: v for k, v in SLURM.items() if 'STEP' not in k}, (), ''),
    (POD, ('kubernetes',), 'Kubernetes'),
    # A pod that is not of an indexed job.
    ({'KUBERNETES_SERVICE_HOST': '10.0.0.1'}, (), ''),
    ({}, ('libtpu',), 'Cloud TPU'),
    ({'TPU_SKIP_MDS_QUERY': '1'}, ('libtpu',), ''),
    ({'JAX_PLATFORMS': 'cpu'}, ('libtpu',), ''),
    ({'TPU_WORKER_HOSTNAMES': 'a,b', **POD}, ('libtpu',), 'Cloud TPU'),
    ({'TPU_WORKER_HOSTNAMES': 'localhost'}, ('libtpu',), ''),
  ],
)
def test_the_cluster_is_recognised(environ, packages, found, monkeypatch):
  monkeypatch.setattr(hosts, '_has', lambda name: name in packages)
  assert hosts.cluster(environ) == found


def test_a_pod_that_cannot_ask_for_the_others_is_no_run_of_its_own(monkeypatch):
  monkeypatch.setattr(hosts, '_has', lambda name: False)
  with pytest.raises(ValueError, match='--hosts=off if each pod is a run'):
    hosts.cluster(POD)


def test_one_process_asks_nobody():
  assert hosts.gather('text') == ['text']
  assert hosts.first(lambda: 3) == 3
  assert hosts.label() == ''
  hosts.check_same('config', {'seed': 0})
  hosts.check_loss(jax.errors.JaxRuntimeError('Gloo'))
  hosts.finish()


@pytest.fixture
def as_host(monkeypatch):
  """Makes this process one of two hosts, as far as `hosts` is concerned.

  A callable of its number and of the other's text.
  """

  def call(index, theirs=''):
    monkeypatch.setattr(jax, 'process_count', lambda: 2)
    monkeypatch.setattr(jax, 'process_index', lambda: index)
    monkeypatch.setattr(
      hosts,
      'gather',
      lambda mine: [mine, theirs] if index == 0 else [theirs, mine],
    )

  return call


def test_only_host_0_does_the_work_and_the_other_has_its_result(as_host):
  as_host(0)
  assert hosts.first(lambda: [1, 2]) == [1, 2]
  as_host(1, json.dumps({'result': [1, 2]}))
  assert hosts.first(lambda: pytest.fail('it must not work')) == [1, 2]


def test_an_error_of_host_0_is_one_on_all_hosts(as_host):
  as_host(0)
  with pytest.raises(FileNotFoundError, match='no file'):
    hosts.first(lambda: (_ for _ in ()).throw(FileNotFoundError('no file')))
  as_host(1, json.dumps({'error': 'no file'}))
  with pytest.raises(ValueError, match='Host 0 says: no file'):
    hosts.first(lambda: None)


def test_a_host_with_another_config_is_named_on_all(as_host):
  theirs = json.dumps({'seed': 1})
  for index in (0, 1):
    as_host(index, theirs)
    host, there, here = (1, 1, 0) if index == 0 else (1, 0, 1)
    with pytest.raises(
      ValueError, match=f'Host {host} has another config than.*{there}.*{here}'
    ):
      hosts.check_same('config', {'seed': 0})
  as_host(0, json.dumps({'seed': 0}))
  hosts.check_same('config', {'seed': 0})


def test_a_long_wait_for_the_others_is_said(monkeypatch):
  texts, said = [], threading.Event()

  def say(text):
    texts.append(text)
    said.set()

  monkeypatch.setattr(progress, 'say', say)
  with hosts._saying_if_long('not this one'):
    pass
  monkeypatch.setattr(hosts, '_SILENCE', 0.01)
  with hosts._saying_if_long('still waiting'):
    assert said.wait(60)
  assert texts == ['still waiting']


def test_a_muted_process_says_nothing(monkeypatch, capsys):
  monkeypatch.setattr(progress, '_muted', False)
  progress.mute()
  progress.say('a line')
  with progress.stage('Compiling'), progress.bar('Training', 2) as bar:
    bar.update(2)
  assert capsys.readouterr().err == ''


def test_what_several_hosts_cannot_share_is_refused(as_host, tmp_path):
  from nasfas_configs import report

  as_host(0)
  with pytest.raises(ValueError, match='with several hosts: search, train, ev'):
    main.run(report.get_config(), tmp_path)


@pytest.mark.parametrize(
  ('joined', 'said', 'line'),
  [
    (
      True,
      'stopped sending heartbeats):\n1\n3\nThe tasks',
      'Host 1, 3 is gone',
    ),
    (True, 'Either the leader task was preempted', 'Host 0 is gone'),
    (True, 'DEADLINE_EXCEEDED: x', 'Host 0 is gone'),
    (False, 'DEADLINE_EXCEEDED: x', 'The other hosts did not come in 600 s'),
    (True, 'UNAVAILABLE: Task 3 heartbeat timeout. This', 'Host 3 is gone'),
    (True, '', 'Another host is gone'),
  ],
)
def test_the_line_of_a_loss_names_who_is_gone(
  joined, said, line, monkeypatch, tmp_path
):
  ended = []
  monkeypatch.setattr(hosts, '_ending', threading.Lock())
  monkeypatch.setattr(hosts, '_joined', hosts._Joined(60) if joined else None)
  monkeypatch.setattr(hosts.stopping, 'end', ended.append)
  with open(tmp_path / 'said', 'wb') as file:
    hosts._lost(file.fileno(), said, 'host 0 of 4')
  text = (tmp_path / 'said').read_text()
  assert text.startswith(f'error: {line}; this is host 0 of 4. ')
  assert text.count('\n') == 1
  assert ended == [hosts.LOST]


def test_two_threads_that_notice_a_loss_say_one_line(monkeypatch, tmp_path):
  ending, ended = threading.Event(), threading.Event()

  def end(status):
    # The process takes a moment to end.
    ending.set()
    ended.wait()

  monkeypatch.setattr(hosts, '_ending', threading.Lock())
  monkeypatch.setattr(hosts.stopping, 'end', end)
  with open(tmp_path / 'said', 'wb') as file:
    threads = [
      threading.Thread(
        target=hosts._lost, args=(file.fileno(), '', 'host 1 of 2'), daemon=True
      )
      for _ in range(2)
    ]
    for thread in threads:
      thread.start()
    assert ending.wait(10)
    threads[1].join(0.1)
    said = (tmp_path / 'said').read_text()
    ended.set()
    hosts._ending.release()
    for thread in threads:
      thread.join(10)
  assert said.count('\n') == 1


def test_an_entry_that_is_no_loss_is_left_out_with_all_its_lines(tmp_path):
  reading, writing = os.pipe()
  os.write(
    writing,
    b'W1127 00:00:00.0 1 preemption_sync_manager.cc:100] UNAVAILABLE\n'
    b'Additional GRPC error information from remote target coordination_service'
    b' while calling /xla.coordination.CoordinationService/GetKeyValue:\n'
    b':UNKNOWN:Error received from peer  {grpc_message:"Socket closed"}.\n'
    b'error of something else\n',
  )
  os.close(writing)
  with open(tmp_path / 'said', 'wb') as file:
    hosts._pass_on(reading, file.fileno(), 'host 1 of 2')
  os.close(reading)
  assert (tmp_path / 'said').read_text() == 'error of something else\n'


@pytest.mark.parametrize(
  'error',
  [
    jax.errors.JaxRuntimeError('INTERNAL: Gloo all-reduce failed: closed'),
    # Of an allgather outside a program.
    ValueError('UNKNOWN: Gloo AllGather failed: Read error [127.0.0.1]:1'),
  ],
)
def test_a_collective_that_fails_is_a_loss_whatever_its_class(
  error, monkeypatch
):
  class Ended(Exception):
    pass

  def lost(real, said):
    raise Ended

  monkeypatch.setattr(hosts, '_joined', hosts._Joined(60))
  monkeypatch.setattr(hosts, '_lost', lost)
  wrapped = OSError('it could not be written')
  wrapped.__cause__ = error
  for one in (error, wrapped):
    with pytest.raises(Ended):
      hosts.check_loss(one)


def test_an_error_of_this_host_is_its_only_line(monkeypatch):
  """A loss that is noticed while it is printed adds none."""
  ending, slept = threading.Lock(), []
  monkeypatch.setattr(hosts, '_ending', ending)
  monkeypatch.setattr(hosts, '_joined', hosts._Joined(60))
  monkeypatch.setattr(hosts.time, 'sleep', slept.append)
  hosts.check_loss(ValueError('config.seed is -1'))
  assert ending.locked() and not slept
  ending.release()
  # Perhaps that of a loss: the runtime has the time to say so.
  hosts.check_loss(RuntimeError('UNAVAILABLE: failed to connect'))
  assert ending.locked() and slept[0] > 60


def test_a_runtime_that_aborts_at_once_ends_in_one_line_too():
  """It logs why and aborts, before any other thread has read that."""
  done = subprocess.run(
    [
      sys.executable,
      '-c',
      """
import ctypes
from nasfas_jax import hosts
hosts._watch_for_losses('host 1 of 2')
line = b'F1 client.h] Terminating process because the JAX distributed service'
line += b' detected fatal errors: Either the leader task was preempted\\n'
# With Python's lock, so that its threads wait until the abort.
ctypes.PyDLL(None).write(2, line, len(line))
ctypes.CDLL(None).abort()
""",
    ],
    stderr=subprocess.PIPE,
    text=True,
    timeout=120,
    check=False,
  )
  assert done.returncode == hosts.LOST, done.stderr
  assert done.stderr.startswith('error: Host 0 is gone; this is host 1 of 2. ')
  assert done.stderr.count('\n') == 1
