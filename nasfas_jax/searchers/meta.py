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
    path: the weights after each step, each in the tree of the weights.
    loss: scalar, of the support set at the weights before any step.
    gradient: of that loss with respect to the weights, held constant.
    aux: of that loss.
  """

  path: tuple[PyTree, ...]
  loss: jax.Array
  gradient: PyTree
  aux: PyTree


class Meta(NamedTuple):
  """Means over the tasks.

  Attributes:
    query_loss: scalar, after the adaptation.
    support_loss: scalar, before it.
    aux: of the support loss, each leaf averaged over the tasks.
  """

  query_loss: jax.Array
  support_loss: jax.Array
  aux: PyTree


def constant_rates(params: PyTree, rate: float) -> PyTree:
  """One inner rate a tensor, all the same: the tree of `params`, scalars."""
  return jax.tree.map(lambda _: jnp.float32(rate), params)


def loss_weights(
  step: jax.Array | int, num_steps: int, anneal_steps: int
) -> jax.Array:
  """What the query loss after each inner step counts for: float32 [num_steps].

  All alike at the start, the last one alone from `anneal_steps` on, in a line
  between (multi-step loss of MAML++, arXiv 1810.09502, section 3).

  Args:
    step: of the search, from 0.
    num_steps: inner steps, at least 1.
    anneal_steps: at least 1.
  """
  earlier = jnp.maximum(1.0 - step / anneal_steps, 0.0) / num_steps
  last = 1.0 - (num_steps - 1) * earlier
  return jnp.float32(jnp.array([*[earlier] * (num_steps - 1), last]))


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
  path = [params]
  first = None
  # Unrolled: the steps are few, and a loop would keep XLA from sharing the
  # first one's forward pass.
  for _ in range(num_steps):
    at = (path[-1], arch)
    if first_order:
      # Cut before the gradient, not after it: the outer derivative then never
      # enters the inner one.
      at = jax.lax.stop_gradient(at)
    (loss, aux), gradient = gradient_fn(*at, support)
    if first is None:
      first = loss, aux, jax.lax.stop_gradient(gradient)
    path.append(descend(path[-1], rates, gradient))
  loss, aux, gradient = first
  return Adapted(tuple(path[1:]), loss, gradient, aux)


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
  step_weights: jax.Array | None = None,
) -> tuple[jax.Array, Meta]:
  """The mean query loss of the adapted weights, all tasks under one vmap.

  Args:
    loss_fn: see the module's docstring.
    params: weights.
    arch: architecture parameters.
    rates: inner rates, see `inner_update`.
    tasks: 'support' and 'query', batches with a leading axis of tasks.
    num_steps, first_order: see `inner_update`.
    support_weight: the share of the support loss, before adaptation, that is
      added for the weights' sake. Its gradient with respect to the weights is
      the one that the inner step has already; the architecture and the rates
      get none of it.
    step_weights: [num_steps], what the query loss after each inner step counts
      for, see `loss_weights`; None: the last one alone.

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
    path = adapted.path[-1:] if step_weights is None else adapted.path
    losses = [loss_fn(point, arch, task['query'])[0] for point in path]
    # A linear function of the weights with the support loss's gradient and,
    # at the weights, the value 0.
    products = jax.tree.map(
      lambda g, p: jnp.vdot(g, p - jax.lax.stop_gradient(p)),
      adapted.gradient,
      params,
    )
    linear = sum(jax.tree.leaves(products))
    support = jax.lax.stop_gradient(adapted.loss)
    return jnp.stack(losses), linear, support, adapted.aux

  query, linear, support, aux = jax.vmap(task_loss)(tasks)
  query = jnp.mean(query, axis=0)
  means = Meta(
    query_loss=query[-1],
    support_loss=jnp.mean(support),
    aux=jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), aux),
  )
  objective = query[-1] if step_weights is None else step_weights @ query
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
  if jax.tree.leaves(batches)[0].shape[0] == 1:
    # Without an axis that says nothing there is a quarter less to trace.
    first, batch = jax.tree.map(lambda a: a[0], (adapted, batches))
    found = jax.tree.map(lambda a: a[None], gradient_fn(first, arch, batch))
  else:
    found = jax.vmap(gradient_fn, (0, None, 0))(adapted, arch, batches)
  (loss, aux), gradients = found
  return SetGradients(loss, aux, *gradients)


def per_task(params: PyTree, num_tasks: int) -> PyTree:
  """The same weights for every task: a leading axis of tasks."""
  return jax.tree.map(
    lambda p: jnp.broadcast_to(p, (num_tasks, *p.shape)), params
  )


def first_order_gradients(
  inner: Sequence[SetGradients],
  query: Sequence[SetGradients],
  support_weight: float,
  step_weights: jax.Array | None = None,
) -> tuple[Meta, tuple[PyTree, PyTree, PyTree]]:
  """The first-order gradients of `meta_loss` from those of the sets.

  With the inner gradients held constant the adapted weights are the weights
  minus a constant, so that the weights' gradient is the query set's own, and
  d w_i / d r is minus the sum of the inner gradients.

  Args:
    inner: of the support set at each inner step.
    query: of the query set after each inner step; or, without step_weights,
      after the last one alone.
    support_weight, step_weights: see `meta_loss`.

  Returns:
    (means over the tasks, gradients with respect to params, arch and rates).
  """

  def mean(tree):
    return jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), tree)

  if step_weights is None:
    step_weights = [1.0]

  def weighted(*leaves):
    return sum(w * leaf for w, leaf in zip(step_weights, leaves, strict=True))

  first = inner[0]
  # For each query gradient, what moved the weights until then.
  moves = [
    jax.tree.map(lambda *g: sum(g), *(step.params for step in inner[:number]))
    for number in range(len(inner) - len(query) + 1, len(inner) + 1)
  ]
  rates = [
    jax.tree.map(lambda q, m: -jnp.vdot(q, m) / len(q), step.params, move)
    for step, move in zip(query, moves, strict=True)
  ]
  weights = jax.tree.map(
    lambda q, s: q + support_weight * s,
    jax.tree.map(weighted, *(step.params for step in query)),
    first.params,
  )
  arch = jax.tree.map(weighted, *(step.arch for step in query))
  means = Meta(mean(query[-1].loss), mean(first.loss), mean(first.aux))
  return means, (mean(weights), mean(arch), jax.tree.map(weighted, *rates))


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
  step_weights: jax.Array | None = None,
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
        step_weights=step_weights,
      ),
      argnums=(0, 1, 2),
      has_aux=True,
    )(params, arch, rates)
    return means, gradients
  num_tasks = jax.tree.leaves(tasks)[0].shape[0]
  adapted = per_task(params, num_tasks)
  inner, query = [], []
  for number in range(num_steps):
    inner.append(set_gradients(loss_fn, adapted, arch, tasks['support']))
    adapted = descend(adapted, rates, inner[-1].params)
    if step_weights is not None or number == num_steps - 1:
      query.append(set_gradients(loss_fn, adapted, arch, tasks['query']))
  return first_order_gradients(inner, query, support_weight, step_weights)
