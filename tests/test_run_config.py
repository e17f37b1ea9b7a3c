"""The one rule for reading a run's config.json, both ways."""

import json
import pathlib

import pytest

from nasfas_configs import compare, search, study
from nasfas_jax import run_config


def write(folder, config, *, without=(), **more):
  """Writes the config.json of a run, without some of its fields."""
  content = json.loads(json.dumps(config.to_dict())) | more
  for path in without:
    *parents, name = path.split('.')
    section = content
    for parent in parents:
      section = section[parent]
    del section[name]
  (folder / 'config.json').write_text(json.dumps(content))


@pytest.mark.parametrize('module', [search, compare, study])
def test_what_is_written_is_read_again(module, tmp_path, capsys):
  config = module.get_config('debug')
  write(tmp_path, config)
  found = run_config.read(tmp_path)
  assert found.to_dict() == config.to_dict()
  # Tuples are tuples again, and a number may be set where none is given.
  assert found.network.stem_features == config.network.stem_features
  assert found.network.theta is None
  found.network.theta = 0.5
  assert capsys.readouterr().err == ''


def test_a_field_that_the_run_lacks_has_its_default_which_is_said(
  tmp_path, capsys
):
  config = search.get_config('debug')
  write(tmp_path, config, without=('data.balance', 'loss', 'network.theta'))
  assert run_config.read(tmp_path).to_dict() == config.to_dict()
  (line,) = capsys.readouterr().err.splitlines()
  assert str(tmp_path / 'config.json') in line
  assert "config.data.balance = ''" in line
  assert 'config.loss.contrastive_depth = 1.0' in line
  assert 'config.network.theta = None' in line
  assert 'num_steps' not in line


def test_the_fields_of_an_experiment_are_filled_in_too(tmp_path, capsys):
  config = compare.get_config()
  write(tmp_path, config, without=('compare.rounds', 'torch_weights'))
  assert run_config.read(tmp_path).to_dict() == config.to_dict()
  assert 'config.compare.rounds = 7' in capsys.readouterr().err
  write(tmp_path, search.get_config())
  assert 'compare' not in run_config.read(tmp_path)


def test_a_study_names_some_of_its_fields_itself(tmp_path):
  config = study.get_config()
  config.study.remedies = {'warmer': {'search': {'temperature': 2.0}}}
  write(tmp_path, config)
  found = run_config.read(tmp_path)
  assert found.study.remedies.warmer.search.temperature == 2.0


@pytest.mark.parametrize(
  ('more', 'message'),
  [
    ({'colour': 3}, 'this version has no config.colour'),
    ({'search': 3}, 'this version has no config.search'),
    ({'study': {'colour': 3}}, 'this version has no config.study.colour'),
    ({'study': {'remedies': 3}}, 'config.study.remedies is 3'),
    ({'seed': {'first': 3}}, 'this version has no config.seed.first'),
    ({'supervision': 'depth'}, 'config.supervision is now config.loss.depth'),
    (
      {'meta': {'inner_rate': 0.1, 'learn_rates': True}},
      'config.meta.inner_rate is now config.meta.inner_lr; '
      'config.meta.learn_rates is now config.meta.learn_inner_lr',
    ),
    ({'seed': 'one'}, "config.seed is 'one'"),
    ({'seed': None}, 'config.seed is None'),
    ({'seed': 0.5}, 'config.seed is 0.5'),
  ],
)
def test_a_field_or_a_value_of_another_version_is_refused_by_name(
  more, message, tmp_path
):
  write(tmp_path, search.get_config(), **more)
  with pytest.raises(ValueError) as caught:
    run_config.read(tmp_path)
  assert str(tmp_path / 'config.json') in str(caught.value)
  assert message in str(caught.value)


def test_a_folder_of_runs_is_told_with_its_runs(tmp_path):
  for i in range(7):
    (tmp_path / f'seed{i}').mkdir()
    (tmp_path / f'seed{i}' / 'config.json').write_text('{}')
  with pytest.raises(ValueError) as caught:
    run_config.read(tmp_path)
  assert str(caught.value).endswith(
    f"Below it are the runs '{tmp_path}/seed0', '{tmp_path}/seed1', "
    f"'{tmp_path}/seed2', '{tmp_path}/seed3', '{tmp_path}/seed4' and 2 more."
  )


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    (b'{"seed": 1', 'truncated or not JSON'),
    (b'', 'truncated or not JSON'),
    (b'\xff\xfe', 'truncated or not JSON'),
    (b'[1, 2]', 'holds a JSON list, not an object'),
    (None, 'holds no run: there is no config.json'),
  ],
)
def test_what_is_no_config_is_one_error_that_names_it(
  content, message, tmp_path
):
  if content is not None:
    (tmp_path / 'config.json').write_bytes(content)
  with pytest.raises(ValueError, match=message) as caught:
    run_config.read(tmp_path)
  assert str(tmp_path) in str(caught.value)


def test_every_new_name_is_a_field_and_no_old_one_is():
  fields = run_config.flatten(search.get_config())
  for old, new in run_config.RENAMED.items():
    assert old not in fields
    assert new.split()[0].removeprefix('config.') in fields


def test_a_run_writes_down_no_field_that_could_not_be_read():
  config = search.get_config()
  run_config.check_fields(config)
  run_config.check_fields(study.get_config())
  config.search.colour = 3
  with pytest.raises(ValueError, match='this version has no config.search.col'):
    run_config.check_fields(config)


def test_configs_are_found_by_name():
  assert run_config.names() == [
    *('audit', 'calibrate', 'compare', 'demo', 'evaluate', 'export'),
    *('predict', 'protocols', 'report', 'search', 'study', 'train'),
  ]
  path, _, variants = run_config.locate('search:debug,type').partition(':')
  assert pathlib.Path(path).is_absolute() and path.endswith('/search.py')
  assert pathlib.Path(path).is_file() and variants == 'debug,type'
  # A file is taken as it is given.
  assert run_config.locate(f'{path}:debug') == f'{path}:debug'
  with pytest.raises(ValueError, match="'variants'; known by name: audit, ca"):
    run_config.locate('variants')
  with pytest.raises(ValueError, match="no file 'nope/search.py'; configs kno"):
    run_config.locate('nope/search.py:debug')
