"""What a process finds out about the other processes of its run."""

import pytest

from nasfas_jax import hosts

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
