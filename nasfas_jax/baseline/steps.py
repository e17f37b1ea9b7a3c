"""Loss and steps of training and searching in PyTorch."""

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional

from nasfas_jax.baseline.supernet import Arch

# A batch: the network's input [N, C, H, W] and the maps it should give.
Batch = tuple[torch.Tensor, torch.Tensor]


def map_loss(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
  """Mean squared error plus contrastive depth loss (arXiv 2003.08061), 1:1.

  Args:
    prediction: [N, S, S], S at least 3.
    target: [N, S, S].

  Returns:
    The mean over the batch.
  """
  error = prediction - target
  # Each kernel is 1 at one neighbour and -1 at the centre.
  kernels = torch.eye(9).reshape(9, 1, 3, 3)
  kernels = torch.cat([kernels[:4], kernels[5:]]) - kernels[4]
  contrast = functional.conv2d(error[:, None], kernels.to(error))
  return error.square().mean() + contrast.square().mean()


def train_step(
  model: nn.Module,
  optimizer: torch.optim.Optimizer,
  batch: Batch,
  *model_args,
  gradient_clip: float = 0.0,
) -> torch.Tensor:
  """One step on the weights; returns the loss before it.

  Args:
    model: network or supernet.
    optimizer: of its parameters.
    batch: input and target.
    *model_args: further arguments of the model.
    gradient_clip: largest global norm of the gradient; 0 clips nothing.
  """
  images, target = batch
  optimizer.zero_grad()
  loss = map_loss(model(images, *model_args), target)
  loss.backward()
  if gradient_clip:
    nn.utils.clip_grad_norm_(model.parameters(), gradient_clip)
  optimizer.step()
  return loss.detach()


def search_step(
  model: nn.Module,
  arch: Arch,
  weight_optimizer: torch.optim.Optimizer,
  arch_optimizer: torch.optim.Optimizer,
  batch: Batch,
  held_out: Batch,
  *,
  gradient_clip: float = 0.0,
) -> torch.Tensor:
  """One first-order step of DARTS: the architecture, then the weights.

  Args:
    model: the supernet.
    arch: its architecture, of which arch_optimizer has the tensors.
    weight_optimizer: of the weights.
    arch_optimizer: of the architecture.
    batch: for the weights.
    held_out: for the architecture.
    gradient_clip: see `train_step`.

  Returns:
    The loss of the weights' batch.
  """
  logits = arch_tensors(arch)
  loss = map_loss(model(held_out[0], arch), held_out[1])
  gradients = torch.autograd.grad(loss, logits, allow_unused=True)
  for tensor, gradient in zip(logits, gradients, strict=True):
    tensor.grad = gradient
  arch_optimizer.step()
  fixed = {
    kind: {level: tensor.detach() for level, tensor in levels.items()}
    for kind, levels in arch.items()
  }
  return train_step(
    model, weight_optimizer, batch, fixed, gradient_clip=gradient_clip
  )


def arch_tensors(arch: Mapping) -> list[torch.Tensor]:
  """The tensors of an architecture."""
  return [tensor for levels in arch.values() for tensor in levels.values()]
