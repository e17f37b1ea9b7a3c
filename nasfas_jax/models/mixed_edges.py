"""The mixed operations of a supernet's edges, computed together."""

import functools
import operator
from collections.abc import Iterable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from nasfas_jax.models import operations
from nasfas_jax.models.layers import batch_norm, kernel_param
from nasfas_jax.models.search_spaces import block_bounds, get_space
from nasfas_jax.ops import central_difference


def block_diagonal(kernels: Sequence[jax.Array]) -> jax.Array:
  """Joins kernels so that each is applied to its own channels.

  Args:
    kernels: [k, k, I_i, E, O_i] for each i, for E edges.

  Returns:
    [k, k, sum of I_i, E, sum of O_i], zero outside the diagonal blocks.
  """
  width = sum(kernel.shape[-1] for kernel in kernels)
  rows = []
  before = 0
  for kernel in kernels:
    after = width - before - kernel.shape[-1]
    rows.append(jnp.pad(kernel, ((0, 0),) * 4 + ((before, after),)))
    before += kernel.shape[-1]
  return jnp.concatenate(rows, axis=2)


def _split(x: jax.Array, sizes: Sequence[int]) -> list[jax.Array]:
  """Splits x [..., C] into consecutive parts of `sizes` channels, of sum C.

  Not by slices, whose cotangents would be padded to C channels and summed.
  """
  return jax.lax.split(x, sizes, axis=x.ndim - 1)


def scalars(x: jax.Array) -> list[jax.Array]:
  """The n elements of x [n] as scalars, see `_split`."""
  return [number.reshape(()) for number in _split(x, [1] * x.size)]


def total(terms: Iterable[jax.Array]) -> jax.Array:
  """The sum, without the initial 0 of Python's `sum`, which JAX would trace."""
  return functools.reduce(operator.add, terms)


class OutgoingEdges(nn.Module):
  """The mixed operations of all outgoing edges of one node.

  The edges share their input. So all convolutions of one kernel size and
  dilation, over all edges and operations, are one wide convolution with one
  batch normalization, which in a search has no parameters and so acts on each
  channel separately. The result equals that of separate operations, and takes a
  fraction of the time to run and to compile. Narrow second convolutions of an
  edge's cdc_2_r are joined into block-diagonal ones. Pools are computed once
  for all edges.

  An operation's kernels for all edges are one parameter, edge after edge in its
  last axis: with few tensors the optimizer's part of a step is short.

  Only operations of the modules `Convolution`, `Expansion` and `Pool` are
  computed together. Any other operation has one module per edge, named
  to_TARGET_OPERATION.

  Attributes:
    targets: the nodes that the edges enter.
    space: name of the search space.
    theta: strength of the central difference.
    dtype: of the computation.
  """

  targets: tuple[int, ...]
  space: str
  theta: float = 0.7
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, x: jax.Array, weights: jax.Array, train: bool
  ) -> list[jax.Array]:
    """Applies the mixed operations.

    Args:
      x: [N, H, W, C].
      weights: [len(targets), num_ops], of the operations of each edge.
      train: whether batch normalization uses the batch.

    Returns:
      For each target the weighted sum of its operations, [N, H, W, C].

    Raises:
      ValueError: for an unknown space, or one with an unknown operation.
    """
    names = get_space(self.space).operations
    numbers = scalars(weights.astype(self.dtype).T.reshape(-1))
    edges = len(self.targets)
    weight = {
      name: numbers[i * edges : (i + 1) * edges] for i, name in enumerate(names)
    }
    # Without a parent: they only describe the operations.
    modules = {
      name: operations.make(name, **self._fields(), parent=None)
      for name in names
    }
    terms = [
      [weight[name][e] * x for e in range(edges)]
      for name, module in modules.items()
      if type(module) is operations.Identity
    ]
    terms += self._convolutions(x, weight, modules, train)
    terms += self._expansions(x, weight, modules, train)
    terms += self._others(x, weight, modules, train)
    return [total(parts) for parts in zip(*terms, strict=True)]

  def _fields(self):
    """The fields of the operations' modules."""
    return {'theta': self.theta, 'affine': False, 'dtype': self.dtype}

  def _is_packed(self, module):
    """Whether an operation can be computed together with others.

    False for one whose table entry sets a field that is shared here, and for
    subclasses, which may compute something else.
    """
    fields = self._fields()
    return type(module) in (
      operations.Convolution,
      operations.Expansion,
      operations.Pool,
    ) and fields == {name: getattr(module, name) for name in fields}

  def _packed(self, modules, kind):
    """The operations of a module class that are computed together, by name."""
    return {
      name: module
      for name, module in modules.items()
      if type(module) is kind and self._is_packed(module)
    }

  def _kernel(self, name, in_features, features, **form):
    """The kernels of an operation: [k, k, in_features, edges, features]."""
    edges = len(self.targets)
    kernel = kernel_param(
      self,
      name,
      in_features=in_features,
      features=edges * features,
      **{'kernel_size': 3, **form},
    )
    return kernel.reshape(*kernel.shape[:3], edges, features)

  def _normalize(self, y, name, train):
    """Batch normalization without parameters, then ReLU."""
    y = batch_norm(
      y, train=train, affine=False, dtype=self.dtype, name=f'{name}_norm'
    )
    return nn.relu(y)

  def _wide(self, x, kernels, dilation=1):
    """One CDC of x with kernels [k, k, C, ...]; the last axes are features."""
    return central_difference.central_difference_conv(
      x,
      kernels.reshape(*kernels.shape[:3], -1),
      theta=self.theta,
      dilation=dilation,
    )

  def _mix(self, y, weights):
    """Sums y [N, H, W, len(weights) * C] over the operations."""
    # A sum, not a matrix product: XLA fuses it with the normalization.
    parts = _split(y, [y.shape[-1] // len(weights)] * len(weights))
    return total(w * part for w, part in zip(weights, parts, strict=True))

  def _convolutions(self, x, weight, modules, train):
    """Terms of the single convolutions, one wide convolution per form."""
    packed = self._packed(modules, operations.Convolution)
    forms = {}
    for name, module in packed.items():
      form = module.kernel_size, module.dilation
      forms.setdefault(form, []).append(name)
    features = x.shape[-1]
    edges = len(self.targets)
    for (kernel_size, dilation), names in forms.items():
      kernels = [
        self._kernel(
          name,
          features,
          features,
          kernel_size=kernel_size,
          variant=packed[name].variant,
        )
        for name in names
      ]
      y = self._wide(x, jnp.stack(kernels, axis=-2), dilation)
      y = self._normalize(y, f'conv_{kernel_size}_{dilation}', train)
      yield [
        self._mix(part, [weight[name][e] for name in names])
        for e, part in enumerate(_split(y, [y.shape[-1] // edges] * edges))
      ]

  def _expansions(self, x, weight, modules, train):
    """Term of all cdc_2_r: a first convolution for all edges, a second each."""
    packed = self._packed(modules, operations.Expansion)
    if not packed:
      return
    names = list(packed)
    edges = len(self.targets)
    features = x.shape[-1]
    widths = [
      operations.middle_features(features, module.ratio)
      for module in packed.values()
    ]
    first = [
      self._kernel(f'{name}_first', features, width)
      for name, width in zip(names, widths, strict=True)
    ]
    second = [
      self._kernel(f'{name}_second', width, features)
      for name, width in zip(names, widths, strict=True)
    ]
    bounds = [slice(*bound) for bound in block_bounds(widths)]
    kernels = [block_diagonal(second[bound]) for bound in bounds]
    middle = self._wide(x, jnp.concatenate(first, axis=-1))
    middle = self._normalize(middle, 'first', train)
    parts = iter(_split(middle, [sum(widths[b]) for b in bounds] * edges))
    mixed = []
    for e, target in enumerate(self.targets):
      # Block by block to the end: concatenating their outputs would copy them.
      terms = []
      for number, bound in enumerate(bounds):
        y = self._wide(next(parts), kernels[number][..., e, :])
        y = self._normalize(y, f'to_{target}_second_{number}', train)
        terms.append(self._mix(y, [weight[name][e] for name in names[bound]]))
      mixed.append(total(terms))
    yield mixed

  def _others(self, x, weight, modules, train):
    """Terms of the pools, shared by all edges, and of the separate modules."""
    edges = range(len(self.targets))
    pools = self._packed(modules, operations.Pool)
    for name, module in modules.items():
      if name in pools:
        y = module.pool(x, theta=self.theta)
        y = batch_norm(
          y, train=train, affine=False, dtype=self.dtype, name=f'{name}_norm'
        )
        yield [weight[name][e] * y for e in edges]
      elif not self._is_packed(module) and type(module) not in (
        operations.Identity,
        # Adds zero, whatever its weight.
        operations.Zero,
      ):
        yield [
          weight[name][e]
          * operations.make(
            name, **self._fields(), name=f'to_{self.targets[e]}_{name}'
          )(x, train=train)
          for e in edges
        ]
