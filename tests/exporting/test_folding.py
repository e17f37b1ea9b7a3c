"""Folding: against the formulas, pixel by pixel."""

import numpy as np
import pytest

from nasfas_jax.exporting import folding


def test_a_folded_convolution_is_the_formula_and_the_normalization():
  generator = np.random.default_rng(0)
  kernel = generator.normal(size=(3, 3, 2, 4))
  params = {name: generator.normal(size=4) for name in ('scale', 'bias')}
  stats = {
    'mean': generator.normal(size=4),
    'var': generator.uniform(0.5, 2, size=4),
  }
  theta = 0.7
  made = folding.convolution(
    kernel, theta=theta, norm=folding.affine(params, stats)
  )
  window = generator.normal(size=(3, 3, 2))
  for feature in range(4):
    taps = kernel[..., feature]
    # Equation 4 of arXiv 2003.04092.
    y = np.sum(taps * window) - theta * np.sum(taps * window[1, 1])
    normal = (y - stats['mean'][feature]) / np.sqrt(
      stats['var'][feature] + 1e-5
    )
    expected = normal * params['scale'][feature] + params['bias'][feature]
    folded = np.sum(made.kernel[feature].transpose(1, 2, 0) * window)
    assert folded + made.bias[feature] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
  ('variant', 'taps'),
  [('hv', [(0, 1), (1, 0), (1, 1), (1, 2), (2, 1)]),
   ('dg', [(0, 0), (0, 2), (1, 1), (2, 0), (2, 2)])],
)  # fmt: skip
def test_a_cross_has_five_taps(variant, taps):
  kernel = np.arange(1.0, 6.0).reshape(5, 1, 1)
  made = folding.convolution(kernel, theta=0.0, variant=variant)
  assert made.bias is None
  expected = np.zeros((3, 3))
  for value, place in zip(range(1, 6), taps, strict=True):
    expected[place] = value
  np.testing.assert_array_equal(made.kernel[0, 0], expected)


def test_normalization_without_scale_and_bias():
  made = folding.affine({}, {'mean': np.array([2.0]), 'var': np.array([4.0])})
  assert made.scale[0] == pytest.approx(0.5, abs=1e-5)
  assert made.shift[0] == pytest.approx(-1.0, abs=1e-5)
