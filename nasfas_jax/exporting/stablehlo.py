"""A trained network as StableHLO, by jax.export."""

from collections.abc import Callable

import jax
import jax.export
import jax.numpy as jnp

PLATFORMS = ('cpu', 'cuda', 'tpu')
# From the documentation of jax.export.
PROMISE = (
  'Releases of JAX of the six months after the one that wrote the file read '
  'it, and those of the three weeks before. Keep the Orbax parameters, and '
  'export again after an update.'
)


def serialize(program: Callable, *, num_frames: int, image_size: int) -> bytes:
  """Lowers a program for all platforms, with a symbolic batch size.

  Args:
    program: see `signature.program`; its weights become constants.
    num_frames: K, frames of a clip.
    image_size: S, side of the frames.

  Returns:
    What `jax.export.deserialize` reads: no code of this package is needed.
  """
  shapes = jax.export.symbolic_args_specs(
    (
      jax.ShapeDtypeStruct(
        (1, num_frames, image_size, image_size, 3), jnp.uint8
      ),
      jax.ShapeDtypeStruct((1, 2), jnp.float32),
    ),
    'batch, ...',
  )
  exported = jax.export.export(jax.jit(program), platforms=PLATFORMS)(*shapes)
  return bytes(exported.serialize())


def load(data: bytes) -> Callable:
  """The function (frames, face_size) -> (score, map) of a serialized program.

  Raises:
    ValueError: if the bytes are not such a program.
  """
  try:
    return jax.export.deserialize(bytearray(data)).call
  except Exception as error:
    # FlatBuffers' and MLIR's errors have no common base class.
    raise ValueError(f'This is no program of jax.export: {error}') from error
