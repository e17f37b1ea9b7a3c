"""The cost of a network in multiply-accumulates."""

import math
from collections.abc import Callable

import jax
from jax.extend import core

from nasfas_jax.ops import convolution


def count_macs(function: Callable, *args) -> int:
  """Counts the multiply-accumulates of convolutions and matrix products.

  Nothing is computed. As usual, element-wise operations are not counted. A
  convolution is counted by its definition, in whatever form it is lowered.

  Args:
    function: of arrays; must not use `jax.vmap` or derivatives.
    *args: arrays or shapes.

  Returns:
    The count for these arguments, for their whole batch.
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
  """The jaxprs inside an equation, such as that of a custom derivative."""
  found = []
  for value in params.values():
    if isinstance(value, core.ClosedJaxpr):
      found.append(value.jaxpr)
    elif isinstance(value, core.Jaxpr):
      found.append(value)
  return found
