"""Strict settings under which every test runs."""

import fcntl
import os
import pathlib
import tempfile

# Before the first import of jax.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')

import fast_compiler
import jax
import pytest
from absl import flags

from nasfas_jax.ops.cpu import xla_options

# Before the first computation: two fake devices on the host, and code that is
# compiled fast. tests/test_compiler.py compares it with that of users.
os.environ['XLA_FLAGS'] = ' '.join(
  (
    os.environ.get('XLA_FLAGS', ''),
    '--xla_force_host_platform_device_count=2',
    fast_compiler.flags(),
  )
)
# As the main module does.
xla_options.prefer_own_convolutions()
jax.config.update('jax_numpy_dtype_promotion', 'strict')
jax.config.update('jax_numpy_rank_promotion', 'raise')

# One folder for all workers of a session, which inherit its name: what one of
# them compiled or prepared, another need not. Nothing outlives the session.
if 'NASFAS_TEST_SESSION' not in os.environ:
  _SESSION_FOLDER = tempfile.TemporaryDirectory(prefix='nasfas_tests_')
  os.environ['NASFAS_TEST_SESSION'] = _SESSION_FOLDER.name
SESSION = pathlib.Path(os.environ['NASFAS_TEST_SESSION'])
# A developer may keep the compiled programs from one session to the next:
# NASFAS_TEST_CACHE=~/.cache/nasfas_tests pytest
CACHE = os.environ.get('NASFAS_TEST_CACHE') or SESSION / 'xla'
jax.config.update('jax_compilation_cache_dir', os.path.expanduser(CACHE))
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.2)

# grain's worker processes read absl flags, which pytest never parses.
flags.FLAGS.mark_as_parsed()


# Their few tests take longest. A worker takes whole files, in this order; begun
# last, one of these would keep the other workers waiting.
FIRST = (
  'test_resume.py',
  'test_loops.py',
  'test_main.py',
  'test_meta_search.py',
  'test_meta_step.py',
  'test_evolution.py',
)


def pytest_collection_modifyitems(items):
  order = {name: place for place, name in enumerate(FIRST)}
  items.sort(key=lambda item: order.get(item.path.name, len(FIRST)))


@pytest.fixture
def key():
  return jax.random.key(0)


@pytest.fixture(scope='session')
def tiny_data_dir():
  """A folder with the small config of the embedded dataset, prepared."""
  return _prepared('data')


@pytest.fixture(scope='session')
def first_data_dir():
  """The same of version 1.0.0."""
  return _prepared('first', version='1.0.0')


def _prepared(name, **which):
  from nasfas_datasets import prepare

  # The first worker prepares it, the others wait.
  with open(SESSION / f'{name}.lock', 'w') as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    prepare.prepare(
      'synthetic_fas', config='tiny', data_dir=SESSION / name, **which
    )
  return SESSION / name


@pytest.fixture
def bucket(monkeypatch, tmp_path):
  """A stand-in of Google Cloud Storage, see `fake_gcs`."""
  import fake_gcs

  with fake_gcs.taken_for_the_real_one(monkeypatch, tmp_path / 'copies') as it:
    yield it


@pytest.fixture(scope='session')
def needs_face_models():
  """Skips where the face models or their runtime are not there."""
  from nasfas_jax.preprocessing import face_models

  pytest.importorskip('ai_edge_litert')
  folder = face_models.folder_of(None)
  if not all((folder / name).exists() for name in face_models.SUMS):
    pytest.skip('python -m nasfas_datasets.fetch_face_models was not run.')
