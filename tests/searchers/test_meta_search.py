"""The search over tasks from the clips to the moved state, over devices."""

import jax
import numpy as np
import optax
import pytest
from small_search import small_config

from nasfas_jax import states
from nasfas_jax.data import protocols
from nasfas_jax.searchers import meta_search

PROTOCOL = 'synthetic_fas/cross_domain/night'
CASES = {
  'first_order': {'learn_rates': True},
  'second_order': {'second_order': True, 'learn_rates': True},
  'three_tasks': {'num_tasks': 3},
  'domain_statistics': {
    'domain_statistics': True,
    # Of two domains.
    'support_size': 8,
    'inner_steps': 2,
    'anneal_steps': 4,
  },
}


def make_config(folder, *, second_order=False, **changes):
  config = small_config(tasks='domain', warmup_steps=0, num_steps=8)
  config.data.data_dir = str(folder)
  config.search.second_order = second_order
  sizes = {'num_tasks': 2, 'support_size': 4, 'query_size': 4}
  config.meta.update({**sizes, 'shard_optimizer': True, **changes})
  return config


def run(config, rows):
  """(mesh, state after two steps, losses of the second)."""
  search = meta_search.MetaSearch(config, rows, 'session')
  state = search.begin(jax.jit(search.initial_state)(), 0)
  for step in (1, 2):
    state, losses = search.run(state, step)
  search.close()
  return search.mesh, state, losses


def moments(state):
  return optax.tree.get(state.weight_opt_state, 'mu')


@pytest.mark.parametrize('case', CASES)
def test_the_devices_give_the_numbers_of_one(
  case, tiny_data_dir, monkeypatch, capsys
):
  config = make_config(tiny_data_dir, **CASES[case])
  rows = protocols.load(PROTOCOL, tiny_data_dir, 'tiny').train
  mesh, found, losses = run(config, rows)
  out = capsys.readouterr().err
  if case == 'three_tasks':
    assert tuple(mesh.shape.values()) == (3, 2)
    assert 'The search uses 6 of 8 devices' in out
  else:
    assert mesh.size == 8
    assert 'devices' not in out
  # Every device holds its part of the moments.
  shape = moments(found).shape
  part = (shape[0] // mesh.size,)
  assert moments(found).sharding.shard_shape(shape) == part

  monkeypatch.setattr(
    states,
    'make_mesh',
    lambda *_: jax.sharding.Mesh(
      np.asarray(jax.devices()[:1]).reshape(1, 1), ('task', 'data')
    ),
  )
  _, expected, expected_losses = run(config, rows)
  for name, value in losses.items():
    np.testing.assert_allclose(value, expected_losses[name], rtol=1e-3)
  for name in ('weight_opt_state', 'arch_opt_state'):
    ours, theirs = (
      np.asarray(optax.tree.get(getattr(state, name), 'mu'))
      for state in (found, expected)
    )
    assert np.abs(theirs).max() > 0
    np.testing.assert_allclose(ours, theirs, atol=5e-3 * np.abs(theirs).max())


def test_sets_that_the_devices_of_all_processes_do_not_divide_are_an_error(
  tiny_data_dir, monkeypatch
):
  config = make_config(tiny_data_dir)
  rows = protocols.load(PROTOCOL, tiny_data_dir, 'tiny').train
  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  config.meta.support_size = 3
  with pytest.raises(
    ValueError, match='support_size gives 3 .*multiple of the 4 devices'
  ):
    meta_search.MetaSearch(config, rows, 'session')
