"""The command line: what is wrong is one line, and the exit code says so."""

import os
import signal
import subprocess
import sys
import time

import pytest

from configs import compare as compare_config
from configs import search as search_config
from nasfas_jax import main


def run(*arguments, cwd='.'):
  return subprocess.run(
    [sys.executable, '-m', 'nasfas_jax.main', *arguments],
    capture_output=True,
    text=True,
    cwd=cwd,
    env={**os.environ, 'JAX_PLATFORMS': 'cpu'},
    check=False,
    timeout=300,
  )


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (
      ['--config=configs/search.py', '--config.serach.num_steps=3'],
      'Unknown field config.serach; config has: augmentation, checkpoint',
    ),
    (
      ['--config=configs/search.py', '--config.search.steps=3'],
      'Unknown field config.search.steps; config.search has: algorithm',
    ),
    (
      ['--config=configs/search.py', '--config.search.num_steps=many'],
      "invalid literal for int() with base 10: 'many'",
    ),
    (
      ['--config=configs/search.py:huge'],
      "Unknown variant 'huge' of configs/search.py; allowed: default, domain",
    ),
    (
      ['--config=configs/search.py', '--config.protocol=synthetic_fas/x'],
      "Unknown protocol 'synthetic_fas/x'; allowed: synthetic_fas/intra",
    ),
    (['--confg=configs/search.py'], "Unknown command line flag 'confg'"),
    (['--config=configs/nope.py'], 'configs/nope.py'),
    ([], 'Give --config=FILE'),
    (
      ['--config=configs/train.py', '--config.model=resnet'],
      "config.model is 'resnet'; allowed: genotype, cdcn, cdcnpp",
    ),
    (
      ['--config=configs/train.py'],
      'give --config.genotype=PATH',
    ),
    (
      ['--config=configs/search.py', '--config.supernet.space=darts'],
      "'darts'",
    ),
    (
      ['--config=configs/evaluate.py'],
      'Give --config.checkpoint=WORKDIR',
    ),
    (
      [
        '--config=configs/train.py',
        '--config.model=cdcnpp',
        '--config.protocol=manifest_fas/official',
      ],
      "The dataset 'manifest_fas' is not prepared",
    ),
  ],
)
def test_a_mistake_is_one_line_and_no_traceback(
  arguments, message, tiny_data_dir, tmp_path
):
  if (
    arguments
    and arguments[0].startswith('--config=configs/')
    and ('nope' not in arguments[0] and 'huge' not in arguments[0])
  ):
    arguments = [
      *arguments,
      f'--config.data.data_dir={tiny_data_dir}',
      '--config.data.builder_config='
      + ('' if 'manifest' in arguments[-1] else 'tiny'),
    ]
  arguments = [*arguments, f'--workdir={tmp_path / "run"}']
  result = run(*arguments)
  assert result.returncode != 0
  assert message in result.stderr
  assert 'Traceback' not in result.stderr
  assert len(result.stderr.splitlines()) == 1, result.stderr
  assert not (tmp_path / 'run').exists()


def test_a_stop_is_one_line_that_says_how_to_go_on(tiny_data_dir, tmp_path):
  # A handler here: what a shell started with Ctrl-C ignored hands that on.
  before = signal.signal(signal.SIGINT, signal.default_int_handler)
  try:
    process = subprocess.Popen(
      [
        *(sys.executable, '-m', 'nasfas_jax.main'),
        '--config=configs/search.py:debug',
        f'--config.data.data_dir={tiny_data_dir}',
        '--config.search.num_steps=100000',
        f'--workdir={tmp_path / "run"}',
      ],
      stderr=subprocess.PIPE,
      text=True,
      env={**os.environ, 'JAX_PLATFORMS': 'cpu'},
    )
  finally:
    signal.signal(signal.SIGINT, before)
  try:
    for _ in range(600):
      if (tmp_path / 'run' / 'metrics.jsonl').exists():
        break
      time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
  finally:
    process.kill()
  assert process.returncode == 130
  assert 'Traceback' not in errors
  last = errors.strip().splitlines()[-1]
  assert last == (
    'Stopped; the same command goes on from the last checkpoint in '
    f"'{tmp_path / 'run'}'."
  )


def test_default_workdirs_tell_runs_apart():
  config = search_config.get_config()
  assert str(main.default_workdir(config)) == 'runs/search'
  config.experiment = 'train'
  config.model = 'cdcnpp'
  assert str(main.default_workdir(config)) == 'runs/train-cdcnpp'
  config.experiment = 'evaluate'
  config.checkpoint = 'runs/a'
  assert (
    str(main.default_workdir(config))
    == 'runs/a/evaluate/synthetic_fas-cross_domain-night'
  )


def test_a_comparison_without_pytorch_names_the_extra(tmp_path, monkeypatch):
  for name in list(sys.modules):
    if name.startswith(('nasfas_jax.compare', 'nasfas_jax.baseline')):
      monkeypatch.delitem(sys.modules, name)
  monkeypatch.setitem(sys.modules, 'torch', None)
  with pytest.raises(ValueError, match=r"needs PyTorch: pip .*\[torch\]'"):
    main.compare(compare_config.get_config(), tmp_path)


def test_an_unknown_experiment_names_the_known_ones(tmp_path):
  config = search_config.get_config()
  config.experiment = 'dream'
  with pytest.raises(ValueError, match="'dream'; allowed: search, train"):
    main.run(config, tmp_path)
