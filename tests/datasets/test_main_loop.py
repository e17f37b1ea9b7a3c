"""Prepare, search, train and evaluate on a small tree of each dataset."""

import csv

import jax
import pytest
import trees
from small_search import small_config
from small_trees import make_tree

from nasfas_datasets import prepare
from nasfas_jax import files, search, train
from nasfas_jax.data import index, protocols


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  """All of them, prepared."""
  folder = tmp_path_factory.mktemp('nine')
  for name in trees.NAMES:
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
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(args)):
      return self._jitted(*args)
    return self.lower(*args).compile()(*args)


@pytest.fixture(scope='module')
def share_programs():
  """Makes the datasets share their programs, which do not depend on clips."""
  jit, made = jax.jit, {}

  def shared(function, **options):
    inner = getattr(function, 'func', function)
    if inner.__module__.startswith('nasfas_jax.models'):
      # Part of other programs, of any network.
      return jit(function, **options)
    # The same code with the same config is the same program.
    code = inner.__code__
    if code not in made:
      made[code] = CompiledOnce(jit(function, **options))
    return made[code]

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(jax, 'jit', shared)
    # The page has tests of its own, and its charts take seconds.
    patch.setattr(train.page, 'write_report', lambda workdir: workdir)
    yield


def tiny_config(data_dir, protocol):
  """One shape and one genotype for all, so that one program serves all."""
  config = small_config(hold_out='none', num_steps=2, warmup_steps=1)
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


@pytest.mark.parametrize('name', trees.NAMES)
def test_search_and_evaluation_run_on(name, data_dir, tmp_path, share_programs):
  # Those without a training set are the target of a cross-dataset protocol.
  protocol_name = trees.example(name).SMALL_PROTOCOL
  config = tiny_config(data_dir, protocol_name)
  search.search(config, tmp_path)
  results = files.read_json(tmp_path / 'results.json')
  assert results['protocol'] == protocol_name
  rows = index.load_index(data_dir, name, 'small')
  protocol = protocols.get_protocol(protocol_name)
  expected = {row['clip_id'] for row in index.select(rows, protocol.test)}
  with open(tmp_path / 'scores.csv', encoding='utf-8') as file:
    scores = list(csv.DictReader(file))
  tested = [row['clip_id'] for row in scores if row['split'] == 'test']
  assert sorted(tested) == sorted(expected) and tested
