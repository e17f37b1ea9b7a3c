"""Checks the ONNX files of an export where there is no JAX and no nasfas_jax.

  python check_onnx.py [FOLDER] [--threads=1]

Needs NumPy and onnxruntime only. It runs model.onnx, and model_int8.onnx if it
is there, on the clips of selftest.npz, compares scores and maps with those that
the network gave in JAX, and prints the largest differences and the latency of
one clip. It exits with status 1 if model.onnx differs by more than 1e-4.
"""

import argparse
import hashlib
import json
import pathlib
import statistics
import sys
import time

import numpy as np
import onnxruntime

TOLERANCE = 1e-4
ROUNDS = 100
OUTPUTS = ['score', 'map']


def open_session(path, threads):
  """A session on the CPU."""
  options = onnxruntime.SessionOptions()
  options.intra_op_num_threads = threads
  return onnxruntime.InferenceSession(
    str(path), options, providers=['CPUExecutionProvider']
  )


def verify(folder, name, listed):
  """Exits with one line if a file is not as exported."""
  path = folder / name
  if name not in listed or not path.is_file():
    sys.exit(f'error: {name} is not in {folder}.')
  if path.stat().st_size != listed[name]['bytes'] or (
    hashlib.sha256(path.read_bytes()).hexdigest() != listed[name]['sha256']
  ):
    sys.exit(f'error: {name} was changed after the export.')
  return path


def main():
  """Prints one line for each file."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  own = pathlib.Path(__file__).resolve().parent
  parser.add_argument('folder', nargs='?', type=pathlib.Path, default=own)
  parser.add_argument('--threads', type=int, default=1)
  arguments = parser.parse_args()
  folder = arguments.folder
  if not (folder / 'export.json').is_file():
    sys.exit(f'error: {folder} holds no export: there is no export.json.')
  content = json.loads((folder / 'export.json').read_text('utf-8'))
  listed = content['files']
  path = verify(folder, 'selftest.npz', listed)
  with np.load(path, allow_pickle=False) as arrays:
    clips = dict(arrays)
  failed = False
  for name in ('model.onnx', 'model_int8.onnx'):
    if name not in listed:
      continue
    session = open_session(verify(folder, name, listed), arguments.threads)
    # Each file has its own.
    known = session.get_modelmeta().custom_metadata_map
    inputs = {key: clips[key] for key in ('frames', 'face_size')}
    found = dict(zip(OUTPUTS, session.run(OUTPUTS, inputs), strict=True))
    worst = {
      key: float(np.abs(found[key] - clips[key]).max()) for key in OUTPUTS
    }
    one = {key: array[:1] for key, array in inputs.items()}
    times = []
    for _ in range(ROUNDS):
      start = time.perf_counter()
      session.run(['score'], one)
      times.append(time.perf_counter() - start)
    print(
      f'{name}: largest difference of the score {worst["score"]:.1e}, of the '
      f'map {worst["map"]:.1e} (values up to {clips["map"].max():.2g}); '
      f'decision: live above {float(known["threshold"]):.4g}; one clip takes '
      f'{1e3 * statistics.median(times):.2f} ms on {arguments.threads} '
      f'thread(s), onnxruntime {onnxruntime.__version__}'
    )
    if name == 'model.onnx' and not max(worst.values()) <= TOLERANCE:
      failed = True
  if failed:
    sys.exit(f'error: the difference is above {TOLERANCE:g}.')


if __name__ == '__main__':
  main()
