"""Gradients of both frameworks on the same clips, in float32 and in float64.

A gradient is not continuous: a ReLU or a pooled maximum whose input is zero to
within rounding may go either way, which moves the gradients below it: at
256x256 by up to 0.03 of their largest values. Two correct float32 computations
can differ by that much; in float64 they cannot, but for clips made for it. So
float64 tells whether the formulas agree, and how far float32 is from it in each
framework tells what rounding does. (Map and loss are float32 here, whatever the
computation, so that float64 agrees to about 1e-6, not to its own precision.)
"""

import copy
from collections.abc import Callable, Mapping

import flax.linen as nn
import jax
import numpy as np
import torch

from nasfas_jax import losses
from nasfas_jax.baseline import steps
from nasfas_jax.comparison import inputs, parity, twins


def compare_gradients(
  model: nn.Module,
  run: Callable,
  variables: dict,
  twin: torch.nn.Module,
  pair: parity.Pair,
  *arch,
  loss_weights: Mapping[str, float],
  float64: bool,
) -> dict:
  """Differences of the loss and of every gradient, of weights and architecture.

  Args:
    model: network or supernet, float32.
    run: its `loss_and_gradients`.
    variables: its variables; the twin has the same.
    twin: of the model; is left as it was.
    pair: the clips' images and maps.
    *arch: the supernet's architecture.
    loss_weights: of the loss's terms; `run` has the same.
    float64: compare in float64 too.

  Returns:
    'loss' (`parity.difference`), 'gradients' (`parity.relative`, PyTorch's
    against ours, float32); with `float64` also 'gradients_float64', the same
    there, with 'jax_rounding' and 'torch_rounding': the largest relative
    difference of each framework's float32 gradients from our float64 ones.
  """
  loss, ours = _gradients(run, variables, pair, arch, np.float32)
  twin_loss, theirs = _twin_gradients(
    twin, pair, arch, loss_weights, np.float32
  )
  found = {
    'loss': parity.difference(twin_loss, loss),
    'gradients': parity.relative(theirs, ours),
  }
  if float64:
    exact, their_exact = exact_gradients(
      *(model, variables, twin, pair, *arch), loss_weights=loss_weights
    )
    found['gradients_float64'] = {
      **parity.relative(their_exact, exact),
      'jax_rounding': parity.relative(ours, exact)['max'],
      'torch_rounding': parity.relative(theirs, exact)['max'],
    }
  return found


def exact_gradients(
  model: nn.Module,
  variables: dict,
  twin: torch.nn.Module,
  pair: parity.Pair,
  *arch,
  loss_weights: Mapping[str, float],
) -> tuple[dict, dict]:
  """The float64 gradients of both, ours first; see `compare_gradients`."""
  run = loss_and_gradients(model.clone(dtype=np.float64), loss_weights)
  _, ours = _gradients(run, variables, pair, arch, np.float64)
  _, theirs = _twin_gradients(twin, pair, arch, loss_weights, np.float64)
  return ours, theirs


def loss_and_gradients(model: nn.Module, loss_weights: Mapping[str, float]):
  """A jitted function of (variables, images, maps, *arch).

  It returns (loss, batch statistics), gradients of params and arch.
  """
  objective = losses.make_objective(loss_weights)

  def loss_fn(params, arch, batch_stats, images, maps):
    outputs, updates = model.apply(
      {'params': params, 'batch_stats': batch_stats},
      images,
      *arch,
      train=True,
      mutable=['batch_stats'],
    )
    return objective(outputs, maps)[0], updates['batch_stats']

  gradient = jax.value_and_grad(loss_fn, argnums=(0, 1), has_aux=True)

  @jax.jit
  def run(variables, images, maps, *arch):
    return gradient(
      variables['params'], arch, variables['batch_stats'], images, maps
    )

  return run


def _gradients(run, variables, pair, arch, dtype) -> tuple:
  """Our loss and {'params', 'arch'}, as NumPy arrays of a dtype."""
  images, maps = pair
  variables, images, arch = jax.tree.map(
    lambda x: np.asarray(x).astype(dtype), (variables, images, arch)
  )
  with jax.enable_x64(dtype == np.float64):
    (loss, _), (params, arch) = run(variables, images, maps, *arch)
    return jax.tree.map(np.asarray, (loss, {'params': params, 'arch': arch}))


def _twin_gradients(twin, pair, arch, loss_weights, dtype) -> tuple:
  """PyTorch's loss and gradients, in Flax's trees."""
  kind = torch.from_numpy(np.zeros((), dtype)).dtype
  twin = copy.deepcopy(twin).to(kind).train()
  twin.zero_grad()
  images, maps = inputs.to_torch(pair)
  logits = [
    twins.torch_arch(jax.tree.map(lambda x: np.asarray(x).astype(dtype), a))
    for a in arch
  ]
  prediction = twin(images.to(kind), *logits)
  loss = steps.make_loss(loss_weights)(prediction, maps)
  loss.backward()
  return loss.detach().numpy(), {
    'params': twins.gradients_of(twin),
    'arch': tuple(twins.arch_gradients(a) for a in logits),
  }
