"""Training with bfloat16 compute against float32; which of them a run takes."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend import core
from small_search import make_batch, make_parts, small_config

from nasfas_jax import models, settings, supervised, train
from nasfas_jax.models import genotypes, mixed_edges
from nasfas_jax.searchers import bilevel

STEPS = 40


def losses_of(step, state, batch):
  """The losses of some steps on one batch, and the last state."""
  step = jax.jit(step)
  losses = []
  for _ in range(STEPS):
    state, loss = step(state, batch)
    losses.append(float(loss))
  return losses, state


def train_network(dtype):
  config = small_config()
  config.dtype = dtype
  config.train.update(num_steps=STEPS, warmup_steps=0, learning_rate=1e-2)
  model = settings.network(config, genotypes.CDCNPP)
  optimizer = settings.training(config).optimizer()
  state = train.initial_state(
    model, settings.example_input(config), config.seed, optimizer
  )
  loss_fn = supervised.network_loss(
    model, settings.input_form(config), settings.objective(config)
  )

  def step(state, batch):
    state, scalars = train.train_step(
      state, batch, loss_fn=loss_fn, optimizer=optimizer
    )
    return state, scalars['train_loss']

  return losses_of(step, state, make_batch(0))


def train_supernet(dtype):
  config = small_config(hold_out='none', num_steps=STEPS)
  config.dtype = dtype
  parts = make_parts(config)
  step, _ = bilevel.make_steps(parts.loss_fn, parts.search)
  return losses_of(step, parts.state, make_batch(0))


@pytest.mark.parametrize('run', [train_network, train_supernet])
def test_bfloat16_trains_as_well_with_float32_parameters_and_statistics(run):
  expected, _ = run('float32')
  found, state = run('bfloat16')
  for leaf in jax.tree.leaves((state.params, state.batch_stats)):
    assert leaf.dtype == jnp.float32
  # Both learn the batch; the rounding is visible and does no harm.
  assert expected[-1] < 0.6 * expected[0]
  assert found != expected
  assert abs(found[0] - expected[0]) < 0.02 * expected[0]
  assert found[-1] < 0.6 * found[0]
  assert abs(found[-1] - expected[-1]) < 0.15 * expected[0]


def scalar_sums(jaxpr):
  """dtype of every sum of a whole array in a program."""
  for equation in jaxpr.eqns:
    (out, *_) = equation.outvars
    if equation.primitive.name == 'reduce_sum' and not out.aval.shape:
      yield out.aval.dtype
    for inner in core.jaxprs_in_params(equation.params):
      yield from scalar_sums(inner)


@pytest.mark.parametrize('edge_loop', [False, True])
def test_gradients_of_the_architecture_are_summed_in_float32(edge_loop):
  config = small_config(hold_out='none')
  config.dtype = 'bfloat16'
  config.supernet.update(space='cdcnpp', num_nodes=2, edge_loop=edge_loop)
  parts = make_parts(config)

  def loss(arch):
    state = parts.state
    return parts.loss_fn(state.params, arch, make_batch(0), state, 1)[0]

  program = jax.make_jaxpr(jax.grad(loss))(parts.state.arch)
  found = list(scalar_sums(program.jaxpr))
  assert len(found) > 20
  assert set(found) == {jnp.dtype('float32')}


def test_a_weight_of_bfloat16_features_has_the_gradient_of_float32():
  x = jax.random.normal(jax.random.key(0), (1 << 16,), jnp.bfloat16)
  x += jnp.bfloat16(0.1)
  pull = jax.random.normal(jax.random.key(1), x.shape, jnp.bfloat16)

  def loss(weight):
    y = mixed_edges.weighted(weight, x)
    assert y.dtype == jnp.bfloat16
    return jnp.vdot(y.astype(jnp.float32), pull.astype(jnp.float32))

  found = jax.grad(loss)(jnp.float32(0.3))
  expected = np.dot(*(np.asarray(a, np.float64) for a in (x, pull)))
  np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_the_convolutions_compute_in_bfloat16():
  config = small_config()
  config.dtype = 'bfloat16'
  model = settings.network(config, 'cdcnpp')
  image = settings.example_input(config)
  variables = jax.eval_shape(
    lambda: models.initialize(model, jax.random.key(0), image)
  )
  text = str(
    jax.make_jaxpr(lambda v, x: model.apply(v, x, train=False).map)(
      variables, image
    )
  )
  lines = [line for line in text.splitlines() if 'nasfas_convolution' in line]
  assert lines and all('bf16' in line for line in lines)


def on(monkeypatch, platform):
  """As a machine whose default devices are of a platform."""
  monkeypatch.setattr(jax, 'default_backend', lambda: platform)


@pytest.mark.parametrize(
  ('platform', 'expected'),
  [('cpu', 'float32'), ('gpu', 'bfloat16'), ('tpu', 'bfloat16')],
)
def test_auto_is_bfloat16_on_accelerators_and_is_written_down(
  platform, expected, monkeypatch, tmp_path
):
  on(monkeypatch, platform)
  config = small_config()
  assert config.dtype == 'auto'
  assert settings.supernet(config).dtype == jnp.dtype(expected)
  assert settings.network(config, 'cdcnpp').dtype == jnp.dtype(expected)
  settled = settings.settle_dtype(config, tmp_path)
  assert settled.dtype == expected and config.dtype == 'auto'
  # What is asked for is taken everywhere.
  config.dtype = 'float32'
  assert settings.settle_dtype(config, tmp_path).dtype == 'float32'


def test_every_network_scores_in_float32(monkeypatch):
  on(monkeypatch, 'gpu')
  config = small_config()
  for dtype in settings.DTYPES:
    config.dtype = dtype
    for chosen in ('cdcn', 'cdcnpp', genotypes.CDCNPP):
      model = settings.network(config, chosen, scoring=True)
      assert model.dtype == jnp.float32


def test_a_run_goes_on_in_the_dtype_that_it_began_in(
  monkeypatch, tmp_path, capsys
):
  config = small_config()
  (tmp_path / 'config.json').write_text(json.dumps({'dtype': 'bfloat16'}))
  assert settings.settle_dtype(config, tmp_path).dtype == 'bfloat16'
  said = capsys.readouterr().err
  assert 'goes on in bfloat16, as it began; a new run on this' in said
  assert 'would compute in float32' in said
  on(monkeypatch, 'gpu')
  assert settings.settle_dtype(config, tmp_path).dtype == 'bfloat16'
  assert capsys.readouterr().err == ''
  # Asked for another one, it is another run: `run_log.start` refuses it.
  config.dtype = 'float32'
  assert settings.settle_dtype(config, tmp_path).dtype == 'float32'
