import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_search import small_config

from nasfas_jax import (
  files,
  losses,
  scoring,
  search,
  states,
  supervised,
)
from nasfas_jax.data import index, protocols
from nasfas_jax.models import genotypes, sampling
from nasfas_jax.searchers import bilevel, evolution, supernet_scores


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
  config.search.tasks = 'none'
  config.supernet.num_nodes = 2
  config.evolution.update({'mutation_rate': 0.2, **changes})
  monkeypatch.setattr(supernet_scores, 'SupernetScorer', Known)
  rows = [
    {'dataset': 'd', 'subject': str(i // 2), 'label': i % 2}
    | {'attack_type': 'live' if i % 2 else 'print', 'session': 'room'}
    for i in range(8)
  ]
  Known.calls = 0
  return evolution.Evolution(config, rows, 'session')


# A state without weights, of one task.
STATE = states.SearchState(
  step=jnp.zeros(1, jnp.int32),
  params={},
  batch_stats={},
  arch={},
  weight_opt_state=(),
  arch_opt_state=(),
  log_rates={},
  rate_opt_state=(),
)


def test_evolution_climbs_with_the_evaluations_it_is_given(monkeypatch):
  def best(evaluations):
    method = method_on_known_scores(
      monkeypatch, evaluations=evaluations, population=8
    )
    genotype = method.evolve(STATE)
    assert Known.calls == evaluations
    return Known().auc({}, genotype)

  assert best(300) == 1.0 > best(8)


def test_evolution_is_the_same_for_a_seed(monkeypatch):
  found = [
    method_on_known_scores(monkeypatch, evaluations=20).evolve(STATE)
    for _ in range(2)
  ]
  assert found[0] == found[1]


def test_even_choice_takes_every_type_and_no_clip_twice():
  rows = [
    {'label': 0, 'attack_type': kind, 'room': i % 5, 'clip_id': f'{kind}{i}'}
    for kind in ('print', 'replay')
    for i in range(50)
  ]
  chosen = supernet_scores.even_choice(rows, 10, 'room')
  assert len({row['clip_id'] for row in chosen}) == 10
  kinds = [row['attack_type'] for row in chosen]
  assert kinds.count('print') == kinds.count('replay') == 5
  assert len({(row['attack_type'], row['room']) for row in chosen}) == 10
  assert supernet_scores.even_choice(rows[:3], 10, 'room') == rows[:3]


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
  results = files.read_json(tmp_path / 'results.json')
  assert results['model']['name'] == 'genotype'


def test_scores_are_of_the_genotype_and_of_all_clips(config):
  config.search.algorithm = 'evolution'
  selection = protocols.load(
    config.protocol, config.data.data_dir, config.data.builder_config
  )
  method = search.make_method(config, selection)
  # 12 clips in batches of 8: the last batch is filled up.
  rows = supernet_scores.even_choice(
    index.split_halves(selection.train)[1], 12, 'session'
  )
  scorer = supernet_scores.SupernetScorer(
    config, method.model, rows, rows, method.mesh
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


def test_batches_that_are_dealt_are_all_alike():
  places = supernet_scores.dealt(64, 32).reshape(2, 32)
  assert sorted(places.ravel()) == list(range(64))
  # Half of either batch is of the first half of the sorted rows.
  assert [(batch < 32).sum() for batch in places] == [16, 16]
  # What fills a batch up comes from all over the rows.
  (filled,) = supernet_scores.dealt(12, 32).reshape(1, 32)
  counts = np.bincount(filled, minlength=12)
  assert counts.min() >= 1
  assert counts.max() - counts.min() <= 2
  assert supernet_scores.dealt(1, 2).tolist() == [0, 0]


@pytest.fixture(scope='module')
def scoring_parts(config):
  config = config.copy_and_resolve_references()
  config.search.algorithm = 'evolution'
  selection = protocols.load(
    config.protocol, config.data.data_dir, config.data.builder_config
  )
  method = search.make_method(config, selection)
  state = bilevel.initial_state(config, method.model)
  variables = {'params': state.params, 'batch_stats': state.batch_stats}
  training, scored = (
    supernet_scores.even_choice(half, 12, 'session')
    for half in index.split_halves(selection.train)
  )

  def score(rows, training_rows, batch_size):
    config.evaluate.batch_size = batch_size
    scorer = supernet_scores.SupernetScorer(
      config, method.model, rows, training_rows, method.mesh
    )
    return scorer.scores(variables, state.arch)

  return score, (training, scored), (config, method, variables, state.arch)


def test_a_score_does_not_depend_on_the_clips_beside_it(scoring_parts):
  score, (training, scored), _ = scoring_parts
  # Sorted by class, so that the two batches differ; the second is filled up.
  in_order = score(scored, training, 8)
  assert in_order.std() > 1e-4
  order = np.random.default_rng(0).permutation(len(scored))
  shuffled = score([scored[place] for place in order], training, 8)
  np.testing.assert_allclose(shuffled, in_order[order], rtol=1e-5, atol=1e-7)
  alone = score(scored[:1], training, 8)
  np.testing.assert_allclose(alone, in_order[:1], rtol=1e-5, atol=1e-7)


def test_the_batch_statistics_are_those_of_the_training_clips(scoring_parts):
  score, (training, scored), (config, method, variables, arch) = scoring_parts
  rows = [*training[:4], *training[-4:]]
  # Scored on themselves, in one batch without fill, they have the scores of a
  # training step.
  found = score(rows, rows, 8)
  (batch,) = scoring.evaluation_stream(
    config, rows, 1, config.supernet.output_size
  )
  outputs, _ = method.model.apply(
    variables,
    supervised.fused_input(config, batch['frames']),
    arch,
    train=True,
    mutable=['batch_stats'],
  )
  expected = losses.map_score(outputs.map, batch['score_mask'])
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
  # Others' statistics are others.
  other = score(rows, scored[:8], 8)
  assert np.abs(other - found).max() > 1e-4


def clip(subject, room, label):
  kind = 'live' if label else 'print'
  fields = {'subject': subject, 'session': room, 'label': label}
  return {'dataset': 'd', 'attack_type': kind, **fields}


def test_over_tasks_the_clips_that_score_are_of_the_held_out_room_only():
  rows = [
    clip(f'{room}{subject}', room, label)
    for room in ('attic', 'cellar', 'hall')
    for subject in range(4)
    for label in (0, 1)
  ]
  config = small_config()
  config.search.tasks = 'domain'
  sets = evolution.make_sets(config, rows, 'session')
  assert len(sets) == 3
  for (train, scored), room in zip(
    sets, ('attic', 'cellar', 'hall'), strict=True
  ):
    assert {row['session'] for row in scored} == {room}
    assert room not in {row['session'] for row in train}
    for clips in (train, scored):
      assert {row['label'] for row in clips} == {0, 1}
    subjects = [{row['subject'] for row in clips} for clips in (train, scored)]
    assert not subjects[0] & subjects[1]


def test_every_task_trains_weights_of_its_own_on_the_path_of_the_step(config):
  config = config.copy_and_resolve_references()
  config.search.algorithm = 'evolution'
  config.search.tasks = 'domain'
  selection = protocols.load(
    config.protocol, config.data.data_dir, config.data.builder_config
  )
  method = search.make_method(config, selection)
  number = len(method._sets)
  assert number >= 2
  state = jax.jit(
    method.initial_state, out_shardings=states.replicated(method.mesh)
  )()
  kernel = jax.tree.leaves(state.params)[0]
  assert kernel.shape[0] == number
  np.testing.assert_array_equal(kernel[0], kernel[1])
  state = method.begin(state, 0)
  state, losses = method.run(state, 1)
  state, _ = method.run(state, 2)
  method.close()
  assert state.step.tolist() == [2] * number
  assert losses['train_loss'].shape == ()
  kernel = np.asarray(jax.tree.leaves(state.params)[0])
  assert not np.array_equal(kernel[0], kernel[1])
  alphas = state.arch['alphas']['low']
  np.testing.assert_array_equal(alphas[0], alphas[1])
  assert method.evolve(state) == method.evolve(state)


def test_genotypes_are_ranked_by_the_mean_over_the_tasks(monkeypatch):
  method = method_on_known_scores(monkeypatch, evaluations=2, population=2)
  method._sets = method._sets * 2
  shares = iter((0.9, 0.1, 0.6, 0.6))

  class Scripted(Known):
    def auc(self, variables, genotype):
      Known.auc(self, variables, genotype)
      return next(shares)

  monkeypatch.setattr(supernet_scores, 'SupernetScorer', Scripted)
  state = jax.tree.map(lambda leaf: jnp.repeat(leaf, 2), STATE)
  rng = np.random.default_rng((method._config.seed, 0))
  draws = [
    sampling.draw(rng, **evolution.sizes_of(method._config)) for _ in 'ab'
  ]
  # Means 0.5 and 0.6: the second, though the first has the best single score.
  assert method.evolve(state) == method._genotype(draws[1])


def test_a_control_has_no_tasks(config):
  config.search.algorithm = 'random'
  config.search.tasks = 'domain'
  with pytest.raises(ValueError, match="tasks is 'domain'; allowed: none"):
    search.check(config)
  config.search.tasks = 'none'
