"""PyTorch's steps in a process of their own, run and timed on demand.

python -m nasfas_jax.comparison.torch_process CONFIG.json KIND BATCH.npz DEVICE
  Reads the name of a form a line, runs its step once and prints JSON:
  {"seconds": ...} or {"error": ...}. `TorchProcess` is the other end.
"""

import contextlib
import functools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping

import jax
import numpy as np
import torch

from nasfas_jax.baseline import steps
from nasfas_jax.comparison import devices, inputs, learning, twins
from nasfas_jax.comparison import setup as setup_lib
from nasfas_jax.comparison.setup import Setup
from nasfas_jax.searchers import supernet_program

EAGER = 'torch eager'
COMPILED = 'torch compiled'


class TorchProcess:
  """The parent's end; a context, at whose end the process ends."""

  def __init__(
    self,
    config: pathlib.Path,
    kind: str,
    batch: pathlib.Path,
    device: str = devices.CPU,
  ):
    """Starts the process.

    Args:
      config: config.json of the run.
      kind: 'inference', 'training' or 'search'.
      batch: npz file with the arrays of a batch.
      device: of PyTorch.
    """
    self._log = tempfile.TemporaryFile('w+', encoding='utf-8')
    self._process = subprocess.Popen(
      [
        *(sys.executable, '-m', 'nasfas_jax.comparison.torch_process'),
        *(str(config), kind, str(batch), device),
      ],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=self._log,
      text=True,
      # JAX makes the input there; the accelerator is PyTorch's.
      env={**os.environ, 'JAX_PLATFORMS': 'cpu'},
    )

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self._process.terminate()
    # What a dead process did not read is still to be flushed.
    with contextlib.suppress(BrokenPipeError):
      self._process.stdin.close()
    self._process.stdout.close()
    self._process.wait()
    self._log.close()

  def seconds(self, name: str) -> float:
    """Runs a form's step once; the first time compiles it, too.

    Raises:
      RuntimeError: with what PyTorch said.
    """
    # A process that has ended is told of below, with its last words.
    with contextlib.suppress(BrokenPipeError):
      self._process.stdin.write(f'{name}\n')
      self._process.stdin.flush()
    answer = self._process.stdout.readline()
    if not answer:
      self._log.seek(0)
      lines = self._log.read().strip().splitlines() or ['no reason given']
      raise RuntimeError(f"PyTorch's process ended: {lines[-1]}")
    answer = json.loads(answer)
    if 'error' in answer:
      raise RuntimeError(answer['error'])
    return answer['seconds']


def torch_inference(
  setup, twin, batch, compiled, device=devices.CPU
) -> Callable[[], object]:
  """A batch of images through the twin."""
  del setup
  module = twin.eval()
  module = torch.compile(module) if compiled else module
  tensor = devices.place(twins.to_torch(batch['images']), device)

  def run():
    with torch.inference_mode():
      return module(tensor)

  return run


def torch_training(
  setup, twin, batch, compiled, device=devices.CPU
) -> Callable[[], None]:
  """A training step of the twin, from the fused input on."""
  module = torch.compile(twin) if compiled else twin
  return functools.partial(
    steps.train_step,
    module,
    learning.make_twin_optimizer(twin.parameters(), setup.training),
    devices.place(inputs.to_torch(inputs.pair(batch, setup.form)), device),
    loss_fn=steps.make_loss(setup.loss_weights),
    gradient_clip=setup.training.gradient_clip,
  )


def torch_search(
  setup, twin, batch, compiled, device=devices.CPU
) -> Callable[[], object]:
  """A step of the weights and one of the architecture, of a fresh supernet."""
  state = jax.jit(
    functools.partial(
      *(supernet_program.initial_state, setup.supernet),
      *(setup.example, setup.search),
    )
  )()
  arch = devices.place(twins.torch_arch(state.arch), device)
  clips = inputs.to_torch(inputs.pair(batch, setup.form))
  clips = devices.place(clips, device)
  module = torch.compile(twin) if compiled else twin
  return functools.partial(
    steps.search_step,
    module,
    arch,
    learning.make_twin_optimizer(twin.parameters(), setup.search.weights),
    learning.make_twin_optimizer(steps.arch_tensors(arch), setup.search.arch),
    clips,
    clips,
    loss_fn=steps.make_loss(setup.loss_weights),
    gradient_clip=setup.search.weights.gradient_clip,
  )


MAKERS = {
  'inference': torch_inference,
  'training': torch_training,
  'search': torch_search,
}


def fresh_twin(
  setup: Setup, kind: str, device: str = devices.CPU
) -> torch.nn.Module:
  """The twin that a kind of step needs, with weights that are just drawn.

  Weights matter neither to the time nor to the memory.
  """
  model = setup.supernet if kind == 'search' else setup.network
  twin = twins.make_twin(model, setup.example.shape[-1])
  return devices.place_module(twin, device)


def serve(
  setup: Setup,
  kind: str,
  batch: Mapping,
  lines,
  reply: Callable,
  device: str = devices.CPU,
) -> None:
  """Answers the names in `lines`; see the module's docstring."""
  made = {}
  for line in lines:
    name = line.strip()
    try:
      if name not in made:
        twin = fresh_twin(setup, kind, device)
        made[name] = MAKERS[kind](setup, twin, batch, name == COMPILED, device)
      began = time.perf_counter()
      made[name]()
      devices.wait(device)
      reply({'seconds': time.perf_counter() - began})
    except Exception as error:
      # Of whatever kind: the other end decides what may fail.
      text = str(error).strip() or type(error).__name__
      reply({'error': text.splitlines()[0]})


def main(config: str, kind: str, batch: str, device: str) -> None:
  replies, sys.stdout = sys.stdout, sys.stderr
  devices.prepare(device)
  setup = setup_lib.read(pathlib.Path(config).parent)
  with np.load(batch, allow_pickle=False) as arrays:
    serve(
      setup,
      kind,
      dict(arrays),
      sys.stdin,
      lambda answer: print(json.dumps(answer), file=replies, flush=True),
      device,
    )


if __name__ == '__main__':
  main(*sys.argv[1:])
