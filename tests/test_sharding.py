import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasfas_jax import sharding


def test_the_mesh_has_all_devices_and_batches_are_split_over_them():
  mesh = sharding.make_mesh()
  assert mesh.axis_names == ('task', 'data')
  assert mesh.size == len(jax.devices()) > 1
  batch = {'label': np.arange(2 * mesh.size, dtype=np.int32)}
  out = sharding.put_batch(batch, mesh)['label']
  assert out.sharding == sharding.batch_sharding(mesh)
  assert out.addressable_shards[0].data.shape == (2,)
  np.testing.assert_array_equal(out, batch['label'])


@pytest.mark.parametrize('size', [0, 3])
def test_the_devices_must_divide_the_batch(size):
  mesh = sharding.make_mesh()
  with pytest.raises(ValueError, match=f'batch is {size}; it must be'):
    sharding.check_batch_size('batch', size, mesh)


def test_spread_splits_what_the_devices_divide():
  mesh = sharding.make_mesh()
  number = mesh.size
  tree = {
    'a': jnp.zeros((3, 2 * number)),
    'b': jnp.zeros(5),
    'c': jnp.zeros(()),
  }
  shardings = sharding.spread(tree, mesh)
  placed = jax.device_put(tree, shardings)
  assert placed['a'].sharding.shard_shape((3, 2 * number)) == (3, 2)
  assert placed['b'].sharding.is_fully_replicated
  assert placed['c'].sharding.is_fully_replicated


@pytest.mark.parametrize(
  ('num_tasks', 'sizes', 'shape'),
  [
    (1, (), (1, 8)),
    (3, (), (1, 8)),
    (6, (), (2, 4)),
    (2, (4, 4), (2, 4)),
    # Devices are left out where they divide neither tasks nor clips.
    (3, (4, 4), (3, 2)),
    (5, (4, 6), (5, 1)),
    (1, (5, 5), (1, 5)),
    (7, (3, 2), (7, 1)),
  ],
)
def test_any_number_of_tasks_and_clips_has_a_mesh(num_tasks, sizes, shape):
  assert sharding.mesh_shape(8, num_tasks, sizes) == shape


def test_several_processes_must_use_every_device(monkeypatch):
  assert sharding.mesh_shape(8, 3, (4, 4), use_all=True) == (1, 8)
  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  # Without the other process's needs this would leave a device out.
  mesh = sharding.make_mesh(1, (3, 3))
  assert mesh.size == len(jax.devices())


@pytest.mark.parametrize('by_domain', [False, True])
def test_clips_of_the_own_places_make_the_global_arrays(by_domain):
  mesh = sharding.make_mesh(1, (4, 4))
  # A set of 4 clips that begins at place 2 of an episode.
  places = np.arange(2, 6).reshape((1, 2, 2) if by_domain else (1, 4))
  clips = sharding.clip_sharding(mesh, by_domain)
  own = sharding.own_places([places, places[..., :2]], clips)
  assert own == [2, 3, 4, 5]
  read = {'frames': np.arange(8).reshape(4, 2) * 10}
  put = sharding.put_clips(read, own, places, clips)['frames']
  assert put.sharding.is_equivalent_to(clips, put.ndim)
  np.testing.assert_array_equal(
    put, read['frames'][places - 2].reshape(*places.shape, 2)
  )


def test_a_process_needs_the_clips_of_its_own_devices_only():
  mesh = sharding.make_mesh()

  class OneDevice:
    def addressable_devices_indices_map(self, shape):
      whole = sharding.clip_sharding(mesh).devices_indices_map(shape)
      return {mesh.devices.flat[-1]: whole[mesh.devices.flat[-1]]}

  places = np.arange(4 * mesh.size).reshape(1, -1)
  own = sharding.own_places([places], OneDevice())
  assert own == places[0, -4:].tolist()


def test_the_parts_of_one_process_are_the_whole():
  parts = (np.arange(3), np.zeros((3, 2)))
  assert sharding.gather(parts) is parts
