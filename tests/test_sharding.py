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


def of_network(kernel, images):
  """The loss of a network of one convolution, and its gradient."""

  def loss(kernel):
    y = jax.lax.conv_general_dilated(
      *(images, kernel, (1, 1), 'SAME'),
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    )
    return jnp.mean(jnp.square(y))

  return jax.value_and_grad(loss)(kernel)


def compare_with_one_device(function, mesh, shardings, arrays):
  """Checks that each device has its part of the operations, and their sum."""
  placed = [
    jax.device_put(array, of)
    for array, of in zip(arrays, shardings, strict=True)
  ]
  compiled = jax.jit(function).lower(*placed).compile()
  alone = jax.jit(jax.vmap(of_network)).lower(*arrays).compile()
  share, whole = (c.cost_analysis()['flops'] for c in (compiled, alone))
  assert share < 1.1 * whole / mesh.size
  assert 'all-gather' not in compiled.as_text()
  for found, expected in zip(
    jax.tree.leaves(compiled(*placed)),
    jax.tree.leaves(alone(*arrays)),
    strict=True,
  ):
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope='module')
def networks():
  """(kernels of as many networks as there are devices, images of each)."""
  number = len(jax.devices())
  rng = np.random.default_rng(0)
  shapes = (number, 3, 3, 4, 5), (number, 2 * number, 6, 6, 4)
  return [np.float32(rng.normal(size=shape)) for shape in shapes]


def test_a_device_computes_its_own_tasks_alone(networks):
  mesh = sharding.make_mesh(len(jax.devices()))
  compare_with_one_device(
    sharding.on_own_tasks(jax.vmap(of_network), mesh),
    mesh,
    [sharding.task_sharding(mesh), sharding.clip_sharding(mesh)],
    networks,
  )


def test_devices_divide_the_clips_of_every_network(networks):
  mesh = sharding.make_mesh()
  compare_with_one_device(
    sharding.vmap_or_loop(of_network, mesh),
    mesh,
    [sharding.replicated(mesh), sharding.clip_sharding(mesh)],
    networks,
  )


def test_one_device_runs_the_same_function():
  mesh = sharding.one_device()
  assert sharding.on_own_tasks(of_network, mesh) is of_network
  leaf = jnp.zeros(3)
  assert sharding.divide_clips(leaf, mesh) is leaf
  assert sharding.divide_clips(leaf, None) is leaf


def test_clips_that_devices_do_not_divide_stay_as_they_are():
  mesh = sharding.make_mesh()
  number = mesh.size
  tree = {'few': jnp.zeros((2, number + 1)), 'many': jnp.zeros((2, number))}
  divided = jax.jit(lambda tree: sharding.divide_clips(tree, mesh, 1))(tree)
  assert divided['few'].sharding.is_fully_replicated
  assert divided['many'].sharding.shard_shape((2, number)) == (2, 1)
