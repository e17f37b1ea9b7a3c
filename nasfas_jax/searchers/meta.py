"""Meta-learning (MAML, arXiv 1703.03400): meta loss and meta-gradients.

For each task i with a support and a query set,

  w_i = w - r * grad_w L(w, alpha; support_i)         (num_steps times)

and the meta loss is the mean over the tasks of L(w_i, alpha; query_i). It is
differentiated with respect to the weights w, the architecture alpha and the
inner learning rates r. First order treats the inner gradient as a constant;
second order differentiates through it. The tasks of a call run under one vmap.

This module knows pytrees and a loss, nothing about faces or networks:

  loss_fn(params, arch, batch) -> (scalar loss, auxiliary pytree)

Batch normalization: `loss_fn` closes over the running statistics and returns
the new ones as its auxiliary output. In training mode each batch, and so each
task, is normalised by its own batch statistics; tasks share no information.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

PyTree = Any
LossFn = Callable[[PyTree, PyTree, PyTree], tuple[jax.Array, PyTree]]


class Adapted(NamedTuple):
  """The result of one task's adaptation.

  Attributes:
    path: the weights after each inner step.
    loss: scalar, the support loss before the first step.
    gradient: of that loss with respect to the weights, held constant.
    aux: the auxiliary output of that loss.
  """

  path: tuple[PyTree, ...]
  loss: jax.Array
  gradient: PyTree
  aux: PyTree


class Meta(NamedTuple):
  """Means over the tasks.

  Attributes:
    query_loss: scalar, after adaptation.
    support_loss: scalar, before adaptation.
    aux: the auxiliary output of the support loss, averaged over the tasks.
  """

  query_loss: jax.Array
  support_loss: jax.Array
  aux: PyTree


def constant_inner_lrs(params: PyTree, rate: float) -> PyTree:
  """The same inner learning rate for every tensor.

  Returns:
    float32 scalars in the tree of `params`.
  """
  return jax.tree.map(lambda _: jnp.float32(rate), params)


def loss_weights(
  step: jax.Array | int, num_steps: int, anneal_steps: int
) -> jax.Array:
  """The weight of the query loss after each inner step.

  They are equal at step 0 and change linearly until, from `anneal_steps` on,
  only the last query loss counts (the multi-step loss of MAML++, arXiv
  1810.09502, section 3).

  Args:
    step: of the search, from 0.
    num_steps: inner steps, at least 1.
    anneal_steps: at least 1.

  Returns:
    float32 [num_steps] of sum 1.
  """
  earlier = jnp.maximum(1.0 - step / anneal_steps, 0.0) / num_steps
  last = 1.0 - (num_steps - 1) * earlier
  return jnp.float32(jnp.array([*[earlier] * (num_steps - 1), last]))


def descend(adapted: PyTree, rates: PyTree, gradients: PyTree) -> PyTree:
  """One inner step: weights - rate * gradient, with one rate per tensor.

  Args:
    adapted: weights, with or without a leading axis of tasks.
    rates: inner learning rates, scalars in the tree of the weights.
    gradients: in the shapes of `adapted`.

  Returns:
    The tree of `adapted`, in its shapes and dtypes.
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
    arch: architecture parameters, which are not adapted.
    support: one task's support batch, the same at every step.
    rates: inner learning rates, scalars in the tree of `params`.
    num_steps: inner steps, at least 1.
    first_order: treat the inner gradients as constants.

  Returns:
    The adapted weights, and the loss and gradient of the first step.

  Raises:
    ValueError: for num_steps below 1.
  """
  if num_steps < 1:
    raise ValueError(f'num_steps is {num_steps}; allowed: 1 or more.')
  gradient_fn = jax.value_and_grad(loss_fn, has_aux=True)
  path = [params]
  first = None
  # Unrolled: there are few steps, and in a loop XLA could not share the first
  # step's forward pass.
  for _ in range(num_steps):
    at = (path[-1], arch)
    if first_order:
      # Stop before the inner gradient, not after it: the outer differentiation
      # then never traces it.
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
  """The mean query loss at the adapted weights, all tasks under one vmap.

  Args:
    loss_fn: see the module's docstring.
    params: weights.
    arch: architecture parameters.
    rates: inner learning rates, see `inner_update`.
    tasks: 'support' and 'query', batches with a leading axis of tasks.
    num_steps: see `inner_update`.
    first_order: see `inner_update`.
    support_weight: weight of the support loss before adaptation. It adds to the
      gradient of the weights only, not to those of the architecture and the
      rates, and reuses the gradient of the first inner step.
    step_weights: [num_steps], weights of the query losses, see `loss_weights`;
      None: only the last one counts.

  Returns:
    (scalar objective to differentiate, means over the tasks).
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
    # A linear function of the weights: its value is 0 at the weights, and its
    # gradient is that of the support loss.
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
  """Losses and gradients of one set of every task.

  Every leaf has a leading axis [T] of tasks.

  Attributes:
    loss: [T].
    aux: the auxiliary output of the loss.
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
  """Losses and gradients of one set of every task, under one vmap.

  Args:
    loss_fn: see the module's docstring.
    adapted: each task's weights, with a leading axis of tasks.
    arch: architecture parameters, shared.
    batches: with a leading axis of tasks.
  """
  gradient_fn = jax.value_and_grad(loss_fn, argnums=(0, 1), has_aux=True)
  if jax.tree.leaves(batches)[0].shape[0] == 1:
    # Without the axis of length 1 there is a quarter less to trace.
    first, batch = jax.tree.map(lambda a: a[0], (adapted, batches))
    found = jax.tree.map(lambda a: a[None], gradient_fn(first, arch, batch))
  else:
    found = jax.vmap(gradient_fn, (0, None, 0))(adapted, arch, batches)
  (loss, aux), gradients = found
  return SetGradients(loss, aux, *gradients)


def per_task(params: PyTree, num_tasks: int) -> PyTree:
  """The weights repeated for every task: [...] -> [num_tasks, ...]."""
  return jax.tree.map(
    lambda p: jnp.broadcast_to(p, (num_tasks, *p.shape)), params
  )


def first_order_gradients(
  inner: Sequence[SetGradients],
  query: Sequence[SetGradients],
  support_weight: float,
  step_weights: jax.Array | None = None,
) -> tuple[Meta, tuple[PyTree, PyTree, PyTree]]:
  """The first-order gradients of `meta_loss`, from the gradients of the sets.

  With constant inner gradients, w_i is w minus a constant. So the gradient with
  respect to w is the query set's gradient at w_i, and d w_i / d r is minus the
  sum of the inner gradients.

  Args:
    inner: of the support sets, at each inner step.
    query: of the query sets, after each inner step; without `step_weights`,
      after the last one only.
    support_weight: see `meta_loss`.
    step_weights: see `meta_loss`.

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
  # For each query gradient, the sum of the inner gradients before it.
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
  """The gradients of `meta_loss`, which describes the arguments.

  First order combines one gradient per set; `meta_step.compile_first_order`
  compiles that gradient once for all sets.

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
