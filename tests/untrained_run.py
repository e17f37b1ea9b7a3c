"""The workdir of a finished run, made without training: weights as drawn."""

import json

import cv2
import jax
import ml_collections
import numpy as np
from small_search import small_config

from nasfas_jax import checkpoints, files, models, settings
from nasfas_jax.models import genotypes

THRESHOLD = {
  'value': 0.25,
  'rule': 'EER point of the dev clips',
  'split': 'dev',
}

# The face in the clips of `write_clips`.
BOX = (30.0, 24.0, 78.0, 72.0)


def small_genotype():
  cell = genotypes.Cell((genotypes.Edge(0, 1, 'cdc_3x3'),), ((1, 1.0),))
  return genotypes.Genotype('small', 0.7, ((cell,),) * 3)


def write(
  workdir, versions=('manifest_fas/small/1.0.0',), said=None, **data_changes
):
  """Writes the files that `detector.load` reads; returns the config."""
  said = said or {'still_share': 0.0, 'boxes': {'given': 2}}
  config = ml_collections.ConfigDict(small_config().to_dict())
  config.protocol = 'manifest_fas/official'
  config.data.builder_config = 'small'
  config.data.update(data_changes)
  config.train.update(num_steps=1, warmup_steps=0)
  genotype = small_genotype()
  model = settings.network(config, genotype)
  # Several seeds give a map of zeros: the last ReLU is dead from the start.
  variables = models.initialize(
    model, jax.random.key(1), settings.example_input(config)
  )
  files.write_json(
    workdir / 'config.json', json.loads(json.dumps(config.to_dict()))
  )
  files.write_json(
    workdir / 'data.json',
    {
      'versions': list(versions),
      'num_clips': {},
      'fingerprints': {},
      'train_subjects': [],
      **said,
    },
  )
  files.write_json(workdir / 'results.json', {'threshold': THRESHOLD})
  genotype.save(workdir / 'genotype.json')
  # Last: a checkpoint knows the files that made it.
  with checkpoints.Checkpointer(workdir / 'checkpoints' / 'train') as saver:
    saver.save(1, variables)
  return config


def write_clips(folder):
  """Writes six clips of moving pictures, two a split, and their manifest."""
  folder.mkdir()
  lines = ['path,label,attack_type,subject,split,box_x0,box_y0,box_x1,box_y1']
  box = ','.join(map(str, BOX))
  for i in range(6):
    write_video(folder / f'{i}.avi', moving(i))
    split = ('train', 'dev', 'test')[i // 2]
    kind = 'live' if i % 2 else 'print'
    lines.append(f'{i}.avi,{i % 2},{kind},s{i},{split},{box}')
  (folder / 'manifest.csv').write_text('\n'.join(lines) + '\n')


def moving(seed, number=20, width=120, height=96):
  """Frames of a smooth random picture that moves, uint8 RGB."""
  rng = np.random.default_rng(seed)
  coarse = rng.integers(0, 256, (height // 8, width // 8, 3)).astype(np.uint8)
  picture = np.kron(coarse, np.ones((8, 8, 1), np.uint8))
  return [np.roll(picture, (i, 2 * i), (0, 1)) for i in range(number)]


def write_video(path, frames, codec='MJPG'):
  """With Motion JPEG, frames do not depend on each other."""
  height, width = frames[0].shape[:2]
  writer = cv2.VideoWriter(
    str(path), cv2.VideoWriter_fourcc(*codec), 25, (width, height)
  )
  for frame in frames:
    writer.write(frame[..., ::-1])
  writer.release()
