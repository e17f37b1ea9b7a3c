"""The loss of a network on a batch, which training and searching share."""

from collections.abc import Callable

import flax.linen as nn
import jax

from nasfas_jax import inputs, losses

# (params, batch_stats, batch, *model_args, rngs=None) ->
# (loss, (new batch_stats, the terms of the loss)).
NetworkLoss = Callable[..., tuple[jax.Array, tuple[dict, dict]]]


def network_loss(
  model: nn.Module, form: inputs.InputForm, objective: losses.Objective
) -> NetworkLoss:
  """The loss of a network or a supernet in training mode, as a function.

  Args:
    model: maps an input to `models.outputs.Outputs`.
    form: of the input.
    objective: see `losses.make_objective`.

  Returns:
    loss_fn(params, batch_stats, batch, *model_args, rngs) -> (float32 scalar,
    (new batch statistics, terms)). The batch is one of `data.pipeline`; further
    arguments of the model are a supernet's architecture; rngs are the model's.
  """

  def loss_fn(params, batch_stats, batch, *model_args, rngs=None):
    images = inputs.network_input(batch['frames'], form)
    outputs, updates = model.apply(
      {'params': params, 'batch_stats': batch_stats},
      images,
      *model_args,
      train=True,
      mutable=['batch_stats'],
      rngs=rngs,
    )
    loss, terms = objective(outputs, batch)
    return loss, (updates['batch_stats'], terms)

  return loss_fn
