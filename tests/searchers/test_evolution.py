"""The evolution with weight sharing, and the scores of its supernet."""

import functools
import types

import jax
import numpy as np
import pytest
from small_search import small_config

from nasfas_jax import (
  files,
  inputs,
  losses,
  metrics,
  nonfinite,
  search,
  settings,
  sharding,
)
from nasfas_jax.data import index, protocols
from nasfas_jax.models import genotypes, sampling
from nasfas_jax.searchers import evolution, supernet_program, supernet_scores

# What `evolve` asks a supernet for.
SIZES = types.SimpleNamespace(
  space='cdcnpp', num_cells=1, num_nodes=2, theta=0.7
)


def share(genotype):
  """A score: the share of edges with one operation."""
  edges = [e for cells in genotype.cells for cell in cells for e in cell.edges]
  return float(np.mean([e.operation == 'cdc_2_1.4' for e in edges]))


def evolve(score=share, *, evaluations, population=8):
  sizes = evolution.EvolutionSettings(
    population=population,
    evaluations=evaluations,
    mutation_rate=0.2,
    num_clips=8,
  )
  return evolution.evolve(score, SIZES, 0, sizes)


def test_evolution_climbs_with_the_evaluations_it_is_given():
  calls = []

  def counted(genotype):
    calls.append(genotype)
    return share(genotype)

  assert share(evolve(counted, evaluations=300)) == 1.0
  assert len(calls) == 300
  assert share(evolve(evaluations=8)) < 1.0


def test_evolution_is_the_same_for_a_seed():
  assert evolve(evaluations=20) == evolve(evaluations=20)


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
  config = small_config(hold_out='none', num_steps=2, warmup_steps=2)
  config.data.data_dir = str(tiny_data_dir)
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


class Scoring:
  """A fresh supernet that scores clips of the training halves."""

  def __init__(self, config):
    selection = protocols.load(
      config.protocol, config.data.data_dir, config.data.builder_config
    )
    self.model = settings.supernet(config)
    self.form = settings.input_form(config)
    self._config = config
    state = jax.jit(
      lambda: supernet_program.initial_state(
        self.model, settings.example_input(config), settings.search(config)
      )
    )()
    self.variables = {'params': state.params, 'batch_stats': state.batch_stats}
    self.arch = state.arch
    self.halves = [
      supernet_scores.even_choice(half, 12, 'session')
      for half in index.split_halves(selection.train)
    ]

  def read(self, rows):
    batches = settings.evaluation_batches(
      self._config, 'session', self.model.output_size
    )
    return batches(rows, num_snippets=1)

  def make(self, rows, training_rows):
    return supernet_scores.make_scores(
      *(self.model, rows, training_rows),
      form=self.form,
      read=self.read,
      batch_size=8,
      mesh=sharding.make_mesh(),
    )

  def scores(self, rows, training_rows):
    return self.make(rows, training_rows)(self.variables, self.arch)


@pytest.fixture(scope='module')
def scoring(config):
  return Scoring(config)


def test_scores_are_of_the_genotype_and_the_same_again(scoring):
  # 12 clips in batches of 8: the last batch is filled up.
  rows = scoring.halves[1]
  scores = scoring.make(rows, rows)
  labels = np.array([row['label'] for row in rows])
  found = []
  for seed in range(3):
    rng = np.random.default_rng(seed)
    sample = sampling.draw(rng, **evolution.sizes_of(scoring.model))
    genotype = sampling.to_genotype(sample, scoring.model.space, theta=0.7)
    arch = supernet_scores.genotype_arch(scoring.model, genotype)
    found.append(scores(scoring.variables, arch))
    again = scores(scoring.variables, arch)
    np.testing.assert_array_equal(found[-1], again)
    # By counting: the share of pairs in their order, ties half.
    live, spoof = found[-1][labels == 1], found[-1][labels == 0]
    apart = live[:, None] - spoof
    pairs = np.mean((apart > 0) + 0.5 * (apart == 0))
    auc = evolution._auc(
      *(scoring.model, rows, rows),
      form=scoring.form,
      read=scoring.read,
      batch_size=8,
      mesh=sharding.make_mesh(),
    )(scoring.variables, genotype)
    assert auc == pytest.approx(pairs)
    assert auc == metrics.auc(found[-1], labels)
  assert all(np.abs(found[0] - other).max() > 0 for other in found[1:])


def test_a_genotype_of_another_space_has_no_score(scoring):
  with pytest.raises(ValueError, match="is of the space 'cdcnpp'; .*'small'"):
    supernet_scores.genotype_arch(scoring.model, genotypes.CDCNPP)


def test_a_score_does_not_depend_on_the_clips_beside_it(scoring):
  training, scored = scoring.halves
  # Sorted by class, so that the two batches differ; the second is filled up.
  in_order = scoring.scores(scored, training)
  assert in_order.std() > 1e-4
  order = np.random.default_rng(0).permutation(len(scored))
  shuffled = scoring.scores([scored[place] for place in order], training)
  np.testing.assert_allclose(shuffled, in_order[order], rtol=1e-5, atol=1e-7)
  alone = scoring.scores(scored[:1], training)
  np.testing.assert_allclose(alone, in_order[:1], rtol=1e-5, atol=1e-7)


def test_the_batch_statistics_are_those_of_the_training_clips(scoring):
  training, scored = scoring.halves
  rows = [*training[:4], *training[-4:]]
  # Scored on themselves, in one batch without fill, they have the scores of a
  # training step.
  found = scoring.scores(rows, rows)
  (batch,) = scoring.read(rows)
  step = functools.partial(
    scoring.model.apply, train=True, mutable=['batch_stats']
  )
  outputs, _ = jax.jit(step)(
    scoring.variables,
    inputs.network_input(batch['frames'], scoring.form),
    scoring.arch,
  )
  expected = losses.map_score(outputs.map, batch['score_mask'])
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
  # Others' statistics are others.
  other = scoring.scores(rows, scored[:8])
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
  sets = evolution.make_sets(rows, 'domain', 'session')
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
  config.search.hold_out = 'domain'
  selection = protocols.load(
    config.protocol, config.data.data_dir, config.data.builder_config
  )
  found = search.make_search(config, selection)
  program, state = found.program, found.program.state
  number = len(evolution.make_sets(selection.train, 'domain', 'session'))
  assert number >= 2
  kernel = jax.tree.leaves(state.params)[0]
  assert kernel.shape[0] == number
  np.testing.assert_array_equal(kernel[0], kernel[1])
  batches = program.batches(0)
  batch = next(batches)
  step = program.compile(state, batch)
  state, scalars = step(state, batch)
  state, _ = step(state, batch := next(batches))
  batches.close()
  assert state.step.tolist() == [2] * number
  assert scalars['train_loss'].shape == ()
  kernel = np.asarray(jax.tree.leaves(state.params)[0])
  assert not np.array_equal(kernel[0], kernel[1])
  alphas = state.arch['alphas']['low']
  np.testing.assert_array_equal(alphas[0], alphas[1])
  assert found.derive(state) == found.derive(state)
  assert_skipped(program, step, state, batch)


def assert_skipped(program, step, state, batch):
  """A bad clip of one task leaves the weights of all tasks as they are."""
  before = jax.tree.map(np.asarray, state)
  place = batch['clips'][1]
  # Of a live clip: the map of an attack is zeros, wherever its face is.
  (live, *_) = np.flatnonzero(place['label'])
  place['face_box'] = place['face_box'].at[live].set(np.nan)
  state, scalars = nonfinite.skipping(step, state)(state, batch)
  after = jax.tree.map(np.asarray, state)
  assert np.isnan(scalars['train_loss']) and int(scalars['skipped']) == 1
  assert (after.step == before.step + 1).all() and (after.skipped == 1).all()
  jax.tree.map(
    np.testing.assert_array_equal,
    after.replace(step=before.step, skipped=before.skipped),
    before,
  )
  named = nonfinite.name_clips(program.clips(batch))
  assert named.count("'") == 2 and 'hold numbers that are not finite' in named


def test_genotypes_are_ranked_by_the_mean_over_the_tasks(monkeypatch, config):
  config = config.copy_and_resolve_references()
  config.search.algorithm = 'evolution'
  config.search.hold_out = 'domain'
  config.evolution.evaluations = config.evolution.population = 2
  selection = protocols.load(
    config.protocol, config.data.data_dir, config.data.builder_config
  )
  number = len(evolution.make_sets(selection.train, 'domain', 'session'))
  # The first genotype has the best single score, the second the best mean.
  first = iter([0.9] + [0.1] * (number - 1))
  scores = iter([*first, *[0.6] * number])
  monkeypatch.setattr(
    evolution, '_auc', lambda *args, **kwargs: lambda *_: next(scores)
  )
  found = search.make_search(config, selection)
  rng = np.random.default_rng((config.seed, 0))
  model = settings.supernet(config)
  draws = [sampling.draw(rng, **evolution.sizes_of(model)) for _ in 'ab']
  expected = sampling.to_genotype(draws[1], model.space, theta=model.theta)
  assert found.derive(found.program.state) == expected


def test_a_control_has_no_tasks(config):
  config = config.copy_and_resolve_references()
  config.search.algorithm = 'random'
  config.search.hold_out = 'domain'
  with pytest.raises(ValueError, match="hold_out is 'domain'; allowed: none"):
    search.check(config)
