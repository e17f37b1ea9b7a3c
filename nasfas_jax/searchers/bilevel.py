"""The plain search: the bilevel optimization of DARTS (arXiv 1806.09055).

The architecture parameters alpha and the supernet's weights w are updated in
turn, on batches from the two halves of the training subjects:

  alpha <- alpha - a * grad_alpha L(w, alpha; second half)
  w     <- w - b * grad_w L(w, alpha; first half)

First order holds w fixed in the first line. Second order replaces it by
w - b * grad_w L(w, alpha; first half), one unrolled step of plain gradient
descent with the weights' learning rate b, and differentiates through it. Both
updates are made by Adam.
"""

import concurrent.futures
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import optax
from jax.sharding import Mesh

from nasfas_jax import augment, loop, sharding
from nasfas_jax.data import index
from nasfas_jax.models.supernet import Supernet
from nasfas_jax.searchers import supernet_program
from nasfas_jax.searchers.supernet_program import (
  Search,
  SearchSettings,
  SupernetLoss,
)
from nasfas_jax.states import SearchState

# Of the arguments of a `SupernetLoss`: ((loss, new batch statistics), (gradient
# by the weights, gradient by the architecture)).
Gradients = Callable[..., tuple[tuple[jax.Array, Any], tuple[Any, Any]]]


def weight_step(
  state: SearchState,
  batch: dict[str, jax.Array],
  *,
  gradients_fn: Gradients,
  settings: SearchSettings,
) -> tuple[SearchState, jax.Array]:
  """Updates the weights on a batch of the first half.

  Args:
    state: before the step.
    batch: of the first half.
    gradients_fn: of the loss, see `make_steps`.
    settings: of the search.

  Returns:
    (new state, loss before the update).
  """
  (loss, batch_stats), (gradients, _) = gradients_fn(
    state.params, state.arch, batch, state, 0
  )
  updates, opt_state = settings.weights.optimizer().update(
    gradients, state.weight_opt_state, state.params
  )
  state = state.replace(
    step=state.step + 1,
    params=optax.apply_updates(state.params, updates),
    batch_stats=batch_stats,
    weight_opt_state=opt_state,
  )
  return state, loss


def arch_step(
  state: SearchState,
  weight_batch: dict[str, jax.Array],
  arch_batch: dict[str, jax.Array],
  *,
  loss_fn: SupernetLoss,
  gradients_fn: Gradients,
  settings: SearchSettings,
) -> tuple[SearchState, jax.Array]:
  """Updates the architecture on a batch of the second half.

  Args:
    state: before the step.
    weight_batch: of the first half; used by second order only.
    arch_batch: of the second half.
    loss_fn: see `supernet_program.supernet_loss`; used by second order only.
    gradients_fn: of the loss, see `make_steps`.
    settings: of the search.

  Returns:
    (new state, loss on the second half before the update). Batch statistics
    belong to the weights and stay as they are.
  """

  def unrolled(arch):
    _, (gradients, _) = gradients_fn(state.params, arch, weight_batch, state, 1)
    rate = settings.weights.rate()(state.step)
    params = jax.tree.map(lambda p, g: p - rate * g, state.params, gradients)
    return loss_fn(params, arch, arch_batch, state, 1)[0]

  if settings.second_order:
    loss, gradients = jax.value_and_grad(unrolled)(state.arch)
  else:
    (loss, _), (_, gradients) = gradients_fn(
      state.params, state.arch, arch_batch, state, 1
    )
  gradients = supernet_program.priced(gradients, state.arch, settings)
  updates, opt_state = settings.arch.optimizer().update(
    gradients, state.arch_opt_state, state.arch
  )
  state = state.replace(
    arch=optax.apply_updates(state.arch, updates), arch_opt_state=opt_state
  )
  return state, loss


def make_steps(
  loss_fn: SupernetLoss, settings: SearchSettings
) -> tuple[Callable, Callable]:
  """The two steps of a search, not jitted.

  In first order they call the same jitted function for their gradients, so that
  a loss is traced once for both. What a step does not use is left out of its
  program.

  Returns:
    (weight step, architecture step), with the arguments (state, batch) and
    (state, batch of the first half, batch of the second half).
  """
  gradients_fn = jax.jit(
    jax.value_and_grad(loss_fn, argnums=(0, 1), has_aux=True)
  )
  shared = {'gradients_fn': gradients_fn, 'settings': settings}
  return (
    functools.partial(weight_step, **shared),
    functools.partial(arch_step, loss_fn=loss_fn, **shared),
  )


def jit_steps(
  loss_fn: SupernetLoss, settings: SearchSettings, mesh: Mesh
) -> tuple[Callable, Callable]:
  """Jits the two steps of `make_steps`; both donate the state."""
  replicated = sharding.replicated(mesh)
  sharded = sharding.batch_sharding(mesh)
  steps = make_steps(loss_fn, settings)
  return tuple(
    jax.jit(
      step,
      in_shardings=(replicated, *[sharded] * number),
      out_shardings=replicated,
      donate_argnums=0,
    )
    for step, number in zip(steps, (1, 2), strict=True)
  )


def plain_search(
  model: Supernet,
  example: jax.Array,
  rows: Sequence[index.Row],
  *,
  loss_fn: SupernetLoss,
  settings: SearchSettings,
  batch_size: int,
  train_batches: Callable,
  prepare: augment.Prepare,
) -> Search:
  """The plain search on training clips.

  Args:
    model: the supernet.
    example: an input of the supernet; only its shape is used.
    rows: the training clips, split here into halves of disjoint subjects.
    loss_fn: see `supernet_program.supernet_loss`.
    settings: of the search.
    batch_size: clips of each half per step.
    train_batches: (rows, batch_size, seed, step) -> a stream of raw batches.
    prepare: makes batches of them.

  Raises:
    ValueError: if the clips cannot be split, see `index.split_halves`.
  """
  halves = index.split_halves(rows)
  mesh = sharding.make_mesh()
  state = jax.jit(
    functools.partial(supernet_program.initial_state, model, example, settings),
    out_shardings=sharding.replicated(mesh),
  )()

  def batches(start):
    streams = [
      train_batches(
        half, batch_size=batch_size, seed=settings.seed + number, step=start
      )
      for number, half in enumerate(halves, 1)
    ]
    try:
      step = start
      while True:
        # Both streams advance at every step, so that the step is their state.
        # The host counts the steps, so that it never waits for the device's.
        weights, arch = [
          sharding.put_batch(next(stream), mesh) for stream in streams
        ]
        searching = step >= settings.warmup_steps
        yield {'weights': weights, 'arch': arch, 'searching': searching}
        step += 1
    finally:
      for stream in streams:
        stream.close()

  return Search(
    loop.Program(
      name='search',
      title='Searching',
      num_steps=settings.num_steps,
      state=state,
      compile=functools.partial(
        _compile,
        prepare=prepare,
        loss_fn=loss_fn,
        settings=settings,
        mesh=mesh,
      ),
      batches=batches,
      observe=supernet_program.observe(model, settings),
      clips=lambda batch: [
        (half, batch[name])
        for half, name in zip(halves, ('weights', 'arch'), strict=True)
      ],
    ),
    lambda state: supernet_program.derive(model, state.arch),
  )


def compile_side_by_side(
  *lower: Callable[[], jax.stages.Lowered],
) -> list[jax.stages.Compiled]:
  """Compiles programs while the next ones are traced.

  XLA releases Python's lock while it compiles.

  Args:
    *lower: each traces and lowers a program.

  Returns:
    The compiled programs, in their order.
  """
  with concurrent.futures.ThreadPoolExecutor() as pool:
    compiling = [pool.submit(make().compile) for make in lower]
  return [program.result() for program in compiling]


def _compile(state, batch, *, prepare, loss_fn, settings, mesh):
  """Compiles both steps side by side and returns them as one."""
  prepare = supernet_program.jit_prepare(prepare, sharding.batch_sharding(mesh))
  weight_fn, arch_fn = jit_steps(loss_fn, settings, mesh)
  weights, arch = (
    jax.eval_shape(prepare, batch[name], state.step, settings.seed)
    for name in ('weights', 'arch')
  )
  lower = [lambda: weight_fn.lower(state, weights)]
  if settings.warmup_steps < settings.num_steps:
    lower.append(lambda: arch_fn.lower(state, weights, arch))
  compiled = compile_side_by_side(*lower)
  on_weights, on_arch = compiled[0], compiled[-1]

  def step(state, batch):
    scalars = {}
    # Each half has the seed of its stream.
    weights = prepare(batch['weights'], state.step, settings.seed + 1)
    if batch['searching']:
      arch = prepare(batch['arch'], state.step, settings.seed + 2)
      state, scalars['val_loss'] = on_arch(state, weights, arch)
    state, scalars['train_loss'] = on_weights(state, weights)
    return state, scalars

  return step
