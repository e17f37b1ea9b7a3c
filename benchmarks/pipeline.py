"""Clips a second of each stage between the prepared clips and the step.

The host reads a prepared dataset, decodes and stacks: once with every clip
decoded anew, as in the first epoch, once with those kept in memory that the
default config has room for, as in later ones. The device crops and augments.
Beside it the steps on clips that are ready: the training step of CDCN++, the
two steps of the plain search, the first-order step of the search over tasks.
Default sizes.
"""

import copy
import functools
import tempfile
import time

import jax
import numpy as np

from benchmarks import meta, timing
from nasfas_configs import search as search_config
from nasfas_configs import train as train_config
from nasfas_datasets import prepare
from nasfas_jax import records, settings, sharding, supervised, train
from nasfas_jax.data import episodes, protocols
from nasfas_jax.searchers import meta_search

BATCHES = 40


def _clips_a_second(make_stream, config, batch_size: int):
  """What a stream reads, and a batch.

  Args:
    make_stream: makes the stream of a config.
    config: its `data.cache_mib` is set to 0 for the first epoch.
    batch_size: clips a batch.

  Returns:
    ({'first epoch', 'later epochs': clips a second}, a batch).
  """
  first = copy.deepcopy(config)
  first.data.cache_mib = 0
  reads = {}
  for name, case in (('first epoch', first), ('later epochs', config)):
    stream = make_stream(case)
    # The threads start, and there every clip is read.
    for _ in range(BATCHES):
      next(stream)
    start = time.perf_counter()
    for _ in range(BATCHES):
      batch = next(stream)
    reads[name] = BATCHES * batch_size / (time.perf_counter() - start)
    stream.close()
  return reads, batch


def measure() -> dict[str, dict[str, float]]:
  """Fills 'ratios' and 'limits', see `benchmarks.run`."""
  found = {'ratios': {}, 'limits': {}}
  with tempfile.TemporaryDirectory() as folder:
    prepare.prepare('synthetic_fas', config='tiny', data_dir=folder)
    for name, case in (
      ('train', _training),
      ('plain search', _plain_search),
      ('meta-search', _meta_search),
    ):
      reads, clips, make, step = case(folder)
      seconds = timing.medians({'prepare': make, 'step': step}, rounds=7)
      found['limits'][f'crop and augmentation, {name}, clips a second'] = (
        clips / seconds['prepare']
      )
      found['ratios'][f'crop and augmentation / {name} step, seconds'] = (
        seconds['prepare'] / seconds['step']
      )
      for epoch, rate in reads.items():
        found['limits'][f'input pipeline, {name}, {epoch}, clips a second'] = (
          rate
        )
        found['ratios'][f'input pipeline, {epoch} / {name} step, clips'] = (
          rate * seconds['step'] / clips
        )
  return found


def _load(config, folder):
  config.data.data_dir = folder
  config.data.builder_config = 'tiny'
  return protocols.load(config.protocol, folder, 'tiny').train


def _domain_field(config) -> str:
  return protocols.get_protocol(config.protocol).domain_field


def _read(config, folder, batch_size, map_size):
  """`_clips_a_second` of a stream of training clips."""
  rows = _load(config, folder)

  def make_stream(config):
    read = settings.training_batches(config, _domain_field(config), map_size)
    return read(rows, batch_size=batch_size, seed=0, step=0)

  return _clips_a_second(make_stream, config, batch_size)


def _prepared(config, map_size, raw):
  """(a batch on the device, a function that makes it anew)."""
  raw = sharding.put_batch(raw, sharding.make_mesh())
  made = jax.jit(settings.prepare(config, map_size))
  step = np.int32(0)
  return made(raw, step, 0), lambda: made(raw, step, 0)


def _unused() -> dict[str, dict[str, float]]:
  """A place for costs of compiling, which are the group 'meta''s."""
  return {'compile_seconds': {}, 'memory_gib': {}}


def _training(folder):
  """(clips a second that are read by epoch, clips a step, prepare, step)."""
  config = train_config.get_config()
  config.model = 'cdcnpp'
  size = config.train.batch_size
  map_size = config.network.output_size
  reads, raw = _read(config, folder, size, map_size)
  batch, make = _prepared(config, map_size, raw)
  return reads, size, make, train_step(config, batch)


def _plain_search(folder):
  config = search_config.get_config('plain')
  size = config.search.batch_size
  # One of the two streams; both read alike, and share what they read with.
  map_size = config.supernet.output_size
  reads, raw = _read(config, folder, size, map_size)
  batch, make = _prepared(config, map_size, raw)
  parts, state = _search(config)
  step = meta.plain_step(_unused(), parts, state, batch)
  # Each half is prepared.
  return reads, 2 * size, lambda: (make(), make()), step


def _meta_search(folder):
  config = search_config.get_config()
  rows = _load(config, folder)
  fields = config.meta
  domain_field = _domain_field(config)
  drawn = episodes.Episodes(
    tasks=tuple(
      episodes.make_tasks(rows, config.search.hold_out, domain_field)
    ),
    num_tasks=fields.num_tasks,
    support_size=fields.support_size,
    query_size=fields.query_size,
    seed=0,
    live=np.array([row['label'] == records.LIVE for row in rows]),
  )

  def make_stream(config):
    read = settings.episode_batches(config, domain_field)
    return read(rows, episodes=drawn, seed=0, step=0)

  reads, raw = _clips_a_second(make_stream, config, drawn.size)
  batch, make = _prepared(config, config.supernet.output_size, raw)
  tasks = meta_search.split_tasks(batch, fields.num_tasks, fields.support_size)
  parts, state = _search(config)
  step = meta.first_order_step(_unused(), parts, state, tasks)
  return reads, drawn.size, make, step


def _search(config):
  """What the steps of a search are made of, and its fresh state."""
  parts = meta.make_parts(config)
  return parts, jax.jit(meta.initial(config, parts))()


def train_step(config, batch):
  """The training step of CDCN++ on one batch, again and again."""
  model = settings.network(config, config.model)
  optimizer = settings.training(config).optimizer()
  state = jax.jit(
    lambda: train.initial_state(
      model, settings.example_input(config), config.seed, optimizer
    )
  )()
  loss_fn = supervised.network_loss(
    model, settings.input_form(config), settings.objective(config)
  )
  step = jax.jit(
    functools.partial(train.train_step, loss_fn=loss_fn, optimizer=optimizer),
    donate_argnums=0,
  )
  batch = jax.device_put(batch)
  compiled = step.lower(state, batch).compile()
  return meta.carried(lambda state: compiled(state, batch), state)
