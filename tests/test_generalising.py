"""Training steps that generalise: what is off, everything at once, MLDG."""

import dataclasses
import functools

import device_work
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import untrained_run
from small_search import make_batch, small_config

from nasfas_jax import (
  adversarial,
  domain_sets,
  inputs,
  losses,
  meta_training,
  mix_style,
  settings,
  supervised,
  train,
)
from nasfas_jax.models import layers
from nasfas_jax.models.outputs import Outputs

PUBLISHED = {'depth': 1.0, 'contrastive_depth': 1.0}


def make_domains(batch, number):
  size = len(batch['label'])
  return {**batch, 'domain': jnp.arange(size, dtype=jnp.int32) // 2 % number}


def make_step(model, generalising, weights=PUBLISHED):
  """(initial state, step) of the small network."""
  config = small_config()
  optimizer = settings.training(config).optimizer()
  state = train.initial_state(
    model, settings.example_input(config), 0, optimizer, generalising
  )
  objective = losses.make_objective(weights)
  return state, step_of(model, objective, optimizer, generalising)


def step_of(model, objective, optimizer, generalising):
  return functools.partial(
    train.train_step,
    loss_fn=supervised.network_loss(
      model, settings.input_form(small_config()), objective, generalising
    ),
    optimizer=optimizer,
    generalising=generalising,
    seed=3,
  )


@pytest.fixture(scope='module')
def model():
  return settings.network(small_config(), untrained_run.small_genotype())


@pytest.fixture(scope='module')
def batch():
  return make_domains(make_batch(0, 8), 2)


def test_what_is_off_changes_no_program(model, batch):
  """So no bit of any result: the same operations in the same order."""
  config = small_config()
  optimizer = settings.training(config).optimizer()
  objective = losses.make_objective(PUBLISHED)
  form = settings.input_form(config)
  plain = train.initial_state(
    model, settings.example_input(config), 0, optimizer
  )

  def published(state, batch):
    """A step as it is without any of this."""

    def loss_of(params):
      outputs, updates = model.apply(
        {'params': params, 'batch_stats': state.batch_stats},
        inputs.network_input(batch['frames'], form),
        train=True,
        mutable=['batch_stats'],
      )
      loss, terms = objective(outputs, batch)
      return loss, (updates['batch_stats'], terms)

    (loss, (batch_stats, terms)), gradients = jax.value_and_grad(
      loss_of, has_aux=True
    )(state.params)
    updates, opt_state = optimizer.update(
      gradients, state.opt_state, state.params
    )
    state = state.replace(
      step=state.step + 1,
      params=optax.apply_updates(state.params, updates),
      batch_stats=batch_stats,
      opt_state=opt_state,
    )
    return state, {
      'train_loss': loss,
      **{f'train_{name}': value for name, value in terms.items()},
    }

  off = settings.generalising(config, [{'label': 1, 'session': 'a'}], 'session')
  state, step = make_step(model, off)
  assert jax.tree.structure(state) == jax.tree.structure(plain)

  def text(function):
    lowered = jax.jit(function).lower(plain, batch)
    return lowered.as_text().partition('\n')[2]

  assert text(step) == text(published)


def test_one_step_with_all_terms_moves_all_that_learns(model, batch):
  generalising = supervised.Generalising(
    mix_style=mix_style.MixStyle(1.0, 0.5, ('stem', 'low')),
    adversary=adversarial.Adversary(0.5, num_domains=2, num_steps=10),
  )
  state, step = make_step(model, generalising, {**PUBLISHED, 'triplet': 0.25})
  assert state.term_params['hidden'].shape == (4, adversarial.HIDDEN)
  step = jax.jit(step)
  # Later on, when the reversed gradient is there.
  state = state.replace(step=jnp.int32(5))
  new, scalars = step(state, batch)
  terms = {name: float(value) for name, value in scalars.items()}
  assert set(terms) == {
    *('train_loss', 'train_depth', 'train_contrastive_depth'),
    *('train_triplet', 'train_adversarial'),
  }
  # The weighted sum, by hand.
  expected = (
    terms['train_depth']
    + terms['train_contrastive_depth']
    + 0.25 * terms['train_triplet']
    + 0.5 * terms['train_adversarial']
  )
  assert terms['train_loss'] == pytest.approx(expected, rel=1e-5)
  # Two domains, told by chance at first.
  assert 0.3 < terms['train_adversarial'] < 1.5
  for name in ('params', 'term_params', 'batch_stats'):
    old = jax.tree.leaves(getattr(state, name))
    for before, after in zip(
      old, jax.tree.leaves(getattr(new, name)), strict=True
    ):
      assert np.isfinite(after).all() and not np.array_equal(before, after)
  # The draws are those of the step.
  again, _ = step(state, batch)
  for one, other in zip(
    jax.tree.leaves(new), jax.tree.leaves(again), strict=True
  ):
    np.testing.assert_array_equal(one, other)
  other, _ = step(state.replace(step=jnp.int32(6)), batch)
  assert not np.array_equal(
    jax.tree.leaves(new.batch_stats)[0], jax.tree.leaves(other.batch_stats)[0]
  )


class Normalizer(layers.nn.Module):
  """A network whose map is its first channel, normalised."""

  @layers.nn.compact
  def __call__(self, x, *, train):
    x = layers.batch_norm(x, train=train, affine=False, name='norm')
    return Outputs(x[..., 0], {})


def test_each_domain_is_normalised_by_its_own_statistics():
  config = small_config()
  config.input.fusion, config.input.normalization = 'static', 'fixed'
  batch = domain_sets.sort(make_domains(make_batch(1, 8), 2))
  seen = {}

  def objective(outputs, batch):
    seen['map'] = outputs.map
    return jnp.sum(outputs.map), {}

  loss_fn = supervised.network_loss(
    Normalizer(),
    settings.input_form(config),
    objective,
    supervised.Generalising(domain_statistics=True, clips_per_domain=4),
  )
  zeros, ones = jnp.zeros(3), jnp.ones(3)
  _, (new, _) = loss_fn({}, {'norm': {'mean': zeros, 'var': ones}}, batch)
  # The static image is the middle frame; see `inputs`.
  red = (np.asarray(batch['frames'][:, 1, ..., 0], np.float64) - 127.5) / 128
  means, variances = [], []
  for domain in range(2):
    part = red[4 * domain : 4 * domain + 4]
    means.append(part.mean())
    variances.append(part.var())
    np.testing.assert_allclose(
      seen['map'][4 * domain : 4 * domain + 4],
      (part - part.mean()) / np.sqrt(part.var() + 1e-5),
      rtol=1e-3,
      atol=1e-4,
    )
  np.testing.assert_allclose(
    new['norm']['mean'][0], 0.1 * np.mean(means), rtol=1e-4
  )
  np.testing.assert_allclose(
    new['norm']['var'][0], 0.9 + 0.1 * np.mean(variances), rtol=1e-4
  )


@pytest.mark.parametrize('order', ['first', 'second'])
def test_meta_training_equals_formulas_worked_out_by_hand(order):
  """A quadratic loss, whose gradients are known.

  L(w; clips) = mean_i (x_i w - y_i)^2 / 2, so with h = mean x^2 and g = mean
  x (x w - y): grad F(w) = g_F(w), and the step goes to v = w - a g_F(w). The
  gradient of F(w) + G(v) is g_F(w) + g_G(v) (1 - a h_F), where first order
  leaves the factor out.
  """
  rng = np.random.default_rng(0)
  x, y = rng.normal(size=(2, 6))
  batch = {
    'x': jnp.asarray(x, jnp.float32),
    'y': jnp.asarray(y, jnp.float32),
    'label': jnp.zeros(6, jnp.int32),
    'domain': jnp.array([0, 0, 1, 1, 2, 2]),
  }

  def loss_fn(params, batch_stats, part, place):
    del place
    error = part['x'] * params['w'] - part['y']
    seen = jnp.sum(part['domain'])
    return jnp.mean(error**2) / 2, ({'seen': batch_stats['seen'] + seen}, {})

  generalising = supervised.Generalising(
    meta=order, inner_lr=0.3, clips_per_domain=2
  )
  found = set()

  @jax.jit
  def gradients(key):
    place = supervised.Place(key, jnp.int32(0), ())
    return meta_training.gradients(
      loss_fn,
      {'w': jnp.float32(0.7)},
      {'seen': jnp.int32(0)},
      batch,
      place,
      generalising,
    )

  def reference(held):
    own = np.arange(6) // 2 == held
    (fx, fy), (gx, gy) = (x[~own], y[~own]), (x[own], y[own])
    slope = np.mean(fx * (fx * 0.7 - fy))
    moved = 0.7 - 0.3 * slope
    factor = 1 - 0.3 * np.mean(fx**2) if order == 'second' else 1
    return (
      np.mean((fx * 0.7 - fy) ** 2) / 2,
      np.mean((gx * moved - gy) ** 2) / 2,
      slope + np.mean(gx * (gx * moved - gy)) * factor,
    )

  for seed in range(12):
    (loss, (stats, terms)), gradient = gradients(jax.random.key(seed))
    # Which domain it was is read off the running statistics: those of the
    # meta-train clips alone.
    held = (6 - int(stats['seen'])) // 2
    found.add(held)
    expected = reference(held)
    np.testing.assert_allclose(loss, expected[0], rtol=1e-5)
    np.testing.assert_allclose(terms['meta_test'], expected[1], rtol=1e-5)
    np.testing.assert_allclose(gradient['w'], expected[2], rtol=1e-4)
  assert found == {0, 1, 2}


ROWS = [
  {'label': label, 'session': domain} for domain in 'ab' for label in (0, 1)
]


@pytest.mark.parametrize(
  ('changes', 'rows', 'message'),
  [
    ({'mix_style.probability': 0.5}, ROWS[:2], 'probability is 0.5; .* 0'),
    ({'loss.adversarial': 0.5}, ROWS[:2], 'adversarial is 0.5; .* one domain'),
    ({'train.meta': 'first'}, ROWS, "config.train.meta is 'first': balance is"),
    (
      {'train.domain_statistics': True, 'data.balance': 'domain'},
      *(ROWS[:2], 'config.train.domain_statistics is True: the training clips'),
    ),
  ],
)
def test_clips_that_do_not_allow_it_are_named(changes, rows, message):
  config = small_config()
  config.update_from_flattened_dict(changes)
  with pytest.raises(ValueError, match=message):
    settings.generalising(config, rows, 'session')


def test_clips_of_one_group_cannot_be_balanced():
  config = small_config()
  settings.check_balance(config, ROWS[:1])
  config.data.balance = 'domain'
  settings.check_balance(config, ROWS)
  with pytest.raises(ValueError, match="config.data.balance 'domain' needs cl"):
    settings.check_balance(config, ROWS[:1])


def test_the_settings_are_those_of_the_config():
  config = small_config()
  config.train.batch_size = 8
  config.update_from_flattened_dict(
    {
      'mix_style.probability': 0.5,
      'data.balance': 'domain_class',
      'train.meta': 'second',
      'train.meta_inner_lr': 0.25,
    }
  )
  found = settings.generalising(config, ROWS, 'session')
  assert dataclasses.asdict(found) == {
    'mix_style': {
      'probability': 0.5,
      'alpha': 0.1,
      'stages': ('stem', 'low'),
    },
    'adversary': None,
    'domain_statistics': False,
    'meta': 'second',
    'inner_lr': 0.25,
    'clips_per_domain': 4,
  }


@pytest.mark.parametrize(
  'changes',
  [
    {'mix_style.probability': 0.5, 'loss.adversarial': 0.5},
    {'train.meta': 'first', 'data.balance': 'domain'},
    {
      **{'train.meta': 'second', 'train.domain_statistics': True},
      'data.balance': 'domain_class',
    },
  ],
)
def test_several_seeds_take_it_side_by_side(changes, model, batch):
  """Traced only: shapes and dtypes of the state stay as they are."""
  config = small_config()
  config.train.batch_size = 8
  config.update_from_flattened_dict(changes)
  generalising = settings.generalising(config, ROWS, 'session')
  optimizer = settings.training(config).optimizer()
  step = step_of(model, settings.objective(config), optimizer, generalising)

  def both(seeds, batches):
    states = jax.vmap(
      lambda seed: train.initial_state(
        *(model, settings.example_input(config), seed),
        *(optimizer, generalising),
      )
    )(seeds)
    moved, scalars = jax.vmap(
      lambda state, batch, seed: step(state, batch, seed=seed)
    )(states, batches, seeds)
    return states, moved, scalars

  twice = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), batch)
  before, after, scalars = jax.eval_shape(
    both, jnp.arange(2, dtype=jnp.uint32), twice
  )
  assert jax.tree.map(lambda a: (a.shape, a.dtype), before) == jax.tree.map(
    lambda a: (a.shape, a.dtype), after
  )
  assert scalars['train_loss'].shape == (2,)
  assert ('train_meta_test' in scalars) == (generalising.meta != 'off')


@pytest.mark.parametrize(
  'changes', [{'domain_statistics': True}, {'meta': 'first'}]
)
def test_the_devices_divide_the_work(changes, model, monkeypatch):
  device_work.as_on_accelerators(monkeypatch)
  config = small_config()
  config.train.batch_size = 8 * len(jax.devices())
  generalising = supervised.Generalising(
    inner_lr=0.1, clips_per_domain=4 * len(jax.devices()), **changes
  )

  def compile_step():
    make, step, draws, _ = train.make_step(config, model, generalising)
    raw = device_work.raw_clips(config.train.batch_size, frames=2, size=20)
    return step.lower(jax.eval_shape(make), raw, draws).compile()

  share = device_work.share(compile_step, monkeypatch)
  assert share < 1.1 / len(jax.devices())
