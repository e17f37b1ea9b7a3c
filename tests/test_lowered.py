"""Counts of what is lowered for an accelerator."""

import jax
import jax.numpy as jnp
import pytest

from benchmarks import lowered
from nasfas_configs import search as search_config
from nasfas_jax.ops import central_difference


def convolve(x, kernel):
  return central_difference.central_difference_conv(x, kernel, theta=0.0)


def test_convolutions_are_counted_through_calls_and_by_their_shapes():
  once = jax.jit(convolve)

  def function(x, kernel, wide):
    x = once(once(x, kernel), kernel)
    return convolve(x, wide)

  shape = (2, 8, 8, 4)
  case = lowered.Case(
    *(function, jnp.ones(shape), jnp.ones((3, 3, 4, 4))),
    jnp.ones((3, 3, 4, 8)),
  )
  for platform in lowered.PLATFORMS:
    found = lowered.count(case.lower(platform))
    assert (found.convolutions, found.shapes) == (3, 2)
    assert found.operations == sum(found.kinds.values()) == 3
  macs = 2 * 8 * 8 * 9 * 4 * (4 + 4 + 8)
  image, kernels = 4 * 2 * 8 * 8, 4 * 9 * 4
  measured = case.measure('cuda')
  assert measured['gflop'] == pytest.approx(2e-9 * macs)
  assert measured['convolution_gib'] == pytest.approx(
    (image * (4 + 4 + 4 + 4 + 4 + 8) + kernels * (4 + 4 + 8)) / 2**30
  )


def test_a_loop_is_one_body_and_costs_its_turns():
  def function(x, kernels):
    return jax.lax.scan(lambda x, k: (convolve(x, k), None), x, kernels)[0]

  case = lowered.Case(
    function, jnp.ones((1, 4, 4, 2)), jnp.ones((5, 3, 3, 2, 2))
  )
  assert lowered.count(case.lower('cuda')).convolutions == 1
  macs = 5 * 16 * 9 * 4
  assert case.measure('cuda')['gflop'] == pytest.approx(2e-9 * macs)


# What the published search and training hold, lowered for a GPU. Each distinct
# convolution is tried in many forms when it is compiled there: what raises a
# number here makes every first run on a GPU wait longer.
LIMITS = {
  # Two of the four nodes, which have no shape of their own.
  'search': {'operations': 12_500, 'convolutions': 131, 'shapes': 68},
  'training': {'operations': 3_700, 'convolutions': 47, 'shapes': 47},
}


def test_the_published_steps_stay_small():
  config = search_config.get_config('paper')
  # The sizes of the images cost nothing here but are told apart.
  config.supernet.num_nodes = 2
  cases = {
    'search': lowered.search_steps(config, 2)['weight step'],
    'training': lowered.training(config, 2),
  }
  for name, case in cases.items():
    found = lowered.count(case.lower('cuda'))
    for what, limit in LIMITS[name].items():
      number = getattr(found, what)
      assert 0.9 * limit <= number <= limit, (name, what, number)
