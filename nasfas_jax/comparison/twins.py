"""Twins: the PyTorch module that computes what a Flax module computes."""

import flax.linen as nn
import numpy as np
import torch

from nasfas_jax import models
from nasfas_jax.baseline import networks, supernet, weights
from nasfas_jax.models.supernet import Supernet

_FIELDS = (
  *('stem_features', 'cell_features', 'head_features', 'output_size'),
  'two_stream',
)
_SUPERNET_FIELDS = (
  *_FIELDS,
  *('space', 'num_cells', 'num_nodes', 'theta', 'partial_channels'),
  *('edge_normalization', 'node_attention', 'temperature'),
)
_CDCN_FIELDS = (
  *('stem_features', 'block_features', 'head_features', 'output_size'),
  'theta',
)


def make_twin(
  model: nn.Module, in_features: int, variables: dict | None = None
) -> torch.nn.Module:
  """The baseline's module of the sizes of a Flax module, in training mode.

  Args:
    model: CDCN, a network of a genotype or a supernet; float32.
    in_features: input channels.
    variables: 'params' and 'batch_stats' to copy; None: freshly drawn.
  """

  def fields(names):
    return {name: getattr(model, name) for name in names}

  if isinstance(model, models.CDCN):
    twin = networks.CDCN(in_features, **fields(_CDCN_FIELDS))
  elif isinstance(model, Supernet):
    twin = supernet.Supernet(in_features, **fields(_SUPERNET_FIELDS))
  else:
    twin = networks.Network(in_features, model.genotype, **fields(_FIELDS))
  if variables is not None:
    twin.load_state_dict(weights.from_flax(twin, variables))
  return twin


def to_torch(images) -> torch.Tensor:
  """[N, H, W, C] of any framework as a contiguous float32 [N, C, H, W]."""
  array = np.asarray(images, np.float32).transpose(0, 3, 1, 2)
  return torch.from_numpy(np.array(array, order='C'))


def variables_of(twin: torch.nn.Module) -> dict:
  """A twin's parameters and statistics as Flax's variables."""
  return weights.to_flax(twin, twin.state_dict())


def gradients_of(twin: torch.nn.Module) -> dict:
  """A twin's gradients, as a tree of Flax's parameters; 0 where it has none."""
  state = twin.state_dict()
  for name, parameter in twin.named_parameters():
    gradient = parameter.grad
    state[name] = torch.zeros_like(parameter) if gradient is None else gradient
  return weights.to_flax(twin, state)['params']


def torch_arch(arch: dict) -> dict[str, dict[str, torch.Tensor]]:
  """The architecture's logits as tensors that want a gradient."""
  return {
    kind: {
      level: torch.tensor(np.asarray(logits), requires_grad=True)
      for level, logits in levels.items()
    }
    for kind, levels in arch.items()
  }


def arch_gradients(arch: dict) -> dict:
  """The gradients of `torch_arch`'s tensors; 0 where there is none."""
  return {
    kind: {
      level: np.zeros(logits.shape, np.float32)
      if logits.grad is None
      else logits.grad.numpy()
      for level, logits in levels.items()
    }
    for kind, levels in arch.items()
  }
