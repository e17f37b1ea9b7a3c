"""Targets, loss terms, the objective, and the score of a map.

A loss term has one value per example, [B]; the objective takes the mean. All
are computed in float32, whatever the input dtype.
"""

import functools
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from nasfas_jax import records

Batch = Mapping[str, jax.Array]
# (a network's outputs, batch) -> (loss, terms by name).
Objective = Callable[[Any, Batch], tuple[jax.Array, dict[str, jax.Array]]]

SUPERVISIONS = ('depth', 'binary_mask')

# By how much a triplet's distances are to differ, between unit vectors.
TRIPLET_MARGIN = 0.1
# Bounds the gradient of an embedding of dead features, which has no direction.
_SMALL = 1e-6
# The features of a network that stand for a whole clip.
_EMBEDDED = 'high'

# The 8 neighbours of a pixel in its 3x3 window, row by row.
_NEIGHBOURS = tuple(
  (row, column)
  for row in range(3)
  for column in range(3)
  if (row, column) != (1, 1)
)


def make_target(
  depth: jax.Array,
  face_mask: jax.Array,
  labels: jax.Array,
  supervision: str,
) -> jax.Array:
  """The target map of each example.

  Args:
    depth: [B, S, S] float in [0, 1], 1 = nearest.
    face_mask: [B, S, S] float or bool, 1 on the face.
    labels: [B] integers, 1 live, 0 spoof.
    supervision: the target of live clips: 'depth', their depth map, or
      'binary_mask', their face mask.

  Returns:
    float32 [B, S, S]; zeros for spoofs.

  Raises:
    ValueError: for an unknown supervision, a depth that is not float, or shapes
      that do not match.
  """
  if supervision not in SUPERVISIONS:
    raise ValueError(
      f'Unknown supervision {supervision!r}; allowed: '
      f'{", ".join(SUPERVISIONS)}.'
    )
  _check_maps('depth', depth, 'face_mask', face_mask)
  if not jnp.issubdtype(depth.dtype, jnp.floating):
    raise ValueError(f'depth is {depth.dtype}; allowed: a float in [0, 1].')
  if labels.shape != depth.shape[:1]:
    raise ValueError(
      f'labels have shape {labels.shape}; allowed: {depth.shape[:1]}, one '
      'for each map.'
    )
  live = depth if supervision == 'depth' else face_mask
  is_live = (labels == records.LIVE)[:, jnp.newaxis, jnp.newaxis]
  return jnp.where(is_live, live.astype(jnp.float32), 0.0)


def depth_mse(prediction: jax.Array, target: jax.Array) -> jax.Array:
  """Mean squared error of each map.

  Args:
    prediction: [B, S, S] float.
    target: [B, S, S] float.

  Returns:
    float32 [B].

  Raises:
    ValueError: if the shapes differ or are not [B, S, S].
  """
  return jnp.mean(jnp.square(_error(prediction, target)), axis=(1, 2))


def contrastive_depth_loss(
  prediction: jax.Array, target: jax.Array
) -> jax.Array:
  """Contrastive depth loss (CDL; Wang et al. 2020, arXiv:2003.08061).

  The mean squared error between the responses of eight fixed 3x3 kernels to
  prediction and target. Each kernel is 1 at one neighbour and -1 at the centre;
  there is no padding. The kernels are linear, so they are applied once, to the
  error map.

  Args:
    prediction: [B, S, S] float, S at least 3.
    target: [B, S, S] float.

  Returns:
    float32 [B], the mean over the kernels and the (S - 2)^2 positions.

  Raises:
    ValueError: if the shapes differ, are not [B, S, S], or S is below 3.
  """
  error = _error(prediction, target)
  height, width = error.shape[1] - 2, error.shape[2] - 2
  if height < 1 or width < 1:
    raise ValueError(
      f'Maps have shape {prediction.shape}; allowed: sides of 3 or more.'
    )
  centre = error[:, 1:-1, 1:-1]
  responses = [
    error[:, row : row + height, column : column + width] - centre
    for row, column in _NEIGHBOURS
  ]
  return jnp.mean(jnp.square(jnp.stack(responses, axis=1)), axis=(1, 2, 3))


def depth_term(outputs: Any, batch: Batch) -> jax.Array:
  """`depth_mse` to the depth map of live clips and to zeros for spoofs."""
  return depth_mse(outputs.map, _target(batch, 'depth'))


def contrastive_depth_term(outputs: Any, batch: Batch) -> jax.Array:
  """`contrastive_depth_loss` to the target of `depth_term`."""
  return contrastive_depth_loss(outputs.map, _target(batch, 'depth'))


def binary_mask_term(outputs: Any, batch: Batch) -> jax.Array:
  """`depth_mse` to the face mask of live clips and to zeros for spoofs."""
  return depth_mse(outputs.map, _target(batch, 'binary_mask'))


def contrastive_mask_term(outputs: Any, batch: Batch) -> jax.Array:
  """`contrastive_depth_loss` to the target of `binary_mask_term`."""
  return contrastive_depth_loss(outputs.map, _target(batch, 'binary_mask'))


def embed(outputs: Any) -> jax.Array:
  """The last features' mean over the map, of length 1: float32 [B, C]."""
  features = outputs.features[_EMBEDDED].astype(jnp.float32)
  mean = jnp.mean(features, axis=(1, 2))
  square = jnp.sum(jnp.square(mean), axis=1, keepdims=True)
  return mean * jax.lax.rsqrt(square + _SMALL)


def asymmetric_triplet_loss(
  embeddings: jax.Array,
  labels: jax.Array,
  domains: jax.Array,
  margin: float = TRIPLET_MARGIN,
) -> jax.Array:
  """The asymmetric triplet loss of SSDG (Jia et al., CVPR 2020).

  arXiv 2004.14043, equation 3: max(0, |a - p|^2 - |a - n|^2 + margin), where
  the positive p has the class of the anchor a, and the negative n another one.
  The live clips of all domains are one class; the attacks of each domain are
  one of their own. So live clips come together, and the attacks of a domain
  keep apart from them and from those of other domains.

  Args:
    embeddings: float32 [B, C], of length 1.
    labels: int [B], 1 live, 0 spoof.
    domains: int [B].
    margin: see above.

  Returns:
    float32 [B], the mean over the triplets of each anchor; 0 if it has none.
  """
  apart = embeddings[:, None] - embeddings[None, :]
  distances = jnp.sum(jnp.square(apart), axis=2)
  groups = jnp.where(labels == records.LIVE, -1, domains)
  same = groups[:, None] == groups[None, :]
  positive = same & ~jnp.eye(len(groups), dtype=bool)
  triplets = positive[:, :, None] & ~same[:, None, :]
  excess = distances[:, :, None] - distances[:, None, :] + margin
  excess = jnp.where(triplets, jnp.maximum(excess, 0.0), 0.0)
  number = jnp.sum(triplets, axis=(1, 2), dtype=jnp.float32)
  return jnp.sum(excess, axis=(1, 2)) / jnp.maximum(number, 1.0)


def triplet_term(outputs: Any, batch: Batch) -> jax.Array:
  """`asymmetric_triplet_loss` of the network's embedding."""
  return asymmetric_triplet_loss(
    embed(outputs), batch['label'], batch['domain']
  )


def _target(batch: Batch, supervision: str) -> jax.Array:
  return make_target(
    batch['depth'], batch['face_mask'], batch['label'], supervision
  )


# The terms of an objective, in the order of their sum. Each takes a network's
# outputs and a batch, and returns float32 [B].
TERMS = {
  'depth': depth_term,
  'contrastive_depth': contrastive_depth_term,
  'binary_mask': binary_mask_term,
  'contrastive_mask': contrastive_mask_term,
  'triplet': triplet_term,
}
# A term with parameters of its own, which `supervised.network_loss` adds.
ADVERSARIAL = 'adversarial'
# Those that train the map; the others alone would leave it as it is.
_MAP_TERMS = ('depth', 'contrastive_depth', 'binary_mask', 'contrastive_mask')


def supervision_of(weights: Mapping[str, float]) -> str:
  """The supervision whose target the report shows beside the predicted maps."""
  masks = weights.get('binary_mask', 0) or weights.get('contrastive_mask', 0)
  depths = weights.get('depth', 0) or weights.get('contrastive_depth', 0)
  return 'binary_mask' if masks and not depths else 'depth'


def make_objective(weights: Mapping[str, float]) -> Objective:
  """Makes the weighted sum of named loss terms.

  The published loss (Yu et al. 2020), depth MSE plus contrastive depth loss, is
  {'depth': 1.0, 'contrastive_depth': 1.0}.

  Args:
    weights: name of a term, see `TERMS` -> its weight. A term of weight 0 is
      not computed. The weight of `ADVERSARIAL` is checked only.

  Returns:
    objective(outputs, batch) -> (float32 scalar, name of a term -> its mean).
    `outputs` are a network's (map [B, S, S] and features). `batch` has depth
    and face_mask [B, S, S] and label [B], and domain [B] for 'triplet'.

  Raises:
    ValueError: for an unknown term, a weight that is negative or not finite, or
      no term of the map with a weight above 0.
  """
  for name, weight in weights.items():
    if name not in (*TERMS, ADVERSARIAL):
      raise ValueError(
        f'Unknown loss term {name!r}; allowed: '
        f'{", ".join((*TERMS, ADVERSARIAL))}.'
      )
    if not 0 <= weight < math.inf:
      raise ValueError(
        f'The weight of the loss term {name!r} is {weight}; allowed: 0 or '
        'more, finite.'
      )
  used = [name for name in TERMS if weights.get(name, 0) > 0]
  if not set(used) & set(_MAP_TERMS):
    raise ValueError(
      'All loss terms of the map have weight 0; allowed: at least one of '
      f'{", ".join(_MAP_TERMS)} above 0.'
    )

  def objective(outputs, batch):
    terms = {name: TERMS[name](outputs, batch) for name in used}
    weighted = [
      term if weights[name] == 1 else weights[name] * term
      for name, term in terms.items()
    ]
    loss = jnp.mean(functools.reduce(operator.add, weighted))
    return loss, {name: jnp.mean(term) for name, term in terms.items()}

  return objective


def map_score(prediction: jax.Array, mask: jax.Array) -> jax.Array:
  """The score of a map, evidence for live: its sum over the size of the face.

  Args:
    prediction: [B, S, S] float, the predicted map.
    mask: [B, S, S] float or bool, 1 on the face; all 0 if the face is unknown.

  Returns:
    float32 [B], sum(prediction) / sum(mask), or mean(prediction) where the mask
    is empty.

  Raises:
    ValueError: if the shapes differ or are not [B, S, S].
  """
  _check_maps('prediction', prediction, 'mask', mask)
  total = jnp.sum(prediction, axis=(1, 2), dtype=jnp.float32)
  face = jnp.sum(mask, axis=(1, 2), dtype=jnp.float32)
  pixels = prediction.shape[1] * prediction.shape[2]
  return total / jnp.where(face > 0, face, float(pixels))


def _error(prediction: jax.Array, target: jax.Array) -> jax.Array:
  _check_maps('prediction', prediction, 'target', target)
  return prediction.astype(jnp.float32) - target.astype(jnp.float32)


def _check_maps(
  name: str, maps: jax.Array, other_name: str, other: jax.Array
) -> None:
  if maps.ndim != 3 or maps.shape != other.shape:
    raise ValueError(
      f'{name} has shape {maps.shape}, {other_name} {other.shape}; allowed: '
      'two equal shapes [B, S, S].'
    )
