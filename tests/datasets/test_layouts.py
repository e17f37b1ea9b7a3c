"""Names to clips: the complete list of names of each licensed dataset."""

import json
import pathlib
import subprocess
import sys

import pytest
import trees
from hypothesis import given, settings
from hypothesis import strategies as st

from nasfas_datasets import fas_builder, listing, prepare
from nasfas_datasets.casia_mfsd import layout as casia_mfsd
from nasfas_datasets.msu_mfsd import layout as msu_mfsd
from nasfas_datasets.oulu_npu import layout as oulu_npu
from nasfas_datasets.siw_m import layout as siw_m

# dataset: clips, live clips, subjects, split counts.
COUNTS = {
  'oulu_npu': (4950, 990, 55, {'train': 1800, 'dev': 1350, 'test': 1800}),
  'siw': (4620, 1320, 165, {'train': 2240, 'dev': 280, 'test': 2100}),
  'casia_mfsd': (600, 150, 50, {'train': 240, 'test': 360}),
  'replay_attack': (1200, 200, 50, {'train': 360, 'dev': 360, 'test': 480}),
  'msu_mfsd': (280, 70, 35, {'train': 120, 'test': 160}),
  'three_d_mad': (255, 170, 17, {'train': 105, 'dev': 75, 'test': 75}),
  'hkbu_mars_v2': (1008, 504, 12, {'test': 1008}),
  'casia_surf_3dmask': (1152, 288, 48, {'test': 1152}),
  'siw_m': (1626, 659, 1626, {'train': 1495, 'test': 131}),
}


@pytest.fixture(scope='module')
def listings(tmp_path_factory):
  folder = tmp_path_factory.mktemp('trees')
  return {
    name: fas_builder.builder_class(name).list_clips(
      trees.write(folder / name, names())
    )
    for name, names in trees.TREES.items()
  }


@pytest.mark.parametrize('name', COUNTS)
def test_counts_of_the_complete_list_of_names(name, listings):
  clips, live, subjects, splits = COUNTS[name]
  found = listings[name]
  summary = found.summary()
  assert summary['clips'] == clips
  assert summary['label'].get('1') == live
  assert summary['subjects'] == subjects
  assert summary['split'] == splits
  assert not found.skipped and not found.missing
  assert len({clip.clip_id for clip in found.clips}) == clips


def clip(listings, name, clip_id):
  return next(c for c in listings[name].clips if c.clip_id == clip_id)


@pytest.mark.parametrize(
  ('name', 'clip_id', 'fields'),
  [
    (
      'oulu_npu',
      'Dev_files/6_3_21_5',
      {
        'subject': '21',
        'split': 'dev',
        'attack_type': 'replay',
        'session': '3',
        'camera': '6',
        'light': 'adverse',
        'medium': 'display2',
      },
    ),
    # `.m.mov` is one clip with the id of its plain name.
    (
      'siw',
      'Test/live/111/111-2-1-1-1',
      {'label': 1, 'camera': '2', 'light': 'controlled', 'split': 'test'},
    ),
    ('siw', 'Train/spoof/003/003-1-3-4-2', {'split': 'dev'}),
    (
      'siw_m',
      'Makeup/Cosmetic/Makeup_Co_55_noLive_546',
      {'attack_type': 'makeup_cosmetic', 'label': 0},
    ),
    ('siw_m', 'Mask/MannequinHead/Mask_Mann_3', {'attack_type': 'mannequin'}),
    # The folders count from 1 in each split.
    ('casia_mfsd', 'train_release/1/1', {'subject': '01', 'camera': 'odd'}),
    (
      'casia_mfsd',
      'test_release/1/HR_3',
      {'subject': '21', 'camera': 'high', 'attack_type': 'print_cut'},
    ),
    # The support is a folder, not in the name.
    (
      'replay_attack',
      'devel/attack/hand/attack_mobile_client003_session01_mobile_photo_adverse',
      {
        'session': 'hand',
        'split': 'dev',
        'attack_type': 'replay',
        'attack_detail': 'mobile_photo',
        'light': 'adverse',
      },
    ),
    # Two digits in the lists of subjects, three in the names.
    (
      'msu_mfsd',
      'scene01/real/real_client003_android_SD_scene01',
      {'split': 'train', 'turn': 2},
    ),
    ('msu_mfsd', 'scene01/real/real_client003_laptop_SD_scene01', {'turn': 0}),
    ('three_d_mad', '13_03_05', {'label': 0, 'split': 'test'}),
    # attack/09 is written with one digit.
    (
      'hkbu_mars_v2',
      'attack/09/05_06_09',
      {'subject': '09', 'turn': 3, 'label': 0},
    ),
    ('hkbu_mars_v2', 'real/01/04_01_01', {'turn': 1}),
    ('casia_surf_3dmask', 'Real/0900_000/15', {'session': '2', 'label': 1}),
    ('casia_surf_3dmask', 'Fake/0900_000/3/6', {'session': '6'}),
  ],
)
def test_fields_of_a_clip(name, clip_id, fields, listings):
  found = clip(listings, name, clip_id)
  assert {key: getattr(found, key) for key in fields} == fields


@pytest.mark.parametrize(
  ('name', 'bad', 'reason'),
  [
    ('oulu_npu', 'Train_files/7_1_01_1.avi', 'does not fit P_S_UU_F.avi'),
    ('oulu_npu', 'Train_files/1_1_21_1.avi', 'user 21 is not of Train_files'),
    ('siw', 'Test/live/111/112-1-1-1-1.mov', 'subject 112 in the folder 111'),
    ('siw', 'Test/live/111/111-1-2-1-1.mov', 'type 2 (print) in live'),
    ('siw_m', 'Live/Train/Makeup_Xx_1.mov', 'does not fit TYPE_N.mov'),
    ('casia_mfsd', 'train_release/21/1.avi', 'train_release has 1 to 20'),
    (
      'replay_attack',
      'test/real/client001_session01_webcam_authenticate_adverse_1.mov',
      'client 001 is not of the set test',
    ),
    (
      'msu_mfsd',
      'scene01/real/real_client099_android_SD_scene01.mp4',
      'subject 099 is in no list',
    ),
    ('three_d_mad', '18_01_01.hdf5', 'subject 18'),
    ('hkbu_mars_v2', 'HKBU_MARs_V2/real/02/01_01_03.avi', 'subject 03 in'),
    (
      'casia_surf_3dmask',
      'CASIA_SURF_3DMask/Real/0900_000/2.MOV',
      'condition 2 of a live clip',
    ),
  ],
)
def test_a_name_that_does_not_fit_is_skipped_with_its_reason(
  name, bad, reason, tmp_path
):
  names = {*list(trees.TREES[name]()), bad}
  found = fas_builder.builder_class(name).list_clips(
    trees.write(tmp_path, sorted(names))
  )
  ((_, why),) = found.skipped
  assert reason in why


def test_an_empty_file_a_link_out_and_a_double_are_skipped(tmp_path):
  root = trees.write(tmp_path / 'mad', ['01_01_01.hdf5', 'a/01_01_02.hdf5'])
  (root / '01_01_03.hdf5').write_bytes(b'')
  (tmp_path / 'outside').write_bytes(b'x')
  (root / '01_01_04.hdf5').symlink_to(tmp_path / 'outside')
  trees.write(root, ['Data/01_01_01.avi'])
  found = fas_builder.builder_class('three_d_mad').list_clips(root)
  assert [c.clip_id for c in found.clips] == ['01_01_01', '01_01_02']
  assert found.clips[0].path.suffix == '.hdf5'
  assert dict(found.skipped) == {
    '01_01_03.hdf5': 'the file has 0 bytes',
    '01_01_04.hdf5': 'a link out of the folder',
    'Data/01_01_01.avi': "a second file of the clip '01_01_01'",
  }
  assert len(found.missing) == 253


def test_missing_folders_are_named_with_what_was_found(tmp_path):
  (tmp_path / 'Train_files').mkdir()
  with pytest.raises(FileNotFoundError, match='lacks .* Dev_files') as caught:
    oulu_npu.list_clips(tmp_path)
  assert 'found: Train_files' in str(caught.value)
  assert 'signed licence' in str(caught.value)


def write_oulu_lists(root, change=lambda line: line):
  folder = root / 'Protocols' / 'Protocol_1'
  folder.mkdir(parents=True)
  names = [n for n in trees.oulu_npu() if n.startswith('Train_files')]
  lines = []
  for name in names:
    stem = name.rpartition('/')[2].removesuffix('.avi')
    if stem.split('_')[1] != '3':
      label = {'1': '+1', '2': '-1', '3': '-1'}.get(stem[-1], '-2')
      lines.append(change(f'{label},{stem}'))
  (folder / 'Train.txt').write_text('\n'.join(lines) + '\n')


def test_shipped_protocol_lists_are_compared_with_the_rule(tmp_path):
  root = trees.write(tmp_path / 'same', trees.oulu_npu())
  write_oulu_lists(root)
  assert oulu_npu.list_clips(root).notes == []
  root = trees.write(tmp_path / 'other', trees.oulu_npu())
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
  root = trees.write(tmp_path, trees.msu())
  (root / 'train_sub_list.txt').write_text('02\n03\n')
  (root / 'test_sub_list.txt').write_text(msu_mfsd.SUBJECTS['test'])
  found = msu_mfsd.list_clips(root)
  assert found.summary()['split'] == {'test': 160, 'train': 16}
  assert 'train_sub_list.txt differs from the public release' in found.notes[0]
  (root / 'test_sub_list.txt').write_text('02\n')
  with pytest.raises(ValueError, match='subject 002 is in both lists'):
    msu_mfsd.list_clips(root)


def test_live_clips_of_siw_mv2_are_split_by_its_lists(tmp_path):
  names = [f'Live/Live_{n}.mov' for n in range(1, 5)]
  root = trees.write(tmp_path, [*names, 'Spoof/Replay/Replay_1.mov'])
  assert 'no live clip is for testing' in siw_m.list_clips(root).notes[-1]
  lists = root / 'pro_3_text'
  lists.mkdir()
  # Repeated for class balance; 4 is in no list.
  (lists / 'trainlist_live.txt').write_text('Live_1\nLive_2\nLive_1\n')
  (lists / 'testlist_live.txt').write_text('Live_3\n\n')
  found = siw_m.list_clips(root)
  assert {clip.clip_id: clip.split for clip in found.clips} == {
    'Live/Live_1': 'train',
    'Live/Live_2': 'train',
    'Live/Live_3': 'test',
    'Live/Live_4': 'train',
    'Spoof/Replay/Replay_1': 'train',
  }
  assert len(found.notes) == 1
  for line, message in (
    ('Live_2', 'line 1: Live_2 is in both lists'),
    ('Replay_1', "line 1: 'Replay_1' is not Live_N"),
  ):
    (lists / 'testlist_live.txt').write_text(f'{line}\n')
    with pytest.raises(ValueError, match=message):
      siw_m.list_clips(root)


def test_a_subject_in_two_splits_is_an_error():
  def made(split):
    return listing.Clip(pathlib.Path('x'), f'{split}/1', '1', split, 1, 'live')

  with pytest.raises(ValueError, match='casia: the subjects 1 are in more'):
    listing.check_disjoint(
      listing.Listing([made('train'), made('test')], []), 'casia'
    )


@settings(max_examples=300, deadline=None)
@given(
  st.text(max_size=60)
  | st.from_regex(r'\A[A-Za-z_0-9/.-]{0,60}\Z')
  | st.from_regex(r'\A(Live|Mask_Half|train_release/\d)[_/\d.avimo]*\Z')
)
def test_any_name_is_a_clip_or_a_reason(name):
  for layout in (
    siw_m,
    casia_mfsd,
    fas_builder.builder_class('siw').layout,
    fas_builder.builder_class('three_d_mad').layout,
    fas_builder.builder_class('hkbu_mars_v2').layout,
    fas_builder.builder_class('casia_surf_3dmask').layout,
  ):
    try:
      fields = layout.parse(pathlib.Path('/nowhere'), name)
    except listing.ClipError:
      continue
    assert fields['split'] in ('train', 'dev', 'test')
    assert (fields['attack_type'] == 'live') == (fields['label'] == 1)


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


def test_a_dataset_without_videos_has_nothing_to_list(tmp_path):
  with pytest.raises(ValueError, match="'synthetic_fas' has no folder"):
    prepare.list_clips('synthetic_fas', tmp_path)
