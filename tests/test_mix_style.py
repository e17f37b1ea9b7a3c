"""MixStyle against loops in NumPy, and by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from nasfas_jax import mix_style

DOMAINS = jnp.array([0, 0, 1, 1, 2, 0])


def make_features(seed=0):
  return np.random.default_rng(seed).normal(size=(6, 3, 4, 2)) + 3.0


def test_mixing_equals_loops():
  x = make_features()
  partners = np.array([2, 4, 0, 5, 4, 3])
  shares = np.array([0.0, 0.25, 1.0, 0.5, 0.9, 0.1])
  found = mix_style.mix(
    jnp.asarray(x, jnp.float32),
    jnp.asarray(partners),
    jnp.asarray(shares, jnp.float32),
  )
  for clip, (partner, share) in enumerate(zip(partners, shares, strict=True)):
    for channel in range(2):
      own, other = x[clip, ..., channel], x[partner, ..., channel]
      gamma = share * own.std() + (1 - share) * other.std()
      beta = share * own.mean() + (1 - share) * other.mean()
      expected = gamma * (own - own.mean()) / own.std() + beta
      np.testing.assert_allclose(found[clip, ..., channel], expected, rtol=1e-4)


def test_no_gradient_passes_through_the_statistics():
  """So it is that of a scale, gamma over sigma."""
  x = jnp.asarray(make_features(), jnp.float32)
  partners, shares = jnp.array([2, 2, 0, 0, 0, 2]), jnp.full(6, 0.25)
  gradient = jax.grad(lambda x: jnp.sum(mix_style.mix(x, partners, shares)))(x)
  deviations = np.asarray(x).std(axis=(1, 2), keepdims=True)
  mixed = 0.25 * deviations + 0.75 * deviations[np.asarray(partners)]
  np.testing.assert_allclose(
    gradient, np.broadcast_to(mixed / deviations, x.shape), rtol=1e-4
  )


def test_partners_are_of_another_domain_each_as_often():
  draw = jax.jit(jax.vmap(lambda key: mix_style.draw(key, DOMAINS, 0.1, 0.5)))
  partners, shares = draw(jax.random.split(jax.random.key(0), 4000))
  assert partners.dtype == jnp.int32
  own = np.asarray(DOMAINS)
  for clip in range(6):
    others = np.flatnonzero(own != own[clip])
    counts = np.bincount(partners[:, clip], minlength=6)
    assert counts[others].sum() == 4000
    # Five standard deviations.
    expected = 4000 / len(others)
    assert np.abs(counts[others] - expected).max() < 5 * expected**0.5
  # All clips of a batch or none, half of the time.
  mixed = np.asarray(shares) != 1
  some = mixed.any(axis=1)
  assert abs(some.mean() - 0.5) < 5 * (0.25 / 4000) ** 0.5
  # Beta(0.1, 0.1): mean 1/2, variance 1 / (4 (2 * 0.1 + 1)).
  values = np.asarray(shares)[some].ravel()
  assert abs(values.mean() - 0.5) < 0.02
  assert abs(values.var() - 1 / 4.8) < 0.01


def test_only_chosen_stages_are_mixed_and_both_streams_alike():
  settings = mix_style.MixStyle(1.0, 0.5, ('stem', 'mid'))
  x = jnp.asarray(make_features(), jnp.bfloat16)
  between = mix_style.between(settings, jax.random.key(3), DOMAINS)
  assert between('low', x) is x and between('high', x) is x
  stem = between('stem', x)
  assert stem.dtype == jnp.bfloat16
  assert not np.array_equal(stem, x)
  np.testing.assert_array_equal(stem, between('dynamic_stem', x))
  assert not np.array_equal(stem, between('mid', x))
  never = mix_style.MixStyle(0.0, 0.5, ('stem',))
  np.testing.assert_allclose(
    mix_style.between(never, jax.random.key(3), DOMAINS)('stem', x).astype(
      jnp.float32
    ),
    x.astype(jnp.float32),
    rtol=1e-2,
  )


def test_a_clip_without_another_domain_keeps_its_style():
  partners, _ = mix_style.draw(jax.random.key(0), jnp.zeros(4, int), 0.1, 1.0)
  assert partners.tolist() == [0, 1, 2, 3]
