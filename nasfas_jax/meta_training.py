"""Meta-training of a network's weights over held-out domains (MLDG).

Li et al., Learning to Generalize: Meta-Learning for Domain Generalization, AAAI
2018 (arXiv 1710.03463), Algorithm 1. Each step draws one domain of its batch as
the meta-test domain; the others are the meta-train domains. The weights w
descend on

  F(w) + G(w - a grad F(w)),

with F the loss of the meta-train domains and G that of the meta-test domain: a
step that serves the seen domains is to serve one that it did not see. Beta, the
weight of G, is 1, as in the paper. First order takes grad F as a constant.

The search over tasks has the same form, so the gradients are those of
`searchers.meta` with one task, whose support set are the meta-train clips.
"""

import jax
from jax.sharding import Mesh

from nasfas_jax import domain_sets, mix_style, supervised
from nasfas_jax.searchers import meta

# Separates this draw from those of the stages, which fold into the same key.
_HELD_OUT = len(mix_style.STAGES)


def gradients(
  loss_fn: supervised.NetworkLoss,
  params: meta.PyTree,
  batch_stats: meta.PyTree,
  batch: dict[str, jax.Array],
  place: supervised.Place,
  generalising: supervised.Generalising,
  mesh: Mesh | None = None,
) -> tuple[tuple[jax.Array, tuple[dict, dict]], meta.PyTree]:
  """The loss of a step and its gradient with respect to the weights.

  Args:
    loss_fn: see `supervised.network_loss`.
    params: weights.
    batch_stats: running statistics.
    batch: sorted by domain, see `domain_sets.sort`.
    place: its key draws the meta-test domain.
    generalising: `meta`, `inner_lr` and `clips_per_domain` are read.
    mesh: of the devices, see `sharding.divide_clips`.

  Returns:
    ((F, (the running statistics after the meta-train clips, the terms of F and
    'meta_test', which is G)), gradient).
  """
  per_domain = generalising.clips_per_domain
  held = jax.random.randint(
    jax.random.fold_in(place.key, _HELD_OUT),
    (),
    0,
    batch['label'].shape[0] // per_domain,
  )
  sets = domain_sets.hold_out(batch, held, per_domain, mesh)
  tasks = {
    name: {field: leaf[None] for field, leaf in part.items()}
    for name, part in zip(('support', 'query'), sets, strict=True)
  }

  def of_batch(weights, no_arch, part):
    del no_arch
    return loss_fn(weights, batch_stats, part, place=place)

  means, (found, _, _) = meta.meta_gradients(
    of_batch,
    params,
    {},
    meta.constant_inner_lrs(params, generalising.inner_lr),
    tasks,
    first_order=generalising.meta == 'first',
    support_weight=1.0,
  )
  new_stats, terms = means.aux
  terms = {**terms, 'meta_test': means.query_loss}
  return (means.support_loss, (new_stats, terms)), found
