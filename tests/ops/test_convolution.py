"""The closed family of CPU convolutions against XLA's own, in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasfas_jax.ops import convolution
from nasfas_jax.ops.cpu import strips

TASKS = 3


def reference(x, kernel, dilation):
  pad = dilation * (kernel.shape[0] // 2)
  return jax.lax.conv_general_dilated(
    x,
    kernel,
    (1, 1),
    [(pad, pad)] * 2,
    rhs_dilation=(dilation, dilation),
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
  )


def loss(kernel, x, convolve):
  """Two convolutions with one kernel, so that every factor is shared."""
  return jnp.sum(jnp.sin(convolve(jnp.tanh(convolve(x, kernel)), kernel)))


def after_a_step(kernel, x, convolve):
  moved = kernel - 0.1 * jax.grad(loss)(kernel, x, convolve)
  return loss(moved, x, convolve)


def mean_over(in_axes):
  def function(kernel, x, convolve):
    def task(kernel, x):
      return after_a_step(kernel, x, convolve)

    return jnp.mean(jax.vmap(task, in_axes)(kernel, x))

  return function


def third_order(kernel, x, convolve):
  gradient = jax.grad(after_a_step)(kernel, x, convolve)
  return jnp.sum(jnp.square(gradient))


CASES = {
  'plain': (loss, (), ()),
  'second_order': (after_a_step, (), ()),
  'third_order': (third_order, (), ()),
  'tasks_with_kernels': (mean_over((0, 0)), (TASKS,), (TASKS,)),
  'tasks_share_kernel': (mean_over((None, 0)), (), (TASKS,)),
  'tasks_share_input': (mean_over((0, None)), (TASKS,), ()),
}


@pytest.mark.parametrize(
  ('case', 'min_rows', 'dilation'),
  [
    *((case, strips.MIN_ROWS, 1) for case in CASES),
    ('second_order', strips.MIN_ROWS, 2),
    # Rows of so few, that the small images below are cut into strips.
    ('second_order', 2, 1),
    ('second_order', 2, 2),
    ('tasks_with_kernels', 2, 1),
  ],
)
def test_every_order_equals_the_library(case, min_rows, dilation, monkeypatch):
  monkeypatch.setattr(strips, 'MIN_ROWS', min_rows)
  function, kernel_axes, x_axes = CASES[case]
  with jax.enable_x64(True):
    rng = np.random.default_rng(0)
    kernel = jnp.asarray(rng.normal(size=(*kernel_axes, 3, 3, 4, 4)))
    x = jnp.asarray(rng.normal(size=(*x_axes, 2, 5, 6, 4)))
    found, expected = (
      jax.jit(
        jax.value_and_grad(
          lambda k, x, convolve=convolve: function(k, x, convolve),
          argnums=(0, 1),
        )
      )(kernel, x)
      for convolve in (
        lambda x, k: convolution.convolve(x, k, dilation=dilation),
        lambda x, k: reference(x, k, dilation),
      )
    )
  scale = jax.tree.map(lambda a: np.abs(a).max(), expected)
  jax.tree.map(
    lambda a, b, s: np.testing.assert_allclose(a, b, atol=1e-11 * s),
    found,
    expected,
    scale,
  )


@pytest.mark.parametrize(
  'mapped', [(), ((True, True),), ((True, False),), ((False, True),)]
)
@pytest.mark.parametrize('dilation', [1, 2])
def test_the_form_of_a_gpu_equals_the_library(mapped, dilation):
  # What is lowered for a GPU, run here. Channels of no multiple of two float64,
  # so that all of them are filled up.
  ins, outs = 5, 3
  image, kernel = (2, 5, 6), (3, 3)
  factors = {
    'conv': (reference, (*image, ins), (*kernel, ins, outs)),
    'input_gradient': (input_gradient, (*image, outs), (*kernel, ins, outs)),
    'kernel_gradient': (kernel_gradient, (*image, ins), (*image, outs)),
  }
  fields = {'mapped': mapped, 'dilation': dilation, 'window': kernel}
  with jax.enable_x64(True):
    rng = np.random.default_rng(0)
    for kind, (by_library, *shapes) in factors.items():
      has = mapped[0] if mapped else (False, False)
      given = [
        jnp.asarray(rng.normal(size=((TASKS,) if of else ()) + shape))
        for of, shape in zip(has, shapes, strict=True)
      ]
      expected = functools.partial(by_library, dilation=dilation)
      if mapped:
        expected = jax.vmap(expected, [0 if of else None for of in has])
      form = functools.partial(convolution._lower_cuda, kind=kind, **fields)
      found = form(*given)
      wanted = expected(*given)
      assert found.shape == wanted.shape
      np.testing.assert_allclose(found, wanted, atol=1e-11)
      # Not the library's own form after all.
      assert ' pad[' in str(jax.make_jaxpr(form)(*given))


def input_gradient(g, kernel, dilation):
  shape = (*g.shape[:3], kernel.shape[2])
  _, back = jax.vjp(
    lambda x: reference(x, kernel, dilation), jnp.zeros(shape, g.dtype)
  )
  return back(g)[0]


def kernel_gradient(x, g, dilation):
  shape = (3, 3, x.shape[-1], g.shape[-1])
  _, back = jax.vjp(
    lambda kernel: reference(x, kernel, dilation), jnp.zeros(shape, g.dtype)
  )
  return back(g)[0]


def test_a_window_that_is_not_square_keeps_its_shape():
  x = jnp.ones((1, 4, 4, 2))
  kernel = jnp.ones((3, 1, 2, 3))
  gradient = jax.grad(lambda k: jnp.sum(convolution.convolve(x, k)))(kernel)
  # Rows 0 and 2 see three of the four rows of ones, row 1 all four.
  np.testing.assert_array_equal(gradient[:, 0, 0, 0], [12, 16, 12])


def test_bfloat16_stays_bfloat16():
  x = jnp.ones((1, 4, 4, 2), jnp.bfloat16)
  kernel = jnp.ones((3, 3, 2, 3), jnp.bfloat16)
  y, gradients = jax.value_and_grad(
    lambda x, k: jnp.sum(convolution.convolve(x, k)), argnums=(0, 1)
  )(x, kernel)
  assert y.dtype == jnp.bfloat16
  assert [g.dtype for g in gradients] == [jnp.bfloat16] * 2


def test_computed_again_in_the_backward_pass_it_is_the_same():
  rng = np.random.default_rng(0)
  kernel = jnp.asarray(rng.normal(size=(3, 3, 4, 4)), jnp.float32)
  x = jnp.asarray(rng.normal(size=(2, 5, 6, 4)), jnp.float32)

  def both(kernel):
    remade = jax.checkpoint(lambda k: loss(k, x, convolution.convolve))
    return jax.grad(remade)(kernel), jax.grad(loss)(
      kernel, x, convolution.convolve
    )

  found, expected = jax.jit(both)(kernel)
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_sharded_batch_is_computed_where_it_is():
  devices = jax.devices()[:2]
  mesh = jax.sharding.Mesh(np.array(devices), ('batch',))
  spread = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec('batch'))
  rng = np.random.default_rng(0)
  kernel = jnp.asarray(rng.normal(size=(3, 3, 4, 4)), jnp.float32)
  x = jnp.asarray(rng.normal(size=(4, 16, 6, 4)), jnp.float32)
  gradient = jax.jit(
    jax.grad(lambda k, x: loss(k, x, convolution.convolve), argnums=(0, 1))
  )
  compiled = gradient.lower(kernel, jax.device_put(x, spread)).compile()
  of_kernel, of_x = compiled(kernel, jax.device_put(x, spread))
  assert of_x.sharding.is_equivalent_to(spread, x.ndim)
  # Sums over the devices, of the kernel's gradient, and no image moves.
  text = compiled.as_text()
  assert 'all-reduce' in text
  assert 'all-gather' not in text
  for found, expected in zip(
    (of_kernel, of_x), gradient(kernel, x), strict=True
  ):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_a_spike_reaches_no_window_that_does_not_see_it():
  # What a form along the whole image, such as Winograd's, does not keep.
  rng = np.random.default_rng(0)
  x = rng.lognormal(size=(2, 16, 16, 8)).astype('f')
  kernel = rng.normal(size=(3, 3, 8, 4)).astype('f')
  x[:, 8:] = 0
  spiked = x.copy()
  spiked[0, 3, 3, 0] = 1e6
  y, moved = (
    convolution.convolve(x, kernel),
    convolution.convolve(spiked, kernel),
  )
  seen = np.zeros((2, 16, 16, 4), bool)
  seen[0, 2:5, 2:5] = True
  np.testing.assert_array_equal(np.asarray(y)[~seen], np.asarray(moved)[~seen])
  # Windows of zeros only.
  assert not np.asarray(moved)[:, 9:].any()
