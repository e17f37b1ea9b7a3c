"""Optimizers and learning-rate schedules, by name."""

import dataclasses

import jax
import jax.numpy as jnp
import optax

SCHEDULES = ('constant', 'cosine', 'step')
# The length of the flat moment vectors is a multiple of this number. So they
# can be sharded over 1 to 6, 8, 10, 12, 15, 16, ... devices.
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
    name: 'constant'; 'cosine', which decays to 0 at `num_steps`; or 'step',
      which halves the rate every `step_size` steps (CDCN: every 500 epochs).
    learning_rate: of the schedule at step 0, without the warm-up.
    num_steps: length of the run.
    warmup_steps: length of a linear warm-up, which multiplies the schedule.
      Without one, a high learning rate can kill the last ReLU early, and the
      map stays zero.
    step_size: for 'step'.

  Returns:
    step -> float32 scalar.

  Raises:
    ValueError: for an unknown name, or `step_size` below 1 with 'step'.
  """
  base = _base(name, learning_rate, num_steps, step_size)
  ramp = optax.schedules.linear_schedule(
    1.0 / (warmup_steps + 1), 1.0, warmup_steps
  )

  def rate(step):
    # Optax mixes the int32 step with floats.
    with jax.numpy_dtype_promotion('standard'):
      return ramp(step) * base(step) if warmup_steps else base(step)

  return rate


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
  """Settings of Adam and its learning-rate schedule for one set of parameters.

  Attributes:
    learning_rate: see the function `schedule`.
    num_steps: length of the run.
    schedule: one of `SCHEDULES`.
    warmup_steps: see the function `schedule`.
    step_size: see the function `schedule`.
    weight_decay: see `adam_l2`.
    gradient_clip: see `adam_l2`.
    b1: see `adam_l2`.
    flat: see `adam_l2`.
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
    """The learning-rate schedule."""
    return schedule(
      self.schedule,
      self.learning_rate,
      self.num_steps,
      warmup_steps=self.warmup_steps,
      step_size=self.step_size,
    )

  def optimizer(self) -> optax.GradientTransformation:
    """The optimizer with these settings."""
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
  """Adam with L2 weight decay added to the gradient, as in PyTorch's Adam.

  This is not AdamW: Adam scales the decay with the gradient. The published
  settings of CDCN, NAS-FAS and PC-DARTS (weight decay 5e-5 for the weights,
  1e-3 for the architecture) mean this form.

  Args:
    learning_rate: a number or a schedule.
    weight_decay: L2 coefficient.
    b1: decay rate of the first moment.
    b2: decay rate of the second moment.
    gradient_clip: largest global norm of the gradient; 0 turns clipping off.
    flat: keep the moments of all tensors in one vector, padded with zeros to a
      multiple of `FLAT_MULTIPLE`. The updates are the same; with hundreds of
      small tensors the program compiles in a fraction of the time.
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
  """Pads the one vector of an optimizer to a multiple of `FLAT_MULTIPLE`."""

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
