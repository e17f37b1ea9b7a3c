"""MixStyle: clips take on some of the feature statistics of other domains.

Zhou et al., Domain Generalization with MixStyle, ICLR 2021 (arXiv 2104.02008).
The mean and the standard deviation of each channel over a feature map hold much
of a picture's style, such as its camera and light. A clip's are mixed with
those of a clip of another domain, as if it came from a domain in between.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

# The stages of a network after which features can be mixed, see
# `models.outputs.Outputs`.
STAGES = ('stem', 'low', 'mid', 'high')
_EPSILON = 1e-6


@dataclasses.dataclass(frozen=True)
class MixStyle:
  """What is mixed, and how often.

  Attributes:
    probability: of mixing the clips of a batch after a stage; 0 turns it off.
    alpha: of the Beta distribution of a clip's share; the smaller, the nearer
      to one of the two clips.
    stages: after which features are mixed, some of `STAGES`. The paper mixes
      after the first ones, which hold more of the style.
  """

  probability: float
  alpha: float
  stages: tuple[str, ...]


OFF = MixStyle(0.0, 0.1, ())


def between(
  settings: MixStyle, key: jax.Array, domains: jax.Array
) -> Callable[[str, jax.Array], jax.Array]:
  """What a network applies between its stages; each stage has its own draws.

  Args:
    settings: see `MixStyle`.
    key: of the step.
    domains: int [B], of every clip.

  Returns:
    (name of a stage, [B, H, W, C]) -> the same shape and dtype. Both streams of
    a two-stream network are mixed alike.
  """

  def apply(stage, x):
    stage = stage.removeprefix('dynamic_')
    if stage not in settings.stages:
      return x
    stage_key = jax.random.fold_in(key, STAGES.index(stage))
    partners, shares = draw(
      stage_key, domains, settings.alpha, settings.probability
    )
    return mix(x, partners, shares)

  return apply


def draw(
  key: jax.Array, domains: jax.Array, alpha: float, probability: float
) -> tuple[jax.Array, jax.Array]:
  """Whom each clip is mixed with, and how much of its own style it keeps.

  Args:
    key: of the draws.
    domains: int [B], of every clip.
    alpha: see `MixStyle`.
    probability: see `MixStyle`; all clips are mixed, or none.

  Returns:
    int32 [B], the place of a clip of another domain, each with the same
    probability, or the clip itself where there is none; float32 [B], the share
    lambda of the clip's own statistics, 1 where nothing is mixed.
  """
  coin, pairs, beta = jax.random.split(key, 3)
  number = domains.shape[0]
  other = domains[:, None] != domains[None, :]
  scores = jnp.where(other, jax.random.uniform(pairs, (number, number)), -1.0)
  partners = jnp.where(
    jnp.any(other, axis=1),
    jnp.argmax(scores, axis=1).astype(jnp.int32),
    jnp.arange(number, dtype=jnp.int32),
  )
  shares = jax.random.beta(beta, alpha, alpha, (number,), jnp.float32)
  mixes = jax.random.uniform(coin) < probability
  return partners, jnp.where(mixes, shares, 1.0)


def mix(x: jax.Array, partners: jax.Array, shares: jax.Array) -> jax.Array:
  """Mixes each clip's channel statistics with its partner's.

  Equations 4 to 6 of the paper: gamma = l sigma(x) + (1 - l) sigma(x'), beta =
  l mu(x) + (1 - l) mu(x'), and the result is gamma (x - mu(x)) / sigma(x) +
  beta. No gradient passes through mu and sigma.

  Args:
    x: [B, H, W, C].
    partners: int [B], see `draw`.
    shares: float32 [B], the l of each clip.

  Returns:
    [B, H, W, C] in the dtype of `x`.
  """
  wide = x.astype(jnp.float32)
  held = jax.lax.stop_gradient(wide)
  mean = jnp.mean(held, axis=(1, 2), keepdims=True)
  variance = jnp.var(held, axis=(1, 2), keepdims=True)
  deviation = jnp.sqrt(variance + _EPSILON)
  own = shares.reshape(-1, 1, 1, 1)

  def mixed(statistics):
    return own * statistics + (1 - own) * statistics[partners]

  # As a scale and a shift of each channel, which are all that a gradient meets.
  scale = mixed(deviation) / deviation
  y = wide * scale + (mixed(mean) - scale * mean)
  return y.astype(x.dtype)
