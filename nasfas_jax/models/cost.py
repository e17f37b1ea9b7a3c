"""The cost of a network in parameters and multiply-accumulates."""

import math
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
from jax.extend import core
from jax.interpreters import partial_eval

from nasfas_jax.ops import convolution


class Cost(NamedTuple):
  """Of a network: its parameters, and multiply-accumulates of its input."""

  parameters: int
  macs: int


def count_macs(function: Callable, *args) -> int:
  """Counts the multiply-accumulates of convolutions and matrix products.

  Nothing is computed. As usual, element-wise operations are not counted. A
  convolution is counted by its definition, in whatever form it is lowered, and
  the body of a `jax.lax.scan` as often as it runs. What is computed again in a
  backward pass is counted again, and what no result needs is not.

  Args:
    function: of arrays.
    *args: arrays or shapes.

  Returns:
    The count for these arguments, for their whole batch.
  """
  return _count(needed_jaxpr(function, *args))


def needed_jaxpr(function: Callable, *args) -> core.Jaxpr:
  """What is computed for a function's results, at any depth.

  A trace alone has more: a gradient of which a part is used has the rest, too.
  """
  whole = jax.make_jaxpr(function)(*args).jaxpr
  return partial_eval.dce_jaxpr(whole, [True] * len(whole.outvars))[0]


def of_network(model: nn.Module, example: jax.ShapeDtypeStruct) -> Cost:
  """The cost of a network in inference; nothing is computed.

  Args:
    model: of pictures alone.
    example: shape and dtype of its input.
  """
  return of_module(model, example, lambda outputs: outputs.map)


def of_module(
  module: nn.Module,
  example: jax.ShapeDtypeStruct,
  result: Callable = lambda outputs: outputs,
) -> Cost:
  """The cost of a module in inference; nothing is computed.

  Args:
    module: takes an array and `train`.
    example: shape and dtype of the array.
    result: what is wanted of the module's output.
  """
  variables = jax.eval_shape(
    lambda x: module.init(jax.random.key(0), x, train=False), example
  )
  macs = count_macs(
    lambda variables, x: result(module.apply(variables, x, train=False)),
    *(variables, example),
  )
  parameters = variables.get('params', {})
  sizes = [leaf.size for leaf in jax.tree.leaves(parameters)]
  return Cost(parameters=sum(sizes), macs=macs)


def _count(jaxpr: core.Jaxpr) -> int:
  total = 0
  for equation in jaxpr.eqns:
    name = equation.primitive.name
    if equation.primitive is convolution.bilinear_p:
      total += _convolution(equation)
    elif name == 'scan':
      times = equation.params['length']
      total += times * _count(equation.params['jaxpr'].jaxpr)
    elif name == 'conv_general_dilated':
      kernel = equation.invars[1].aval.shape
      spec = equation.params['dimension_numbers'].rhs_spec
      per_output = math.prod(kernel) // kernel[spec[0]]
      positions = math.prod(equation.outvars[0].aval.shape)
      # The gradient of a stride multiplies by the zeros between positions.
      between = math.prod(equation.params['lhs_dilation'])
      total += per_output * positions // between
    elif name == 'dot_general':
      contracting = equation.params['dimension_numbers'][0][0]
      left = equation.invars[0].aval.shape
      per_output = math.prod(left[axis] for axis in contracting)
      total += per_output * math.prod(equation.outvars[0].aval.shape)
    else:
      total += sum(_count(inner) for inner in inner_jaxprs(equation.params))
  return total


def _convolution(equation: core.JaxprEqn) -> int:
  """The count of a convolution or of one of its two gradients."""
  result = equation.outvars[0].aval.shape
  first, second = (variable.aval.shape for variable in equation.invars)
  if equation.params['kind'] == 'kernel_gradient':
    return math.prod(result) * math.prod(first[-4:-1])
  # A kernel, applied at every position of every image.
  return math.prod(second[-4:]) * math.prod(result[:-1])


def inner_jaxprs(params: dict) -> list[core.Jaxpr]:
  """The jaxprs inside an equation, such as that of a custom derivative."""
  found = []
  for value in params.values():
    if isinstance(value, core.ClosedJaxpr):
      found.append(value.jaxpr)
    elif isinstance(value, core.Jaxpr):
      found.append(value)
  return found
