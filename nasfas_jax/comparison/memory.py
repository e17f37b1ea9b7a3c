"""Peak memory of a training step, each framework in a process of its own.

python -m nasfas_jax.comparison.memory CONFIG.json FRAMEWORK DEVICE
  Prints JSON; the experiment 'compare' calls it.
"""

import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import torch

from nasfas_jax.comparison import devices, speed, torch_process
from nasfas_jax.comparison import setup as setup_lib

FRAMEWORKS = ('jax', torch_process.EAGER)
_STATUS = pathlib.Path('/proc/self/status')
_CLEAR = pathlib.Path('/proc/self/clear_refs')


def can_measure() -> bool:
  """Whether the system tells the peak of a process and sets it back."""
  return _CLEAR.exists()


def measure(
  workdir: pathlib.Path, device: str = devices.CPU
) -> dict[str, dict[str, float | str]]:
  """Memory of each framework's training step, in MiB.

  On the CPU it is what is resident of the process, on a GPU what the framework
  has there.

  Args:
    workdir: with the config.json.
    device: of PyTorch; JAX has the same, 'cpu' or 'cuda'.

  Returns:
    For each framework 'loaded' (before the network is made) and 'peak' (in
    the steps after the first, which compiles), or 'error' where its process
    failed, such as for want of memory; {} where the system does not tell (it
    is Linux that does).
  """
  if device == devices.CPU and not can_measure():
    return {}
  environ = dict(os.environ)
  if device == devices.CPU:
    # Both there: a TPU would not be free for a second process either.
    environ['JAX_PLATFORMS'] = 'cpu'
  found = {}
  for framework in FRAMEWORKS:
    command = [
      *(sys.executable, '-m', 'nasfas_jax.comparison.memory'),
      *(str(workdir / 'config.json'), framework, device),
    ]
    done = subprocess.run(
      command, capture_output=True, text=True, check=False, env=environ
    )
    if done.returncode:
      lines = done.stderr.strip().splitlines() or ['no reason given']
      said = lines[-1][:200]
      if done.returncode < 0:
        # Such as the system's, for want of memory.
        said = f'ended by signal {-done.returncode}'
      # What else was compared is still worth having.
      found[framework] = {'error': said}
      continue
    found[framework] = json.loads(done.stdout.splitlines()[-1])
  return found


def _status(name: str) -> float:
  """A line of the process's status, in MiB."""
  for line in _STATUS.read_text(encoding='utf-8').splitlines():
    if line.startswith(f'{name}:'):
      return int(line.split()[1]) / 1024
  raise OSError(f'{_STATUS} has no {name}.')


def _on_device(framework: str) -> tuple[float, float]:
  """What a framework holds on the GPU, and held at most, in MiB."""
  if framework == 'jax':
    stats = jax.devices()[0].memory_stats()
    found = stats['bytes_in_use'], stats['peak_bytes_in_use']
  else:
    found = torch.cuda.memory_allocated(), torch.cuda.max_memory_allocated()
  return tuple(value / 2**20 for value in found)


def batch(setup: setup_lib.Setup, number: int) -> dict[str, np.ndarray]:
  """`number` clips of noise, of the network's sizes."""
  rng = np.random.default_rng(0)
  size = setup.example.shape[1]
  side = setup.network.output_size
  frames = (number, setup.num_frames, size, size, 3)
  return {
    'frames': rng.integers(0, 256, frames, dtype=np.uint8),
    'depth': rng.random((number, side, side), dtype=np.float32),
    'face_mask': np.ones((number, side, side), np.float32),
    'label': np.arange(number, dtype=np.int32) % 2,
  }


def peak(path: pathlib.Path, framework: str, device: str) -> dict[str, float]:
  """Takes training steps by the config.json in a path; see `measure`."""
  setup = setup_lib.read(path.parent)
  devices.prepare(device)
  if device == devices.CPU:
    loaded = _status('VmRSS')
  else:
    loaded = _on_device(framework)[0]
  clips = batch(setup, setup.batch_size)
  if framework == 'jax':
    step = speed.jax_training(setup, clips)
  else:
    twin = torch_process.fresh_twin(setup, 'training', device)
    step = torch_process.torch_training(
      setup, twin, clips, compiled=False, device=device
    )
  step()
  if device != devices.CPU:
    for _ in range(3):
      step()
    return {'loaded': loaded, 'peak': _on_device(framework)[1]}
  # Sets the peak back to what is resident now.
  _CLEAR.write_text('5', encoding='utf-8')
  for _ in range(3):
    step()
  return {'loaded': loaded, 'peak': _status('VmHWM')}


if __name__ == '__main__':
  print(json.dumps(peak(pathlib.Path(sys.argv[1]), *sys.argv[2:])))
