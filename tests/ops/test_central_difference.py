import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasfas_jax.ops import central_difference


def reference_conv(x, kernel, *, theta, strides, dilation, groups):
  """The two-term form by loops: conv - theta * x(p0) * sum of w."""
  batch, height, width, channels = x.shape
  kh, kw, group_channels, features = kernel.shape
  rows, columns = dilation * (kh // 2), dilation * (kw // 2)
  padded = np.zeros(
    (batch, height + 2 * rows, width + 2 * columns, channels), np.float64
  )
  padded[:, rows : rows + height, columns : columns + width] = x
  out_height = (height - 1) // strides + 1
  out_width = (width - 1) // strides + 1
  y = np.zeros((batch, out_height, out_width, features))
  for n, i, j, o in itertools.product(
    range(batch), range(out_height), range(out_width), range(features)
  ):
    first = o // (features // groups) * group_channels
    for c in range(group_channels):
      total = 0.0
      for a, b in itertools.product(range(kh), range(kw)):
        row = i * strides + a * dilation
        column = j * strides + b * dilation
        y[n, i, j, o] += kernel[a, b, c, o] * padded[n, row, column, first + c]
        total += kernel[a, b, c, o]
      centre = x[n, i * strides, j * strides, first + c]
      y[n, i, j, o] -= theta * centre * total
  return y


def draw(shape, seed):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
  'kernel_size, strides, dilation, groups, theta',
  [
    ((3, 3), 1, 1, 1, 0.7),
    ((3, 3), 2, 1, 1, 0.7),
    ((3, 3), 3, 2, 1, 0.3),
    ((3, 3), 1, 2, 2, 0.7),
    ((3, 3), 2, 1, 4, 1.0),
    ((3, 3), 1, 1, 1, 0.0),
    ((5, 5), 1, 1, 1, 0.7),
    ((5, 5), 2, 2, 4, 0.7),
    ((1, 1), 1, 1, 1, 0.7),
    ((1, 1), 2, 1, 2, 0.5),
    ((1, 3), 2, 1, 1, 0.7),
    ((5, 3), 1, 2, 2, -0.4),
  ],
)
def test_equals_the_two_term_form(
  kernel_size, strides, dilation, groups, theta
):
  x = draw((2, 7, 6, 4), seed=0)
  kernel = draw((*kernel_size, 4 // groups, 8), seed=1)
  settings = dict(
    theta=theta, strides=strides, dilation=dilation, groups=groups
  )
  y = central_difference.central_difference_conv(x, kernel, **settings)
  expected = reference_conv(x, kernel, **settings)
  assert y.shape == expected.shape
  np.testing.assert_allclose(y, expected, rtol=1e-4, atol=2e-5)


def test_hand_worked():
  x = jnp.arange(1.0, 10.0).reshape(1, 3, 3, 1)
  y = central_difference.central_difference_conv(
    x, jnp.ones((3, 3, 1, 1)), theta=0.5
  )
  # Centre: 45 - 0.5 * 5 * 9. Corners: the sum of four pixels minus 0.5 * 9
  # times the corner itself.
  assert y[0, 1, 1, 0] == 22.5
  assert y[0, 0, 0, 0] == (1 + 2 + 4 + 5) - 4.5 * 1
  assert y[0, 2, 2, 0] == (5 + 6 + 8 + 9) - 4.5 * 9


def test_full_difference_does_not_see_a_constant():
  kernel = draw((3, 3, 2, 3), seed=0)
  x = jnp.full((1, 5, 5, 2), 3.0)
  y = central_difference.central_difference_conv(x, kernel, theta=1.0)
  np.testing.assert_allclose(y[:, 1:-1, 1:-1], 0, atol=1e-5)
  assert np.abs(y[:, 0]).max() > 1


def test_fold_touches_the_centre_tap_only():
  kernel = draw((3, 5, 2, 4), seed=0)
  folded = np.asarray(central_difference.fold_kernel(kernel, 0.7))
  expected = kernel.copy()
  expected[1, 2] -= 0.7 * kernel.sum((0, 1))
  np.testing.assert_allclose(folded, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('theta', [0, 0.0])
def test_fold_without_theta_is_the_kernel(theta):
  kernel = jnp.asarray(draw((3, 3, 2, 4), seed=0))
  assert central_difference.fold_kernel(kernel, theta) is kernel


def test_learned_theta_gets_the_exact_gradient():
  x = jnp.asarray(draw((1, 4, 4, 2), seed=0))
  kernel = jnp.asarray(draw((3, 3, 2, 3), seed=1))

  @jax.jit
  def total(theta):
    return jnp.sum(
      central_difference.central_difference_conv(x, kernel, theta=theta)
    )

  # d/dtheta of sum_p y(p) = -sum_p x(p) . sum_n w(n)
  expected = -np.einsum('nhwc,abco->', x, kernel)
  np.testing.assert_allclose(
    jax.grad(total)(jnp.float32(0.7)), expected, rtol=1e-4
  )


def test_folds_in_float32_before_a_bfloat16_convolution():
  # A tap of 1 + 2^-8 is 1 in bfloat16, and folded there the centre would be
  # 1 - 0.5 * 9 = -3.5. It is (1 + 2^-8) * -3.5 = -3.5137, next to -3.515625.
  kernel = jnp.full((3, 3, 1, 1), 1 + 2**-8, jnp.float32)
  x = jnp.zeros((1, 3, 3, 1), jnp.bfloat16).at[0, 1, 1, 0].set(1)
  y = central_difference.central_difference_conv(x, kernel, theta=0.5)
  assert y.dtype == jnp.bfloat16
  assert y[0, 1, 1, 0] == -3.515625
  assert y[0, 0, 0, 0] == 1


@pytest.mark.parametrize(
  'variant, picture',
  [
    ('hv', [[0, 1, 0], [2, 3, 4], [0, 5, 0]]),
    ('dg', [[1, 0, 2], [0, 3, 0], [4, 0, 5]]),
  ],
)
def test_cross_places_five_weights(variant, picture):
  weights = jnp.arange(1.0, 6.0).reshape(5, 1, 1) * jnp.ones((1, 2, 3))
  kernel = central_difference.expand_cross(weights, variant)
  assert kernel.shape == (3, 3, 2, 3)
  np.testing.assert_array_equal(kernel[:, :, 1, 2], picture)


@pytest.mark.parametrize(
  'variant, offsets',
  [
    ('hv', [(-1, 0), (0, -1), (0, 0), (0, 1), (1, 0)]),
    ('dg', [(-1, -1), (-1, 1), (0, 0), (1, -1), (1, 1)]),
  ],
)
def test_cross_convolution_equals_loops_over_five_neighbours(variant, offsets):
  x = draw((1, 5, 6, 2), seed=0)
  weights = draw((5, 2, 3), seed=1)
  kernel = central_difference.expand_cross(jnp.asarray(weights), variant)
  y = central_difference.central_difference_conv(x, kernel, theta=0.6)
  padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
  expected = np.zeros((5, 6, 3))
  for i, j in itertools.product(range(5), range(6)):
    for weight, (row, column) in zip(weights, offsets, strict=True):
      neighbour = padded[0, 1 + i + row, 1 + j + column]
      expected[i, j] += (neighbour - 0.6 * x[0, i, j]) @ weight
  np.testing.assert_allclose(y[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
  'x_shape, kernel_shape, settings, message',
  [
    ((1, 4, 4, 2), (2, 3, 2, 2), {}, r'\(2, 3, 2, 2\).*odd kh and kw'),
    ((1, 4, 4, 2), (3, 3, 2), {}, r'\(3, 3, 2\).*\[kh, kw, I, O\]'),
    ((4, 4, 2), (3, 3, 2, 2), {}, r'\(4, 4, 2\).*\[N, H, W, C\]'),
    ((1, 4, 4, 3), (3, 3, 2, 2), {}, '3 input channels in 1 groups'),
    ((1, 4, 4, 4), (3, 3, 4, 4), {'groups': 2}, '4 input channels in 2'),
    ((1, 4, 4, 4), (3, 3, 2, 3), {'groups': 2}, '3 output channels in 2'),
    ((1, 4, 4, 2), (3, 3, 2, 2), {'strides': 0}, 'strides is 0'),
    ((1, 4, 4, 2), (3, 3, 2, 2), {'dilation': -1}, 'dilation is -1'),
    ((1, 4, 4, 2), (3, 3, 2, 2), {'groups': 0}, 'groups is 0'),
    ((1, 4, 4, 2), (3, 3, 2, 2), {'theta': np.ones(2)}, r'shape \(2,\)'),
  ],
)
def test_errors_name_the_value(x_shape, kernel_shape, settings, message):
  with pytest.raises(ValueError, match=message):
    jax.eval_shape(
      lambda x, kernel: central_difference.central_difference_conv(
        x, kernel, **settings
      ),
      jnp.zeros(x_shape),
      jnp.zeros(kernel_shape),
    )


def test_cross_errors_name_the_allowed_variants():
  with pytest.raises(ValueError, match="'cross'; allowed: hv, dg"):
    central_difference.expand_cross(jnp.zeros((5, 1, 1)), 'cross')
  with pytest.raises(ValueError, match=r'\(9, 1, 1\); allowed: \[5, I, O\]'):
    central_difference.expand_cross(jnp.zeros((9, 1, 1)), 'hv')
