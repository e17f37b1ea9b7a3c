"""Architecture parameters: a pytree separate from the weights.

The tree has three entries, each a dict over the levels of float32 logits:

  alphas: [num_cells, num_edges, num_ops], the operations of each edge.
  betas: [num_cells, num_edges], the incoming edges of each node (edge
    normalization, PC-DARTS, arXiv 1907.05737).
  nodes: [num_cells, num_nodes], the nodes of each cell (node attention).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nasfas_jax.models.search_spaces import (
  LEVELS,
  SKIP_CONNECT,
  derivable,
  get_space,
  num_edges,
)

Arch = dict[str, dict[str, Any]]

_INIT_SCALE = 1e-3


def init_arch(
  key: jax.Array, *, space: str, num_cells: int, num_nodes: int
) -> Arch:
  """Draws logits near 0, from a normal distribution of scale 1e-3.

  Raises:
    ValueError: for an unknown space.
  """
  operations = get_space(space).operations
  edges = num_edges(num_nodes)
  shapes = {
    'alphas': (num_cells, edges, len(operations)),
    'betas': (num_cells, edges),
    'nodes': (num_cells, num_nodes),
  }
  keys = iter(jax.random.split(key, len(shapes) * len(LEVELS)))
  return {
    name: {
      level: _INIT_SCALE * jax.random.normal(next(keys), shape, jnp.float32)
      for level in LEVELS
    }
    for name, shape in shapes.items()
  }


def _normalize_edges(betas: jax.Array, num_nodes: int) -> jax.Array:
  """Softmax over the incoming edges of each node; edges are in target order."""
  starts = [num_edges(node) for node in range(1, num_nodes)]
  parts = jnp.split(betas, starts, axis=-1)
  return jnp.concatenate([jax.nn.softmax(p, axis=-1) for p in parts], axis=-1)


def mixing_weights(
  arch: Arch,
  *,
  num_nodes: int,
  key: jax.Array | None = None,
  temperature: float | jax.Array = 1.0,
) -> Arch:
  """The weights with which the supernet mixes operations, edges and nodes.

  Args:
    arch: logits, see the module's docstring.
    num_nodes: intermediate nodes of a cell.
    key: for a Gumbel-softmax sample of the alphas; None: their softmax.
    temperature: divides the alphas, after the Gumbel noise is added.

  Returns:
    float32 weights in the tree of `arch`.
  """
  alphas = dict(arch['alphas'])
  if key is not None:
    for level, level_key in zip(LEVELS, jax.random.split(key, 3), strict=True):
      noise = jax.random.gumbel(level_key, alphas[level].shape, jnp.float32)
      alphas[level] = alphas[level] + noise
  return {
    'alphas': {k: jax.nn.softmax(v / temperature) for k, v in alphas.items()},
    'betas': {
      k: _normalize_edges(v, num_nodes) for k, v in arch['betas'].items()
    },
    'nodes': {k: jax.nn.softmax(v) for k, v in arch['nodes'].items()},
  }


def temper(arch: Arch, temperature: float) -> Arch:
  """Divides the alphas by a temperature; the other logits stay."""
  alphas = {k: v / temperature for k, v in arch['alphas'].items()}
  return {**arch, 'alphas': alphas}


def _edges(arch: Arch) -> jax.Array:
  """The alphas of all edges: [levels * num_cells * num_edges, num_ops]."""
  alphas = [arch['alphas'][level] for level in LEVELS]
  return jnp.concatenate([a.reshape(-1, a.shape[-1]) for a in alphas])


def alpha_entropy(arch: Arch) -> jax.Array:
  """Mean entropy of the edges' operations over its maximum.

  Returns:
    float32 scalar in [0, 1]; 0 for a space of one operation.
  """
  log_weights = jax.nn.log_softmax(_edges(arch))
  entropy = -jnp.sum(jnp.exp(log_weights) * log_weights, axis=-1)
  number = log_weights.shape[-1]
  return jnp.mean(entropy) / jnp.log(float(max(number, 2)))


def skip_share(arch: Arch, space: str) -> jax.Array:
  """Mean weight of 'skip_connect' over the edges.

  Returns:
    float32 scalar in [0, 1]; 0 for a space without 'skip_connect'.
  """
  operations = get_space(space).operations
  if SKIP_CONNECT not in operations:
    return jnp.zeros((), jnp.float32)
  place = operations.index(SKIP_CONNECT)
  return jnp.mean(jax.nn.softmax(_edges(arch))[:, place])


def skip_edge_share(arch: Arch, space: str) -> jax.Array:
  """Share of edges whose strongest operation, 'none' aside, is 'skip_connect'.

  Returns:
    float32 scalar in [0, 1].
  """
  operations = get_space(space).operations
  choices = derivable(get_space(space))
  is_skip = np.array([operations[i] == SKIP_CONNECT for i in choices])
  best = jnp.argmax(_edges(arch)[:, np.array(choices)], axis=-1)
  return jnp.mean(jnp.asarray(is_skip, jnp.float32)[best])
