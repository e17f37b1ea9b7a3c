"""Rank pooling: the motion of a clip as one image, its dynamic image.

It is a weighted sum of the frames whose weights grow with time (Fernando et
al., "Modeling Video Evolution for Action Recognition", CVPR 2015; Bilen et al.,
"Dynamic Image Networks for Action Recognition", CVPR 2016).
"""

import math

import jax
import jax.numpy as jnp
import numpy as np


def approximate_coefficients(num_frames: int) -> np.ndarray:
  """Approximate rank pooling (Bilen et al. 2016).

  a_i = sum_{t=i..K} (2 t - K - 1) / t, the first gradient step of the ranking
  machine on the running means of the frames.

  Args:
    num_frames: K, at least 1.

  Returns:
    float32 [K] of sum 0.

  Raises:
    ValueError: for `num_frames` below 1.
  """
  _check_num_frames(num_frames)
  t = np.arange(1, num_frames + 1)
  terms = (2 * t - num_frames - 1) / t
  return np.cumsum(terms[::-1])[::-1].astype(np.float32)


def linear_coefficients(num_frames: int) -> np.ndarray:
  """Approximate rank pooling without running means: a_i = 2 i - K - 1.

  Args:
    num_frames: K, at least 1.

  Returns:
    float32 [K] of sum 0, odd under time reversal.

  Raises:
    ValueError: for `num_frames` below 1.
  """
  _check_num_frames(num_frames)
  return (2 * np.arange(1, num_frames + 1) - num_frames - 1).astype(np.float32)


COEFFICIENTS = {
  'approximate': approximate_coefficients,
  'linear': linear_coefficients,
}
KINDS = (*COEFFICIENTS, 'exact')
# 'exact' solves a problem of K (K - 1) / 2 unknowns for every clip.
MAX_EXACT_FRAMES = 32


def exact_coefficients(
  frames: jax.Array, *, cost: float = 100.0, num_iterations: int | None = None
) -> jax.Array:
  """Exact rank pooling (Fernando et al. 2015) as weights of the frames.

  The dynamic image d is the ranking machine that puts the running means v_t
  of the frames in order:

    min_d 0.5 |d|^2 + C sum_{i > j} max(0, 1 - d.v_i + d.v_j)

  The solution is in the span of the v_t. The dual has a variable a_ij in [0, C]
  for each pair i > j and depends on the frames only through their K x K inner
  products:

    max_a sum(a) - 0.5 |sum_{i > j} a_ij (v_i - v_j)|^2

  It is solved for all clips together by a fixed number of accelerated projected
  gradient steps with restarts (O'Donoghue and Candes 2015).

  Args:
    frames: [..., K, H, W, C] float, K from 1 to `MAX_EXACT_FRAMES`.
    cost: C. Inner products are means over height, width and channels, so that
      it does not depend on the size of the frames. As it goes to 0, the result
      approaches that of `linear_coefficients` on the running means.
    num_iterations: steps of the solver. None: 500 for up to 8 frames, and in
      proportion to K^3 for more. The dynamic image of frames about in [-1, 1]
      is then exact to 1e-3, which is what float32 allows at 32 frames.

  Returns:
    float32 [..., K] of sum 0, a constant for differentiation.

  Raises:
    ValueError: for K below 1 or above `MAX_EXACT_FRAMES`.
  """
  num_frames = frames.shape[-4]
  _check_num_frames(num_frames)
  if num_frames > MAX_EXACT_FRAMES:
    raise ValueError(
      f"num_frames is {num_frames}; allowed with rank pooling 'exact': 1 to "
      f'{MAX_EXACT_FRAMES}.'
    )
  if num_iterations is None:
    num_iterations = math.ceil(500 * max(num_frames / 8, 1) ** 3)
  wide = jax.lax.stop_gradient(frames).astype(jnp.float32)
  # Only differences between frames count; subtracting the first frame keeps
  # their precision.
  motion = wide - wide[..., :1, :, :, :]
  size = math.prod(frames.shape[-3:])
  flat = motion.reshape(*motion.shape[:-3], size)
  # Row t holds the weights of the mean of the first t + 1 frames.
  means = np.tril(np.ones((num_frames, num_frames), np.float32))
  means /= np.arange(1, num_frames + 1, dtype=np.float32)[:, np.newaxis]
  differences = np.array(
    [means[i] - means[j] for i in range(num_frames) for j in range(i)],
    np.float32,
  ).reshape(-1, num_frames)
  gram = jnp.einsum('...kd,...ld->...kl', flat, flat, precision='highest')
  dual = _solve_dual(differences, gram / size, cost, num_iterations)
  return jnp.einsum('...p,pk->...k', dual, differences, precision='highest')


def _solve_dual(
  differences: np.ndarray, gram: jax.Array, cost: float, num_iterations: int
) -> jax.Array:
  """max_a sum(a) - 0.5 a.Q.a over [0, cost], with Q = differences gram their^T.

  Args:
    differences: D, [P, K].
    gram: [..., K, K].
    cost, num_iterations: see `exact_coefficients`.

  Returns:
    float32 [..., P].
  """
  # The Frobenius norm of Q, from |Q|^2 = tr (D'D gram)^2, bounds its largest
  # eigenvalue.
  product = jnp.einsum(
    'kl,...lm->...km', differences.T @ differences, gram, precision='highest'
  )
  squares = jnp.sum(product * jnp.swapaxes(product, -1, -2), axis=(-2, -1))
  norm = jnp.sqrt(jnp.maximum(squares, 0.0))
  step = 1.0 / jnp.maximum(norm, 1e-12)[..., jnp.newaxis]

  def iterate(carry, _):
    point, ahead, momentum = carry
    image = jnp.einsum(
      '...kl,...p,pl->...k', gram, ahead, differences, precision='highest'
    )
    gradient = 1.0 - jnp.einsum(
      '...k,pk->...p', image, differences, precision='highest'
    )
    moved = jnp.clip(ahead + step * gradient, 0.0, cost)
    against = jnp.sum((ahead - moved) * (moved - point), -1, keepdims=True) > 0
    momentum = jnp.where(against, 1.0, momentum)
    following = (1.0 + jnp.sqrt(1.0 + 4.0 * jnp.square(momentum))) / 2.0
    inertia = jnp.where(against, 0.0, (momentum - 1.0) / following)
    return (moved, moved + inertia * (moved - point), following), None

  start = jnp.zeros((*gram.shape[:-2], len(differences)), jnp.float32)
  carry = (start, start, jnp.ones_like(step))
  return jax.lax.scan(iterate, carry, length=num_iterations)[0][0]


def dynamic_image(
  frames: jax.Array, kind: str = 'approximate', epsilon: float = 1e-5
) -> jax.Array:
  """Rank-pools the frames of each clip and scales the result to [-1, 1].

  Args:
    frames: [..., K, H, W, C] float, K at least 1.
    kind: one of `KINDS`.
    epsilon: added to half the range of a clip before the division by it. A
      range far above it is scaled to [-1, 1]; one far below it stays near 0.

  Returns:
    [..., H, W, C] in the dtype of `frames`; computed in float32, min-max scaled
    over height, width and channels of each clip. A clip without motion is
    exactly 0, mid-grey.

  Raises:
    ValueError: for an unknown kind or fewer than four axes.
  """
  if kind not in KINDS:
    raise ValueError(
      f'Unknown rank pooling {kind!r}; allowed: {", ".join(KINDS)}.'
    )
  if frames.ndim < 4:
    raise ValueError(
      f'Frames have shape {frames.shape}; allowed: [..., K, H, W, C].'
    )
  if kind == 'exact':
    coefficients = exact_coefficients(frames)
  else:
    coefficients = COEFFICIENTS[kind](frames.shape[-4])
  wide = frames.astype(jnp.float32)
  # The coefficients sum to 0, so subtracting the first frame changes nothing
  # but rounding. Without it, rounding leaves noise in a still clip, which the
  # scaling below would amplify.
  motion = wide - wide[..., :1, :, :, :]
  pooled = jnp.einsum(
    '...k,...khwc->...hwc', coefficients, motion, precision='highest'
  )
  low = jnp.min(pooled, axis=(-3, -2, -1), keepdims=True)
  high = jnp.max(pooled, axis=(-3, -2, -1), keepdims=True)
  scaled = (pooled - (high + low) / 2) / ((high - low) / 2 + epsilon)
  return scaled.astype(frames.dtype)


def _check_num_frames(num_frames: int) -> None:
  if num_frames < 1:
    raise ValueError(f'num_frames is {num_frames!r}; allowed: 1 or more.')
