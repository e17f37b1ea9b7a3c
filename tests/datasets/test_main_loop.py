"""Prepare, search, train and evaluate on a small tree of each dataset."""

import csv

import jax
import pytest
from small_search import small_config
from small_trees import CHOSEN, make_tree

from nasfas_datasets import prepare
from nasfas_jax import files, search, train
from nasfas_jax.data import index, protocols

# The protocol that searches and evaluates on each dataset; those without a
# training set are the target of a cross protocol.
PROTOCOLS = {
  'oulu_npu': 'oulu_npu/1',
  'siw': 'siw/3/1',
  'siw_m': 'siw_m/paper',
  'casia_mfsd': 'casia_mfsd/overall',
  'replay_attack': 'replay_attack/grandtest',
  'msu_mfsd': 'msu_mfsd',
  'three_d_mad': 'three_d_mad/classification',
  'hkbu_mars_v2': 'cross/oulu+siw-hkbu',
  'casia_surf_3dmask': 'cross/oulu+siw-casia_surf_3dmask',
}


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  """All nine, prepared."""
  folder = tmp_path_factory.mktemp('nine')
  for name in CHOSEN:
    prepare.prepare(
      name,
      config='small',
      data_dir=folder / 'data',
      manual_dir=make_tree(name, folder / name),
      allow_missing=True,
    )
  return folder / 'data'


class CompiledOnce:
  """A jitted function that is compiled at its first use, by shapes alone."""

  def __init__(self, jitted):
    self._jitted = jitted
    self._compiled = None

  def lower(self, *args):
    if self._compiled is None:
      self._compiled = self._jitted.lower(*args).compile()
    return self

  def compile(self, compiler_options=None):
    del compiler_options
    return self._compiled

  def __call__(self, *args):
    return self.lower(*args).compile()(*args)


@pytest.fixture(scope='module')
def share_programs():
  """Makes the datasets share their programs, which do not depend on clips."""
  jit, made = jax.jit, {}

  def shared(function, **options):
    function_of = getattr(function, 'func', function)
    if function_of not in made:
      made[function_of] = CompiledOnce(jit(function, **options))
    return made[function_of]

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(jax, 'jit', shared)
    # The page has tests of its own, and its charts take seconds.
    patch.setattr(train.report, 'write_report', lambda workdir: workdir)
    yield


def tiny_config(data_dir, protocol):
  """One shape and one genotype for all, so that one program serves all."""
  config = small_config(tasks='none', num_steps=2, warmup_steps=1)
  config.protocol = protocol
  config.data.data_dir = str(data_dir)
  config.data.builder_config = 'small'
  # The architecture step runs, and keeps the ranking of the operations.
  config.search.arch_learning_rate = 1e-9
  config.train.num_steps = 2
  config.train.warmup_steps = 1
  config.evaluate.bootstrap_samples = 20
  config.evaluate.num_samples = 2
  return config


@pytest.mark.parametrize('name', CHOSEN)
def test_search_and_evaluation_run_on(name, data_dir, tmp_path, share_programs):
  config = tiny_config(data_dir, PROTOCOLS[name])
  search.search(config, tmp_path)
  results = files.read_json(tmp_path / 'results.json')
  assert results['protocol'] == PROTOCOLS[name]
  rows = index.load_index(data_dir, name, 'small')
  protocol = protocols.get_protocol(PROTOCOLS[name])
  expected = {row['clip_id'] for row in index.select(rows, protocol.test)}
  with open(tmp_path / 'scores.csv', encoding='utf-8') as file:
    scores = list(csv.DictReader(file))
  tested = [row['clip_id'] for row in scores if row['split'] == 'test']
  assert sorted(tested) == sorted(expected) and tested
