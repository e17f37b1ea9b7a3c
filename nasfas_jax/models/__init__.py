"""Networks: Flax modules, genotypes and the architecture's parameters."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from nasfas_jax.models import genotypes, layers
from nasfas_jax.models.cdcn import CDCN
from nasfas_jax.models.network import Network

NETWORKS = ('cdcn', 'cdcnpp')


def build_model(
  chosen: str | genotypes.Genotype,
  *,
  stem_features: tuple[int, int] = (64, 128),
  cell_features: int = 128,
  head_features: int = 128,
  output_size: int = 32,
  theta: float | None = None,
  dtype: Any = jnp.float32,
  remat: bool = False,
  two_stream: bool = False,
) -> nn.Module:
  """The network of a name or a genotype.

  Args:
    chosen: 'cdcn', 'cdcnpp' or a genotype.
    stem_features: channels of the stem's two blocks; CDCN has the first.
    cell_features: channels of the cells or blocks; CDCN's middle convolution
      has 196 / 128 of them, as published.
    head_features: channels of the head; CDCN's second block has half.
    output_size: side of the map.
    theta: strength of the central difference; None keeps the genotype's (0.7
      for the named networks).
    dtype: of the computation.
    remat: recompute the cells' activations in the backward pass; CDCN has
      no cells and does not take it.
    two_stream: see `backbone.predict_map`; not for CDCN.

  Raises:
    ValueError: for an unknown name, which lists the known ones, or for CDCN
      with remat or two_stream.
  """
  if chosen == 'cdcn':
    if remat:
      raise ValueError('remat is True; cdcn has no cells and allows False.')
    if two_stream:
      raise ValueError(
        'fusion is two_stream; cdcn has one stream and allows static, dynamic, '
        'blend, concat.'
      )
    return CDCN(
      stem_features=stem_features[0],
      block_features=(cell_features, cell_features * 196 // 128, cell_features),
      head_features=(head_features, max(1, head_features // 2)),
      output_size=output_size,
      theta=0.7 if theta is None else theta,
      dtype=dtype,
    )
  if chosen == 'cdcnpp':
    chosen = genotypes.CDCNPP
  if not isinstance(chosen, genotypes.Genotype):
    raise ValueError(
      f'Unknown network {chosen!r}; allowed: {", ".join(NETWORKS)} or a '
      'genotype.'
    )
  if theta is not None:
    chosen = genotypes.with_theta(chosen, theta)
  return Network(
    chosen,
    stem_features=stem_features,
    cell_features=cell_features,
    head_features=head_features,
    output_size=output_size,
    remat=remat,
    two_stream=two_stream,
    dtype=dtype,
  )


def initialize(module: nn.Module, key: jax.Array, *inputs: Any) -> Any:
  """The variables of a fresh network, as `module.init` would draw them.

  A supernet has hundreds of small kernels. `module.init` draws each by
  itself, which takes XLA over a minute to compile; here all come from one
  draw, which takes a second.

  Args:
    module: a network or supernet.
    key: of the draw.
    *inputs: arguments of the module, of which only the shapes are used.

  Returns:
    The tree of `module.init`: kernels He normal (a normal truncated at two
    standard deviations and scaled back to a variance of 2 / fan in; the last
    one smaller, see `layers.LAST_INIT_SCALE`), scales and variances 1, biases
    and means 0.
  """
  shapes = jax.eval_shape(
    lambda: module.init(jax.random.key(0), *inputs, train=False)
  )
  shapes = {name: shapes[name] for name in ('params', 'batch_stats')}
  leaves, tree = jax.tree_util.tree_flatten_with_path(shapes)
  kernels = [leaf.size for _, leaf in leaves if leaf.ndim > 1]
  draw = jax.random.truncated_normal(key, -2.0, 2.0, (sum(kernels),))
  # The standard deviation of a standard normal truncated at +-2.
  draw = draw / 0.87962566103423978
  values = []
  place = 0
  for path, leaf in leaves:
    if leaf.ndim > 1:
      deviation = math.sqrt(2.0 / (leaf.size // leaf.shape[-1]))
      if [entry.key for entry in path[1:]] == ['head', 'conv', 'kernel']:
        deviation *= layers.LAST_INIT_SCALE
      part = draw[place : place + leaf.size].reshape(leaf.shape)
      values.append(part * deviation)
      place += leaf.size
    elif path[-1].key in ('scale', 'var'):
      values.append(jnp.ones(leaf.shape, leaf.dtype))
    else:
      values.append(jnp.zeros(leaf.shape, leaf.dtype))
  return jax.tree.unflatten(tree, values)


def count_parameters(params: Any) -> int:
  """The number of parameters in a tree."""
  return sum(leaf.size for leaf in jax.tree.leaves(params))
