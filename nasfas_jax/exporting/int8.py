"""An ONNX graph in int8, by onnxruntime's static quantisation."""

import logging
import pathlib
from collections.abc import Iterable, Mapping

import numpy as np
import onnx
from onnxruntime import quantization

from nasfas_jax import files
from nasfas_jax.exporting import onnx_graph

# What is worth it: a convolution takes nearly all of the time.
_KINDS = ['Conv', 'MaxPool', 'Concat', 'Add', 'Relu']


class _Reader(quantization.CalibrationDataReader):
  """Hands clips to the calibration, one after another."""

  def __init__(self, clips: Iterable[Mapping[str, np.ndarray]]):
    self._clips = iter(clips)

  def get_next(self) -> dict[str, np.ndarray] | None:
    clip = next(self._clips, None)
    return None if clip is None else dict(clip)


def quantize(
  source: pathlib.Path,
  target: pathlib.Path,
  clips: Iterable[Mapping[str, np.ndarray]],
) -> None:
  """Quantises the network of a graph; input and score stay float32.

  Weights get a scale for each channel, activations one for each tensor, from
  their range on the calibration clips. The last convolution stays float32: a
  map is small against its range.

  Args:
    source: file of `onnx_graph.build`.
    target: file to write.
    clips: 'frames' and 'face_size' of single clips.
  """
  graph = onnx.load(source).graph
  kept = [
    node.name
    for node in graph.node
    if not node.name.startswith(onnx_graph.QUANTISABLE)
  ]
  # It advises to optimise the graph first, which has nothing to optimise.
  logging.disable(logging.WARNING)
  try:
    quantization.quantize_static(
      str(source),
      str(target),
      _Reader(clips),
      quant_format=quantization.QuantFormat.QDQ,
      op_types_to_quantize=_KINDS,
      per_channel=True,
      activation_type=quantization.QuantType.QUInt8,
      weight_type=quantization.QuantType.QInt8,
      nodes_to_exclude=kept,
    )
  finally:
    logging.disable(logging.NOTSET)


def set_metadata(path: pathlib.Path, metadata: Mapping[str, str]) -> None:
  """Replaces the properties that a file carries."""
  made = onnx.load(path)
  del made.metadata_props[:]
  onnx.helper.set_model_props(made, dict(metadata))
  files.write_whole(path, made.SerializeToString())
