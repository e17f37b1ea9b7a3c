"""The single-side adversarial term against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasfas_jax import adversarial

LABELS = jnp.array([1, 0, 1, 0, 1])
DOMAINS = jnp.array([2, 0, 0, 1, 1])


def make(seed=0):
  rng = np.random.default_rng(seed)
  params = {
    name: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32)
    for name, leaf in adversarial.init(jax.random.key(0), 4, 3).items()
  }
  return params, jnp.asarray(rng.normal(size=(5, 4)), jnp.float32)


def reference(params, embeddings):
  """The mean cross-entropy of the live clips, by loops."""
  p = {name: np.asarray(leaf, np.float64) for name, leaf in params.items()}
  found = []
  for place in (0, 2, 4):
    hidden = np.asarray(embeddings[place], np.float64) @ p['hidden']
    hidden = np.maximum(hidden + p['hidden_bias'], 0)
    logits = hidden @ p['last'] + p['last_bias']
    chances = np.exp(logits) / np.exp(logits).sum()
    found.append(-np.log(chances[DOMAINS[place]]))
  return np.mean(found)


def test_the_term_is_the_cross_entropy_of_live_clips():
  params, embeddings = make()
  found = adversarial.term(params, embeddings, LABELS, DOMAINS, 0.5)
  np.testing.assert_allclose(found, reference(params, embeddings), rtol=1e-4)
  none = adversarial.term(params, embeddings, 0 * LABELS, DOMAINS, 0.5)
  assert none == 0


def test_the_discriminator_descends_and_the_network_ascends():
  params, embeddings = make()
  gradients = jax.grad(adversarial.term, argnums=(0, 1))
  own, reversed_ = gradients(params, embeddings, LABELS, DOMAINS, 0.3)
  # By differences of the reference, which reverses nothing.
  for name, place in (('hidden', (1, 5)), ('last', (7, 2)), ('last_bias', 1)):
    step = np.zeros(params[name].shape)
    step[place] = 1e-4
    change = {**params, name: np.asarray(params[name], np.float64) + step}
    slope = (
      reference(change, embeddings) - reference(params, embeddings)
    ) / 1e-4
    np.testing.assert_allclose(own[name][place], slope, rtol=2e-2, atol=1e-5)
  step = np.zeros((5, 4))
  step[2, 1] = 1e-4
  moved = np.asarray(embeddings, np.float64) + step
  slope = (reference(params, moved) - reference(params, embeddings)) / 1e-4
  np.testing.assert_allclose(reversed_[2, 1], -0.3 * slope, rtol=2e-2)
  # Attacks of whatever domain are left alone.
  np.testing.assert_array_equal(reversed_[np.array([1, 3])], 0)


@pytest.mark.parametrize(
  ('progress', 'factor'), [(0.0, 0.0), (0.1, 0.4621172), (1.0, 0.9999092)]
)
def test_the_reversed_gradient_comes_up(progress, factor):
  """2 / (1 + exp(-10 p)) - 1 is tanh(5 p)."""
  np.testing.assert_allclose(adversarial.strength(progress), factor, atol=1e-6)


def test_reversing_leaves_the_value():
  x = jnp.array([1.5, -2.25, 1e-3])
  np.testing.assert_array_equal(adversarial.reverse(x, 0.7), x)
