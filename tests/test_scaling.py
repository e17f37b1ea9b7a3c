"""The estimate of many chips."""

import pytest

from benchmarks import lowered, scaling
from nasfas_configs import search as search_config
from nasfas_jax.models import cost

MACHINE = scaling.Machine(
  name='m',
  flops=100.0,
  memory=10.0,
  link=8.0,
  island=4,
  network=2.0,
  source='',
)


def test_bytes_are_added_up_in_rings_within_islands_and_between_them():
  # By hand: within, each chip sends 2 * 3/4 of 16 bytes at 8 a second; between
  # 2 islands, 2 * 1/2 of its 4 bytes at 2 a second.
  assert scaling.all_reduce_seconds(MACHINE, 16, 1) == 0
  assert scaling.all_reduce_seconds(MACHINE, 16, 2) == pytest.approx(2)
  assert scaling.all_reduce_seconds(MACHINE, 16, 4) == pytest.approx(3)
  assert scaling.all_reduce_seconds(MACHINE, 16, 8) == pytest.approx(3 + 2)


def test_a_step_takes_the_slower_of_arithmetic_and_memory_and_then_waits():
  work = scaling.Work(flops=300, traffic=20, sent=16, waits=5)
  alone = scaling.estimate(MACHINE, work, 1, latency=0.1)
  assert (alone.compute, alone.step, alone.efficiency) == (3, 3, 1)
  four = scaling.estimate(MACHINE, work, 4, latency=0.1)
  assert four.step == pytest.approx(3 + 3 + 0.5)
  assert four.efficiency == pytest.approx(3 / 6.5)
  slow = scaling.Work(flops=300, traffic=50, sent=16, waits=5)
  assert scaling.estimate(MACHINE, slow, 1, 0.1).compute == 5


def test_the_table_has_each_number_of_chips():
  work = scaling.Work(flops=1e12, traffic=1e9, sent=1e7, waits=10)
  rows = scaling.table({'a': work}, 4, 1e-5)
  assert [row['chips'] for row in rows] == [1, 8, 64, 256] * 2
  assert rows[3]['clips'] == 1024
  assert rows[0]['efficiency'] == 1


def test_the_edges_of_a_supernet_are_all_counted(monkeypatch):
  # Small, and with the loop over edges on, as the published setting has it.
  config = search_config.get_config('debug')
  config.supernet.num_nodes = 1
  config.supernet.edge_loop = True
  monkeypatch.setattr(
    search_config,
    'get_config',
    lambda variant: config.copy_and_resolve_references(),
  )
  found = scaling.steps(2)['plain search, weights']
  config.supernet.edge_loop = False
  case = lowered.search_steps(config, 2)['weight step']
  macs = cost.count_macs(case.function, *case.args)
  assert 2 * macs < found.flops < 4 * macs
