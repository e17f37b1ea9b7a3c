"""The PyTorch twins' steps on the same card, one section at a time.

python -m benchmarks.accelerator_twins
  As `benchmarks.accelerator_steps`, for PyTorch: channels last, cuDNN's own
  choice of algorithms, TF32 allowed, bfloat16 by autocast. Without CUDA it runs
  on the CPU.
"""

import contextlib
import functools
import gc
import statistics
import time
from collections.abc import Callable

import jax
import numpy as np
import torch

from benchmarks import accelerator_steps, meta, serving
from nasfas_configs import search as search_config
from nasfas_jax import settings
from nasfas_jax.baseline import steps
from nasfas_jax.comparison import learning, twins
from nasfas_jax.models import architecture

DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'


def device() -> dict:
  """What the twins run on."""
  name = torch.cuda.get_device_name() if DEVICE == 'cuda' else 'CPU'
  return {'platform': DEVICE, 'kind': name, 'torch': torch.__version__}


def _wait() -> None:
  if DEVICE == 'cuda':
    torch.cuda.synchronize()


def _computing(form: str):
  """The context in which a form computes."""
  if form == 'bfloat16':
    return torch.autocast(DEVICE, dtype=torch.bfloat16)
  return contextlib.nullcontext()


def _twin(model, compiled: bool) -> torch.nn.Module:
  twin = twins.make_twin(model.clone(dtype=np.float32), 3)
  twin = twin.to(DEVICE, memory_format=torch.channels_last)
  return torch.compile(twin) if compiled else twin


def _clips(config, number: int, side: int) -> steps.Batch:
  """Fused images and the maps of a batch, on the device."""
  config.supernet.output_size = side
  made = meta.make_batch(config, number)
  size = config.data.image_size
  images = torch.rand(number, 3, size, size, device=DEVICE) * 2 - 1
  maps = {
    name: torch.from_numpy(made[name]).to(DEVICE)
    for name in ('depth', 'face_mask', 'label')
  }
  return images.contiguous(memory_format=torch.channels_last), maps


def _config(request: dict, variants: str = ''):
  config = search_config.get_config(
    ','.join(part for part in (request['size'], variants) if part)
  )
  # The twins have three channels.
  config.input.fusion = 'blend'
  return config


def inference(request: dict) -> tuple[Callable, int]:
  """CDCN++ on fused images."""
  config = _config(request)
  twin = _twin(settings.network(config, 'cdcnpp'), request['compiled']).eval()
  images, _ = _clips(config, request['batch'], config.network.output_size)

  def run():
    with torch.inference_mode(), _computing(request['form']):
      return twin(images)

  return run, request['batch']


def training(request: dict) -> tuple[Callable, int]:
  """The training step of CDCN++, from the fused images on."""
  config = _config(request)
  twin = _twin(settings.network(config, 'cdcnpp'), request['compiled'])
  step = functools.partial(
    steps.train_step,
    _under(twin, request['form']),
    learning.make_twin_optimizer(twin.parameters(), settings.training(config)),
    _clips(config, request['batch'], config.network.output_size),
    loss_fn=steps.make_loss(dict(config.loss)),
    gradient_clip=config.train.gradient_clip,
  )
  return step, request['batch']


def search(request: dict) -> tuple[Callable, int]:
  """Both steps of the plain search, first order, nothing recomputed."""
  config = _config(request, 'plain')
  model = settings.supernet(config)
  twin = _twin(model, request['compiled'])
  found = settings.search(config)
  drawn = architecture.init_arch(
    jax.random.key(0),
    space=model.space,
    num_cells=model.num_cells,
    num_nodes=model.num_nodes,
  )
  arch = {
    kind: {
      level: logits.detach().to(DEVICE).requires_grad_()
      for level, logits in levels.items()
    }
    for kind, levels in twins.torch_arch(drawn).items()
  }
  clips = _clips(config, request['batch'], config.supernet.output_size)
  step = functools.partial(
    steps.search_step,
    _under(twin, request['form']),
    arch,
    learning.make_twin_optimizer(twin.parameters(), found.weights),
    learning.make_twin_optimizer(steps.arch_tensors(arch), found.arch),
    clips,
    clips,
    loss_fn=steps.make_loss(dict(config.loss)),
    gradient_clip=found.weights.gradient_clip,
  )
  return step, 2 * request['batch']


class _Under(torch.nn.Module):
  """A module whose forward pass computes in a form; its map is float32."""

  def __init__(self, module, form):
    super().__init__()
    self.module = module
    self.form = form

  def forward(self, *args):
    with _computing(self.form):
      found = self.module(*args)
    return found.float()


def _under(module, form):
  return _Under(module, form) if form == 'bfloat16' else module


STEPS = {'inference': inference, 'training': training, 'search': search}


def measure(step: Callable, clips: int) -> dict[str, float]:
  """Times a step as `accelerator_steps.time_steps` does."""
  start = time.perf_counter()
  step()
  _wait()
  first = time.perf_counter() - start
  if DEVICE == 'cuda':
    torch.cuda.reset_peak_memory_stats()
  start = time.perf_counter()
  step()
  _wait()
  once = time.perf_counter() - start
  share = accelerator_steps.REPEAT_SECONDS / once
  number = max(1, min(100, round(share)))
  times = []
  for _ in range(accelerator_steps.REPEATS):
    start = time.perf_counter()
    for _ in range(number):
      step()
    _wait()
    times.append((time.perf_counter() - start) / number)
  median = statistics.median(times)
  found = {
    'ms': median * 1e3,
    'ms_low': min(times) * 1e3,
    'ms_high': max(times) * 1e3,
    'clips_per_second': clips / median,
    'clips': clips,
    'first_call_seconds': first,
  }
  if DEVICE == 'cuda':
    found['peak_gib'] = torch.cuda.max_memory_allocated() / 2**30
  return found


def answer(request: dict, tell: serving.Tell) -> dict:
  """The figures of a section."""
  del tell
  if request['kind'] == 'device':
    return device()
  # What other sections compiled and hold.
  torch.compiler.reset()
  gc.collect()
  if DEVICE == 'cuda':
    torch.cuda.empty_cache()
  allowed = request['form'] != 'float32'
  torch.backends.cudnn.benchmark = True
  torch.backends.cudnn.allow_tf32 = allowed
  torch.backends.cuda.matmul.allow_tf32 = allowed
  return measure(*STEPS[request['kind']](request))


if __name__ == '__main__':
  serving.serve(answer)
