"""Gradients of both frameworks, in float32 and float64."""

import contextlib
import copy
import functools

import numpy as np
import pytest

pytest.importorskip('torch')

import torch

from nasfas_jax.comparison import gradients, parity
from tests.baseline import small_twins

# Not the published weights, so that both frameworks must be given them.
LOSS = {'depth': 1.0, 'contrastive_depth': 0.5, 'binary_mask': 0.25}


def _pair():
  rng = np.random.default_rng(5)
  target = rng.uniform(size=(2, 4, 4)).astype(np.float32)
  maps = {
    'depth': target,
    'face_mask': np.ones_like(target),
    'label': np.array([1, 0], np.int32),
  }
  return np.asarray(small_twins.images()), maps


def _twin(model, *arch):
  """(variables, the twin that has them)."""
  variables = small_twins.draw_variables(model, _pair()[0], *arch)
  return variables, small_twins.make_twin(model, variables)


@contextlib.contextmanager
def _left_as_it_was(twin):
  before = copy.deepcopy(twin.state_dict())
  yield
  for name, value in twin.state_dict().items():
    assert torch.equal(value, before[name]), name
  assert all(p.grad is None for p in twin.parameters())


@functools.cache
def _run(name):
  """A network and its float32 function, compiled once for all tests."""
  model = small_twins.make_network(name)
  return model, gradients.loss_and_gradients(model, LOSS)


@functools.cache
def _compare(name, float64=True):
  model, run = _run(name)
  variables, twin = _twin(model)
  with _left_as_it_was(twin):
    return gradients.compare_gradients(
      *(model, run, variables, twin, _pair()),
      loss_weights=LOSS,
      float64=float64,
    )


def _exact_difference(model, variables, twin, *arch):
  with _left_as_it_was(twin):
    ours, theirs = gradients.exact_gradients(
      *(model, variables, twin, _pair(), *arch), loss_weights=LOSS
    )
  return parity.relative(theirs, ours)


@pytest.mark.parametrize('name', small_twins.NETWORKS)
def test_a_network_has_the_same_gradients_in_float64(name):
  found = _compare(name)
  exact = found['gradients_float64']
  # The map is float32, whatever the computation, and so its cotangent.
  assert exact['max'] < 1e-5
  assert found['loss']['max'] < 1e-5 * found['loss']['scale']
  assert exact['tensors'].keys() == found['gradients']['tensors'].keys()


@pytest.mark.parametrize('name', small_twins.SUPERNETS)
def test_a_supernet_has_the_same_gradients_in_float64(name):
  model, arch = small_twins.make_supernet(name)
  exact = _exact_difference(model, *_twin(model, arch), arch)
  assert exact['max'] < 1e-5
  assert any(tensor.startswith('arch/0/alphas') for tensor in exact['tensors'])


def test_float32_parts_from_float64_by_no_more_than_both_roundings():
  found = _compare('cdcnpp')
  exact = found['gradients_float64']
  rounding = exact['jax_rounding'] + exact['torch_rounding']
  assert 0 < exact['jax_rounding']
  assert 0 < exact['torch_rounding']
  # Of gradients whose largest values are the same to a few per cent.
  assert found['gradients']['max'] <= 1.1 * rounding + exact['max']


def test_a_slight_difference_of_the_formula_is_seen():
  model, _ = _run('cdcnpp')
  variables, twin = _twin(model)
  norms = (m for m in twin.modules() if isinstance(m, torch.nn.BatchNorm2d))
  next(norms).eps *= 100
  assert _exact_difference(model, variables, twin)['max'] > 1e-5


def test_float64_can_be_left_out():
  found = _compare('cdcn', float64=False)
  assert found.keys() == {'loss', 'gradients'}
