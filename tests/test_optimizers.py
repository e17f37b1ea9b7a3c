import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nasfas_jax import optimizers


def test_adam_l2_equals_adam_written_out():
  """Against the formula of Adam with the decay added to the gradient."""
  rate, decay, b1, b2, epsilon = 0.1, 0.01, 0.5, 0.9, 1e-8
  optimizer = optimizers.adam_l2(rate, weight_decay=decay, b1=b1, b2=b2)
  weights = jnp.array([1.0, -2.0, 0.5])
  state = optimizer.init(weights)
  expected = np.array(weights, np.float64)
  m, v = np.zeros(3), np.zeros(3)
  for t in range(1, 6):
    gradient = np.array([0.3, -0.1, 0.2]) * t
    updates, state = optimizer.update(
      jnp.asarray(gradient, jnp.float32), state, weights
    )
    weights = optax.apply_updates(weights, updates)
    g = gradient + decay * expected
    m = b1 * m + (1 - b1) * g
    v = b2 * v + (1 - b2) * g * g
    step = (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + epsilon)
    expected = expected - rate * step
  np.testing.assert_allclose(weights, expected, rtol=1e-5)


def test_flat_moments_give_the_same_numbers():
  options = {'weight_decay': 0.01, 'gradient_clip': 0.5, 'b1': 0.5}
  weights = {'a': jnp.array([[1.0, -2.0]]), 'b': jnp.array(0.5)}
  gradients = {'a': jnp.array([[0.3, 4.0]]), 'b': jnp.array(-1.0)}
  moved = []
  for flat in (False, True):
    optimizer = optimizers.adam_l2(0.1, flat=flat, **options)
    state, values = optimizer.init(weights), weights
    for _ in range(3):
      updates, state = optimizer.update(gradients, state, values)
      values = optax.apply_updates(values, updates)
    moved.append(values)
  # The counts are scalars; of the moments only the flat ones are vectors.
  padded = (optimizers.FLAT_MULTIPLE,)
  assert {leaf.shape for leaf in jax.tree.leaves(state)} == {(), padded}
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), *moved)


def test_gradient_clip_bounds_the_norm():
  optimizer = optimizers.adam_l2(1.0, gradient_clip=1.0, b1=0.0, b2=0.0)
  first = optimizer.init(jnp.zeros(2))
  # Moment of order 1 after one step with b1 = 0 is the clipped gradient.
  _, state = optimizer.update(jnp.array([30.0, 40.0]), first, jnp.zeros(2))
  moments = [leaf for leaf in jax.tree.leaves(state) if leaf.shape == (2,)]
  np.testing.assert_allclose(moments[0], [0.6, 0.8], rtol=1e-6)


@pytest.mark.parametrize(
  ('name', 'expected'),
  [
    ('constant', [0.2, 0.2, 0.2]),
    ('cosine', [0.2, 0.1, 0.0]),
    ('step', [0.2, 0.1, 0.05]),
  ],
)
def test_schedules_hand_worked(name, expected):
  schedule = optimizers.schedule(name, 0.2, 10, step_size=5)
  actual = [float(schedule(step)) for step in (0, 5, 10)]
  np.testing.assert_allclose(actual, expected, atol=1e-7)


def test_warmup_rises_linearly_on_top_of_the_schedule():
  schedule = optimizers.schedule('step', 0.8, 10, step_size=5, warmup_steps=3)
  actual = [float(schedule(step)) for step in (0, 1, 2, 3, 4, 5)]
  np.testing.assert_allclose(actual, [0.2, 0.4, 0.6, 0.8, 0.8, 0.4], rtol=1e-6)


def test_unknown_schedule_names_the_known_ones():
  with pytest.raises(ValueError, match="'linear'; allowed: constant, cosine"):
    optimizers.schedule('linear', 0.1, 10)


def test_step_schedule_needs_a_step_size():
  with pytest.raises(ValueError, match='step_size >= 1; got 0'):
    optimizers.schedule('step', 0.1, 10)
