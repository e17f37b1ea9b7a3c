"""Converts weights between PyTorch's state_dict and Flax's variables.

Values are copied exactly. PyTorch's kernels [O, I, k, k] are [k, k, I, O] in
Flax, crosses [O, I, 5] are [5, I, O]. Names are those of the modules. In a
supernet Flax keeps one tensor for all outgoing edges of a node (see
`models.mixed_edges.OutgoingEdges`).
"""

import dataclasses
import os
import re
from collections.abc import Mapping
from typing import BinaryIO

import numpy as np
import torch
from torch import nn

from nasfas_jax.baseline import layers, supernet
from nasfas_jax.models.search_spaces import block_bounds

State = Mapping[str, torch.Tensor]
Shape = tuple[int, ...]

# PyTorch's batch counter, which Flax does not have: ignored, and written as 0.
COUNTER = 'num_batches_tracked'
_LEAVES = {
  'bias': ('params', 'bias'),
  'running_mean': ('batch_stats', 'mean'),
  'running_var': ('batch_stats', 'var'),
}
# In PyTorch's message for a file that holds more than tensors.
_FOREIGN_CLASS = re.compile(r'GLOBAL (\S+) was not an allowed global')
_WRAPPERS = re.compile(r'^((module|_orig_mod)\.)+')
# The most names of a kind that an error lists.
_MAX_LISTED = 8


@dataclasses.dataclass(frozen=True)
class Place:
  """The place of a tensor in Flax's variables.

  Attributes:
    path: of the array, beginning with 'params' or 'batch_stats'.
    start: where the tensor begins in the array's last axis.
  """

  path: tuple[str, ...]
  start: int = 0


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
  """Reads a state_dict from a file, without executing code in it.

  Args:
    path: file of torch.save: a state_dict, or a dict with one under
      'state_dict'. Prefixes of wrappers are removed from the names.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if it is not a file of torch.save, or holds anything but named
      tensors of finite numbers, or two names of one tensor.
  """
  with open(path, 'rb') as file:
    return _load(file, repr(os.fspath(path)))


def _load(file: BinaryIO, name: str) -> dict[str, torch.Tensor]:
  """Reads an open file; `name` stands in messages."""
  try:
    state = torch.load(file, map_location='cpu', weights_only=True)
  except Exception as error:
    # PyTorch's errors have no common base class.
    held = _FOREIGN_CLASS.search(str(error))
    if held:
      # What a whole model holds, or a file made to do harm.
      raise ValueError(
        f'{name} holds a Python object ({held[1]}), not tensors only; reading '
        'it could run code. Where it was made: '
        'torch.save(model.state_dict(), PATH).'
      ) from error
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    raise ValueError(
      f'{name} is no PyTorch checkpoint of tensors only, or is damaged: '
      f'{reason}'
    ) from error
  if isinstance(state, Mapping) and isinstance(
    state.get('state_dict'), Mapping
  ):
    state = state['state_dict']
  try:
    return checked(state)
  except ValueError as error:
    raise ValueError(f'{name} {error}') from error


def checked(state: object) -> dict[str, torch.Tensor]:
  """A state_dict under plain names, if it is one.

  Raises:
    ValueError: if it is anything else, or holds what no network computes with.
  """
  if not isinstance(state, Mapping):
    raise ValueError(
      f'holds a {type(state).__name__}; allowed: a state_dict, or a dict with '
      "one under 'state_dict'."
    )
  wrong = [
    str(key)
    for key, value in state.items()
    if not (isinstance(key, str) and isinstance(value, torch.Tensor))
  ]
  if wrong:
    raise ValueError(
      f'holds entries that are not tensors: {_listed(wrong)}; allowed: a '
      "state_dict, or a dict with one under 'state_dict'."
    )
  check_values(state)
  return plain_names(state)


def check_values(state: State) -> None:
  """Refuses what no network computes with.

  Raises:
    ValueError: lists the tensors that are not dense and of a real floating
      type, or that hold a NaN, an infinity or a negative variance. Counters are
      not looked at.
  """
  kept = {name: state[name] for name in tensor_shapes(state)}
  wrong = [
    f'{name} {str(value.dtype).removeprefix("torch.")}'
    for name, value in kept.items()
    if not value.is_floating_point()
    or value.layout is not torch.strided
    or value.device.type == 'meta'
    # A few stored numbers may stand for more than the memory holds.
    or value.numel() * value.element_size() > value.untyped_storage().nbytes()
  ]
  if wrong:
    raise ValueError(
      f'holds {len(wrong)} tensors that are not dense numbers of a real '
      f'floating type '
      f'({_listed(wrong)}).'
    )
  broken = [
    name
    for name, value in kept.items()
    if not torch.isfinite(value).all()
    or (name.endswith('running_var') and (value < 0).any())
  ]
  if broken:
    raise ValueError(
      f'holds {len(broken)} tensors with a NaN, an infinity or a negative '
      f'variance '
      f'({_listed(broken)}).'
    )


def plain_names(state: State) -> dict[str, torch.Tensor]:
  """Removes 'module.' (DataParallel) and '_orig_mod.' (torch.compile).

  Raises:
    ValueError: if that gives two tensors one name.
  """
  plain: dict[str, torch.Tensor] = {}
  before: dict[str, str] = {}
  for name, value in state.items():
    short = _WRAPPERS.sub('', name)
    if short in plain:
      raise ValueError(
        f'holds two names of one tensor: {before[short]} and {name}.'
      )
    plain[short], before[short] = value, name
  return plain


def check_shapes(
  found: Mapping[str, Shape], wanted: Mapping[str, Shape], what: str
) -> None:
  """Compares names and shapes.

  Raises:
    ValueError: lists the missing, unknown and wrongly shaped names.
  """
  parts = {
    'missing': [name for name in wanted if name not in found],
    'unknown': [name for name in found if name not in wanted],
    'of a wrong shape': [
      f'{name} {list(found[name])}, not {list(wanted[name])}'
      for name in wanted
      if name in found and found[name] != wanted[name]
    ],
  }
  problems = [
    f'{len(names)} {kind} ({_listed(names)})'
    for kind, names in parts.items()
    if names
  ]
  if problems:
    raise ValueError(f'{what} does not fit the network: {"; ".join(problems)}.')


def _listed(names: list[str]) -> str:
  shown = ', '.join(names[:_MAX_LISTED])
  more = len(names) - _MAX_LISTED
  text = f'{shown} and {more} more' if more > 0 else shown
  # A name of a file may hold anything.
  return text.encode('unicode_escape').decode()[:2000]


def tensor_shapes(state: State) -> dict[str, Shape]:
  """Shapes by name, without the counters."""
  return {
    name: tuple(value.shape)
    for name, value in state.items()
    if name.rpartition('.')[2] != COUNTER
  }


def to_flax(model: nn.Module, state: State) -> dict[str, dict]:
  """Flax's variables with the values of a state_dict.

  Args:
    model: network or supernet of the baseline, whose names `state` has.
    state: name -> tensor; counters may be missing, `plain_names` are taken.

  Returns:
    {'params', 'batch_stats'}, nested dicts of float32 NumPy arrays.

  Raises:
    ValueError: if names or shapes do not fit, or if the statistics of a pool
      differ between the edges that leave a node, which share them in Flax.
  """
  state = plain_names(state)
  wanted = tensor_shapes(model.state_dict())
  check_shapes(tensor_shapes(state), wanted, 'The state_dict')
  pieces: dict[tuple[str, ...], dict[int, np.ndarray]] = {}
  for name in wanted:
    place = find_place(model, name)
    array = state[name].detach().cpu().float().numpy()
    array = array.transpose(_axes(array.ndim))
    parts = pieces.setdefault(place.path, {})
    before = parts.setdefault(place.start, array)
    if not np.array_equal(before, array, equal_nan=True):
      raise ValueError(
        f'{name} differs from the same pool on another edge from its node; '
        'Flax keeps one for all of them.'
      )
  variables: dict[str, dict] = {'params': {}, 'batch_stats': {}}
  for path, parts in pieces.items():
    array = np.concatenate([parts[start] for start in sorted(parts)], axis=-1)
    node = variables
    for key in path[:-1]:
      node = node.setdefault(key, {})
    node[path[-1]] = array
  return variables


def from_flax(
  model: nn.Module, variables: Mapping[str, Mapping]
) -> dict[str, torch.Tensor]:
  """The state_dict, under the baseline's names, of Flax's variables.

  Args:
    model: network or supernet of the baseline, which gives names and shapes.
    variables: {'params', 'batch_stats'}, nested dicts of arrays.

  Raises:
    ValueError: if names or shapes do not fit.
  """
  found = {
    '/'.join(path): np.asarray(value) for path, value in _leaves(variables)
  }
  own = model.state_dict()
  places = {name: find_place(model, name) for name in tensor_shapes(own)}
  wanted: dict[str, Shape] = {}
  for name, place in places.items():
    path = '/'.join(place.path)
    shape = own[name].permute(_axes(own[name].ndim)).shape
    end = max(place.start + shape[-1], wanted.get(path, (0,))[-1])
    wanted[path] = (*shape[:-1], end)
  check_shapes(
    {path: array.shape for path, array in found.items()},
    wanted,
    "Flax's variables",
  )
  state = {}
  for name, value in own.items():
    if name not in places:
      state[name] = torch.zeros_like(value)
      continue
    array = found['/'.join(places[name].path)]
    array = array.transpose(np.argsort(_axes(array.ndim)))
    start = places[name].start
    array = array[start : start + value.shape[0]]
    state[name] = torch.from_numpy(np.array(array, np.float32, order='C'))
  return state


def _leaves(tree, path=()):
  for key, value in tree.items():
    if isinstance(value, Mapping):
      yield from _leaves(value, (*path, key))
    else:
      yield (*path, key), value


def _axes(ndim: int) -> tuple[int, ...]:
  """The axes of PyTorch's layout in the order of Flax's."""
  return {1: (0,), 3: (2, 1, 0), 4: (2, 3, 1, 0)}[ndim]


def find_place(model: nn.Module, name: str) -> Place:
  """The place of a named tensor in Flax's variables."""
  *modules, leaf = name.split('.')
  if leaf == 'weight':
    is_scale = isinstance(
      model.get_submodule('.'.join(modules)), nn.BatchNorm2d
    )
    leaf = 'scale' if is_scale else 'kernel'
  collection, leaf = _LEAVES.get(leaf, ('params', leaf))
  cell = getattr(model, modules[0])
  if isinstance(cell, supernet.SearchCell):
    place = _mixed_place(cell, modules, leaf)
    return dataclasses.replace(place, path=(collection, *place.path))
  return Place((collection, *modules, leaf))


def _mixed_place(
  cell: supernet.SearchCell, modules: list[str], leaf: str
) -> Place:
  """The place of a tensor of a mixed operation; see `OutgoingEdges`."""
  owner, edge_name, short, *inner = modules
  source, target = map(
    int, re.fullmatch(r'from_(\d+)_to_(\d+)', edge_name).groups()
  )
  edge = target - source - 1
  names = cell.operations
  name = next(n for n in names if supernet.module_name(n) == short)
  path = (owner, f'from_{source}')
  width = cell.kept
  if name == layers.SEPARABLE:
    return Place((*path, f'to_{target}_{name}', *inner, leaf))
  if name in layers.POOLS:
    return Place((*path, f'{name}_norm', leaf))
  if name in layers.CONVOLUTIONS:
    if leaf == 'kernel':
      return Place((*path, name), edge * width)
    kernel_size, dilation, _ = form = layers.CONVOLUTIONS[name]
    group = [n for n in names if layers.CONVOLUTIONS.get(n, ())[:2] == form[:2]]
    start = (edge * len(group) + group.index(name)) * width
    return Place((*path, f'conv_{kernel_size}_{dilation}_norm', leaf), start)
  group = [n for n in names if layers.is_expansion(n)]
  order = 'first' if inner[0] == 'block_0' else 'second'
  widths = [width] * len(group)
  if order == 'first':
    widths = [layers.middle_features(n, width) for n in group]
  if leaf == 'kernel':
    return Place((*path, f'{name}_{order}'), edge * widths[group.index(name)])
  index = group.index(name)
  if order == 'first':
    start = edge * sum(widths) + sum(widths[:index])
    return Place((*path, 'first_norm', leaf), start)
  middle = [layers.middle_features(n, width) for n in group]
  for number, (begin, end) in enumerate(block_bounds(middle)):
    if begin <= index < end:
      norm = f'to_{target}_second_{number}_norm'
      return Place((*path, norm, leaf), (index - begin) * width)
  raise AssertionError(f'{name} is in no block of {group}.')
