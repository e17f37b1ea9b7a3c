"""What tests compile fast, users compile well: both give the same numbers."""

import fast_compiler
import jax
import numpy as np
from small_search import make_batch, make_parts, small_config


def test_loss_and_gradients_are_those_of_the_users_compiler():
  config = small_config(hold_out='none')
  # Of every kind of operation.
  config.supernet.space = 'nasfas'
  parts = make_parts(config)
  state = parts.state

  def loss(params, arch, batch):
    return parts.loss_fn(params, arch, batch, state, 0)

  args = (state.params, state.arch, make_batch(0))
  gradients = jax.jit(
    jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
  ).lower(*args)
  found, expected = (
    gradients.compile(compiler_options=chosen)(*args)
    for chosen in (None, fast_compiler.USERS)
  )
  assert all(np.any(leaf) for leaf in jax.tree.leaves(expected[1][0]))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(
      a, b, rtol=1e-4, atol=1e-4 * max(np.abs(b).max(), 1e-2)
    ),
    found,
    expected,
  )
