"""Differences between the frameworks on the same input and weights."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

from nasfas_jax import losses, optimizers
from nasfas_jax.baseline import steps
from nasfas_jax.compare import twins

# (images [N, H, W, C], target maps [N, S, S]), float32.
Pair = tuple[np.ndarray, np.ndarray]


def difference(got, want) -> dict[str, float]:
  """Largest and mean absolute difference, and the greatest value of ours."""
  got, want = np.asarray(got), np.asarray(want)
  gap = np.abs(got.astype(np.float64) - want)
  return {
    'max': float(gap.max()),
    'mean': float(gap.mean()),
    'scale': float(np.abs(want).max()),
  }


def outputs(
  model: nn.Module, variables: dict, images: np.ndarray, *arch
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """The map, and the output of every block by name, in evaluation."""

  def run(variables, images, *arch):
    return model.apply(
      variables,
      images,
      *arch,
      train=False,
      capture_intermediates=lambda module, name: (
        len(module.path) == 1 and name == '__call__'
      ),
      mutable=['intermediates'],
    )

  prediction, kept = jax.jit(run)(variables, images, *arch)
  blocks = {
    name: value['__call__'][0]
    for name, value in kept['intermediates'].items()
    # The others are kept by the modules themselves.
    if '__call__' in value
  }
  return prediction, blocks


def twin_outputs(
  twin: torch.nn.Module, images: np.ndarray, *arch
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
  """`outputs` of the twin, in Flax's layout."""
  blocks = {}

  def keep(name):
    def hook(module, inputs, output):
      array = output.detach().numpy()
      blocks[name] = array.transpose(0, 2, 3, 1) if array.ndim == 4 else array

    return hook

  hooks = [
    child.register_forward_hook(keep(name))
    for name, child in twin.named_children()
  ]
  with torch.inference_mode():
    prediction = twin.eval()(
      twins.to_torch(images), *(twins.torch_arch(a) for a in arch)
    )
  twin.train()
  for hook in hooks:
    hook.remove()
  return prediction.numpy(), blocks


def compare_outputs(model, variables, twin, images, *arch) -> dict:
  """Differences of the map and of every block."""
  want, blocks = outputs(model, variables, images, *arch)
  got, twin_blocks = twin_outputs(twin, images, *arch)
  return {
    'map': difference(got, want),
    'blocks': {
      name: difference(twin_blocks[name], block)
      for name, block in blocks.items()
    },
  }


def loss_and_gradients(model: nn.Module):
  """A jitted function of (variables, images, target, *arch).

  It returns (loss, batch statistics), gradients of params and arch.
  """

  def loss_fn(params, arch, batch_stats, images, target):
    prediction, updates = model.apply(
      {'params': params, 'batch_stats': batch_stats},
      images,
      *arch,
      train=True,
      mutable=['batch_stats'],
    )
    loss = jnp.mean(losses.total_loss(prediction, target))
    return loss, updates['batch_stats']

  gradient = jax.value_and_grad(loss_fn, argnums=(0, 1), has_aux=True)

  @jax.jit
  def run(variables, images, target, *arch):
    return gradient(
      variables['params'], arch, variables['batch_stats'], images, target
    )

  return run


def relative(got, want) -> dict[str, object]:
  """Relative differences of two trees of gradients.

  A tensor's is its largest difference over its largest value; where that is
  below a millionth of the tree's largest, over that share.

  Returns:
    'max' and 'mean' over the tensors, the name of the 'worst' and each one's
    difference in 'tensors'.
  """
  pairs = {
    jax.tree_util.keystr(path, simple=True, separator='/'): (
      np.asarray(a),
      np.asarray(b),
    )
    for (path, a), b in zip(
      jax.tree.leaves_with_path(got), jax.tree.leaves(want), strict=True
    )
  }
  floor = 1e-6 * max(float(np.abs(b).max()) for _, b in pairs.values())
  shares = {
    name: float(np.abs(a - b).max()) / max(float(np.abs(b).max()), floor, 1e-30)
    for name, (a, b) in pairs.items()
  }
  worst = max(shares, key=shares.get)
  return {
    'max': shares[worst],
    'mean': float(np.mean(list(shares.values()))),
    'worst': worst,
    'tensors': shares,
  }


def compare_learning(
  model: nn.Module,
  variables: dict,
  twin: torch.nn.Module,
  pairs: Sequence[Pair],
  settings,
  *arch,
) -> dict:
  """Differences of loss, gradients and, after a step on each pair, weights.

  The steps are Adam's at a constant rate.

  Args:
    model: network or supernet.
    variables: its variables; the twin has the same.
    twin: of the model; is trained by this.
    pairs: a batch for every step; the first gives loss and gradients.
    settings: config.train, for rate, decay and clipping.
    *arch: the supernet's architecture.
  """
  run = loss_and_gradients(model)
  optimizer = optimizers.adam_l2(
    settings.learning_rate,
    weight_decay=settings.weight_decay,
    gradient_clip=settings.gradient_clip,
    flat=True,
  )
  update = jax.jit(optimizer.update)
  twin_optimizer = make_twin_optimizer(twin, settings)
  logits = [twins.torch_arch(a) for a in arch]
  start = variables['params']
  state = optimizer.init(start)
  found = {}
  for number, (images, target) in enumerate(pairs):
    (loss, statistics), gradients = run(variables, images, target, *arch)
    batch = twins.to_torch(images), torch.from_numpy(np.array(target))
    if not number:
      twin_loss = steps.map_loss(twin(batch[0], *logits), batch[1])
      twin_loss.backward()
      found['loss'] = difference(twin_loss.detach().numpy(), loss)
      found['gradients'] = relative(
        {
          'params': twins.gradients_of(twin),
          'arch': tuple(twins.arch_gradients(a) for a in logits),
        },
        dict(zip(('params', 'arch'), gradients, strict=True)),
      )
    steps.train_step(
      twin,
      twin_optimizer,
      batch,
      *logits,
      gradient_clip=settings.gradient_clip,
    )
    updates, state = update(gradients[0], state, variables['params'])
    variables = {
      'params': optax.apply_updates(variables['params'], updates),
      'batch_stats': statistics,
    }
  found['weights'] = {
    'steps': len(pairs),
    **_distance(twins.variables_of(twin)['params'], variables['params'], start),
  }
  return found


def make_twin_optimizer(
  twin: torch.nn.Module, settings
) -> torch.optim.Optimizer:
  """PyTorch's Adam with the settings of config.train."""
  return torch.optim.Adam(
    twin.parameters(),
    lr=settings.learning_rate,
    weight_decay=settings.weight_decay,
  )


def _distance(got, want, start) -> dict[str, float]:
  """Difference of two trees, also as a share of the way from the start."""

  def flat(tree):
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])

  got, want, start = flat(got), flat(want), flat(start)
  way = float(np.linalg.norm(want - start))
  return {
    **difference(got, want),
    'share_of_way': float(np.linalg.norm(got - want)) / max(way, 1e-30),
  }
