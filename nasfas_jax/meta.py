"""The meta-learner: gradients through one adaptation a task, under one vmap.

For each task i with a support and a query set,

  w_i = w - r * grad_w L(w, alpha; support_i)         (num_steps times)

and the meta loss is the mean over the tasks of L(w_i, alpha; query_i) (MAML,
arXiv 1703.03400). It is differentiated with respect to the weights w, the
architecture alpha and the inner rates r. First order takes the inner gradient
as a constant, second order differentiates through it.

This module knows pytrees and a loss, nothing of faces or networks:

  loss_fn(params, arch, batch) -> (scalar loss, auxiliary pytree)

Batch normalization: `loss_fn` closes over the running statistics and returns
the new ones as its auxiliary output. In training mode every batch, hence every
task, is normalised by its own statistics; nothing passes between tasks.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

PyTree = Any
LossFn = Callable[[PyTree, PyTree, PyTree], tuple[jax.Array, PyTree]]


class Adapted(NamedTuple):
  """What one task's adaptation gives.

  Attributes:
    params: the adapted weights, in the tree of the weights.
    loss: scalar, of the support set at the weights before any step.
    gradient: of that loss with respect to the weights, held constant.
    aux: of that loss.
  """

  params: PyTree
  loss: jax.Array
  gradient: PyTree
  aux: PyTree


class Meta(NamedTuple):
  """Means over the tasks.

  Attributes:
    query_loss: scalar, after the adaptation: the meta loss.
    support_loss: scalar, before it.
    aux: of the support loss, each leaf averaged over the tasks.
  """

  query_loss: jax.Array
  support_loss: jax.Array
  aux: PyTree


def constant_rates(params: PyTree, rate: float) -> PyTree:
  """One inner rate a tensor, all the same: the tree of `params`, scalars."""
  return jax.tree.map(lambda _: jnp.float32(rate), params)


def descend(adapted: PyTree, rates: PyTree, gradients: PyTree) -> PyTree:
  """One inner step: params - rate * gradient, a scalar rate a tensor.

  Shapes and dtypes are those of `adapted`, with or without an axis of tasks.
  """
  return jax.tree.map(
    lambda p, r, g: p - r.astype(p.dtype) * g, adapted, rates, gradients
  )


def inner_update(
  loss_fn: LossFn,
  params: PyTree,
  arch: PyTree,
  support: PyTree,
  rates: PyTree,
  *,
  num_steps: int = 1,
  first_order: bool = True,
) -> Adapted:
  """Adapts the weights to one task by plain gradient descent.

  Args:
    loss_fn: see the module's docstring.
    params: weights.
    arch: architecture parameters, which stay.
    support: one task's support batch, the same at every step.
    rates: scalar rates in the tree of `params`.
    num_steps: steps of descent, at least 1.
    first_order: whether the gradients are constants to the outer derivative.

  Returns:
    The adapted weights, and loss and gradient of the first step.

  Raises:
    ValueError: for num_steps below 1.
  """
  if num_steps < 1:
    raise ValueError(f'num_steps is {num_steps}; allowed: 1 or more.')
  gradient_fn = jax.value_and_grad(loss_fn, has_aux=True)
  adapted = params
  first = None
  # Unrolled: the steps are few, and a loop would keep XLA from sharing the
  # first one's forward pass.
  for _ in range(num_steps):
    at = (adapted, arch)
    if first_order:
      # Cut before the gradient, not after it: the outer derivative then never
      # enters the inner one.
      at = jax.lax.stop_gradient(at)
    (loss, aux), gradient = gradient_fn(*at, support)
    if first is None:
      first = loss, aux, jax.lax.stop_gradient(gradient)
    adapted = descend(adapted, rates, gradient)
  loss, aux, gradient = first
  return Adapted(adapted, loss, gradient, aux)


def meta_loss(
  loss_fn: LossFn,
  params: PyTree,
  arch: PyTree,
  rates: PyTree,
  tasks: dict[str, PyTree],
  *,
  num_steps: int = 1,
  first_order: bool = True,
  support_weight: float = 0.0,
) -> tuple[jax.Array, Meta]:
  """The mean query loss of the adapted weights, all tasks under one vmap.

  Args:
    loss_fn: see the module's docstring.
    params: weights.
    arch: architecture parameters.
    rates: inner rates, see `inner_update`.
    tasks: 'support' and 'query', batches with a leading axis of tasks.
    num_steps: see `inner_update`.
    first_order: see `inner_update`.
    support_weight: the share of the support loss, before adaptation, that is
      added for the weights' sake. Its gradient with respect to the weights is
      the one that the inner step has already; the architecture and the rates
      get none of it.

  Returns:
    (objective to differentiate, means over the tasks).
  """

  def task_loss(task):
    adapted = inner_update(
      loss_fn,
      params,
      arch,
      task['support'],
      rates,
      num_steps=num_steps,
      first_order=first_order,
    )
    loss, _ = loss_fn(adapted.params, arch, task['query'])
    # A linear function of the weights with the support loss's gradient and,
    # at the weights, the value 0.
    products = jax.tree.map(
      lambda g, p: jnp.vdot(g, p - jax.lax.stop_gradient(p)),
      adapted.gradient,
      params,
    )
    linear = sum(jax.tree.leaves(products))
    return loss, linear, jax.lax.stop_gradient(adapted.loss), adapted.aux

  query, linear, support, aux = jax.vmap(task_loss)(tasks)
  means = Meta(
    query_loss=jnp.mean(query),
    support_loss=jnp.mean(support),
    aux=jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), aux),
  )
  objective = means.query_loss
  if support_weight:
    support_term = means.support_loss + jnp.mean(linear)
    objective = objective + support_weight * support_term
  return objective, means


class SetGradients(NamedTuple):
  """What one set of every task gives; every leaf has a leading axis of tasks.

  Attributes:
    loss: [T].
    aux: of the loss.
    params: gradient with respect to each task's weights.
    arch: gradient with respect to the architecture.
  """

  loss: jax.Array
  aux: PyTree
  params: PyTree
  arch: PyTree


def set_gradients(
  loss_fn: LossFn, adapted: PyTree, arch: PyTree, batches: PyTree
) -> SetGradients:
  """Loss and gradients of one set of every task, under one vmap.

  Args:
    loss_fn: see the module's docstring.
    adapted: each task's weights, with a leading axis of tasks.
    arch: architecture parameters, shared.
    batches: with a leading axis of tasks.
  """
  gradient_fn = jax.value_and_grad(loss_fn, argnums=(0, 1), has_aux=True)
  (loss, aux), gradients = jax.vmap(gradient_fn, (0, None, 0))(
    adapted, arch, batches
  )
  return SetGradients(loss, aux, *gradients)


def per_task(params: PyTree, num_tasks: int) -> PyTree:
  """The same weights for every task: a leading axis of tasks."""
  return jax.tree.map(
    lambda p: jnp.broadcast_to(p, (num_tasks, *p.shape)), params
  )


def first_order_gradients(
  inner: Sequence[SetGradients], query: SetGradients, support_weight: float
) -> tuple[Meta, tuple[PyTree, PyTree, PyTree]]:
  """The first-order gradients of `meta_loss` from those of the sets.

  With the inner gradients held constant the adapted weights are the weights
  minus a constant, so that the weights' gradient is the query set's own, and
  d w_i / d r is minus the sum of the inner gradients.

  Args:
    inner: of the support set at each inner step.
    query: of the query set at the adapted weights.
    support_weight: see `meta_loss`.

  Returns:
    (means over the tasks, gradients with respect to params, arch and rates).
  """

  def mean(tree):
    return jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), tree)

  first = inner[0]
  weights = jax.tree.map(
    lambda q, s: q + support_weight * s, query.params, first.params
  )
  rates = jax.tree.map(
    lambda q, *steps: -jnp.vdot(q, sum(steps)) / q.shape[0],
    query.params,
    *(step.params for step in inner),
  )
  means = Meta(mean(query.loss), mean(first.loss), mean(first.aux))
  return means, (mean(weights), mean(query.arch), rates)


def meta_gradients(
  loss_fn: LossFn,
  params: PyTree,
  arch: PyTree,
  rates: PyTree,
  tasks: dict[str, PyTree],
  *,
  num_steps: int = 1,
  first_order: bool = True,
  support_weight: float = 0.0,
) -> tuple[Meta, tuple[PyTree, PyTree, PyTree]]:
  """The gradients of `meta_loss`, see there for the arguments.

  In first order they are put together from one gradient a set, which a caller
  can compile once for all sets (as `meta_search` does).

  Returns:
    (means over the tasks, gradients with respect to params, arch and rates).
  """
  if not first_order:
    (_, means), gradients = jax.value_and_grad(
      lambda *args: meta_loss(
        loss_fn,
        *args,
        tasks,
        num_steps=num_steps,
        first_order=False,
        support_weight=support_weight,
      ),
      argnums=(0, 1, 2),
      has_aux=True,
    )(params, arch, rates)
    return means, gradients
  num_tasks = jax.tree.leaves(tasks)[0].shape[0]
  adapted = per_task(params, num_tasks)
  inner = []
  for _ in range(num_steps):
    inner.append(set_gradients(loss_fn, adapted, arch, tasks['support']))
    adapted = descend(adapted, rates, inner[-1].params)
  query = set_gradients(loss_fn, adapted, arch, tasks['query'])
  return first_order_gradients(inner, query, support_weight)
