"""Names to clips: the complete list of names of each dataset of videos."""

import json
import pathlib
import subprocess
import sys

import contract
import pytest
import trees

from nasfas_datasets import (
  fas_builder,
  folders,
  listing,
  prepare,
  video_builder,
)
from nasfas_datasets.msu_mfsd import layout as msu_mfsd
from nasfas_datasets.oulu_npu import layout as oulu_npu
from nasfas_datasets.siw_m import layout as siw_m


@pytest.fixture(scope='module')
def listings(tmp_path_factory):
  folder = tmp_path_factory.mktemp('trees')
  return {name: contract.list_all(name, folder / name) for name in trees.NAMES}


def test_every_dataset_of_videos_has_an_example_tree():
  videos = {
    name
    for name in folders.dataset_folders()
    if issubclass(
      builder := fas_builder.builder_class(name), video_builder.VideoBuilder
    )
    # A manifest has no grammar of names.
    and hasattr(builder.layout, 'parse')
  }
  assert videos == set(trees.NAMES)
  assert len(videos) >= 9


@pytest.mark.parametrize('name', folders.dataset_folders())
def test_a_folder_has_what_its_readers_look_for(name):
  contract.check_folder(name)


@pytest.mark.parametrize('name', trees.NAMES)
def test_counts_of_the_complete_list_of_names(name, listings):
  contract.check_counts(name, listings[name])


@pytest.mark.parametrize('name', trees.NAMES)
def test_fields_of_a_clip(name, listings):
  contract.check_fields(name, listings[name])


@pytest.mark.parametrize(
  ('name', 'bad', 'reason'),
  [
    (name, bad, reason)
    for name in trees.NAMES
    for bad, reason in trees.example(name).REFUSED.items()
  ],
)
def test_a_name_that_does_not_fit_is_skipped_with_its_reason(
  name, bad, reason, tmp_path
):
  contract.check_refused(name, bad, reason, tmp_path)


def names_of(name):
  return trees.example(name).names()


def test_an_empty_file_and_a_link_out_are_bad_and_a_double_is_skipped(tmp_path):
  root = trees.write(tmp_path / 'mad', ['01_01_01.hdf5', 'a/01_01_02.hdf5'])
  (root / '01_01_03.hdf5').write_bytes(b'')
  (tmp_path / 'outside').write_bytes(b'x')
  (root / '01_01_04.hdf5').symlink_to(tmp_path / 'outside')
  trees.write(root, ['Data/01_01_01.avi'])
  found = fas_builder.builder_class('three_d_mad').list_clips(root)
  assert [c.clip_id for c in found.clips] == ['01_01_01', '01_01_02']
  assert found.clips[0].path.suffix == '.hdf5'
  assert dict(found.skipped) == {
    'Data/01_01_01.avi': "a second file of the clip '01_01_01'",
  }
  # They count as clips, of a label, which a build tells and has a limit for.
  assert [(b.name, b.reason, b.label, b.split) for b in found.bad] == [
    ('01_01_03', 'the file has 0 bytes', 1, 'train'),
    (
      '01_01_04',
      'a link out of the folder: copy the file, or link its folder',
      1,
      'train',
    ),
  ]
  assert len(found.missing) == 251


def test_hidden_folders_hold_no_clips(tmp_path):
  root = trees.write(
    tmp_path / 'mad',
    ['01_01_01.hdf5', '.Trash-1000/files/01_01_02.hdf5', '.x/01_01_01.hdf5'],
  )
  found = fas_builder.builder_class('three_d_mad').list_clips(root)
  assert [c.path.relative_to(root).as_posix() for c in found.clips] == [
    '01_01_01.hdf5'
  ]
  assert not found.skipped and not found.bad


def test_missing_folders_are_named_with_what_was_found(tmp_path):
  (tmp_path / 'Train_files').mkdir()
  with pytest.raises(FileNotFoundError, match='lacks .* Dev_files') as caught:
    oulu_npu.list_clips(tmp_path)
  assert 'found: Train_files' in str(caught.value)
  assert 'signed licence' in str(caught.value)


def write_oulu_lists(root, change=lambda line: line):
  folder = root / 'Protocols' / 'Protocol_1'
  folder.mkdir(parents=True)
  names = [n for n in names_of('oulu_npu') if n.startswith('Train_files')]
  lines = []
  for name in names:
    stem = name.rpartition('/')[2].removesuffix('.avi')
    if stem.split('_')[1] != '3':
      label = {'1': '+1', '2': '-1', '3': '-1'}.get(stem[-1], '-2')
      lines.append(change(f'{label},{stem}'))
  (folder / 'Train.txt').write_text('\n'.join(lines) + '\n')


def test_shipped_protocol_lists_are_compared_with_the_rule(tmp_path):
  root = trees.write(tmp_path / 'same', names_of('oulu_npu'))
  write_oulu_lists(root)
  assert oulu_npu.list_clips(root).notes == []
  root = trees.write(tmp_path / 'other', names_of('oulu_npu'))
  write_oulu_lists(
    root, lambda line: line.replace('+1,1_1_01_1', '-1,1_1_01_1')
  )
  (note,) = oulu_npu.list_clips(root).notes
  assert 'differs from the rule in 1 clips: 1_1_01_1' in note


def test_oulu_labels_are_live_for_1_only(tmp_path):
  path = tmp_path / 'list.txt'
  path.write_text('+1,a\n1,b\n-1,c\n-2,d\n\n')
  expected = {'a': True, 'b': True, 'c': False, 'd': False}
  assert oulu_npu.read_list(path) == expected
  path.write_text('live,a\n')
  with pytest.raises(ValueError, match='line 1: .* is not `label,name`'):
    oulu_npu.read_list(path)


def test_msu_subjects_come_from_the_shipped_lists(tmp_path):
  root = trees.write(tmp_path, names_of('msu_mfsd'))
  (root / 'train_sub_list.txt').write_text('02\n03\n')
  (root / 'test_sub_list.txt').write_text(msu_mfsd.SUBJECTS['test'])
  found = msu_mfsd.list_clips(root)
  assert found.summary()['split'] == {'test': 160, 'train': 16}
  assert 'train_sub_list.txt differs from the public release' in found.notes[0]
  (root / 'test_sub_list.txt').write_text('02\n')
  with pytest.raises(ValueError, match='subject 002 is in both lists'):
    msu_mfsd.list_clips(root)


def test_siw_m_refuses_siw_mv2(tmp_path):
  root = trees.write(tmp_path, ['Live/Live_1.mov', 'Spoof/Replay/Replay_1.mov'])
  with pytest.raises(ValueError, match='its folder Spoof .*=siw_mv2'):
    siw_m.list_clips(root)


def test_siw_m_without_live_clips_for_testing_says_so(tmp_path):
  root = trees.write(tmp_path, ['Live/Train/Live_1.mov', 'Paper/Paper_1.mov'])
  assert 'no live clip is for testing' in siw_m.list_clips(root).notes[-1]


def test_a_subject_in_two_splits_is_an_error():
  def made(split):
    return listing.Clip(pathlib.Path('x'), f'{split}/1', '1', split, 1, 'live')

  with pytest.raises(ValueError, match='casia: the subjects 1 are in more'):
    listing.check_disjoint(
      listing.Listing([made('train'), made('test')], []), 'casia'
    )


def test_list_prints_one_json_object(tmp_path):
  root = trees.write(tmp_path, ['01_01_01.hdf5', '01_03_01.hdf5', 'x.hdf5'])
  result = subprocess.run(
    [
      *(sys.executable, '-m', 'nasfas_datasets.prepare'),
      *('--dataset=three_d_mad', f'--manual_dir={root}', '--list'),
    ],
    capture_output=True,
    text=True,
    check=True,
    timeout=120,
  )
  found = json.loads(result.stdout)
  assert found['dataset'] == 'three_d_mad'
  assert found['clips'] == 2
  assert found['attack_type'] == {'live': 1, 'mask_rigid': 1}
  assert len(found['missing']) == 253
  assert found['not_understood'][0]['path'] == 'x.hdf5'


def test_an_unknown_config_is_refused_by_list_too(tmp_path):
  root = trees.write(tmp_path, ['01_01_01.hdf5'])
  for config in (None, 'default', 'small'):
    assert prepare.list_clips('three_d_mad', root, config)['clips'] == 1
  with pytest.raises(
    ValueError, match="'smal' of dataset 'three_d_mad'; allowed: default, small"
  ):
    prepare.list_clips('three_d_mad', root, 'smal')


def test_a_dataset_without_videos_has_nothing_to_list(tmp_path):
  with pytest.raises(ValueError, match="'synthetic_fas' has no folder"):
    prepare.list_clips('synthetic_fas', tmp_path)
