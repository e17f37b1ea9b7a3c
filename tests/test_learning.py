"""Training and searching learn what sets live clips apart, on unseen clips."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from small_search import make_parts, small_config

from nasfas_jax import inputs, losses, metrics, settings, supervised, train
from nasfas_jax.models import genotypes
from nasfas_jax.searchers import bilevel

STEPS = 200


def separable_batch(seed, size=8):
  """Clips of noise; a live one also has stripes, and depth where they are."""
  rng = np.random.default_rng(seed)
  labels = np.arange(size, dtype=np.int32) % 2
  frames = rng.integers(64, 192, (size, 2, 16, 16, 3))
  stripes = 60 * (-1) ** np.arange(16)[:, None, None]
  frames = frames + labels[:, None, None, None, None] * stripes
  shape = (size, 4, 4)
  batch = {
    'frames': np.clip(frames, 0, 255).astype(np.uint8),
    'depth': np.full(shape, 0.5, np.float32),
    'face_mask': np.ones(shape, np.float32),
    'label': labels,
  }
  return jax.tree.map(jnp.asarray, batch)


def auc_of(model, form, params, batch_stats, *model_args):
  """AUC on 32 clips that no step has seen."""
  batch = separable_batch(10_000, size=32)
  images = inputs.network_input(batch['frames'], form)
  variables = {'params': params, 'batch_stats': batch_stats}
  outputs = jax.jit(functools.partial(model.apply, train=False))(
    variables, images, *model_args
  )
  scores = losses.map_score(outputs.map, batch['face_mask'])
  return metrics.auc(np.asarray(scores), np.asarray(batch['label']))


def test_training_learns():
  config = small_config()
  config.train.update(num_steps=STEPS, warmup_steps=0, learning_rate=1e-2)
  model = settings.network(config, genotypes.CDCNPP)
  form, optimizer = (
    settings.input_form(config),
    settings.training(config).optimizer(),
  )
  state = train.initial_state(
    model, settings.example_input(config), config.seed, optimizer
  )
  step = jax.jit(
    functools.partial(
      train.train_step,
      loss_fn=supervised.network_loss(model, form, settings.objective(config)),
      optimizer=optimizer,
    )
  )
  found = []
  for number in range(STEPS):
    state, scalars = step(state, separable_batch(number))
    found.append(float(scalars['train_loss']))
  assert np.mean(found[-10:]) < 0.5 * np.mean(found[:10])
  assert auc_of(model, form, state.params, state.batch_stats) > 0.95


def test_a_search_learns():
  config = small_config(
    hold_out='none', num_steps=STEPS, warmup_steps=0, weight_learning_rate=1e-2
  )
  parts = make_parts(config)
  weight_step, arch_step = map(
    jax.jit, bilevel.make_steps(parts.loss_fn, parts.search)
  )
  state, train_losses, val_losses = parts.state, [], []
  for number in range(STEPS):
    first, second = separable_batch(number), separable_batch(1000 + number)
    state, loss = arch_step(state, first, second)
    val_losses.append(float(loss))
    state, loss = weight_step(state, first)
    train_losses.append(float(loss))
  for found in (train_losses, val_losses):
    assert np.mean(found[-10:]) < 0.5 * np.mean(found[:10])
  form = settings.input_form(config)
  auc = auc_of(parts.model, form, state.params, state.batch_stats, state.arch)
  assert auc > 0.95
