"""Layers and operations in PyTorch; the counterparts of `models.layers`."""

import re
from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional

from nasfas_jax.models.search_spaces import NONE, SKIP_CONNECT

# Places of the five taps of a cross in its 3x3 kernel, counted row by row.
CROSS_TAPS = {'hv': (1, 3, 4, 5, 7), 'dg': (0, 2, 4, 6, 8)}

# Kernel size, dilation and variant of the operations that are one CDC block.
CONVOLUTIONS = {
  'cdc_3x3': (3, 1, ''),
  'cdc_5x5': (5, 1, ''),
  'dil_cdc_3x3': (3, 2, ''),
  'cdc_cross_hv': (3, 1, 'hv'),
  'cdc_cross_dg': (3, 1, 'dg'),
}
POOLS = {'cd_max_pool_3x3': 'max', 'cd_avg_pool_3x3': 'average'}
SEPARABLE = 'sep_cdc_3x3'
# The operations that have a twin here.
OPERATIONS = (
  NONE,
  SKIP_CONNECT,
  *CONVOLUTIONS,
  SEPARABLE,
  *POOLS,
  'cdc_2_r',
)


class CDConv(nn.Module):
  """Central difference convolution (arXiv 2003.04092, equation 4), stride 1.

  Two convolutions without bias: that of the kernel, minus theta times the 1x1
  convolution with the sum of its taps.
  """

  def __init__(
    self,
    in_features: int,
    features: int,
    *,
    kernel_size: int = 3,
    theta: float = 0.7,
    dilation: int = 1,
    variant: str = '',
    depthwise: bool = False,
    init_scale: float = 1.0,
  ):
    """Makes the kernel, He normal.

    Args:
      in_features: input channels.
      features: output channels.
      kernel_size: odd side of the kernel.
      theta: strength of the central difference; 0 is a vanilla convolution.
      dilation: step between taps.
      variant: '' for all taps; 'hv' or 'dg' for the 5 taps of a cross.
      depthwise: one kernel per channel; features must equal in_features.
      init_scale: multiplies He's standard deviation.
    """
    super().__init__()
    self.theta = theta
    self.dilation = dilation
    self.padding = dilation * (kernel_size // 2)
    self.variant = variant
    self.groups = in_features if depthwise else 1
    taps = (5,) if variant else (kernel_size, kernel_size)
    self.weight = nn.Parameter(
      torch.empty(features, in_features // self.groups, *taps)
    )
    nn.init.kaiming_normal_(self.weight)
    with torch.no_grad():
      self.weight.mul_(init_scale)

  def kernel(self) -> torch.Tensor:
    """The kernel [features, in_features // groups, k, k]."""
    if not self.variant:
      return self.weight
    outer = self.weight.shape[:2]
    places = torch.tensor(CROSS_TAPS[self.variant], device=self.weight.device)
    window = self.weight.new_zeros(*outer, 9)
    return window.index_copy(2, places, self.weight).reshape(*outer, 3, 3)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    kernel = self.kernel()
    y = functional.conv2d(
      x,
      kernel,
      padding=self.padding,
      dilation=self.dilation,
      groups=self.groups,
    )
    if self.theta == 0:
      return y
    total = kernel.sum((2, 3), keepdim=True)
    return y - self.theta * functional.conv2d(x, total, groups=self.groups)


class CDPool(nn.Module):
  """Central difference pooling 3x3, stride 1: pooled - theta * centre."""

  def __init__(self, kind: str, theta: float):
    """kind: 'max' or 'average'; neither includes the padding."""
    super().__init__()
    self.kind = kind
    self.theta = theta

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    if self.kind == 'max':
      pooled = functional.max_pool2d(x, 3, 1, 1)
    else:
      pooled = functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    return pooled - self.theta * x


class Zero(nn.Module):
  """The operation 'none'."""

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(x)


class SpatialAttention(nn.Module):
  """Spatial attention; see `models.layers.SpatialAttention`."""

  def __init__(self, kernel_size: int):
    super().__init__()
    self.conv = CDConv(2, 1, kernel_size=kernel_size, theta=0.0)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    summary = torch.cat(
      [x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1
    )
    return x * torch.sigmoid(self.conv(summary))


def block(
  in_features: int, features: int, *, affine: bool = True, **form
) -> nn.Module:
  """CDC, batch normalization, ReLU; `form` as in `CDConv`."""
  return _chain(
    conv=CDConv(in_features, features, **form),
    norm=nn.BatchNorm2d(features, affine=affine),
    relu=nn.ReLU(),
  )


def operation(
  name: str, features: int, *, theta: float, affine: bool = True
) -> nn.Module:
  """An operation of a search space, which keeps the shape of its input.

  Args:
    name: one of `OPERATIONS`.
    features: channels.
    theta: strength of the central difference.
    affine: whether batch normalization has a scale and a bias.

  Raises:
    ValueError: for an unknown operation.
  """
  if name == SKIP_CONNECT:
    return _chain()
  if name == NONE:
    return Zero()
  if name in CONVOLUTIONS:
    kernel_size, dilation, variant = CONVOLUTIONS[name]
    form = {
      'kernel_size': kernel_size,
      'dilation': dilation,
      'variant': variant,
    }
    return _chain(
      block=block(features, features, theta=theta, affine=affine, **form)
    )
  if is_expansion(name):
    middle = middle_features(name, features)
    return _chain(
      block_0=block(features, middle, theta=theta, affine=affine),
      block_1=block(middle, features, theta=theta, affine=affine),
    )
  if name == SEPARABLE:
    separable = _chain(
      depthwise=CDConv(features, features, theta=theta, depthwise=True),
      pointwise=CDConv(features, features, kernel_size=1, theta=0.0),
      norm=nn.BatchNorm2d(features, affine=affine),
      relu=nn.ReLU(),
    )
    return _chain(block=separable)
  if name in POOLS:
    return _chain(
      pool=CDPool(POOLS[name], theta),
      norm=nn.BatchNorm2d(features, affine=affine),
    )
  raise ValueError(
    f'Unknown operation {name!r}; allowed: {", ".join(OPERATIONS)}.'
  )


def is_expansion(name: str) -> bool:
  """Whether an operation is a cdc_2_r."""
  return re.fullmatch(r'cdc_2_\d+\.\d+', name) is not None


def middle_features(name: str, features: int) -> int:
  """Channels between the two convolutions of cdc_2_r: int(r C), at least 1."""
  return max(1, int(features * float(name.removeprefix('cdc_2_'))))


def _chain(**modules: nn.Module) -> nn.Sequential:
  """Named modules in sequence; the identity if there are none."""
  return nn.Sequential(OrderedDict(modules))
