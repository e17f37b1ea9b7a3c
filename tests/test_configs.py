"""The configs: variants compose in any order, and a contradiction is said."""

import itertools
import re

import ml_collections
import pytest

from nasfas_configs import (
  calibrate,
  compare,
  demo,
  evaluate,
  predict,
  protocols,
  report,
  search,
  study,
  train,
)


@pytest.mark.parametrize(
  'chosen',
  [
    ('debug', 'type', 'bf16'),
    ('paper', 'domain', 'second_order'),
    ('debug', 'evolution', 'domain_type', 'bf16'),
    ('random', 'plain', 'paper'),
  ],
)
def test_the_order_of_variants_changes_nothing(chosen):
  configs = [
    search.get_config(','.join(names)).to_dict()
    for names in itertools.permutations(chosen)
  ]
  assert all(config == configs[0] for config in configs)


def test_each_variant_changes_what_it_says():
  config = search.get_config('bf16,type,debug')
  assert config.dtype == 'bfloat16'
  assert config.search.hold_out == 'type'
  assert config.data.builder_config == 'tiny'
  assert search.get_config('second_order').search.second_order


@pytest.mark.parametrize(
  ('variants', 'algorithm', 'hold_out', 'image_size'),
  [
    ('', 'gradient', 'domain', 64),
    ('domain', 'gradient', 'domain', 64),
    ('type', 'gradient', 'type', 64),
    ('domain_type', 'gradient', 'domain_type', 64),
    ('plain', 'gradient', 'none', 64),
    ('evolution', 'evolution', 'none', 64),
    ('evolution,domain', 'evolution', 'domain', 64),
    ('evolution,type', 'evolution', 'type', 64),
    ('random', 'random', 'none', 64),
    ('debug', 'gradient', 'domain', 32),
    ('paper', 'gradient', 'none', 256),
    ('paper,domain', 'gradient', 'domain', 256),
    ('paper,type', 'gradient', 'type', 256),
  ],
)
def test_what_searches_are_called(variants, algorithm, hold_out, image_size):
  config = search.get_config(variants)
  assert config.search.algorithm == algorithm
  assert config.search.hold_out == hold_out
  assert config.data.image_size == image_size


@pytest.mark.parametrize(
  ('variants', 'message'),
  [
    ('type,domain', "'domain' and 'type' exclude each other; choose one hold"),
    ('paper,bf16,debug', "'debug' and 'paper' exclude each other; choose one"),
    ('random,evolution', "'evolution' and 'random' exclude each other"),
    ('domain,random', "'random' and 'domain' exclude each other"),
    (
      'second_order,evolution',
      "'evolution' and 'second_order' exclude each other",
    ),
    ('debug,huge', "Unknown variant 'huge' of configs/search.py; allowed: deb"),
    ('debug,', "Unknown variant '' of configs/search.py; allowed: debug, pap"),
    ('debug,type,debug', "the variant 'debug' is named twice"),
    ('paper_domain', "'paper_domain' of configs/search.py is now 'paper,dom"),
    ('evolution_type', "is now 'evolution,type'"),
    ('default', "configs/search.py has no variant 'default': leave it out"),
  ],
)
def test_a_contradiction_or_an_unknown_name_is_said(variants, message):
  with pytest.raises(ValueError, match=re.escape(message)):
    search.get_config(variants)


def test_the_other_configs_have_the_variants_that_change_them():
  config = train.get_config('bf16,paper')
  assert config.experiment == 'train'
  assert config.data.image_size == 256 and config.dtype == 'bfloat16'
  with pytest.raises(ValueError, match="'type' .*train.py; allowed: debug, pa"):
    train.get_config('type')
  config = compare.get_config('paper')
  assert config.compare.batch_size == 2 and config.data.image_size == 256
  assert compare.get_config('debug').compare.adam_steps == 2
  assert study.get_config('debug').study.seeds == (0,)
  for module in (calibrate, demo, evaluate, predict, protocols, report):
    with pytest.raises(ValueError, match="Unknown variant 'debug'.* has none"):
      module.get_config('debug')


@pytest.mark.parametrize(
  'module',
  (calibrate, compare, demo, evaluate, predict, protocols, report, search)
  + (study, train),
)
def test_no_two_fields_are_one(module):
  """A dict in two places is one field to ml_collections: both would be set."""
  seen = {}

  def visit(config, path):
    for name in config:
      field, here = config.get_ref(name).get(), f'{path}{name}.'
      if isinstance(field, ml_collections.ConfigDict):
        assert seen.setdefault(id(field), here) == here
        visit(field, here)

  config = module.get_config()
  visit(config, '')
  assert len(seen) > 5 or module not in (search, study, train)
