"""Both frameworks trained from the same weights on the same clips."""

from collections.abc import Callable, Sequence

import jax
import numpy as np
import optax
import torch

from nasfas_jax import optimizers
from nasfas_jax.baseline import steps
from nasfas_jax.comparison import parity, twins


def compare_learning(
  run: Callable,
  variables: dict,
  twin: torch.nn.Module,
  pairs: Sequence[parity.Pair],
  settings,
  *arch,
) -> dict:
  """Difference of the weights after a step of Adam, at one rate, on each pair.

  Args:
    run: `gradients.loss_and_gradients` of a network or supernet.
    variables: its variables; the twin has the same.
    twin: of the model; is trained by this.
    pairs: a batch for every step.
    settings: config.train, for rate, decay and clipping.
    *arch: the supernet's architecture.
  """
  optimizer = optimizers.adam_l2(
    settings.learning_rate,
    weight_decay=settings.weight_decay,
    gradient_clip=settings.gradient_clip,
    flat=True,
  )
  update = jax.jit(optimizer.update)
  twin_optimizer = make_twin_optimizer(twin, settings)
  logits = [twins.torch_arch(a) for a in arch]
  start = variables['params']
  state = optimizer.init(start)
  for images, target in pairs:
    (_, statistics), (grads, _) = run(variables, images, target, *arch)
    batch = twins.to_torch(images), torch.from_numpy(np.array(target))
    steps.train_step(
      twin,
      twin_optimizer,
      batch,
      *logits,
      gradient_clip=settings.gradient_clip,
    )
    updates, state = update(grads, state, variables['params'])
    variables = {
      'params': optax.apply_updates(variables['params'], updates),
      'batch_stats': statistics,
    }
  return {
    'steps': len(pairs),
    **_distance(twins.variables_of(twin)['params'], variables['params'], start),
  }


def make_twin_optimizer(
  twin: torch.nn.Module, settings
) -> torch.optim.Optimizer:
  """PyTorch's Adam with the settings of config.train."""
  return torch.optim.Adam(
    twin.parameters(),
    lr=settings.learning_rate,
    weight_decay=settings.weight_decay,
  )


def _distance(got, want, start) -> dict[str, float]:
  """Difference of two trees, also as a share of the way from the start."""

  def flat(tree):
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])

  got, want, start = flat(got), flat(want), flat(start)
  return {
    **parity.difference(got, want),
    'share_of_way': parity.relative_distance(got - want, want - start),
  }
