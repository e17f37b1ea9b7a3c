"""Convolution in the form that the platform runs and differentiates fastest.

On GPU and TPU it is XLA's own. On CPU, XLA's derivatives of a convolution are
slow in three places: the weight gradient of large images, any derivative of a
derivative, and `jax.vmap` over the kernels (a grouped convolution).

So a stride 1 convolution and its two gradients are a family closed under
differentiation: each one's derivative is written with the other two, and every
order runs in the same three forms. The three are one JAX primitive. Its form is
chosen where the program is lowered for a platform, not where it is traced, so
that a CPU host can lower or export for another platform. `CPU_FORMS` are those
of the CPU.
"""

import functools

import jax
import jax.numpy as jnp
from jax.extend import core
from jax.interpreters import batching, mlir

from nasfas_jax.ops.cpu import strips

# What the CPU does in its own way: `strips` takes the kernel's gradient of
# strips of rows, `one_by_one` a batch of kernels one after the other.
# `python -m benchmarks.run --only=cpu_forms` leaves each out and says what it
# gives.
CPU_FORMS = frozenset(('strips', 'one_by_one'))


def convolve(
  x: jax.Array,
  kernel: jax.Array,
  *,
  strides: int = 1,
  dilation: int = 1,
  groups: int = 1,
) -> jax.Array:
  """Convolution with zero padding of dilation * (k // 2) on every side.

  Args:
    x: [N, H, W, C] float. N may be 0, or a symbolic dimension of `jax.export`.
    kernel: [kh, kw, C // groups, O] in the dtype of `x`, kh and kw odd.
    strides: step between outputs, at least 1.
    dilation: step between taps, at least 1.
    groups: number of channel groups.

  Returns:
    [N, ceil(H / strides), ceil(W / strides), O] in the dtype of `x`.
    Differentiable in reverse mode, to any order; with stride and groups of 1
    not in forward mode.
  """
  if strides == groups == 1:
    return _conv(x, kernel, dilation)
  return _library(x, kernel, dilation=dilation, strides=strides, groups=groups)


def _library(x, kernel, *, dilation, strides=1, groups=1):
  # Explicit, never 'SAME': with a stride 'SAME' pads one side more, which
  # moves the centre tap off the window centre.
  padding = [(dilation * (side // 2),) * 2 for side in kernel.shape[:2]]
  return jax.lax.conv_general_dilated(
    x,
    kernel,
    window_strides=(strides, strides),
    padding=padding,
    rhs_dilation=(dilation, dilation),
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    feature_group_count=groups,
  )


# XLA's own forms of the three bilinear maps, those of its derivatives.


def _library_conv(x, kernel, *, dilation, window):
  del window
  return _library(x, kernel, dilation=dilation)


def _library_input_gradient(g, kernel, *, dilation, window):
  """The cotangent of x: a convolution with the kernel turned around."""
  return jax.lax.conv_general_dilated(
    g,
    jax.lax.rev(kernel, (0, 1)),
    window_strides=(1, 1),
    padding=[(dilation * (side // 2),) * 2 for side in window],
    rhs_dilation=(dilation, dilation),
    dimension_numbers=('NHWC', 'HWOI', 'NHWC'),
  )


def _library_kernel_gradient(x, g, *, dilation, window):
  """The cotangent of the kernel: images are channels, channels images."""
  return jax.lax.conv_general_dilated(
    x,
    g,
    window_strides=(dilation, dilation),
    padding=[(dilation * (side // 2),) * 2 for side in window],
    dimension_numbers=('CHWN', 'IHWO', 'HWNC'),
  )


_LIBRARY = {
  'conv': _library_conv,
  'input_gradient': _library_input_gradient,
  'kernel_gradient': _library_kernel_gradient,
}


def _cpu_kernel_gradient(x, g, *, dilation, window):
  # A symbolic dimension has no size by which to cut.
  known = all(isinstance(size, int) for size in x.shape)
  if 'strips' not in CPU_FORMS or not known:
    return _library_kernel_gradient(x, g, dilation=dilation, window=window)
  return strips.kernel_gradient(x, g, dilation=dilation, window=window)


_CPU = {**_LIBRARY, 'kernel_gradient': _cpu_kernel_gradient}


def _lower_library(first, second, *, kind, mapped, **static):
  return _vmapped(_LIBRARY[kind], mapped, static)(first, second)


def _vmapped(function, mapped, static):
  function = functools.partial(function, **static)
  for axes in reversed(mapped):
    function = jax.vmap(function, [0 if has else None for has in axes])
  return function


def _lower_cpu(first, second, *, kind, mapped, **static):
  if 'one_by_one' not in CPU_FORMS:
    return _vmapped(_CPU[kind], mapped, static)(first, second)
  if not mapped:
    return _CPU[kind](first, second, **static)
  (of_first, of_second), *inner = mapped
  size = (first if of_first else second).shape[0]
  if kind != 'kernel_gradient' and not of_second and not inner:
    # One kernel for all: the batch axes are one.
    number = first.shape[1]
    merged = first.reshape(size * number, *first.shape[2:])
    y = _CPU[kind](merged, second, **static)
    return y.reshape(size, number, *y.shape[1:])
  return jnp.stack(
    [
      _lower_cpu(
        first[i] if of_first else first,
        second[i] if of_second else second,
        kind=kind,
        mapped=inner,
        **static,
      )
      for i in range(size)
    ]
  )


# One of the three bilinear maps, `kind`, with leading axes: `mapped` says of
# each, outermost first, whether the first and the second factor have it.
bilinear_p = core.Primitive('nasfas_convolution')


@functools.cache
def _jitted(**static):
  return jax.jit(functools.partial(bilinear_p.bind, **static))


@bilinear_p.def_impl
def _run(first, second, **static):
  return _jitted(**static)(first, second)


@bilinear_p.def_abstract_eval
def _shape(first, second, *, kind, mapped, dilation, window):
  del dilation
  firsts, seconds = iter(first.shape), iter(second.shape)
  lead = []
  for axes in mapped:
    sizes = [
      next(of) for of, has in zip((firsts, seconds), axes, strict=True) if has
    ]
    lead.append(sizes[0])
  if kind == 'kernel_gradient':
    shape = (*window, first.shape[-1], second.shape[-1])
  else:
    shape = (*first.shape[-4:-1], second.shape[-1 if kind == 'conv' else -2])
  return jax.core.ShapedArray((*lead, *shape), first.dtype)


def _map(factors, axes, *, mapped, **static):
  factors = [
    factor if axis is None else jnp.moveaxis(factor, axis, 0)
    for factor, axis in zip(factors, axes, strict=True)
  ]
  has = tuple(axis is not None for axis in axes)
  return bilinear_p.bind(*factors, mapped=(has, *mapped), **static), 0


batching.primitive_batchers[bilinear_p] = _map
mlir.register_lowering(
  bilinear_p, mlir.lower_fun(_lower_library, multiple_results=False)
)
mlir.register_lowering(
  bilinear_p,
  mlir.lower_fun(_lower_cpu, multiple_results=False),
  platform='cpu',
)


def _bilinear(kind, first, second, dilation, window):
  return bilinear_p.bind(
    first, second, kind=kind, mapped=(), dilation=dilation, window=window
  )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv(x, kernel, dilation):
  return _bilinear('conv', x, kernel, dilation, kernel.shape[:2])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _input_gradient(g, kernel, dilation):
  return _bilinear('input_gradient', g, kernel, dilation, kernel.shape[:2])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _kernel_gradient(x, g, dilation, window):
  return _bilinear('kernel_gradient', x, g, dilation, window)


def _forward(function):
  """The forward rule: the result, and both factors for the backward one."""
  return lambda first, second, *static: (
    function(first, second, *static),
    (first, second),
  )


def _conv_backward(dilation, factors, g):
  x, kernel = factors
  return (
    _input_gradient(g, kernel, dilation),
    _kernel_gradient(x, g, dilation, kernel.shape[:2]),
  )


def _input_gradient_backward(dilation, factors, h):
  g, kernel = factors
  return (
    _conv(h, kernel, dilation),
    _kernel_gradient(h, g, dilation, kernel.shape[:2]),
  )


def _kernel_gradient_backward(dilation, window, factors, v):
  del window
  x, g = factors
  return _input_gradient(g, v, dilation), _conv(x, v, dilation)


_conv.defvjp(_forward(_conv), _conv_backward)
_input_gradient.defvjp(_forward(_input_gradient), _input_gradient_backward)
_kernel_gradient.defvjp(_forward(_kernel_gradient), _kernel_gradient_backward)
