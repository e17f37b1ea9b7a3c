"""A network's loss on a batch, shared by training and search."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from nasfas_jax import adversarial, inputs, losses, sharding
from nasfas_jax import mix_style as mix_style_lib

# (params, batch_stats, batch, *model_args, rngs=None) ->
# (loss, (new batch_stats, the terms of the loss)).
NetworkLoss = Callable[..., tuple[jax.Array, tuple[dict, dict]]]


# Meta-training over held-out domains: not at all, or with first-order or
# second-order gradients.
META = ('off', 'first', 'second')


@dataclasses.dataclass(frozen=True)
class Generalising:
  """What a training does for domains that it does not see; by default nothing.

  Attributes:
    mix_style: see `MixStyle`.
    adversary: the single-side adversarial term; None: it is not computed.
    domain_statistics: normalise each domain's clips by their own batch
      statistics (as in domain-specific batch normalization, Chang et al., CVPR
      2019). The new running statistics are the mean over the domains.
    meta: of `META`; what else than 'off', see `meta_training`.
    inner_lr: learning rate of the step to the meta-test domain.
    clips_per_domain: of every batch, if `domain_statistics` or `meta` divide it
      by domain; it is then sorted by `domain_sets.sort`. 0: it is not divided.
  """

  mix_style: mix_style_lib.MixStyle = mix_style_lib.OFF
  adversary: adversarial.Adversary | None = None
  domain_statistics: bool = False
  meta: str = 'off'
  inner_lr: float = 0.0
  clips_per_domain: int = 0

  @property
  def draws(self) -> bool:
    """Whether a loss needs its `Place`."""
    return bool(
      self.mix_style.probability or self.adversary or self.meta != 'off'
    )


# As without this module's additions.
PLAIN = Generalising()


class Place(NamedTuple):
  """Where a training is, for what depends on it.

  Attributes:
    key: of the step's draws.
    step: int32 scalar, steps done.
    term_params: parameters of the terms, see `states.TrainState`.
  """

  key: jax.Array
  step: jax.Array
  term_params: Any


def network_loss(
  model: nn.Module,
  form: inputs.InputForm,
  objective: losses.Objective,
  generalising: Generalising = PLAIN,
  mesh: Mesh | None = None,
) -> NetworkLoss:
  """Makes the loss function of a network or a supernet in training mode.

  Args:
    model: maps an input to `models.outputs.Outputs`.
    form: of the input.
    objective: see `losses.make_objective`.
    generalising: see `Generalising`; for networks, not for supernets.
    mesh: of the devices, for the statistics of domains; see `by_domain`.

  Returns:
    loss_fn(params, batch_stats, batch, *model_args, rngs=None, place=None) ->
    (loss, (new batch_stats, terms)). The loss and each term are float32
    scalars. `batch` is one of `augment.prepare_batch`, `model_args` holds a
    supernet's architecture parameters, `rngs` are passed to `model.apply`, and
    `place` is the `Place` that `generalising` needs.
  """
  adversary = generalising.adversary

  def loss_fn(params, batch_stats, batch, *model_args, rngs=None, place=None):
    images = inputs.network_input(batch['frames'], form)
    hooks = {}
    if generalising.mix_style.probability:
      hooks['between'] = mix_style_lib.between(
        generalising.mix_style, place.key, batch['domain']
      )

    def apply(images):
      return model.apply(
        {'params': params, 'batch_stats': batch_stats},
        images,
        *model_args,
        train=True,
        mutable=['batch_stats'],
        rngs=rngs,
        **hooks,
      )

    if generalising.domain_statistics:
      apply = by_domain(apply, generalising.clips_per_domain, mesh)
    outputs, updates = apply(images)
    loss, terms = objective(outputs, batch)
    if adversary:
      terms['adversarial'] = adversarial.term(
        place.term_params,
        losses.embed(outputs),
        batch['label'],
        batch['domain'],
        adversarial.strength(place.step / adversary.num_steps),
      )
      loss = loss + adversary.weight * terms['adversarial']
    # A network without batch normalization has none.
    return loss, (updates.get('batch_stats', {}), terms)

  return loss_fn


def by_domain(
  apply: Callable[[jax.Array], tuple[Any, Any]],
  clips_per_domain: int,
  mesh: Mesh | None = None,
) -> Callable[[jax.Array], tuple[Any, Any]]:
  """Applies a network to each domain's clips by themselves.

  Where devices divide the clips of a domain, in a loop over the domains; see
  `sharding.vmap_or_loop`.

  Args:
    apply: [n, ...] -> (outputs of each clip, new variables).
    clips_per_domain: n.
    mesh: of the devices, which divide the clips of each domain if they can; see
      `sharding.divide_clips`.

  Returns:
    [D * n, ...], sorted by domain -> (outputs of each clip, the mean over the
    domains of the new variables).
  """

  if mesh is not None and clips_per_domain % mesh.shape['data']:
    # The devices then divide the batch as it is sorted, by vmap; in part only.
    mesh = None

  def of_all(x):
    parts = x.reshape(-1, clips_per_domain, *x.shape[1:])
    parts = sharding.divide_clips(parts, mesh, axis=1)
    outputs, updates = sharding.vmap_or_loop(apply, mesh)(parts)
    return (
      jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), outputs),
      jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), updates),
    )

  return of_all
