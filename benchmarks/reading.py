"""Clips a second that the host reads, by stage and a core.

python -m benchmarks.reading [--json=FILE] [--size=256] [--workers=0,1,2]

Training clips of eight frames, prepared as users do: rendered clips, written as
Motion JPEG and built by `manifest_fas`. Processor time of each stage on one
core:

  read: a record out of its shard, from memory (and from the disk, as far as the
    system lets go of its copy in memory);
  decompress: the eight frames;
  pick and stack: what else the stream of batches does (choice of frames, depth,
    labels, one array a batch);
  transfer: a batch to the device.

Then whole streams as training reads them, in threads and in worker processes,
by passed time. The last line extrapolates to 16 cores: they all work on the
first three stages, as fast as one alone.
"""

import itertools
import os
import pathlib
import platform
import statistics
import tempfile
import time

import cv2
import jax
import numpy as np
from absl import app, flags

from benchmarks import rendered_clips
from nasfas_configs import train as train_config
from nasfas_datasets import prepare
from nasfas_jax import files, settings, sharding
from nasfas_jax.data import clips as clips_lib
from nasfas_jax.data import protocols

COPIES = 16
BATCH = 32
BATCHES = 40

_JSON = flags.DEFINE_string('json', '', 'File to write; "" writes none.')
_SIZE = flags.DEFINE_enum('size', '256', ['80', '256'], 'Side in pixels.')
_WORKERS = flags.DEFINE_list('workers', ['0', '1', '2'], 'Numbers to try.')


def build(folder: pathlib.Path, size: int) -> None:
  """Prepares manifest_fas in `folder`, COPIES of each rendered clip."""
  videos = folder / 'videos'
  videos.mkdir()
  lines = ['path,label,attack_type,subject,split']
  rendered = rendered_clips.render_clips(size)
  for number in range(len(rendered) * COPIES):
    name = f'{number:04}.avi'
    writer = cv2.VideoWriter(
      str(videos / name), cv2.VideoWriter_fourcc(*'MJPG'), 25, (size, size)
    )
    if not writer.isOpened():
      raise RuntimeError('OpenCV cannot write Motion JPEG.')
    for frame in rendered[number % len(rendered)]:
      writer.write(frame[..., ::-1])
    writer.release()
    kind = 'spoof,print' if number % 2 else 'live,'
    split = {0: 'dev', 1: 'dev', 2: 'test', 3: 'test'}.get(number, 'train')
    lines.append(f'{name},{kind},{split}{number},{split}')
  (videos / 'manifest.csv').write_text('\n'.join(lines), encoding='utf-8')
  prepare.prepare(
    'manifest_fas',
    config=_config_name(size),
    data_dir=folder,
    manual_dir=videos,
  )


def _config_name(size: int) -> str:
  return 'small' if size == 80 else 'default'


def forget(folder: pathlib.Path) -> None:
  """Asks the system to drop its copy of the shards in memory."""
  for path in folder.glob('**/*.array_record-*'):
    with open(path, 'rb') as file:
      os.fsync(file.fileno())
      os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _median(function, items) -> float:
  """Median processor time of a call."""
  found = []
  for item in items:
    start = time.process_time()
    function(item)
    found.append(time.process_time() - start)
  return statistics.median(found)


def stages(rows, folder: pathlib.Path) -> dict[str, float]:
  """Seconds a clip of 'read', 'decompress' and 'read from the disk'."""
  source = clips_lib.ClipSource(rows)
  places = range(len(rows))
  source[0]
  forget(folder)
  start = time.perf_counter()
  for i in places:
    source[i]
  cold = (time.perf_counter() - start) / len(rows)
  frames = [source[i]['frames'] for i in places]
  return {
    'read from the disk (passed time)': cold,
    'read': _median(source.__getitem__, places),
    'decompress': _median(lambda f: f.take(range(len(f))), frames),
  }


def stream(rows, config, field: str) -> tuple[float, float, dict]:
  """(passed, processor seconds a clip in this process, a batch)."""
  read = settings.training_batches(config, field, config.network.output_size)
  batches = read(rows, batch_size=BATCH, seed=0, step=0)
  # Until threads or processes run, and what is read ahead is taken.
  for _ in range(BATCHES):
    batch = next(batches)
  start, of_process = time.perf_counter(), time.process_time()
  for _ in range(BATCHES):
    batch = next(batches)
  passed = time.perf_counter() - start
  of_process = time.process_time() - of_process
  batches.close()
  return passed / BATCH / BATCHES, of_process / BATCH / BATCHES, batch


def transfer(batch: dict[str, np.ndarray]) -> float:
  """Seconds a clip to put a batch on the device."""
  mesh = sharding.make_mesh()

  def put(batch):
    jax.block_until_ready(sharding.put_batch(batch, mesh))

  put(batch)
  return _median(put, itertools.repeat(batch, 9)) / BATCH


def measure(size: int, workers: list[int]) -> dict[str, float]:
  """Stage -> seconds a clip."""
  cv2.setNumThreads(1)
  config = train_config.get_config()
  config.data.image_size = size if size != 80 else 64
  config.data.num_frames = 8
  config.data.cache_mib = 0
  config.protocol = 'manifest_fas/official'
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    build(folder, size)
    loaded = protocols.load(config.protocol, name, _config_name(size))
    field = protocols.get_protocol(config.protocol).domain_field
    rows = loaded.train
    shards = folder.glob('**/*-train.array_record-*')
    stored = sum(path.stat().st_size for path in shards) / len(rows)
    found = stages(rows, folder)
    for number in workers:
      config.data.num_workers = number
      passed, of_process, batch = stream(rows, config, field)
      if number == 0:
        found['pick and stack'] = max(
          0.0, of_process - found['read'] - found['decompress']
        )
      found[f'stream, {number} workers (passed time)'] = passed
      found[f'stream, {number} workers, this process'] = of_process
    found['transfer'] = transfer(batch)
  print(f'{stored / 1024:.0f} KiB a clip')
  return found


def main(argv) -> None:
  if len(argv) > 1:
    raise app.UsageError(f'Unknown arguments: {argv[1:]}')
  found = measure(int(_SIZE.value), [int(n) for n in _WORKERS.value])
  device = jax.devices()[0].device_kind
  print(f'{platform.machine()}, {os.cpu_count()} CPUs; device: {device}')
  for name, seconds in found.items():
    rate = 1 / max(seconds, 1e-9)
    print(f'{name:44} {1e3 * seconds:8.3f} ms {rate:8.0f} clips/s')
  if 'pick and stack' in found:
    whole = sum(found[n] for n in ('read', 'decompress', 'pick and stack'))
    print(f'16 cores at this rate: {16 / whole:.0f} clips/s')
  if _JSON.value:
    files.write_json(_JSON.value, found)


if __name__ == '__main__':
  app.run(main)
