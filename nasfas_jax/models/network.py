"""The network of a genotype, such as CDCN++."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from nasfas_jax.models import backbone, genotypes
from nasfas_jax.models.cells import DerivedCell
from nasfas_jax.models.outputs import Between, Outputs, unchanged


class Network(nn.Module):
  """A derived network.

  Attributes:
    genotype: supplies the cells and theta.
    stem_features: channels of the two blocks of the stem.
    cell_features: channels of the cells.
    head_features: channels of the head.
    output_size: side of the map.
    remat: recompute the cells' activations in the backward pass.
    two_stream: see `backbone.predict_map`.
    dtype: of the computation.
  """

  genotype: genotypes.Genotype
  stem_features: tuple[int, int] = (64, 128)
  cell_features: int = 128
  head_features: int = 128
  output_size: int = 32
  remat: bool = False
  two_stream: bool = False
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, x: jax.Array, *, train: bool, between: Between = unchanged
  ) -> Outputs:
    """Predicts a map.

    Args:
      x: float [N, H, W, C], the fused input.
      train: whether batch normalization uses the batch.
      between: what is done to the features of a stage.

    Returns:
      `Outputs`; the map is [N, output_size, output_size].
    """
    theta = self.genotype.theta
    choices = self.genotype.choices
    norm = 'batch' if choices is None else choices.norm
    cell_class = DerivedCell
    if self.remat:
      cell_class = nn.remat(DerivedCell, static_argnums=(2,))

    def level(name: str, x: jax.Array, prefix: str) -> jax.Array:
      for i, cell in enumerate(self.genotype.level(name)):
        x = cell_class(
          cell, theta, self.dtype, norm, name=f'{prefix}{name}_{i}'
        )(x, train)
      return x

    return backbone.predict_map(
      x,
      level,
      stem_features=self.stem_features,
      cell_features=self.cell_features,
      head_features=(self.head_features,),
      output_size=self.output_size,
      theta=theta,
      two_stream=self.two_stream,
      dtype=self.dtype,
      train=train,
      norm=norm,
      between=between,
    )
