"""Of several local processes some are lost; the run is not.

They are slow, so they run on demand only:

  pytest -n 0 -m slow_processes tests/hosts
"""

import signal
import time

import addresses
import local_hosts
import pytest

from nasfas_jax import hosts

pytestmark = pytest.mark.slow_processes


@pytest.fixture(scope='module')
def undisturbed(tiny_data_dir, tmp_path_factory):
  """The folder of the run that one process makes."""
  folder = tmp_path_factory.mktemp('undisturbed')
  command = local_hosts.main_command(tiny_data_dir, folder / 'run', 1)
  local_hosts.finish(
    local_hosts.start(command, folder / 'logs'), folder / 'logs'
  )
  return folder / 'run'


def assert_same_end(undisturbed, workdir):
  found = local_hosts.difference(undisturbed, workdir)
  assert found <= local_hosts.TOLERANCE


def lose(how, victim, started, logs):
  """One of two hosts is lost; the other must end in one line.

  Returns:
    The seconds that it took.
  """
  began = time.monotonic()
  started[victim].send_signal(how)
  try:
    status = started[1 - victim].wait(local_hosts.BOUND)
    seconds = time.monotonic() - began
  finally:
    for process in started:
      process.kill()
      process.wait()
  said = (logs / f'{1 - victim}.txt').read_text()
  assert status == hosts.LOST, said
  (line,) = [line for line in said.splitlines() if 'error' in line.lower()]
  assert line.startswith('error: ')
  assert 'is gone' in line
  assert said.splitlines()[-1] == line
  return seconds


@pytest.mark.parametrize(
  'victim', [pytest.param(1, marks=pytest.mark.on_demand), 0]
)
def test_a_host_that_dies_ends_the_others_and_one_goes_on(
  victim, undisturbed, tiny_data_dir, tmp_path
):
  workdir, logs = tmp_path / 'run', tmp_path / 'logs'
  started = local_hosts.start(
    local_hosts.main_command(tiny_data_dir, workdir, 2), logs
  )
  local_hosts.wait_for(lambda: local_hosts.lines(workdir) >= 5, started, logs)
  seconds = lose(signal.SIGKILL, victim, started, logs)
  print(f'host {victim} killed: the other ended after {seconds:.1f} s')
  if victim == 0:
    # One restart will do.
    return
  local_hosts.finish(
    local_hosts.start(
      local_hosts.main_command(tiny_data_dir, workdir, 1), logs
    ),
    logs,
  )
  assert_same_end(undisturbed, workdir)


@pytest.mark.parametrize('victim', [1, 0])
@pytest.mark.parametrize('how', [signal.SIGSTOP, signal.SIGKILL])
def test_a_host_that_is_lost_during_an_exchange_ends_the_others(
  how, victim, tmp_path
):
  """It falls silent, such as by the loss of its network, or it dies.

  Of a silent one, no connection is closed.
  """
  address = addresses.free_address()
  started = local_hosts.start(
    [
      [
        str(local_hosts.HERE / 'waiting.py'),
        address,
        str(host),
        str(local_hosts.TIMEOUT),
      ]
      for host in range(2)
    ],
    tmp_path,
  )
  files = [tmp_path / f'{host}.txt' for host in range(2)]
  local_hosts.wait_for(
    lambda: all('ready' in file.read_text() for file in files),
    started,
    tmp_path,
  )
  seconds = lose(how, victim, started, tmp_path)
  print(f'host {victim}, {how.name}: the other ended after {seconds:.1f} s')
  if how is signal.SIGSTOP:
    assert seconds > local_hosts.TIMEOUT / 3


@pytest.mark.on_demand
def test_a_run_of_one_process_goes_on_with_two(
  undisturbed, tiny_data_dir, tmp_path
):
  workdir, logs = tmp_path / 'run', tmp_path / 'logs'
  started = local_hosts.start(
    local_hosts.main_command(tiny_data_dir, workdir, 1), logs
  )
  local_hosts.wait_for(lambda: local_hosts.lines(workdir) >= 5, started, logs)
  started[0].send_signal(signal.SIGKILL)
  started[0].wait()
  local_hosts.finish(
    local_hosts.start(
      local_hosts.main_command(tiny_data_dir, workdir, 2), logs
    ),
    logs,
  )
  assert_same_end(undisturbed, workdir)


@pytest.mark.on_demand
def test_all_pass_over_a_checkpoint_that_is_damaged(
  undisturbed, tiny_data_dir, tmp_path
):
  """Also one whose arrays are split over the hosts."""
  workdir, logs = tmp_path / 'run', tmp_path / 'logs'
  started = local_hosts.start(
    local_hosts.main_command(tiny_data_dir, workdir, 2), logs
  )
  folder = workdir / 'checkpoints' / 'search'
  local_hosts.wait_for(lambda: (folder / '3').exists(), started, logs)
  # Told to one of them, saved by both.
  started[1].send_signal(signal.SIGTERM)
  assert [process.wait(local_hosts.BOUND) for process in started] == [
    hosts.LOST
  ] * 2
  newest = max(
    int(path.name) for path in folder.iterdir() if path.name.isdigit()
  )
  parts = [
    path for path in (folder / str(newest)).rglob('*') if 'd' in path.parts
  ]
  for path in parts:
    if path.is_file():
      content = bytearray(path.read_bytes())
      content[len(content) // 2] ^= 1
      path.write_bytes(content)
  said = local_hosts.finish(
    local_hosts.start(
      local_hosts.main_command(tiny_data_dir, workdir, 2), logs
    ),
    logs,
  )
  assert f'that of step {newest}: ' in said
  assert_same_end(undisturbed, workdir)
