"""Both frameworks trained from the same weights on the same clips."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

import jax
import numpy as np
import optax
import torch

from nasfas_jax import optimizers
from nasfas_jax.baseline import steps
from nasfas_jax.comparison import inputs, parity, twins


def compare_learning(
  run: Callable,
  variables: dict,
  twin: torch.nn.Module,
  pairs: Sequence[parity.Pair],
  descent: optimizers.Descent,
  *arch,
  loss_weights: Mapping[str, float],
) -> dict:
  """Difference of the weights after a step of Adam, at one rate, on each pair.

  Args:
    run: `gradients.loss_and_gradients` of a network or supernet.
    variables: its variables; the twin has the same.
    twin: of the model; is trained by this.
    pairs: a batch for every step.
    descent: for rate, decay and clipping.
    *arch: the supernet's architecture.
    loss_weights: of the loss's terms; `run` has the same.
  """
  optimizer = dataclasses.replace(
    descent, schedule='constant', warmup_steps=0, flat=True
  ).optimizer()
  update = jax.jit(optimizer.update)
  twin_optimizer = make_twin_optimizer(twin.parameters(), descent)
  logits = [twins.torch_arch(a) for a in arch]
  start = variables['params']
  state = optimizer.init(start)
  loss_fn = steps.make_loss(loss_weights)
  for pair in pairs:
    (_, statistics), (grads, _) = run(variables, *pair, *arch)
    steps.train_step(
      twin,
      twin_optimizer,
      inputs.to_torch(pair),
      *logits,
      loss_fn=loss_fn,
      gradient_clip=descent.gradient_clip,
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
  parameters: Iterable[torch.Tensor], descent: optimizers.Descent
) -> torch.optim.Optimizer:
  """PyTorch's Adam at the rate, decay and moments of a descent."""
  return torch.optim.Adam(
    parameters,
    lr=descent.learning_rate,
    betas=(descent.b1, 0.999),
    weight_decay=descent.weight_decay,
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
