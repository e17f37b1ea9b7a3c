"""The prepare command and its function, on the tiny config."""

import json
import subprocess
import sys

import numpy as np
import pytest

from nasfas_datasets import fas_builder, prepare
from nasfas_jax import records, stored_frames

# Of 2.0.0, see test_rooms.py.
FIRST = {'config': 'tiny', 'version': '1.0.0'}


def read_all(folder):
  builder = fas_builder.builder_class('synthetic_fas')(**FIRST, data_dir=folder)
  return {
    split: list(builder.as_data_source(split)) for split in records.SPLITS
  }


@pytest.fixture(scope='module')
def tiny_records(first_data_dir):
  return read_all(first_data_dir)


def test_records_hold_the_schema(tiny_records):
  seen = set()
  assert sum(len(rows) for rows in tiny_records.values()) == 96
  for split, rows in tiny_records.items():
    for record in rows:
      text = {
        name: value.decode()
        for name, value in record.items()
        if isinstance(value, bytes)
      }
      clip_id = text['clip_id']
      seen.add((split, text['session'], text['attack_type']))
      assert text['split'] == split and text['dataset'] == 'synthetic_fas'
      records.check_labels(
        clip_id, int(record['label']), text['attack_type'], split
      )
      assert clip_id.rpartition('/')[0] == (
        f'{text["session"]}/{text["subject"]}/{text["attack_type"]}'
      )
      assert len(record['frames']) == 8
      assert {stored_frames.form(f) for f in record['frames']} == {'planes'}
      assert record['depth'].shape == (8, 32, 32)
      assert record['depth'].dtype == np.uint8
      np.testing.assert_array_equal(record['depth'].max((1, 2)), 255)
      np.testing.assert_array_equal(record['frame_index'], np.arange(8))
      assert (text['medium'] == '') == (text['attack_type'] == 'live')
  assert len(seen) == 3 * 4 * 6


def test_session_alone_names_the_domain(tiny_records):
  rooms = {
    tuple(record[name] for name in ('session', 'camera', 'light'))
    for rows in tiny_records.values()
    for record in rows
  }
  assert len(rooms) == len({room[0] for room in rooms}) == 4


def test_index_matches_the_records(first_data_dir, tiny_records):
  folder = prepare.prepare('synthetic_fas', **FIRST, data_dir=first_data_dir)
  lines = (folder / records.INDEX_FILE).read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  for split, examples in tiny_records.items():
    of_split = [row for row in rows if row['tfds_split'] == split]
    assert len(of_split) == len(examples)
    for row, record in zip(of_split, examples, strict=True):
      assert row['clip_id'] == record['clip_id'].decode()
      assert row['label'] == record['label']
      assert row['attack_type'] == record['attack_type'].decode()
      assert row['num_frames'] == 8


def test_second_build_does_nothing(tiny_data_dir, capsys):
  folder = prepare.prepare(
    'synthetic_fas', config='tiny', data_dir=tiny_data_dir
  )
  before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
  calls = []
  again = prepare.prepare(
    'synthetic_fas',
    config='tiny',
    data_dir=tiny_data_dir,
    progress=lambda *args: calls.append(args),
  )
  assert again == folder and not calls
  assert before == {path: path.stat().st_mtime_ns for path in folder.iterdir()}
  assert capsys.readouterr().out == ''


def test_another_build_gives_the_same_records(tmp_path, tiny_records, capsys):
  calls = []

  def progress(done, total):
    print('called')
    calls.append((done, total))

  prepare.prepare(
    'synthetic_fas', **FIRST, data_dir=tmp_path, progress=progress
  )
  assert calls == [(done, 96) for done in range(1, 97)]
  # The callback may print; TFDS may not.
  assert set(capsys.readouterr().out.split()) == {'called'}
  for split, rows in read_all(tmp_path).items():
    for record, other in zip(rows, tiny_records[split], strict=True):
      assert record.keys() == other.keys()
      for name in record:
        np.testing.assert_array_equal(record[name], other[name])


def test_unknown_names_are_refused(tmp_path):
  with pytest.raises(ValueError, match="'oulu'; allowed: .*synthetic_fas"):
    prepare.prepare('oulu', data_dir=tmp_path)
  with pytest.raises(ValueError, match="'huge'.*allowed: default, tiny"):
    prepare.prepare('synthetic_fas', config='huge', data_dir=tmp_path)
  assert not list(tmp_path.iterdir())


def test_command_says_what_is_wrong_in_one_line():
  done = subprocess.run(
    [sys.executable, '-m', 'nasfas_datasets.prepare', '--dataset=oulu'],
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 1
  assert done.stdout == ''
  assert done.stderr.startswith("error: Unknown dataset 'oulu'; allowed: ")
  assert ', oulu_npu, ' in done.stderr
  assert len(done.stderr.splitlines()) == 1
