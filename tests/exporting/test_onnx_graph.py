"""The ONNX graph in onnxruntime, against the network in JAX."""

import dataclasses

import jax
import numpy as np
import pytest

from nasfas_jax import inputs, models
from nasfas_jax.exporting import clip_checks, signature
from nasfas_jax.models import genotypes, operations, search_spaces

onnx = pytest.importorskip('onnx')
onnxruntime = pytest.importorskip('onnxruntime')
from nasfas_jax.exporting import onnx_graph  # noqa: E402

FRAMES, SIDE, SCALE = 3, 14, 1.3


def every_operation():
  """A genotype in which each operation of 'nasfas' stands on an edge."""
  names = [n for n in search_spaces.SPACES['nasfas'].operations if n != 'none']
  cells = []
  for first in range(0, len(names), 4):
    chosen = names[first : first + 4]
    edges = [
      genotypes.Edge(0 if i < 2 else i - 1, i + 1, name)
      for i, name in enumerate(chosen)
    ]
    edges.append(genotypes.Edge(1, 2, chosen[0]))
    outputs = tuple((edge.target, 0.3 + edge.target) for edge in edges[:-1])
    cells.append((genotypes.Cell(tuple(edges), outputs),))
  assert len(cells) == 3
  return genotypes.Genotype('nasfas', 0.7, tuple(cells))


def drawn(model, form):
  """Variables with random batch statistics."""
  images = np.zeros((1, SIDE, SIDE, form.channels), np.float32)
  variables = models.initialize(model, jax.random.key(1), images)
  generator = np.random.default_rng(0)
  return jax.tree.map(
    lambda a: (
      np.asarray(a)
      if a.ndim > 1
      else generator.uniform(0.5, 1.5, a.shape).astype(np.float32)
    ),
    variables,
  )


def wide():
  """A genotype with a theta of its own on each edge."""
  cell = genotypes.Cell(
    (
      genotypes.Edge(0, 1, 'cdc_5x5', 0.0),
      genotypes.Edge(0, 2, 'skip_connect'),
      genotypes.Edge(1, 2, 'cd_max_pool_3x3', 0.3),
    ),
    ((2, 1.0),),
  )
  return genotypes.Genotype(
    'wide',
    0.7,
    ((cell, cell), (cell,), (cell,)),
    choices=genotypes.Choices(0.5, 'static', 'batch'),
  )


CASES = {
  'wide': (wide(), inputs.InputForm('static', 'approximate', 'fixed')),
  'two_stream': (
    every_operation(),
    inputs.InputForm('two_stream', 'approximate', 'clip'),
  ),
  'cdcn': ('cdcn', inputs.InputForm('blend', 'linear', 'fixed')),
}


@pytest.mark.parametrize('case', CASES)
def test_scores_and_maps_are_those_of_the_network(case):
  chosen, form = CASES[case]
  model = models.build_model(
    chosen,
    stem_features=(3, 4),
    cell_features=5,
    head_features=4,
    output_size=5,
    two_stream=form.fusion == 'two_stream',
  )
  variables = drawn(model, form)
  made = onnx_graph.build(
    model,
    variables,
    form,
    num_frames=FRAMES,
    image_size=SIDE,
    face_scale=SCALE,
    metadata={'threshold': '0.5'},
  )
  kinds = {node.op_type for node in made.graph.node}
  assert 'BatchNormalization' not in kinds
  session = onnxruntime.InferenceSession(
    made.SerializeToString(), providers=['CPUExecutionProvider']
  )
  assert session.get_modelmeta().custom_metadata_map == {'threshold': '0.5'}
  clips = clip_checks.generated(
    3, num_frames=FRAMES, image_size=SIDE, face_scale=SCALE, map_size=5
  )
  sizes = clips.face_size.copy()
  sizes[1] = 0
  program = jax.jit(
    signature.program(model, variables, form, face_scale=SCALE, map_size=5)
  )
  wanted = [np.asarray(part) for part in program(clips.frames, sizes)]
  assert wanted[1].max() > 0.02
  feed = {'frames': clips.frames, 'face_size': sizes}
  for part, found in zip(wanted, session.run(None, feed), strict=True):
    np.testing.assert_allclose(found, part, rtol=1e-4, atol=1e-5)
  # The batch size is free.
  one = {name: array[:1] for name, array in feed.items()}
  np.testing.assert_allclose(
    session.run(['score'], one)[0], wanted[0][:1], rtol=1e-4, atol=1e-5
  )


@pytest.mark.parametrize('normalization', inputs.NORMALIZATIONS)
@pytest.mark.parametrize('fusion', ['static', 'dynamic', 'concat'])
def test_the_input_is_that_of_the_network(fusion, normalization):
  form = inputs.InputForm(fusion, 'approximate', normalization)
  graph = onnx_graph._Graph()
  name = onnx_graph._input(graph, form, FRAMES)
  batch = ['batch', FRAMES, SIDE, SIDE, 3]
  made = onnx.helper.make_model(
    onnx.helper.make_graph(
      graph.nodes,
      'input',
      [onnx.helper.make_tensor_value_info('frames', 2, batch)],
      [onnx.helper.make_tensor_value_info(name, 1, None)],
      list(graph.constants.values()),
    ),
    opset_imports=[onnx.helper.make_opsetid('', onnx_graph.OPSET)],
    ir_version=onnx_graph.IR_VERSION,
  )
  session = onnxruntime.InferenceSession(
    made.SerializeToString(), providers=['CPUExecutionProvider']
  )
  frames = clip_checks.generated(
    4, num_frames=FRAMES, image_size=SIDE, face_scale=SCALE, map_size=5
  ).frames
  found = session.run(None, {'frames': frames})[0]
  wanted = np.asarray(jax.jit(inputs.network_input, static_argnums=1)(
    frames, form
  ))  # fmt: skip
  np.testing.assert_allclose(
    found.transpose(0, 2, 3, 1), wanted, rtol=1e-5, atol=2e-6
  )
  if fusion == 'dynamic':
    # A still clip has exactly no motion.
    assert not found[-1].any()


def test_what_has_no_form_is_refused(monkeypatch):
  model = models.build_model('cdcnpp', stem_features=(2, 2), cell_features=2)
  arguments = {'num_frames': 2, 'image_size': 8, 'face_scale': 1.0}
  exact = inputs.InputForm('concat', 'exact', 'fixed')
  with pytest.raises(ValueError, match="is 'exact' in this run; ONNX allows"):
    onnx_graph.build(model, {}, exact, **arguments)

  class New(operations.Convolution):
    """An operation that a user added; it may compute anything."""

  monkeypatch.setitem(operations.OPERATIONS, 'new', New)
  network = onnx_graph._Network(onnx_graph._Graph(), {})
  with pytest.raises(ValueError, match="operation 'new' has no ONNX form"):
    network.operation('x', 'new', 0.7)


def test_normalization_by_picture_has_no_onnx_form():
  genotype = dataclasses.replace(
    wide(), choices=genotypes.Choices(0.5, 'static', 'group')
  )
  with pytest.raises(ValueError, match="norm is 'group' .* allows 'batch'"):
    onnx_graph.build(
      models.build_model(genotype),
      {},
      inputs.InputForm('static', 'approximate', 'fixed'),
      num_frames=2,
      image_size=SIDE,
      face_scale=SCALE,
    )
