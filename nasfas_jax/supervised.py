"""A network's loss on a batch, shared by training and search."""

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
  """Makes the loss function of a network or a supernet in training mode.

  Args:
    model: maps an input to `models.outputs.Outputs`.
    form: of the input.
    objective: see `losses.make_objective`.

  Returns:
    loss_fn(params, batch_stats, batch, *model_args, rngs=None) -> (loss, (new
    batch_stats, terms)). The loss and each term are float32 scalars. `batch` is
    one of `augment.prepare_batch`, `model_args` holds a supernet's architecture
    parameters, and `rngs` are passed to `model.apply`.
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
    # A network without batch normalization has none.
    return loss, (updates.get('batch_stats', {}), terms)

  return loss_fn
