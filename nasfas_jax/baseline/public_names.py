"""The tensor names of CDCN and CDCN++ in the public CDCN code.

There the layers of a part have numbers: a convolution, its normalization, a
ReLU, the next convolution. CDCN has the parts conv1, Block1 to Block3 and, one
convolution each, lastconv1 to lastconv3. CDCN++ has conv1 (one convolution;
the second of our stem is Block1's first), Block1 to Block3, lastconv1 (both
convolutions of the head) and the spatial attentions sa1 to sa3. It exists with
64 and 128 channels and, in the second track of the CVPR 2020 challenge, with 80
and 160.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import nn

from nasfas_jax.baseline import weights
from nasfas_jax.baseline.networks import CDCN, Network
from nasfas_jax.models import genotypes
from nasfas_jax.models.search_spaces import LEVELS


def has_public_names(model: nn.Module) -> bool:
  """Whether the public code has this network: CDCN or CDCN++."""
  if isinstance(model, Network):
    # The public code has no projection, second stream or other stem blocks.
    return model.genotype.cells == genotypes.CDCNPP.cells and {
      own for _, own in _names(model)
    } == set(model.state_dict())
  return isinstance(model, CDCN)


def to_own_names(
  model: nn.Module, state: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
  """A state_dict under the baseline's names.

  Args:
    model: network or supernet of the baseline.
    state: under the baseline's names or, for CDCN and CDCN++, under those of
      the public code. Prefixes of wrappers are removed (see
      `weights.plain_names`).

  Raises:
    ValueError: lists names that are missing, unknown or of a wrong shape.
  """
  state = weights.plain_names(state)
  own = model.state_dict()
  public = dict(_names(model)) if has_public_names(model) else {}
  if not any(name.startswith('Block1.') for name in state) or not public:
    weights.check_shapes(
      weights.tensor_shapes(state), weights.tensor_shapes(own), 'The state_dict'
    )
    return dict(state)
  wanted = {name: own[public[name]] for name in public}
  try:
    weights.check_shapes(
      weights.tensor_shapes(state),
      weights.tensor_shapes(wanted),
      'The state_dict, under the names of the public CDCN code,',
    )
  except ValueError as error:
    raise ValueError(f'{error}{_describe(state)}') from error
  return {public[name]: state[name] for name in public if name in state}


def _describe(state: Mapping[str, torch.Tensor]) -> str:
  """Says which public network a state_dict has, and in what widths."""
  parts = ('conv1.0', 'Block1.0', 'lastconv1.0')
  kernels = [state.get(f'{part}.conv.weight') for part in parts]
  if any(kernel is None or kernel.ndim != 4 for kernel in kernels):
    return ''
  stem, cell, head = (kernel.shape[0] for kernel in kernels)
  name = 'cdcnpp' if 'sa1.conv1.weight' in state else 'cdcn'
  return (
    f' It is of a {name} with stem_features ({stem}, {cell}), cell_features '
    f'{cell} and head_features {head}.'
  )


def to_public_names(
  model: nn.Module, state: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
  """A state_dict of CDCN or CDCN++ under the names of the public code.

  Missing batch counters become 0.

  Raises:
    ValueError: for another network, or if names or shapes do not fit.
  """
  if not has_public_names(model):
    raise ValueError(
      f'The public CDCN code has no {type(model).__name__} of these cells; '
      'allowed: cdcn, cdcnpp in one stream.'
    )
  state = to_own_names(model, state)
  zero = torch.zeros((), dtype=torch.long)
  return {public: state.get(own, zero) for public, own in _names(model)}


def _names(model: nn.Module) -> Iterator[tuple[str, str]]:
  """(public name, own name) of every tensor, in the order of the layers."""
  own = model.state_dict()
  for public, block in _blocks(model):
    number = int(public.rpartition('.')[2])
    root = public.rpartition('.')[0]
    yield f'{public}.conv.weight', f'{block}.conv.weight'
    for leaf in (
      'weight',
      'bias',
      'running_mean',
      'running_var',
      weights.COUNTER,
    ):
      # The last convolution has no normalization.
      if f'{block}.norm.{leaf}' in own:
        yield f'{root}.{number + 1}.{leaf}', f'{block}.norm.{leaf}'
  if isinstance(model, Network):
    for i in range(len(LEVELS)):
      yield f'sa{i + 1}.conv1.weight', f'head.attention_{i}.conv.weight'


def _blocks(model: nn.Module) -> Iterator[tuple[str, str]]:
  """(public name, own name) of every block that starts with a convolution."""
  if isinstance(model, CDCN):
    parts = {
      f'Block{number}': [f'{level}_{i}' for i in range(model.num_blocks)]
      for number, level in enumerate(LEVELS, 1)
    }
    parts['lastconv1'] = ['head.block_0']
    parts['lastconv2'] = ['head.block_1']
    parts['lastconv3'] = ['head']
  else:
    parts = {
      'Block1': ['stem_1', *_chain('low_0', 0, 2)],
      'Block2': [*_chain('mid_0', 0, 2), *_chain('mid_0', 1, 2)],
      'Block3': [*_chain('high_0', 0, 1), *_chain('high_0', 1, 2)],
      'lastconv1': ['head.block_0', 'head'],
    }
  for part, names in {'conv1': ['stem_0'], **parts}.items():
    for i, name in enumerate(names):
      # Convolution, normalization and ReLU each have a number.
      yield f'{part}.{3 * i}', name


def _chain(cell: str, source: int, length: int) -> list[str]:
  """The blocks of the operation on an edge of a chain."""
  edge = f'{cell}.from_{source}_to_{source + 1}'
  if length == 1:
    return [f'{edge}.block']
  return [f'{edge}.block_{i}' for i in range(length)]
