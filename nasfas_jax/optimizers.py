"""Optimizers and learning-rate schedules, by name."""

import dataclasses

import jax
import jax.numpy as jnp
import optax

SCHEDULES = ('constant', 'cosine', 'step')
# The length of a flat vector of moments is a multiple of it, so that 1 to 6 or
# 8 devices can share it, and any number without other primes than 2, 3 and 5.
FLAT_MULTIPLE = 1024 * 3 * 5


def schedule(
  name: str,
  learning_rate: float,
  num_steps: int,
  *,
  warmup_steps: int = 0,
  step_size: int = 0,
) -> optax.Schedule:
  """A learning-rate schedule.

  Args:
    name: 'constant'; 'cosine' from the rate down to 0; 'step', halved after
      every `step_size` steps (CDCN: every 500 epochs).
    learning_rate: the rate at step 0.
    num_steps: length of the run.
    warmup_steps: the rate rises linearly over so many steps, on top of the
      schedule. A map whose last ReLU dies early, under a high rate, is zero
      for good.
    step_size: see 'step'.

  Raises:
    ValueError: for an unknown name or a step_size below 1 with 'step'.
  """
  base = _base(name, learning_rate, num_steps, step_size)
  if not warmup_steps:
    return base
  ramp = optax.schedules.linear_schedule(
    1.0 / (warmup_steps + 1), 1.0, warmup_steps
  )
  return lambda step: ramp(step) * base(step)


def _base(name, learning_rate, num_steps, step_size):
  if name == 'constant':
    return optax.schedules.constant_schedule(learning_rate)
  if name == 'cosine':
    return optax.schedules.cosine_decay_schedule(
      learning_rate, max(num_steps, 1)
    )
  if name == 'step':
    if step_size < 1:
      raise ValueError(
        f'The step schedule needs step_size >= 1; got {step_size}.'
      )
    return optax.schedules.exponential_decay(
      learning_rate, step_size, 0.5, staircase=True
    )
  raise ValueError(
    f'Unknown schedule {name!r}; allowed: {", ".join(SCHEDULES)}.'
  )


@dataclasses.dataclass(frozen=True)
class Descent:
  """How a set of parameters descends: Adam under a schedule.

  Attributes:
    learning_rate: rate at step 0, after the warm-up.
    num_steps: length of the run.
    schedule: one of `SCHEDULES`.
    warmup_steps, step_size: see `schedule`.
    weight_decay, gradient_clip, b1, flat: see `adam_l2`.
  """

  learning_rate: float
  num_steps: int
  schedule: str = 'constant'
  warmup_steps: int = 0
  step_size: int = 0
  weight_decay: float = 0.0
  gradient_clip: float = 0.0
  b1: float = 0.9
  flat: bool = False

  def rate(self) -> optax.Schedule:
    """The learning rate at each step."""
    return schedule(
      self.schedule,
      self.learning_rate,
      self.num_steps,
      warmup_steps=self.warmup_steps,
      step_size=self.step_size,
    )

  def optimizer(self) -> optax.GradientTransformation:
    """Adam that descends so."""
    return adam_l2(
      self.rate(),
      weight_decay=self.weight_decay,
      gradient_clip=self.gradient_clip,
      b1=self.b1,
      flat=self.flat,
    )


def adam_l2(
  learning_rate: optax.ScalarOrSchedule,
  *,
  weight_decay: float = 0.0,
  b1: float = 0.9,
  b2: float = 0.999,
  gradient_clip: float = 0.0,
  flat: bool = False,
) -> optax.GradientTransformation:
  """Adam with L2 weight decay added to the gradient, as PyTorch's Adam has it.

  This is not AdamW: the decay passes through Adam's scaling. The published
  settings of CDCN, NAS-FAS and PC-DARTS (weight decay 5e-5 for the weights,
  1e-3 for the architecture) are in this form.

  Args:
    learning_rate: rate or schedule.
    weight_decay: L2 coefficient.
    b1: decay of the first moment.
    b2: decay of the second moment.
    gradient_clip: largest global norm of the gradient; 0 clips nothing.
    flat: keep the moments of all tensors in one vector, filled up with zeros to
      a multiple of `FLAT_MULTIPLE`. The same numbers, and for hundreds of small
      tensors a fraction of the time to compile.
  """
  parts = []
  if gradient_clip:
    parts.append(optax.clip_by_global_norm(gradient_clip))
  if weight_decay:
    parts.append(optax.add_decayed_weights(weight_decay))
  parts.append(optax.adam(learning_rate, b1=b1, b2=b2))
  if flat:
    parts = [optax.flatten(_padded(optax.chain(*parts)))]
  return _standard_promotion(optax.chain(*parts))


def _padded(
  optimizer: optax.GradientTransformation,
) -> optax.GradientTransformation:
  """An optimizer of one vector, filled up to a multiple of `FLAT_MULTIPLE`."""

  def pad(vector):
    return jnp.pad(vector, (0, -vector.size % FLAT_MULTIPLE))

  def init(params):
    return optimizer.init(pad(params))

  def update(updates, state, params=None):
    padded = None if params is None else pad(params)
    moved, state = optimizer.update(pad(updates), state, padded)
    return moved[: updates.size], state

  return optax.GradientTransformation(init, update)


def _standard_promotion(
  optimizer: optax.GradientTransformation,
) -> optax.GradientTransformation:
  """Lets optax mix its int32 step count with floats under strict promotion."""

  def update(updates, state, params=None):
    with jax.numpy_dtype_promotion('standard'):
      return optimizer.update(updates, state, params)

  return optax.GradientTransformation(optimizer.init, update)
