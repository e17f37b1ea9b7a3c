"""PyTorch's steps in a process of their own, run and timed on demand.

python -m nasfas_jax.comparison.torch_process CONFIG.json KIND BATCH.npz
  Reads the name of a form a line, runs its step once and prints JSON:
  {"seconds": ...} or {"error": ...}. `TorchProcess` is the other end.
"""

import contextlib
import functools
import json
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping

import jax
import ml_collections
import numpy as np
import torch

from nasfas_jax import run_config
from nasfas_jax.baseline import steps
from nasfas_jax.comparison import inputs, learning, twins
from nasfas_jax.comparison import source as source_lib
from nasfas_jax.searchers import bilevel

EAGER = 'torch eager'
COMPILED = 'torch compiled'


class TorchProcess:
  """The parent's end; a context, at whose end the process ends."""

  def __init__(self, config: pathlib.Path, kind: str, batch: pathlib.Path):
    """Starts the process.

    Args:
      config: config.json of the run.
      kind: 'inference', 'training' or 'search'.
      batch: npz file with the arrays of a batch.
    """
    self._log = tempfile.TemporaryFile('w+', encoding='utf-8')
    self._process = subprocess.Popen(
      [
        *(sys.executable, '-m', 'nasfas_jax.comparison.torch_process'),
        *(str(config), kind, str(batch)),
      ],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=self._log,
      text=True,
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


def plain_search(
  config: ml_collections.ConfigDict,
) -> ml_collections.ConfigDict:
  """A copy whose search is the plain one of first order, for both sides."""
  config = config.copy_and_resolve_references()
  config.search.tasks = 'none'
  config.search.second_order = False
  return config


def torch_inference(config, twin, batch, compiled) -> Callable[[], object]:
  """A batch of images through the twin."""
  del config
  module = twin.eval()
  module = torch.compile(module) if compiled else module
  tensor = twins.to_torch(batch['images'])

  def run():
    with torch.inference_mode():
      return module(tensor)

  return run


def torch_training(config, twin, batch, compiled) -> Callable[[], None]:
  """A training step of the twin, from the fused input on."""
  optimizer = learning.make_twin_optimizer(twin, config.train)
  tensors = inputs.torch_batch(config, batch)
  module = torch.compile(twin) if compiled else twin
  return lambda: steps.train_step(
    module, optimizer, tensors, gradient_clip=config.train.gradient_clip
  )


def torch_search(config, twin, batch, compiled) -> Callable[[], object]:
  """A step of the weights and one of the architecture, of a fresh supernet."""
  settings = config.search
  model = bilevel.build_supernet(config)
  state = jax.jit(functools.partial(bilevel.initial_state, config, model))()
  arch = twins.torch_arch(state.arch)
  weight_optimizer = torch.optim.Adam(
    twin.parameters(),
    lr=settings.weight_learning_rate,
    weight_decay=settings.weight_decay,
  )
  arch_optimizer = torch.optim.Adam(
    steps.arch_tensors(arch),
    lr=settings.arch_learning_rate,
    betas=(0.5, 0.999),
    weight_decay=settings.arch_weight_decay,
  )
  tensors = inputs.torch_batch(config, batch)
  module = torch.compile(twin) if compiled else twin
  return lambda: steps.search_step(
    module,
    arch,
    weight_optimizer,
    arch_optimizer,
    tensors,
    tensors,
    gradient_clip=settings.gradient_clip,
  )


MAKERS = {
  'inference': torch_inference,
  'training': torch_training,
  'search': torch_search,
}


def fresh_twin(config: ml_collections.ConfigDict, kind: str) -> torch.nn.Module:
  """The twin that a kind of step needs, with weights that are just drawn.

  Weights matter neither to the time nor to the memory.
  """
  if kind == 'search':
    model = bilevel.build_supernet(config)
  else:
    model = scoring.build_network(config, source_lib.choose(config))
  return twins.make_twin(model, scoring.example_input(config).shape[-1])


def serve(config, kind: str, batch: Mapping, lines, reply: Callable) -> None:
  """Answers the names in `lines`; see the module's docstring."""
  made = {}
  for line in lines:
    name = line.strip()
    try:
      if name not in made:
        twin = fresh_twin(config, kind)
        made[name] = MAKERS[kind](config, twin, batch, name == COMPILED)
      began = time.perf_counter()
      made[name]()
      reply({'seconds': time.perf_counter() - began})
    except Exception as error:
      # Of whatever kind: the other end decides what may fail.
      text = str(error).strip() or type(error).__name__
      reply({'error': text.splitlines()[0]})


def main(config: str, kind: str, batch: str) -> None:
  replies, sys.stdout = sys.stdout, sys.stderr
  settings = run_config.read(pathlib.Path(config).parent)
  with np.load(batch, allow_pickle=False) as arrays:
    serve(
      plain_search(settings),
      kind,
      dict(arrays),
      sys.stdin,
      lambda answer: print(json.dumps(answer), file=replies, flush=True),
    )


if __name__ == '__main__':
  main(*sys.argv[1:])
