"""The mixed operations of a supernet's edges, computed together."""

import collections
import functools
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from nasfas_jax.models import operations
from nasfas_jax.models.layers import (
  RunningStatistics,
  batch_norm,
  kernel_param,
  normalize,
)
from nasfas_jax.models.search_spaces import block_bounds, get_space
from nasfas_jax.ops import central_difference, convolution


def remat_policy(convolutions: bool) -> Callable[..., bool]:
  """What `jax.checkpoint` keeps: sums over pictures and places.

  They are nearly all statistics of normalizations: small, and each is a read of
  all features.

  Args:
    convolutions: compute convolutions again; else their results are kept, too.
  """

  def is_kept(primitive, *operands, **params) -> bool:
    if primitive is jax.lax.reduce_sum_p:
      # Counted from the end: vmap puts more axes in front, of convolutions'
      # results, too (`convolution._map`).
      first = operands[0].ndim - 4
      return params['axes'] == (first, first + 1, first + 2)
    return not convolutions and convolution.KEEP_RESULTS(
      primitive, *operands, **params
    )

  return is_kept


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


def weighted(weight: jax.Array, x: jax.Array) -> jax.Array:
  """weight * x, in the dtype of x.

  The product is float32 in a bfloat16 network, too. Its gradient by the weight
  is a sum over all of x, of which a bfloat16 sum would lose most.

  Args:
    weight: float32 scalar.
    x: features.
  """
  return (weight * x.astype(weight.dtype)).astype(x.dtype)


class _Norm:
  """The running statistics of one norm of a loop over edges, a row an edge.

  They lie where those of `OutgoingEdges._normalize` lie: in one module for all
  edges, or in one for each edge.
  """

  def __init__(self, modules: Sequence[RunningStatistics], edges: int):
    self._modules = modules
    self._edges = edges

  def read(self) -> list[jax.Array]:
    """Mean and variance, [edges, channels] each."""
    kinds = zip(*(module.read() for module in self._modules), strict=True)
    return [jnp.stack(kind).reshape(self._edges, -1) for kind in kinds]

  def update(self, rows: Sequence[jax.Array]) -> None:
    """Moves towards the mean and variance of a batch, as `read` gives them."""
    number = len(self._modules)
    shares = [row.reshape(number, -1) for row in rows]
    for i, module in enumerate(self._modules):
      module.update(*(share[i] for share in shares))


def _joined_rows(segments, norms) -> dict:
  """(mean, variance) by convolution, [edges, channels], gaps filled."""
  rows = {name: norm.read() for name, norm in norms.items()}
  places = collections.Counter()
  found = {}
  for key, parts in segments.items():
    pieces = []
    for name, size, gap in parts:
      place = slice(places[name], places[name] + size)
      places[name] += size
      pieces.append(
        [jnp.pad(row[:, place], ((0, 0), (0, gap))) for row in rows[name]]
      )
    found[key] = tuple(
      jnp.concatenate(kind, axis=-1) for kind in zip(*pieces, strict=True)
    )
  return found


def _update_norms(segments, norms, statistics) -> None:
  """Gives each norm its part of what `_joined_rows` would join."""
  pieces = collections.defaultdict(list)
  for key, parts in segments.items():
    place = 0
    for name, size, gap in parts:
      pieces[name].append(
        [kind[:, place : place + size] for kind in statistics[key]]
      )
      place += size + gap
  for name, parts in pieces.items():
    norms[name].update(
      [jnp.concatenate(kind, axis=-1) for kind in zip(*parts, strict=True)]
    )


# A loop over the edges rounds the channels between two convolutions up to a
# multiple of this: matrix units take channels in eights.
CHANNEL_MULTIPLE = 8


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

  With `loop`, the convolutions of one edge are computed together, edge after
  edge in a loop. A program then holds them once per node, and with `remat` a
  step holds what is computed again of one edge at a time. Parameters and result
  are the same.

  Attributes:
    targets: the nodes that the edges enter.
    space: name of the search space.
    theta: strength of the central difference.
    loop: compute the edges in a loop.
    remat: with `loop`: recompute an edge's activations in the backward pass.
    remat_convolutions: with `remat`: the results of convolutions, too.
    dtype: of the computation.
  """

  targets: tuple[int, ...]
  space: str
  theta: float = 0.7
  loop: bool = False
  remat: bool = False
  remat_convolutions: bool = False
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, x: jax.Array, weights: jax.Array, train: bool
  ) -> list[jax.Array]:
    """Applies the mixed operations.

    Args:
      x: [N, H, W, C].
      weights: float32 [len(targets), num_ops], of the operations of each edge.
      train: whether batch normalization uses the batch.

    Returns:
      For each target the weighted sum of its operations, [N, H, W, C].

    Raises:
      ValueError: for an unknown space, or one with an unknown operation.
    """
    names = get_space(self.space).operations
    edges = len(self.targets)
    # Without a parent: they only describe the operations.
    modules = {
      name: operations.make(name, **self._fields(), parent=None)
      for name in names
    }
    if self.loop:
      # A loop takes the weights of an operation as one array.
      columns = jax.lax.split(weights.T, [1] * len(names))
      looped = self._looped_names(modules)
      weight = {
        name: column.reshape(-1)
        if name in looped
        else scalars(column.reshape(-1))
        for name, column in zip(names, columns, strict=True)
      }
    else:
      numbers = scalars(weights.T.reshape(-1))
      weight = {
        name: numbers[i * edges : (i + 1) * edges]
        for i, name in enumerate(names)
      }
    terms = [
      [weighted(weight[name][e], x) for e in range(edges)]
      for name, module in modules.items()
      if type(module) is operations.Identity
    ]
    if self.loop:
      terms += self._looped(x, weight, modules, train)
    else:
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
    return total(map(weighted, weights, parts))

  def _forms(self, modules):
    """The single convolutions' names, by kernel size and dilation."""
    forms = {}
    for name, module in self._packed(modules, operations.Convolution).items():
      form = module.kernel_size, module.dilation
      forms.setdefault(form, []).append(name)
    return forms

  def _single(self, name, module, features):
    """The kernels of a single convolution."""
    return self._kernel(
      name,
      features,
      features,
      kernel_size=module.kernel_size,
      variant=module.variant,
    )

  def _double(self, packed, features):
    """The expansions' first and second kernels, widths and blocks."""
    widths = [
      operations.middle_features(features, module.ratio)
      for module in packed.values()
    ]
    first = [
      self._kernel(f'{name}_first', features, width)
      for name, width in zip(packed, widths, strict=True)
    ]
    second = [
      self._kernel(f'{name}_second', width, features)
      for name, width in zip(packed, widths, strict=True)
    ]
    bounds = [slice(*bound) for bound in block_bounds(widths)]
    return first, second, widths, bounds

  def _convolutions(self, x, weight, modules, train):
    """Terms of the single convolutions, one wide convolution per form."""
    features = x.shape[-1]
    edges = len(self.targets)
    for (kernel_size, dilation), names in self._forms(modules).items():
      kernels = [self._single(name, modules[name], features) for name in names]
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
    first, second, widths, bounds = self._double(packed, x.shape[-1])
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

  def _looped_names(self, modules):
    """The operations that `_looped` computes."""
    kinds = operations.Convolution, operations.Expansion
    return [name for kind in kinds for name in self._packed(modules, kind)]

  def _looped(self, x, weight, modules, train):
    """Term of all packed convolutions, in a loop over the edges."""
    features = x.shape[-1]
    edges = len(self.targets)
    forms = self._forms(modules)
    expansions = self._packed(modules, operations.Expansion)
    # By kernel size and dilation: the kernels that see x, [k, k, C, edges, O],
    # one of all single convolutions and one of each block of expansions.
    firsts = {
      form: [
        jnp.concatenate(
          [self._single(name, modules[name], features) for name in names], -1
        )
      ]
      for form, names in forms.items()
    }
    # By convolution: (norm, channels, channels of zeros behind them).
    segments = {
      str(form): [('conv_{}_{}_norm'.format(*form), len(names) * features, 0)]
      for form, names in forms.items()
    }
    seconds, groups = [], []
    if expansions:
      first, second, widths, bounds = self._double(expansions, features)
      for number, bound in enumerate(bounds):
        width = sum(widths[bound])
        gap = -width % CHANNEL_MULTIPLE
        # What the kernels of the gap give is zero, and is weighted by zero.
        kernel = jnp.concatenate(first[bound], axis=-1)
        kernel = jnp.pad(kernel, ((0, 0),) * 4 + ((0, gap),))
        firsts.setdefault((3, 1), []).append(kernel)
        segments.setdefault(str((3, 1)), []).append(('first_norm', width, gap))
        kernel = block_diagonal(second[bound])
        kernel = jnp.pad(kernel, ((0, 0),) * 2 + ((0, gap),) + ((0, 0),) * 2)
        seconds.append(kernel)
        groups.append(list(expansions)[bound])
        segments[f'second_{number}'] = [
          (f'second_{number}_norm', kernel.shape[-1], 0)
        ]
    if not firsts:
      return
    norms = self._edge_norms(segments)
    weights = {name: weight[name] for name in self._looped_names(modules)}

    def edge(inputs):
      """The term of one edge, and the batch statistics of its norms."""
      firsts, seconds, weights, running = inputs
      terms, statistics = [], {}

      def activate(y, key):
        given = None if train else running[key]
        y, statistics[key] = normalize(y, given, dtype=self.dtype)
        return nn.relu(y)

      for form, kernels in firsts.items():
        y = self._wide(x, jnp.concatenate(kernels, axis=-1), form[1])
        sizes = [kernel.shape[-1] for kernel in kernels]
        parts = _split(activate(y, str(form)), sizes)
        if form in forms:
          single = [weights[name] for name in forms[form]]
          terms.append(self._mix(parts.pop(0), single))
        for number, middle in enumerate(parts):
          y = self._wide(middle, seconds[number])
          y = activate(y, f'second_{number}')
          terms.append(self._mix(y, [weights[n] for n in groups[number]]))
      return total(terms), statistics

    inputs = (
      jax.tree.map(lambda kernel: jnp.moveaxis(kernel, 3, 0), firsts),
      [jnp.moveaxis(kernel, 3, 0) for kernel in seconds],
      weights,
      _joined_rows(segments, norms),
    )
    if self.remat:
      edge = jax.checkpoint(edge, policy=remat_policy(self.remat_convolutions))
    if edges == 1:
      alone = edge(jax.tree.map(lambda a: a[0], inputs))
      mixed, statistics = jax.tree.map(lambda a: a[None], alone)
    else:
      mixed, statistics = jax.lax.map(edge, inputs)
    if train:
      _update_norms(segments, norms, statistics)
    yield list(mixed)

  def _edge_norms(self, segments):
    """The norms of a loop by their names in `segments`, see `_Norm`."""
    edges = len(self.targets)
    sizes = collections.Counter()
    for parts in segments.values():
      for name, size, _ in parts:
        sizes[name] += size
    return {
      name: _Norm(
        [
          RunningStatistics(size, name=f'to_{target}_{name}')
          for target in self.targets
        ]
        if name.startswith('second_')
        else [RunningStatistics(edges * size, name=name)],
        edges,
      )
      for name, size in sizes.items()
    }

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
        yield [weighted(weight[name][e], y) for e in edges]
      elif not self._is_packed(module) and type(module) not in (
        operations.Identity,
        # Adds zero, whatever its weight.
        operations.Zero,
      ):
        yield [
          weighted(
            weight[name][e],
            operations.make(
              name, **self._fields(), name=f'to_{self.targets[e]}_{name}'
            )(x, train=train),
          )
          for e in edges
        ]
