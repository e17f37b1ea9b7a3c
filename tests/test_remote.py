"""Runs and datasets in a bucket, on a stand-in of Google Cloud Storage."""

import functools
import json
import logging
import os
import pathlib
import re
import shutil

import fake_gcs
import jax
import numpy as np
import pytest
import test_loop
import untrained_run

from nasfas_jax import checkpoints, detector, remote, run_log, stopping
from nasfas_jax.data import index


def put_folder(bucket, folder: pathlib.Path, address: str):
  for path in folder.rglob('*'):
    if path.is_file():
      name = path.relative_to(folder).as_posix()
      bucket.put(f'{address}/{name}', path.read_bytes())


def test_a_run_comes_back_as_it_was_written(bucket, monkeypatch):
  folder = remote.local('gs://bucket/runs/a', claim=True)
  assert folder.name == 'a'
  (folder / 'report').mkdir()
  (folder / 'report/index.html').write_text('page')
  (folder / 'config.json').write_text('1')
  (folder / 'gone.json').write_text('1')
  (folder / '.lock').write_text('')
  remote.push(folder)
  (folder / 'config.json').write_text('22')
  (folder / 'gone.json').unlink()
  remote.push(folder / 'report')
  names = {'.owner', 'report/index.html', 'config.json'}
  assert set(bucket.objects) == {f'bucket/runs/a/{name}' for name in names}
  for large in ('checkpoints/train/1/x', 'search/tensorboard/x', 'export/x'):
    bucket.put(f'bucket/runs/a/{large}', b'')
  fake_gcs.elsewhere(monkeypatch)
  again = remote.local('gs://bucket/runs/a/')
  found = {p.relative_to(again).as_posix() for p in again.rglob('*.*')}
  assert found == {'report/index.html', 'config.json'}
  assert (again / 'config.json').read_text() == '22'
  assert again != folder
  # Who only reads does not write.
  (again / 'config.json').write_text('333')
  remote.push(again)
  assert bucket.objects['bucket/runs/a/config.json'] == b'22'


def test_a_threshold_is_added_to_a_run_of_another_owner(bucket, monkeypatch):
  first = remote.local('gs://bucket/a', claim=True)
  mirrors = remote._mirrors
  fake_gcs.elsewhere(monkeypatch)
  with remote.pushing(remote.local('gs://bucket/a', write=True)):
    (remote.local('gs://bucket/a') / 'threshold.json').write_text('1')
  assert bucket.objects['bucket/a/threshold.json'] == b'1'
  monkeypatch.setattr(remote, '_mirrors', mirrors)
  (first / 'x').write_text('1')
  remote.push(first)
  assert bucket.objects['bucket/a/x'] == b'1'


def test_only_what_changed_is_sent(bucket):
  folder = remote.local('gs://bucket/a', claim=True)
  (folder / 'one').write_text('1')
  (folder / 'two').write_text('2')
  remote.push(folder)
  before = dict(bucket.generations)
  (folder / 'two').write_text('22')
  remote.push(folder)
  after = bucket.generations
  assert before['bucket/a/one'] == after['bucket/a/one']
  assert before['bucket/a/two'] != after['bucket/a/two']


def test_the_last_process_to_open_a_run_owns_it(bucket, monkeypatch):
  first = remote.local('gs://bucket/a', claim=True)
  mirrors = remote._mirrors
  fake_gcs.elsewhere(monkeypatch)
  second = remote.local('gs://bucket/a', claim=True)
  (second / 'x').write_text('second')
  remote.push(second)
  monkeypatch.setattr(remote, '_mirrors', mirrors)
  (first / 'x').write_text('first')
  with pytest.raises(OSError, match="taken over 'gs://bucket/a'"):
    remote.push(first)
  assert bucket.objects['bucket/a/x'] == b'second'


def test_the_end_of_a_run_is_sent_whatever_it_is(bucket):
  folder = remote.local('gs://bucket/a', claim=True)
  with pytest.raises(KeyboardInterrupt), remote.pushing(folder):
    (folder / 'x').write_text('1')
    raise KeyboardInterrupt
  assert bucket.objects['bucket/a/x'] == b'1'


@pytest.mark.parametrize(
  'address',
  ['gs://', 'gs://a', 'gs://b/', 'gs://b/a/../c', 'gs://b//a', 'gs://B/a'],
)
def test_an_address_that_names_no_folder_is_refused(address):
  with pytest.raises(ValueError, match='is no address of a folder'):
    remote.local(address)


@pytest.mark.parametrize(
  'address', ['gs:/b/a', 'GS://b/a', 's3://b/a', 'hdfs://b/a', 'file:///a']
)
def test_an_address_of_another_kind_is_no_folder(address):
  for take in (remote.local, remote.local_file, index.resolve_data_dir):
    with pytest.raises(ValueError, match='is an address of an unknown kind'):
      take(address)


def test_a_bucket_that_cannot_be_reached_is_one_line(bucket):
  bucket.refuse = lambda method, name: True
  with pytest.raises(
    OSError, match="'gs://bucket/a' cannot be reached: "
  ) as error:
    remote.local('gs://bucket/a')
  assert len(str(error.value).splitlines()) == 1


def test_no_traceback_is_logged_of_what_is_raised(bucket, caplog):
  remote.names('gs://bucket/a')
  logging.getLogger('gcsfs').exception('out of retries')
  assert not caplog.records


def test_a_command_that_wrote_nothing_leaves_nothing(bucket):
  with (
    pytest.raises(ValueError, match='refused'),
    remote.pushing(remote.local('gs://bucket/a', claim=True)),
  ):
    assert set(bucket.objects) == {'bucket/a/.owner'}
    raise ValueError('refused')
  assert not bucket.objects


def test_an_object_that_would_leave_the_folder_is_refused(
  bucket, monkeypatch, tmp_path
):
  monkeypatch.setattr(remote.tempfile, 'tempdir', str(tmp_path / 'temporary'))
  (tmp_path / 'temporary').mkdir()
  bucket.put('bucket/a/../../x', b'')
  with pytest.raises(ValueError, match='has an object with the name'):
    remote.local('gs://bucket/a')
  assert not list((tmp_path / 'temporary').iterdir())


def test_an_end_without_exit_handlers_leaves_no_mirror(bucket, monkeypatch):
  parent = remote.local('gs://bucket/a').parents[1]
  assert parent.name.startswith('nasfas-')
  monkeypatch.setattr(stopping.os, '_exit', lambda status: None)
  stopping.end(stopping.PREEMPTED)
  assert not parent.exists()


def test_without_gcsfs_one_line_says_what_to_install(monkeypatch):
  monkeypatch.setitem(__import__('sys').modules, 'gcsfs', None)
  with pytest.raises(ValueError, match=r"pip install -e '.\[gcs\]'"):
    remote.local('gs://bucket/a')


def test_a_folder_of_this_machine_is_left_alone(tmp_path):
  assert remote.local(str(tmp_path), claim=True) == tmp_path
  assert remote.stored(tmp_path) == tmp_path
  with remote.pushing(tmp_path):
    pass


def test_a_dataset_is_copied_once_and_read(
  bucket, tiny_data_dir, tmp_path, capsys
):
  put_folder(bucket, tiny_data_dir, 'bucket/data')
  folder = index.resolve_data_dir('gs://bucket/data')
  rows = index.load_index(folder, 'synthetic_fas', 'tiny')
  said = capsys.readouterr().err
  assert 'Copying gs://bucket/data/synthetic_fas/tiny/' in said
  wanted = index.load_index(tiny_data_dir, 'synthetic_fas', 'tiny')
  copied = tmp_path / 'copies/bucket/data'
  for row, other in zip(rows, wanted, strict=True):
    assert pathlib.Path(row['folder']).is_relative_to(copied)
    assert {**row, 'folder': ''} == {**other, 'folder': ''}
  assert index.fingerprint(rows) == index.fingerprint(wanted)
  shards = sorted(copied.rglob('*array_record*'))
  times = [path.stat().st_mtime_ns for path in shards]
  # A copy that was cut off is made again, the others stay.
  os.truncate(shards[0], 10)
  assert index.load_index(folder, 'synthetic_fas', 'tiny') == rows
  after = [path.stat().st_mtime_ns for path in shards]
  assert after[0] > times[0]
  assert after[1:] == times[1:]
  # The dataset is replaced there by one of the same sizes.
  name = next(key for key in bucket.objects if key.endswith('index.jsonl'))
  text = bucket.objects[name]
  other = re.sub(rb'("digest": ")....', rb'\g<1>0000', text)
  assert len(other) == len(text) and other != text
  bucket.put(name, other)
  changed = index.load_index(folder, 'synthetic_fas', 'tiny')
  assert {row['digest'][:4] for row in changed} == {'0000'}
  assert [path.stat().st_mtime_ns for path in shards] == after


def test_a_copy_of_another_size_is_refused(bucket, monkeypatch, tmp_path):
  bucket.put('bucket/data/x', b'12345')
  describe = bucket.describe
  monkeypatch.setattr(
    bucket, 'describe', lambda key: {**describe(key), 'size': '7'}
  )
  with pytest.raises((ValueError, OSError), match='gs://bucket/data/x'):
    remote.kept_copy('gs://bucket/data', print)
  assert list((tmp_path / 'copies/bucket/data').iterdir()) == []


def test_a_dataset_that_is_not_in_the_bucket_is_one_line(bucket, tiny_data_dir):
  folder = index.resolve_data_dir('gs://bucket/data')
  with pytest.raises(FileNotFoundError) as error:
    index.load_index(folder, 'synthetic_fas', 'tiny')
  assert (
    'gcloud storage cp --recursive FOLDER/synthetic_fas gs://bucket/data/'
    in str(error.value)
  )
  put_folder(bucket, tiny_data_dir, 'bucket/data')
  with pytest.raises(FileNotFoundError, match='prepared there: tiny'):
    index.load_index(folder, 'synthetic_fas', '')


def test_datasets_are_not_prepared_in_a_bucket():
  from nasfas_datasets import prepare

  with pytest.raises(ValueError, match='gcloud storage cp --recursive FOLDER/'):
    prepare.prepare('synthetic_fas', config='tiny', data_dir='gs://bucket/data')


def state(value):
  return {'a': np.full((3,), value, np.float32)}


def jax_state(value):
  return jax.device_put(state(value))


def test_checkpoints_of_a_run_in_a_bucket_are_only_there(bucket, monkeypatch):
  folder = remote.local('gs://bucket/a', claim=True)
  (folder / 'config.json').write_text(json.dumps({'seed': 3}))
  (folder / 'x').write_text('')
  remote.push(folder)
  place = checkpoints.folder(folder, 'train')
  with checkpoints.Checkpointer(place, keep=2) as saver:
    saver.save(1, jax_state(1))
  assert not place.exists()
  one, stem = (f'bucket/a/checkpoints/train/{step}/' for step in (1, 2))
  assert f'{one}commit_success.txt' in bucket.objects

  # The newest is another one; one that was not finished does not count.
  fake_gcs.elsewhere(monkeypatch)
  folder = remote.local('gs://bucket/a', claim=True)
  place = checkpoints.folder(folder, 'train')
  bucket.put('bucket/a/checkpoints/train/3/state/x', b'')
  for key in [key for key in bucket.objects if key.startswith(one)]:
    bucket.put(stem + key.removeprefix(one), bucket.objects[key])
  with checkpoints.Checkpointer(place) as saver:
    restored, step = saver.restore_or(jax_state(0))
  assert step == 1
  np.testing.assert_array_equal(restored['a'], state(1)['a'])
  assert any('/2.damaged/' in key for key in bucket.objects)
  assert not any(key.startswith(stem) for key in bucket.objects)
  read, step = checkpoints.restore_variables(place, jax_state(0))
  assert step == 1
  shutil.rmtree(folder)


def test_a_run_in_a_bucket_ends_as_one_in_a_folder(
  bucket, monkeypatch, tmp_path
):
  """Stopped between two checkpoints; resumed by a process without its files."""
  program = functools.partial(test_loop.counting, 4)
  test_loop.run(program(), tmp_path / 'folder', log_every=1)
  write = run_log.MetricWriter.write

  def stop(writer, step, scalars, **other):
    write(writer, step, scalars, **other)
    if step == 3:
      raise KeyboardInterrupt

  def run():
    folder = remote.local('gs://bucket/a', claim=True)
    with remote.pushing(folder):
      return test_loop.run(program(), folder, log_every=1)

  monkeypatch.setattr(run_log.MetricWriter, 'write', stop)
  with pytest.raises(KeyboardInterrupt):
    run()
  monkeypatch.setattr(run_log.MetricWriter, 'write', write)
  lines = bucket.objects['bucket/a/metrics.jsonl'].splitlines(True)
  assert [json.loads(line)['step'] for line in lines] == [1, 2, 3]
  # As after kill -9: what came after the last checkpoint is not there.
  bucket.put('bucket/a/metrics.jsonl', b''.join(lines[:2]))
  fake_gcs.elsewhere(monkeypatch)
  assert run()['total'] == 10
  wanted = (tmp_path / 'folder/metrics.jsonl').read_bytes()
  assert bucket.objects['bucket/a/metrics.jsonl'] == wanted
  assert any('/tensorboard/' in key for key in bucket.objects)
  assert 'bucket/a/checkpoints/train/4/commit_success.txt' in bucket.objects


def test_a_run_in_a_bucket_is_loaded(bucket, monkeypatch, tmp_path):
  untrained_run.write(tmp_path)
  put_folder(bucket, tmp_path, 'bucket/a')
  for part in ('1', '1/state', '1/data'):
    bucket.put(f'bucket/a/checkpoints/train/{part}/commit_success.txt', b'')
  fake_gcs.elsewhere(monkeypatch)
  there, here = map(detector.load, ('gs://bucket/a', tmp_path))
  assert there.threshold.value == here.threshold.value
  assert there.threshold.source == 'gs://bucket/a/results.json'
  assert there.source == 'gs://bucket/a'
  jax.tree.map(np.testing.assert_array_equal, there.variables, here.variables)


def test_the_workdir_of_a_run_may_be_in_a_bucket(bucket):
  from nasfas_configs import evaluate, study
  from nasfas_jax import main

  config = evaluate.get_config()
  config.checkpoint = 'gs://bucket/a/'
  config.protocol = 'synthetic_fas/intra'
  address = main.default_workdir(config)
  assert address == 'gs://bucket/a/evaluate/synthetic_fas-intra'
  folder = main.open_workdir(config, address)
  assert folder.name == 'synthetic_fas-intra'
  assert 'bucket/a/evaluate/synthetic_fas-intra/.owner' in bucket.objects
  assert remote.shown(f'see {folder}/x') == f'see {address}/x'
  with pytest.raises(ValueError, match="search, train.*not for 'study'"):
    main.open_workdir(study.get_config(), 'gs://bucket/b')
