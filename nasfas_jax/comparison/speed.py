"""Times of both frameworks, in turns, each in a process of its own.

A call that counts follows one that does not, as step follows step in training:
while the other works, the system may take back the memory that a step has given
free, and a virtual machine then needs up to twice the time for the next one.
"""

import functools
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from nasfas_jax import losses, progress, sharding, supervised, train
from nasfas_jax.comparison import devices, torch_process
from nasfas_jax.comparison.setup import Setup
from nasfas_jax.comparison.source import Source
from nasfas_jax.searchers import bilevel, supernet_program

_BATCHES = (1, 8)


def in_turns(
  functions: Mapping[str, Callable[[], float]], rounds: int
) -> dict[str, dict]:
  """Calls each function once to compile it, then all in turns, twice each.

  Args:
    functions: by name; each returns the seconds that it took.
    rounds: turns of each; the second call of a turn counts.

  Returns:
    For each: first (seconds of the first call, which compiles), median, low
    and high; or 'error' where PyTorch failed.
  """
  found, seconds = {}, {}
  for name, function in functions.items():
    try:
      first = function()
    except RuntimeError as error:
      # torch.compile needs a C++ compiler and says so in many ways; memory
      # may be short for either form. The rest is still worth having.
      if name == 'jax':
        raise
      found[name] = {'error': str(error).splitlines()[0][:200]}
      continue
    found[name] = {'first': first}
    seconds[name] = []
  for _ in range(rounds):
    for name, times in seconds.items():
      functions[name]()
      times.append(functions[name]())
  for name, times in seconds.items():
    found[name] |= {
      'median': statistics.median(times),
      'low': min(times),
      'high': max(times),
    }
  return found


def ratios(times: Mapping[str, Mapping]) -> dict[str, float]:
  """PyTorch's medians over ours: how often ours is faster."""
  return {
    name: figures['median'] / times['jax']['median']
    for name, figures in times.items()
    if name != 'jax' and 'median' in figures
  }


def measure(
  setup: Setup,
  workdir: pathlib.Path,
  source: Source,
  batch: dict,
  search_batch: dict,
  *,
  rounds: int,
  compile_network: bool,
  compile_search: bool,
  device: str = devices.CPU,
) -> dict[str, dict]:
  """Times of inference and of the steps of training and searching.

  Args:
    setup: what is compared.
    workdir: of the run, with its config.json.
    source: the network.
    batch: clips for the network, as `augment.prepare_batch` makes them.
    search_batch: clips for the supernet.
    rounds: timed calls of each function.
    compile_network: time torch.compile of the network, too.
    compile_search: and of the supernet.
    device: of PyTorch.

  Returns:
    By what is timed: {'times': see `in_turns`, 'ratios': see `ratios`}.
  """
  images = jax.random.normal(
    jax.random.key(setup.seed), (max(_BATCHES), *setup.example.shape[1:])
  )
  cases = {
    f'inference, batch {size}': (
      'inference',
      {'images': images[:size]},
      functools.partial(_inference, source),
    )
    for size in _BATCHES
  }
  cases[f'training step, batch {len(batch["label"])}'] = (
    'training',
    batch,
    functools.partial(jax_training, setup),
  )
  cases[f'search step, batch {len(search_batch["label"])}'] = (
    'search',
    search_batch,
    functools.partial(_searching, setup),
  )
  found = {}
  for name, (kind, arrays, make) in cases.items():
    compiled = compile_search if kind == 'search' else compile_network
    with progress.stage(f'Timing: {name}'), tempfile.TemporaryDirectory() as at:
      path = pathlib.Path(at) / 'batch.npz'
      np.savez(path, **arrays)
      config = workdir / 'config.json'
      with torch_process.TorchProcess(config, kind, path, device) as twin:
        names = [torch_process.EAGER, torch_process.COMPILED][: 1 + compiled]
        functions = {'jax': _timed(make(arrays))} | {
          name: functools.partial(twin.seconds, name) for name in names
        }
        times = in_turns(functions, rounds)
    found[name] = {'times': times, 'ratios': ratios(times)}
  return found


def _timed(function: Callable[[], object]) -> Callable[[], float]:
  def run():
    began = time.perf_counter()
    function()
    return time.perf_counter() - began

  return run


def _inference(source, arrays):
  apply = jax.jit(
    lambda variables, x: source.model.apply(variables, x, train=False).map
  )
  images = jnp.asarray(arrays['images'])
  return lambda: jax.block_until_ready(apply(source.variables, images))


def _carried(step: Callable, state):
  """Runs a step that gives its state away, again and again."""
  kept = {'state': state}

  def run():
    kept['state'], loss = step(kept['state'])
    jax.block_until_ready((kept['state'], loss))

  return run


def training_step(setup: Setup) -> tuple[Callable, Callable]:
  """(a function that makes a state, the step), as a training has them."""
  optimizer = setup.training.optimizer()
  start = functools.partial(
    train.initial_state, setup.network, setup.example, setup.seed, optimizer
  )
  step = functools.partial(
    train.train_step,
    loss_fn=supervised.network_loss(
      setup.network, setup.form, losses.make_objective(setup.loss_weights)
    ),
    optimizer=optimizer,
  )
  return start, step


def jax_training(setup: Setup, batch: dict) -> Callable[[], None]:
  """A training step as `train.fit` runs it, fusion of the frames included."""
  start, step = training_step(setup)
  state = jax.jit(start)()
  step = jax.jit(step, donate_argnums=0)
  batch = jax.tree.map(jnp.asarray, batch)
  compiled = []

  def run(state):
    # In the first call, whose time counts as compilation.
    if not compiled:
      lowered = step.lower(state, batch)
      compiled.append(lowered.compile())
    return compiled[0](state, batch)

  return _carried(run, state)


def _searching(setup, batch):
  model = setup.supernet
  state = jax.jit(
    functools.partial(
      supernet_program.initial_state, model, setup.example, setup.search
    )
  )()
  loss_fn = supernet_program.supernet_loss(
    *(model, setup.form, losses.make_objective(setup.loss_weights)),
    setup.search,
  )
  weight_fn, arch_fn = bilevel.jit_steps(
    loss_fn, setup.search, sharding.make_mesh()
  )
  clips = jax.tree.map(jnp.asarray, batch)
  compiled = []

  def step(state):
    # In the first call, whose time counts as compilation; as the search does.
    if not compiled:
      compiled.extend(
        lowered.compile()
        for lowered in (
          arch_fn.lower(state, clips, clips),
          weight_fn.lower(state, clips),
        )
      )
    arch_step, weight_step = compiled
    return weight_step(arch_step(state, clips, clips)[0], clips)

  return _carried(step, state)
