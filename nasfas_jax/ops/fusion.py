"""Static-dynamic fusion: from the K frames of a clip to a network's input."""

import jax
import jax.numpy as jnp

from nasfas_jax.ops import rank_pooling as rank_pooling_lib

# Here 'two_stream' is the same as 'concat'; the network splits it again.
FUSIONS = ('static', 'dynamic', 'blend', 'concat', 'two_stream')
_BOTH = ('concat', 'two_stream')


def fusion_channels(mode: str) -> int:
  """Number of channels of a fused RGB clip.

  Raises:
    ValueError: for an unknown mode.
  """
  _check_mode(mode)
  return 6 if mode in _BOTH else 3


def fuse(
  frames: jax.Array, mode: str, *, rank_pooling: str = 'approximate'
) -> jax.Array:
  """Fuses the static frame of each clip with its dynamic image.

  Args:
    frames: [B, K, H, W, 3] float, about in [-1, 1].
    mode: 'static' (frame K // 2), 'dynamic' (the dynamic image), 'blend' (their
      mean), 'concat' or 'two_stream' (both, along the channels).
    rank_pooling: one of `rank_pooling.KINDS`.

  Returns:
    [B, H, W, fusion_channels(mode)] in the dtype of `frames`.

  Raises:
    ValueError: for an unknown mode or rank pooling, or frames of another shape.
  """
  _check_mode(mode)
  if frames.ndim != 5 or frames.shape[-1] != 3:
    raise ValueError(
      f'Frames have shape {frames.shape}; allowed: [B, K, H, W, 3].'
    )
  static = frames[:, frames.shape[1] // 2]
  if mode == 'static':
    return static
  dynamic = rank_pooling_lib.dynamic_image(frames, rank_pooling)
  if mode == 'dynamic':
    return dynamic
  if mode == 'blend':
    return 0.5 * static + 0.5 * dynamic
  return jnp.concatenate([static, dynamic], axis=-1)


def _check_mode(mode: str) -> None:
  if mode not in FUSIONS:
    raise ValueError(f'Unknown fusion {mode!r}; allowed: {", ".join(FUSIONS)}.')
