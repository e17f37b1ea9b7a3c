"""The baseline's layers against their formulas, position by position."""

import numpy as np
import pytest

torch = pytest.importorskip('torch')

from nasfas_jax.baseline import layers, supernet


def neighbours(x, row, column, window, dilation):
  """x(p0 + p_n) of [C, H, W] with zeros outside: [C, window, window]."""
  half = window // 2 * dilation
  padded = np.pad(x, ((0, 0), (half, half), (half, half)))
  places = dilation * np.arange(window)
  return padded[:, row + places[:, None], column + places[None]]


@pytest.mark.parametrize(
  'form',
  [
    {'theta': 0.0},
    {'theta': 0.7},
    {'theta': 0.4, 'kernel_size': 5},
    {'theta': 0.4, 'dilation': 2},
    {'theta': 0.4, 'depthwise': True},
    {'theta': 0.4, 'variant': 'hv'},
    {'theta': 0.4, 'variant': 'dg'},
  ],
)
def test_convolution_is_the_formula(form):
  features = 3 if form.get('depthwise') else 2
  conv = layers.CDConv(3, features, **form).double()
  x = np.random.default_rng(0).normal(size=(3, 5, 6))
  kernel = conv.weight.detach().numpy()
  if form.get('variant'):
    cross = {'hv': '.*.|***|.*.', 'dg': '*.*|.*.|*.*'}[form['variant']]
    mask = [[c == '*' for c in line] for line in cross.split('|')]
    full = np.zeros((features, 3, 3, 3))
    full[:, :, np.array(mask)] = kernel
    kernel = full
  want = np.zeros((features, 5, 6))
  for row in range(5):
    for column in range(6):
      taps = neighbours(
        x, row, column, kernel.shape[-1], form.get('dilation', 1)
      )
      differences = taps - form['theta'] * x[:, row, column, None, None]
      for o in range(features):
        own = differences[o : o + 1] if form.get('depthwise') else differences
        want[o, row, column] = np.sum(kernel[o] * own)
  got = conv(torch.from_numpy(x)[None])[0].detach().numpy()
  np.testing.assert_allclose(got, want, atol=1e-12)


@pytest.mark.parametrize('kind', ['max', 'average'])
def test_pools_leave_the_padding_out(kind):
  x = np.random.default_rng(0).normal(size=(2, 4, 5)) - 3.0
  reduce = {'max': np.max, 'average': np.mean}[kind]
  want = [
    [
      reduce(x[:, max(r - 1, 0) : r + 2, max(c - 1, 0) : c + 2], axis=(1, 2))
      - 0.3 * x[:, r, c]
      for c in range(5)
    ]
    for r in range(4)
  ]
  got = layers.CDPool(kind, 0.3)(torch.from_numpy(x)[None])[0].numpy()
  np.testing.assert_allclose(got.transpose(1, 2, 0), want, atol=1e-12)


def test_a_none_edge_is_zero_and_a_skip_the_input():
  x = torch.randn(1, 4, 3, 3)
  assert not layers.operation('none', 4, theta=0.7)(x).any()
  assert layers.operation('skip_connect', 4, theta=0.7)(x) is x


def test_an_unknown_operation_names_the_known_ones():
  with pytest.raises(ValueError, match="'cdc_7x7'; allowed: none, skip_conn"):
    layers.operation('cdc_7x7', 4, theta=0.7)


def test_partial_channels_must_divide_the_channels():
  with pytest.raises(ValueError, match='partial_channels is 3; it must divide'):
    supernet.SearchCell('cdcnpp', 2, 8, theta=0.7, partial_channels=3)
