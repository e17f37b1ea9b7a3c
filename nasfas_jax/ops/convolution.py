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
import math

import jax
import jax.numpy as jnp
from jax.extend import core
from jax.interpreters import batching, mlir

from nasfas_jax.ops.cpu import banded, winograd

# What the CPU does in its own way; `python -m benchmarks.run --only=cpu_forms`
# leaves them out one by one and says what each gives.
CPU_FORMS = frozenset(
  ('banded', 'winograd', 'winograd_gradient', 'strips', 'one_by_one')
)

# XLA's kernel gradient on CPU is fast for at least so many images of at most so
# many output positions; other batches are cut into strips of rows, of which
# none has fewer than so many. Set by trials.
STRIPS = 8
STRIP_POSITIONS = 1 << 13
STRIP_ROWS = 8

# Winograd's forms on CPU: at least so many rows, channels on either side, and
# pairs of an input and an output channel. With fewer, the transforms cost what
# the products save. Set by trials.
WINOGRAD_ROWS = 16
WINOGRAD_CHANNELS = 64
WINOGRAD_PAIRS = 64 * 64
WINOGRAD_GRADIENT_CHANNELS = 128


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
    not in forward mode. On CPU a value that is not finite may spread beyond its
    window (`banded`, `winograd`).
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


def _suits_winograd(x, window, dilation):
  return (
    window == (3, 3)
    and dilation == 1
    and x.shape[1] >= WINOGRAD_ROWS
    # Its rounding is too coarse for half precision.
    and x.dtype in (jnp.float32, jnp.float64)
  )


def _suits_banded(x, channels, features, window):
  return (
    'banded' in CPU_FORMS
    and _are_known(x.shape[1:])
    and banded.suits(x.shape[2], channels, features, window)
  )


def _cpu_conv(x, kernel, *, dilation, window):
  channels, features = kernel.shape[2:]
  if _suits_banded(x, channels, features, window):
    return banded.banded_convolve(x, kernel, dilation=dilation)
  if (
    'winograd' in CPU_FORMS
    and _suits_winograd(x, window, dilation)
    and min(channels, features) >= WINOGRAD_CHANNELS
    and channels * features >= WINOGRAD_PAIRS
  ):
    return winograd.winograd_convolve(x, kernel)
  return _library(x, kernel, dilation=dilation)


def _cpu_input_gradient(g, kernel, *, dilation, window):
  channels, features = kernel.shape[2:]
  if _suits_banded(g, channels, features, window):
    transposed = jax.linear_transpose(
      lambda x: banded.banded_convolve(x, kernel, dilation=dilation),
      jax.ShapeDtypeStruct((*g.shape[:3], channels), g.dtype),
    )
    return transposed(g)[0]
  turned = jnp.swapaxes(jnp.flip(kernel, (0, 1)), 2, 3)
  return _cpu_conv(g, turned, dilation=dilation, window=window)


def _are_known(shape) -> bool:
  """Whether no dimension is a symbol, which has no size to choose by."""
  return all(isinstance(size, int) for size in shape)


def _strips(number: int, height: int, width: int) -> int:
  """How many strips of rows each of so many images is cut into."""
  strips = max(STRIPS / max(number, 1), height * width / STRIP_POSITIONS, 1)
  return min(math.ceil(strips), max(height // STRIP_ROWS, 1))


def _cpu_kernel_gradient(x, g, *, dilation, window):
  """A sum over strips of rows."""
  number, height, width, channels = x.shape
  features = g.shape[-1]
  if _suits_banded(x, channels, features, window):
    transposed = jax.linear_transpose(
      lambda kernel: banded.banded_convolve(x, kernel, dilation=dilation),
      jax.ShapeDtypeStruct((*window, channels, features), x.dtype),
    )
    return transposed(g)[0]
  if (
    'winograd_gradient' in CPU_FORMS
    and min(channels, features) >= WINOGRAD_GRADIENT_CHANNELS
    and _suits_winograd(x, window, dilation)
  ):
    return winograd.kernel_gradient(x, g)
  if 'strips' not in CPU_FORMS or not _are_known(x.shape):
    return _library_kernel_gradient(x, g, dilation=dilation, window=window)
  pads = [dilation * (side // 2) for side in window]
  strips = _strips(number, height, width)
  rows = -(-height // strips)
  below = rows * strips - height
  x = jnp.pad(x, ((0, 0), (pads[0], pads[0] + below), (pads[1],) * 2, (0, 0)))
  g = jnp.pad(g, ((0, 0), (0, below), (0, 0), (0, 0)))
  x = jnp.stack(
    [
      jax.lax.slice_in_dim(
        x, rows * strip, rows * (strip + 1) + 2 * pads[0], axis=1
      )
      for strip in range(strips)
    ],
    axis=1,
  )
  x = x.reshape(number * strips, *x.shape[2:])
  g = g.reshape(number * strips, rows, width, features)
  gradient = jax.lax.conv_general_dilated(
    x,
    g,
    window_strides=(dilation, dilation),
    padding='VALID',
    dimension_numbers=('CHWN', 'IHWO', 'HWNC'),
  )
  # By itself: XLA would fuse it with a sum over the taps that follows (that of
  # the folded kernel has one) into a kernel of its library, many times slower.
  return jax.lax.optimization_barrier(gradient)


_CPU = {
  'conv': _cpu_conv,
  'input_gradient': _cpu_input_gradient,
  'kernel_gradient': _cpu_kernel_gradient,
}


def _lower_library(first, second, *, kind, mapped, **static):
  function = functools.partial(_LIBRARY[kind], **static)
  for axes in reversed(mapped):
    function = jax.vmap(function, [0 if has else None for has in axes])
  return function(first, second)


def _lower_cpu(first, second, *, kind, mapped, **static):
  if not mapped:
    return _CPU[kind](first, second, **static)
  if 'one_by_one' not in CPU_FORMS:
    function = functools.partial(_CPU[kind], **static)
    for axes in reversed(mapped):
      function = jax.vmap(function, [0 if has else None for has in axes])
    return function(first, second)
  (of_first, of_second), *rest = mapped
  size = (first if of_first else second).shape[0]
  if kind != 'kernel_gradient' and not of_second and not rest:
    # One kernel for all: the batch axes are one.
    number = first.shape[1]
    y = _CPU[kind](
      first.reshape(size * number, *first.shape[2:]), second, **static
    )
    return y.reshape(size, number, *y.shape[1:])
  return jnp.stack(
    [
      _lower_cpu(
        first[i] if of_first else first,
        second[i] if of_second else second,
        kind=kind,
        mapped=rest,
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
