"""Trainings that start from the network of a finished run."""

import shutil

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from untrained_run import small_genotype

from nasfas_configs import search as search_config
from nasfas_configs import train as train_config
from nasfas_jax import (
  evaluate,
  files,
  run_log,
  search,
  settings,
  sharding,
  starting,
  train,
)
from nasfas_jax.data import protocols
from nasfas_jax.models import genotypes
from nasfas_jax.report import page


def small(data_dir, genotype, **changes):
  config = train_config.get_config('debug')
  config.data.update(data_dir=str(data_dir), image_size=16, num_frames=2)
  config.network.output_size = 4
  config.train.update(num_steps=2, warmup_steps=0)
  config.checkpoint_every = 1
  config.evaluate.update(bootstrap_samples=5, num_samples=0)
  config.genotype = str(genotype)
  config.update_from_flattened_dict(changes)
  return config


def state_of(workdir, step):
  folder = workdir / 'checkpoints' / 'train' / str(step) / 'state'
  return ocp.StandardCheckpointer().restore(folder.absolute())


@pytest.fixture(scope='module')
def run(tiny_data_dir, tmp_path_factory):
  """A finished run: (config, workdir)."""
  folder = tmp_path_factory.mktemp('start')
  small_genotype().save(folder / 'genotype.json')
  config = small(tiny_data_dir, folder / 'genotype.json')
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(page, 'write_report', lambda path: path)
    train.train(config, folder / 'run')
  return config, folder / 'run'


@pytest.fixture
def config(run):
  """Of a training that starts there."""
  found = run[0].copy_and_resolve_references()
  found.train.start_from = str(run[1])
  found.seed = 7
  return found


@pytest.fixture(autouse=True)
def no_report(monkeypatch):
  monkeypatch.setattr(page, 'write_report', lambda path: path)


def network(config):
  return settings.network(config, small_genotype())


@pytest.mark.parametrize('num_seeds', [1, 2])
def test_the_first_state_has_the_weights_of_the_run(run, config, num_seeds):
  config.train.num_seeds = num_seeds
  start = starting.variables(
    config, small_genotype(), sharding.replicated(sharding.make_mesh())
  )
  make, _, _, _ = train.make_step(config, network(config))
  state, drawn = make(start), make()
  kept = state_of(run[1], 2)
  for name in ('params', 'batch_stats'):
    ours = jax.tree.leaves(getattr(state, name))
    theirs = jax.tree.leaves(kept[name])
    assert len(ours) == len(theirs) > 0
    for mine, other in zip(ours, theirs, strict=True):
      # All seeds start there.
      if num_seeds > 1:
        other = np.stack([other] * num_seeds)
      np.testing.assert_array_equal(mine, other)
  # The optimizer and the count of steps are new.
  assert not np.any(state.step)
  for mine, other in zip(
    *(jax.tree.leaves(s.opt_state) for s in (state, drawn)), strict=True
  ):
    np.testing.assert_array_equal(mine, other)
  first, second = (jax.tree.leaves(s.params) for s in (state, drawn))
  assert any(
    not np.array_equal(*pair) for pair in zip(first, second, strict=True)
  )


def test_a_training_goes_on_from_the_run_and_says_so(run, config, tmp_path):
  # Its first step is too small to move a weight.
  config.train.update(num_steps=1, learning_rate=1e-30, weight_decay=0.0)
  results = train.train(config, tmp_path / 'new')[7]
  kept, found = state_of(run[1], 2), state_of(tmp_path / 'new', 1)
  jax.tree.map(np.testing.assert_array_equal, found['params'], kept['params'])
  assert results['seen']['status'] == 'own'
  before = files.read_json(tmp_path / 'new' / 'data.json')['before']
  assert before['run'] == str(run[1])
  assert before['train_subjects'] == run_log.read_data(run[1])['train_subjects']
  # The same command finds its run again, also without the other one.
  shutil.copytree(run[1], tmp_path / 'run')
  config.train.start_from = str(tmp_path / 'run')
  results = train.train(config, tmp_path / 'again')[7]
  shutil.rmtree(tmp_path / 'run')
  assert train.train(config, tmp_path / 'again')[7] == results


def test_what_the_run_had_seen_counts_as_seen(run, config, tmp_path):
  data = files.read_json(run[1] / 'data.json')
  data['train_subjects'] = ['synthetic_fas/somebody']
  data['train_values'] = {**data['train_values'], 'session': ['a place']}
  # What it had started from counts as well.
  data['before'] = {
    'run': 'gone',
    'train_subjects': ['synthetic_fas/another'],
    'train_values': {**data['train_values'], 'session': ['another place']},
  }
  shutil.copytree(run[1], tmp_path / 'run')
  files.write_json(tmp_path / 'run' / 'data.json', data)
  config.train.start_from = str(tmp_path / 'run')
  selection = settings.selection(config)
  before = starting.before(config, selection)
  run_log.start(tmp_path / 'new', config, selection, before)
  found = run_log.read_data(tmp_path / 'new')
  own = run_log.describe(selection)
  assert set(found['train_subjects']) == {
    *own['train_subjects'],
    *('synthetic_fas/somebody', 'synthetic_fas/another'),
  }
  assert set(found['train_values']['session']) == {
    *own['train_values']['session'],
    *('a place', 'another place'),
  }
  # A resumed run is compared with what it has itself.
  run_log.start(tmp_path / 'new', config, selection, before)
  assert run_log.kept_before(tmp_path / 'new') == before


def test_a_place_that_the_run_knew_is_not_unseen(run, config, tmp_path):
  selection = settings.selection(config)
  held_out = evaluate.seen_in_training(
    run[1], config.protocol, config, selection
  )
  assert held_out['status'] == 'own' and held_out['held_out']
  field = held_out['held_out'][0]
  place = selection.test[0][field]
  shutil.copytree(run[1], tmp_path / 'run')
  data = files.read_json(tmp_path / 'run' / 'data.json')
  data['train_values'][field] = [place]
  files.write_json(tmp_path / 'run' / 'data.json', data)
  config.train.update(start_from=str(tmp_path / 'run'), num_steps=1)
  found = train.train(config, tmp_path / 'new')[7]['seen']
  assert found['status'] == 'seen' and found['shared'][field] == [place]


@pytest.mark.parametrize('part', ['dev', 'test'])
def test_a_run_that_has_seen_who_is_held_out_is_refused(
  run, config, tmp_path, part
):
  selection = settings.selection(config)
  somebody = getattr(selection, part)[0]
  name = f'{somebody["dataset"]}/{somebody["subject"]}'
  data = files.read_json(run[1] / 'data.json')
  data['train_subjects'].append(name)
  shutil.copytree(run[1], tmp_path / 'run')
  files.write_json(tmp_path / 'run' / 'data.json', data)
  config.train.start_from = str(tmp_path / 'run')
  message = rf'start_from .* 1 of the \d+ {part} subjects .* {name!r}; allowed'
  with pytest.raises(ValueError, match=message):
    train.train(config, tmp_path / 'new')
  assert not (tmp_path / 'new').exists()
  # Where training clips set the threshold, there are no dev clips to see.
  if part == 'dev':
    config.threshold_source = 'train'
    starting.before(config, settings.selection(config))


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'model': 'cdcnpp', 'genotype': ''}, "model is 'cdcnpp'; .* 'genotype'"),
    ({'input.fusion': 'static'}, "input.fusion is 'static'; .* 'concat'"),
    ({'input.normalization': 'fixed'}, "normalization is 'fixed'; .* 'clip'"),
    ({'network.cell_features': 12}, 'cell_features is 12; .*with the run'),
    ({'network.theta': 0.2}, r'network.theta is 0.2; .*start_from'),
    ({'train.start_from': 'nowhere'}, "start_from: 'nowhere' holds no run"),
  ],
)
def test_another_network_is_refused(config, tmp_path, changes, message):
  config.update_from_flattened_dict(changes)
  with pytest.raises(ValueError, match=message):
    train.train(config, tmp_path / 'new')
  assert not (tmp_path / 'new').exists()


def test_another_genotype_is_refused(config, tmp_path):
  cell = genotypes.Cell((genotypes.Edge(0, 1, 'skip_connect'),), ((1, 1.0),))
  other = genotypes.Genotype('small', 0.7, ((cell,),) * 3)
  other.save(tmp_path / 'other.json')
  config.genotype = str(tmp_path / 'other.json')
  with pytest.raises(ValueError, match="genotype is .*other.json'; allowed"):
    train.train(config, tmp_path / 'new')


def test_a_run_that_is_not_finished_is_refused(run, config, tmp_path):
  shutil.copytree(run[1], tmp_path / 'run')
  kept = tmp_path / 'run' / 'checkpoints' / 'train'
  shutil.rmtree(kept / '2')
  config.train.start_from = str(tmp_path / 'run')
  with pytest.raises(ValueError, match='start_from: .* is not finished'):
    train.train(config, tmp_path / 'new')
  shutil.rmtree(kept / '1')
  with pytest.raises(FileNotFoundError, match='start_from: .* no checkpoint'):
    train.train(config, tmp_path / 'new')


def test_a_search_has_no_network_to_start_from():
  config = search_config.get_config('debug')
  config.train.start_from = 'runs/search'
  with pytest.raises(ValueError, match="start_from is 'runs/search'; .*search"):
    search.check(config)


def test_the_sets_of_the_fixture_are_apart(config):
  """What is refused above is refused for what was changed."""
  selection = protocols.get_protocol(config.protocol)
  assert selection.test
  starting.before(config, settings.selection(config))
