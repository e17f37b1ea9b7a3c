import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from nasfas_jax import checkpoints, optimizers, sharding, states


def make_state(value):
  params = {'a': jnp.full((4, 2), value), 'b': {'c': jnp.float32(value)}}
  optimizer = optimizers.adam_l2(0.1)
  return states.TrainState(
    step=jnp.int32(value),
    params=params,
    batch_stats={'m': jnp.full(3, value)},
    opt_state=optimizer.init(params),
  )


def assert_equal(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


def test_without_a_checkpoint_the_given_state_comes_back(tmp_path):
  with checkpoints.Checkpointer(tmp_path / 'x') as saver:
    state, step = saver.restore_or(make_state(1.0))
  assert step == 0
  assert_equal(state, make_state(1.0))


def test_the_newest_of_several_is_restored_and_old_ones_go(tmp_path):
  with checkpoints.Checkpointer(tmp_path, keep=2) as saver:
    for step in (1, 2, 3):
      saver.save(step, make_state(float(step)))
  with checkpoints.Checkpointer(tmp_path) as saver:
    state, step = saver.restore_or(make_state(0.0))
  assert step == 3
  assert_equal(state, make_state(3.0))
  assert sorted(p.name for p in tmp_path.iterdir() if p.name.isdigit()) == [
    '2',
    '3',
  ]


def test_what_an_interrupted_save_left_is_not_restored(tmp_path):
  with checkpoints.Checkpointer(tmp_path) as saver:
    saver.save(5, make_state(5.0))
  (tmp_path / '7.orbax-checkpoint-tmp').mkdir()
  (tmp_path / '7.orbax-checkpoint-tmp' / 'state').mkdir()
  with checkpoints.Checkpointer(tmp_path) as saver:
    state, step = saver.restore_or(make_state(0.0))
  assert step == 5
  assert_equal(state, make_state(5.0))


def test_saved_on_one_device_restored_replicated_on_all(tmp_path):
  with checkpoints.Checkpointer(tmp_path) as saver:
    saver.save(1, make_state(1.0))
  everywhere = NamedSharding(sharding.make_mesh(), PartitionSpec())
  target = jax.device_put(make_state(0.0), everywhere)
  with checkpoints.Checkpointer(tmp_path) as saver:
    state, _ = saver.restore_or(target)
  assert state.params['a'].sharding == everywhere
  assert_equal(state, make_state(1.0))


def test_variables_alone_can_be_restored(tmp_path):
  with checkpoints.Checkpointer(tmp_path) as saver:
    saver.save(2, make_state(2.0))
  template = {
    'params': make_state(0.0).params,
    'batch_stats': make_state(0.0).batch_stats,
  }
  variables, step = checkpoints.restore_variables(tmp_path, template)
  assert step == 2
  assert_equal(variables['params'], make_state(2.0).params)
  assert_equal(variables['batch_stats'], make_state(2.0).batch_stats)


def test_no_checkpoint_is_a_clear_error(tmp_path):
  with pytest.raises(FileNotFoundError, match='There is no checkpoint in'):
    checkpoints.restore_variables(tmp_path, {'params': {}, 'batch_stats': {}})


def test_keep_must_be_positive(tmp_path):
  with pytest.raises(ValueError, match='keep is 0'):
    checkpoints.Checkpointer(tmp_path, keep=0)


@pytest.mark.parametrize(
  ('step', 'every', 'due'),
  [(5, 5, True), (6, 5, False), (20, 7, True), (5, 0, False), (20, 0, True)],
)
def test_save_due(step, every, due):
  assert checkpoints.save_due(step, every, 20) is due
