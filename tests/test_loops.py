"""The whole loops on a tiny model: search, train, evaluate, in one process."""

import csv
import html
import json
import shutil

import jax
import ml_collections
import numpy as np
import pytest

from nasfas_configs import evaluate as evaluate_config
from nasfas_configs import search as search_config
from nasfas_configs import train as train_config
from nasfas_jax import (
  checkpoints,
  detector,
  evaluate,
  files,
  loop,
  main,
  nonfinite,
  run_log,
  search,
  train,
)
from nasfas_jax.data import index, protocols
from nasfas_jax.models import genotypes


def tiny(config, data_dir):
  config.data.data_dir = str(data_dir)
  config.supernet.num_nodes = 1
  config.search.num_steps = 4
  config.search.warmup_steps = 1
  config.train.num_steps = 4
  config.checkpoint_every = 2
  config.evaluate.bootstrap_samples = 20
  return config


@pytest.fixture(scope='module')
def searched(tiny_data_dir, tmp_path_factory):
  """A finished debug search."""
  workdir = tmp_path_factory.mktemp('search') / 'run'
  config = tiny(search_config.get_config('debug'), tiny_data_dir)
  search.search(config, workdir)
  return config, workdir


def test_search_leaves_everything_in_the_workdir(searched):
  _, workdir = searched
  names = {path.name for path in workdir.iterdir()}
  assert names >= {
    'config.json',
    'environment.json',
    'genotype.json',
    'metrics.jsonl',
    'checkpoints',
    'results.json',
    'scores.csv',
    'samples.npz',
    'report',
    'tensorboard',
  }
  assert not [name for name in names if 'tmp' in name]
  page = (workdir / 'report' / 'index.html').read_text(encoding='utf-8')
  assert '</html>' in page


def test_the_genotype_is_of_the_space_and_knows_its_origin(searched):
  config, workdir = searched
  genotype = genotypes.load(workdir / 'genotype.json')
  assert genotype.space == 'cdcnpp'
  document = json.loads((workdir / 'genotype.json').read_text())
  assert document['provenance']['seed'] == config.seed
  assert document['provenance']['protocol'] == config.protocol


def test_metrics_hold_both_phases_and_the_alarms(searched):
  _, workdir = searched
  entries = run_log.read_metrics(workdir / 'metrics.jsonl')
  steps = {
    phase: [e['step'] for e in entries if e['phase'] == phase]
    for phase in ('search', 'train')
  }
  assert steps == {'search': [2, 4], 'train': [2, 4]}
  last = [e for e in entries if e['phase'] == 'search'][-1]
  weights = np.concatenate(
    [np.array(edges) for edges in last['alphas'].values()]
  )
  np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-5)
  # The alarms are those of the weights, which are rounded to six decimals.
  entropy = -np.sum(weights * np.log(weights), axis=-1).mean()
  entropy /= np.log(weights.shape[-1])
  assert last['alpha_entropy'] == pytest.approx(entropy, abs=1e-5)
  # Operations 0 and 1 are 'none' and 'skip_connect'.
  assert last['skip_share'] == pytest.approx(weights[..., 1].mean(), abs=2e-6)


def test_results_and_scores_agree(searched):
  _, workdir = searched
  results = files.read_json(workdir / 'results.json')
  with open(workdir / 'scores.csv', encoding='utf-8') as file:
    scores = list(csv.DictReader(file))
  test = [row for row in scores if row['split'] == 'test']
  threshold = results['threshold']['value']
  live = [row for row in test if row['label'] == '1']
  wrong = [row for row in live if float(row['score']) <= threshold]
  assert results['splits']['test']['bpcer'] == len(wrong) / len(live)
  assert results['splits']['test']['num_live'] == len(live)
  assert set(results['per_domain']) == {row['domain'] for row in test}
  assert results['threshold']['split'] == 'dev'


def assert_clips_are_found(program):
  batches = program.batches(0)
  named = nonfinite.name_clips(program.clips(next(batches)))
  batches.close()
  assert named.startswith("None of its clips ('")


@pytest.mark.parametrize('hold_out', ['none', 'domain'])
def test_warmup_leaves_the_architecture_alone(
  hold_out, tiny_data_dir, tmp_path
):
  config = tiny(search_config.get_config('debug'), tiny_data_dir)
  config.search.warmup_steps = config.search.num_steps = 2
  config.search.arch_every = 1
  config.search.hold_out = hold_out
  selection = protocols.load(
    config.protocol, config.data.data_dir, config.data.builder_config
  )
  program = search.make_search(config, selection).program
  assert_clips_are_found(program)
  first = jax.tree.map(np.asarray, program.state.arch)
  state = loop.run(program, tmp_path, log_every=1, checkpoint_every=0)
  jax.tree.map(np.testing.assert_array_equal, state.arch, first)


def test_cdcnpp_trains_and_is_evaluated_on_another_protocol(
  tiny_data_dir, tmp_path, capsys
):
  config = tiny(train_config.get_config('debug'), tiny_data_dir)
  config.model = 'cdcnpp'
  # Not the default: without a protocol, an evaluation takes that of its run.
  config.protocol = 'synthetic_fas/seen_rooms'
  config.checkpoint_every = 2
  workdir = tmp_path / 'train'
  train.train(config, workdir)
  results = files.read_json(workdir / 'results.json')
  assert results['model']['name'] == 'cdcnpp'

  # The builder config is that of the run as well.
  judged = evaluate_config.get_config()
  judged.data.data_dir = str(tiny_data_dir)
  judged.evaluate = config.evaluate
  judged.checkpoint = str(workdir)
  main.run(judged, tmp_path / 'same')
  same = files.read_json(tmp_path / 'same' / 'results.json')
  assert same['protocol'] == config.protocol
  # The same protocol again gives the very scores of the run itself.
  assert (tmp_path / 'same' / 'scores.csv').read_bytes() == (
    workdir / 'scores.csv'
  ).read_bytes()

  # Nor is it judged where it says a protocol that there is not.
  judged.data.builder_config = 'tiny'
  content = files.read_json(workdir / 'config.json')
  files.write_json(workdir / 'config.json', {**content, 'protocol': 'mine/1'})
  with pytest.raises(ValueError, match="'mine/1', is not known"):
    evaluate.evaluate(judged, tmp_path / 'refused')
  files.write_json(workdir / 'config.json', content)

  # Neither a run on the tested subjects, nor another's, nor an unfinished one
  # is judged.
  selection = protocols.load(config.protocol, tiny_data_dir, 'tiny')
  seen = sorted(index.subjects(selection.test))
  for name, change, message in (
    (
      'data.json',
      lambda data: data['train_subjects'].extend(seen),
      'tests 2 subjects that the run',
    ),
    (
      'config.json',
      lambda saved: (
        saved['train'].update(num_steps=5),
        saved['data'].update(builder_config='default_margin2'),
      ),
      'not made with this config.json .train.num_steps: 4 there, 5 here',
    ),
  ):
    content = files.read_json(workdir / name)
    changed = json.loads(json.dumps(content))
    change(changed)
    files.write_json(workdir / name, changed)
    with pytest.raises(ValueError, match=message):
      evaluate.evaluate(judged, tmp_path / 'refused')
    files.write_json(workdir / name, content)
  last = workdir / 'checkpoints' / 'train' / '4'
  last.rename(tmp_path / '4')
  with pytest.raises(ValueError, match='newest checkpoint is of step 2 of 4'):
    evaluate.evaluate(judged, tmp_path / 'refused')
  (tmp_path / '4').rename(last)
  assert not (tmp_path / 'refused').exists()
  said = "Trained on builder config 'default_margin2', evaluated on 'tiny'."
  assert capsys.readouterr().err.count(said) == 1

  judged = ml_collections.ConfigDict(judged.to_dict())
  judged.evaluate.num_samples = 0
  judged.evaluate.batch_norm = 'test'
  judged.protocol = 'synthetic_fas/type/replay'
  # Its dev clips are of a subject that the run says it was trained on.
  selection = protocols.load(judged.protocol, tiny_data_dir, 'tiny')
  seen = min(index.subjects(selection.dev))
  data = files.read_json(workdir / 'data.json')
  known = {**data, 'train_subjects': [*data['train_subjects'], seen]}
  files.write_json(workdir / 'data.json', known)
  evaluate.evaluate(judged, tmp_path / 'other')
  files.write_json(workdir / 'data.json', data)
  results = files.read_json(tmp_path / 'other' / 'results.json')
  warning = results['threshold']['warning']
  assert 'The run was trained on 1 of the ' in warning and seen in warning
  assert f'Warning: {warning}' in capsys.readouterr().err
  report = (tmp_path / 'other' / 'report' / 'index.html').read_text()
  assert html.escape(warning) in report
  assert results['protocol'] == 'synthetic_fas/type/replay'
  assert set(results['per_type']) == {'replay'}
  assert results['model']['trained_on'] == config.protocol
  assert results['model']['step'] == 4
  assert not (tmp_path / 'other' / 'samples.npz').exists()
  # Its scores are of batches, and its threshold for no single clip.
  text = results['batch_norm']['text']
  assert text in (tmp_path / 'other' / 'report' / 'index.html').read_text()
  assert detector.find_threshold(tmp_path / 'other') is None
  judged.evaluate.batch_norm = 'running'
  # It holds out replays, which the run was trained on.
  assert results['seen']['status'] == 'seen'
  assert results['seen']['shared']['attack_type'] == ['replay']

  # The test clips alone are judged at the run's own threshold.
  alone = tmp_path / 'data'
  shutil.copytree(tiny_data_dir / 'synthetic_fas', alone / 'synthetic_fas')
  (path,) = alone.rglob('index.jsonl')
  lines = path.read_text().splitlines(keepends=True)
  kept = [line for line in lines if json.loads(line)['split'] == 'test']
  path.write_text(''.join(kept))
  judged.protocol, judged.data.data_dir = config.protocol, str(alone)
  judged.data.builder_config = ''
  # A run on whole frames says that the rendered faces are framed otherwise.
  assert 'WARNING: face boxes' not in capsys.readouterr().err
  data = files.read_json(workdir / 'data.json')
  assert data['boxes'] == {'unknown': data['num_clips']['train']}
  changed = {**data, 'boxes': {'whole_frame': 9}}
  files.write_json(workdir / 'data.json', changed)
  evaluate.evaluate(judged, tmp_path / 'alone')
  assert (
    'WARNING: face boxes of the training clips: none, the whole frame is taken '
    '9; of test: given '
  ) in capsys.readouterr().err
  there = files.read_json(workdir / 'results.json')
  here = files.read_json(tmp_path / 'alone' / 'results.json')
  assert here['splits'] == {'test': there['splits']['test']}
  assert here['threshold']['rule'] == 'of the run: EER point of the dev clips'
  assert here['seen']['status'] == 'own' and here['calibration'] is None


def test_a_genotype_trains_with_theta_zero(searched, tiny_data_dir, tmp_path):
  _, workdir = searched
  config = tiny(train_config.get_config('debug'), tiny_data_dir)
  config.genotype = str(workdir / 'genotype.json')
  config.network.theta = 0.0
  train.train(config, tmp_path)
  assert (tmp_path / 'genotype.json').exists()
  assert 'hter' in files.read_json(tmp_path / 'results.json')['confidence']


def test_a_resumed_run_keeps_its_own_genotype(
  searched, tiny_data_dir, tmp_path
):
  _, workdir = searched
  config = tiny(train_config.get_config('debug'), tiny_data_dir)
  config.genotype = str(tmp_path / 'genotype.json')
  genotype = genotypes.load(workdir / 'genotype.json')
  (tmp_path / 'run').mkdir()
  genotype.save(tmp_path / 'run' / 'genotype.json')
  genotypes.CDCNPP.save(tmp_path / 'genotype.json')
  with pytest.raises(ValueError, match='has changed since the run'):
    train.train(config, tmp_path / 'run')
  (tmp_path / 'genotype.json').unlink()
  assert train._find_genotype(config, tmp_path / 'run') == genotype


def test_evaluating_what_is_no_run_is_an_error(tmp_path):
  config = evaluate_config.get_config()
  config.checkpoint = str(tmp_path)
  with pytest.raises(ValueError, match='holds no run'):
    evaluate.evaluate(config, tmp_path / 'out')


def test_choose_samples_takes_every_type_in_turn():
  columns = {
    'attack_type': np.array(['live'] * 50 + ['print'] * 3 + ['replay'] * 50),
    'clip_id': np.arange(103).astype(str),
  }
  places = evaluate.choose_samples(columns, 13)
  kinds = columns['attack_type'][places].tolist()
  assert {kind: kinds.count(kind) for kind in set(kinds)} == {
    'live': 5,
    'print': 3,
    'replay': 5,
  }


def test_final_checkpoints_hold_the_last_step(searched):
  config, workdir = searched
  for phase in ('search', 'train'):
    with checkpoints.Checkpointer(workdir / 'checkpoints' / phase) as saver:
      assert saver.latest_step == config[phase].num_steps
