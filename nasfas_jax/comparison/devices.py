"""Where PyTorch's steps run when they are timed: where ours run, if it can."""

import torch

CPU, CUDA = 'cpu', 'cuda'


def twin_device(platform: str, has_cuda: bool) -> str:
  """The device of the timed twins.

  Args:
    platform: of JAX's devices, such as 'cpu', 'gpu' or 'tpu'.
    has_cuda: whether PyTorch finds a GPU.

  Returns:
    'cuda' where JAX has a GPU and PyTorch too, else 'cpu'.
  """
  return CUDA if platform in ('gpu', CUDA, 'rocm') and has_cuda else CPU


def describe(device: str) -> str:
  """A device in words."""
  return torch.cuda.get_device_name() if device == CUDA else 'CPU'


def prepare(device: str) -> None:
  """Sets PyTorch up as its users do on a GPU, with TF32 as JAX has it."""
  if device == CUDA:
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cuda.matmul.allow_tf32 = True


def place(value, device: str):
  """Moves tensors in tuples and dicts; pictures channels last on a GPU.

  Tensors that want a gradient stay leaves.
  """
  if isinstance(value, dict):
    return {name: place(part, device) for name, part in value.items()}
  if isinstance(value, tuple):
    return tuple(place(part, device) for part in value)
  moved = value.detach().to(device)
  if device == CUDA and value.ndim == 4:
    moved = moved.contiguous(memory_format=torch.channels_last)
  return moved.requires_grad_(value.requires_grad)


def place_module(module: torch.nn.Module, device: str) -> torch.nn.Module:
  """Moves a module; its kernels channels last on a GPU."""
  if device == CUDA:
    return module.to(device, memory_format=torch.channels_last)
  return module.to(device)


def wait(device: str) -> None:
  """Waits until a GPU has done what it was given."""
  if device == CUDA:
    torch.cuda.synchronize()
