import os
import subprocess
import sys


def test_the_bits_are_those_of_any_command():
  # The main module sets a flag of the compiler that `prepare` does not; both
  # optimise, other than these tests.
  source = """
import hashlib, sys
from nasfas_jax.ops.cpu import xla_options
if sys.argv[1] == 'main':
  xla_options.prefer_own_convolutions()
from nasfas_datasets.synthetic_fas import plan, render
digest = hashlib.sha256()
for clip, *arrays in render.render(plan.make_plan(plan.SIZES['tiny'])[:8]):
  for array in arrays:
    digest.update(array.tobytes())
print(digest.hexdigest())
"""
  environ = {k: v for k, v in os.environ.items() if k != 'XLA_FLAGS'}
  processes = [
    subprocess.Popen(
      [sys.executable, '-c', source, name],
      env=environ,
      stdout=subprocess.PIPE,
      text=True,
    )
    for name in ('main', 'prepare')
  ]
  first, second = (process.communicate()[0] for process in processes)
  assert len(first) == 65
  assert first == second
