"""Convolution, in the form that is fastest on each platform.

On TPU it is XLA's own convolution. On NVIDIA's GPUs it is that, too, with
channels that cuDNN need not pad. On CPU, XLA is slow in three places:
the kernel gradient of large images, derivatives of derivatives, and `jax.vmap`
over kernels, which makes a grouped convolution. The last one is slow on GPUs,
too.

A convolution with stride 1 and its two gradients are closed under
differentiation: the derivatives of each are the other two. So derivatives of
any order run in the same three forms. The three are one JAX primitive, whose
form is chosen when a program is lowered for a platform, not when it is traced.
So a CPU host can lower and export programs for other platforms. The precision
of the products is that of the trace, as with JAX's own operations: a network
can be traced in `jax.default_matmul_precision` and lowered after it.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jax.extend import core
from jax.interpreters import batching, mlir

from nasfas_jax.ops.cpu import strips

# The forms of the CPU: 'strips' computes the kernel gradient in strips of rows,
# 'one_by_one' applies a batch of kernels one after another.
# `python -m benchmarks.run --only=cpu_forms` measures what each of them gains.
CPU_FORMS = frozenset(('strips', 'one_by_one'))
# Those of NVIDIA's GPUs. cuDNN is slow at a grouped convolution, too.
CUDA_FORMS = frozenset(('one_by_one',))
# A policy of `jax.checkpoint`: results of convolutions are kept, and the rest
# is computed again in the backward pass.
_RESULT = 'convolution'
KEEP_RESULTS = jax.checkpoint_policies.save_only_these_names(_RESULT)


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
  y = (
    _conv(x, kernel, dilation)
    if strides == groups == 1
    else _library(x, kernel, dilation=dilation, strides=strides, groups=groups)
  )
  return checkpoint_name(y, _RESULT)


def _library(x, kernel, *, dilation, strides=1, groups=1):
  # Explicit, never 'SAME': with a stride, 'SAME' can pad one side more, which
  # moves the centre tap off the centre of the window.
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


# XLA's own form of each of the three bilinear maps.


def _library_conv(x, kernel, *, dilation, window):
  del window
  return _library(x, kernel, dilation=dilation)


def _library_input_gradient(g, kernel, *, dilation, window):
  """The cotangent of x: a convolution with the kernel flipped."""
  return jax.lax.conv_general_dilated(
    g,
    jax.lax.rev(kernel, (0, 1)),
    window_strides=(1, 1),
    padding=[(dilation * (side // 2),) * 2 for side in window],
    rhs_dilation=(dilation, dilation),
    dimension_numbers=('NHWC', 'HWOI', 'NHWC'),
  )


def _library_kernel_gradient(x, g, *, dilation, window):
  """The cotangent of the kernel: the axes of images and channels swap."""
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
  # A symbolic dimension has no size to choose the strips by.
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


def _one_by_one(form, first, second, *, kind, mapped):
  """Applies a form to a batch of kernels one after another."""
  if not mapped:
    return form(first, second)
  (of_first, of_second), *inner = mapped
  size = (first if of_first else second).shape[0]
  if kind != 'kernel_gradient' and not of_second and not inner:
    # One kernel for all: merge the two batch axes.
    number = first.shape[1]
    merged = first.reshape(size * number, *first.shape[2:])
    y = form(merged, second)
    return y.reshape(size, number, *y.shape[1:])
  return jnp.stack(
    [
      _one_by_one(
        form,
        first[i] if of_first else first,
        second[i] if of_second else second,
        kind=kind,
        mapped=inner,
      )
      for i in range(size)
    ]
  )


def _lower_cpu(first, second, *, kind, mapped, **static):
  if 'one_by_one' not in CPU_FORMS:
    return _vmapped(_CPU[kind], mapped, static)(first, second)
  form = functools.partial(_CPU[kind], **static)
  return _one_by_one(form, first, second, kind=kind, mapped=mapped)


# Bytes of channels that matrix units of a GPU take at a time. Where channels do
# not fill them, cuDNN copies inputs and results of a convolution to and from
# wider buffers. That took 13 of the 45 ms of a training step of CDCN++ on an
# H100: its cells have 153, 179 and 204 channels inside. XLA puts zeros there
# while it computes the input. Convolutions with a stride or groups, such as
# depthwise ones, stay as they are.
CHANNEL_BYTES = 16


def _widen(array, axes):
  """Zeros behind the last `axes` axes, of channels, see `CHANNEL_BYTES`."""
  multiple = CHANNEL_BYTES // array.dtype.itemsize
  # Fewer than one multiple are left as they are; more was not tried.
  gaps = [
    -size % multiple if size > multiple else 0
    for size in array.shape[array.ndim - axes :]
  ]
  if not any(gaps):
    return array
  widths = [(0, 0, 0)] * (array.ndim - axes) + [(0, gap, 0) for gap in gaps]
  return jax.lax.pad(array, np.zeros((), array.dtype), widths)


def _cuda(first, second, *, kind, **static):
  # Pictures end in one axis of channels, kernels in two.
  axes = 1, 1 if kind == 'kernel_gradient' else 2
  found = _LIBRARY[kind](*map(_widen, (first, second), axes), **static)
  channels = {
    'conv': second.shape[-1:],
    'input_gradient': second.shape[-2:-1],
    'kernel_gradient': (first.shape[-1], second.shape[-1]),
  }[kind]
  for axis, size in enumerate(channels, found.ndim - len(channels)):
    if found.shape[axis] > size:
      found = jax.lax.slice_in_dim(found, 0, size, axis=axis)
  return found


def _lower_cuda(first, second, *, kind, mapped, **static):
  form = functools.partial(_cuda, kind=kind, **static)
  if 'one_by_one' not in CUDA_FORMS:
    return _vmapped(form, mapped, {})(first, second)
  return _one_by_one(form, first, second, kind=kind, mapped=mapped)


# One of the three bilinear maps, `kind`, with further leading axes. For each of
# them, outermost first, `mapped` says whether the first and the second factor
# have it.
bilinear_p = core.Primitive('nasfas_convolution')


@functools.cache
def _jitted(**static):
  return jax.jit(functools.partial(bilinear_p.bind, **static))


@bilinear_p.def_impl
def _run(first, second, **static):
  return _jitted(**static)(first, second)


@bilinear_p.def_abstract_eval
def _shape(first, second, *, kind, mapped, dilation, window, precision):
  del dilation, precision
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


def _lowering(form):
  """A form in the precision of the trace, as a rule of lowering."""

  def as_traced(first, second, *, precision, **static):
    with jax.default_matmul_precision(precision):
      return form(first, second, **static)

  return mlir.lower_fun(as_traced, multiple_results=False)


batching.primitive_batchers[bilinear_p] = _map
mlir.register_lowering(bilinear_p, _lowering(_lower_library))
mlir.register_lowering(bilinear_p, _lowering(_lower_cpu), platform='cpu')
mlir.register_lowering(bilinear_p, _lowering(_lower_cuda), platform='cuda')


def _bilinear(kind, first, second, dilation, window):
  return bilinear_p.bind(
    first,
    second,
    kind=kind,
    mapped=(),
    dilation=dilation,
    window=window,
    precision=jax.config.jax_default_matmul_precision,
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
  """The forward rule: the result, and both factors as residuals."""
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
