import itertools
import json
import pathlib
import re

import pytest

from nasfas_jax import records
from nasfas_jax.data import index, protocols

ROOMS = ('office', 'window', 'corridor', 'night')
ATTACKS = ('print', 'print_cut', 'replay', 'mask_rigid', 'mask_paper')
SUBJECTS = {'train': 's0 s1 s2 s3', 'dev': 's4 s5', 'test': 's6 s7'}


def synthetic_rows():
  """One clip of every subject, domain and type of a small synthetic_fas."""
  rows = []
  for split, domain, kind in itertools.product(
    records.SPLITS,
    ROOMS,
    ('live', *ATTACKS),
  ):
    for subject in SUBJECTS[split].split():
      rows.append(
        {
          'clip_id': f'{domain}/{subject}/{kind}',
          'dataset': 'synthetic_fas',
          'subject': subject,
          'split': split,
          'label': int(kind == 'live'),
          'attack_type': kind,
          'session': domain,
        }
      )
  return rows


def selection(name):
  return protocols.select(protocols.get_protocol(name), synthetic_rows())


def values(rows, field):
  return {row[field] for row in rows}


def test_intra_takes_the_official_splits():
  chosen = selection('synthetic_fas/intra')
  assert len(chosen.train) == 4 * 4 * 6
  assert len(chosen.dev) == len(chosen.test) == 2 * 4 * 6
  assert values(chosen.train, 'split') == {'train'}
  assert chosen.dev_source == 'dev'


@pytest.mark.parametrize('domain', ROOMS)
def test_cross_domain_tests_on_the_domain_left_out(domain):
  chosen = selection(f'synthetic_fas/cross_domain/{domain}')
  others = set(ROOMS) - {domain}
  assert values(chosen.train, 'session') == others
  assert values(chosen.dev, 'session') == others
  assert values(chosen.test, 'session') == {domain}
  assert len(chosen.test) == 2 * 6


@pytest.mark.parametrize('kind', ATTACKS)
def test_cross_type_tests_on_the_type_left_out(kind):
  chosen = selection(f'synthetic_fas/cross_type/{kind}')
  assert kind not in values(chosen.train, 'attack_type')
  assert kind not in values(chosen.dev, 'attack_type')
  assert values(chosen.test, 'attack_type') == {'live', kind}


def test_cross_domain_type_leaves_both_out():
  chosen = selection('synthetic_fas/cross_domain_type/night')
  assert values(chosen.train, 'attack_type') == {
    'live',
    'print',
    'print_cut',
    'replay',
  }
  assert values(chosen.test, 'attack_type') == {
    'live',
    'mask_rigid',
    'mask_paper',
  }
  assert values(chosen.test, 'session') == {'night'}


def test_an_unknown_protocol_names_the_known_ones():
  with pytest.raises(ValueError, match='synthetic_fas/intra'):
    protocols.get_protocol('synthetic_fas/nope')


def test_without_dev_clips_the_threshold_comes_from_train_if_asked():
  rows = [row for row in synthetic_rows() if row['split'] != 'dev']
  protocol = protocols.get_protocol('synthetic_fas/intra')
  with pytest.raises(
    ValueError, match='dev set has 0 .*threshold_source=train'
  ):
    protocols.select(protocol, rows)
  with pytest.raises(ValueError, match="'test'; allowed: dev, train"):
    protocols.select(protocol, rows, 'test')
  chosen = protocols.select(protocol, rows, 'train')
  assert chosen.dev_source == 'train'
  assert chosen.dev == chosen.train


def test_a_test_set_without_spoofs_is_an_error():
  rows = [
    row
    for row in synthetic_rows()
    if row['split'] != 'test' or row['label'] == 1
  ]
  protocol = protocols.get_protocol('synthetic_fas/intra')
  with pytest.raises(ValueError, match=r'test set has 8 clips'):
    protocols.select(protocol, rows)


@pytest.mark.parametrize(('subject', 'split'), [('s6', 'test'), ('s4', 'dev')])
def test_a_subject_in_train_and_another_set_is_an_error(subject, split):
  rows = synthetic_rows()
  for row in rows:
    if row['subject'] == subject:
      row['subject'] = 's0'
  protocol = protocols.get_protocol('synthetic_fas/intra')
  with pytest.raises(ValueError, match=f"both in train and in {split}.*s0'"):
    protocols.select(protocol, rows)


def test_a_half_without_spoofs_is_an_error():
  rows = [
    row
    for row in selection('synthetic_fas/intra').train
    if row['label'] or row['subject'] in ('s0', 's2')
  ]
  with pytest.raises(ValueError, match=r's1, synthetic_fas/s3 .*labels \[1\]'):
    index.split_halves(rows)


def test_halves_have_disjoint_subjects_and_all_clips():
  rows = selection('synthetic_fas/intra').train
  first, second = index.split_halves(rows)
  assert values(first, 'subject') == {'s0', 's2'}
  assert values(second, 'subject') == {'s1', 's3'}
  assert len(first) + len(second) == len(rows)


def test_one_subject_cannot_be_halved():
  rows = [row for row in synthetic_rows() if row['subject'] == 's0']
  with pytest.raises(ValueError, match='at least 2 subjects'):
    index.split_halves(rows)


def write_index(folder, names):
  folder.mkdir(parents=True)
  rest = dict.fromkeys(records.INDEX_FIELDS, '')
  rest |= {'label': 1, 'attack_type': 'live'}
  lines = [
    json.dumps({**rest, 'clip_id': n, 'tfds_split': s}) for n, s in names
  ]
  (folder / records.INDEX_FILE).write_text('\n'.join(lines) + '\n')


def test_load_index_takes_the_newest_version_and_counts_positions(tmp_path):
  write_index(tmp_path / 'a/default/1.9.0', [('old', 'train')])
  names = [('x', 'train'), ('y', 'test'), ('z', 'train')]
  write_index(tmp_path / 'a/default/1.10.0', names)
  rows = index.load_index(tmp_path, 'a')
  assert [(r['clip_id'], r['position']) for r in rows] == [
    ('x', 0),
    ('y', 0),
    ('z', 1),
  ]
  assert rows[0]['folder'].endswith('1.10.0')


@pytest.mark.parametrize(
  ('damage', 'message'),
  [
    (lambda row: row[: len(row) // 2], "index.jsonl' is damaged in line 2: Un"),
    (
      lambda row: '[]',
      'line 2: not an object. Prepare the dataset again: python',
    ),
    (lambda row: row.replace('"label": 1', '"label": "1"'), "label is '1'"),
    (lambda row: row.replace('"label": 1', '"label": 0'), 'label 0 does not'),
    (
      lambda row: row.replace('"subject"', '"person"'),
      'no subject; an older version',
    ),
    (lambda row: row.replace('"x"', 'null').replace('"y"', 'null'), 'is None'),
  ],
)
def test_a_damaged_index_is_named_with_its_line(tmp_path, damage, message):
  write_index(tmp_path / 'a/1.0.0', [('x', 'train'), ('y', 'train')])
  path = tmp_path / 'a' / '1.0.0' / records.INDEX_FILE
  first, second = path.read_text().splitlines()
  path.write_text(f'{first}\n{damage(second)}\n')
  with pytest.raises(ValueError, match=re.escape(message)):
    index.load_index(tmp_path, 'a')


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch):
  def nobody(self):
    raise RuntimeError('Could not determine home directory.')

  monkeypatch.setattr(pathlib.Path, 'expanduser', nobody)
  monkeypatch.delenv('TFDS_DATA_DIR', raising=False)
  for folder in ('', '~/data'):
    with pytest.raises(ValueError, match='no home folder. Give it as config.d'):
      index.resolve_data_dir(folder)


def test_load_index_finds_builders_without_configs(tmp_path):
  write_index(tmp_path / 'a/1.0.0', [('x', 'train')])
  assert len(index.load_index(tmp_path, 'a')) == 1


def test_a_missing_dataset_gives_the_command(tmp_path):
  with pytest.raises(FileNotFoundError, match='prepare --dataset=a --config=b'):
    index.load_index(tmp_path, 'a', 'b')


def test_fingerprint_depends_on_the_clips():
  rows = synthetic_rows()
  assert index.fingerprint(rows) == index.fingerprint(synthetic_rows())
  assert index.fingerprint(rows) != index.fingerprint(rows[1:])
  # What they show, where the index says so.
  shown = [
    [{**row, 'digest': digest} for row in rows] for digest in ('0123', '4567')
  ]
  assert index.fingerprint(shown[0]) != index.fingerprint(shown[1])


def test_what_is_not_prepared_is_told_when_a_run_is_judged(tmp_path):
  """Dev clips of two of three sources do not set the published threshold."""

  def write_rows(name):
    folder = tmp_path / name / 'default/1.0.0'
    folder.mkdir(parents=True)
    rest = {**dict.fromkeys(records.INDEX_FIELDS, ''), 'dataset': name}
    (folder / records.INDEX_FILE).write_text(
      ''.join(
        json.dumps(
          {
            **rest,
            **{'clip_id': f'{split}{label}', 'subject': split, 'split': split},
            **{'label': label, 'attack_type': 'live' if label else 'print'},
            'tfds_split': split,
          }
        )
        + '\n'
        for split in records.SPLITS
        for label in (0, 1)
      )
    )

  write_rows('casia_mfsd')
  write_rows('msu_mfsd')
  found = protocols.load('cross/oci-m', str(tmp_path), '', judging=True)
  assert found.left_out == ('oulu_npu', 'replay_attack')
  assert {row['dataset'] for row in found.test} == {'msu_mfsd'}
  write_rows('oulu_npu')
  write_rows('replay_attack')
  found = protocols.load('cross/oci-m', str(tmp_path), '', judging=True)
  assert found.left_out == () and found.dev
