"""Static-dynamic fusion: one frame and the dynamic image of its clip."""

import jax
import jax.numpy as jnp

from nasfas_jax.ops import rank_pooling as rank_pooling_lib

FUSIONS = ('static', 'dynamic', 'blend', 'concat')


def _check(mode: str) -> None:
  if mode not in FUSIONS:
    raise ValueError(f'Unknown fusion {mode!r}; allowed: {", ".join(FUSIONS)}.')


def fusion_channels(mode: str) -> int:
  """Channels of the fused input: 6 for 'concat', 3 for the others.

  Raises:
    ValueError: for an unknown mode.
  """
  _check(mode)
  return 6 if mode == 'concat' else 3


def static_index(num_frames: int) -> int:
  """Which frame of a snippet is the static one: the middle, K // 2."""
  return num_frames // 2


def fuse(
  frames: jax.Array, mode: str, *, rank_pooling: str = 'approximate'
) -> jax.Array:
  """Fuses a clip into the network's input.

  Args:
    frames: float [B, K, H, W, C], about [-1, 1].
    mode: 'static', the middle frame S; 'dynamic', the dynamic image D;
      'blend', 0.5 S + 0.5 D; 'concat', both along the channels.
    rank_pooling: one of `rank_pooling.KINDS`.

  Returns:
    float [B, H, W, C], or [B, H, W, 2C] for 'concat'.

  Raises:
    ValueError: for an unknown mode or kind, or frames not of rank 5.
  """
  _check(mode)
  if frames.ndim != 5:
    raise ValueError(
      f'frames have shape {frames.shape}; expected [B, K, H, W, C].'
    )
  static = frames[:, static_index(frames.shape[1])]
  if mode == 'static':
    return static
  dynamic = rank_pooling_lib.dynamic_image(frames, rank_pooling)
  if mode == 'dynamic':
    return dynamic
  if mode == 'blend':
    return 0.5 * static + 0.5 * dynamic
  return jnp.concatenate([static, dynamic], axis=-1)
