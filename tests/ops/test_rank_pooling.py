import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from nasfas_jax.ops import rank_pooling


def draw_clips(shape=(2, 5, 4, 3, 3), seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
  'num_frames, expected',
  [
    (1, [0]),
    # (2 - 3) / 1 + (4 - 3) / 2, then (4 - 3) / 2.
    (2, [-1 / 2, 1 / 2]),
    # Terms -2, 0, 2/3.
    (3, [-4 / 3, 2 / 3, 2 / 3]),
    # Terms -3, -1/2, 1/3, 3/4.
    (4, [-29 / 12, 7 / 12, 13 / 12, 3 / 4]),
  ],
)
def test_approximate_coefficients(num_frames, expected):
  coefficients = rank_pooling.approximate_coefficients(num_frames)
  assert coefficients.dtype == np.float32
  np.testing.assert_allclose(coefficients, expected, rtol=1e-6)


def test_approximate_pooling_ranks_the_running_means():
  # Bilen et al.: sum_i a_i x_i = sum_t (2t - K - 1) v_t over running means v_t.
  frames = draw_clips((8, 6))
  means = [frames[: t + 1].mean(axis=0) for t in range(8)]
  expected = sum((2 * t - 9) * v for t, v in enumerate(means, start=1))
  pooled = rank_pooling.approximate_coefficients(8) @ frames
  np.testing.assert_allclose(pooled, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
  'num_frames, expected',
  [(1, [0]), (2, [-1, 1]), (3, [-2, 0, 2]), (4, [-3, -1, 1, 3])],
)
def test_linear_coefficients(num_frames, expected):
  coefficients = rank_pooling.linear_coefficients(num_frames)
  assert coefficients.dtype == np.float32
  np.testing.assert_array_equal(coefficients, expected)


@pytest.mark.parametrize('kind', ['approximate', 'linear'])
def test_equals_loops(kind):
  clips = draw_clips()
  coefficients = {
    'approximate': rank_pooling.approximate_coefficients,
    'linear': rank_pooling.linear_coefficients,
  }[kind](5)
  images = rank_pooling.dynamic_image(jnp.asarray(clips), kind)
  assert images.shape == (2, 4, 3, 3)
  for clip, image in zip(clips, images, strict=True):
    pooled = np.zeros((4, 3, 3))
    for coefficient, frame in zip(coefficients, clip, strict=True):
      pooled += float(coefficient) * frame
    low, high = pooled.min(), pooled.max()
    expected = 2 * (pooled - low) / (high - low) - 1
    np.testing.assert_allclose(image, expected, atol=2e-5)


def test_scales_each_clip_alone_to_the_full_range():
  clips = draw_clips() * np.asarray([1, 50]).reshape(2, 1, 1, 1, 1)
  images = rank_pooling.dynamic_image(jnp.asarray(clips, jnp.float32))
  np.testing.assert_allclose(images.min(axis=(1, 2, 3)), -1, atol=1e-4)
  np.testing.assert_allclose(images.max(axis=(1, 2, 3)), 1, atol=1e-4)


@pytest.mark.parametrize('leading', [(), (2,), (2, 3)])
def test_takes_any_leading_axes(leading):
  clips = jnp.asarray(draw_clips((*leading, 3, 4, 4, 3)))
  assert rank_pooling.dynamic_image(clips).shape == (*leading, 4, 4, 3)


@pytest.mark.parametrize('kind', ['approximate', 'linear'])
@pytest.mark.parametrize('num_frames', [1, 2, 7, 8, 32])
def test_a_still_clip_is_exactly_grey_with_a_finite_gradient(kind, num_frames):
  frame = draw_clips((1, 1, 4, 4, 3)) * 0.3
  still = jnp.asarray(np.repeat(frame, num_frames, axis=1))
  np.testing.assert_array_equal(rank_pooling.dynamic_image(still, kind), 0)
  weights = jnp.asarray(draw_clips((1, 4, 4, 3), seed=1))
  gradient = jax.grad(
    lambda clip: jnp.sum(weights * rank_pooling.dynamic_image(clip, kind))
  )(still)
  assert np.isfinite(gradient).all()


def test_a_moving_clip_is_not_grey():
  # One bright pixel walks along a row: early places dark, late ones bright.
  clip = np.zeros((1, 4, 1, 4, 1), np.float32)
  for t in range(4):
    clip[0, t, 0, t] = 1
  image = rank_pooling.dynamic_image(jnp.asarray(clip), 'linear')
  np.testing.assert_allclose(
    image[0, 0, :, 0], [-1, -1 / 3, 1 / 3, 1], atol=1e-4
  )


def test_reversed_time_flips_the_sign_of_the_linear_kind():
  clips = jnp.asarray(draw_clips())
  forward = rank_pooling.dynamic_image(clips, 'linear')
  backward = rank_pooling.dynamic_image(clips[:, ::-1], 'linear')
  np.testing.assert_allclose(forward, -backward, atol=1e-5)
  forward = rank_pooling.dynamic_image(clips, 'approximate')
  backward = rank_pooling.dynamic_image(clips[:, ::-1], 'approximate')
  assert np.abs(forward + backward).max() > 0.1
  pooled = np.einsum(
    'k,nkhwc->nhwc', rank_pooling.linear_coefficients(5), clips
  )
  reverse = np.einsum(
    'k,nkhwc->nhwc', rank_pooling.linear_coefficients(5), clips[:, ::-1]
  )
  np.testing.assert_allclose(pooled, -reverse, atol=1e-5)


def test_errors_name_the_value():
  with pytest.raises(
    ValueError, match="'svm'; allowed: approximate, linear, exact"
  ):
    rank_pooling.dynamic_image(jnp.zeros((1, 2, 3, 3, 3)), 'svm')
  with pytest.raises(ValueError, match=r'\(3, 3, 3\); allowed: \[..., K'):
    rank_pooling.dynamic_image(jnp.zeros((3, 3, 3)))
  for coefficients in rank_pooling.COEFFICIENTS.values():
    with pytest.raises(ValueError, match='num_frames is 0; allowed: 1'):
      coefficients(0)


def walk(seed, scale, frames=6):
  """A clip that drifts, with noise: [frames, 5, 4, 3]."""
  rng = np.random.default_rng(seed)
  steps = rng.normal(size=(frames, 5, 4, 3)) * scale
  return (np.cumsum(steps, axis=0) + 0.3).astype(np.float32)


def ranking_machine(frames, cost):
  """The dual by coordinate ascent in float64, one pair after the other."""
  flat = frames.reshape(len(frames), -1).astype(np.float64)
  flat /= np.sqrt(flat.shape[1])
  means = [flat[: t + 1].mean(axis=0) for t in range(len(flat))]
  pairs = [means[i] - means[j] for i in range(len(flat)) for j in range(i)]
  dual = np.zeros(len(pairs))
  image = np.zeros(flat.shape[1])
  for _ in range(20_000):
    largest = 0.0
    for p, difference in enumerate(pairs):
      slope = 1.0 - image @ difference
      new = np.clip(dual[p] + slope / (difference @ difference), 0.0, cost)
      image += (new - dual[p]) * difference
      largest = max(largest, abs(new - dual[p]))
      dual[p] = new
    if largest < 1e-11:
      break
  return image, means


@pytest.mark.parametrize('cost', [1.0, 100.0])
@pytest.mark.parametrize(('seed', 'scale'), [(0, 0.05), (1, 0.3), (2, 1.0)])
def test_exact_rank_pooling_is_the_ranking_machine(seed, scale, cost):
  clip = walk(seed, scale)
  expected, means = ranking_machine(clip, cost)
  coefficients = rank_pooling.exact_coefficients(jnp.asarray(clip), cost=cost)
  flat = clip.reshape(len(clip), -1) / np.sqrt(60)
  found = np.asarray(coefficients) @ flat
  np.testing.assert_allclose(
    found, expected, atol=1e-3 * np.abs(expected).max()
  )
  if cost == 100.0 and scale == 1.0:
    # Costly mistakes on frames this far apart: it puts all means in order.
    assert np.all(np.diff([found @ mean for mean in means]) > 0.9)


def ranking_machine_of_many(frames, cost):
  """`ranking_machine` for more frames: SciPy's bounded least squares.

  With A = differences^T and |A a|^2 = a.Q.a, the dual is the bounded least
  squares problem 0.5 |B a - c|^2 for any B, c with B'B = Q and B'c = 1, which
  exist where Q has an inverse: a little is added to its diagonal.
  """
  flat = frames.reshape(len(frames), -1).astype(np.float64)
  flat /= np.sqrt(flat.shape[1])
  means = [flat[: t + 1].mean(axis=0) for t in range(len(flat))]
  pairs = np.array(
    [means[i] - means[j] for i in range(len(flat)) for j in range(i)]
  )
  quadratic = pairs @ pairs.T
  quadratic += 1e-9 * np.trace(quadratic) / len(pairs) * np.eye(len(pairs))
  root = np.linalg.cholesky(quadratic)
  target = np.linalg.solve(root, np.ones(len(pairs)))
  found = optimize.lsq_linear(
    root.T, target, bounds=(0.0, cost), method='bvls', tol=1e-14
  )
  return found.x @ pairs


@pytest.mark.parametrize('scale', [0.05, 0.5])
@pytest.mark.parametrize('num_frames', [8, 16, 32])
def test_exact_rank_pooling_of_more_frames(num_frames, scale):
  clip = walk(2, scale, num_frames)
  expected = ranking_machine_of_many(clip, 100.0)
  coefficients = rank_pooling.exact_coefficients(jnp.asarray(clip))
  found = np.asarray(coefficients) @ (
    clip.reshape(num_frames, -1) / np.sqrt(60)
  )
  np.testing.assert_allclose(
    found, expected, atol=1e-3 * np.abs(expected).max()
  )


def test_exact_rank_pooling_of_too_many_frames_is_an_error():
  with pytest.raises(ValueError, match="33; allowed with .*'exact': 1 to 32"):
    rank_pooling.dynamic_image(jnp.zeros((33, 2, 2, 3)), 'exact')


def test_exact_rank_pooling_takes_clips_of_a_batch_apart():
  clips = jnp.stack([walk(3, 0.2), walk(4, 0.02)])
  together = rank_pooling.exact_coefficients(clips)
  alone = [rank_pooling.exact_coefficients(clip) for clip in clips]
  np.testing.assert_allclose(together, jnp.stack(alone), rtol=1e-3)
  np.testing.assert_allclose(together.sum(axis=-1), 0, atol=1e-3)


def test_exact_rank_pooling_of_a_still_clip_is_mid_grey():
  clip = jnp.full((5, 4, 4, 3), 0.3)
  image = rank_pooling.dynamic_image(clip, 'exact')
  np.testing.assert_array_equal(image, 0)
  gradient = jax.grad(
    lambda x: jnp.sum(rank_pooling.dynamic_image(x, 'exact'))
  )(jnp.asarray(walk(5, 0.1)))
  assert np.all(np.isfinite(gradient))
