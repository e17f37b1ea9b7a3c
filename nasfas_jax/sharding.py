"""The device mesh and the shardings of arrays on it."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

PyTree = Any


def mesh_shape(
  num_devices: int,
  num_tasks: int = 1,
  set_sizes: Sequence[int] = (),
  *,
  use_all: bool = False,
) -> tuple[int, int]:
  """The number of devices along the axes ('task', 'data') of the mesh.

  Args:
    num_devices: available devices.
    num_tasks: tasks of a step; a multiple of the task axis.
    set_sizes: clips of each set of a task; multiples of the data axis.
    use_all: use every device, even if `set_sizes` are then no multiples.

  Returns:
    The shape that uses the most devices; of equal ones, the one with the
    longest task axis. Without `use_all` it may leave devices unused, and (1, 1)
    always fits.
  """
  shapes = [
    (tasks, data)
    for tasks in range(1, num_tasks + 1)
    for data in range(1, num_devices // tasks + 1)
    if num_tasks % tasks == 0
    and (
      tasks * data == num_devices
      if use_all
      else all(size % data == 0 for size in set_sizes)
    )
  ]
  return max(shapes, key=lambda shape: (math.prod(shape), shape))


def make_mesh(num_tasks: int = 1, set_sizes: Sequence[int] = ()) -> Mesh:
  """The devices as one mesh with the axes ('task', 'data').

  With several processes all devices are used, since each process must own some.

  Args:
    num_tasks: see `mesh_shape`.
    set_sizes: see `mesh_shape`.
  """
  devices = np.asarray(jax.devices())
  tasks, data = mesh_shape(
    devices.size, num_tasks, set_sizes, use_all=jax.process_count() > 1
  )
  return Mesh(devices[: tasks * data].reshape(tasks, data), ('task', 'data'))


def one_device() -> Mesh:
  """A mesh of this process's first device."""
  devices = np.asarray(jax.local_devices()[:1])
  return Mesh(devices.reshape(1, 1), ('task', 'data'))


def replicated(mesh: Mesh) -> NamedSharding:
  """The whole array on every device."""
  return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """The leading axis split over all devices."""
  return NamedSharding(mesh, PartitionSpec(('task', 'data')))


def task_sharding(mesh: Mesh) -> NamedSharding:
  """The leading axis split over the mesh's task axis."""
  return NamedSharding(mesh, PartitionSpec('task'))


def clip_sharding(mesh: Mesh, by_domain: bool = False) -> NamedSharding:
  """Tasks split over the task axis, each task's clips over the data axis.

  Args:
    mesh: of the devices.
    by_domain: whether an axis of domains, which stays whole, lies between.
  """
  between = [None] if by_domain else []
  return NamedSharding(mesh, PartitionSpec('task', *between, 'data'))


def on_own_tasks(
  function: Callable[..., PyTree], mesh: Mesh, num_shared: int = 0
) -> Callable[..., PyTree]:
  """The same function, in which each device computes its own tasks alone.

  For what has a `jax.vmap` over tasks whose weights differ. On a TPU that makes
  grouped convolutions, and XLA does not divide their groups over devices: every
  device would compute those of all tasks. Within a task the clips stay divided
  over the data axis as ever.

  Args:
    function: of arrays with a leading axis of tasks, which its result has, too.
      It sees the tasks of one device, and must not mix them with others.
    mesh: of the devices. With a task axis of length 1 nothing is changed.
    num_shared: how many of its arguments, the first ones, have no such axis.
  """
  if mesh.shape['task'] == 1:
    return function

  def of_all(*arguments):
    specs = [PartitionSpec()] * num_shared
    specs += [PartitionSpec('task')] * (len(arguments) - num_shared)
    return jax.shard_map(
      function,
      mesh=mesh,
      in_specs=tuple(specs),
      out_specs=PartitionSpec('task'),
      axis_names={'task'},
      # It knows axes that are all manual only, and 'data' stays automatic.
      check_vma=False,
    )(*arguments)

  return of_all


def vmap_or_loop(
  function: Callable[..., PyTree], mesh: Mesh | None
) -> Callable[..., PyTree]:
  """`jax.vmap`, or a loop where devices divide the clips of what it maps over.

  For what has convolutions in it. Under vmap they, or the gradients of their
  kernels, become grouped ones on a TPU, which XLA does not divide over devices.

  Args:
    function: of arrays without the leading axis that is mapped over.
    mesh: of the devices; None: there is one.
  """
  if mesh is None or mesh.shape['data'] == 1:
    return jax.vmap(function)
  # On CPU, convolutions in a loop of XLA are several times slower.
  on_cpu = mesh.devices.flat[0].platform == 'cpu'

  def of_all(*arguments):
    return jax.lax.scan(
      lambda _, one: (None, function(*one)), None, arguments, unroll=on_cpu
    )[1]

  return of_all


def divide_clips(tree: PyTree, mesh: Mesh | None, axis: int = 0) -> PyTree:
  """Tells the compiler to divide these arrays by their clips.

  After a gather by places that are computed on the device, XLA would rather
  keep all clips on every device, and compute with all of them there.

  Args:
    tree: arrays of one task, inside of a jitted function.
    mesh: of the devices; None: there is one.
    axis: of the clips, which the data axis of the mesh divides. Arrays whose
      clips it does not divide stay as they are.
  """
  parts = 1 if mesh is None else mesh.shape['data']
  if parts == 1:
    return tree
  by_clip = NamedSharding(mesh, PartitionSpec(*[None] * axis, 'data'))

  def divided(leaf):
    if leaf.shape[axis] % parts:
      return leaf
    return jax.lax.with_sharding_constraint(leaf, by_clip)

  return jax.tree.map(divided, tree)


def spread(tree: PyTree, mesh: Mesh) -> PyTree:
  """Shardings that split each array over all devices where an axis allows it.

  For optimizer states, which would otherwise be replicated.

  Args:
    tree: arrays or their shapes.
    mesh: of the devices.

  Returns:
    A NamedSharding for each array. It splits the longest axis whose size is a
    multiple of the number of devices; an array without one is replicated.
  """

  def of(leaf):
    axes = [
      axis for axis, size in enumerate(leaf.shape) if size % mesh.size == 0
    ]
    if not axes:
      return replicated(mesh)
    chosen = max(axes, key=lambda axis: leaf.shape[axis])
    spec = [None] * len(leaf.shape)
    spec[chosen] = ('task', 'data')
    return NamedSharding(mesh, PartitionSpec(*spec))

  return jax.tree.map(of, tree)


def check_batch_size(name: str, batch_size: int, mesh: Mesh) -> None:
  """Raises ValueError unless the batch size is a multiple of the devices."""
  if batch_size < 1 or batch_size % mesh.size:
    raise ValueError(
      f'{name} is {batch_size}; it must be a positive multiple of the '
      f'number of devices, {mesh.size}.'
    )


def put_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> dict:
  """Makes global arrays from this process's part of a batch."""
  return put_part(batch, batch_sharding(mesh))


def put_part(batch: dict[str, np.ndarray], sharding: NamedSharding) -> dict:
  """Makes global arrays from this process's part of arrays [...]."""
  return {
    name: jax.make_array_from_process_local_data(sharding, array)
    for name, array in batch.items()
  }


def gather(parts: PyTree) -> PyTree:
  """The whole batch on every process, from its part of each.

  Args:
    parts: NumPy arrays, this process's part of a batch along the first axis.
  """
  if jax.process_count() == 1:
    return parts
  return multihost_utils.process_allgather(parts, tiled=True)


def own_places(places: Sequence[np.ndarray], sharding: NamedSharding) -> list:
  """What this process needs of a stream of clips.

  Args:
    places: int arrays of any shape: the places of clips in the stream, in the
      form in which the devices take them.
    sharding: of each of them.

  Returns:
    The places that the devices of this process take, ascending.
  """
  own = set()
  for part in places:
    for where in sharding.addressable_devices_indices_map(part.shape).values():
      own.update(part[where].reshape(-1).tolist())
  return sorted(own)


def put_clips(
  clips: dict[str, np.ndarray],
  own: Sequence[int],
  places: np.ndarray,
  sharding: NamedSharding,
) -> dict[str, jax.Array]:
  """Makes global arrays of clips from those that this process has read.

  Args:
    clips: arrays [len(own), ...].
    own: see `own_places`.
    places: int [...], the places of the clips in the global arrays.
    sharding: of the axes of `places`.

  Returns:
    Arrays [*places.shape, ...].
  """
  rows = np.searchsorted(own, places)

  def put(array):
    return jax.make_array_from_callback(
      places.shape + array.shape[1:],
      sharding,
      lambda where: array[rows[where[: places.ndim]]],
    )

  return {name: put(array) for name, array in clips.items()}
