"""The times of both frameworks: PyTorch's process, and a whole measurement."""

import numpy as np
import pytest

pytest.importorskip('torch')

from small_compare import small_config

from nasfas_jax import compare, files
from nasfas_jax.comparison import memory, setup, speed, torch_process


def make(tmp_path):
  config = small_config(tmp_path)
  config.model = 'cdcnpp'
  files.write_json(tmp_path / 'config.json', config.to_dict())
  return config


def test_both_frameworks_are_timed_in_every_case(tmp_path):
  compared, loaded = compare.load(make(tmp_path))
  batch = memory.batch(compared, compared.batch_size)
  found = speed.measure(
    *(compared, tmp_path, loaded, batch, batch),
    rounds=1,
    compile_network=False,
    compile_search=False,
  )
  assert list(found) == [
    'inference, batch 1',
    'inference, batch 8',
    'training step, batch 8',
    'search step, batch 8',
  ]
  for case in found.values():
    assert case['times'].keys() == {'jax', 'torch eager'}
    for figures in case['times'].values():
      assert 0 < figures['low'] <= figures['median'] <= figures['high']
    (ratio,) = case['ratios'].values()
    medians = [case['times'][n]['median'] for n in ('torch eager', 'jax')]
    assert ratio == pytest.approx(medians[0] / medians[1])


def test_what_fails_is_told_and_the_next_call_is_served(tmp_path):
  make(tmp_path)
  compared = setup.read(tmp_path)
  batch = {'images': np.zeros((2, 16, 16, 3), np.float32)}
  replies = []
  wrong = {'images': np.zeros((2, 16, 16, 5), np.float32)}
  for given in (wrong, batch):
    torch_process.serve(
      compared, 'inference', given, ['torch eager\n'] * 2, replies.append
    )
  assert [list(reply) for reply in replies] == [['error']] * 2 + [
    ['seconds']
  ] * 2
  assert 'channels' in replies[0]['error']


def test_a_process_that_ends_says_why(tmp_path):
  path = tmp_path / 'config.json'
  with torch_process.TorchProcess(path, 'inference', path) as twin:
    with pytest.raises(RuntimeError, match=r'ended: .*config\.json'):
      twin.seconds('torch eager')
    with pytest.raises(RuntimeError, match='ended'):
      twin.seconds('torch eager')
