"""What each form and setting that only the CPU has gives in whole steps.

python -m benchmarks.cpu_forms [--steps=NAME ...] [--variants=NAME ...]

Every variant of a step runs in a process of its own, since some are settings
that a process reads when it starts. The processes take turns, a ratio is taken
in every turn, and the median of the ratios counts: what else the machine does
falls on both sides. Beside the ratio of the passed time stands that of the
processors' time, which holds on a machine that is busy.
`python -m benchmarks.run --only=cpu_forms` runs them all.
"""

import dataclasses
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import jax
from absl import app, flags

from benchmarks import meta, pipeline
from configs import search as search_config
from nasfas_jax.ops import convolution
from nasfas_jax.ops.cpu import xla_options

ROUNDS = 7
BASE = 'as jobs run'


@dataclasses.dataclass(frozen=True)
class Variant:
  """A difference to what jobs run.

  Attributes:
    without: forms of `convolution.CPU_FORMS` that are left out.
    library: XLA's own convolution and derivatives, none of ours.
    xla_flags: added to XLA_FLAGS.
    tunables: value of GLIBC_TUNABLES.
    default_fusions: without `xla_options.prefer_own_convolutions`.
  """

  without: tuple[str, ...] = ()
  library: bool = False
  xla_flags: str = ''
  tunables: str = 'glibc.malloc.hugetlb=0'
  default_fusions: bool = False


VARIANTS = {
  BASE: Variant(),
  **{
    f'without {form}': Variant((form,))
    for form in sorted(convolution.CPU_FORMS)
  },
  'library': Variant(library=True),
  'in sequence': Variant(
    xla_flags='--xla_cpu_enable_concurrency_optimized_scheduler=false'
  ),
  'default fusions': Variant(default_fusions=True),
  'huge pages': Variant(tunables='glibc.malloc.hugetlb=1'),
}


def _training(variant: str, image_size: int, batch_size: int) -> Callable:
  config = search_config.get_config(variant)
  config.model = 'cdcnpp'
  _resize(config, image_size)
  return pipeline.train_step(config, meta.make_batch(config, batch_size))


def _search(
  variant: str,
  make_step: Callable,
  *,
  image_size: int = 64,
  batch_size: int = 8,
) -> Callable:
  config = search_config.get_config(variant)
  # On CPU nobody should use it.
  config.supernet.edge_loop = False
  _resize(config, image_size)
  parts = meta.make_parts(config)
  state = jax.jit(meta.initial(config, parts))()
  if make_step is meta.plain_step:
    batch = meta.make_batch(config, batch_size)
  else:
    fields = config.meta
    batch = {
      name: meta.make_batch(config, fields.num_tasks, fields[f'{name}_size'])
      for name in ('support', 'query')
    }
  found = {'compile_seconds': {}, 'memory_gib': {}}
  return make_step(found, parts, state, batch)


def _resize(config, image_size: int) -> None:
  share = config.data.image_size // config.network.output_size
  config.data.image_size = image_size
  for network in (config.network, config.supernet):
    network.output_size = image_size // share


STEPS = {
  'train 64': lambda: _training('', 64, 16),
  'train 128': lambda: _training('paper', 128, 2),
  'train 256': lambda: _training('paper', 256, 2),
  'search': lambda: _search('plain', meta.plain_step),
  'tasks': lambda: _search('', meta.first_order_step),
  'second order': lambda: _search('', meta.second_order_step),
  'paper search 128': lambda: _search(
    'paper', meta.plain_step, image_size=128, batch_size=1
  ),
}


def serve(step: str, variant: Variant) -> Iterator[tuple[float, float]]:
  """Compiles a step, then runs it, again and again.

  Yields:
    (seconds passed, processor seconds) of the compilation, then of each call.
  """
  convolution.CPU_FORMS -= frozenset(variant.without)
  if variant.library:
    convolution.convolve = convolution._library
  if not variant.default_fusions:
    xla_options.prefer_own_convolutions()
  start = _now()
  function = STEPS[step]()
  jax.block_until_ready(function())
  yield _since(start)
  while True:
    jax.block_until_ready(function())
    start = _now()
    jax.block_until_ready(function())
    yield _since(start)


def _now() -> tuple[float, float]:
  return time.perf_counter(), time.process_time()


def _since(start) -> tuple[float, float]:
  return tuple(now - then for now, then in zip(_now(), start, strict=True))


def measure(
  steps: Sequence[str] = tuple(STEPS), variants: Sequence[str] = tuple(VARIANTS)
) -> dict[str, dict[str, float]]:
  """Fills 'ratios', 'seconds' and 'compile_seconds', see `benchmarks.run`.

  A ratio is a variant's seconds over those of what jobs run: what would be lost
  without the form, or gained (below 1) by the setting.
  """
  found = {'ratios': {}, 'seconds': {}, 'compile_seconds': {}}
  for step in steps:
    seconds = _in_turns(found, step, (BASE, *variants))
    base = seconds.pop(BASE)
    for i, kind in enumerate(('passed', 'processors')):
      of_base = [pair[i] for pair in base]
      found['seconds'][f'{step}, {kind}'] = statistics.median(of_base)
      for name, pairs in seconds.items():
        ratios = [
          pair[i] / other for pair, other in zip(pairs, of_base, strict=True)
        ]
        median = statistics.median(ratios)
        found['ratios'][f'{step}, {name}, {kind}'] = median
        print(
          f'{step}, {name}, {kind}: {median:.3f} ({min(ratios):.3f} to '
          f'{max(ratios):.3f}) of {statistics.median(of_base):.3f} s',
          flush=True,
        )
  return found


def _in_turns(found, step, names) -> dict[str, list[tuple[float, float]]]:
  """Of each variant the seconds of every turn; compile times in `found`."""
  processes = {}
  try:
    for name in dict.fromkeys(names):
      processes[name] = _start(step, name)
      # One compiles at a time.
      passed, busy = _read(processes[name])
      found['compile_seconds'][f'{step}, {name}, passed'] = passed
      found['compile_seconds'][f'{step}, {name}, processors'] = busy
    seconds = {name: [] for name in processes}
    for _ in range(ROUNDS):
      for name, process in processes.items():
        process.stdin.write('\n')
        process.stdin.flush()
        seconds[name].append(_read(process))
  finally:
    for process in processes.values():
      process.stdin.close()
      process.wait()
  return seconds


def _start(step: str, name: str) -> subprocess.Popen:
  variant = VARIANTS[name]
  xla_flags = f'{os.environ.get("XLA_FLAGS", "")} {variant.xla_flags}'.strip()
  environ = {
    **os.environ,
    'GLIBC_TUNABLES': variant.tunables,
    'XLA_FLAGS': xla_flags,
  }
  command = [
    sys.executable,
    '-m',
    'benchmarks.cpu_forms',
    '--serve',
    step,
    name,
  ]
  return subprocess.Popen(
    command,
    env=environ,
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
  )


def _read(process: subprocess.Popen) -> tuple[float, float]:
  line = process.stdout.readline()
  if not line:
    raise RuntimeError(f'{process.args} ended without an answer.')
  passed, busy = map(float, line.split())
  return passed, busy


def main(argv) -> None:
  if flags.FLAGS.serve:
    for seconds in serve(argv[1], VARIANTS[argv[2]]):
      print(*seconds, flush=True)
      # The parent closes the pipe when it has enough.
      if not sys.stdin.readline():
        return
  elif len(argv) > 1:
    raise app.UsageError(f'Unknown arguments: {argv[1:]}')
  else:
    found = measure(flags.FLAGS.steps, flags.FLAGS.variants)
    for name, value in found['compile_seconds'].items():
      print(f'compile {name}: {value:.1f} s')


if __name__ == '__main__':
  flags.DEFINE_bool('serve', False, 'One step of one variant, on request.')
  flags.DEFINE_multi_enum('steps', list(STEPS), list(STEPS), 'Which steps.')
  flags.DEFINE_multi_enum(
    'variants', list(VARIANTS), list(VARIANTS), 'Which variants.'
  )
  app.run(main)
