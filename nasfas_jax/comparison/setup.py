"""What is compared, as plain values.

PyTorch's steps and the measured ones run in processes of their own, each of
which is given the folder of the run: `read` is where they begin.
"""

import dataclasses
import pathlib
from collections.abc import Mapping

import flax.linen as nn
import jax
import ml_collections

from nasfas_jax import inputs, optimizers, run_config, settings
from nasfas_jax.models import genotypes
from nasfas_jax.models.supernet import Supernet
from nasfas_jax.searchers.supernet_program import SearchSettings


@dataclasses.dataclass(frozen=True)
class Setup:
  """What is compared.

  Attributes:
    network: the network, float32.
    supernet: the supernet, float32.
    example: an input of both, of which only the shape is used.
    num_frames: frames of a clip.
    form: how they become the input.
    loss_weights: of the loss's terms, see `losses.make_objective`.
    training: how the network descends.
    search: of the supernet; the plain search of first order.
    seed: of drawn weights and of the order of the clips.
    batch_size: clips of a step of the network.
  """

  network: nn.Module
  supernet: Supernet
  example: jax.Array
  num_frames: int
  form: inputs.InputForm
  loss_weights: Mapping[str, float]
  training: optimizers.Descent
  search: SearchSettings
  seed: int
  batch_size: int


def of(
  config: ml_collections.ConfigDict, chosen: str | genotypes.Genotype
) -> Setup:
  """What a config and the name or the genotype of its network say."""
  return Setup(
    network=settings.network(config, chosen),
    supernet=settings.supernet(config),
    example=settings.example_input(config),
    num_frames=config.data.num_frames,
    form=settings.input_form(config),
    loss_weights=dict(config.loss),
    training=settings.training(config),
    search=dataclasses.replace(settings.search(config), second_order=False),
    seed=config.seed,
    batch_size=config.compare.batch_size,
  )


def read(folder: pathlib.Path) -> Setup:
  """The setup of the comparison in a folder.

  Raises:
    ValueError: as `run_config.read` and `genotypes.load`.
  """
  config = run_config.read(folder)
  chosen = config.model
  if chosen == 'genotype':
    chosen = genotypes.load(folder / 'genotype.json')
  return of(config, chosen)
