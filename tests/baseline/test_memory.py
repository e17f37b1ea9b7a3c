"""Memory of the training steps that are compared."""

import functools

import jax
import pytest

pytest.importorskip('torch')

from small_compare import small_config

from nasfas_jax import compare, files, models
from nasfas_jax.comparison import memory, setup


def test_memory_of_a_training_step_is_told(tmp_path, monkeypatch):
  # Both on the CPU, also where the accelerator is in use.
  monkeypatch.setenv('JAX_PLATFORMS', 'tpu')
  config = small_config(tmp_path)
  files.write_json(tmp_path / 'config.json', config.to_dict())
  if not memory.can_measure():
    pytest.skip('This system does not tell.')
  # Each in a process of its own.
  found = memory.measure(tmp_path)
  assert found.keys() == {'jax', 'torch eager'}
  for framework in found.values():
    assert framework['peak'] >= framework['loaded'] > 10


def test_memory_that_cannot_be_measured_names_the_reason(tmp_path):
  if not memory.can_measure():
    pytest.skip('This system does not tell.')
  for framework in memory.measure(tmp_path).values():
    assert framework.keys() == {'error'} and 'config.json' in framework['error']


def test_memory_by_xla_grows_with_the_batch(tmp_path):
  compared = setup.of(small_config(tmp_path), 'cdcn')
  small, large = (
    compare.xla_bytes(compared, memory.batch(compared, number))
    for number in (2, 8)
  )
  assert large['temporaries'] > 2 * small['temporaries'] > 0
  # Parameters, statistics and two moments of each in float32 at least, in MiB.
  variables = jax.eval_shape(
    functools.partial(models.initialize, compared.network),
    *(jax.random.key(0), compared.example),
  )
  parameters = models.count_parameters(variables['params'])
  assert small['arguments'] > 3 * 4 * parameters / 2**20
  assert large['arguments'] > small['arguments']
