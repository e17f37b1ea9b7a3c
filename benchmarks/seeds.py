"""Trainings of several seeds in one program, against one seed.

python -m benchmarks.seeds [--seeds=1,2,4,8] [--model=cdcnpp] [--json=FILE]

The training step as a run compiles it, augmentation included, at the default
network size, on clips that are ready on the device. For each number of seeds S:
clips a second of all networks together, seconds to compile, memory of the
program. Ratios are to S = 1 in the same run, times are medians of steps taken
in turns.
"""

import jax
import numpy as np
from absl import app, flags

from benchmarks import timing
from nasfas_configs import train as train_config
from nasfas_jax import files, settings, sharding, train
from nasfas_jax.models import genotypes
from nasfas_jax.ops.cpu import xla_options

# Side of the stored pictures and of their depth maps, as synthetic_fas has
# them.
_STORED, _STORED_MAP = 80, 32


def raw_batch(config) -> dict[str, np.ndarray]:
  """Random clips in the form of `data.pipeline.member_batches`."""
  rng = np.random.default_rng(0)
  lead = (config.train.num_seeds, config.train.batch_size)
  if config.train.num_seeds == 1:
    lead = lead[1:]
  frames = (config.data.num_frames, _STORED, _STORED, 3)
  box = np.float32([15, 15, 65, 65])
  return {
    'frames': rng.integers(0, 256, (*lead, *frames), np.uint8),
    'frame_size': np.full((*lead, 2), _STORED, np.int32),
    'depth': rng.integers(0, 256, (*lead, _STORED_MAP, _STORED_MAP), np.uint8),
    'has_depth': np.ones(lead, bool),
    'face_box': np.broadcast_to(box, (*lead, 4)).copy(),
    'place': np.broadcast_to(np.arange(lead[-1], dtype=np.int32), lead).copy(),
    'label': rng.integers(0, 2, lead).astype(np.int32),
    'index': np.zeros(lead, np.int32),
    'attack_type': np.zeros(lead, np.int32),
    'domain': np.zeros(lead, np.int32),
  }


def compile_step(model: str, num_seeds: int):
  """A step that runs again and again, and its figures.

  Returns:
    (step without arguments, seconds to compile, GiB of the program, clips).
  """
  config = train_config.get_config()
  config.train.num_seeds = num_seeds
  config.dtype = settings.compute_dtype(config)
  chosen = genotypes.load(model) if model.endswith('.json') else model
  make, step, draws, of_batch = train.make_step(
    config, settings.network(config, chosen)
  )
  batch = sharding.put_part(raw_batch(config), of_batch)
  kept = {'state': make()}
  compiled, seconds = timing.compile_seconds(
    lambda: step.lower(kept['state'], batch, draws)
  )

  def run():
    kept['state'], scalars = compiled(kept['state'], batch, draws)
    return scalars

  analysis = compiled.memory_analysis()
  size = (
    analysis.argument_size_in_bytes
    + analysis.output_size_in_bytes
    + analysis.temp_size_in_bytes
    - analysis.alias_size_in_bytes
  )
  return run, seconds, size / 2**30, num_seeds * config.train.batch_size


def measure(model: str, numbers: list[int], rounds: int) -> dict[str, dict]:
  """Number of seeds -> its figures, see the module."""
  steps, found = {}, {}
  for number in numbers:
    run, compiling, size, clips = compile_step(model, number)
    steps[str(number)] = run
    found[str(number)] = {
      'clips': clips,
      'compile_seconds': compiling,
      'memory_gib': size,
    }
  for number, seconds in timing.medians(steps, rounds=rounds).items():
    found[number]['step_seconds'] = seconds
    found[number]['clips_per_second'] = found[number]['clips'] / seconds
  first = found[str(numbers[0])]
  for figures in found.values():
    figures['ratios'] = {
      name: figures[name] / first[name]
      for name in ('clips_per_second', 'compile_seconds', 'memory_gib')
    }
  return found


def main(argv) -> None:
  if len(argv) > 1:
    raise app.UsageError(f'Unknown arguments: {argv[1:]}')
  # As the main module does.
  xla_options.prefer_own_convolutions()
  values = flags.FLAGS
  numbers = sorted({int(text) for text in values.seeds})
  found = measure(values.model, numbers, values.rounds)
  device = jax.devices()[0].device_kind
  print(f'{device}, {len(jax.devices())} devices, {values.model}')
  print('seeds  clips/s (ratio)    compile s (ratio)  GiB (ratio)')
  for number, of in found.items():
    ratios = of['ratios']
    print(
      f'{number:>5}  {of["clips_per_second"]:7.1f} '
      f'({ratios["clips_per_second"]:.2f})     '
      f'{of["compile_seconds"]:7.1f} ({ratios["compile_seconds"]:.2f})     '
      f'{of["memory_gib"]:6.2f} ({ratios["memory_gib"]:.2f})'
    )
  if values.json:
    files.write_json(values.json, {'device': device, 'seeds': found})


if __name__ == '__main__':
  flags.DEFINE_list('seeds', ['1', '2', '4', '8'], 'Numbers of seeds.')
  flags.DEFINE_string('model', 'cdcnpp', 'cdcn, cdcnpp or a genotype.json.')
  flags.DEFINE_integer('rounds', 3, 'Steps of each that are timed.', 1)
  flags.DEFINE_string('json', '', 'File to write; "" writes none.')
  app.run(main)
