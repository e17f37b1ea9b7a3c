"""The command line: what is wrong is one line, and the exit code says so."""

import importlib
import os
import signal
import subprocess
import sys
import time

import pytest
from absl.testing import flagsaver

from nasfas_configs import compare as compare_config
from nasfas_configs import search as search_config
from nasfas_jax import files, main, stopping

# Of ml_collections.
pytestmark = pytest.mark.filterwarnings(
  'ignore:the load_module:DeprecationWarning'
)


def run(*arguments, cwd):
  """Runs the main module in a process of its own."""
  return subprocess.run(
    [sys.executable, '-m', 'nasfas_jax.main', *arguments],
    capture_output=True,
    text=True,
    cwd=cwd,
    env={**os.environ, 'JAX_PLATFORMS': 'cpu'},
    check=False,
    timeout=300,
  )


@pytest.fixture
def end(monkeypatch, capsys):
  """Runs the main module in this process, up to its end.

  A callable of the command line's arguments that returns (status, stderr).
  """

  def call(*arguments):
    # ml_collections looks for overrides there.
    argv = ['main', *arguments, '--compilation_cache=']
    monkeypatch.setattr(sys, 'argv', argv)
    with flagsaver.flagsaver(), pytest.raises(SystemExit) as stop:
      main.main(main.parse_flags(argv))
    return stop.value.code, capsys.readouterr().err

  return call


@pytest.fixture
def fail(end):
  """As `end`, of an error: returns its one line."""

  def call(*arguments):
    status, said = end(*arguments)
    assert status == 2
    (line,) = said.splitlines()
    assert line.startswith('error: ')
    return line

  return call


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (
      ['--config=configs/search.py', '--config.serach.num_steps=3'],
      'Unknown field config.serach; config has: adapted, augmentation',
    ),
    (
      ['--config=search', '--config.search.steps=3'],
      'Unknown field config.search.steps; config.search has: algorithm',
    ),
    (
      ['--config=search', '--config.supervision=depth'],
      'config.supervision is now config.loss.depth and the other weights',
    ),
    (
      ['--config=search', '--config.meta.inner_rate=0.1'],
      'config.meta.inner_rate is now config.meta.inner_lr.',
    ),
    (
      ['--config=search', '--config.search.num_steps=many'],
      "invalid literal for int() with base 10: 'many'",
    ),
    (
      ['--config=configs/search.py:huge'],
      "Unknown variant 'huge' of configs/search.py; allowed: debug, paper",
    ),
    (
      ['--config=search:debug,paper'],
      "the variants 'debug' and 'paper' exclude each other",
    ),
    (
      ['--config=search:paper_domain'],
      "The variant 'paper_domain' of configs/search.py is now 'paper,domain'.",
    ),
    (['--confg=search'], "Unknown command line flag 'confg'"),
    (
      ['--config=serach'],
      "Unknown config 'serach'; known by name: audit, calibrate, compare, ",
    ),
    (
      ['--config=configs/nope.py'],
      "There is no file 'configs/nope.py'; configs known by name: audit, ",
    ),
    ([], 'Give --config=NAME or --config=FILE; known by name: audit, '),
  ],
)
def test_a_mistake_on_the_command_line_is_one_line(arguments, message, fail):
  assert message in fail(*arguments)


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (
      ['--config=search', '--config.protocol=synthetic_fas/x'],
      "Unknown protocol 'synthetic_fas/x'; allowed: synthetic_fas/unseen_rooms",
    ),
    (
      ['--config=train', '--config.model=resnet'],
      "config.model is 'resnet'; allowed: genotype, cdcn, cdcnpp",
    ),
    (['--config=train'], 'give --config.genotype=PATH'),
    (['--config=search', '--config.supernet.space=darts'], "'darts'"),
    (['--config=evaluate'], 'Give --config.checkpoint=WORKDIR'),
    (
      ['--config=evaluate', '--config.protocol=synthetic_fas/room'],
      'Give --config.checkpoint=WORKDIR',
    ),
    (
      ['--config=study', '--config.protocol=synthetic_fas/room'],
      'which no run of a study would take',
    ),
    (
      [
        '--config=train',
        '--config.model=cdcnpp',
        '--config.protocol=manifest_fas/official',
      ],
      "The dataset 'manifest_fas' is not prepared",
    ),
  ],
)
def test_a_bad_value_is_one_line_and_leaves_no_run(
  arguments, message, fail, tiny_data_dir, tmp_path
):
  line = fail(
    *arguments,
    f'--config.data.data_dir={tiny_data_dir}',
    '--config.data.builder_config='
    + ('' if 'manifest' in arguments[-1] else 'tiny'),
    f'--workdir={tmp_path / "run"}',
  )
  assert message in line
  assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize(
  ('source', 'message'),
  [
    ('import nosuchmodule', "--config: No module named 'nosuchmodule'"),
    (
      'from nasfas_configs import search\n'
      'def get_config():\n'
      '  config = search.get_config()\n'
      '  config.note = 1\n'
      '  return config\n',
      'this version has no config.note',
    ),
  ],
)
def test_what_is_wrong_in_a_config_file_of_ones_own(
  source, message, fail, tmp_path
):
  (tmp_path / 'mine.py').write_text(source)
  assert message in fail(f'--config={tmp_path / "mine.py"}')


@pytest.mark.parametrize('absolute', [False, True])
def test_a_config_is_found_from_any_folder(absolute, tmp_path):
  name = search_config.__file__ if absolute else 'search'
  # A folder of the user's own is in nobody's way.
  (tmp_path / 'configs').mkdir()
  (tmp_path / 'configs' / '__init__.py').write_text('raise SystemError')
  result = run(
    *(f'--config={name}:type,debug', '--config.protocol=synthetic_fas/x'),
    cwd=tmp_path,
  )
  assert result.returncode == 2
  (line,) = result.stderr.splitlines()
  assert line.startswith("error: Unknown protocol 'synthetic_fas/x'; allowed:")
  assert [path.name for path in tmp_path.iterdir()] == ['configs']


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
    'Stopped. The same command resumes from the last checkpoint in '
    f"'{tmp_path / 'run'}'."
  )


@pytest.mark.parametrize('name', ['predict', 'evaluate', 'export', 'report'])
def test_a_stop_of_what_writes_no_checkpoint(name, end, monkeypatch):
  def stop(config, workdir):
    raise KeyboardInterrupt

  monkeypatch.setitem(main.EXPERIMENTS, name, stop)
  status, said = end(f'--config={name}')
  assert status == 130
  assert said == '\nStopped. The same command starts again.\n'


def test_sigterm_is_one_line_and_asks_for_another_start(end, monkeypatch):
  def stop(config, workdir):
    raise stopping.Preempted

  monkeypatch.setitem(main.EXPERIMENTS, 'predict', stop)
  status, said = end('--config=predict')
  assert status == stopping.PREEMPTED
  assert said == '\nStopped by SIGTERM. The same command starts again.\n'


def test_a_device_that_is_not_there_is_one_line(fail, monkeypatch):
  def missing():
    # Of jax, for a kind of device without its plugin.
    raise AssertionError

  monkeypatch.setattr(main.jax, 'devices', missing)
  monkeypatch.setenv('JAX_PLATFORMS', 'cuda')
  line = fail('--config=search:debug')
  assert "no device: JAX_PLATFORMS is 'cuda'. Install" in line
  assert 'unexpected' not in line


@pytest.mark.parametrize(
  ('given', 'of_jax', 'platform', 'expected'),
  [
    ('', None, 'gpu', 'tensorfloat32'),
    ('', None, 'cpu', None),
    ('', None, 'tpu', None),
    ('', 'highest', 'gpu', 'highest'),
    ('float32', 'highest', 'gpu', 'float32'),
  ],
)
def test_a_gpu_multiplies_in_tf32_unless_told_otherwise(
  given, of_jax, platform, expected
):
  assert main.choose_precision(given, of_jax, platform) == expected


def test_a_comparison_leaves_memory_for_the_other():
  name = 'XLA_PYTHON_CLIENT_PREALLOCATE'
  found = {}
  for experiment, environ in (
    ('train', {}),
    ('compare', {}),
    ('compare', {name: 'true'}),
  ):
    config = importlib.import_module('nasfas_configs.train').get_config()
    config.experiment = experiment
    main.share_memory(config, environ)
    found[experiment, len(found)] = environ.get(name)
  assert list(found.values()) == [None, 'false', 'true']


def test_without_a_home_compiled_programs_are_not_kept(monkeypatch, capsys):
  def nobody(self):
    raise RuntimeError('Could not determine home directory.')

  before = main.jax.config.jax_compilation_cache_dir
  monkeypatch.setattr(main.pathlib.Path, 'expanduser', nobody)
  main.keep_compiled_programs('~/.cache/x')
  assert main.jax.config.jax_compilation_cache_dir == before
  assert '--compilation_cache=FOLDER' in capsys.readouterr().err


@pytest.mark.parametrize(
  ('experiment', 'field', 'value'),
  [
    ('search', 'augmentation.flip', 5.0),
    ('train', 'augmentation.gamma', (-3.0, -2.0)),
    ('evaluate', 'evaluate.batch_size', 0),
    ('study', 'study.searches', ('none',)),
    ('study', 'study.settings.train.batch_size', -1),
  ],
)
def test_nothing_is_rendered_for_a_config_that_is_refused(
  experiment, field, value, tmp_path, monkeypatch
):
  module = importlib.import_module(f'nasfas_configs.{experiment}')
  config = module.get_config()
  config.data.data_dir = str(tmp_path / 'data')
  config.update_from_flattened_dict({field: value})
  if experiment == 'train':
    config.model = 'cdcn'
  if experiment == 'evaluate':
    (tmp_path / 'run').mkdir()
    written = search_config.get_config().to_dict()
    files.write_json(tmp_path / 'run' / 'config.json', written)
    config.checkpoint = str(tmp_path / 'run')
  from nasfas_datasets import prepare

  def render(*args, **kwargs):
    pytest.fail('rendered')

  monkeypatch.setattr(prepare, 'prepare', render)
  # That of a run of a study is named after where it is set.
  name = field.replace('settings.', 'settings: config.')
  with pytest.raises(ValueError, match=f'config.{name}'):
    main.run(config, tmp_path / 'out')
  assert not (tmp_path / 'data').exists()


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
    == 'runs/a/evaluate/synthetic_fas-unseen_rooms'
  )
  # That of the run.
  config.protocol = ''
  assert str(main.default_workdir(config)) == 'runs/a/evaluate/own'


def test_a_comparison_without_pytorch_names_the_extra(tmp_path, monkeypatch):
  for name in list(sys.modules):
    if name.startswith(('nasfas_jax.compare', 'nasfas_jax.baseline')):
      monkeypatch.delitem(sys.modules, name)
  # What another test has imported.
  monkeypatch.delattr('nasfas_jax.compare', raising=False)
  monkeypatch.setitem(sys.modules, 'torch', None)
  with pytest.raises(ValueError, match=r"needs PyTorch: pip .*\[torch\]'"):
    main.compare(compare_config.get_config(), tmp_path)


def test_an_unknown_experiment_names_the_known_ones(tmp_path):
  config = search_config.get_config()
  config.experiment = 'dream'
  with pytest.raises(ValueError, match="'dream'; allowed: search, train"):
    main.run(config, tmp_path)
