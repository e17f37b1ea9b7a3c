from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasfas_jax import losses


def draw(shape, seed):
  return np.random.default_rng(seed).uniform(0, 1, shape).astype(np.float32)


def contrast_kernels():
  """Eight 3x3 kernels: 1 at one neighbour, -1 at the centre."""
  kernels = []
  for place in (0, 1, 2, 3, 5, 6, 7, 8):
    kernel = np.zeros(9)
    kernel[place], kernel[4] = 1, -1
    kernels.append(kernel.reshape(3, 3))
  return kernels


def responses(image):
  """The kernels' responses on one map, by loops, without padding."""
  height, width = image.shape
  return np.asarray(
    [
      [
        [np.sum(kernel * image[i : i + 3, j : j + 3]) for j in range(width - 2)]
        for i in range(height - 2)
      ]
      for kernel in contrast_kernels()
    ]
  )


def reference_cdl(prediction, target):
  return [
    np.mean((responses(p) - responses(t)) ** 2)
    for p, t in zip(prediction, target, strict=True)
  ]


def test_depth_target():
  depth, mask = draw((3, 4, 4), 0), draw((3, 4, 4), 1) > 0.5
  labels = jnp.asarray([1, 0, 1])
  target = losses.make_target(
    jnp.asarray(depth), jnp.asarray(mask), labels, 'depth'
  )
  assert target.dtype == jnp.float32
  np.testing.assert_array_equal(target[0], depth[0])
  np.testing.assert_array_equal(target[1], 0)
  np.testing.assert_array_equal(target[2], depth[2])


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bool_])
def test_binary_mask_target(dtype):
  depth, mask = draw((2, 4, 4), 0), draw((2, 4, 4), 1) > 0.5
  target = losses.make_target(
    jnp.asarray(depth),
    jnp.asarray(mask, dtype),
    jnp.asarray([0, 1]),
    'binary_mask',
  )
  assert target.dtype == jnp.float32
  np.testing.assert_array_equal(target[0], 0)
  np.testing.assert_array_equal(target[1], mask[1])


def test_target_errors():
  maps, labels = jnp.zeros((2, 4, 4)), jnp.zeros(2, jnp.int32)
  with pytest.raises(ValueError, match="'mask'; allowed: depth, binary_mask"):
    losses.make_target(maps, maps, labels, 'mask')
  with pytest.raises(ValueError, match='depth is uint8; allowed: a float'):
    losses.make_target(maps.astype(jnp.uint8), maps, labels, 'depth')
  with pytest.raises(ValueError, match=r'labels have shape \(3,\)'):
    losses.make_target(maps, maps, jnp.zeros(3, jnp.int32), 'depth')
  with pytest.raises(ValueError, match=r'face_mask \(2, 5, 5\)'):
    losses.make_target(maps, jnp.zeros((2, 5, 5)), labels, 'depth')


def test_depth_mse_is_per_example():
  prediction, target = draw((3, 5, 4), 0), draw((3, 5, 4), 1)
  expected = [
    sum((p - t) ** 2 for p, t in zip(a.flat, b.flat, strict=True)) / 20
    for a, b in zip(prediction, target, strict=True)
  ]
  found = losses.depth_mse(jnp.asarray(prediction), jnp.asarray(target))
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_contrastive_depth_loss_equals_loops():
  prediction, target = draw((3, 6, 5), 0), draw((3, 6, 5), 1)
  found = losses.contrastive_depth_loss(
    jnp.asarray(prediction), jnp.asarray(target)
  )
  expected = reference_cdl(prediction, target)
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_contrastive_depth_loss_hand_worked():
  target = jnp.zeros((1, 3, 3))
  # An error at the centre moves all eight responses, at a corner one.
  centre = target.at[0, 1, 1].set(2.0)
  corner = target.at[0, 0, 0].set(2.0)
  assert losses.contrastive_depth_loss(centre, target)[0] == 4
  assert losses.contrastive_depth_loss(corner, target)[0] == 4 / 8
  assert losses.contrastive_depth_loss(target, corner)[0] == 4 / 8
  # A constant offset is no contrast.
  assert losses.contrastive_depth_loss(target + 3, target)[0] == 0
  with pytest.raises(ValueError, match=r'\(1, 2, 5\); allowed: sides of 3'):
    losses.contrastive_depth_loss(jnp.zeros((1, 2, 5)), jnp.zeros((1, 2, 5)))


def reference_triplets(embeddings, labels, domains, margin):
  """The mean over the triplets of each anchor, by loops."""
  groups = [
    'live' if label else f'spoof {domain}'
    for label, domain in zip(labels, domains, strict=True)
  ]
  number = range(len(groups))
  found = []
  for a in number:
    values = [
      max(
        0.0,
        np.sum((embeddings[a] - embeddings[p]) ** 2)
        - np.sum((embeddings[a] - embeddings[n]) ** 2)
        + margin,
      )
      for p in number
      for n in number
      if p != a and groups[p] == groups[a] and groups[n] != groups[a]
    ]
    found.append(np.mean(values) if values else 0.0)
  return found


def test_the_asymmetric_triplet_loss_equals_loops():
  embeddings = draw((7, 5), 3) - 0.5
  embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
  # Live clips of three domains are one class. The only attack of domain 2 is
  # an anchor of no triplet, and a negative of the others.
  labels = np.array([1, 1, 0, 0, 0, 1, 0])
  domains = np.array([0, 1, 0, 0, 1, 2, 1])
  for last in (1, 2):
    domains[-1] = last
    expected = reference_triplets(embeddings, labels, domains, 0.1)
    found = losses.asymmetric_triplet_loss(
      jnp.asarray(embeddings), jnp.asarray(labels), jnp.asarray(domains)
    )
    assert found.shape == (7,) and found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
  assert expected[-1] == 0 and min(expected[:2]) > 0


def test_triplets_that_are_apart_by_the_margin_cost_nothing():
  """By hand: two live clips of two domains, one attack at a right angle."""
  labels, domains = jnp.array([1, 1, 0]), jnp.array([0, 1, 0])
  apart = jnp.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
  # |a - p|^2 is 0 and |a - n|^2 is 2.
  for margin, expected in ((0.1, 0.0), (2.5, 0.5)):
    found = losses.asymmetric_triplet_loss(apart, labels, domains, margin)
    np.testing.assert_allclose(found, [expected, expected, 0.0], atol=1e-6)


def test_an_embedding_is_the_mean_over_the_map_at_length_one():
  class Outputs(NamedTuple):
    features: dict

  features = draw((3, 4, 4, 5), 0) - 0.3
  found = losses.embed(Outputs({'high': jnp.asarray(features)}))
  expected = features.mean(axis=(1, 2))
  expected /= np.linalg.norm(expected, axis=1, keepdims=True)
  np.testing.assert_allclose(found, expected, rtol=1e-4)
  # A dead network has no direction, and a finite gradient.
  dead = jax.grad(
    lambda x: jnp.sum(losses.embed(Outputs({'high': x})), dtype=jnp.float32)
  )(jnp.zeros((1, 2, 2, 3)))
  assert np.isfinite(dead).all()


class Predicted(NamedTuple):
  map: jax.Array


def make_objective_inputs():
  batch = {
    'depth': jnp.asarray(draw((3, 6, 6), 0)),
    'face_mask': jnp.asarray(draw((3, 6, 6), 1) > 0.5, jnp.float32),
    'label': jnp.asarray([1, 0, 1], jnp.int32),
  }
  return Predicted(jnp.asarray(draw((3, 6, 6), 2))), batch


def reference_terms(maps, batch):
  """Each term by loops."""
  maps = np.asarray(maps, np.float64)
  live = np.asarray(batch['label'])[:, None, None]
  found = {}
  for name, contrast, target in (
    ('depth', 'contrastive_depth', batch['depth']),
    ('binary_mask', 'contrastive_mask', batch['face_mask']),
  ):
    target = np.asarray(target) * live
    found[name] = np.mean((maps - target) ** 2)
    found[contrast] = np.mean(reference_cdl(maps, target))
  return found


@pytest.mark.parametrize(
  'weights',
  [
    {'depth': 1.0, 'contrastive_depth': 1.0},
    {'binary_mask': 1.0, 'contrastive_mask': 1.0, 'depth': 0.0},
    {'depth': 0.25, 'contrastive_depth': 2.0, 'binary_mask': 0.5},
  ],
)
def test_the_objective_is_the_weighted_sum_of_its_terms(weights):
  outputs, batch = make_objective_inputs()
  loss, terms = losses.make_objective(weights)(outputs, batch)
  expected = reference_terms(outputs.map, batch)
  used = {name: weight for name, weight in weights.items() if weight}
  assert set(terms) == set(used)
  for name, value in terms.items():
    np.testing.assert_allclose(value, expected[name], rtol=1e-5)
  total = sum(weight * expected[name] for name, weight in used.items())
  np.testing.assert_allclose(loss, total, rtol=1e-5)


@pytest.mark.parametrize(
  ('weights', 'message'),
  [
    ({'colour': 1.0}, "'colour'; allowed: depth, contrastive_depth, binary"),
    ({'depth': -1.0}, "'depth' is -1.0; allowed: 0 or more"),
    ({'depth': float('nan')}, "'depth' is nan; allowed: 0 or more"),
    ({'depth': 0.0}, 'weight 0; allowed: at least one of depth'),
  ],
)
def test_a_bad_objective_is_named(weights, message):
  with pytest.raises(ValueError, match=message):
    losses.make_objective(weights)


def test_the_target_that_is_shown_is_that_of_the_terms():
  assert losses.supervision_of({'depth': 1.0, 'binary_mask': 1.0}) == 'depth'
  masks = {'depth': 0.0, 'contrastive_mask': 1.0}
  assert losses.supervision_of(masks) == 'binary_mask'


def test_map_score_hand_worked():
  prediction = jnp.asarray(
    [
      [[1.0, 2.0], [3.0, 0.0]],
      [[1.0, 2.0], [3.0, 0.0]],
      [[0.0, 0.0], [0.0, 0.0]],
    ]
  )
  mask = jnp.asarray(
    [
      [[1.0, 0.0], [1.0, 0.0]],
      [[0.0, 0.0], [0.0, 0.0]],
      [[1.0, 1.0], [1.0, 1.0]],
    ]
  )
  # The whole map over the face; the mean over all pixels without a face.
  expected = [6 / 2, 6 / 4, 0]
  np.testing.assert_array_equal(losses.map_score(prediction, mask), expected)
  np.testing.assert_array_equal(
    losses.map_score(prediction, mask > 0), expected
  )
  soft = losses.map_score(prediction, mask * 0.5)
  np.testing.assert_array_equal(soft, [6 / 1, 6 / 4, 0])


@pytest.mark.parametrize(
  'loss',
  [losses.depth_mse, losses.contrastive_depth_loss],
)
def test_losses_keep_the_contract(loss):
  prediction = jnp.asarray(draw((3, 8, 8), 0))
  target = jnp.asarray(draw((3, 8, 8), 1))
  expected = loss(prediction, target)
  assert expected.shape == (3,)
  np.testing.assert_allclose(jax.jit(loss)(prediction, target), expected, 1e-6)
  np.testing.assert_array_equal(loss(target, target), 0)
  alone = jnp.stack(
    [loss(p[None], t[None])[0] for p, t in zip(prediction, target, strict=True)]
  )
  np.testing.assert_allclose(alone, expected, rtol=1e-6)
  gradient = jax.grad(lambda p: jnp.sum(loss(p, target)))(prediction)
  assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0
  perfect = jax.grad(lambda p: jnp.sum(loss(p, target)))(target)
  np.testing.assert_array_equal(perfect, 0)


@pytest.mark.parametrize(
  'function', [losses.depth_mse, losses.contrastive_depth_loss]
)
def test_bfloat16_maps_are_accumulated_in_float32(function):
  prediction = jnp.asarray(draw((1, 32, 32), 0), jnp.bfloat16)
  target = jnp.asarray(draw((1, 32, 32), 1))
  found = function(prediction, target)
  assert found.dtype == jnp.float32
  expected = function(prediction.astype(jnp.float32), target)
  np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_bfloat16_scores_are_accumulated_in_float32():
  # A bfloat16 sum of 1,024 ones stops at 256.
  prediction = jnp.ones((1, 32, 32), jnp.bfloat16)
  score = losses.map_score(prediction, jnp.ones((1, 32, 32), jnp.bfloat16))
  assert score.dtype == jnp.float32
  assert score[0] == 1
  assert losses.map_score(prediction, jnp.zeros((1, 32, 32), bool))[0] == 1


@pytest.mark.parametrize(
  'function',
  [
    losses.depth_mse,
    losses.contrastive_depth_loss,
    losses.map_score,
  ],
)
@pytest.mark.parametrize('shape', [(2, 4, 4, 1), (3, 4, 4), (2, 5, 4)])
def test_shape_errors_name_both_shapes(function, shape):
  message = r'prediction has shape \(2, 4, 4\).*two equal shapes \[B, S, S\]'
  with pytest.raises(ValueError, match=message):
    function(jnp.zeros((2, 4, 4)), jnp.zeros(shape))
