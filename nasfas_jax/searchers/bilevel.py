"""The two steps of the bilevel search (DARTS), and what they need.

The supernet's weights w and its architecture parameters alpha descend in
turns, on batches of two halves of the training clips:

  alpha <- alpha - a * grad_alpha L(w, alpha; second half)
  w     <- w - b * grad_w L(w, alpha; first half)

First order holds w fixed in the first line; second order puts
w - b * grad_w L(w, alpha; first half) in its place and differentiates through
it (one unrolled step of plain gradient descent, the weights' own rate b).
"""

import concurrent.futures
import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import optax
from jax.sharding import Mesh

from nasfas_jax import models, optimizers, scoring, states, supervised
from nasfas_jax.data import index
from nasfas_jax.models import architecture, supernet
from nasfas_jax.ops.cpu import xla_options
from nasfas_jax.searchers import meta
from nasfas_jax.states import SearchState


def build_supernet(config: ml_collections.ConfigDict) -> nn.Module:
  """The supernet of a config."""
  fields = dict(config.supernet)
  fields['dtype'] = jnp.dtype(fields['dtype'])
  return supernet.Supernet(
    **fields,
    temperature=config.search.temperature,
    two_stream=config.input.fusion == 'two_stream',
  )


def make_optimizers(settings: ml_collections.ConfigDict):
  """(weights' optimizer, architecture's optimizer, weights' schedule)."""
  rate = optimizers.schedule(
    settings.weight_schedule,
    settings.weight_learning_rate,
    settings.num_steps,
  )
  weights = optimizers.adam_l2(
    rate,
    weight_decay=settings.weight_decay,
    gradient_clip=settings.gradient_clip,
    flat=True,
  )
  arch = optimizers.adam_l2(
    settings.arch_learning_rate,
    weight_decay=settings.arch_weight_decay,
    b1=0.5,
    flat=True,
  )
  return weights, arch, rate


def make_rate_optimizer(config) -> optax.GradientTransformation:
  """The optimizer of the learned inner rates' logarithms."""
  return optimizers.adam_l2(config.meta.rate_learning_rate)


def initial_state(
  config: ml_collections.ConfigDict, model: nn.Module
) -> SearchState:
  """A fresh state; the same for the same config.

  Inner rates, as logarithms, are in it where the meta-search learns them.
  """
  weight_optimizer, arch_optimizer, _ = make_optimizers(config.search)
  key = jax.random.fold_in(jax.random.key(config.seed), 0)
  arch_key, params_key = jax.random.split(key)
  arch = architecture.init_arch(
    arch_key,
    space=config.supernet.space,
    num_cells=config.supernet.num_cells,
    num_nodes=config.supernet.num_nodes,
  )
  image = scoring.example_input(config)
  variables = models.initialize(model, params_key, image, arch)
  log_rates = {}
  if config.search.tasks != 'none' and config.meta.learn_rates:
    log_rates = meta.constant_rates(
      variables['params'], math.log(config.meta.inner_rate)
    )
  return SearchState(
    step=jnp.zeros((), jnp.int32),
    log_rates=log_rates,
    rate_opt_state=make_rate_optimizer(config).init(log_rates),
    params=variables['params'],
    batch_stats=variables['batch_stats'],
    arch=arch,
    weight_opt_state=weight_optimizer.init(variables['params']),
    arch_opt_state=arch_optimizer.init(arch),
  )


def supernet_loss(model, config, params, state, arch, batch, purpose):
  """(loss, batch statistics) of the supernet on a batch.

  The Gumbel key is a function of seed, step and purpose, so never saved.
  """
  variables = {'params': params, 'batch_stats': state.batch_stats}
  rngs = None
  if config.search.gumbel:
    key = jax.random.fold_in(jax.random.key(config.seed), 2 + purpose)
    rngs = {'gumbel': jax.random.fold_in(key, state.step)}
  return supervised.batch_loss(model, config, variables, batch, arch, rngs=rngs)


def weight_step(state, batch, *, model, config, optimizer):
  """Updates the weights on a batch of the first half; returns the loss."""

  def loss_fn(params):
    return supernet_loss(model, config, params, state, state.arch, batch, 0)

  (loss, batch_stats), gradients = jax.value_and_grad(loss_fn, has_aux=True)(
    state.params
  )
  updates, opt_state = optimizer.update(
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
  state, weight_batch, arch_batch, *, model, config, optimizer, rate
):
  """Updates the architecture on a batch of the second half.

  Args:
    state: SearchState.
    weight_batch: batch of the first half; used by the second order only.
    arch_batch: batch of the second half.
    model: the supernet.
    config: of the run.
    optimizer: the architecture's.
    rate: schedule of the weights' learning rate, for the unrolled step.

  Returns:
    (state, loss on the second half). Batch statistics are left as they were:
    they belong to the weights.
  """

  def loss_fn(arch):
    params = state.params
    if config.search.second_order:
      gradients = jax.grad(
        lambda p: supernet_loss(model, config, p, state, arch, weight_batch, 1)[
          0
        ]
      )(params)
      params = jax.tree.map(
        lambda p, g: p - rate(state.step) * g, params, gradients
      )
    return supernet_loss(model, config, params, state, arch, arch_batch, 1)[0]

  loss, gradients = jax.value_and_grad(loss_fn)(state.arch)
  updates, opt_state = optimizer.update(
    gradients, state.arch_opt_state, state.arch
  )
  state = state.replace(
    arch=optax.apply_updates(state.arch, updates), arch_opt_state=opt_state
  )
  return state, loss


def jit_steps(config: ml_collections.ConfigDict, model: nn.Module, mesh: Mesh):
  """(weight step, architecture step), jitted; both give the state away.

  The first is called with (state, batch), the second with (state, batch of the
  first half, batch of the second half).
  """
  weight_optimizer, arch_optimizer, rate = make_optimizers(config.search)
  replicated = states.replicated(mesh)
  sharded = states.batch_sharding(mesh)
  weight_fn = functools.partial(
    weight_step, model=model, config=config, optimizer=weight_optimizer
  )
  arch_fn = functools.partial(
    arch_step, model=model, config=config, optimizer=arch_optimizer, rate=rate
  )
  return tuple(
    jax.jit(
      step,
      in_shardings=(replicated, *[sharded] * number),
      out_shardings=replicated,
      donate_argnums=0,
    )
    for step, number in ((weight_fn, 1), (arch_fn, 2))
  )


class Bilevel:
  """The plain search: two streams of clips and two compiled steps.

  The two halves of the subjects are the two streams.

  Attributes:
    model: the supernet.
    mesh: of the devices.
  """

  def __init__(self, config: ml_collections.ConfigDict, rows: list[index.Row]):
    """config: of the run; rows: the training clips.

    Raises:
      ValueError: if the clips do not make two halves.
    """
    self.model = build_supernet(config)
    self.mesh = states.make_mesh()
    self._config = config
    self._halves = index.split_halves(rows)
    self._batches = None
    self._arch_loss = None

  def initial_state(self) -> SearchState:
    """A fresh state; the same for the same config."""
    return initial_state(self._config, self.model)

  def begin(self, state: SearchState, start: int) -> SearchState:
    """Opens the streams after `start` steps and compiles; returns the state."""
    config = self._config
    self._streams = [
      supervised.train_stream(
        config,
        half,
        batch_size=config.search.batch_size,
        map_size=config.supernet.output_size,
        seed=config.seed + number,
        step=start,
        num_streams=len(self._halves),
      )
      for number, half in enumerate(self._halves, 1)
    ]
    weight_fn, arch_fn = jit_steps(config, self.model, self.mesh)
    batch = self._next()[0]
    lowered = [weight_fn.lower(state, batch)]
    if config.search.warmup_steps < config.search.num_steps:
      lowered.append(arch_fn.lower(state, batch, batch))
    # XLA compiles without Python's lock: each step on a core of its own.
    with concurrent.futures.ThreadPoolExecutor() as pool:
      compiled = list(
        pool.map(
          functools.partial(
            xla_options.compile_step, in_sequence=config.supernet.remat
          ),
          lowered,
        )
      )
    self._weight_fn, self._arch_fn = compiled[0], compiled[-1]
    return state

  def _next(self) -> list[dict]:
    """The batches of the next step, one a stream; kept until `run` uses it."""
    if self._batches is None:
      self._batches = [
        states.put_batch(next(stream), self.mesh) for stream in self._streams
      ]
    return self._batches

  def run(
    self, state: SearchState, step: int
  ) -> tuple[SearchState, dict[str, jax.Array]]:
    """Runs one step, counted from 1; returns the state and the losses."""
    # Both streams advance at every step, so that one number is their state.
    weight_batch, arch_batch = self._next()
    self._batches = None
    if step > self._config.search.warmup_steps:
      state, self._arch_loss = self._arch_fn(state, weight_batch, arch_batch)
    state, loss = self._weight_fn(state, weight_batch)
    figures = {'train_loss': loss}
    if self._arch_loss is not None:
      figures['val_loss'] = self._arch_loss
    return state, figures

  def close(self) -> None:
    """Closes the streams, and lets the clips go that they keep in memory."""
    for stream in self._streams:
      stream.close()
    self._streams = []
