"""What only NUAA, HiFiMask, CeFA and CASIA-SURF have."""

import pathlib

import numpy as np
import pytest
import trees
from fuzz_cases import CASES

from nasfas_datasets.casia_cefa import layout as cefa
from nasfas_datasets.casia_surf import layout as surf
from nasfas_datasets.hifimask import layout as hifimask
from nasfas_datasets.nuaa import layout as nuaa


def tree(name, root):
  trees.write_lists(name, trees.write(root, trees.example(name).names()))
  return root


def test_nuaa_compares_its_lists_with_the_sessions(tmp_path):
  root = tree('nuaa', tmp_path)
  path = root / 'raw/client_test_raw.txt'
  assert not any('differs' in note for note in nuaa.list_clips(root).notes)
  path.write_text('0001\\0001_00_00_01_0.jpg\n0009\\0009_00_00_03_0.jpg\n')
  found = nuaa.list_clips(root)
  assert found.missing == ['ClientRaw/0009/0009_00_00_03_0']
  (note,) = [n for n in found.notes if 'differs' in n]
  # One of session 1 that it has, and six of session 3 that it lacks.
  assert note.startswith('client_test_raw.txt differs from the sessions in 7')


@pytest.mark.parametrize(
  ('line', 'message'),
  [
    ('CASIA_HiFiMask/Data/1_05_0_3_1_8/0000.png 1', 'another label than its'),
    ('CASIA_HiFiMask/Data/1_05_2_3_1_8 0', 'another label than its'),
    ('1_05_2_3_1_8', 'is not CLIP LABEL'),
  ],
)
def test_a_list_of_hifimask_agrees_with_its_names(line, message, tmp_path):
  root = tree('hifimask', tmp_path)
  path = root / 'protocol/CASIA_HiFiMask@p3_image_dev.txt'
  path.write_text(f'{line}\n')
  with pytest.raises(ValueError, match=message) as caught:
    hifimask.list_clips(root)
  assert f'{path}, line 1' in str(caught.value)


def test_lists_of_hifimask_may_be_of_clips_and_some_may_be_missing(tmp_path):
  root = tree('hifimask', tmp_path)
  folder = root / 'protocol'
  (folder / 'CASIA_HiFiMask@p3_image_test.txt').unlink()
  (folder / 'CASIA_HiFiMask@p1_video_test.txt').write_text(
    'CASIA_HiFiMask/Data/1_07_0_3_1_1 0\nCASIA_HiFiMask/Data/3_99_1_1_1_1 1'
  )
  found = hifimask.list_clips(root)
  assert found.missing == ['Data/3_99_1_1_1_1']
  assert found.summary()['split'] == {'dev': 8, 'test': 1, 'train': 16}
  assert len(found.skipped) == 15
  assert any('@p3_image_test.txt is missing' in note for note in found.notes)
  (folder / 'CASIA_HiFiMask@p1_video_dev.txt').write_text(
    'CASIA_HiFiMask/Data/1_01_0_3_1_1 0\n'
  )
  with pytest.raises(ValueError, match='1_01_0_3_1_1 is in two splits'):
    hifimask.list_clips(root)
  for path in folder.glob('*@p1_*_train.txt'):
    path.unlink()
  with pytest.raises(FileNotFoundError, match='p1_image_train.txt is missing'):
    hifimask.list_clips(root)


def test_any_list_of_hifimask_is_read_or_refused_with_its_name(texts):
  rng = np.random.default_rng(0)
  path = pathlib.Path('list.txt')
  words = ['Data/', '1_05_0_3_1_8', '2_75_3_6_6_8', '/0001.png', ' 0', ' 1']
  words += ['\n', '\t', '\x00', 'é', '9']
  read = 0
  for _ in range(CASES):
    texts['list.txt'] = ''.join(rng.choice(words, rng.integers(0, 7)))
    try:
      clips = hifimask.read_list(path)
    except ValueError as error:
      assert 'list.txt' in str(error)
      continue
    read += 1
    assert clips <= {'1_05_0_3_1_8', '2_75_3_6_6_8'}
  assert CASES * 0.05 < read < CASES


def test_a_clip_that_a_subject_of_cefa_lacks_is_missing(tmp_path):
  names = [
    name
    for name in trees.example('casia_cefa').names()
    if 'CA-300/2_300_3_2_2' not in name
  ]
  found = cefa.list_clips(trees.write(tmp_path, names))
  assert found.missing == ['CA-300: cloth outdoor']


def test_cefa_names_may_have_the_numbers_of_the_release(tmp_path):
  name = 'Ethnicity/EA/EA-012-198006250024/3_012_1_1_1/color/0001.jpg'
  (clip,) = cefa.list_clips(trees.write(tmp_path, [name])).clips
  assert (clip.subject, clip.label) == ('EA-012', 1)


def test_casia_surf_may_lie_without_the_folder_data(tmp_path):
  root = tree('casia_surf', tmp_path)
  ids = [clip.clip_id for clip in surf.list_clips(root).clips]
  assert [c.clip_id for c in surf.list_clips(root / 'Data').clips] == ids
