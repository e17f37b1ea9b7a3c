"""Parameters and batch statistics alone, as an Orbax checkpoint.

`checkpoints` keeps the whole state of a run; this is what a detector needs.
"""

import math
import pathlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

FOLDER = 'params'
# 1 GiB of float32; the published networks have 2 million.
MAX_PARAMETERS = 2**28


def write(folder: pathlib.Path, variables: dict) -> None:
  """Writes variables to a new folder.

  Args:
    folder: must not exist.
    variables: dict with 'params' and 'batch_stats'.
  """
  with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(
      folder.absolute(), jax.tree.map(jnp.asarray, dict(variables))
    )


def template(model: nn.Module, image_size: int, channels: int) -> dict:
  """The shapes of a network's variables, all on one device.

  Raises:
    ValueError: if they are more than `MAX_PARAMETERS` numbers, or the sizes do
      not make a network.
  """
  images = jax.ShapeDtypeStruct(
    (1, image_size, image_size, channels), jnp.float32
  )
  try:
    shapes = jax.eval_shape(
      lambda x: model.init(jax.random.key(0), x, train=False), images
    )
  except (TypeError, ValueError, ZeroDivisionError) as error:
    raise ValueError(f'network: {error}') from error
  number = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
  if number > MAX_PARAMETERS:
    raise ValueError(
      f'network: {number} parameters; allowed: {MAX_PARAMETERS} or fewer.'
    )
  device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  # A network without batch normalization has no statistics.
  return jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device),
    {'batch_stats': {}, **shapes},
  )


def read(folder: pathlib.Path, shapes: dict) -> dict:
  """Reads variables.

  Args:
    folder: see `write`.
    shapes: see `template`.

  Raises:
    ValueError: if the folder does not hold these arrays, or a number in them
      is not finite.
  """
  try:
    with ocp.StandardCheckpointer() as checkpointer:
      variables = checkpointer.restore(folder.absolute(), shapes)
  except Exception as error:
    # Orbax's and TensorStore's errors have no common base class.
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    raise ValueError(
      f'{str(folder)!r} does not hold the parameters of this network: '
      f'{reason[:200]}'
    ) from error
  for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
    if not np.isfinite(np.asarray(leaf)).all():
      name = jax.tree_util.keystr(path, simple=True, separator='/')
      raise ValueError(f'{str(folder)!r}: {name} is not finite.')
  return variables
