"""A training of a wide genotype without batch normalization, to its scores."""

import dataclasses
import functools

import numpy as np
import pytest
from small_search import small_config

from nasfas_jax import adaptation, detector, files, run_config, train
from nasfas_jax.models import genotypes


def genotype():
  cell = genotypes.Cell((genotypes.Edge(0, 1, 'cdc_3x3', 0.3),), ((1, 1.0),))
  return genotypes.Genotype(
    'wide',
    0.7,
    ((cell,),) * 3,
    choices=genotypes.Choices(width=0.5, fusion='dynamic', norm='group'),
  )


def test_a_wide_genotype_is_trained_evaluated_and_loaded(
  tiny_data_dir, tmp_path, capsys
):
  genotype().save(tmp_path / 'wide.json')
  config = small_config()
  config.experiment, config.genotype = 'train', str(tmp_path / 'wide.json')
  config.data.data_dir = str(tiny_data_dir)
  config.train.update(num_steps=1, warmup_steps=0, batch_size=4)
  config.evaluate.update(bootstrap_samples=2, num_samples=0, batch_size=8)
  workdir = tmp_path / 'run'
  train.train(config, workdir)
  assert "The genotype chose the fusion 'dynamic'" in capsys.readouterr().err
  assert run_config.read(workdir).input.fusion == 'dynamic'
  found = files.read_json(workdir / 'results.json')
  assert 0 <= found['splits']['test']['auc'] <= 1
  # The report names what was chosen.
  page = (workdir / 'report' / 'index.html').read_text()
  assert 'cdc_3x3, θ 0.3' in page and 'group' in page
  loaded = detector.load(workdir)
  assert loaded.variables['batch_stats'] == {}
  assert loaded.model.stem_features == (1, 2)
  with pytest.raises(ValueError, match='no batch normalization'):
    adaptation.find_statistics(
      loaded.model,
      loaded.variables,
      np.zeros((2, 2, 16, 16, 3), np.uint8),
      loaded.form,
    )
  # The same command again: nothing is left to do. Another choice is refused.
  again = functools.partial(train.train, config, workdir)
  again()
  other = dataclasses.replace(
    genotype(), choices=genotypes.Choices(1.0, 'dynamic', 'group')
  )
  other.save(tmp_path / 'wide.json')
  with pytest.raises(ValueError, match='has changed since the run'):
    again()
