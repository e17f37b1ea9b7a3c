"""Several local processes make the run that one process makes.

They are slow, so they run on demand only:

  pytest -n 0 -m slow_processes tests/hosts
"""

import addresses
import local_hosts
import numpy as np
import pytest

pytestmark = pytest.mark.slow_processes
# Two cores run four processes one after another.
PROCESSES = [2, pytest.param(4, marks=pytest.mark.on_demand)]


@pytest.fixture(scope='module')
def made(first_data_dir, tmp_path_factory):
  """(number of processes, devices of each) -> the folder of its runs.

  Of version 1.0.0, as the figures in docs/hosts.md, which also says what
  happened on 2.0.0.
  """
  found = {}

  def make(processes, devices):
    key = processes, devices
    if key not in found:
      folder = tmp_path_factory.mktemp(f'p{processes}d{devices}')
      address = addresses.free_address()
      command = [
        [
          str(local_hosts.HERE / 'process.py'),
          *(str(first_data_dir), str(folder), address),
          *(str(processes), str(host)),
        ]
        for host in range(processes)
      ]
      started = local_hosts.start(command, folder / 'logs', devices)
      local_hosts.finish(started, folder / 'logs')
      found[key] = folder
    return found[key]

  return make


@pytest.mark.parametrize('variant', ['plain', 'tasks'])
@pytest.mark.parametrize('processes', PROCESSES)
def test_several_processes_make_the_run_of_one(made, processes, variant):
  one, several = made(1, 1) / variant, made(processes, 1) / variant
  found = local_hosts.difference(one, several)
  print(f'{variant}: {processes} processes and one: {found:.1e}')
  assert found <= local_hosts.TOLERANCE
  with np.load(one / 'samples.npz') as a, np.load(several / 'samples.npz') as b:
    np.testing.assert_array_equal(a['clip_id'], b['clip_id'])
    np.testing.assert_array_equal(a['image'], b['image'])
    np.testing.assert_allclose(a['predicted'], b['predicted'], atol=1e-3)
  for name in ('config.json', 'data.json', 'report/index.html'):
    assert (several / name).stat().st_size


@pytest.mark.on_demand
@pytest.mark.parametrize('variant', ['plain', 'tasks'])
def test_with_as_many_devices_they_are_as_one_process(made, variant):
  """One process with the devices that the two have together."""
  found = local_hosts.difference(made(1, 2) / variant, made(2, 1) / variant)
  print(f'{variant}: 2 processes and one with 2 devices: {found:.1e}')
  assert found <= local_hosts.TOLERANCE


@pytest.mark.parametrize('processes', PROCESSES)
def test_several_processes_judge_as_one_does(made, processes):
  one, several = made(1, 1) / 'judged', made(processes, 1) / 'judged'
  (ids, mine), (other_ids, other) = (
    local_hosts.scores(one),
    local_hosts.scores(several),
  )
  assert ids == other_ids
  np.testing.assert_allclose(mine, other, atol=local_hosts.TOLERANCE)


def test_only_host_0_speaks(made):
  logs = made(2, 1) / 'logs'
  assert '2 hosts with 2 devices' in (logs / '0.txt').read_text()
  assert (logs / '1.txt').read_text() == ''


@pytest.mark.on_demand
def test_two_processes_train_several_seeds_as_one_does(tiny_data_dir, tmp_path):
  seeds = '--config.train.num_seeds=2'
  for number in (1, 2):
    command = local_hosts.main_command(
      tiny_data_dir, tmp_path / f'p{number}', number, seeds
    )
    logs = tmp_path / f'logs{number}'
    local_hosts.finish(local_hosts.start(command, logs), logs)
  for seed in ('seed0', 'seed1'):
    one, two = (tmp_path / f'p{number}' / seed for number in (1, 2))
    found = local_hosts.difference(one, two)
    print(f'{seed}: 2 processes and one: {found:.1e}')
    assert found <= local_hosts.TOLERANCE
