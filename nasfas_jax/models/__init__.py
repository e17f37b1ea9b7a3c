"""Networks: Flax modules, genotypes and architecture parameters."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from flax.core import meta

from nasfas_jax.models import genotypes, initializers
from nasfas_jax.models.cdcn import CDCN
from nasfas_jax.models.network import Network
from nasfas_jax.ops import fusion

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
  """Builds the network of a name or a genotype.

  Args:
    chosen: 'cdcn', 'cdcnpp' or a genotype. One of a wide space multiplies the
      channels by its width.
    stem_features: channels of the stem's two blocks; CDCN has the first only.
    cell_features: channels of the cells, or of CDCN's blocks, whose middle
      convolution has 196 / 128 as many, as published.
    head_features: channels of the head; CDCN's second block has half as many.
    output_size: side of the map.
    theta: strength of the central difference; None: that of the genotype, 0.7
      for the named networks.
    dtype: of the computation.
    remat: recompute the cells' activations in the backward pass; False for
      CDCN, which has no cells.
    two_stream: see `backbone.predict_map`; False for CDCN.

  Raises:
    ValueError: for an unknown name, which lists the known ones, or for CDCN
      with remat or two_stream.
  """
  if chosen == 'cdcn':
    if remat:
      raise ValueError('remat is True; cdcn has no cells and allows False.')
    if two_stream:
      raise ValueError(
        'fusion is two_stream; cdcn has one stream and allows the others: '
        f'{", ".join(f for f in fusion.FUSIONS if f != "two_stream")}.'
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
  if chosen.choices is not None:

    def scaled(width):
      return max(1, round(width * chosen.choices.width))

    stem_features = tuple(scaled(width) for width in stem_features)
    cell_features, head_features = map(scaled, (cell_features, head_features))
    if two_stream != (chosen.choices.fusion == 'two_stream'):
      raise ValueError(
        f'two_stream is {two_stream}, but the genotype chose the fusion '
        f'{chosen.choices.fusion!r}.'
      )
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
  """The initial variables of a network, distributed as those of `module.init`.

  Every variable is made by its module's own initializer. A supernet has
  hundreds of small kernels. `module.init` draws each one separately, which
  takes XLA over a minute to compile. Here all kernels of
  `initializers.he_normal` are cut from one draw, which takes a second.

  Args:
    module: a network or supernet.
    key: of the draws.
    *inputs: arguments of the module.

  Returns:
    The tree of `module.init`: 'params' and 'batch_stats', {} if it has none.

  Raises:
    ValueError: for a variable in another collection, or in a Flax box such as
      `nn.Partitioned`; names it.
  """

  @jax.jit
  def make(key):
    rngs = {'params': key, initializers.TOGETHER: key}
    made = module.init(rngs, *inputs, train=False)
    for path, leaf in jax.tree_util.tree_leaves_with_path(
      made, is_leaf=_is_box
    ):
      name = jax.tree_util.keystr(path, simple=True, separator='/')
      if path[0].key not in ('params', 'batch_stats'):
        raise ValueError(
          f'Variable {name}: collection {path[0].key!r}; allowed: params, '
          'batch_stats.'
        )
      if _is_box(leaf) and not isinstance(leaf, initializers.TruncatedNormal):
        raise ValueError(
          f'Variable {name}: a box of {type(leaf).__name__}; allowed: an array.'
        )
    # XLA computes only what is returned: neither the map nor the kernels.
    return jax.tree.map(
      lambda leaf: (
        _Hole(leaf.value.shape, leaf.deviation) if _is_box(leaf) else leaf
      ),
      made,
      is_leaf=_is_box,
    )

  made = {'params': {}, 'batch_stats': {}, **make(key)}
  leaves, tree = jax.tree.flatten(made, is_leaf=_is_hole)
  holes = [leaf for leaf in leaves if _is_hole(leaf)]
  sizes = [math.prod(hole.shape) for hole in holes]
  draw = jax.random.truncated_normal(key, -2.0, 2.0, (sum(sizes),))
  draw = draw / initializers.TRUNCATED_DEVIATION
  values = []
  place = 0
  for leaf in leaves:
    if _is_hole(leaf):
      size = math.prod(leaf.shape)
      part = draw[place : place + size].reshape(leaf.shape)
      leaf = part * leaf.deviation
      place += size
    values.append(leaf)
  return jax.tree.unflatten(tree, values)


class _Hole(struct.PyTreeNode):
  """Stands for a kernel in a tree; holds no array."""

  shape: tuple[int, ...] = struct.field(pytree_node=False)
  deviation: float = struct.field(pytree_node=False)


def _is_hole(leaf: Any) -> bool:
  return isinstance(leaf, _Hole)


def _is_box(leaf: Any) -> bool:
  return isinstance(leaf, meta.AxisMetadata)


def count_parameters(params: Any) -> int:
  """The number of parameters in a tree."""
  return sum(leaf.size for leaf in jax.tree.leaves(params))
