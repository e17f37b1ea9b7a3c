"""Gradients of both frameworks, in float32 and float64."""

import copy

import numpy as np
import pytest

pytest.importorskip('torch')

import torch

from nasfas_jax.comparison import gradients
from tests.baseline import small_twins

LOSS = {'depth': 1.0, 'contrastive_depth': 1.0}


def _pair():
  rng = np.random.default_rng(5)
  target = rng.uniform(size=(2, 4, 4)).astype(np.float32)
  maps = {
    'depth': target,
    'face_mask': np.ones_like(target),
    'label': np.ones(2, np.int32),
  }
  return np.asarray(small_twins.images()), maps


def _compare(model, arch=(), change=None, float64=True):
  variables = small_twins.draw_variables(model, _pair()[0], *arch)
  twin = small_twins.make_twin(model, variables)
  if change is not None:
    change(twin)
  before = copy.deepcopy(twin.state_dict())
  found = gradients.compare_gradients(
    *(model, gradients.loss_and_gradients(model, LOSS)),
    *(variables, twin, _pair(), *arch),
    loss_weights=LOSS,
    float64=float64,
  )
  for name, value in twin.state_dict().items():
    assert torch.equal(value, before[name]), name
  assert all(p.grad is None for p in twin.parameters())
  return found


@pytest.mark.parametrize('name', small_twins.NETWORKS)
def test_a_network_has_the_same_gradients_in_float64(name):
  found = _compare(small_twins.make_network(name))
  exact = found['gradients_float64']
  # The map is float32, whatever the computation, and so its cotangent.
  assert exact['max'] < 1e-5
  assert found['loss']['max'] < 1e-5 * found['loss']['scale']
  assert exact['tensors'].keys() == found['gradients']['tensors'].keys()


@pytest.mark.parametrize('name', small_twins.SUPERNETS)
def test_a_supernet_has_the_same_gradients_in_float64(name):
  model, arch = small_twins.make_supernet(name)
  exact = _compare(model, (arch,))['gradients_float64']
  assert exact['max'] < 1e-5
  assert any(tensor.startswith('arch/0/alphas') for tensor in exact['tensors'])


def test_float32_parts_from_float64_by_no_more_than_both_roundings():
  found = _compare(small_twins.make_network('cdcnpp'))
  exact = found['gradients_float64']
  rounding = exact['jax_rounding'] + exact['torch_rounding']
  assert 0 < exact['jax_rounding']
  assert 0 < exact['torch_rounding']
  # Of gradients whose largest values are the same to a few per cent.
  assert found['gradients']['max'] <= 1.1 * rounding + exact['max']


def test_a_slight_difference_of_the_formula_is_seen():
  def change(twin):
    for module in twin.modules():
      if isinstance(module, torch.nn.BatchNorm2d):
        module.eps *= 100
        return

  exact = _compare(small_twins.make_network('cdcnpp'), change=change)
  assert exact['gradients_float64']['max'] > 1e-5


def test_float64_can_be_left_out():
  found = _compare(small_twins.make_network('cdcn'), float64=False)
  assert found.keys() == {'loss', 'gradients'}
