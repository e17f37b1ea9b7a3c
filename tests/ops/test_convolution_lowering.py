"""A convolution's form is that of the platform a program is lowered for."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasfas_jax.models import layers
from nasfas_jax.ops import central_difference, convolution

ACCELERATORS = ('cuda', 'tpu')


def lower(function, *args, platform):
  return jax.jit(function).trace(*args).lower(lowering_platforms=(platform,))


def convolutions(lowered) -> list[str]:
  """'IMAGE x KERNEL -> RESULT' of every convolution, with no other product."""
  text = lowered.as_text()
  assert 'dot_general' not in text
  assert 'stablehlo.case' not in text
  return sorted(
    re.findall(r'stablehlo\.convolution.*: (\(.*\) -> .*)$', text, re.M)
  )


def plain(x, kernel, *, dilation=1):
  """XLA's own, written down a second time."""
  pad = dilation * (kernel.shape[0] // 2)
  return jax.lax.conv_general_dilated(
    x,
    kernel,
    (1, 1),
    [(pad, pad)] * 2,
    rhs_dilation=(dilation, dilation),
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
  )


def gradients(convolve):
  def loss(kernel, x):
    folded = central_difference.fold_kernel(kernel, 0.7)
    return jnp.sum(jnp.tanh(convolve(x, folded)))

  return loss, jax.grad(loss, argnums=(0, 1))


# The first is one that the CPU cuts into strips.
@pytest.mark.parametrize('platform', ACCELERATORS)
@pytest.mark.parametrize(
  ('shape', 'window', 'features'),
  [((2, 32, 32, 64), 3, 64), ((2, 16, 16, 2), 7, 1)],
)
def test_accelerators_get_the_plain_program(platform, shape, window, features):
  x = jnp.ones(shape)
  kernel = jnp.ones((window, window, shape[-1], features))
  for ours, theirs in zip(
    gradients(convolution.convolve), gradients(plain), strict=True
  ):
    found = convolutions(lower(ours, kernel, x, platform=platform))
    assert found
    assert found == convolutions(lower(theirs, kernel, x, platform=platform))


def test_a_kernel_for_each_task_is_one_grouped_convolution_on_a_tpu():
  x, kernels = jnp.ones((3, 2, 8, 8, 4)), jnp.ones((3, 3, 3, 4, 8))
  for ours, theirs in zip(
    gradients(convolution.convolve), gradients(plain), strict=True
  ):
    found, expected = (
      convolutions(lower(jax.vmap(one), kernels, x, platform='tpu'))
      for one in (ours, theirs)
    )
    assert found == expected


def test_a_gpu_applies_the_kernels_of_the_tasks_one_by_one():
  """cuDNN is an order of magnitude slower at grouped convolutions."""
  x, kernels = jnp.ones((3, 2, 8, 8, 4)), jnp.ones((3, 3, 3, 4, 8))
  for one in gradients(convolution.convolve):
    tasks = convolutions(lower(jax.vmap(one), kernels, x, platform='cuda'))
    alone = convolutions(lower(one, kernels[0], x[0], platform='cuda'))
    assert tasks == sorted(3 * alone)


@pytest.mark.parametrize(
  ('dtype', 'channels', 'widened'),
  [
    (jnp.bfloat16, (153, 204), (160, 208)),
    (jnp.float32, (153, 204), (156, 204)),
    # Fewer than the matrix units take at a time, and what they take as it is.
    (jnp.bfloat16, (3, 64), (3, 64)),
    (jnp.float32, (2, 1), (2, 1)),
    (jnp.bfloat16, (8, 9), (8, 16)),
  ],
)
@pytest.mark.parametrize('platform', ACCELERATORS)
def test_a_gpu_gets_channels_that_fill_its_matrix_units(
  platform, dtype, channels, widened
):
  ins, outs = channels
  x, kernel = (
    jnp.ones((2, 8, 8, ins), dtype),
    jnp.ones((3, 3, ins, outs), dtype),
  )
  of_step = gradients(convolution.convolve)[1]
  lowered = lower(of_step, kernel, x, platform=platform)
  wide = widened if platform == 'cuda' else channels
  word = 'bf16' if dtype == jnp.bfloat16 else 'f32'
  shapes = {
    tuple(re.findall(r'tensor<([0-9x]*)x' + word, line))
    for line in convolutions(lowered)
  }
  ins, outs = wide
  image = {size: f'2x8x8x{size}' for size in wide}
  kernels = f'3x3x{ins}x{outs}'
  assert shapes == {
    (image[ins], kernels, image[outs]),
    (image[outs], kernels, image[ins]),
    (image[ins], image[outs], kernels),
  }
  # What leaves the program has the channels of the kernel and of the input.
  (results,) = re.findall(r'@main\(.*?\) -> \((.*)\) \{', lowered.as_text())
  ins, outs = channels
  assert re.findall(r'tensor<([0-9x]*)x' + word, results) == [
    f'3x3x{ins}x{outs}',
    f'2x8x8x{ins}',
  ]


def test_the_cpu_gets_its_own_forms():
  x, kernel = jnp.ones((2, 32, 32, 8)), jnp.ones((3, 3, 8, 4))
  _, gradient = gradients(convolution.convolve)
  text = lower(gradient, kernel, x, platform='cpu').as_text()
  # Two images are eight strips of eight rows.
  assert 'tensor<8x10x34x8xf32>' in text
  # A kernel for each task: no grouped convolution.
  x, kernels = jnp.ones((3, 2, 8, 8, 4)), jnp.ones((3, 3, 3, 4, 5))
  text = lower(jax.vmap(convolution.convolve), x, kernels, platform='cpu')
  assert text.as_text().count('stablehlo.convolution') == 3


def test_a_training_step_has_the_plain_program_on_an_accelerator(monkeypatch):
  class Network(nn.Module):
    @nn.compact
    def __call__(self, x):
      x = layers.CDConvBlock(8, name='block')(x, train=True)
      return jnp.sum(layers.SpatialAttention(7, name='attention')(x))

  network = Network()
  x = jnp.ones((2, 16, 16, 3))
  variables = jax.eval_shape(network.init, jax.random.key(0), x)

  def step(params, x):
    def loss(params):
      full = {**variables, 'params': params}
      return network.apply(full, x, mutable='batch_stats')[0]

    return jax.grad(loss)(params)

  variables = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), variables)
  found = convolutions(lower(step, variables['params'], x, platform='cuda'))
  # Two convolutions, two of their kernels' gradients, one input's.
  assert len(found) == 5
  monkeypatch.setattr(convolution, 'convolve', plain_convolve)
  jax.clear_caches()
  assert found == convolutions(
    lower(step, variables['params'], x, platform='cuda')
  )


def plain_convolve(x, kernel, *, strides, dilation, groups):
  assert strides == groups == 1
  return plain(x, kernel, dilation=dilation)


@pytest.mark.parametrize(('window', 'features'), [(3, 4), (7, 1)])
def test_an_empty_batch_has_an_empty_result_and_no_gradient(window, features):
  x = jnp.ones((0, 16, 16, 2))
  kernel = jnp.ones((window, window, 2, features))
  assert convolution.convolve(x, kernel).shape == (0, 16, 16, features)
  _, gradient = gradients(convolution.convolve)
  of_kernel, of_x = jax.jit(gradient)(kernel, x)
  np.testing.assert_array_equal(of_kernel, np.zeros_like(kernel))
  assert of_x.shape == x.shape


@pytest.mark.parametrize(
  ('window', 'ins', 'features'), [(3, 2, 4), (7, 2, 1), (3, 5, 6)]
)
def test_one_export_serves_every_batch_size_and_platform(window, ins, features):
  rng = np.random.default_rng(0)
  kernel = jnp.asarray(rng.normal(size=(window, window, ins, features)), 'f')
  _, gradient = gradients(convolution.convolve)
  shape = jax.export.symbolic_shape(f'b, 16, 16, {ins}')
  exported = jax.export.export(
    jax.jit(gradient), platforms=('cpu', 'cuda', 'tpu')
  )(kernel, jax.ShapeDtypeStruct(shape, jnp.float32))
  for number in (1, 3):
    x = jnp.asarray(rng.normal(size=(number, 16, 16, ins)), jnp.float32)
    for found, expected in zip(
      exported.call(kernel, x), gradient(kernel, x), strict=True
    ):
      np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize('platform', ('cpu', *ACCELERATORS))
def test_products_have_the_precision_of_the_trace(platform):
  """As XLA's own operations do, also if a program is lowered after it."""
  step = gradients(convolution.convolve)[1]

  def exact(kernel, x):
    with jax.default_matmul_precision('float32'):
      return step(kernel, x)

  # The larger one is in strips on a CPU.
  for x, kernel in (
    (jnp.ones((2, 32, 32, 64)), jnp.ones((3, 3, 64, 64))),
    (jnp.ones((2, 8, 8, 4)), jnp.ones((3, 3, 4, 6))),
  ):
    with jax.default_matmul_precision('tensorfloat32'):
      texts = [
        lower(one, kernel, x, platform=platform).as_text()
        for one in (exact, step)
      ]
    for text, wanted in zip(texts, ('HIGHEST', 'HIGH'), strict=True):
      lines = re.findall(r'stablehlo\.convolution.*$', text, re.M)
      found = [re.findall(r'precision (\w+)>', line) for line in lines]
      assert found and set(map(tuple, found)) == {(wanted, wanted)}
