"""A trained network as an ONNX graph, from uint8 frames to scores.

Batch normalization and central differences are folded into plain convolutions
(`exporting.folding`), and the input is made as in `inputs.network_input`. The
graph has the structure of `models.backbone` and `models.cdcn`; the export
compares the two on real clips.
"""

from typing import Any

import flax.linen as nn
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from nasfas_jax import inputs
from nasfas_jax.data import transforms
from nasfas_jax.exporting import folding, signature
from nasfas_jax.models import backbone, operations
from nasfas_jax.models.cdcn import CDCN
from nasfas_jax.models.network import Network
from nasfas_jax.models.search_spaces import LEVELS
from nasfas_jax.ops import pooling, rank_pooling

# The oldest that has what the graph needs, so that old runtimes read it too:
# reductions take their axes as here from 18 on.
OPSET = 18
IR_VERSION = 8
# The names of the nodes of the network begin so, but for its last convolution.
QUANTISABLE = 'network/'
_POOLS = {pooling.cd_max_pool: 'MaxPool', pooling.cd_avg_pool: 'AveragePool'}
# Of `rank_pooling.dynamic_image`.
_EPSILON = 1e-5


class _Graph:
  """Nodes and constants, in the order in which they are added."""

  def __init__(self):
    self.nodes = []
    self.constants = {}
    self.part = 'input/'

  def add(self, kind: str, *names: str, output: str = '', **attributes) -> str:
    """Adds a node with one output; returns the output's name."""
    output = output or f'{self.part}{kind.lower()}_{len(self.nodes)}'
    self.nodes.append(
      helper.make_node(
        kind,
        list(names),
        [output],
        name=f'{self.part}{kind.lower()}_{len(self.nodes)}',
        **attributes,
      )
    )
    return output

  def constant(self, value: Any, dtype: Any = np.float32) -> str:
    """Adds a constant, each value once; returns its name."""
    array = np.array(value, dtype, order='C')
    key = (array.dtype.str, array.shape, array.tobytes())
    if key not in self.constants:
      name = f'constant_{len(self.constants)}'
      self.constants[key] = numpy_helper.from_array(array, name)
    return self.constants[key].name

  def axes(self, *values: int) -> str:
    return self.constant(values, np.int64)

  def convolve(self, x: str, conv: folding.Convolution) -> str:
    height, width = conv.kernel.shape[2:]
    top, left = conv.dilation * (height // 2), conv.dilation * (width // 2)
    names = [x, self.constant(conv.kernel)]
    if conv.bias is not None:
      names.append(self.constant(conv.bias))
    return self.add(
      'Conv',
      *names,
      kernel_shape=[height, width],
      pads=[top, left, top, left],
      dilations=[conv.dilation] * 2,
      group=conv.groups,
    )


def build(
  model: nn.Module,
  variables: dict,
  form: inputs.InputForm,
  *,
  num_frames: int,
  image_size: int,
  face_scale: float,
  metadata: dict[str, str] | None = None,
) -> onnx.ModelProto:
  """Builds the graph of `signature.program`, in float32.

  Args:
    model: a `Network` or a `CDCN`.
    variables: dict with 'params' and 'batch_stats'.
    form: of the input.
    num_frames: K, frames of a clip.
    image_size: S, side of the frames.
    face_scale: side of the crop over the larger side of the face box.
    metadata: properties that the file carries.

  Returns:
    A checked model; the batch size is dynamic.

  Raises:
    ValueError: for exact rank pooling, which is an iterative solver, or for a
      network or an operation that has no form here; names it.
  """
  if form.fusion != 'static' and form.rank_pooling not in (
    rank_pooling.COEFFICIENTS
  ):
    raise ValueError(
      f'config.input.rank_pooling is {form.rank_pooling!r} in this run; ONNX '
      f'allows {", ".join(rank_pooling.COEFFICIENTS)}, which are weighted sums '
      'of the frames. StableHLO takes every kind.'
    )
  graph = _Graph()
  images = _input(graph, form, num_frames)
  graph.part = QUANTISABLE
  network = _Network(graph, variables)
  if isinstance(model, Network):
    choices = model.genotype.choices
    if choices is not None and choices.norm != 'batch':
      raise ValueError(
        f'choices.norm is {choices.norm!r} in the genotype of this run; ONNX '
        "allows 'batch', which goes into the convolutions. StableHLO takes "
        'every kind.'
      )
    maps = network.derived(model, images, image_size)
  elif isinstance(model, CDCN):
    maps = network.cdcn(model, images, image_size)
  else:
    raise ValueError(
      f'A {type(model).__name__} has no ONNX form; allowed: Network, CDCN.'
    )
  maps = graph.add('Squeeze', maps, graph.axes(1), output='map')
  _score(graph, maps, face_scale, model.output_size)
  side = model.output_size
  made = helper.make_model(
    helper.make_graph(
      graph.nodes,
      'nasfas_jax',
      [
        helper.make_tensor_value_info(
          'frames',
          TensorProto.UINT8,
          ['batch', num_frames, image_size, image_size, 3],
        ),
        helper.make_tensor_value_info(
          'face_size', TensorProto.FLOAT, ['batch', 2]
        ),
      ],
      [
        helper.make_tensor_value_info('score', TensorProto.FLOAT, ['batch']),
        helper.make_tensor_value_info(
          'map', TensorProto.FLOAT, ['batch', side, side]
        ),
      ],
      list(graph.constants.values()),
    ),
    opset_imports=[helper.make_opsetid('', OPSET)],
    ir_version=IR_VERSION,
    producer_name='nasfas_jax',
  )
  helper.set_model_props(made, metadata or {})
  onnx.checker.check_model(made, full_check=True)
  return made


def _input(graph: _Graph, form: inputs.InputForm, num_frames: int) -> str:
  """`inputs.network_input`: uint8 [B, K, S, S, 3] to [B, C, S, S].

  Rank pooling and the difference from the first frame are done in grey levels,
  which float32 holds exactly, and scaled afterwards.
  """
  frames = graph.add('Cast', 'frames', to=TensorProto.FLOAT)

  def frame(place):
    return graph.add('Gather', frames, graph.constant(place, np.int64), axis=1)

  static = frame(num_frames // 2)
  gain = None
  if form.normalization == 'clip':
    mean = graph.add('ReduceMean', frames, graph.axes(1, 2, 3))
    centred = graph.add('Sub', frames, mean)
    squares = graph.add('Mul', centred, centred)
    variance = graph.add('ReduceMean', squares, graph.axes(1, 2, 3, 4))
    # In units of 1 / 128 as in `inputs.network_input`.
    variance = graph.add('Add', variance, graph.constant(1.0))
    gain = graph.add('Div', graph.constant(0.5), graph.add('Sqrt', variance))
    gain = graph.add('Squeeze', gain, graph.axes(1))
    static = graph.add('Sub', static, graph.add('Squeeze', mean, graph.axes(1)))
    static = graph.add('Mul', static, gain)
  else:
    static = graph.add('Sub', static, graph.constant(127.5))
    static = graph.add('Mul', static, graph.constant(1 / 128))
  if form.fusion == 'static':
    return graph.add('Transpose', static, perm=[0, 3, 1, 2])
  dynamic = _dynamic(graph, frames, frame(0), gain, form, num_frames)
  if form.fusion == 'blend':
    half = graph.constant(0.5)
    fused = graph.add('Mul', graph.add('Add', static, dynamic), half)
  elif form.fusion == 'dynamic':
    fused = dynamic
  else:
    fused = graph.add('Concat', static, dynamic, axis=3)
  return graph.add('Transpose', fused, perm=[0, 3, 1, 2])


def _dynamic(graph, frames, first, gain, form, num_frames) -> str:
  """The dynamic image [B, S, S, 3], see `rank_pooling.dynamic_image`."""
  motion = graph.add(
    'Sub', frames, graph.add('Unsqueeze', first, graph.axes(1))
  )
  flat = graph.add(
    'Reshape', motion, graph.constant([0, num_frames, -1], np.int64)
  )
  coefficients = rank_pooling.COEFFICIENTS[form.rank_pooling](num_frames)
  pooled = graph.add('MatMul', graph.constant(coefficients[np.newaxis]), flat)
  pooled = graph.add('Reshape', pooled, graph.add('Shape', first))
  scale = graph.constant(1 / 128) if gain is None else gain
  pooled = graph.add('Mul', pooled, scale)
  everywhere = graph.axes(1, 2, 3)
  low = graph.add('ReduceMin', pooled, everywhere)
  high = graph.add('ReduceMax', pooled, everywhere)
  half = graph.constant(0.5)
  middle = graph.add('Mul', graph.add('Add', high, low), half)
  spread = graph.add('Mul', graph.add('Sub', high, low), half)
  spread = graph.add('Add', spread, graph.constant(_EPSILON))
  return graph.add('Div', graph.add('Sub', pooled, middle), spread)


def _score(graph, maps: str, face_scale: float, map_size: int) -> None:
  """`signature.face_mask` and `losses.map_score`; the output 'score' [B]."""
  smaller = graph.add('ReduceMin', 'face_size', graph.axes(1))
  known = graph.add('Greater', smaller, graph.constant(0.0))
  safe = graph.add('Where', known, 'face_size', graph.constant(1.0))
  stretch = graph.add('Div', graph.add('ReduceMax', safe, graph.axes(1)), safe)
  places = signature.ellipse_places(face_scale, map_size)
  offsets = graph.add(
    'Mul',
    graph.add('Unsqueeze', stretch, graph.axes(2)),
    graph.constant(places),
  )
  squares = graph.add('Mul', offsets, offsets)
  across, down = (
    graph.add('Gather', squares, graph.constant(place, np.int64), axis=1)
    for place in (0, 1)
  )
  distance = graph.add(
    'Add',
    graph.add('Unsqueeze', down, graph.axes(2)),
    graph.add('Unsqueeze', across, graph.axes(1)),
  )
  nearest = graph.add('ReduceMin', distance, graph.axes(1, 2))
  limit = graph.add(
    'Mul',
    graph.add('Max', nearest, graph.constant(1.0)),
    graph.constant(1.0 + transforms.ELLIPSE_SLACK),
  )
  inside = graph.add(
    'Cast',
    graph.add('LessOrEqual', distance, limit),
    to=TensorProto.FLOAT,
  )
  face = graph.add('ReduceSum', inside, graph.axes(1, 2), keepdims=0)
  known = graph.add('Squeeze', known, graph.axes(1))
  face = graph.add('Where', known, face, graph.constant(float(map_size**2)))
  total = graph.add('ReduceSum', maps, graph.axes(1, 2), keepdims=0)
  graph.add('Div', total, face, output='score')


class _Network:
  """Adds the layers of a network to a graph; feature maps are [B, C, H, W]."""

  def __init__(self, graph: _Graph, variables: dict):
    self.graph = graph
    self.variables = variables

  def _at(self, collection: str, path: tuple[str, ...]) -> dict:
    node = self.variables[collection]
    for name in path:
      node = node.get(name, {})
    return node

  def _norm(self, path: tuple[str, ...]) -> folding.Affine:
    path = (*path, 'norm')
    return folding.affine(
      self._at('params', path), self._at('batch_stats', path)
    )

  def block(self, x: str, *path: str, theta: float, **form) -> str:
    """`layers.CDConvBlock`."""
    kernel = self._at('params', (*path, 'conv'))['kernel']
    conv = folding.convolution(
      kernel, theta=theta, norm=self._norm(path), **form
    )
    return self.graph.add('Relu', self.graph.convolve(x, conv))

  def separable(self, x: str, *path: str, theta: float) -> str:
    """`layers.SeparableBlock`."""
    params = self._at('params', path)
    kernel = params['depthwise']['kernel']
    x = self.graph.convolve(
      x,
      folding.convolution(kernel, theta=theta, groups=np.shape(kernel)[-1]),
    )
    pointwise = folding.convolution(
      params['pointwise']['kernel'], theta=0.0, norm=self._norm(path)
    )
    return self.graph.add('Relu', self.graph.convolve(x, pointwise))

  def pool(self, x: str, *path: str, theta: float, kind: str) -> str:
    """Central difference pooling with the batch normalization after it."""
    window = {'kernel_shape': [3, 3], 'pads': [1] * 4, 'strides': [1, 1]}
    pooled = self.graph.add(kind, x, **window)
    norm = self._norm(path)
    channels = (-1, 1, 1)
    scale = self.graph.constant(norm.scale.reshape(channels))
    shift = self.graph.constant(norm.shift.reshape(channels))
    if theta:
      centre = self.graph.add('Mul', x, self.graph.constant(theta))
      pooled = self.graph.add('Sub', pooled, centre)
    return self.graph.add('Add', self.graph.add('Mul', pooled, scale), shift)

  def operation(self, x: str, name: str, theta: float, *path: str) -> str:
    """An operation of a cell, by the class of its module."""
    module = operations.make(name, theta=theta)
    # A table entry may set its own.
    theta = module.theta
    # Not its subclasses, which may compute something else.
    kind = type(module)
    if kind is operations.Identity:
      return x
    if kind is operations.Convolution:
      form = {'dilation': module.dilation, 'variant': module.variant}
      return self.block(x, *path, 'block', theta=theta, **form)
    if kind is operations.Expansion:
      for part in ('block_0', 'block_1'):
        x = self.block(x, *path, part, theta=theta)
      return x
    if kind is operations.Separable:
      return self.separable(x, *path, 'block', theta=theta)
    if kind is operations.Pool and module.pool in _POOLS:
      return self.pool(x, *path, theta=theta, kind=_POOLS[module.pool])
    raise ValueError(
      f'The operation {name!r} has no ONNX form; add one to '
      'nasfas_jax/exporting/onnx_graph.py, or export without ONNX.'
    )

  def cell(self, x: str, cell, theta: float, path: str) -> str:
    """`cells.DerivedCell`."""
    states = {0: x}
    for edge in sorted(cell.edges, key=lambda e: (e.target, e.source)):
      y = self.operation(
        states[edge.source],
        edge.operation,
        theta if edge.theta is None else edge.theta,
        path,
        f'from_{edge.source}_to_{edge.target}',
      )
      if edge.target in states:
        y = self.graph.add('Add', states[edge.target], y)
      states[edge.target] = y
    total = None
    for node, weight in cell.outputs:
      part = states[node]
      if weight != 1.0:
        part = self.graph.add('Mul', part, self.graph.constant(weight))
      total = part if total is None else self.graph.add('Add', total, part)
    return total

  def halve(self, x: str) -> str:
    """`layers.halve`."""
    return self.graph.add(
      'MaxPool', x, kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2]
    )

  def attention(self, x: str, *path: str) -> str:
    """`layers.SpatialAttention`."""
    channels = self.graph.axes(1)
    summary = self.graph.add(
      'Concat',
      self.graph.add('ReduceMean', x, channels),
      self.graph.add('ReduceMax', x, channels),
      axis=1,
    )
    kernel = self._at('params', (*path, 'conv'))['kernel']
    gate = self.graph.convolve(summary, folding.convolution(kernel, theta=0.0))
    return self.graph.add('Mul', x, self.graph.add('Sigmoid', gate))

  def head(
    self,
    levels: list[tuple[str, int]],
    *,
    output_size: int,
    num_blocks: int,
    theta: float,
    attention: bool,
  ) -> str:
    """`layers.FusionHead`; `levels` are (name, side). Returns [B, 1, S, S]."""
    parts = []
    for i, (x, side) in enumerate(levels):
      if attention:
        x = self.attention(x, 'head', f'attention_{i}')
      if side != output_size:
        # Two products, as in `pooling.resize_bilinear`. The node Resize loses
        # its sizes in onnxruntime's quantisation.
        weights = pooling.interpolation_weights(side, output_size)
        x = self.graph.add('MatMul', self.graph.constant(weights), x)
        x = self.graph.add('MatMul', x, self.graph.constant(weights.T))
      parts.append(x)
    x = self.graph.add('Concat', *parts, axis=1)
    for i in range(num_blocks):
      x = self.block(x, 'head', f'block_{i}', theta=theta)
    self.graph.part = 'score/'
    kernel = self._at('params', ('head', 'conv'))['kernel']
    x = self.graph.convolve(x, folding.convolution(kernel, theta=theta))
    return self.graph.add('Relu', x)

  def derived(self, model: Network, x: str, side: int) -> str:
    """`network.Network`; see `backbone.predict_map`."""
    theta = model.genotype.theta

    def level(name, x, prefix):
      for i, cell in enumerate(model.genotype.level(name)):
        x = self.cell(x, cell, theta, f'{prefix}{name}_{i}')
      return x

    streams = {'': x}
    if model.two_stream:
      streams = {
        prefix: self.graph.add(
          'Slice', x, self.graph.axes(first), self.graph.axes(last),
          self.graph.axes(1),
        )
        for prefix, first, last in (('', 0, 3), ('dynamic_', 3, 6))
      }  # fmt: skip
    lows = []
    for prefix, part in streams.items():
      for i in range(len(model.stem_features)):
        part = self.block(part, f'{prefix}stem_{i}', theta=theta)
      if model.stem_features[-1] != model.cell_features:
        part = self.block(part, f'{prefix}projection', theta=0.0)
      lows.append(level('low', part, prefix))
    x = lows[0]
    if model.two_stream:
      x = self.graph.add('Concat', *lows, axis=1)
      x = self.block(x, 'stream_fusion', theta=0.0)
    outputs = []
    for name in LEVELS:
      if name != 'low':
        x = level(name, x, '')
      x, side = self.halve(x), (side + 1) // 2
      outputs.append((x, side))
    return self.head(
      outputs,
      output_size=model.output_size,
      num_blocks=1,
      theta=theta,
      attention=bool(backbone.ATTENTION_KERNEL_SIZES),
    )

  def cdcn(self, model: CDCN, x: str, side: int) -> str:
    """`cdcn.CDCN`."""
    x = self.block(x, 'stem_0', theta=model.theta)
    outputs = []
    for name in LEVELS:
      for i in range(len(model.block_features)):
        x = self.block(x, f'{name}_{i}', theta=model.theta)
      x, side = self.halve(x), (side + 1) // 2
      outputs.append((x, side))
    return self.head(
      outputs,
      output_size=model.output_size,
      num_blocks=len(model.head_features),
      theta=model.theta,
      attention=False,
    )
