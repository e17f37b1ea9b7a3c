"""Differences between the frameworks on the same input and weights."""

import flax.linen as nn
import jax
import numpy as np
import torch

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
