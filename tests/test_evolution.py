import numpy as np
import pytest
from small_search import small_config

from nasfas_jax import bilevel, evolution, run_log, search, supernet_scores
from nasfas_jax.data import index, protocols
from nasfas_jax.models import genotypes, sampling


class Known:
  """A score that counts the edges with one operation."""

  calls = 0

  def __init__(self, *args):
    pass

  def auc(self, variables, genotype):
    Known.calls += 1
    edges = [
      e for cells in genotype.cells for cell in cells for e in cell.edges
    ]
    return float(np.mean([e.operation == 'cdc_2_1.4' for e in edges]))


def method_on_known_scores(monkeypatch, **changes):
  config = small_config()
  config.supernet.num_nodes = 2
  config.evolution.update({'mutation_rate': 0.2, **changes})
  monkeypatch.setattr(supernet_scores, 'SupernetScorer', Known)
  rows = [
    {'dataset': 'd', 'subject': str(i // 2), 'label': i % 2}
    | {'attack_type': 'live' if i % 2 else 'print', 'session': 'room'}
    for i in range(8)
  ]
  Known.calls = 0
  return evolution.Evolution(config, rows)


class State:
  params = {}
  batch_stats = {}


def test_evolution_climbs_with_the_evaluations_it_is_given(monkeypatch):
  def best(evaluations):
    method = method_on_known_scores(
      monkeypatch, evaluations=evaluations, population=8
    )
    genotype = method.evolve(State())
    assert Known.calls == evaluations
    return Known().auc({}, genotype)

  assert best(300) == 1.0 > best(8)


def test_evolution_is_the_same_for_a_seed(monkeypatch):
  found = [
    method_on_known_scores(monkeypatch, evaluations=20).evolve(State())
    for _ in range(2)
  ]
  assert found[0] == found[1]


def test_even_choice_takes_every_type_and_no_clip_twice():
  rows = [
    {'label': 0, 'attack_type': kind, 'session': 'a', 'clip_id': f'{kind}{i}'}
    for kind in ('print', 'replay')
    for i in range(50)
  ]
  chosen = supernet_scores.even_choice(rows, 10)
  assert len({row['clip_id'] for row in chosen}) == 10
  kinds = [row['attack_type'] for row in chosen]
  assert kinds.count('print') == kinds.count('replay') == 5
  assert supernet_scores.even_choice(rows[:3], 10) == rows[:3]


@pytest.fixture(scope='module')
def config(tiny_data_dir):
  config = small_config()
  config.data.data_dir = str(tiny_data_dir)
  config.search.tasks = 'none'
  config.search.num_steps = config.search.warmup_steps = 2
  config.evolution.population = 2
  config.evolution.evaluations = 3
  config.evolution.num_clips = 12
  config.evaluate.batch_size = 8
  return config


@pytest.mark.parametrize('algorithm', ['evolution', 'random'])
def test_controls_find_a_genotype_that_trains(config, algorithm, tmp_path):
  config.search.algorithm = algorithm
  config.train.num_steps = 1
  config.train.warmup_steps = 0
  config.evaluate.num_samples = 0
  search.search(config, tmp_path)
  found = genotypes.load(tmp_path / 'genotype.json')
  assert found.provenance['algorithm'] == algorithm
  assert len(found.provenance['data']) == 16
  results = run_log.read_json(tmp_path / 'results.json')
  assert results['model']['name'] == 'genotype'


def test_scores_are_of_the_genotype_and_of_all_clips(config):
  config.search.algorithm = 'evolution'
  selection = protocols.load(
    config.protocol, config.data.data_dir, config.data.builder_config
  )
  method = search.make_method(config, selection)
  # 12 clips in batches of 8: the last batch is filled up.
  rows = supernet_scores.even_choice(index.split_halves(selection.train)[1], 12)
  scorer = supernet_scores.SupernetScorer(
    config, method.model, rows, method.mesh
  )
  state = bilevel.initial_state(config, method.model)
  variables = {'params': state.params, 'batch_stats': state.batch_stats}
  sizes = evolution.sizes_of(config)
  found = []
  for seed in range(3):
    sample = sampling.draw(np.random.default_rng(seed), **sizes)
    genotype = sampling.to_genotype(sample, 'cdcnpp', theta=0.7)
    found.append(scorer.auc(variables, genotype))
    assert found[-1] == scorer.auc(variables, genotype)
  assert all(0 <= auc <= 1 for auc in found)
  assert len(set(found)) > 1
  # Clips are told by their index, not by their place in the stream.
  scorer._batches.reverse()
  assert scorer.auc(variables, genotype) == found[-1]


def test_a_control_has_no_tasks(config):
  config.search.algorithm = 'random'
  config.search.tasks = 'domain'
  with pytest.raises(ValueError, match="tasks is 'domain'; allowed: none"):
    search.check(config)
  config.search.tasks = 'none'
