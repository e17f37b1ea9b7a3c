"""Loss and steps of training and searching in PyTorch."""

from collections.abc import Callable, Mapping

import torch
from torch import nn
from torch.nn import functional

from nasfas_jax.baseline.supernet import Arch

# 'depth' and 'face_mask' [N, S, S], 'label' [N], 1 live and 0 spoof.
Maps = Mapping[str, torch.Tensor]
# A batch: the network's input [N, C, H, W], and what its map is compared with.
Batch = tuple[torch.Tensor, Maps]
# (predicted map [N, S, S], maps) -> the loss.
Loss = Callable[[torch.Tensor, Maps], torch.Tensor]

# Each term's map, and whether it compares contrasts.
_TERMS = {
  'depth': ('depth', False),
  'contrastive_depth': ('depth', True),
  'binary_mask': ('face_mask', False),
  'contrastive_mask': ('face_mask', True),
}


def make_loss(weights: Mapping[str, float]) -> Loss:
  """The weighted sum of named terms, as `losses.make_objective` has it.

  A term is the mean squared error towards a map of live clips, and towards
  zeros for spoofs; or the same of contrasts, the contrastive depth loss (arXiv
  2003.08061).

  Args:
    weights: of the terms; 0 leaves a term out.

  Returns:
    A function of a map [N, S, S], S at least 3, and the batch's maps; the mean
    over the batch.

  Raises:
    ValueError: for a term that has no twin here.
  """
  used = {name: weight for name, weight in weights.items() if weight}
  if missing := [name for name in used if name not in _TERMS]:
    raise ValueError(
      f'The loss term {missing[0]!r} has no twin in PyTorch; allowed: '
      f'{", ".join(_TERMS)}.'
    )

  def loss(prediction, maps):
    total = 0.0
    for name, weight in used.items():
      target, contrasts = _TERMS[name]
      is_live = maps['label'][:, None, None].to(prediction)
      error = prediction - is_live * maps[target].to(prediction)
      if contrasts:
        error = contrast(error)
      total = total + weight * error.square().mean()
    return total

  return loss


def contrast(maps: torch.Tensor) -> torch.Tensor:
  """Each pixel's differences from its 8 neighbours: [N, 8, S - 2, S - 2]."""
  # Each kernel is 1 at one neighbour and -1 at the centre.
  # Made where the maps are: a copy to a GPU would wait for it at every step.
  kernels = torch.eye(9, dtype=maps.dtype, device=maps.device)
  kernels = kernels.reshape(9, 1, 3, 3)
  kernels = torch.cat([kernels[:4], kernels[5:]]) - kernels[4]
  return functional.conv2d(maps[:, None], kernels)


def train_step(
  model: nn.Module,
  optimizer: torch.optim.Optimizer,
  batch: Batch,
  *model_args,
  loss_fn: Loss,
  gradient_clip: float = 0.0,
) -> torch.Tensor:
  """One step on the weights; returns the loss before it.

  Args:
    model: network or supernet.
    optimizer: of its parameters.
    batch: input and maps.
    *model_args: further arguments of the model.
    loss_fn: see `make_loss`.
    gradient_clip: largest global norm of the gradient; 0 clips nothing.
  """
  images, maps = batch
  optimizer.zero_grad()
  loss = loss_fn(model(images, *model_args), maps)
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
  loss_fn: Loss,
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
    loss_fn, gradient_clip: see `train_step`.

  Returns:
    The loss of the weights' batch.
  """
  logits = arch_tensors(arch)
  loss = loss_fn(model(held_out[0], arch), held_out[1])
  gradients = torch.autograd.grad(loss, logits, allow_unused=True)
  for tensor, gradient in zip(logits, gradients, strict=True):
    tensor.grad = gradient
  arch_optimizer.step()
  fixed = {
    kind: {level: tensor.detach() for level, tensor in levels.items()}
    for kind, levels in arch.items()
  }
  return train_step(
    model,
    weight_optimizer,
    batch,
    fixed,
    loss_fn=loss_fn,
    gradient_clip=gradient_clip,
  )


def arch_tensors(arch: Mapping) -> list[torch.Tensor]:
  """The tensors of an architecture."""
  return [tensor for levels in arch.values() for tensor in levels.values()]
