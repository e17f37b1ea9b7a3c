"""The single-side adversarial term: live clips of all domains look alike.

Jia et al., Single-Side Domain Generalization for Face Anti-Spoofing (SSDG),
CVPR 2020 (arXiv 2004.14043), section 3.2. A discriminator tells the domain of a
live clip from the network's embedding. Its gradient is reversed before it
reaches the network (Ganin and Lempitsky, ICML 2015), which so learns to hide
the domain. Attacks are left out: those of different domains need not be alike.
"""

import dataclasses

import jax
import jax.numpy as jnp

from nasfas_jax import records

# Hidden units of the discriminator.
HIDDEN = 64
# How fast the reversed gradient comes up, see `strength`.
_SLOPE = 10.0

Params = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Adversary:
  """The term of an objective.

  Attributes:
    weight: of the term; 0 turns it off.
    num_domains: that the discriminator tells apart.
    num_steps: of the training.
  """

  weight: float
  num_domains: int
  num_steps: int


def init(key: jax.Array, num_features: int, num_domains: int) -> Params:
  """The parameters of a discriminator with one hidden layer, float32."""
  he = jax.nn.initializers.he_normal()
  keys = jax.random.split(key)
  return {
    'hidden': he(keys[0], (num_features, HIDDEN), jnp.float32),
    'hidden_bias': jnp.zeros(HIDDEN, jnp.float32),
    'last': he(keys[1], (HIDDEN, num_domains), jnp.float32),
    'last_bias': jnp.zeros(num_domains, jnp.float32),
  }


def logits(params: Params, embeddings: jax.Array) -> jax.Array:
  """The discriminator: float32 [B, C] -> [B, num_domains]."""
  hidden = embeddings @ params['hidden'] + params['hidden_bias'][None]
  return jax.nn.relu(hidden) @ params['last'] + params['last_bias'][None]


def strength(progress: jax.Array) -> jax.Array:
  """How much of the gradient is reversed: 2 / (1 + exp(-10 p)) - 1.

  Args:
    progress: p, the part of the training that is done, in [0, 1]. At first the
      discriminator knows nothing, and its gradient would be noise (Ganin et
      al., JMLR 2016, section 5.2.2).
  """
  return 2.0 * jax.nn.sigmoid(_SLOPE * progress) - 1.0


def reverse(x: jax.Array, factor: jax.Array) -> jax.Array:
  """`x` itself, whose gradient is multiplied by -factor."""
  held = jax.lax.stop_gradient(x)
  return held + factor * (held - x)


def term(
  params: Params,
  embeddings: jax.Array,
  labels: jax.Array,
  domains: jax.Array,
  factor: jax.Array,
) -> jax.Array:
  """The cross-entropy of the live clips' domains (equation 2 of SSDG).

  Its gradient trains the discriminator to tell the domains, and, reversed, the
  network to hide them.

  Args:
    params: of the discriminator.
    embeddings: float32 [B, C], see `losses.embed`.
    labels: int [B], 1 live, 0 spoof.
    domains: int [B].
    factor: of the reversed gradient, see `strength`.

  Returns:
    float32 scalar, the mean over live clips; 0 if there are none.
  """
  found = jax.nn.log_softmax(logits(params, reverse(embeddings, factor)))
  of_clip = -jnp.take_along_axis(found, domains[:, None], axis=1)[:, 0]
  live = (labels == records.LIVE).astype(jnp.float32)
  return jnp.sum(of_clip * live) / jnp.maximum(jnp.sum(live), 1.0)
