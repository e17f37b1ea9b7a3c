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


def test_xla_knows_the_flag_and_keeps_its_own_convolution():
  program = """
import jax, jax.numpy as jnp
from nasfas_jax.ops.cpu import xla_options
xla_options.prefer_own_convolutions()
from nasfas_jax.ops import convolution
x, k = jnp.ones((2, 32, 32, 16)), jnp.ones((3, 3, 16, 16))
f = jax.jit(lambda x, k: jax.nn.relu(convolution.convolve(x, k)))
print('ynn' in f.lower(x, k).compile().as_text())
"""
  environ = {n: v for n, v in os.environ.items() if n != 'XLA_FLAGS'}
  done = subprocess.run(
    [sys.executable, '-c', program],
    env=environ,
    capture_output=True,
    text=True,
    check=False,
  )
  # An unknown flag would end the process.
  assert done.returncode == 0, done.stderr
  assert done.stdout.strip() == 'False'
