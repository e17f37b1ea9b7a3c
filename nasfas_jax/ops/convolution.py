"""Convolution in the form that the backend runs and differentiates fastest.

On GPU and TPU it is XLA's own. On CPU, XLA's derivatives of a convolution are
slow in three places: the weight gradient of large images, any derivative of a
derivative, and `jax.vmap` over the kernels (a grouped convolution). There a
stride 1 convolution and its two gradients are a family closed under
differentiation: each one's derivative is written with the other two, so every
order runs in the same three fast forms, and a batch of kernels runs one by one.
Convolutions of many channels are Winograd's there (`winograd`), those of one or
two a matrix product (`banded`).
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap

from nasfas_jax.ops.cpu import banded, winograd

# XLA's kernel gradient on CPU is fast for at least so many images of at most so
# many output positions; other batches are cut into strips of rows, of which
# none has fewer than so many. Set by trials; what comes out is measured by
# `python -m benchmarks.run --only=operators`.
STRIPS = 8
STRIP_POSITIONS = 1 << 13
STRIP_ROWS = 8

# Winograd's forms on CPU: at least so many rows, channels on either side, and
# pairs of an input and an output channel. With fewer, the transforms cost what
# the products save. Set by trials, measured by the same command.
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
    x: [N, H, W, C] float.
    kernel: [kh, kw, C // groups, O] in the dtype of `x`, kh and kw odd.
    strides: step between outputs, at least 1.
    dilation: step between taps, at least 1.
    groups: number of channel groups.

  Returns:
    [N, ceil(H / strides), ceil(W / strides), O] in the dtype of `x`.
    Differentiable in reverse mode, to any order; with stride and groups of 1
    on CPU not in forward mode. There a value that is not finite may spread
    beyond its window (`banded`, `winograd`).
  """
  if strides == groups == 1 and jax.default_backend() == 'cpu':
    if banded.suits(x, kernel):
      return banded.banded_convolve(x, kernel, dilation=dilation)
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


def _suits_winograd(x, window, dilation):
  return (
    window == (3, 3)
    and dilation == 1
    and x.shape[1] >= WINOGRAD_ROWS
    # Its rounding is too coarse for half precision.
    and x.dtype in (jnp.float32, jnp.float64)
  )


def _plain_conv(x, kernel, *, dilation):
  channels, features = kernel.shape[2:]
  if (
    _suits_winograd(x, kernel.shape[:2], dilation)
    and min(channels, features) >= WINOGRAD_CHANNELS
    and channels * features >= WINOGRAD_PAIRS
  ):
    return winograd.winograd_convolve(x, kernel)
  return _library(x, kernel, dilation=dilation)


def _plain_input_gradient(g, kernel, *, dilation):
  """The cotangent of x: a convolution with the kernel turned around."""
  turned = jnp.swapaxes(jnp.flip(kernel, (0, 1)), 2, 3)
  return _plain_conv(g, turned, dilation=dilation)


def _plain_kernel_gradient(x, g, *, dilation, window):
  """The cotangent of the kernel [kh, kw, C, O], a sum over strips of rows."""
  number, height, width, channels = x.shape
  enough = min(channels, g.shape[-1]) >= WINOGRAD_GRADIENT_CHANNELS
  if enough and _suits_winograd(x, window, dilation):
    return winograd.kernel_gradient(x, g)
  pads = [dilation * (side // 2) for side in window]
  strips = max(STRIPS / number, height * width / STRIP_POSITIONS, 1)
  strips = min(math.ceil(strips), max(height // STRIP_ROWS, 1))
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
  g = g.reshape(number * strips, rows, width, -1)
  transposed = jax.linear_transpose(
    lambda kernel: jax.lax.conv_general_dilated(
      x,
      kernel,
      window_strides=(1, 1),
      padding='VALID',
      rhs_dilation=(dilation, dilation),
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    ),
    jax.ShapeDtypeStruct((*window, channels, g.shape[-1]), x.dtype),
  )
  # By itself: XLA would fuse it with a sum over the taps that follows (that of
  # the folded kernel has one) into a kernel of its library, many times slower.
  return jax.lax.optimization_barrier(transposed(g)[0])


_PLAIN = {
  'conv': _plain_conv,
  'input_gradient': _plain_input_gradient,
  'kernel_gradient': _plain_kernel_gradient,
}


@functools.cache
def _bilinear(kind: str, **static):
  """One of the three bilinear maps, with its own form under vmap."""
  function = custom_vmap(functools.partial(_PLAIN[kind], **static))

  @function.def_vmap
  def rule(axis_size, in_batched, first, second):
    first_batched, second_batched = in_batched
    if kind != 'kernel_gradient' and not second_batched:
      # One kernel for all: the batch axes are one.
      merged = first.reshape(-1, *first.shape[2:])
      y = function(merged, second)
      return y.reshape(axis_size, -1, *y.shape[1:]), True
    results = [
      function(
        first[i] if first_batched else first,
        second[i] if second_batched else second,
      )
      for i in range(axis_size)
    ]
    return jnp.stack(results), True

  return function


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv(x, kernel, dilation):
  return _bilinear('conv', dilation=dilation)(x, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _input_gradient(g, kernel, dilation):
  return _bilinear('input_gradient', dilation=dilation)(g, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _kernel_gradient(x, g, dilation, window):
  return _bilinear('kernel_gradient', dilation=dilation, window=window)(x, g)


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
