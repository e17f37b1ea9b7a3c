"""Scores of networks that were never trained, as baselines of a search.

  parameters  their number, which is hard to beat (Ning et al., NeurIPS 2021);
  fewest_parameters
              the same with the opposite sign;
  synflow     synaptic flow (Tanaka et al., NeurIPS 2020), as a score of
              architectures by Abdelfattah et al. (ICLR 2021);
  naswot      log-determinant of the kernel of the codes that the ReLUs make of
              a batch (Mellor et al., ICML 2021).

Higher is taken for better by all of them.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from nasfas_jax import models
from nasfas_jax.models import cost, layers

# Those that need neither weights nor clips.
SIZES = ('parameters', 'fewest_parameters')
SCORES = (*SIZES, 'synflow', 'naswot')

# What ends in a ReLU.
_BLOCKS = (layers.CDConvBlock, layers.SeparableBlock)


def score(name: str, model: nn.Module, images: np.ndarray, seed: int) -> float:
  """A score of an untrained network.

  Args:
    name: one of `SCORES`.
    model: the network.
    images: float32 [B, H, W, C], inputs of the network.
    seed: of the initial weights.

  Returns:
    A number; infinite where 'synflow' is more than a float32 holds, which is
    above all others.

  Raises:
    ValueError: for an unknown name.
  """
  if name not in SCORES:
    raise ValueError(f'Unknown score {name!r}; allowed: {", ".join(SCORES)}.')
  images = jnp.asarray(images, jnp.float32)
  shape = jax.ShapeDtypeStruct((1, *images.shape[1:]), images.dtype)
  if name in SIZES:
    number = float(cost.of_network(model, shape).parameters)
    return number if name == 'parameters' else -number
  variables = models.initialize(model, jax.random.key(seed), images[:1])
  if name == 'synflow':
    return synflow(model, variables, images.shape[1:])
  return naswot(model, variables, images)


def synflow(
  model: nn.Module, variables: dict, shape: tuple[int, int, int]
) -> float:
  """The logarithm of the summed saliency |w dR / dw| of all kernels.

  R is the sum of the map of an input of ones with the absolute values of all
  parameters. Running statistics of 0 and 1, as they start, leave a batch
  normalization out; a normalization of one picture stays in. A central
  difference subtracts whatever the signs of its parameters are, so that above
  theta 0 some places have no flow.

  Args:
    model: the network.
    variables: as initialised.
    shape: [H, W, C] of its input.

  Returns:
    log10 of the sum; minus infinity if nothing flows.
  """

  @jax.jit
  def saliency(variables):
    def flow(params):
      found = model.apply(
        {**variables, 'params': params}, jnp.ones((1, *shape)), train=False
      )
      return jnp.sum(found.map)

    params = jax.tree.map(jnp.abs, variables['params'])
    gradients = jax.grad(flow)(params)
    kernels = [
      jnp.sum(jnp.abs(gradient * value))
      for (path, gradient), value in zip(
        jax.tree_util.tree_leaves_with_path(gradients),
        jax.tree.leaves(params),
        strict=True,
      )
      if path[-1].key == 'kernel'
    ]
    return jnp.sum(jnp.stack(kernels))

  total = float(saliency(variables))
  # What overflows is inf or, as inf less inf, NaN.
  if not math.isfinite(total):
    return math.inf
  return math.log10(total) if total else -math.inf


def naswot(model: nn.Module, variables: dict, images: jax.Array) -> float:
  """The log-determinant of the number of ReLUs on which two clips agree.

  Args:
    model: the network; its ReLUs are those of its blocks.
    variables: as initialised.
    images: [B, H, W, C], at least two.

  Returns:
    The natural logarithm of |det K|; minus infinity if two clips agree on all.
  """

  @jax.jit
  def agreements(variables, images):
    _, found = model.apply(
      variables,
      images,
      train=True,
      mutable=['batch_stats', 'intermediates'],
      capture_intermediates=lambda module, name: (
        isinstance(module, _BLOCKS) and name == '__call__'
      ),
    )
    total = jnp.zeros((len(images), len(images)), jnp.float32)
    for output in jax.tree.leaves(found['intermediates']):
      codes = (output.reshape(len(images), -1) > 0).astype(jnp.float32)
      total = total + codes @ codes.T + (1 - codes) @ (1 - codes).T
    return total

  kernel = np.asarray(agreements(variables, images), np.float64)
  return float(np.linalg.slogdet(kernel).logabsdet)
