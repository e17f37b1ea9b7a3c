"""The input of a network, made from the frames of clips."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from nasfas_jax.ops import fusion

NORMALIZATIONS = ('fixed', 'clip')


@dataclasses.dataclass(frozen=True)
class InputForm:
  """How frames are turned into the input.

  Attributes:
    fusion: one of `ops.fusion.FUSIONS`.
    rank_pooling: one of `ops.rank_pooling.KINDS`.
    normalization: 'fixed' is (x - 127.5) / 128, as in CDCN. 'clip' then also
      removes each clip's own colour and contrast: it subtracts each channel's
      mean over the clip and scales the clip to a standard deviation of 0.5.
  """

  fusion: str
  rank_pooling: str
  normalization: str

  @property
  def channels(self) -> int:
    """Channels of the input: 3, or 6 for a static and a dynamic image."""
    return fusion.fusion_channels(self.fusion)


def network_input(frames: jax.Array, form: InputForm) -> jax.Array:
  """Normalises frames and fuses them into the network's input.

  Args:
    frames: uint8 [B, K, H, W, 3].
    form: see `InputForm`.

  Returns:
    float32 [B, H, W, 3 or 6].

  Raises:
    ValueError: for an unknown fusion, rank pooling or normalization.
  """
  normalised = (jnp.asarray(frames, jnp.float32) - 127.5) / 128.0
  if form.normalization == 'clip':
    centred = normalised - jnp.mean(normalised, axis=(1, 2, 3), keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=(1, 2, 3, 4), keepdims=True)
    # The added variance is that of one grey level; it keeps flat clips finite.
    normalised = 0.5 * centred / jnp.sqrt(variance + 1.0 / 128.0**2)
  elif form.normalization != 'fixed':
    raise ValueError(
      f'Unknown normalization {form.normalization!r}; allowed: '
      f'{", ".join(NORMALIZATIONS)}.'
    )
  return fusion.fuse(normalised, form.fusion, rank_pooling=form.rank_pooling)


def dynamic_picture(frames: jax.Array, rank_pooling: str) -> np.ndarray:
  """The dynamic images of clips as pictures to look at.

  Args:
    frames: uint8 [B, K, H, W, 3].
    rank_pooling: one of `ops.rank_pooling.KINDS`.

  Returns:
    uint8 [B, H, W, 3].
  """
  form = InputForm('dynamic', rank_pooling, normalization='fixed')
  pooled = network_input(frames, form)
  return np.round(127.5 * (np.asarray(pooled) + 1.0)).astype(np.uint8)
