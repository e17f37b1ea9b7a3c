"""What tests compile fast, users compile well: both give the same numbers."""

import fast_compiler
import jax
import numpy as np
import pytest
from small_search import make_batch, make_parts, small_config


@pytest.mark.parametrize('space', ['small', 'nasfas'])
def test_loss_and_gradients_are_those_of_the_users_compiler(space):
  config = small_config(hold_out='none')
  config.supernet.space = space
  parts = make_parts(config)
  gradients = jax.jit(
    jax.value_and_grad(parts.loss_fn, argnums=(0, 1), has_aux=True)
  ).lower(parts.state.params, parts.state.arch, make_batch(0), parts.state, 0)
  found = [
    gradients.compile(compiler_options=chosen)(
      parts.state.params, parts.state.arch, make_batch(0), parts.state, 0
    )
    for chosen in ({}, fast_compiler.USERS)
  ]
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(
      a, b, rtol=1e-4, atol=1e-4 * max(np.abs(b).max(), 1e-2)
    ),
    *found,
  )
