"""The search over tasks from the clips to the moved state, over devices."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_search import small_config

from nasfas_jax import search, sharding
from nasfas_jax.data import protocols

CASES = {
  'first_order': {'learn_inner_lr': True},
  'second_order': {'second_order': True, 'learn_inner_lr': True},
  'domain_statistics': {
    'domain_statistics': True,
    # Of three domains.
    'support_size': 6,
    'inner_steps': 2,
    'anneal_steps': 4,
  },
}


def make_config(folder, *, second_order=False, **changes):
  config = small_config(hold_out='domain', warmup_steps=0, num_steps=8)
  config.data.data_dir = str(folder)
  config.search.second_order = second_order
  sizes = {'num_tasks': 2, 'support_size': 4, 'query_size': 4}
  config.meta.update({**sizes, 'shard_optimizer': True, **changes})
  return config


@pytest.fixture(scope='module')
def selection(tiny_data_dir):
  config = make_config(tiny_data_dir)
  return protocols.load(config.protocol, tiny_data_dir, 'tiny')


def run(config, selection, starts=None):
  """[(state before, state, losses)] of two steps.

  Args:
    config: of the search.
    selection: its clips.
    starts: the state before each step; None: each goes on from the one before.
  """
  program = search.make_search(config, selection).program
  state = program.state
  batches = program.batches(0)
  step, found = None, []
  for number in range(2):
    if starts is not None:
      state = jax.device_put(
        starts[number], jax.tree.map(lambda a: a.sharding, state)
      )
    before = jax.tree.map(np.asarray, state)
    batch = next(batches)
    step = step or program.compile(state, batch)
    # It gives its state away.
    state, losses = step(state, batch)
    found.append((before, state, losses))
    # Not while the step is at work on both devices: on a busy machine a process
    # was aborted there once, for a reason that was not found.
    state = jax.tree.map(jnp.copy, jax.block_until_ready(state))
  batches.close()
  return found


def moments(state):
  return optax.tree.get(state.weight_opt_state, 'mu')


def one_device_mesh(*unused):
  devices = np.asarray(jax.devices()[:1]).reshape(1, 1)
  return jax.sharding.Mesh(devices, ('task', 'data'))


@pytest.mark.parametrize('case', CASES)
def test_the_devices_give_the_numbers_of_one(
  case, tiny_data_dir, selection, monkeypatch
):
  config = make_config(tiny_data_dir, **CASES[case])
  found = run(config, selection)
  # Every device holds its part of the moments.
  last = moments(found[-1][1])
  part = (last.shape[0] // len(jax.devices()),)
  assert last.sharding.shard_shape(last.shape) == part

  monkeypatch.setattr(sharding, 'make_mesh', one_device_mesh)
  # From the very same states: Adam turns rounding into steps.
  expected = run(config, selection, [before for before, *_ in found])
  for (_, ours, losses), (_, theirs, losses_there) in zip(
    found, expected, strict=True
  ):
    for name, value in losses.items():
      np.testing.assert_allclose(value, losses_there[name], rtol=1e-4)
    for name in ('weight_opt_state', 'arch_opt_state'):
      moved, there = (
        np.asarray(optax.tree.get(getattr(state, name), 'mu'))
        for state in (ours, theirs)
      )
      scale = np.abs(there).max()
      assert scale > 0
      np.testing.assert_allclose(moved, there, atol=5e-3 * scale)


def test_devices_that_are_left_out_are_said(tiny_data_dir, selection, capsys):
  number = len(jax.devices())
  config = make_config(tiny_data_dir, num_tasks=1, support_size=3, query_size=3)
  search.make_search(config, selection)
  said = f'The search uses 1 of {number} devices: 1 tasks with 3 '
  assert said in capsys.readouterr().err


def test_sets_that_the_devices_of_all_processes_do_not_divide_are_an_error(
  tiny_data_dir, selection, monkeypatch
):
  config = make_config(tiny_data_dir, num_tasks=1, support_size=3)
  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  number = len(jax.devices())
  with pytest.raises(
    ValueError,
    match=f'support_size gives 3 .*multiple of the {number} devices',
  ):
    search.make_search(config, selection)
