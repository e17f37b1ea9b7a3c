"""Three ways to an ONNX file of the same network, by size and latency.

python -m benchmarks.exporting own --checkpoint=RUN
  Our own graph, as `configs/export.py` writes it (extra [export]).
python -m benchmarks.exporting torch --checkpoint=RUN
  The PyTorch twin and torch.onnx; also needs torch and onnxscript.
python -m benchmarks.exporting jax2onnx --checkpoint=RUN
  The jitted function and jax2onnx.

A route runs in an environment that has its converter. All take uint8 frames
and the size of the face, and give the score and the map. Each line of the
result is JSON: the file's nodes and bytes, the largest difference of the score
from JAX on noise, and the median latency of one clip on one thread.
"""

import importlib.metadata
import json
import pathlib
import statistics
import tempfile
import time
from unittest import mock

import jax
import jax.export
import numpy as np
import onnx
import onnxruntime
from absl import app, flags

import nasfas_jax
from nasfas_jax import export
from nasfas_jax.exporting import clip_checks, signature
from nasfas_jax.ops import convolution, rank_pooling

_CHECKPOINT = flags.DEFINE_string('checkpoint', 'runs/search', 'The run.')
_ROUNDS = flags.DEFINE_integer('rounds', 300, 'Timed calls of a file.')


def write_own(detector, path: pathlib.Path) -> None:
  """Our own graph."""
  onnx.save(export.graph_of(detector), path)


def write_jax2onnx(detector, path: pathlib.Path) -> None:
  """What jax2onnx makes of the function that StableHLO gets.

  It does not know our primitive, only XLA's convolution.
  """
  import jax2onnx

  reading = detector.reading
  size = reading.image_size
  with mock.patch.object(
    convolution,
    '_conv',
    lambda x, kernel, dilation: convolution._library(
      x, kernel, dilation=dilation
    ),
  ):
    jax2onnx.to_onnx(
      export.program_of(detector),
      inputs=jax.export.symbolic_args_specs(
        (
          jax.ShapeDtypeStruct((1, reading.num_frames, size, size, 3), 'uint8'),
          jax.ShapeDtypeStruct((1, 2), 'float32'),
        ),
        'b, ...',
      ),
      input_names=list(signature.INPUTS),
      output_names=list(signature.OUTPUTS),
      return_mode='file',
      output_path=str(path),
    )


def write_torch(detector, path: pathlib.Path) -> None:
  """What torch.onnx makes of the twin; it folds batch normalization itself."""
  import torch

  # Written so, as the modules need PyTorch themselves.
  import nasfas_jax.baseline.layers as layers
  import nasfas_jax.comparison.twins as twins

  form, reading = detector.form, detector.reading
  if (form.fusion, form.normalization) != ('concat', 'clip'):
    raise ValueError('This route knows the default input only: concat, clip.')
  twin = twins.make_twin(detector.model, form.channels, detector.variables)
  fold_differences(twin, layers.CDConv)
  coefficients = torch.from_numpy(
    np.array(rank_pooling.COEFFICIENTS[form.rank_pooling](reading.num_frames))
  )
  places = torch.from_numpy(
    signature.ellipse_places(reading.face_scale, reading.map_size).astype('f4')
  )

  class Scored(torch.nn.Module):
    def __init__(self):
      super().__init__()
      self.twin = twin

    def forward(self, frames, face_size):
      x = (frames.float() - 127.5) / 128
      centred = x - x.mean((1, 2, 3), keepdim=True)
      variance = centred.square().mean((1, 2, 3, 4), keepdim=True)
      x = 0.5 * centred / (variance + 1 / 128**2).sqrt()
      pooled = torch.einsum('k,bkhwc->bhwc', coefficients, x - x[:, :1])
      low = pooled.amin((1, 2, 3), keepdim=True)
      high = pooled.amax((1, 2, 3), keepdim=True)
      dynamic = (pooled - (high + low) / 2) / ((high - low) / 2 + 1e-5)
      fused = torch.cat([x[:, x.shape[1] // 2], dynamic], -1)
      maps = self.twin(fused.permute(0, 3, 1, 2))
      known = face_size.amin(1, keepdim=True) > 0
      safe = torch.where(known, face_size, torch.ones_like(face_size))
      stretch = safe.amax(1, keepdim=True) / safe
      squares = (stretch[:, :, None] * places).square()
      distance = squares[:, 1, :, None] + squares[:, 0, None, :]
      limit = distance.amin((1, 2), keepdim=True).clamp(min=1)
      face = (distance <= limit).float().sum((1, 2))
      pixels = torch.full_like(face, float(maps.shape[1] * maps.shape[2]))
      return maps.sum((1, 2)) / torch.where(known[:, 0], face, pixels), maps

  size = reading.image_size
  frames = torch.zeros(2, reading.num_frames, size, size, 3, dtype=torch.uint8)
  batch = torch.export.Dim('batch')
  torch.onnx.export(
    Scored().eval(),
    (frames, torch.ones(2, 2)),
    path,
    input_names=list(signature.INPUTS),
    output_names=list(signature.OUTPUTS),
    dynamic_shapes=({0: batch}, {0: batch}),
    dynamo=True,
    external_data=False,
  )


def fold_differences(module, kind) -> None:
  """Replaces each central difference by the one convolution that it equals."""
  import torch

  for name, child in module.named_children():
    if not isinstance(child, kind):
      fold_differences(child, kind)
      continue
    kernel = child.kernel().detach()
    centre = tuple(side // 2 for side in kernel.shape[2:])
    folded = kernel.clone()
    folded[:, :, *centre] -= child.theta * kernel.sum((2, 3))
    plain = torch.nn.Conv2d(
      kernel.shape[1] * child.groups,
      kernel.shape[0],
      tuple(kernel.shape[2:]),
      padding=tuple(child.dilation * (side // 2) for side in kernel.shape[2:]),
      dilation=child.dilation,
      groups=child.groups,
      bias=False,
    )
    plain.weight = torch.nn.Parameter(folded)
    setattr(module, name, plain)


ROUTES = {'own': write_own, 'torch': write_torch, 'jax2onnx': write_jax2onnx}


def measure(route: str, checkpoint: str, rounds: int) -> dict:
  """Writes one file and measures it."""
  detector = nasfas_jax.load(checkpoint)
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / 'model.onnx'
    start = time.perf_counter()
    ROUTES[route](detector, path)
    seconds = time.perf_counter() - start
    graph = onnx.load(path).graph
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
      path, options, providers=['CPUExecutionProvider']
    )
    size = path.stat().st_size
  reading = detector.reading
  made = clip_checks.generated(
    4,
    num_frames=reading.num_frames,
    image_size=reading.image_size,
    face_scale=reading.face_scale,
    map_size=reading.map_size,
  )
  frames, faces = made.frames, made.face_size
  wanted = np.asarray(jax.jit(export.program_of(detector))(frames, faces)[0])
  found = session.run(['score'], {'frames': frames, 'face_size': faces})[0]
  one = {'frames': frames[:1], 'face_size': faces[:1]}
  times = []
  for _ in range(rounds):
    start = time.perf_counter()
    session.run(None, one)
    times.append(time.perf_counter() - start)
  return {
    'route': route,
    'version': importlib.metadata.version({'own': 'onnx'}.get(route, route)),
    'nodes': len(graph.node),
    'bytes': size,
    'difference': float(np.abs(found - wanted).max()),
    'score': float(wanted.max()),
    'milliseconds': round(1e3 * statistics.median(times), 2),
    'seconds_to_write': round(seconds, 1),
  }


def main(argv) -> None:
  """Prints the figures of the routes in the arguments."""
  routes = argv[1:]
  if not routes or not set(routes) <= set(ROUTES):
    raise app.UsageError(f'Give one or more of: {", ".join(ROUTES)}.')
  for route in routes:
    figures = measure(route, _CHECKPOINT.value, _ROUNDS.value)
    print(json.dumps(figures), flush=True)


if __name__ == '__main__':
  app.run(main)
