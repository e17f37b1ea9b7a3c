"""Speed of the convolution's derivatives, and of derivatives of derivatives."""

import functools

import jax
import jax.numpy as jnp

from benchmarks import timing
from nasfas_jax.ops import convolution

# [N, H, W, C] -> O: a level of the default supernet, of CDCN++ at 128, at 256.
SHAPES = {
  'default 64x64': ((8, 64, 64, 16), 16),
  'CDCN++ 128x128': ((2, 128, 128, 128), 128),
  'CDCN++ 256x256': ((2, 256, 256, 64), 128),
}


def measure() -> dict[str, dict[str, float]]:
  """Fills 'ratios', 'seconds' and 'limits', see `benchmarks.run`."""
  found = {'ratios': {}, 'seconds': {}, 'limits': {}}
  found['limits']['matmul_gflops'] = matmul_gflops()
  for name, (shape, features) in SHAPES.items():
    _kernel_gradient(found, name, shape, features)
  _second_order(found)
  return found


def matmul_gflops(side: int = 2048) -> float:
  """The rate of a float32 matrix product on this machine."""
  a = jnp.ones((side, side))
  product = jax.jit(lambda: jnp.dot(a, a, precision='highest'))
  seconds = timing.medians({'product': product})['product']
  return 2 * side**3 / seconds / 1e9


def _kernel_gradient(found, name, shape, features) -> None:
  """The kernel's gradient in both forms; the one that is used is marked."""
  x = jax.random.normal(jax.random.key(0), shape)
  g = jax.random.normal(jax.random.key(1), (*shape[:3], features))
  functions = {}
  for form, threshold in (('library', shape[1] * shape[2] + 1), ('shifted', 1)):
    convolution.SHIFTED_POSITIONS, kept = (
      threshold,
      convolution.SHIFTED_POSITIONS,
    )
    gradient = jax.jit(
      functools.partial(
        convolution._plain_kernel_gradient, dilation=1, window=(3, 3)
      )
    )
    functions[form] = functools.partial(gradient.lower(x, g).compile(), x, g)
    convolution.SHIFTED_POSITIONS = kept
  seconds = timing.medians(functions)
  for form, value in seconds.items():
    found['seconds'][f'kernel gradient, {form}, {name}'] = value
  shifted = shape[1] * shape[2] >= convolution.SHIFTED_POSITIONS
  used = seconds['shifted' if shifted else 'library']
  found['ratios'][f'kernel gradient, library / used, {name}'] = (
    seconds['library'] / used
  )


def _second_order(found) -> None:
  """Gradient through one inner step of three tasks, a kernel for each."""
  x = jax.random.normal(jax.random.key(0), (3, 4, 32, 32, 32))
  kernel = jax.random.normal(jax.random.key(1), (3, 3, 32, 32)) * 0.06

  def objective(kernel, convolve):
    def task(x):
      def loss(k):
        return jnp.mean(jnp.square(convolve(jnp.tanh(convolve(x, k)), k)))

      return loss(kernel - 0.1 * jax.grad(loss)(kernel))

    return jnp.mean(jax.vmap(task)(x))

  functions = {}
  for name, convolve in (
    ('library', lambda x, k: convolution._library(x, k, dilation=1)),
    ('closed', convolution.convolve),
  ):
    gradient = jax.jit(jax.grad(lambda k, c=convolve: objective(k, c)))
    functions[name] = functools.partial(gradient, kernel)
  seconds = timing.medians(functions, rounds=5)
  for name, value in seconds.items():
    found['seconds'][f'second order, 3 tasks, {name}'] = value
  found['ratios']['second order, 3 tasks, library / closed'] = (
    seconds['library'] / seconds['closed']
  )
