import jax
import numpy as np
import pytest
from jitted import apply, initialize

from nasfas_jax import models

SMALL = {
  'stem_features': (4, 8),
  'cell_features': 8,
  'head_features': 8,
  'output_size': 4,
}


def test_two_streams_share_nothing_before_they_are_fused(key):
  """Either image alone changes its own stream only, up to the fusion."""
  model = models.build_model('cdcnpp', **SMALL, two_stream=True)
  x = jax.random.normal(key, (2, 16, 16, 6))
  variables = initialize(model, key, x)
  names = set(variables['params'])
  assert {'stem_0', 'dynamic_stem_0', 'low_0', 'dynamic_low_0'} <= names
  assert 'dynamic_mid_0' not in names

  @jax.jit
  def parts(x):
    return apply(model, variables, x, train=False)

  base, before = parts(x)
  changed, after = parts(x.at[..., 3:].add(1.0))
  np.testing.assert_array_equal(before['stem'], after['stem'])
  assert np.any(before['dynamic_stem'] != after['dynamic_stem'])
  assert np.any(before['low'] != after['low'])
  assert np.any(base != changed)


def test_cdcn_has_one_stream():
  with pytest.raises(ValueError, match='two_stream; cdcn has one stream'):
    models.build_model('cdcn', two_stream=True)
