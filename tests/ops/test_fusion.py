import jax.numpy as jnp
import numpy as np
import pytest

from nasfas_jax.ops import fusion, rank_pooling

CLIPS = np.random.default_rng(0).uniform(-1, 1, (2, 5, 4, 4, 3))


def expected_parts(kind):
  """The static frame and the dynamic image, the latter by explicit loops."""
  coefficients = rank_pooling.COEFFICIENTS[kind](5)
  static, dynamic = CLIPS[:, 2], np.zeros((2, 4, 4, 3))
  for n in range(2):
    pooled = sum(coefficients[t] * CLIPS[n, t] for t in range(5))
    low, high = pooled.min(), pooled.max()
    dynamic[n] = 2 * (pooled - low) / (high - low) - 1
  return static, dynamic


@pytest.mark.parametrize('kind', ['approximate', 'linear'])
@pytest.mark.parametrize('mode', fusion.FUSIONS)
def test_equals_loops(mode, kind):
  static, dynamic = expected_parts(kind)
  expected = {
    'static': static,
    'dynamic': dynamic,
    'blend': (static + dynamic) / 2,
    'concat': np.concatenate([static, dynamic], axis=-1),
    'two_stream': np.concatenate([static, dynamic], axis=-1),
  }[mode]
  clips = jnp.asarray(CLIPS, jnp.float32)
  y = fusion.fuse(clips, mode, rank_pooling=kind)
  assert y.shape[-1] == fusion.fusion_channels(mode)
  np.testing.assert_allclose(y, expected, atol=2e-5)


def test_default_rank_pooling_is_approximate():
  clips = jnp.asarray(CLIPS, jnp.float32)
  np.testing.assert_array_equal(
    fusion.fuse(clips, 'blend'),
    fusion.fuse(clips, 'blend', rank_pooling='approximate'),
  )


@pytest.mark.parametrize('num_frames, index', [(1, 0), (2, 1), (7, 3), (8, 4)])
def test_static_is_the_middle_frame(num_frames, index):
  clip = jnp.arange(float(num_frames)).reshape(1, num_frames, 1, 1, 1)
  y = fusion.fuse(clip * jnp.ones((1, 1, 2, 2, 3)), 'static')
  np.testing.assert_array_equal(y, np.full((1, 2, 2, 3), index))


def test_blend_of_a_still_clip_is_half_the_frame():
  clip = jnp.full((1, 4, 2, 2, 3), 0.5)
  np.testing.assert_array_equal(fusion.fuse(clip, 'blend'), 0.25)


def test_errors_name_the_value():
  allowed = 'allowed: static, dynamic, blend, concat'
  with pytest.raises(ValueError, match=f"'sum'; {allowed}"):
    fusion.fuse(jnp.zeros((1, 2, 3, 3, 3)), 'sum')
  with pytest.raises(ValueError, match=f"'sum'; {allowed}"):
    fusion.fusion_channels('sum')
  with pytest.raises(ValueError, match=r'\(2, 3, 3, 3\).*\[B, K, H, W, 3\]'):
    fusion.fuse(jnp.zeros((2, 3, 3, 3)), 'static')
  with pytest.raises(ValueError, match=r'\(1, 2, 3, 3, 1\).*\[B, K, H, W, 3\]'):
    fusion.fuse(jnp.zeros((1, 2, 3, 3, 1)), 'dynamic')
  with pytest.raises(ValueError, match="'svm'; allowed: approximate"):
    fusion.fuse(jnp.zeros((1, 2, 3, 3, 3)), 'blend', rank_pooling='svm')
