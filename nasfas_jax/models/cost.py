"""What a network costs: multiply-accumulate operations of one input."""

import math
from collections.abc import Callable

import jax
from jax.extend import core

from nasfas_jax.ops import convolution


def count_macs(function: Callable, *args) -> int:
  """Counts the multiply-accumulates of convolutions and matrix products.

  Nothing is computed; element-wise operations are not counted, as usual, and a
  convolution counts by its definition, whatever form it is lowered to.

  Args:
    function: of arrays, without `jax.vmap` and derivatives inside.
    *args: arrays or shapes.

  Returns:
    The count for these arguments, so for their whole batch.
  """
  return _count(jax.make_jaxpr(function)(*args).jaxpr)


def _count(jaxpr: core.Jaxpr) -> int:
  total = 0
  for equation in jaxpr.eqns:
    name = equation.primitive.name
    if equation.primitive is convolution.bilinear_p:
      image = equation.invars[0].aval.shape
      kernel = equation.invars[1].aval.shape
      total += math.prod(kernel) * math.prod(image[:3])
    elif name == 'conv_general_dilated':
      kernel = equation.invars[1].aval.shape
      spec = equation.params['dimension_numbers'].rhs_spec
      per_output = math.prod(kernel) // kernel[spec[0]]
      total += per_output * math.prod(equation.outvars[0].aval.shape)
    elif name == 'dot_general':
      contracting = equation.params['dimension_numbers'][0][0]
      left = equation.invars[0].aval.shape
      per_output = math.prod(left[axis] for axis in contracting)
      total += per_output * math.prod(equation.outvars[0].aval.shape)
    else:
      total += sum(_count(inner) for inner in _inner(equation.params))
  return total


def _inner(params: dict) -> list[core.Jaxpr]:
  """The programs that an operation calls, such as a custom derivative's."""
  found = []
  for value in params.values():
    if isinstance(value, core.ClosedJaxpr):
      found.append(value.jaxpr)
    elif isinstance(value, core.Jaxpr):
      found.append(value)
  return found
