"""Differences between the frameworks on the same input and weights."""

import flax.linen as nn
import jax
import numpy as np
import torch

from nasfas_jax.comparison import twins

# (images [N, H, W, C], float32; what a loss needs beside the map: 'depth'
# and 'face_mask' [N, S, S], float32, and 'label' [N], int32).
Pair = tuple[np.ndarray, dict[str, np.ndarray]]


def difference(got, want, name: str = 'A result') -> dict[str, float]:
  """Largest and mean absolute difference, and the greatest value of ours.

  Args:
    got: PyTorch's array.
    want: ours.
    name: for the error.

  Raises:
    FloatingPointError: if either is not finite.
  """
  got, want = np.asarray(got), np.asarray(want)
  _check_finite(got, want, name)
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
    name: value['__call__'][0] for name, value in kept['intermediates'].items()
  }
  return prediction.map, blocks


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
    'map': difference(got, want, 'The map'),
    'blocks': {
      name: difference(twin_blocks[name], block, f'Block {name}')
      for name, block in blocks.items()
    },
  }


def relative(got, want) -> dict[str, object]:
  """Relative differences of two trees of gradients.

  A tensor's is its largest difference over its largest value; where that is
  below a millionth of the tree's largest, over that share.

  Returns:
    'max' and 'mean' over the tensors, the name of the 'worst', each one's
    difference in 'tensors'; and 'whole', the Euclidean norm of all differences
    over that of all values.

  Raises:
    FloatingPointError: if a value is not finite.
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
  for name, (a, b) in pairs.items():
    _check_finite(a, b, f'The gradient of {name}')
  floor = 1e-6 * max(float(np.abs(b).max()) for _, b in pairs.values())
  shares = {
    name: float(np.abs(a - b).max()) / max(float(np.abs(b).max()), floor, 1e-30)
    for name, (a, b) in pairs.items()
  }
  worst = max(shares, key=shares.get)
  all_got, all_want = (
    np.concatenate([np.ravel(array) for array in side])
    for side in zip(*pairs.values(), strict=True)
  )
  return {
    'max': shares[worst],
    'whole': relative_distance(all_got - all_want, all_want),
    'mean': float(np.mean(list(shares.values()))),
    'worst': worst,
    'tensors': shares,
  }


def relative_distance(gap: np.ndarray, way: np.ndarray) -> float:
  """The Euclidean norm of one vector over that of another."""
  return float(np.linalg.norm(gap)) / max(float(np.linalg.norm(way)), 1e-30)


def _check_finite(got, want, name: str) -> None:
  for array, framework in ((want, 'JAX'), (got, 'PyTorch')):
    if not np.isfinite(array).all():
      raise FloatingPointError(
        f'{name} is not finite in {framework}: nothing can be compared.'
      )
