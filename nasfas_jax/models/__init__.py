"""Networks: Flax modules, genotypes and the architecture's parameters."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from nasfas_jax.models import genotypes
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
    remat: recompute the cells' activations in the backward pass.

  Raises:
    ValueError: for an unknown name; lists the known ones.
  """
  if chosen == 'cdcn':
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
    dtype=dtype,
  )


def count_parameters(params: Any) -> int:
  """The number of parameters in a tree."""
  return sum(leaf.size for leaf in jax.tree.leaves(params))
