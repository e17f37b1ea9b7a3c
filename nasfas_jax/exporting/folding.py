"""Folds a block for inference: one plain convolution with a bias.

In inference batch normalization is an affine function of each channel, and a
central difference only changes a kernel's centre tap. So both go into the
kernel and the bias of the convolution before them. Computed in float64.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from nasfas_jax.ops import central_difference

# Flax's default, which `models.layers.batch_norm` keeps.
EPSILON = 1e-5


class Affine(NamedTuple):
  """y = scale * x + shift, for each channel: float64 [C] each."""

  scale: np.ndarray
  shift: np.ndarray


class Convolution(NamedTuple):
  """A convolution with stride 1 and zero padding of dilation * (k // 2).

  Attributes:
    kernel: float32 [O, I, kh, kw].
    bias: float32 [O]; None: no bias.
    dilation: step between taps.
    groups: of the channels.
  """

  kernel: np.ndarray
  bias: np.ndarray | None
  dilation: int = 1
  groups: int = 1


def affine(params: Mapping[str, Any], stats: Mapping[str, Any]) -> Affine:
  """Batch normalization with its stored statistics.

  Args:
    params: 'scale' and 'bias' of the module 'norm'; {} if it is not affine.
    stats: its 'mean' and 'var'.
  """
  mean, variance = (np.asarray(stats[k], np.float64) for k in ('mean', 'var'))
  scale = 1.0 / np.sqrt(variance + EPSILON)
  if 'scale' in params:
    scale = scale * np.asarray(params['scale'], np.float64)
  shift = -mean * scale
  if 'bias' in params:
    shift = shift + np.asarray(params['bias'], np.float64)
  return Affine(scale, shift)


def convolution(
  kernel: Any,
  *,
  theta: float,
  norm: Affine | None = None,
  variant: str = '',
  dilation: int = 1,
  groups: int = 1,
) -> Convolution:
  """Folds a central difference, and the batch normalization after it.

  Args:
    kernel: [k, k, I, O], or [5, I, O] for a cross.
    theta: strength of the central difference.
    norm: of the batch normalization; None: there is none.
    variant: '', or 'hv' or 'dg' for a cross.
    dilation: step between taps.
    groups: of the channels.
  """
  taps = np.asarray(kernel, np.float64)
  if variant:
    window = np.zeros((3, 3, *taps.shape[1:]))
    for place, (row, column) in enumerate(
      central_difference.CROSS_TAPS[variant]
    ):
      window[row, column] = taps[place]
    taps = window
  folded = taps.copy()
  centre = (taps.shape[0] // 2, taps.shape[1] // 2)
  folded[centre] -= theta * taps.sum(axis=(0, 1))
  bias = None
  if norm is not None:
    folded = folded * norm.scale
    bias = norm.shift.astype(np.float32)
  return Convolution(
    np.ascontiguousarray(folded.transpose(3, 2, 0, 1), np.float32),
    bias,
    dilation,
    groups,
  )
