"""The baseline against the Flax modules: maps, gradients, sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip('torch')

import small_twins as small

from nasfas_jax import models
from nasfas_jax.comparison import twins


def flax_step(model, variables, images, *arch):
  """Gradients of the mean square map, and the new statistics.

  Returns:
    (gradients of the parameters, of the architecture if given; statistics).
  """

  def loss(params, *arch):
    out, updates = model.apply(
      {**variables, 'params': params},
      images,
      *arch,
      train=True,
      mutable=['batch_stats'],
    )
    return jnp.mean(jnp.square(out.map)), updates['batch_stats']

  arguments = (variables['params'], *arch)
  gradient = jax.grad(loss, tuple(range(len(arguments))), has_aux=True)
  return jax.jit(gradient)(*arguments)


def assert_close(got, want):
  """Trees, each array to a share of its own greatest value."""
  for (path, a), b in zip(
    jax.tree.leaves_with_path(got), jax.tree.leaves(want), strict=True
  ):
    scale = np.max(np.abs(b)) + 1e-6
    np.testing.assert_allclose(
      np.asarray(a) / scale,
      np.asarray(b) / scale,
      atol=1e-3,
      err_msg=jax.tree_util.keystr(path),
    )


def assert_one_map(model, variables, images, *arch):
  """The maps of both in evaluation; and as many parameters."""
  twin = small.make_twin(model, variables).eval()
  want = jax.jit(lambda *inputs: model.apply(*inputs, train=False).map)(
    variables, images, *arch
  )
  logits = [twins.torch_arch(a) for a in arch]
  got = twin(twins.to_torch(images), *logits).detach().numpy()
  assert 0.05 < np.max(want) < 100
  np.testing.assert_allclose(got, want, atol=1e-5 * np.max(want))
  assert models.count_parameters(variables['params']) == sum(
    p.numel() for p in twin.parameters()
  )


@pytest.mark.parametrize('name', small.NETWORKS)
def test_networks_of_both_frameworks_give_one_map(name):
  images = small.images()
  model = small.make_network(name)
  assert_one_map(model, small.draw_variables(model, images), images)


@pytest.mark.parametrize('name', ['nasfas', 'plain'])
def test_supernets_of_both_frameworks_give_one_map(name):
  images = small.images()
  model, arch = small.make_supernet(name)
  variables = small.draw_variables(model, images, arch)
  assert_one_map(model, variables, images, arch)


@pytest.mark.parametrize('name', ['cdcn', 'every operation'])
def test_networks_of_both_frameworks_learn_alike(name):
  images = small.images()
  model = small.make_network(name)
  variables = small.draw_variables(model, images)
  (want,), statistics = flax_step(model, variables, images)
  twin = small.make_twin(model, variables)
  twin(twins.to_torch(images)).square().mean().backward()
  assert_close(twins.gradients_of(twin), want)

  # The sample's variance is larger than the batch's by n / (n - 1).
  got = twins.variables_of(twin)['batch_stats']['stem_0']['norm']
  want = statistics['stem_0']['norm']
  np.testing.assert_allclose(got['mean'], want['mean'], atol=1e-6)
  before = 0.9 * variables['batch_stats']['stem_0']['norm']['var']
  number = images.shape[0] * images.shape[1] * images.shape[2]
  np.testing.assert_allclose(
    (got['var'] - before) * (number - 1) / number,
    want['var'] - before,
    rtol=1e-4,
  )


def test_supernets_of_both_frameworks_learn_alike():
  images = small.images()
  model, arch = small.make_supernet('cdcnpp')
  variables = small.draw_variables(model, images, arch)
  (want, want_arch), _ = flax_step(model, variables, images, arch)
  twin = small.make_twin(model, variables)
  logits = twins.torch_arch(arch)
  twin(twins.to_torch(images), logits).square().mean().backward()
  assert_close(twins.gradients_of(twin), want)
  assert_close(twins.arch_gradients(logits), want_arch)
