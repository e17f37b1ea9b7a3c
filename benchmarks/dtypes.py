"""What training in bfloat16 costs in AUC: the same training in both dtypes.

python -m benchmarks.dtypes --seeds=0,1 [--steps=800] [--image_size=32]

Trains CDCN++ at the default width on the default protocol, once in float32 and
once in bfloat16 for every seed, and evaluates each in float32, as all networks
score. The dataset must be prepared. Prints seconds and AUC of each run.
"""

import pathlib
import tempfile
import time

from absl import app, flags

from nasfas_configs import train as train_config
from nasfas_jax import files, train
from nasfas_jax.ops.cpu import xla_options

DTYPES = ('float32', 'bfloat16')

_SEEDS = flags.DEFINE_list('seeds', ['0', '1'], 'Seeds of the trainings.')
_STEPS = flags.DEFINE_integer('steps', 800, 'Steps of a training.')
_SIZE = flags.DEFINE_integer('image_size', 32, 'Side of the crops in pixels.')
_DATA = flags.DEFINE_string('data_dir', '', 'Folder of prepared datasets.')
_BUILDER = flags.DEFINE_string('builder_config', '', 'Config of the builder.')
_JSON = flags.DEFINE_string('json', '', 'File to write; "" writes none.')


def make_config(seed: int, dtype: str):
  """The config of one training."""
  config = train_config.get_config()
  config.model = 'cdcnpp'
  config.seed = seed
  config.dtype = dtype
  config.data.data_dir = _DATA.value
  config.data.builder_config = _BUILDER.value
  config.data.image_size = _SIZE.value
  config.data.num_frames = 4
  config.network.output_size = _SIZE.value // 4
  config.train.num_steps = _STEPS.value
  config.train.warmup_steps = min(100, _STEPS.value)
  config.checkpoint_every = 0
  config.evaluate.num_samples = 0
  config.evaluate.bootstrap_samples = 1
  return config


def measure(seed: int, dtype: str) -> dict[str, float]:
  """Seconds of a training with its evaluation, and the AUC of dev and test."""
  with tempfile.TemporaryDirectory() as folder:
    workdir = pathlib.Path(folder)
    began = time.perf_counter()
    train.train(make_config(seed, dtype), workdir)
    seconds = time.perf_counter() - began
    splits = files.read_json(workdir / 'results.json')['splits']
  return {
    'seconds': seconds,
    **{f'{name}_auc': split['auc'] for name, split in splits.items()},
  }


def main(argv) -> None:
  if len(argv) > 1:
    raise app.UsageError(f'Unknown arguments: {argv[1:]}')
  # As the main module does.
  xla_options.prefer_own_convolutions()
  found = {}
  for seed in map(int, _SEEDS.value):
    for dtype in DTYPES:
      figures = found[f'{dtype}, seed {seed}'] = measure(seed, dtype)
      text = ', '.join(f'{name} {v:.4f}' for name, v in figures.items())
      print(f'{dtype}, seed {seed}: {text}', flush=True)
      if _JSON.value:
        # After every run: what a stop cuts off is not lost.
        files.write_json(_JSON.value, found)


if __name__ == '__main__':
  app.run(main)
