"""The experiment 'compare', small, and its parts."""

import dataclasses
import functools
import json
import shutil

import jax
import numpy as np
import pytest

torch = pytest.importorskip('torch')

from public_layout import PublicCDCN, PublicCDCNpp
from small_compare import nothing, small_config

from nasfas_configs import train as train_config
from nasfas_jax import checkpoints, compare, evaluate, files, train
from nasfas_jax.comparison import page, parity, source, speed


@pytest.fixture(scope='module')
def compared(tiny_data_dir, tmp_path_factory):
  """A comparison with weights in the public code's names."""
  folder = tmp_path_factory.mktemp('compare')
  torch.manual_seed(0)
  theirs = PublicCDCN()
  # Statistics that are not as they start, and a map that is far from zero.
  theirs(torch.randn(4, 3, 16, 16))
  state = theirs.state_dict()
  state['lastconv3.0.conv.weight'] *= 30.0
  for name in state:
    if name.endswith('num_batches_tracked'):
      state[name] = torch.zeros_like(state[name])
  torch.save(
    {'state_dict': {f'module.{k}': v for k, v in state.items()}},
    folder / 'theirs.pth',
  )
  config = small_config(tiny_data_dir)
  config.torch_weights = str(folder / 'theirs.pth')
  compare.compare(config, folder / 'run', nothing)
  return folder / 'run', state


def test_both_frameworks_agree_within_the_limits(compared):
  workdir, _ = compared
  results = files.read_json(workdir / 'results.json')
  assert results['holds'] == {'network': True}
  network = results['network']
  assert network['map']['scale'] > 0.01
  assert network['map']['max'] <= 1e-4
  assert network['gradients']['max'] <= 1e-3
  exact = network['gradients_float64']
  assert exact['max'] <= 1e-5
  assert 0 < exact['jax_rounding'] <= 1e-3
  assert 0 < exact['torch_rounding'] <= 1e-3
  assert network['blocks'].keys() >= {'stem_0', 'low_2', 'high_0', 'head'}
  assert network['weights']['steps'] == 2
  assert network['weights']['share_of_way'] < 0.05
  cost = results['cost']
  assert cost['parameters']['jax'] == cost['parameters']['torch'] > 0
  # The second convolution of PyTorch's form has a ninth of the taps.
  assert 1.05 < cost['gmac']['torch'] / cost['gmac']['jax'] < 1.15


def test_both_frameworks_have_the_same_metrics(compared):
  workdir, _ = compared
  found = files.read_json(workdir / 'results.json')['metrics']
  assert found['scores']['scale'] > 0
  assert found['scores']['max'] < 1e-4
  for name in ('auc', 'hter', 'num_live', 'num_spoof'):
    assert found['jax'][name] == pytest.approx(found['torch'][name], abs=1e-3)


def test_the_weights_are_left_in_both_forms(compared, tmp_path):
  workdir, state = compared
  left = torch.load(workdir / 'weights.pth', weights_only=True)
  assert left.keys() == state.keys()
  for name, value in left.items():
    assert torch.equal(value, state[name]), name
  config = evaluate.read_run_config(workdir)
  _, loaded = compare.load(config)
  zeros = jax.tree.map(np.zeros_like, loaded.variables)
  restored, step = checkpoints.restore_variables(
    workdir / 'checkpoints' / 'train', jax.tree.map(jax.numpy.asarray, zeros)
  )
  # Which `evaluate` takes for that of a finished run.
  assert step == config.train.num_steps
  for a, b in zip(
    jax.tree.leaves(restored), jax.tree.leaves(loaded.variables), strict=True
  ):
    np.testing.assert_array_equal(a, b)


def test_a_public_cdcnpp_goes_in_and_comes_out(tmp_path):
  theirs = PublicCDCNpp(4, 6, map_size=4).state_dict()
  torch.save(theirs, tmp_path / 'theirs.pth')
  config = small_config(tmp_path)
  config.model = 'cdcnpp'
  config.torch_weights = str(tmp_path / 'theirs.pth')
  with pytest.raises(ValueError, match='config.torch_weights: .* It is of a '):
    compare.load(config)
  config.network.update(stem_features=(4, 6), cell_features=6, head_features=6)
  _, loaded = compare.load(config)
  source.keep(loaded, tmp_path / 'run')
  left = torch.load(tmp_path / 'run' / 'weights.pth', weights_only=True)
  assert list(left) == list(theirs)
  for name, value in left.items():
    assert torch.equal(value, theirs[name]), name


@pytest.mark.parametrize('content', ['whole model', 'nan', 'two names', 'none'])
def test_weights_that_cannot_be_read_leave_nothing(tmp_path, content):
  model = PublicCDCNpp(4, 4, map_size=4)
  state = model.state_dict()
  if content == 'nan':
    state['conv1.1.bias'][0] = torch.nan
  elif content == 'two names':
    state['module.conv1.1.bias'] = state['conv1.1.bias']
  path = tmp_path / 'theirs.pth'
  if content != 'none':
    torch.save(model if content == 'whole model' else state, path)
  config = small_config(tmp_path)
  config.model, config.torch_weights = 'cdcnpp', str(path)
  with pytest.raises((ValueError, OSError), match='theirs.pth') as error:
    compare.compare(config, tmp_path / 'run', lambda _: pytest.fail('prepared'))
  assert len(str(error.value).splitlines()) == 1
  assert not (tmp_path / 'run').exists()


def test_the_page_shows_what_there_is(compared):
  workdir, _ = compared
  text = (workdir / 'report' / 'index.html').read_text(encoding='utf-8')
  assert text.endswith('</html>\n')
  for heading in ('Summary', 'Network', 'Metrics', 'Config'):
    assert f'<h2>{heading}</h2>' in text
  assert '<h2>Speed</h2>' not in text
  assert 'Weights: a file of PyTorch.' in text


def test_the_page_shows_times_and_failures(compared, tmp_path):
  workdir, _ = compared
  results = files.read_json(workdir / 'results.json')
  times = {'first': 9.0, 'median': 0.5, 'low': 0.4, 'high': 0.75}
  results['speed'] = {
    'inference, batch 1': {
      'times': {
        'jax': times,
        'torch eager': {**times, 'median': 1.25},
        'torch compiled': {'error': 'no <compiler>'},
      },
      'ratios': {'torch eager': 2.5},
    }
  }
  results['memory'] = {
    'jax': {'loaded': 100.0, 'peak': 1200.0},
    'torch eager': {'error': 'out of <memory>'},
    'xla': {'temporaries': 10.0, 'arguments': 3.0},
  }
  text = page.write(tmp_path, results, {}, {}).read_text(encoding='utf-8')
  for part in ('2.50', '1.25', 'no &lt;compiler&gt;', '1,200', '10 MiB'):
    assert part in text
  assert 'out of &lt;memory&gt;' in text


def test_times_are_taken_in_turns_and_a_failure_is_told():
  calls = []

  def fail():
    raise RuntimeError('no compiler\nat all')

  found = speed.in_turns(
    {
      'jax': lambda: calls.append('a') or 1.0,
      'torch eager': lambda: calls.append('b') or 2.0,
      'torch compiled': fail,
    },
    rounds=2,
  )
  assert calls == ['a', 'b', *['a', 'a', 'b', 'b'] * 2]
  assert found['torch compiled'] == {'error': 'no compiler'}
  for name in ('jax', 'torch eager'):
    assert found[name]['low'] <= found[name]['median'] <= found[name]['high']
  found = speed.in_turns({'jax': lambda: 1.0, 'torch eager': fail}, rounds=1)
  assert found['torch eager'] == {'error': 'no compiler'}
  assert speed.ratios(found) == {}
  with pytest.raises(RuntimeError, match='no compiler'):
    speed.in_turns({'jax': fail}, rounds=1)
  ratio = speed.ratios({'jax': {'median': 2.0}, 'torch': {'median': 3.0}})
  assert ratio == {'torch': 1.5}


def test_differences_are_found():
  want = {'a': np.array([1.0, -4.0]), 'b': np.array([1e-9])}
  got = {'a': np.array([1.0, -3.0]), 'b': np.array([3e-9])}
  found = parity.relative(got, want)
  # b is judged by a millionth of the largest value.
  assert found['worst'] == 'a'
  assert found['max'] == pytest.approx(0.25)
  assert found['mean'] == pytest.approx((0.25 + 2e-9 / 4e-6) / 2)
  assert found['whole'] == pytest.approx(1 / 17**0.5)
  assert found['tensors'].keys() == {'a', 'b'}
  found = parity.difference(got['a'], want['a'])
  assert found == {'max': 1.0, 'mean': 0.5, 'scale': 4.0}


def test_what_is_not_finite_is_an_error_with_its_name():
  good, bad = {'a': np.ones(2), 'b': np.ones(2)}, {'a': np.ones(2)}
  bad['b'] = np.array([1.0, np.nan])
  with pytest.raises(FloatingPointError, match='gradient of b .*in PyTorch'):
    parity.relative(bad, good)
  with pytest.raises(FloatingPointError, match='The map is not .*in JAX'):
    parity.difference(np.ones(1), np.array([np.inf]), 'The map')


def test_a_comparison_holds_within_every_limit_and_for_a_map_that_lives():
  def judge(**changes):
    found = {
      'map': {'max': 5e-5, 'scale': 1.0},
      # Of single tensors, float32 may differ by more.
      'gradients': {'max': 0.03, 'whole': 1e-3},
      'gradients_float64': {'max': 1e-6},
    }
    for path, value in changes.items():
      part, name = path.split('__')
      found[part][name] = value
    return compare.holds({'network': found})['network']

  assert judge()
  assert not judge(map__max=2e-4)
  assert not judge(map__scale=0.0)
  assert not judge(gradients_float64__max=5e-5)
  assert not judge(gradients__whole=0.05)
  found = {'map': {'max': 0.0, 'scale': 1.0}}
  for gap, held in ((5e-4, True), (2e-3, False)):
    found['gradients'] = {'max': gap, 'whole': gap}
    assert compare.holds({'supernet': found}) == {'supernet': held}


def test_a_training_starts_from_converted_weights(compared, tmp_path):
  workdir, _ = compared
  there = evaluate.read_run_config(workdir)
  config = train_config.get_config('debug')
  for name in ('data', 'network', 'input', 'model', 'protocol'):
    config[name] = there[name]
  config.train.update(start_from=str(workdir), num_steps=1, warmup_steps=0)
  # Too small a step to move a weight.
  config.train.update(learning_rate=1e-30, weight_decay=0.0)
  config.evaluate.update(num_samples=0, bootstrap_samples=5)
  train.train(config, tmp_path / 'run')
  _, loaded = compare.load(there)
  found, _ = checkpoints.restore_variables(
    checkpoints.folder(tmp_path / 'run', 'train'), loaded.variables
  )
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-29),
    found['params'],
    loaded.variables['params'],
  )


def test_other_weights_under_the_same_name_are_refused(compared, tmp_path):
  workdir, _ = compared
  _, loaded = compare.load(evaluate.read_run_config(workdir))
  source.keep(loaded, tmp_path)
  source.keep(loaded, tmp_path)
  other = dataclasses.replace(
    loaded, variables=jax.tree.map(lambda x: x + 1, loaded.variables)
  )
  with pytest.raises(ValueError, match='holds other weights .*--workdir'):
    source.keep(other, tmp_path)


def test_a_run_is_compared_in_float32_whatever_it_computed_in(
  compared, tmp_path, capsys
):
  workdir, _ = compared
  shutil.copytree(workdir, tmp_path / 'run')
  written = files.read_json(tmp_path / 'run' / 'config.json')
  written['dtype'] = 'bfloat16'
  written['search']['gumbel'] = True
  # A run of before this field.
  del written['search']['temperature']
  _, loaded = compare.load(evaluate.read_run_config(workdir))
  (tmp_path / 'run' / 'config.json').write_text(json.dumps(written), 'utf-8')
  # The checkpoint of such a run.
  shutil.rmtree(tmp_path / 'run' / 'checkpoints')
  source.keep(loaded, tmp_path / 'run')
  config = small_config(written['data']['data_dir'])
  config.checkpoint = str(tmp_path / 'run')
  config.model = 'cdcnpp'
  config.compare.sections = ('supernet',)
  config.compare.adam_steps = 1
  # The run's clips are compared, so they are what must be there.
  assert config.protocol != 'synthetic_fas/seen_rooms'
  protocol, config.protocol = config.protocol, 'synthetic_fas/seen_rooms'
  prepared = []
  compare.compare(config, tmp_path / 'compared', prepared.append)
  assert [one.protocol for one in prepared] == [protocol]
  said = capsys.readouterr().err
  assert "config.dtype of the run is 'bfloat16'" in said
  assert 'config.search.gumbel of the run is True' in said
  results = files.read_json(tmp_path / 'compared' / 'results.json')
  assert results['model']['name'] == 'cdcn'
  assert results['model']['weights'] == 'checkpoint'
  assert results['holds'] == {'supernet': True}
  assert results['supernet']['weights']['steps'] == 1
  tensors = results['supernet']['gradients_float64']['tensors']
  assert any(name.startswith('arch/') for name in tensors)


def test_no_accelerator_rounds_what_is_compared(
  tmp_path, tiny_data_dir, monkeypatch
):
  seen = {}

  def see(name):
    def part(*arguments, **fields):
      del arguments, fields
      # A new function, so that nothing of the other call is found again.
      program = jax.jit(lambda x: x @ x).lower(np.ones((2, 2), np.float32))
      seen[name] = 'HIGHEST' in program.as_text()
      return {'map': {'scale': 0.0, 'max': 0.0}, 'gradients': {'max': 0.0}}

    return part

  monkeypatch.setattr(compare, 'compare_network', see('network'))
  monkeypatch.setattr(compare.speed, 'measure', see('speed'))
  monkeypatch.setattr(compare, 'announce', lambda results: None)
  monkeypatch.setattr(compare.page, 'write', lambda workdir, *_: workdir)
  config = small_config(tiny_data_dir)
  config.compare.sections = ('network', 'speed')
  compare.compare(config, tmp_path / 'run', nothing)
  # The times are those of a run.
  assert seen == {'network': True, 'speed': False}


@pytest.mark.parametrize(
  ('field', 'value', 'message'),
  [
    ('compare.sections', ('speed', 'style'), "holds 'style'; allowed: network"),
    ('compare.adam_steps', 0, 'config.compare.adam_steps is 0; allowed: 1 or'),
    ('dtype', 'bfloat16', "a comparison allows 'float32'"),
    ('search.gumbel', True, 'config.search.gumbel is True; a comparison'),
    ('search.cost_weight', 1.0, 'config.search.cost_weight is 1.0; a comp'),
    ('train.start_from', 'runs/x', "start_from is 'runs/x'; .* comparison"),
    ('checkpoint', 'runs/x', "config.checkpoint: 'runs/x' holds no run"),
  ],
)
def test_what_cannot_be_compared_is_refused_first(
  tmp_path, tiny_data_dir, field, value, message
):
  config = small_config(tiny_data_dir)
  config.update_from_flattened_dict({field: value})
  with pytest.raises(ValueError, match=message):
    compare.compare(config, tmp_path / 'run', nothing)
  assert not (tmp_path / 'run').exists()


def test_weights_come_from_one_place(tmp_path, tiny_data_dir):
  config = small_config(tiny_data_dir)
  config.checkpoint, config.torch_weights = 'runs/x', 'x.pth'
  with pytest.raises(ValueError, match="'runs/x' and .*'x.pth'; allowed: one"):
    compare.compare(config, tmp_path / 'run', nothing)
