"""Layers shared by the supernet, derived networks and CDCN.

Feature maps are [N, H, W, C]. Convolutions have no bias, and kernels start He
normal. `dtype` is that of the computation; parameters are float32.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from nasfas_jax.models import initializers
from nasfas_jax.models.search_spaces import NORMS
from nasfas_jax.ops import central_difference, convolution, pooling
from nasfas_jax.ops import normalization as normalization_lib

# Scales He's standard deviation for the last convolution. At 1 the first maps
# lie far above the mostly empty targets, and a high initial learning rate kills
# the last ReLU.
LAST_INIT_SCALE = 0.1
# Flax's momentum: the share of the old running statistics in the new ones.
BATCH_NORM_MOMENTUM = 0.9
BATCH_NORM_EPSILON = 1e-5
# The most groups of channels of a group normalization.
GROUPS = 4


def batch_norm(
  x: jax.Array,
  *,
  train: bool,
  affine: bool = True,
  features: int | None = None,
  dtype: Any = jnp.float32,
  name: str,
) -> jax.Array:
  """Batch normalization as in every module here (momentum 0.1 in PyTorch).

  Args:
    x: [N, H, W, C].
    train: use the batch statistics and update the running ones.
    affine: learn a scale and a bias.
    features: channels of x, behind which there are zeros; None: all.
    dtype: of the result; statistics are float32.
    name: of the submodule.

  Returns:
    [N, H, W, C] in `dtype`, with zeros behind `features` channels.
  """
  return BatchNorm(features or x.shape[-1], affine, dtype, name=name)(x, train)


def _apply_norm(norm: nn.Module, x: jax.Array) -> jax.Array:
  # Flax subtracts float32 statistics from x of any dtype.
  with jax.numpy_dtype_promotion('standard'):
    return norm(x)


def normalization(
  x: jax.Array,
  *,
  kind: str = 'batch',
  train: bool,
  affine: bool = True,
  features: int | None = None,
  dtype: Any = jnp.float32,
  name: str,
) -> jax.Array:
  """The normalization of a kind; with 'batch' it is `batch_norm`.

  Group normalization (arXiv 1803.08494) and instance normalization (arXiv
  1607.08022) use the statistics of each picture alone and keep none.

  Args:
    x: [N, H, W, C].
    kind: one of `search_spaces.NORMS`.
    train: see `batch_norm`.
    affine: see `batch_norm`.
    features: see `batch_norm`; other kinds take no zeros.
    dtype: see `batch_norm`.
    name: of the submodule.

  Raises:
    ValueError: for an unknown kind.
  """
  if kind == 'batch':
    return batch_norm(
      x,
      train=train,
      affine=affine,
      features=features,
      dtype=dtype,
      name=name,
    )
  if kind not in NORMS:
    raise ValueError(
      f'Unknown normalization {kind!r}; allowed: {", ".join(NORMS)}.'
    )
  channels = x.shape[-1]
  groups = channels if kind == 'instance' else math.gcd(channels, GROUPS)
  norm = nn.GroupNorm(
    num_groups=groups,
    epsilon=BATCH_NORM_EPSILON,
    use_bias=affine,
    use_scale=affine,
    dtype=dtype,
    name=name,
  )
  return _apply_norm(norm, x)


def normalize(
  x: jax.Array,
  running: tuple[jax.Array, jax.Array] | None,
  *,
  dtype: Any = jnp.float32,
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
  """What `batch_norm` computes without scale and bias, as a pure function.

  Args:
    x: [N, H, W, C].
    running: mean and variance [C] to use; None: those of the batch.
    dtype: of the result; statistics are float32, or float64 for float64 `x`.

  Returns:
    ([N, H, W, C] in `dtype`, the mean and variance that were used).
  """
  if running is None:
    y, used = normalization_lib.normalize_batch(
      x, None, None, BATCH_NORM_EPSILON
    )
  else:
    wide = normalization_lib.wide_dtype(x)
    used = tuple(value.astype(wide) for value in running)
    y = normalization_lib.apply(x, *used, None, None, BATCH_NORM_EPSILON)
  return y.astype(dtype), used


class RunningStatistics(nn.Module):
  """The running mean and variance of a `batch_norm`, at the same place.

  Attributes:
    features: channels.
  """

  features: int

  def setup(self):
    shape = (self.features,)
    dtype = jnp.float32
    self.mean = self.variable('batch_stats', 'mean', jnp.zeros, shape, dtype)
    self.var = self.variable('batch_stats', 'var', jnp.ones, shape, dtype)

  def read(self) -> tuple[jax.Array, jax.Array]:
    """(mean, variance), float32 [features]."""
    return self.mean.value, self.var.value

  def update(self, mean: jax.Array, variance: jax.Array) -> None:
    """Moves towards the statistics of a batch, [features] each."""
    if self.is_initializing():
      return
    for running, value in ((self.mean, mean), (self.var, variance)):
      share = BATCH_NORM_MOMENTUM
      value = value.astype(running.value.dtype)
      running.value = share * running.value + (1 - share) * value


class BatchNorm(RunningStatistics):
  """See `batch_norm`.

  Parameters and statistics lie where those of Flax's own lie. Unlike that one,
  it has its gradient in closed form, and takes channels of zeros.

  Attributes:
    affine: learn a scale and a bias.
    dtype: of the result.
  """

  affine: bool = True
  dtype: Any = jnp.float32

  def setup(self):
    super().setup()
    if self.affine:
      shape = (self.features,)
      ones, zeros = nn.initializers.ones, nn.initializers.zeros
      self.scale = self.param('scale', ones, shape, jnp.float32)
      self.bias = self.param('bias', zeros, shape, jnp.float32)

  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    """x: [N, H, W, C]; returns the same shape in `dtype`."""
    # A scale of zero keeps the channels of zeros what they are.
    scaled = (self.scale, self.bias) if self.affine else (None, None)
    scaled = [_fitting(value, x) for value in scaled]
    if train:
      y, used = normalization_lib.normalize_batch(
        x, *scaled, BATCH_NORM_EPSILON
      )
      self.update(*(value[: self.features] for value in used))
    else:
      used = [_fitting(value, x) for value in self.read()]
      y = normalization_lib.apply(x, *used, *scaled, BATCH_NORM_EPSILON)
    return y.astype(self.dtype)


def _fitting(value: jax.Array | None, x: jax.Array) -> jax.Array | None:
  """A value of each channel, for all channels of x and as wide as it is."""
  if value is None:
    return None
  value = value.astype(normalization_lib.wide_dtype(x))
  if missing := x.shape[-1] - value.size:
    # Apart from the features: what pads while it computes them is slow on a
    # GPU.
    value = jax.lax.optimization_barrier(jnp.pad(value, (0, missing)))
  return value


def padded_width(features: int, dtype: Any, norm: str = 'batch') -> int:
  """Channels of a feature map between two convolutions, zeros included.

  A GPU's convolution pads channels to `convolution.CHANNEL_BYTES`, and what
  comes between two of them is slow where it takes zeros away and adds them
  again. So in 16 bits, the form of accelerators, the zeros stay. In 32 bits,
  the form of CPUs, there are none: each of them would be computed.

  Args:
    features: channels without zeros.
    dtype: of the map.
    norm: of the normalization between them; only 'batch' leaves zeros as they
      are.
  """
  size = jnp.dtype(dtype).itemsize
  multiple = convolution.CHANNEL_BYTES // size
  if size > 2 or norm != 'batch' or features < multiple:
    return features
  return features + -features % multiple


def kernel_param(
  module: nn.Module,
  name: str,
  *,
  kernel_size: int,
  in_features: int,
  features: int,
  variant: str = '',
  init_scale: float = 1.0,
) -> jax.Array:
  """Creates or reads a convolution kernel of a module.

  Args:
    module: the owner, inside its compact method.
    name: of the parameter.
    kernel_size: side of the kernel.
    in_features: input channels per group.
    features: output channels.
    variant: '' for all taps; 'hv' or 'dg' for the 5 taps of a 3x3 cross.
    init_scale: multiplies He's standard deviation.

  Returns:
    float32 [kernel_size, kernel_size, in_features, features].

  Raises:
    ValueError: for a cross whose kernel_size is not 3.
  """

  init = initializers.he_normal(module, init_scale)
  if variant:
    if kernel_size != 3:
      raise ValueError(
        f'kernel_size is {kernel_size} with variant {variant!r}; allowed: 3.'
      )
    shape = (5, in_features, features)
    weights = module.param(name, init, shape, jnp.float32)
    return central_difference.expand_cross(weights, variant)
  shape = (kernel_size, kernel_size, in_features, features)
  return module.param(name, init, shape, jnp.float32)


class CDConv(nn.Module):
  """Central difference convolution (arXiv 2003.04092, equation 4), stride 1.

  Attributes:
    features: output channels.
    in_features: channels of x, behind which there are zeros; None: all.
    width: channels of the result, with zeros behind `features`; None: none.
    kernel_size: side of the kernel.
    theta: strength of the central difference; 0 is a vanilla convolution.
    dilation: step between taps.
    variant: '', 'hv' or 'dg', see `kernel_param`.
    depthwise: one kernel per channel; `features` must equal the input's.
    init_scale: see `kernel_param`.
    dtype: of the computation.
  """

  features: int
  in_features: int | None = None
  width: int | None = None
  kernel_size: int = 3
  theta: float = 0.7
  dilation: int = 1
  variant: str = ''
  depthwise: bool = False
  init_scale: float = 1.0
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """x: [N, H, W, C]; returns [N, H, W, width or features] in `dtype`."""
    groups = x.shape[-1] if self.depthwise else 1
    in_features = (self.in_features or x.shape[-1]) // groups
    kernel = kernel_param(
      self,
      'kernel',
      kernel_size=self.kernel_size,
      in_features=in_features,
      features=self.features,
      variant=self.variant,
      init_scale=self.init_scale,
    )
    gaps = [
      (0, x.shape[-1] // groups - in_features),
      (0, (self.width or self.features) - self.features),
    ]
    if any(map(any, gaps)):
      kernel = jnp.pad(kernel, ((0, 0), (0, 0), *gaps))
    # The kernel stays float32 until the central difference is folded in.
    return central_difference.central_difference_conv(
      x.astype(self.dtype),
      kernel,
      theta=self.theta,
      dilation=self.dilation,
      groups=groups,
    )


class CDConvBlock(nn.Module):
  """CDC, batch normalization, ReLU; other fields as in `CDConv`.

  Attributes:
    affine: the normalization has a scale and a bias.
    norm: kind of the normalization.
  """

  features: int
  in_features: int | None = None
  width: int | None = None
  kernel_size: int = 3
  theta: float = 0.7
  dilation: int = 1
  variant: str = ''
  affine: bool = True
  dtype: Any = jnp.float32
  norm: str = 'batch'

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """x: [N, H, W, C]; returns [N, H, W, width or features] in `dtype`."""
    x = CDConv(
      self.features,
      in_features=self.in_features,
      width=self.width,
      kernel_size=self.kernel_size,
      theta=self.theta,
      dilation=self.dilation,
      variant=self.variant,
      dtype=self.dtype,
      name='conv',
    )(x)
    x = normalization(
      x,
      kind=self.norm,
      train=train,
      affine=self.affine,
      features=self.features,
      dtype=self.dtype,
      name='norm',
    )
    return nn.relu(x)


class SeparableBlock(nn.Module):
  """Depthwise CDC 3x3, pointwise convolution, batch normalization, ReLU.

  Fields as in `CDConvBlock`.
  """

  theta: float = 0.7
  affine: bool = True
  dtype: Any = jnp.float32
  norm: str = 'batch'

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """x: [N, H, W, C]; returns the same shape in `dtype`."""
    features = x.shape[-1]
    x = CDConv(
      features,
      theta=self.theta,
      depthwise=True,
      dtype=self.dtype,
      name='depthwise',
    )(x)
    x = CDConv(
      features, kernel_size=1, theta=0.0, dtype=self.dtype, name='pointwise'
    )(x)
    x = normalization(
      x,
      kind=self.norm,
      train=train,
      affine=self.affine,
      dtype=self.dtype,
      name='norm',
    )
    return nn.relu(x)


@jax.custom_jvp
def highest_channel(x: jax.Array) -> jax.Array:
  """The maximum over the channels: [N, H, W, C] -> [N, H, W, 1].

  Its gradient is shared by the channels that have it, as that of `jnp.max`. But
  where XLA computes x anew for the backward pass, in another rounding, there
  may be none; the gradient of `jnp.max` is then 0 / 0, and this one 0.
  """
  return x.max(axis=-1, keepdims=True)


@highest_channel.defjvp
def _highest_channel_jvp(primals, tangents):
  (x,), (moved,) = primals, tangents
  highest = highest_channel(x)
  has_it = (x == highest).astype(x.dtype)
  number = jnp.maximum(jnp.sum(has_it, axis=-1, keepdims=True), 1)
  return highest, jnp.sum(moved * has_it, axis=-1, keepdims=True) / number


class SpatialAttention(nn.Module):
  """Spatial attention (arXiv 1807.06521): scales each position by a gate.

  The gate is the sigmoid of a vanilla convolution of two channels, the mean and
  the maximum over the input's channels.

  Attributes:
    kernel_size: side of the convolution's kernel.
    dtype: of the computation.
  """

  kernel_size: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """x: [N, H, W, C] in `dtype`; returns the same shape and dtype."""
    summary = jnp.concatenate(
      [x.mean(axis=-1, keepdims=True), highest_channel(x)], axis=-1
    )
    gate = CDConv(
      1,
      kernel_size=self.kernel_size,
      theta=0.0,
      dtype=self.dtype,
      name='conv',
    )(summary)
    return x * nn.sigmoid(gate)


class FusionHead(nn.Module):
  """Resizes the levels' outputs, concatenates them and predicts one map.

  Attributes:
    features: channels of the CDC blocks before the last CDC.
    output_size: side S of the predicted map.
    theta: strength of the central difference.
    attention_kernel_sizes: of each level's spatial attention; None: no
      attention.
    dtype: of the computation.
    norm: kind of the normalization.
  """

  features: tuple[int, ...]
  output_size: int = 32
  theta: float = 0.7
  attention_kernel_sizes: tuple[int, ...] | None = None
  dtype: Any = jnp.float32
  norm: str = 'batch'

  @nn.compact
  def __call__(
    self, levels: tuple[jax.Array, ...], *, train: bool
  ) -> jax.Array:
    """levels: [N, H, W, C] each; returns float32 [N, S, S], at least 0."""
    if self.attention_kernel_sizes is not None:
      levels = [
        SpatialAttention(kernel_size, self.dtype, name=f'attention_{i}')(x)
        for i, (x, kernel_size) in enumerate(
          zip(levels, self.attention_kernel_sizes, strict=True)
        )
      ]
    size = self.output_size
    x = jnp.concatenate(
      [pooling.resize_bilinear(x, size, size) for x in levels], axis=-1
    )
    for i, features in enumerate(self.features):
      x = CDConvBlock(
        features,
        theta=self.theta,
        dtype=self.dtype,
        norm=self.norm,
        name=f'block_{i}',
      )(x, train=train)
    x = CDConv(
      1,
      theta=self.theta,
      init_scale=LAST_INIT_SCALE,
      dtype=self.dtype,
      name='conv',
    )(x)
    return nn.relu(x)[..., 0].astype(jnp.float32)


def halve(x: jax.Array) -> jax.Array:
  """3x3 max pooling with stride 2: halves height and width, rounded up."""
  return pooling.cd_max_pool(x, strides=2, theta=0.0)
