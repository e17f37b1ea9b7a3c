"""What the processes of a comparison read of its folder."""

import dataclasses

import pytest

pytest.importorskip('torch')

import small_twins
from small_compare import small_config

from nasfas_jax import compare, files
from nasfas_jax.comparison import setup


def test_the_processes_compare_the_genotype_of_the_run(tmp_path):
  config = small_config(tmp_path)
  config.model = 'genotype'
  config.genotype = str(tmp_path / 'elsewhere.json')
  config.search.second_order = True
  small_twins.EVERY_OPERATION.save(tmp_path / 'elsewhere.json')
  here, loaded = compare.load(config)
  assert loaded.chosen == small_twins.EVERY_OPERATION
  # As the experiment leaves them.
  loaded.chosen.save(tmp_path / 'genotype.json')
  files.write_json(tmp_path / 'config.json', config.to_dict())
  there = setup.read(tmp_path)
  for field in dataclasses.fields(setup.Setup):
    if field.name != 'example':
      assert getattr(there, field.name) == getattr(here, field.name)
  assert there.example.shape == here.example.shape == (1, 16, 16, 3)
  assert there.network.genotype == small_twins.EVERY_OPERATION
  # PyTorch's search step is of first order.
  assert not there.search.second_order
