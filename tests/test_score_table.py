"""Files of scores: what is read, and that a bad row is named."""

import re

import numpy as np
import pytest
from fuzz_cases import CASES

from nasfas_jax import records, score_table

OWN = (
  'clip_id,split,label,attack_type,domain,subject,score\n'
  'a/1,dev,1,live,night,s/1,0.75\n'
  'a/2,dev,0,print,night,s/2,0.25\n'
  'b/1,test,,,office,s/3,-1e-3\n'
)


def read(tmp_path, text):
  path = tmp_path / 'scores.csv'
  path.write_bytes(text if isinstance(text, bytes) else text.encode())
  return score_table.read(path)


def test_our_own_file_comes_back_byte_for_byte(tmp_path):
  scored = read(tmp_path, OWN)
  assert list(scored) == ['dev', 'test']
  assert scored['dev']['label'].tolist() == [1, 0]
  assert scored['dev']['score'].tolist() == [0.75, 0.25]
  assert scored['test']['label'].tolist() == [records.UNLABELLED]
  assert scored['test']['attack_type'].tolist() == ['']
  score_table.write(tmp_path / 'again.csv', scored)
  text = (tmp_path / 'again.csv').read_text()
  assert text == OWN.replace('-1e-3', '-0.001')
  assert len(score_table.labelled(scored['test'])['score']) == 0


def test_a_file_of_another_system_may_use_the_short_names(tmp_path):
  text = '\ufeffclip,Label,type,subject,score,split,note\n'
  text += '"x,1",live,,anna,5,test,ok\n\nx2,spoof,3D mask,bert,4,dev,\n'
  scored = read(tmp_path, text)
  assert scored['test']['clip_id'].tolist() == ['x,1']
  assert scored['test']['attack_type'].tolist() == ['live']
  assert scored['dev']['attack_type'].tolist() == ['3D mask']
  assert scored['dev']['domain'].tolist() == ['']
  assert score_table.has_column(tmp_path / 'scores.csv', 'clip_id')
  assert not score_table.has_column(tmp_path / 'scores.csv', 'domain')


def test_without_split_and_names_every_row_is_a_test_clip(tmp_path):
  scored = read(tmp_path, 'label,attack_type,score\n1,,0.5\n1,,0.5\n')
  assert scored['test']['clip_id'].tolist() == ['row 2', 'row 3']
  assert scored['test']['subject'].tolist() == ['row 2', 'row 3']


@pytest.mark.parametrize(
  ('old', 'new', 'message'),
  [
    ('0.75', 'nan', "row 2, score 'nan'; allowed: finite numbers"),
    ('0.75', '1_0', "row 2, score '1_0'; allowed: finite"),
    ('0.25', '', "row 3, score ''; allowed: finite numbers"),
    ('0.25', '1e999', "row 3, score '1e999'; allowed"),
    ('dev,1', 'dev,2', "row 2, label '2'; allowed: 1 or live, 0 or spoof"),
    ('print', 'live', "row 3, attack_type 'live'; allowed: the attack's"),
    ('print', '', "row 3, attack_type ''; allowed: the attack's type"),
    ('1,live', '1,print', "row 2, attack_type 'print'; allowed: 'live' or"),
    ('test,,', 'test,,print', "row 4, attack_type 'print'; allowed: empty"),
    ('a/1,dev', 'a/1,val', "row 2, split 'val'; allowed: train, dev, test"),
    ('s/1', ' ', "row 2, subject ''; allowed: any text"),
    ('a/1', '', "row 2, clip_id ''; allowed: any text"),
    ('0.75', '0.75,1', 'row 2 has 8 cells, the header 7'),
    ('a/2,dev,0,print,night,s/2', 'a/1,dev,1,,,s/1', 'same clip as in row 2'),
    (
      'attack_type',
      'kind',
      "column 'attack_type' is missing; found: 'clip_id'",
    ),
    ('domain', 'score', "column 'score' stands twice"),
    ('a/1', '"a/1', 'is not a CSV file: '),
    (OWN, '', "column 'label' is missing; found: none"),
    (OWN, 'label,type,score\n', 'there are no rows under the header'),
  ],
)
def test_a_bad_row_is_one_line_with_row_column_and_value(
  old, new, message, tmp_path
):
  assert old in OWN
  with pytest.raises(ValueError, match=re.escape(message)) as caught:
    read(tmp_path, OWN.replace(old, new, 1))
  assert 'scores.csv' in str(caught.value)
  assert '\n' not in str(caught.value)


def test_what_is_no_text_or_too_much_of_it_is_refused(tmp_path, monkeypatch):
  with pytest.raises(ValueError, match='is not UTF-8 text'):
    read(tmp_path, OWN.encode('utf-16'))
  with pytest.raises(ValueError, match='is not a CSV file'):
    read(tmp_path, OWN.replace('a/1', 'a' * 200_000))
  with pytest.raises(FileNotFoundError, match='no file of scores'):
    score_table.read(tmp_path / 'none.csv')
  monkeypatch.setattr(score_table, 'MAX_BYTES', 10)
  with pytest.raises(ValueError, match='a file of scores has at most 10'):
    read(tmp_path, OWN)


def test_random_damage_is_read_or_named_in_one_line(tmp_path):
  generator = np.random.default_rng(0)
  original = np.frombuffer(OWN.encode(), np.uint8)
  pieces = [b'nan', b'"', b'\n', b',', b'\x00', b'\xff', b'1', b'live', b'']
  outcomes = {'read': 0, 'refused': 0}
  for _ in range(CASES):
    data = bytearray(original.tobytes())
    for _ in range(generator.integers(1, 4)):
      start = int(generator.integers(0, len(data) + 1))
      end = start + int(generator.integers(0, 5))
      data[start:end] = pieces[generator.integers(len(pieces))]
    if generator.random() < 0.2:
      del data[int(generator.integers(0, len(data) + 1)) :]
    try:
      scored = read(tmp_path, bytes(data))
    except ValueError as error:
      outcomes['refused'] += 1
      assert '\n' not in str(error) and 'scores.csv' in str(error)
      continue
    outcomes['read'] += 1
    for split, columns in scored.items():
      assert split in records.SPLITS
      assert np.isfinite(columns['score']).all()
      live = columns['attack_type'] == 'live'
      assert (live == (columns['label'] == 1)).all()
      assert {len(column) for column in columns.values()} == {len(live)}
  assert min(outcomes.values()) > 100
