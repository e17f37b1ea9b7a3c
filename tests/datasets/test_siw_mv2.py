"""The lists of SiW-Mv2."""

import pathlib

import numpy as np
import pytest
import trees
from fuzz_cases import CASES

from nasfas_datasets.siw_mv2 import layout


@pytest.fixture
def root(tmp_path):
  tree = trees.write(tmp_path, trees.example('siw_mv2').names())
  trees.write_lists('siw_mv2', tree)
  return tree


def append(root, title, text):
  with open(root / 'pro_3_text' / f'{title}.txt', 'a') as file:
    file.write(f'\n{text}\n')


def test_what_is_in_no_list_never_trains(root):
  trees.write(root, ['Live/Live_99.mov', 'Spoof/Replay/Replay_77.mov'])
  found = layout.list_clips(root)
  assert found.skipped == [('Live/Live_99.mov', 'in no list of pro_3_text')]
  clips = {clip.subject: clip for clip in found.clips}
  assert (clips['Replay_77'].split, clips['Replay_77'].lists) == ('test', '')
  (note,) = [n for n in found.notes if 'are in no list' in n]
  assert note.startswith('15 attacks') and 'Replay_77' in note


def test_what_the_lists_name_and_the_folder_lacks_is_missing(root):
  append(root, 'testlist_all', 'Replay_1000\n\nReplay_1000')
  append(root, 'train_A_pretrain', 'Live_900.mov')
  assert layout.list_clips(root).missing == ['Live_900', 'Replay_1000']


@pytest.mark.parametrize(
  ('title', 'line', 'message'),
  [
    ('testlist_all', 'Paper_1', 'Paper_1 is in a train list too'),
    ('testlist_live', 'Paper_1', "'Paper_1' is not live, as its list says"),
    ('trainlist_all', 'Live_1', "'Live_1' is not an attack, as its list"),
    ('test_B_spoof', 'Mask_9', "'Mask_9': the name does not fit TYPE_N"),
  ],
)
def test_a_line_that_contradicts_its_list_is_an_error(
  title, line, message, root
):
  append(root, title, line)
  with pytest.raises(ValueError, match=message) as caught:
    layout.list_clips(root)
  assert f'{title}.txt' in str(caught.value)


def test_the_lists_of_protocol_1_must_be_there(root):
  (root / 'pro_3_text/test_D_age.txt').unlink()
  assert 'pro_3_text/test_D_age.txt is missing' in layout.list_clips(root).notes
  (root / 'pro_3_text/testlist_all.txt').unlink()
  with pytest.raises(FileNotFoundError, match='testlist_all.txt is missing'):
    layout.list_clips(root)


def test_the_repository_itself_may_lie_beside_the_videos(root):
  (root / 'source_SiW_Mv2').mkdir()
  (root / 'pro_3_text').rename(root / 'source_SiW_Mv2/pro_3_text')
  assert len(layout.list_clips(root).clips) == 104


def test_any_list_is_read_or_refused_with_its_name(texts):
  rng = np.random.default_rng(0)
  path = pathlib.Path('test_C_race.txt')
  words = ['Live_1', 'Paper_2', 'Mask_', '_', '3', '\n', '\r\n', '\t', '\x00']
  words += ['﻿', 'é', '/', '.mov', 'Spoof/Paper_4', ' ', 'Makeup_Co_5_x']
  read = 0
  for _ in range(CASES):
    texts['test_C_race.txt'] = ''.join(rng.choice(words, rng.integers(0, 6)))
    try:
      stems = layout.read_list(path)
    except ValueError as error:
      assert 'test_C_race.txt' in str(error)
      continue
    read += 1
    assert all(layout.type_of(stem) in layout.TYPES for stem in stems)
  assert CASES * 0.05 < read < CASES
