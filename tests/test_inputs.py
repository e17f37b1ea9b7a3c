import jax.numpy as jnp
import numpy as np
import pytest

from nasfas_jax import inputs


def make_input(frames, mode='static', normalization='fixed'):
  form = inputs.InputForm(mode, 'approximate', normalization)
  return inputs.network_input(jnp.asarray(frames), form)


def clips(seed=0, low=0, high=256):
  rng = np.random.default_rng(seed)
  return rng.integers(low, high, (2, 4, 6, 6, 3), dtype=np.uint8)


def test_fixed_normalization_is_that_of_cdcn():
  frames = clips()
  expected = (frames[:, 2].astype(np.float32) - 127.5) / 128
  np.testing.assert_allclose(make_input(frames), expected, rtol=1e-6)


def test_clip_normalization_by_loops():
  frames = clips(low=40, high=90)
  actual = make_input(frames, normalization='clip')
  for b in range(2):
    x = frames[b] / 128.0
    x = x - x.mean(axis=(0, 1, 2))
    expected = 0.5 * x[2] / np.sqrt((x**2).mean() + 1 / 128**2)
    np.testing.assert_allclose(actual[b], expected, atol=1e-5)


def test_clip_normalization_takes_gain_and_tint_out():
  frames = clips(low=20, high=100)
  tinted = 2 * frames + np.array([10, 30, 50], np.uint8)
  np.testing.assert_allclose(
    make_input(frames, normalization='clip'),
    make_input(tinted, normalization='clip'),
    atol=2e-3,
  )


def test_a_flat_clip_stays_finite():
  flat = np.full((1, 4, 6, 6, 3), 7, np.uint8)
  for mode in ('static', 'dynamic', 'blend', 'concat'):
    x = make_input(flat, mode, 'clip')
    np.testing.assert_array_equal(x, 0)


def test_an_unknown_normalization_names_the_known_ones():
  with pytest.raises(ValueError, match="'none'; allowed: fixed, clip"):
    make_input(clips(), normalization='none')
