"""Clips a second of the input pipeline against what the steps consume.

The pipeline reads a prepared dataset, decodes and augments; the training step
of CDCN++ and the plain search's weight step take its batches. Default sizes.
"""

import functools
import tempfile
import time

import jax

from benchmarks import timing
from configs import search as search_config
from configs import train as train_config
from nasfas_datasets import prepare
from nasfas_jax import bilevel, scoring, supervised, train, train_state
from nasfas_jax.data import protocols

BATCHES = 40


def _stream(config, rows, batch_size, map_size):
  return supervised.train_stream(
    config,
    rows,
    batch_size=batch_size,
    map_size=map_size,
    seed=0,
    step=0,
  )


def _clips_a_second(stream, batch_size: int) -> float:
  next(stream)  # The workers start.
  start = time.perf_counter()
  for _ in range(BATCHES):
    next(stream)
  return BATCHES * batch_size / (time.perf_counter() - start)


def measure() -> dict[str, dict[str, float]]:
  """Fills 'ratios' and 'limits', see `benchmarks.run`."""
  found = {'ratios': {}, 'limits': {}}
  with tempfile.TemporaryDirectory() as folder:
    prepare.prepare('synthetic_fas', config='tiny', data_dir=folder)
    for name, config in (
      ('train', train_config.get_config()),
      ('search', search_config.get_config('plain')),
    ):
      config.model = 'cdcnpp'
      config.data.data_dir = folder
      config.data.builder_config = 'tiny'
      rows = protocols.load(config.protocol, folder, 'tiny').train
      size = config[name].batch_size
      maps = config.network.output_size
      stream = _stream(config, rows, size, maps)
      reads = _clips_a_second(stream, size)
      batch = train_state.put_batch(next(stream), train_state.make_mesh())
      stream.close()
      step = train_step(config) if name == 'train' else _weight_step(config)
      seconds = timing.medians(
        {'step': functools.partial(step, batch)}, rounds=7
      )['step']
      found['limits'][f'input pipeline, {name}, clips a second'] = reads
      found['ratios'][f'input pipeline / {name} step, clips a second'] = (
        reads * seconds / size
      )
  return found


def train_step(config):
  """The training step on a fresh state, a function of the batch."""
  model = scoring.build_network(config, config.model)
  optimizer, _ = train.make_optimizer(config.train)
  state = jax.jit(
    functools.partial(train.initial_state, config, model, optimizer)
  )()
  step = jax.jit(
    functools.partial(
      train.train_step, model=model, config=config, optimizer=optimizer
    )
  )
  return functools.partial(step, state)


def _weight_step(config):
  model = bilevel.build_supernet(config)
  state = jax.jit(functools.partial(bilevel.initial_state, config, model))()
  optimizer, _, _ = bilevel.make_optimizers(config.search)
  step = jax.jit(
    functools.partial(
      bilevel.weight_step, model=model, config=config, optimizer=optimizer
    )
  )
  return functools.partial(step, state)
