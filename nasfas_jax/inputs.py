"""The input of a network: what becomes of a clip's frames."""

import dataclasses

import jax
import jax.numpy as jnp

from nasfas_jax.ops import fusion

NORMALIZATIONS = ('fixed', 'clip')


@dataclasses.dataclass(frozen=True)
class InputForm:
  """How frames become the input.

  Attributes:
    fusion: one of `fusion.FUSIONS`.
    rank_pooling: one of `ops.rank_pooling.KINDS`.
    normalization: 'fixed', (x - 127.5) / 128 as in CDCN; or 'clip', which
      also takes out each clip's own colour and contrast: each channel's mean
      over the clip, and the standard deviation over all of it, brought to 0.5.
  """

  fusion: str
  rank_pooling: str
  normalization: str

  @property
  def channels(self) -> int:
    """Channels of the input: 3, or 6 where two pictures stand side by side."""
    return fusion.fusion_channels(self.fusion)


def network_input(frames: jax.Array, form: InputForm) -> jax.Array:
  """Normalises frames and fuses them into the network's input.

  Args:
    frames: uint8 [B, K, H, W, 3].
    form: see there.

  Returns:
    float32 [B, H, W, 3 or 6].

  Raises:
    ValueError: for an unknown fusion, rank pooling or normalization.
  """
  normalised = (jnp.asarray(frames, jnp.float32) - 127.5) / 128.0
  if form.normalization == 'clip':
    centred = normalised - jnp.mean(normalised, axis=(1, 2, 3), keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=(1, 2, 3, 4), keepdims=True)
    # One grey level of 128 is the least contrast: a flat clip stays finite.
    normalised = 0.5 * centred / jnp.sqrt(variance + 1.0 / 128.0**2)
  elif form.normalization != 'fixed':
    raise ValueError(
      f'Unknown normalization {form.normalization!r}; allowed: '
      f'{", ".join(NORMALIZATIONS)}.'
    )
  return fusion.fuse(normalised, form.fusion, rank_pooling=form.rank_pooling)
