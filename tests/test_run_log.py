import atexit
import contextlib
import json
import os
import pathlib
import platform
import struct
import subprocess
import sys

import ml_collections
import pytest

from nasfas_configs import search as search_config
from nasfas_jax import files, run_log
from nasfas_jax.data import protocols


def config(**changes):
  base = {
    'seed': 0,
    'data': {'num_workers': 0, 'data_dir': 'a', 'size': (1, 2)},
    'theta': None,
  }
  return ml_collections.ConfigDict({**base, **changes})


def chosen(label=1, version='1.0.0'):
  def row(subject):
    return {
      'folder': f'/somewhere/synthetic_fas/tiny/{version}',
      'dataset': 'synthetic_fas',
      'clip_id': f'clip-{subject}',
      'label': label,
      'split': 'train',
      'subject': subject,
    }

  return protocols.Selection([row('a')], [row('b')], [row('c')], 'dev')


def test_the_same_config_resumes(tmp_path):
  run_log.start(tmp_path, config(), chosen())
  run_log.start(tmp_path, config(), chosen())
  saved = files.read_json(tmp_path / 'config.json')
  assert saved['data']['size'] == [1, 2]
  assert 'jax' in files.read_json(tmp_path / 'environment.json')


def test_another_process_at_work_there_is_an_error(tmp_path):
  source = (
    'import pathlib, sys; from nasfas_jax import run_log; '
    'run_log._hold(pathlib.Path(sys.argv[1])); print("held", flush=True); '
    'input()'
  )
  other = subprocess.Popen(
    [sys.executable, '-c', source, str(tmp_path)],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
  )
  with other:
    assert other.stdout.readline() == 'held\n'
    with pytest.raises(
      ValueError,
      match=rf'Another process \(process {other.pid} on {platform.node()}\) is',
    ):
      run_log.start(tmp_path, config(), chosen())
    assert not (tmp_path / 'config.json').exists()
    # However it ends, its lock goes with it.
    other.kill()
    other.wait()
  run_log.start(tmp_path, config(), chosen())
  # Its place is taken over, with another name on it.
  holder = (tmp_path / '.lock').read_text()
  assert holder == f'process {os.getpid()} on {platform.node()}\n'


def test_a_workdir_that_cannot_be_written_is_one_line(tmp_path):
  """A file in the place of its parent: root may write everywhere else."""
  (tmp_path / 'file').touch()
  workdir = tmp_path / 'file' / 'run'
  with pytest.raises(OSError, match=f"written in '{workdir}' .Not a directory"):
    run_log.start(workdir, config(), chosen())


def test_the_lock_is_closed_when_the_process_ends(tmp_path, monkeypatch):
  at_exit = []
  monkeypatch.setattr(atexit, 'register', at_exit.append)
  run_log.start(tmp_path, config(), chosen())
  (close,) = at_exit
  file = run_log._held[tmp_path.resolve() / '.lock']
  assert not file.closed
  close()
  assert file.closed


def test_another_config_is_an_error_that_names_the_field(tmp_path):
  run_log.start(tmp_path, config(), chosen())
  with pytest.raises(ValueError, match='seed: 0 there, 1 now'):
    run_log.start(tmp_path, config(seed=1), chosen())


def whole_config(**data):
  made = search_config.get_config()
  made.data.update(data)
  return made


def write_older(folder, *, without=(), **more):
  """Starts a run, and changes its config.json to that of another version."""
  run_log.start(folder, whole_config(), chosen())
  path = folder / 'config.json'
  content = json.loads(path.read_text()) | more
  for section, name in without:
    del content[section][name]
  path.write_text(json.dumps(content))


def test_a_run_of_before_a_field_goes_on_with_its_default(tmp_path, capsys):
  write_older(tmp_path, without=[('data', 'balance')])
  run_log.start(tmp_path, whole_config(), chosen())
  assert "config.data.balance = ''" in capsys.readouterr().err
  with pytest.raises(
    ValueError, match=r"another config \(data.balance: '' there, 'class' now"
  ):
    run_log.start(tmp_path, whole_config(balance='class'), chosen())


@pytest.mark.parametrize(
  ('more', 'message'),
  [
    ({'supervision': 'depth'}, 'config.supervision is now config.loss.depth'),
    ({'colour': 'red'}, 'this version has no config.colour'),
  ],
)
def test_a_run_with_a_field_of_another_version_is_refused_by_name(
  more, message, tmp_path
):
  write_older(tmp_path, **more)
  with pytest.raises(ValueError, match=message):
    run_log.start(tmp_path, whole_config(), chosen())


def test_a_torn_config_is_an_error_that_names_the_file(tmp_path):
  run_log.start(tmp_path, whole_config(), chosen())
  (tmp_path / 'config.json').write_text('{"seed": ')
  with pytest.raises(ValueError, match='config.json.* is truncated or'):
    run_log.start(tmp_path, whole_config(), chosen())


@pytest.mark.parametrize(
  'content', ['{"versions": ', '[]', '{"versions": []}', '{"versions": 3}']
)
def test_a_torn_data_json_is_an_error_that_names_the_file(tmp_path, content):
  run_log.start(tmp_path, config(), chosen())
  (tmp_path / 'data.json').write_text(content)
  with pytest.raises(ValueError, match=f"{tmp_path / 'data.json'}'"):
    run_log.start(tmp_path, config(), chosen())


@pytest.mark.parametrize('boxes', [3, ['given'], {'given': 'x'}, {'x': -1}])
def test_damaged_sources_of_boxes_are_named(tmp_path, boxes):
  run_log.start(tmp_path, config(), chosen())
  path = tmp_path / 'data.json'
  content = json.loads(path.read_text())
  path.write_text(json.dumps({**content, 'boxes': boxes}))
  with pytest.raises(ValueError, match=r'data.json.: boxes is .*; allowed'):
    run_log.read_data(tmp_path)


def test_checkpoints_without_a_config_are_refused(tmp_path):
  run_log.start(tmp_path, config(), chosen())
  (tmp_path / 'checkpoints' / 'train' / '3').mkdir(parents=True)
  (tmp_path / 'config.json').unlink()
  with pytest.raises(ValueError, match=r"train/3', but no config.json that"):
    run_log.start(tmp_path, config(seed=1), chosen())
  assert not (tmp_path / 'config.json').exists()


@pytest.mark.parametrize(
  'line', [b'{"torn', b'[]', b'{}', b'\xff', b'{"phase": "x", "step": "1"}']
)
def test_a_damaged_line_of_metrics_is_named(tmp_path, line):
  path = tmp_path / 'metrics.jsonl'
  good = b'{"phase": "train", "step": 1}'
  path.write_bytes(b'\n'.join([good, line, good, b'']))
  with pytest.raises(ValueError, match="metrics.jsonl' is damaged in line 2"):
    run_log.read_metrics(path)


def test_the_clips_of_a_run_are_written_down(tmp_path):
  run_log.start(tmp_path, config(), chosen())
  data = files.read_json(tmp_path / 'data.json')
  assert data['versions'] == ['synthetic_fas/tiny/1.0.0']
  assert data['num_clips'] == {'train': 1, 'dev': 1, 'test': 1}
  assert data['train_subjects'] == ['synthetic_fas/a']


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'label': 0}, 'other clips .*fingerprints'),
    ({'version': '1.0.1'}, r'other clips .*tiny/1\.0\.0.* there, .*1\.0\.1'),
  ],
)
def test_other_clips_are_an_error(changes, message, tmp_path):
  run_log.start(tmp_path, config(), chosen())
  with pytest.raises(ValueError, match=message):
    run_log.start(tmp_path, config(), chosen(**changes))


def test_the_clips_of_an_older_run_are_those_that_it_wrote_down(tmp_path):
  run_log.start(tmp_path, config(), chosen())
  data = files.read_json(tmp_path / 'data.json')
  older = {
    name: value
    for name, value in data.items()
    if name not in ('train_values', 'still_share', 'boxes')
  }
  files.write_json(tmp_path / 'data.json', older)
  run_log.start(tmp_path, config(), chosen())
  files.write_json(tmp_path / 'data.json', {**older, 'boxes': {'given': 99}})
  with pytest.raises(ValueError, match='on other clips .*boxes: '):
    run_log.start(tmp_path, config(), chosen())


def test_fields_that_do_not_change_the_result_may_differ(tmp_path):
  run_log.start(tmp_path, config(), chosen())
  data = {'num_workers': 2, 'cache_mib': 1, 'data_dir': 'b', 'size': (1, 2)}
  run_log.start(tmp_path, config(data=data), chosen())


def test_metrics_of_the_other_phase_stay_and_later_steps_go(tmp_path):
  with run_log.MetricWriter(tmp_path, 'search', 0) as writer:
    for step in (1, 2):
      writer.write(step, {'loss': step / 2}, alphas=[1])
  with run_log.MetricWriter(tmp_path, 'train', 0) as writer:
    for step in (1, 2, 3):
      writer.write(step, {'loss': 1.0})
  with open(tmp_path / 'metrics.jsonl', 'a', encoding='utf-8') as file:
    file.write('{"torn')
  with run_log.MetricWriter(tmp_path, 'train', 1) as writer:
    writer.write(2, {'loss': 9.0})
  entries = run_log.read_metrics(tmp_path / 'metrics.jsonl')
  assert [(e['phase'], e['step'], e['loss']) for e in entries] == [
    ('search', 1, 0.5),
    ('search', 2, 1.0),
    ('train', 1, 1.0),
    ('train', 2, 9.0),
  ]
  assert entries[0]['alphas'] == [1]


def test_a_number_that_json_lacks_is_not_written(tmp_path):
  with run_log.MetricWriter(tmp_path, 'train', 0) as writer:
    with pytest.raises(ValueError, match='not JSON compliant'):
      writer.write(1, {'loss': float('nan')})


def test_event_files_hold_the_scalars(tmp_path):
  """Reads the event file's records by the TFRecord layout."""
  from tensorboardX.proto import event_pb2

  with run_log.MetricWriter(tmp_path, 'train', 0) as writer:
    writer.write(7, {'loss': 0.25})
    writer.write_speed(7, 2.0)
  (path,) = (tmp_path / 'tensorboard' / 'train').iterdir()
  content = path.read_bytes()
  found = {}
  while content:
    (length,) = struct.unpack('<Q', content[:8])
    event = event_pb2.Event.FromString(content[12 : 12 + length])
    for value in event.summary.value:
      found[value.tag] = (event.step, value.simple_value)
    content = content[16 + length :]
  assert found == {'loss': (7, 0.25), 'steps_per_second': (7, 2.0)}


@pytest.mark.skipif(
  not pathlib.Path('/dev/full').exists(), reason='Linux has /dev/full.'
)
def test_metrics_on_a_full_disk_are_an_error_that_names_the_file(tmp_path):
  with run_log.MetricWriter(tmp_path, 'train', 0) as writer:
    before = writer._file
    writer._file = open('/dev/full', 'w')  # noqa: SIM115
    with pytest.raises(OSError, match='No space left .*metrics.jsonl'):
      writer.write(1, {'loss': 1.0})
    with contextlib.suppress(OSError):
      # What it could not write is still in it.
      writer._file.close()
    writer._file = before
