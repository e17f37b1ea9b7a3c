"""A trained network as LiteRT (.tflite), from StableHLO.

The package litert-converter has the passes and no Python function around them.
These are the calls that litert-torch makes, without PyTorch. Its names may
change, so setup.py allows one minor version.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from nasfas_jax.exporting import signature


def convert(program: Callable, *, num_frames: int, image_size: int) -> bytes:
  """Converts a program for batches of one clip.

  Args:
    program: see `signature.program`; its weights become constants.
    num_frames: K, frames of a clip.
    image_size: S, side of the frames.

  Returns:
    The content of a .tflite file with the signature 'serving_default'.

  Raises:
    ModuleNotFoundError: if litert-converter is not installed.
  """
  from litert_converter.mlir import ir, passmanager
  from litert_converter.mlir._mlir_libs import converter_api_ext

  lowered = jax.jit(program).lower(
    jax.ShapeDtypeStruct((1, num_frames, image_size, image_size, 3), jnp.uint8),
    jax.ShapeDtypeStruct((1, 2), jnp.float32),
  )
  context = ir.Context()
  converter_api_ext.prepare_mlir_context(context)
  with context:
    module = ir.Module.parse(lowered.as_text())
    converter_api_ext.set_signature(
      module.operation,
      signature_name='serving_default',
      input_names=list(signature.INPUTS),
      output_names=list(signature.OUTPUTS),
    )
    module = converter_api_ext.merge_modules([module])
    config = converter_api_ext.ConvertToTFLConfig()
    config.model_origin_framework = 'JAX'
    converter_api_ext.run_convert_to_tfl_passes(
      module, passmanager.PassManager(), config
    )
    return bytes(converter_api_ext.export_flatbuffer_to_bytes(module.operation))


def load(data: bytes) -> Callable:
  """The function (frames, face_size) -> (score, map) of a .tflite file.

  It takes any number of clips, and runs them one by one.
  """
  from ai_edge_litert.interpreter import Interpreter

  runner = Interpreter(model_content=data, num_threads=1).get_signature_runner()

  def run(frames, face_size):
    parts = [
      runner(frames=frames[i : i + 1], face_size=face_size[i : i + 1])
      for i in range(len(frames))
    ]
    return tuple(
      np.concatenate([part[name] for part in parts])
      for name in signature.OUTPUTS
    )

  return run
