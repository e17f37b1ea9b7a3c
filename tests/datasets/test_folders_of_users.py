"""Folders as users have them: links, byte order marks, gaps, other units.

Each for every dataset, so that a new layout is held to the same.
"""

import dataclasses
import json
import os
import pathlib
import shutil

import numpy as np
import pytest
import small_trees
import trees
from fuzz_cases import CASES

from nasfas_datasets import (
  boxes,
  clip_faces,
  clip_record,
  fas_builder,
  listing,
  prepare,
  sources,
  text_files,
  video_builder,
)
from nasfas_datasets.msu_mfsd import layout as msu_mfsd
from nasfas_datasets.oulu_npu import layout as oulu_npu
from nasfas_datasets.siw_mv2 import layout as siw_mv2
from nasfas_jax import records
from nasfas_jax.preprocessing import video

# Those whose clips have an annotation in a file of its own.
ANNOTATED = [
  name for name in trees.NAMES if hasattr(trees.example(name), 'annotation')
]


def write_names(name, root):
  """The small tree as files of one byte, with real annotations."""
  example = trees.example(name)
  names = list(filter(example.is_small, example.names()))
  trees.write(root, names)
  if hasattr(example, 'write_lists'):
    example.write_lists(root)
  if name in ANNOTATED:
    for file in names:
      target, text = example.annotation(file, small_trees.FRAMES)
      (root / target).parent.mkdir(parents=True, exist_ok=True)
      (root / target).write_text(text)
  return root


def told(found):
  return [
    dataclasses.replace(
      clip, path=pathlib.Path('x'), boxes=clip.boxes and 'boxes'
    )
    for clip in found.clips
  ]


def list_clips(name, root):
  return fas_builder.builder_class(name).list_clips(root)


@pytest.mark.parametrize('name', trees.NAMES)
def test_folders_may_be_links_to_another_disk(name, tmp_path):
  root = write_names(name, tmp_path / 'data')
  expected = told(list_clips(name, root))
  assert expected
  disk = tmp_path / 'disk'
  disk.mkdir()
  for folder in [path for path in root.iterdir() if path.is_dir()]:
    folder.rename(disk / folder.name)
    folder.symlink_to(disk / folder.name)
  found = list_clips(name, root)
  assert told(found) == expected and found.skipped == []
  # Folders further down too.
  for folder in [path for path in disk.iterdir() if path.is_dir()]:
    for inner in [path for path in folder.iterdir() if path.is_dir()]:
      inner.rename(tmp_path / f'{folder.name}_{inner.name}')
      inner.symlink_to(tmp_path / f'{folder.name}_{inner.name}')
  found = list_clips(name, root)
  assert told(found) == expected and found.skipped == []


def test_links_in_a_circle_are_followed_once(tmp_path):
  root = write_names('three_d_mad', tmp_path / 'mad')
  (root / 'again').symlink_to(root)
  found = list_clips('three_d_mad', root)
  assert len(found.clips) == 12 and found.skipped == []


def test_a_link_to_a_disk_that_is_not_there_says_so(tmp_path):
  root = write_names('oulu_npu', tmp_path / 'oulu')
  (root / 'Train_files').rename(tmp_path / 'gone')
  (root / 'Train_files').symlink_to(tmp_path / 'unmounted')
  with pytest.raises(
    FileNotFoundError, match='Train_files.* is a link to .*unm'
  ):
    list_clips('oulu_npu', root)


@pytest.mark.parametrize('name', ['casia_mfsd', 'replay_attack'])
def test_boxes_on_a_disk_that_is_not_there_are_not_taken_for_none(
  name, tmp_path
):
  root = write_names(name, tmp_path / 'data')
  folder = root / 'face-locations'
  folder.rename(tmp_path / 'gone')
  assert not any(clip.has_box for clip in list_clips(name, root).clips)
  folder.symlink_to(tmp_path / 'unmounted')
  with pytest.raises(FileNotFoundError, match='face-locations.* is a link to'):
    list_clips(name, root)


@pytest.mark.parametrize('lost', [False, True])
@pytest.mark.parametrize('name', ANNOTATED)
def test_an_annotation_that_is_a_link_out_of_the_folder_makes_a_bad_clip(
  name, lost, tmp_path
):
  root = write_names(name, tmp_path / 'data')
  whole = list_clips(name, root)
  clip = whole.clips[3]
  path = clip.boxes.path
  path.rename(tmp_path / 'store')
  path.symlink_to(tmp_path / ('gone' if lost else 'store'))
  found = list_clips(name, root)
  (bad,) = found.bad
  assert (bad.name, bad.label, bad.split) == (
    *(clip.clip_id, clip.label, clip.split),
  )
  expected = 'a link ' + (
    'to a place that is not there' if lost else 'out of the folder'
  )
  assert f'its annotation {path.name}: {expected}' in bad.reason
  assert len(found.clips) == len(whole.clips) - 1
  # A link to another place in the folder is as good as a file.
  path.unlink()
  (tmp_path / 'store').rename(root / 'store')
  path.symlink_to(root / 'store')
  found = list_clips(name, root)
  assert told(found) == told(whole) and found.skipped == whole.skipped


@pytest.mark.parametrize('name', ['casia_surf', 'casia_cefa', 'hifimask'])
def test_a_frame_that_is_a_link_out_of_the_folder_is_a_listed_skip(
  name, tmp_path
):
  root = write_names(name, tmp_path / 'data')
  whole = list_clips(name, root)
  clip, other = whole.clips[1:3]
  frame, lost = min(clip.path.iterdir()), min(other.path.iterdir())
  frame.rename(tmp_path / 'store')
  frame.symlink_to(tmp_path / 'store')
  lost.unlink()
  lost.symlink_to(tmp_path / 'gone')
  found = list_clips(name, root)
  assert len(found.clips) == len(whole.clips) - 2
  assert found.skipped == []
  reasons = {bad.name: bad.reason for bad in found.bad}
  texts = [reasons[one.clip_id] for one in (clip, other)]
  assert texts[0].startswith(f'{frame.name}: a link out of the folder')
  assert texts[1].startswith(f'{lost.name}: a link to a place that')
  # A link to another place in the folder is as good as a file, and so is a
  # hidden one that nobody reads.
  frame.unlink()
  (tmp_path / 'store').rename(clip.path.parent / 'store')
  frame.symlink_to(clip.path.parent / 'store')
  lost.rename(lost.with_name('.#lost'))
  lost.write_bytes(b'x')
  found = list_clips(name, root)
  assert told(found) == told(whole) and found.skipped == []
  assert sources.parts(clip, root) and sources.parts(other, root)


def strange(text):
  """A name that is not UTF-8, as old disks and archives have them."""
  return os.fsdecode(text.encode('latin-1'))


def test_a_name_that_is_not_utf8_is_reported_and_loses_nothing(
  tmp_path, capsys
):
  root = small_trees.make_tree('replay_attack', tmp_path / 'data')
  folder = root / 'train/real'
  (folder / strange('Kopie für Anna.mov')).write_bytes(b'x')
  # Nor is a good name in such a folder a name for a record.
  (root / 'test/real' / strange('für')).mkdir()
  source = next((root / 'test/real').glob('*.mov'))
  shutil.copy(source, root / 'test/real' / strange('für') / source.name)
  options = {'config': 'small', 'manual_dir': root, 'allow_missing': True}
  made = prepare.prepare('replay_attack', data_dir=tmp_path / 'out', **options)
  said = capsys.readouterr().err
  assert f'and 2 other files, listed in {made / "skipped.csv"}' in said
  report = (made / 'skipped.csv').read_text(encoding='utf-8')
  reason = ',the name is not UTF-8: rename it'
  assert 'train/real/Kopie f\\udcfcr Anna.mov' + reason in report
  assert report.count(reason) == 2
  listed = prepare.list_clips('replay_attack', root)
  assert len(listed['not_understood']) == 2 and json.dumps(listed)


@pytest.mark.parametrize('place', ['data_dir', 'manual_dir'])
def test_a_folder_that_is_not_utf8_is_refused_before_anything_is_read(
  place, tmp_path
):
  root = write_names('replay_attack', tmp_path / strange('für'))
  folders = {
    'data_dir': tmp_path / strange('ö'),
    'manual_dir': root.rename(tmp_path / 'in') if place == 'data_dir' else root,
  }
  if place == 'manual_dir':
    folders['data_dir'] = tmp_path / 'out'
  with pytest.raises(ValueError, match=rf'--{place}: .* is not UTF-8; rename'):
    prepare.prepare('replay_attack', allow_missing=True, **folders)
  assert not folders['data_dir'].exists()


def test_a_video_whose_name_is_not_utf8_is_an_error_and_no_crash(tmp_path):
  path = tmp_path / strange('für.avi')
  small_trees.write_video(tmp_path / 'x.avi')
  (tmp_path / 'x.avi').rename(path)
  with pytest.raises(video.VideoError, match='the name is not UTF-8'):
    video.sample_frames(path, 8)


@pytest.mark.parametrize('name', ANNOTATED)
def test_one_clip_without_its_annotation_is_skipped(name, tmp_path):
  root = write_names(name, tmp_path)
  builder = fas_builder.builder_class(name)(data_dir=tmp_path / 'out')
  whole = builder.find(root)
  assert whole.bad == [] and all(clip.has_box for clip in whole.clips)
  gone = whole.clips[3]
  gone.boxes.path.unlink()
  found = builder.find(root)
  (bad,) = found.bad
  assert bad.name == gone.clip_id and bad.label == gone.label
  assert len(found.clips) == len(whole.clips) - 1
  # By the setting it is the whole frame; with a detector it does not matter.
  for settings in ({'missing_boxes': 'whole_frame'}, {'faces': 'detected'}):
    config = dataclasses.replace(builder.builder_config, name='x', **settings)
    other = fas_builder.builder_class(name)(
      config=config, data_dir=tmp_path / 'out'
    )
    assert other.find(root).bad == []
    assert len(other.find(root).clips) == len(whole.clips)
  for clip in found.clips:
    clip.boxes.path.unlink()
  assert builder.find(root).bad == []


RELATIVE = {
  'corners': '0.2 0.1 0.8 0.9\n',
  'frame_xywh': '0 0.2 0.1 0.6 0.8\n',
  'frame_corners': '0,0,0,1,1\n',
  'frame_eyes': '0,0.4,0.4,0.6,0.4\n',
  'lines_xywh': '0\n0\n1\n1\n',
}


@pytest.mark.parametrize('reader', boxes.READERS)
def test_annotations_in_shares_of_the_frame_are_refused(reader, tmp_path):
  path = tmp_path / 'x.face'
  path.write_text(RELATIVE[reader])
  clip = listing.Clip(
    tmp_path / 'x.avi', 'x', 's', 'train', 1, 'live',
    boxes=listing.Boxes(reader, path),
  )  # fmt: skip
  with pytest.raises(listing.ClipError, match='pixels'):
    clip_record.place(clip, None, video_builder.CONFIGS[0], 640, 480)


def test_boxes_of_another_resolution_are_refused():
  # Made for 1920 x 1080, used on a copy of 640 x 360.
  box = np.array([[600.0, 300, 1200, 1000]])
  with pytest.raises(listing.ClipError, match='mostly outside'):
    clip_faces.clip_box(box, 640, 360)
  # A close face may reach past the border.
  inside = clip_faces.clip_box(np.array([[-50.0, -60, 300, 320]]), 320, 300)
  np.testing.assert_array_equal(inside, [0, 0, 300, 300])
  with pytest.raises(listing.NoFaceError):
    clip_faces.clip_box(np.full((2, 4), np.nan), 640, 360)


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'utf-32'])
def test_lists_with_a_byte_order_mark_are_read(encoding, tmp_path):
  path = tmp_path / 'Train.txt'
  path.write_text('+1,1_1_01_1\n-1,1_1_01_2\n', encoding=encoding)
  assert oulu_npu.read_list(path) == {'1_1_01_1': True, '1_1_01_2': False}
  (tmp_path / 'train_sub_list.txt').write_text('02\n03\n', encoding=encoding)
  splits, _ = msu_mfsd.read_subjects(tmp_path)
  assert splits['002'] == splits['003'] == 'train'


@pytest.mark.parametrize(
  'text', ['é'.encode('latin-1'), 'a'.encode('utf-16-le')]
)
def test_a_list_that_cannot_be_read_is_named(text, tmp_path):
  (tmp_path / 'train_sub_list.txt').write_bytes(text)
  with pytest.raises(
    ValueError, match=r'train_sub_list\.txt is not UTF-8 text'
  ):
    msu_mfsd.read_subjects(tmp_path)
  (tmp_path / 'big.txt').write_bytes(b'1' * 9)
  with pytest.raises(ValueError, match='has 9 bytes; at most 8 are read'):
    text_files.read(tmp_path / 'big.txt', 8)
  with pytest.raises(ValueError, match=r'none\.txt: not a text file'):
    text_files.read(tmp_path / 'none.txt')


def test_any_list_is_read_or_named(tmp_path, monkeypatch):
  rng = np.random.default_rng(0)
  known = np.array([ord(c) for c in '+-12345_,\n\r /LiveTran.txt\ufeffé'])
  texts = []

  def read(path, *args):
    return text_files.decode(texts[-1], path)

  monkeypatch.setattr(text_files, 'read', read)
  monkeypatch.setattr(pathlib.Path, 'is_file', lambda self: True)
  accepted = 0
  readers = (
    lambda: oulu_npu.read_list(tmp_path / 'list.txt'),
    lambda: msu_mfsd.read_subjects(tmp_path),
    lambda: siw_mv2.read_list(tmp_path / 'list.txt'),
  )
  for number in range(CASES):
    codes = known[rng.integers(len(known), size=rng.integers(40))]
    data = ''.join(map(chr, codes)).encode()
    if number % 4 == 0:
      data = rng.bytes(rng.integers(30))
    if number % 4 == 1:
      data = b'+1,1_1_01_1\n' * int(rng.integers(3))
    texts.append(data)
    for reader in readers:
      try:
        reader()
        accepted += 1
      except ValueError as error:
        assert str(tmp_path) in str(error) or 'both lists' in str(error)
  assert accepted > 100


def parse(layout, word):
  """The fields of a name, or None; anything but a ClipError is a mistake."""
  try:
    fields = layout.parse(pathlib.Path('/nowhere'), word)
  except listing.ClipError:
    return None
  assert fields['split'] in records.SPLITS
  assert (fields['attack_type'] == 'live') == (fields['label'] == 1)
  return fields


@pytest.mark.parametrize('name', trees.NAMES)
def test_any_name_is_a_clip_or_a_reason(name):
  rng = np.random.default_rng(1)
  known = np.array([ord(c) for c in '0123_/-.avimoLRe é\\'])
  example, layout = trees.example(name), fas_builder.builder_class(name).layout
  files = [file for file in example.names() if example.is_small(file)][:60]
  # A clip may be a file or its folder, with or without the dataset's own.
  words = {
    word
    for file in files
    for path in (file, file.rpartition('/')[0])
    for word in (path, path.partition('/')[2])
  }
  good = sorted(word for word in words if parse(layout, word))
  # Where a list has to name a clip too, no name alone is enough.
  assert good or hasattr(example, 'write_lists')
  words = good or sorted(words)
  for _ in range(CASES):
    # One or a few letters of a name are others.
    letters = list(words[rng.integers(len(words))] or 'x')
    for place in rng.integers(len(letters), size=rng.integers(1, 4)):
      letters[place] = chr(known[rng.integers(len(known))])
    parse(layout, ''.join(letters))


@pytest.mark.parametrize(
  ('name', 'notes'),
  [
    ('siw', ['clips; published: 4478', 'subjects; published: 165']),
    ('siw_m', ['live clips; published: 660', 'attacks; published: 968']),
  ],
)
def test_a_part_of_a_dataset_without_lists_is_noted(name, notes, tmp_path):
  root = write_names(name, tmp_path)
  found = list_clips(name, root)
  live = sum(clip.label for clip in found.clips)
  counts = {
    'siw': (len(found.clips), len({clip.subject for clip in found.clips})),
    'siw_m': (live, len(found.clips) - live),
  }[name]
  for note, count in zip(notes, counts, strict=True):
    assert f'{count} {note}' in found.notes


def test_the_published_numbers_are_no_note():
  assert listing.unlike_counts([('clips', 3, 3), ('people', 2, 5)]) == [
    '2 people; published: 5'
  ]


def without_top(name, root):
  """A folder below the ones that a dataset must have, that holds clips."""
  clip = list_clips(name, root).clips[0]
  folder = clip.path if clip.path.is_dir() else clip.path.parent
  base = root.resolve()
  if base in (folder, folder.parent, folder.parent.parent):
    # All clips of a set are in one folder.
    return None
  return folder.parent if clip.path.is_dir() else folder


@pytest.mark.parametrize('name', trees.NAMES)
def test_a_link_to_a_folder_that_is_not_there_is_reported(name, tmp_path):
  root = write_names(name, tmp_path / 'data')
  folder = without_top(name, root)
  if folder is None:
    folder = list_clips(name, root).clips[0].path.parent / 'more'
  else:
    shutil.rmtree(folder)
  folder.symlink_to(tmp_path / 'unmounted')
  found = list_clips(name, root)
  reason = 'a link to a place that is not there or cannot be read'
  told = [*found.skipped, *((bad.name, bad.reason) for bad in found.bad)]
  assert [text for _, text in told].count(reason) == 1
  assert any(name in folder.as_posix() for name, _ in told)


@pytest.mark.parametrize('name', trees.NAMES)
def test_a_folder_that_cannot_be_read_is_an_error_that_names_it(
  name, tmp_path, monkeypatch
):
  root = write_names(name, tmp_path / 'data')
  clip = list_clips(name, root).clips[0]
  hidden = (clip.path.parent if clip.path.is_dir() else clip.path).parent
  real = os.scandir

  # Whoever runs the tests may read everything.
  def scandir(path='.'):
    if pathlib.Path(path) == hidden:
      raise PermissionError(13, 'Permission denied', str(path))
    return real(path)

  monkeypatch.setattr(os, 'scandir', scandir)
  monkeypatch.setattr(
    pathlib.Path,
    'iterdir',
    lambda self: [pathlib.Path(entry.path) for entry in scandir(self)],
  )
  with pytest.raises(PermissionError, match=str(hidden)):
    list_clips(name, root)


def test_a_link_that_goes_round_in_a_circle_is_reported(tmp_path):
  root = write_names('siw_m', tmp_path / 'data')
  (root / 'Live/round').symlink_to(root / 'Live/round')
  ((name, reason),) = list_clips('siw_m', root).skipped
  assert name == 'Live/round' and 'a link to a place' in reason
