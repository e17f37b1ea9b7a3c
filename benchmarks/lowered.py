"""What the steps are when lowered for an accelerator; counted on any machine.

Nothing is compiled or run. Of the published sizes: the network's inference and
training step, the two steps of the plain search, and the gradient of a set of
four tasks, nearly all of a first-order meta-step.

The time to compile for a GPU grows with the operations, and above all with the
distinct convolutions: each is tried with every algorithm that might be fastest.
"""

import collections
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator

import jax
import ml_collections
from jax.extend import core

from benchmarks import meta
from nasfas_configs import search as search_config
from nasfas_jax import settings, supervised, train
from nasfas_jax.models import cost
from nasfas_jax.ops import convolution
from nasfas_jax.searchers import bilevel, meta_step
from nasfas_jax.searchers import meta as meta_lib

PLATFORMS = ('cuda', 'tpu')


@dataclasses.dataclass(frozen=True)
class Counts:
  """What a lowered program holds.

  Attributes:
    operations: all, those in the body of a loop once.
    convolutions: of the operations.
    shapes: convolutions that differ in shapes or attributes.
    kinds: number of operations of each kind.
  """

  operations: int
  convolutions: int
  shapes: int
  kinds: dict[str, int]


def count(lowered: jax.stages.Lowered) -> Counts:
  """Counts the operations of a lowered program, as if no call were left."""
  module = lowered.compiler_ir('stablehlo')
  functions = {
    function.attributes['sym_name'].value: function.operation
    for function in module.body.operations
  }

  @functools.cache
  def of_function(name: str):
    kinds, shapes = collections.Counter(), set()
    for operation in _inside(functions[name]):
      kind = operation.name
      if kind in ('func.call', 'call'):
        callee = of_function(operation.attributes['callee'].value)
        kinds.update(callee[0])
        shapes.update(callee[1])
      elif not kind.endswith('.return'):
        kinds[kind] += 1
      if kind == 'stablehlo.convolution':
        # Types and attributes are printed; names of values are not.
        operands = tuple(str(value.type) for value in operation.operands)
        attributes = tuple(
          str(operation.attributes[name])
          for name in _CONVOLUTION_ATTRIBUTES
          if name in operation.attributes
        )
        shapes.add((operands, attributes))
    return kinds, frozenset(shapes)

  kinds, shapes = of_function('main')
  return Counts(
    operations=sum(kinds.values()),
    convolutions=kinds['stablehlo.convolution'],
    shapes=len(shapes),
    kinds=dict(kinds.most_common()),
  )


_CONVOLUTION_ATTRIBUTES = (
  'dimension_numbers',
  'feature_group_count',
  'batch_group_count',
  'padding',
  'window_strides',
  'lhs_dilation',
  'rhs_dilation',
)


def _inside(operation) -> Iterator:
  """The operations in the regions of an operation, at any depth."""
  for region in operation.regions:
    for block in region:
      for inner in block.operations:
        yield inner.operation
        yield from _inside(inner.operation)


def convolution_bytes(function: Callable, *args) -> int:
  """What the convolutions of a function read and write, were nothing fused."""
  return _bytes(cost.needed_jaxpr(function, *args))


def _bytes(jaxpr: core.Jaxpr) -> int:
  total = 0
  for equation in jaxpr.eqns:
    name = equation.primitive.name
    if (
      equation.primitive is convolution.bilinear_p
      or name == 'conv_general_dilated'
    ):
      total += sum(
        math.prod(variable.aval.shape) * variable.aval.dtype.itemsize
        for variable in (*equation.invars, *equation.outvars)
      )
    else:
      times = equation.params['length'] if name == 'scan' else 1
      total += times * sum(map(_bytes, cost.inner_jaxprs(equation.params)))
  return total


class Case:
  """A function and the shapes of its arguments.

  Attributes:
    function: a pure function of arrays.
    args: arrays or their shapes.
  """

  def __init__(self, function: Callable, *args):
    self.function = function
    self.args = args

  def lower(self, platform: str) -> jax.stages.Lowered:
    """Lowers the function for a platform."""
    traced = jax.jit(self.function).trace(*self.args)
    return traced.lower(lowering_platforms=(platform,))

  def measure(self, platform: str) -> dict[str, float]:
    """Counts, 10^9 floating point operations, and bytes of convolutions."""
    found = count(self.lower(platform))
    return {
      'operations': found.operations,
      'convolutions': found.convolutions,
      'shapes': found.shapes,
      'gflop': 2e-9 * cost.count_macs(self.function, *self.args),
      'convolution_gib': convolution_bytes(self.function, *self.args) / 2**30,
    }


def inference(config: ml_collections.ConfigDict, batch_size: int) -> Case:
  """The network of a config on fused images."""
  model = settings.network(config, 'cdcnpp')
  example = settings.example_input(config)
  state = jax.eval_shape(_training_start(config, model))
  images = jax.ShapeDtypeStruct((batch_size, *example.shape[1:]), example.dtype)
  return Case(
    lambda variables, x: model.apply(variables, x, train=False).map,
    {'params': state.params, 'batch_stats': state.batch_stats},
    images,
  )


def _training_start(config, model) -> Callable:
  return functools.partial(
    train.initial_state,
    *(model, settings.example_input(config), config.seed),
    settings.training(config).optimizer(),
  )


def training(config: ml_collections.ConfigDict, batch_size: int) -> Case:
  """The training step of CDCN++, fusion of the frames included."""
  model = settings.network(config, 'cdcnpp')
  step = functools.partial(
    train.train_step,
    loss_fn=supervised.network_loss(
      model, settings.input_form(config), settings.objective(config)
    ),
    optimizer=settings.training(config).optimizer(),
  )
  state = jax.eval_shape(_training_start(config, model))
  return Case(step, state, _network_batch(config, batch_size))


def _network_batch(config, *lead):
  """A batch in the sizes of the network that is trained."""
  config = config.copy_and_resolve_references()
  config.supernet.output_size = config.network.output_size
  return meta.make_batch(config, *lead)


def search_steps(
  config: ml_collections.ConfigDict, batch_size: int
) -> dict[str, Case]:
  """The two steps of the plain search."""
  parts = meta.make_parts(config)
  state = jax.eval_shape(meta.initial(config, parts))
  batch = meta.make_batch(config, batch_size)
  on_weights, on_arch = bilevel.make_steps(parts.loss_fn, parts.search)
  return {
    'weight step': Case(on_weights, state, batch),
    'architecture step': Case(on_arch, state, batch, batch),
  }


def set_gradients(
  config: ml_collections.ConfigDict, num_tasks: int | None = None
) -> Case:
  """The gradients of a support set of each task.

  Args:
    config: of a search over tasks.
    num_tasks: computed together; None: all of a step. A single device runs them
      one after another.
  """
  parts = meta.make_parts(config)
  state = jax.eval_shape(meta.initial(config, parts))
  number = num_tasks or parts.meta.num_tasks
  adapted = jax.eval_shape(
    lambda state: meta_lib.per_task(state.params, number), state
  )

  def gradients(state, adapted, batches):
    loss_fn = meta_step.loss_of(
      state, parts.loss_fn, parts.meta.domain_statistics
    )
    return meta_lib.set_gradients(loss_fn, adapted, state.arch, batches)

  batches = meta.make_batch(config, number, parts.meta.support_size)
  return Case(gradients, state, adapted, batches)


def cases(
  variant: str,
  change: Callable[[ml_collections.ConfigDict], None] = lambda config: None,
) -> dict[str, Case]:
  """The steps of a size of `configs/search.py`, by name.

  Args:
    variant: of the config.
    change: changes the configs in place.
  """
  config = search_config.get_config(variant)
  tasks = search_config.get_config(f'{variant},domain'.strip(','))
  for one in (config, tasks):
    change(one)
  plain = config.search.batch_size
  return {
    'CDCN++ inference, batch 32': inference(config, 32),
    'CDCN++ training step, batch 32': training(config, 32),
    **{
      f'plain search, {name}, batch {plain}': case
      for name, case in search_steps(config, plain).items()
    },
    f'gradient of a support set of {tasks.meta.support_size}': set_gradients(
      tasks, 1
    ),
  }


def measure(variant: str = 'paper') -> dict[str, dict[str, dict[str, float]]]:
  """{platform: {step: see `Case.measure`}}."""
  found = {platform: {} for platform in PLATFORMS}
  for name, case in cases(variant).items():
    for platform in PLATFORMS:
      found[platform][name] = case.measure(platform)
  return found
