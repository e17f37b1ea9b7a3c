"""Speed of the convolution's derivatives, and of derivatives of derivatives."""

import functools

import jax
import jax.numpy as jnp

from benchmarks import timing
from nasfas_jax.ops import convolution

# [N, H, W, C] -> O and the side of the window: of a task of the default
# supernet, of the paper's supernet, of CDCN++ at 128 and at 256, of the spatial
# attention at the default size and at the paper's.
SHAPES = {
  'default 64x64': ((4, 64, 64, 16), 48, 3),
  'paper 128x128': ((1, 128, 128, 32), 64, 3),
  'CDCN++ 128x128': ((2, 128, 128, 128), 128, 3),
  'CDCN++ 256x256': ((2, 256, 256, 64), 128, 3),
  'attention 32x32': ((8, 32, 32, 2), 1, 7),
  'attention 128x128': ((2, 128, 128, 2), 1, 7),
}


def measure() -> dict[str, dict[str, float]]:
  """Fills 'ratios', 'seconds' and 'limits', see `benchmarks.run`."""
  found = {'ratios': {}, 'seconds': {}, 'limits': {}}
  found['limits']['matmul_gflops'] = matmul_gflops()
  for name, (shape, features, window) in SHAPES.items():
    _forms(found, name, shape, features, window)
  _second_order(found)
  return found


def matmul_gflops(side: int = 2048) -> float:
  """The rate of a float32 matrix product on this machine."""
  a = jnp.ones((side, side))
  product = jax.jit(lambda: jnp.dot(a, a, precision='highest'))
  seconds = timing.medians({'product': product})['product']
  return 2 * side**3 / seconds / 1e9


def _forms(found, name, shape, features, window) -> None:
  """Convolution and kernel gradient, XLA's own and in the form that is used."""
  kernel = jax.random.normal(
    jax.random.key(0), (window, window, shape[3], features)
  )
  x = jax.random.normal(jax.random.key(1), shape)
  g = jax.random.normal(jax.random.key(2), (*shape[:3], features))
  library = functools.partial(convolution._library, dilation=1)
  cases = {
    'convolution': (library, convolution.convolve, kernel),
    'kernel gradient': (
      lambda x, g: jax.vjp(lambda k: library(x, k), kernel)[1](g)[0],
      lambda x, g: jax.vjp(lambda k: convolution.convolve(x, k), kernel)[1](g)[
        0
      ],
      g,
    ),
  }
  for case, (theirs, ours, second) in cases.items():
    functions = {
      form: functools.partial(
        jax.jit(function).lower(x, second).compile(), x, second
      )
      for form, function in (('library', theirs), ('used', ours))
    }
    seconds = timing.medians(functions)
    for form, value in seconds.items():
      found['seconds'][f'{case}, {form}, {name}'] = value
    found['ratios'][f'{case}, library / used, {name}'] = (
      seconds['library'] / seconds['used']
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
