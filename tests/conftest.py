"""Strict settings under which every test runs."""

import os
import tempfile

# Before the first import of jax: two fake devices on the host, and code
# that is compiled fast and runs slowly, since tests compile more than they run.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ['XLA_FLAGS'] = ' '.join(
  (
    os.environ.get('XLA_FLAGS', ''),
    '--xla_force_host_platform_device_count=2',
    '--xla_backend_optimization_level=0',
  )
)

import jax
import pytest
from absl import flags

from nasfas_jax.ops.cpu import xla_options

# As the main module does, before the first computation.
xla_options.prefer_own_convolutions()
jax.config.update('jax_numpy_dtype_promotion', 'strict')
jax.config.update('jax_numpy_rank_promotion', 'raise')

# What one test compiled, another need not. Nothing outlives the session, unless
# a developer names a folder: NASFAS_TEST_CACHE=~/.cache/nasfas_tests pytest.
_CACHE = os.environ.get('NASFAS_TEST_CACHE')
if not _CACHE:
  _SESSION_CACHE = tempfile.TemporaryDirectory(prefix='nasfas_xla_')
  _CACHE = _SESSION_CACHE.name
jax.config.update('jax_compilation_cache_dir', os.path.expanduser(_CACHE))
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.5)

# grain's worker processes read absl flags, which pytest never parses.
flags.FLAGS.mark_as_parsed()


@pytest.fixture
def key():
  return jax.random.key(0)


@pytest.fixture(scope='session')
def tiny_data_dir(tmp_path_factory):
  """A folder with the small config of the embedded dataset, prepared."""
  from nasfas_datasets import prepare

  folder = tmp_path_factory.mktemp('data')
  prepare.prepare('synthetic_fas', config='tiny', data_dir=folder)
  return folder


@pytest.fixture(scope='session')
def needs_face_models():
  """Skips where the face models or their runtime are not there."""
  from nasfas_jax.preprocessing import face_models

  pytest.importorskip('ai_edge_litert')
  folder = face_models.folder_of(None)
  if not all((folder / name).exists() for name in face_models.SUMS):
    pytest.skip('python -m nasfas_datasets.fetch_face_models was not run.')
