import os
import subprocess
import sys

from nasfas_jax.ops.cpu import xla_options

FLAG = '--xla_cpu_experimental_ynn_fusion_type=LIBRARY_FUSION_TYPE_REDUCE'


def test_the_flag_joins_those_of_the_user():
  environ = {}
  xla_options.prefer_own_convolutions(environ)
  assert environ == {'XLA_FLAGS': FLAG}
  environ = {'XLA_FLAGS': '--xla_dump_to=there'}
  xla_options.prefer_own_convolutions(environ)
  assert environ == {'XLA_FLAGS': f'--xla_dump_to=there {FLAG}'}
  xla_options.prefer_own_convolutions(environ)
  assert environ['XLA_FLAGS'].count(FLAG) == 1


def test_a_choice_of_the_user_stays():
  environ = {'XLA_FLAGS': '--xla_cpu_experimental_ynn_fusion_type='}
  xla_options.prefer_own_convolutions(environ)
  assert environ == {'XLA_FLAGS': '--xla_cpu_experimental_ynn_fusion_type='}


# Prints how many computations of a convolution are the library's.
PROGRAM = """
import re
import jax, jax.numpy as jnp
from nasfas_jax.ops import convolution
from nasfas_jax.ops.cpu import xla_options
{before}
x, k = jnp.ones((8, 8, 8, 24)), jnp.ones((3, 3, 24, 8))
text = jax.jit(convolution.convolve).lower(x, k).compile().as_text()
assert 'convolution(' in text
print(len(re.findall('kind=kCustom', text)))
"""


def library_fusions(before: str) -> int:
  environ = {n: v for n, v in os.environ.items() if n != 'XLA_FLAGS'}
  done = subprocess.run(
    [sys.executable, '-c', PROGRAM.format(before=before)],
    env={**environ, 'JAX_PLATFORMS': 'cpu'},
    capture_output=True,
    text=True,
    check=False,
  )
  # XLA ends a process that has a flag it does not know.
  assert done.returncode == 0, done.stderr
  return int(done.stdout)


def test_xla_fuses_a_convolution_by_default_and_not_with_the_flag():
  # The first says that the second is the flag's doing.
  assert library_fusions('') == 1
  assert library_fusions('xla_options.prefer_own_convolutions()') == 0
