"""Memory and time of a step over a long search: both should stay flat.

python -m benchmarks.long_run --json=long_run.json

Runs the search of --config=search:debug, with checkpoints, metrics and the
reading of clips, for 2,000 steps. Prints by hundred steps the resident memory,
the median time of a step and its processor time, and their slopes over the
second half with 95 % intervals: in the first half caches fill and memory of the
compiler is given back. Renders the small config of synthetic_fas where it is
missing.
"""

import pathlib
import statistics
import tempfile
import time

import numpy as np
from absl import app, flags, logging
from scipy import stats

from nasfas_configs import search as search_config
from nasfas_jax import files, loop, search, settings
from nasfas_jax import main as main_lib
from nasfas_jax.ops.cpu import xla_options

_STEPS = flags.DEFINE_integer('steps', 2000, 'Number of steps.')
_VARIANTS = flags.DEFINE_string('variants', 'debug', 'Of the search.')
_DATA_DIR = flags.DEFINE_string('data_dir', '', 'Folder of datasets.')
_JSON = flags.DEFINE_string('json', None, 'Where to write the figures.')

BLOCK = 100
# What is measured -> (its unit, and how many of them a base unit has).
FIGURES = {
  'memory': ('MiB', 1),
  'step': ('ms', 1000),
  'processor_step': ('ms', 1000),
}


def resident_mib() -> float:
  """The resident memory of this process, by /proc."""
  pages = int(pathlib.Path('/proc/self/statm').read_text().split()[1])
  return pages * 4096 / 2**20


def slope(values: list[float]) -> dict[str, float]:
  """Per hundred steps, by least squares, with its 95 % interval.

  Args:
    values: one for each hundred steps; the second half counts.
  """
  kept = np.asarray(values[len(values) // 2 :])
  fit = stats.linregress(np.arange(len(kept)), kept)
  half = stats.t.ppf(0.975, len(kept) - 2) * fit.stderr
  return {
    'slope': fit.slope,
    'low': fit.slope - half,
    'high': fit.slope + half,
    'mean': float(kept.mean()),
  }


def measure(config) -> dict[str, list[float]]:
  """Runs the search; the `FIGURES` of every hundred steps."""
  main_lib.prepare_embedded(config)
  program = search.make_search(config, settings.selection(config)).program
  found = {name: [] for name in FIGURES}
  calls = []
  processor = [0.0]

  def compiled(state, batch):
    step = program.compile(state, batch)
    processor[0] = time.process_time()

    def timed(state, batch):
      # The loop waits for the step before the last one. So from call to call
      # is, in the long run, what a step takes.
      calls.append(time.monotonic())
      return step(state, batch)

    return timed

  def observe(state, scalars, done):
    if done % BLOCK == 0:
      found['memory'].append(resident_mib())
      found['step'].append(statistics.median(np.diff(calls)))
      now = time.process_time()
      found['processor_step'].append((now - processor[0]) / BLOCK)
      processor[0] = now
      calls.clear()
    return program.observe(state, scalars, done)

  with tempfile.TemporaryDirectory() as workdir:
    loop.run(
      program._replace(compile=compiled, observe=observe),
      pathlib.Path(workdir),
      log_every=config.log_every,
      checkpoint_every=config.checkpoint_every,
    )
  return found


def main(argv) -> None:
  del argv
  # As the main module does.
  xla_options.prefer_own_convolutions()
  # At level INFO Orbax logs every stage of every save.
  logging.set_verbosity(logging.WARNING)
  config = search_config.get_config(_VARIANTS.value)
  config.data.data_dir = _DATA_DIR.value
  config.search.num_steps = _STEPS.value
  config.checkpoint_every = BLOCK
  found = measure(config)
  print('steps  ' + '  '.join(f'{name} ({FIGURES[name][0]})' for name in found))
  for number, values in enumerate(zip(*found.values(), strict=True), 1):
    shown = [
      f'{value * factor:.4g}'
      for value, (_, factor) in zip(values, FIGURES.values(), strict=True)
    ]
    print(f'{number * BLOCK:5d}  ' + '  '.join(shown))
  slopes = {name: slope(values) for name, values in found.items()}
  for name, (unit, factor) in FIGURES.items():
    one = {key: value * factor for key, value in slopes[name].items()}
    print(
      f'{name}: {one["slope"]:+.3g} {unit} per hundred steps, 95 % interval '
      f'{one["low"]:+.3g} to {one["high"]:+.3g}; mean {one["mean"]:.4g} {unit}'
    )
  if _JSON.value:
    files.write_json(_JSON.value, {**found, 'slopes': slopes})


if __name__ == '__main__':
  app.run(main)
