"""The mesh of devices, and where arrays lie on it."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

PyTree = Any


def mesh_shape(
  num_devices: int,
  num_tasks: int = 1,
  set_sizes: Sequence[int] = (),
  *,
  use_all: bool = False,
) -> tuple[int, int]:
  """Devices along the axes ('task', 'data') of the mesh.

  Args:
    num_devices: that there are.
    num_tasks: tasks of a step, which the task axis divides.
    set_sizes: clips of the sets of a task, which the data axis divides.
    use_all: take every device, whether they divide the clips or not.

  Returns:
    The largest such shape, among equals the one with the longest task axis; so
    any number of tasks and clips has one. Without use_all it may leave devices
    out.
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
  """The devices in one mesh with the axes ('task', 'data').

  Several processes must each have their part: there all devices are taken. See
  `mesh_shape` for the arguments.
  """
  devices = np.asarray(jax.devices())
  tasks, data = mesh_shape(
    devices.size, num_tasks, set_sizes, use_all=jax.process_count() > 1
  )
  return Mesh(devices[: tasks * data].reshape(tasks, data), ('task', 'data'))


def replicated(mesh: Mesh) -> NamedSharding:
  return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """The leading axis of a batch, split over all devices."""
  return NamedSharding(mesh, PartitionSpec(('task', 'data')))


def task_sharding(mesh: Mesh) -> NamedSharding:
  """The leading axis over the task axis of the devices."""
  return NamedSharding(mesh, PartitionSpec('task'))


def clip_sharding(mesh: Mesh, by_domain: bool = False) -> NamedSharding:
  """Tasks over the task axis, each task's clips over the data axis.

  Args:
    mesh: of the devices.
    by_domain: whether an axis of domains, which is not split, lies between.
  """
  between = [None] if by_domain else []
  return NamedSharding(mesh, PartitionSpec('task', *between, 'data'))


def spread(tree: PyTree, mesh: Mesh) -> PyTree:
  """Shardings that split each array over all devices where one axis allows.

  For optimizer states, which every device else holds whole.

  Args:
    tree: arrays or their shapes.
    mesh: of the devices.

  Returns:
    A NamedSharding for each array: its longest axis that the devices divide is
    split, or it is replicated.
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
  """Raises ValueError unless the devices divide the batch."""
  if batch_size < 1 or batch_size % mesh.size:
    raise ValueError(
      f'{name} is {batch_size}; it must be a positive multiple of the '
      f'number of devices, {mesh.size}.'
    )


def put_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> dict:
  """Makes global arrays of this process's part of a batch."""
  sharding = batch_sharding(mesh)
  return {
    name: jax.make_array_from_process_local_data(sharding, array)
    for name, array in batch.items()
  }
