"""What a build says, keeps, refuses and leaves, on manifests of tiny videos."""

import csv
import errno
import json
import os
import pathlib
import shutil
import threading
import types

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core import shuffle

from nasfas_datasets import (
  build_lock,
  clip_cache,
  clip_faces,
  clip_record,
  listing,
  prepare,
  sources,
  video_builder,
)
from nasfas_jax import files, records
from nasfas_jax.data import clips, index

HEADER = ('path', 'label', 'attack_type', 'subject', 'split')
BOX = ('box_x0', 'box_y0', 'box_x1', 'box_y1')
CASES = pathlib.Path(__file__).parents[1] / 'preprocessing'


def write_video(path, seed, num_frames=4, size=(64, 48)):
  writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 25, size)
  rng = np.random.default_rng(seed)
  for _ in range(num_frames):
    writer.write(rng.integers(0, 256, (size[1], size[0], 3), np.uint8))
  writer.release()


class Videos:
  """A folder of videos and its manifest; rows can be changed."""

  def __init__(self, folder, count=6, columns=(*HEADER, *BOX)):
    self.folder, self.columns, self.rows = folder, columns, []
    folder.mkdir()
    for i in range(count):
      self.add(f'{i:02d}.avi', records.SPLITS[i // 2 % 3], i % 2)
      write_video(folder / f'{i:02d}.avi', i)
    self.save()

  def add(self, name, split, live, **cells):
    row = {
      'path': name,
      'label': 'live' if live else 'spoof',
      'attack_type': 'live' if live else 'print',
      'subject': split,
      'split': split,
      **dict(zip(BOX, (10, 10, 34, 34), strict=True)),
    }
    self.rows.append({**row, **cells})

  def save(self):
    with open(self.folder / 'manifest.csv', 'w', newline='') as file:
      writer = csv.DictWriter(file, self.columns, extrasaction='ignore')
      writer.writeheader()
      writer.writerows(self.rows)

  def prepare(self, data_dir, **options):
    options = {'config': 'small', **options}
    return prepare.prepare(
      'manifest_fas', data_dir=data_dir, manual_dir=self.folder, **options
    )


@pytest.fixture
def videos(tmp_path):
  return Videos(tmp_path / 'mine')


@pytest.fixture
def data(tmp_path):
  return tmp_path / 'data'


def labels(data):
  rows = index.load_index(data, 'manifest_fas', 'small')
  return {row['clip_id']: row['label'] for row in rows}


def test_a_skipped_row_is_announced_with_the_file_that_lists_it(
  tmp_path, data, capsys
):
  videos = Videos(tmp_path / 'mine', 24)
  (videos.folder / '07.avi').write_text('no video\n' * 99)
  shards = videos.prepare(data)
  said = capsys.readouterr()
  assert (
    f'SKIPPED: 1 of 24 rows, listed in {shards / "skipped.csv"}' in said.err
  )
  assert 'Clips that are skipped: 1 of 12 live (8%), 0 of 12 attack' in said.err
  assert 'Built 23 (live 11, attack 12) clips' in said.err
  assert 'Audit: AUC' in said.err and said.out == ''


def test_all_bad_rows_are_counted_before_a_build_stops(videos, data):
  videos.rows[0]['label'] = 'lve'
  videos.save()
  for name in ('01.avi', '05.avi'):
    (videos.folder / name).write_text('no video\n' * 99)
  with pytest.raises(ValueError, match='3 of 6 rows cannot be used') as caught:
    videos.prepare(data)
  text = str(caught.value)
  assert '\n' not in text and "row 2: '00.avi'" in text and 'row 7' in text
  with open(data / 'manifest_fas/small/skipped.csv') as file:
    assert [row['row'] for row in csv.DictReader(file)] == ['2', '3', '7']


def change_label(videos):
  videos.rows[2].update(label='live', attack_type='live')
  return '1 clip with another label (02)'


def change_box(videos):
  videos.rows[2]['box_x1'] = 41
  return '1 clip with another box (02)'


def change_split(videos):
  for row in videos.rows[:2]:
    row.update(split='test', subject='test')
  return '2 clips with another split (00, 01)'


def change_type(videos):
  videos.rows[0]['attack_type'] = 'replay'
  return '1 clip with another field (00)'


def change_file(videos):
  write_video(videos.folder / '03.avi', 99)
  return '1 clip with another file (03)'


def add_row(videos):
  write_video(videos.folder / 'x.avi', 98)
  videos.add('x.avi', 'train', 1)
  return '1 clip more (x)'


def drop_row(videos):
  del videos.rows[4]
  return '1 clip fewer (04)'


@pytest.mark.parametrize(
  'change',
  [
    change_label,
    change_box,
    change_split,
    change_type,
    change_file,
    add_row,
    drop_row,
  ],
)
def test_other_data_are_refused_or_replaced(change, videos, data):
  folder = videos.prepare(data)
  before = (folder / records.INDEX_FILE).read_bytes()
  says = change(videos)
  videos.save()
  with pytest.raises(ValueError, match='already prepared, but from') as caught:
    videos.prepare(data)
  assert says in str(caught.value)
  assert '--replace' in str(caught.value)
  assert (folder / records.INDEX_FILE).read_bytes() == before
  assert videos.prepare(data, replace=True) == folder
  assert (folder / records.INDEX_FILE).read_bytes() != before
  assert len(labels(data)) == len(videos.rows)
  # And it is now what it says.
  assert videos.prepare(data) == folder


def test_the_old_data_stay_until_the_new_clips_are_decoded(videos, data):
  folder = videos.prepare(data)
  for name in ('01.avi', '02.avi'):
    (videos.folder / name).write_text('no video\n' * 99)
  with pytest.raises(ValueError, match='2 of 6 rows cannot be used'):
    videos.prepare(data, replace=True)
  assert len(labels(data)) == 6 and (folder / 'made_from.json').exists()


def test_the_old_data_stay_if_the_new_ones_cannot_be_built(
  videos, data, monkeypatch
):
  folder = videos.prepare(data)
  before = (folder / records.INDEX_FILE).read_bytes()
  # Without the folder of the files.
  with pytest.raises(FileNotFoundError, match='give --manual_dir=FOLDER'):
    prepare.prepare('manifest_fas', config='small', data_dir=data, replace=True)

  def stopped(builder, *_):
    pathlib.Path(builder.data_dir).mkdir()
    raise KeyboardInterrupt

  # A dataset of one version only may be half there, too.
  with monkeypatch.context() as patch:
    patch.setattr(prepare, '_build', stopped)
    with pytest.raises(KeyboardInterrupt):
      videos.prepare(data, replace=True)
  assert (folder / records.INDEX_FILE).read_bytes() == before
  assert videos.prepare(data) == folder
  assert [path.name for path in folder.parent.iterdir()].count('1.0.0') == 1
  assert not list(folder.parent.glob('replaced-*'))


@pytest.mark.parametrize('built', [False, True])
def test_a_kill_while_data_are_replaced_leaves_the_old_or_the_new(
  built, videos, data
):
  folder = videos.prepare(data)
  aside = folder.with_name('replaced-1.0.0')
  if built:
    shutil.copytree(folder, aside)
    (aside / records.INDEX_FILE).write_text('old')
  else:
    folder.rename(aside)
  made = (aside if not built else folder) / records.INDEX_FILE
  stamp = made.stat().st_mtime_ns
  # What is there only goes on under the lock, as any build.
  if built:
    videos.prepare(data, replace=True)
  else:
    assert videos.prepare(data) == folder
    assert (folder / records.INDEX_FILE).stat().st_mtime_ns == stamp
  assert len(labels(data)) == 6 and not aside.exists()


def test_a_split_without_one_usable_row_is_an_error(videos, data):
  for row in videos.rows[2:4]:
    row['path'] = f'not_there_{row["path"]}'
  videos.save()
  with pytest.raises(ValueError, match="no clip of the split 'dev' can be"):
    videos.prepare(data, max_bad_share=0.5)
  for row in videos.rows:
    row['label'] = 'lve'
  videos.save()
  with pytest.raises(ValueError, match='no clip can be used'):
    videos.prepare(data, max_bad_share=1.0)
  assert not list(data.glob('manifest_fas/small/1.*'))


def test_the_same_data_elsewhere_are_no_other_data(videos, data, tmp_path):
  folder = videos.prepare(data)
  videos.folder.rename(tmp_path / 'moved')
  videos.folder = tmp_path / 'moved'
  # Rows may also change places.
  videos.rows.reverse()
  videos.save()
  before = (folder / records.INDEX_FILE).stat()
  assert videos.prepare(data) == folder
  assert (folder / records.INDEX_FILE).stat() == before


def test_two_manifests_into_one_folder(videos, data, tmp_path):
  videos.prepare(data)
  other = Videos(tmp_path / 'other', 8)
  with pytest.raises(ValueError, match='2 clips more'):
    other.prepare(data)
  other.prepare(data, replace=True)
  assert len(labels(data)) == 8


@pytest.mark.parametrize('name', ['schema', 'settings'])
def test_another_version_of_the_code_is_other_data(name, videos, data):
  folder = videos.prepare(data)
  path = folder / 'made_from.json'
  made = files.read_json(path)
  made['schema'] -= name == 'schema'
  made['settings']['size'] -= name == 'settings'
  files.write_json(path, made)
  with pytest.raises(ValueError, match=r'(schema 1|size 79) is now (2|80)'):
    videos.prepare(data)
  # Without the folder of the files, the settings are compared all the same.
  with pytest.raises(ValueError, match='is now'):
    prepare.prepare('manifest_fas', config='small', data_dir=data)
  path.write_text('{"schema": ')
  with pytest.raises(ValueError, match=r'made_from\.json is damaged'):
    videos.prepare(data)
  path.unlink()
  with pytest.raises(ValueError, match='does not say what it was made from'):
    videos.prepare(data)


def test_a_damaged_list_of_sources_is_named(videos, data):
  folder = videos.prepare(data)
  for line in ('["00", 1, ', '3', '["00", 1]', '[[], 1, 2, 3, 4, 5, null]'):
    (folder / sources.SOURCES_FILE).write_text(f'{line}\n')
    with pytest.raises(ValueError, match=r'sources\.jsonl, line 1 is damaged'):
      videos.prepare(data)


@pytest.mark.parametrize('damage', ['torn', 'word', 'empty row'])
def test_a_damaged_index_is_named_and_replaced(damage, videos, data):
  folder = videos.prepare(data)
  path = folder / records.INDEX_FILE
  text = path.read_text()
  path.write_text(
    {'torn': text[:-40], 'word': 'x\n' + text, 'empty row': '{}\n'}[damage]
  )
  with pytest.raises(
    ValueError, match=r"index\.jsonl' is damaged in line \d: "
  ):
    index.load_index(data, 'manifest_fas', 'small')
  videos.prepare(data, replace=True)
  assert path.read_text() == text


def test_a_damaged_shard_is_named(videos, data):
  folder = videos.prepare(data)
  rows = index.load_index(data, 'manifest_fas', 'small')
  for path in folder.glob('*.array_record*'):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
  with pytest.raises(ValueError, match=r"1\.0\.0' is damaged: clip '0\d'"):
    clips.ClipSource(rows, 0)[0]
  # Before a clip is read, too.
  with pytest.raises(ValueError, match=r"shard '.*array_record-0.*' is trunca"):
    index.load_index(data, 'manifest_fas', 'small')


def test_without_a_home_the_option_is_named(videos, monkeypatch):
  monkeypatch.delenv('TFDS_DATA_DIR', raising=False)
  monkeypatch.setattr(prepare.os.path, 'expanduser', lambda path: path)
  with pytest.raises(
    ValueError, match='needs a home folder.*--data_dir=FOLDER'
  ):
    videos.prepare(None)


def test_of_two_at_once_the_second_takes_what_the_first_made(
  videos, data, monkeypatch, capsys
):
  made, waits, results = [], threading.Event(), []
  real = clip_record.make_clip

  def make_clip(clip, **settings):
    made.append(clip.clip_id)
    # The first builds when the second has found it at work.
    assert waits.wait(30)
    return real(clip, **settings)

  say = prepare.progress_lib.say

  def hear(text):
    if text.startswith('Waiting for another build'):
      waits.set()
    say(text)

  monkeypatch.setattr(clip_record, 'make_clip', make_clip)
  monkeypatch.setattr(prepare.progress_lib, 'say', hear)
  threads = [
    threading.Thread(target=lambda: results.append(videos.prepare(data)))
    for _ in range(2)
  ]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join(60)
  assert len(results) == 2 and results[0] == results[1]
  assert sorted(made) == [f'{i:02d}' for i in range(6)]


def test_what_stopped_builds_left_goes_and_finished_clips_stay(
  videos, data, monkeypatch
):
  parent = data / 'manifest_fas/small'
  kept = []
  real = clip_record.make_clip

  def make_clip(clip, **settings):
    if len(kept) == 4:
      raise KeyboardInterrupt
    kept.append(clip.clip_id)
    return real(clip, **settings)

  monkeypatch.setattr(clip_record, 'make_clip', make_clip)
  with pytest.raises(KeyboardInterrupt):
    videos.prepare(data)
  assert len(list((parent / 'finished-1.0.0').glob('*.npz'))) == 4
  (parent / 'incomplete.AB12CD_1.0.0').mkdir()
  (parent / 'incomplete.AB12CD_1.0.0' / 'bucket.tmp').write_bytes(b'x')
  (parent / 'finished-1.0.0' / '.a.npz.7.tmp.npz').write_bytes(b'x')
  (parent / 'incomplete.AB12CD_2.0.0').mkdir()
  monkeypatch.setattr(
    clip_record,
    'make_clip',
    lambda clip, **s: kept.append(clip.clip_id) or real(clip, **s),
  )
  folder = videos.prepare(data)
  # A manifest resumes like the others: each clip was made once.
  assert sorted(kept) == [f'{i:02d}' for i in range(6)]
  assert {path.name for path in parent.iterdir()} == {
    build_lock.LOCK_FILE,
    'incomplete.AB12CD_2.0.0',
    folder.name,
  }


def test_the_disk_never_holds_much_more_than_the_result(
  tmp_path, data, monkeypatch
):
  videos = Videos(tmp_path / 'mine', 12)
  peak = [0]

  def measured(function):
    def wrapped(*args, **kwargs):
      peak[0] = max(peak[0], build_lock.size(data))
      return function(*args, **kwargs)

    return wrapped

  # TFDS would put what does not fit into the memory into files.
  monkeypatch.setattr(shuffle, 'MAX_MEM_BUFFER_SIZE', 0)
  monkeypatch.setattr(video_builder, 'SHARD_BYTES', 2**18)
  for name in ('put', 'take', 'clear'):
    owner = clip_cache.ClipCache
    monkeypatch.setattr(owner, name, measured(getattr(owner, name)))
  monkeypatch.setattr(sources, 'write', measured(sources.write))
  videos.prepare(data, config='default')
  result = build_lock.size(data)
  assert len(list(data.rglob('*train.array_record*'))) > 1
  assert 2e6 < result <= 1.1 * peak[0]
  assert peak[0] <= 1.3 * result


def test_ctrl_c_is_one_line_that_says_how_to_go_on(
  videos, data, monkeypatch, capsys
):
  real = clip_record.make_clip
  made = []

  def make_clip(clip, **settings):
    if len(made) == 2:
      raise KeyboardInterrupt
    made.append(clip)
    return real(clip, **settings)

  monkeypatch.setattr(clip_record, 'make_clip', make_clip)
  with pytest.raises(SystemExit) as caught:
    prepare.guarded(
      lambda: videos.prepare(data),
      lambda: prepare.how_to_go_on('manifest_fas', 'small', data),
    )
  assert caught.value.code == 130
  assert capsys.readouterr().err.strip() == (
    'Stopped. The same command goes on: 2 finished clips are kept.'
  )


@pytest.mark.parametrize('place', ['finished', 'shards'])
def test_a_full_disk_is_one_line(place, videos, data, monkeypatch):
  full = OSError(errno.ENOSPC, 'No space left on device', '/disk/file')
  if place == 'shards':
    # So says the writer of ArrayRecord.
    full = RuntimeError('write() failed: No space left on device; /disk/file')

  def fails(*args, **kwargs):
    raise full

  if place == 'finished':
    monkeypatch.setattr(clip_cache.np, 'savez', fails)
  else:
    monkeypatch.setattr(tfds.core.writer.ShardWriter, 'write', fails)
  with pytest.raises(SystemExit) as caught:
    prepare.guarded(
      lambda: videos.prepare(data),
      lambda: prepare.how_to_go_on('manifest_fas', 'small', data),
    )
  text = caught.value.code
  assert text.startswith('error: the disk is full: ') and '\n' not in text
  assert '/disk/file' in text and 'The same command' in text


def test_a_bug_is_one_line_too(monkeypatch):
  def fails():
    raise RuntimeError('two\nlines')

  with pytest.raises(
    SystemExit, match='error: RuntimeError: two lines .*report'
  ):
    prepare.guarded(fails, str)
  with pytest.raises(RuntimeError):
    prepare.guarded(fails, str, traceback=True)


def test_a_row_without_a_box_among_boxes_is_skipped_or_a_setting(
  tmp_path, data, capsys
):
  videos = Videos(tmp_path / 'mine', 24)
  videos.rows[4].update(dict.fromkeys(BOX, ''))
  videos.save()
  shards = videos.prepare(data)
  with open(shards / 'skipped.csv') as file:
    (row,) = csv.DictReader(file)
  assert row['path'] == '04.avi' and row['row'] == '6'
  assert 'which 23 other rows have' in row['reason']
  assert 'missing_boxes=whole_frame' in row['reason']
  capsys.readouterr()
  whole = videos.prepare(data, missing_boxes='whole_frame')
  assert whole.parent.name == 'small_whole_frame'
  said = capsys.readouterr().err
  assert 'Face boxes given: 23 (live 12, print 11)' in said
  assert 'the whole frame is taken: 1 (print 1)' in said


def test_framing_that_tells_the_label_is_a_warning(tmp_path, data, capsys):
  videos = Videos(tmp_path / 'mine', 24)
  for row in videos.rows:
    if row['label'] == 'spoof':
      row.update(dict.fromkeys(BOX, ''))
  videos.save()
  videos.prepare(data, missing_boxes='whole_frame')
  said = capsys.readouterr().err
  assert 'WARNING: whole frame alone tells live clips from attacks' in said
  assert 'WARNING: framing alone' in said
  assert 'the whole frame is taken: 12 (print 12)' in said


def test_boxes_in_shares_of_the_frame_are_bad_rows(videos, data):
  for row in videos.rows:
    row.update(zip(BOX, (0, 0, 1, 1), strict=True))
  videos.save()
  with pytest.raises(ValueError, match='6 of 6 rows .*boxes are in pixels'):
    videos.prepare(data)


def test_no_box_at_all_is_the_whole_frame_and_said(tmp_path, data, capsys):
  videos = Videos(tmp_path / 'mine', 6, HEADER)
  videos.prepare(data)
  said = capsys.readouterr().err
  assert 'the whole frame is taken: 6 (live 3, print 3)' in said


def test_stills_beside_videos_are_a_warning(videos, data, capsys):
  for i, split in enumerate(records.SPLITS):
    name = f's{i}.png'
    picture = np.random.default_rng(i).integers(0, 256, (48, 64, 3), np.uint8)
    cv2.imwrite(str(videos.folder / name), picture)
    videos.add(name, split, 1)
  videos.save()
  videos.prepare(data)
  said = capsys.readouterr().err
  assert 'Stills (one frame, or all frames equal): 3 (live 3, attack 0)' in said
  assert 'WARNING: 50% of the live clips and 0% of the attacks are st' in said


def test_the_same_bytes_and_the_same_person_are_named(videos, data, capsys):
  shutil.copy(videos.folder / '00.avi', videos.folder / 'copy.avi')
  shutil.copy(videos.folder / '02.avi', videos.folder / 'leak.avi')
  videos.add('copy.avi', 'train', 1, subject='Train 1')
  videos.add('leak.avi', 'test', 0)
  videos.rows[0]['subject'] = 'train_01'
  videos.save()
  videos.prepare(data)
  said = capsys.readouterr().err
  assert "the subjects 'Train 1' and 'train_01' look like one person" in said
  assert "two names, 2 times: '00' and 'copy', '02' and 'leak'" in said
  assert "in two splits, 1 times: '02' and 'leak'" in said
  assert "as an attack, 1 times: '00' and 'copy'" in said


def test_the_same_frames_in_other_files_are_named(videos, data, capsys):
  content = (videos.folder / '00.avi').read_bytes()
  # As of another muxer: other bytes, the same film.
  (videos.folder / 'again.avi').write_bytes(content + b'JUNK\0\0\0\0')
  videos.add('again.avi', 'test', 1)
  videos.save()
  videos.prepare(data)
  said = capsys.readouterr().err
  assert 'the same bytes' not in said
  assert (
    'WARNING: the same frames in other files, 1 times, 1 of them in two splits '
    "and 1 of them with two labels: '00' and 'again'"
  ) in said


def test_files_of_one_size_are_not_taken_for_the_same(tmp_path):
  rng = np.random.default_rng(0)
  first = rng.bytes(400_000)
  other = bytearray(first)
  other[150_000] ^= 1  # Between the pieces that are read first.
  clips = []
  for name, content in (('a', first), ('b', bytes(other)), ('c', first)):
    (tmp_path / name).write_bytes(content)
    clips.append(listing.Clip(tmp_path / name, name, 's', 'train', 1, 'live'))
  assert [(a.clip_id, b.clip_id) for a, b in listing.same_files(clips)] == [
    ('a', 'c')
  ]


def test_folders_of_the_same_pictures_are_named(tmp_path, monkeypatch):
  rng = np.random.default_rng(0)
  pictures = [rng.bytes(1000) for _ in range(7)]
  other = bytearray(pictures[1])
  other[500] ^= 1
  contents = {
    'first': pictures,
    # Between the pictures that are read first.
    'changed': [pictures[0], bytes(other), *pictures[2:]],
    'turned': pictures[::-1],
    'fewer': pictures[:-1],
    'again': pictures,
    'still': pictures[:1],
    'empty': [],
    'nothing': [],
  }
  clips = []
  for name, files_ in contents.items():
    folder = tmp_path / name
    folder.mkdir()
    for number, content in enumerate(files_):
      # The same pictures under other names, in the same order.
      start = 9 if name == 'again' else 0
      (folder / f'{start + number}.jpg').write_bytes(content)
    (folder / 'notes.txt').write_text(name)
    clips.append(listing.Clip(folder, name, 's', 'train', 1, 'live'))
  (tmp_path / 'x.jpg').write_bytes(pictures[0])
  clips.append(
    listing.Clip(tmp_path / 'x.jpg', 'file', 's', 'train', 1, 'live')
  )
  assert [(a.clip_id, b.clip_id) for a, b in listing.same_files(clips)] == [
    ('first', 'again'),
    ('still', 'file'),
  ]
  # Of pictures of other sizes nothing is read.
  (tmp_path / 'first/3.jpg').write_bytes(b'x')
  monkeypatch.setattr(listing, '_pieces', lambda paths: 1 / 0)
  chosen = [clips[0], clips[3], clips[4]]
  assert listing.same_files(chosen) == []


def test_clips_with_wrong_headers_are_built_and_counted(videos, data, capsys):
  for name in ('t_elst.mp4', 't_vfr.mkv'):
    shutil.copy(CASES / name, videos.folder / name)
    videos.add(name, 'train', 1)
  videos.save()
  shards = videos.prepare(data)
  said = capsys.readouterr().err
  assert (
    'NOTE: 2 files hold another number of frames than their headers' in said
  )
  known = sources.read(shards).properties
  assert known['t_elst']['file_frames'] == 20
  assert known['t_elst']['claimed_frames'] == 40
  assert known['t_vfr']['file_frames'] == 40
  assert 'claimed_frames' not in known['00']


def test_clips_without_a_face_are_counted_by_label(
  tmp_path, data, monkeypatch, capsys
):
  videos = Videos(tmp_path / 'mine', 24)
  seen = []

  def find_box(folder, frame):
    # Four frames a clip, in the order of the rows; half of the attacks fail.
    clip = len(seen) // 4
    seen.append(1)
    lost = clip % 2 == 0 and clip < 12
    return np.full(4, np.nan) if lost else np.array([10.0, 5, 40, 45])

  monkeypatch.setattr(clip_faces, 'find_box', find_box)
  videos.prepare(data, faces='detected', max_bad_share=0.5)
  said = capsys.readouterr().err
  assert 'Clips without a face: 0 of 12 live (0%), 6 of 12 attack (50%)' in said
  assert 'WARNING: clips without a face: the share depends on the label' in said
  assert 'Face boxes found by the detector: 18 (live 12, print 6)' in said


def test_list_of_a_manifest(videos, capsys):
  videos.rows[0]['label'] = 'lve'
  videos.rows[1].update(dict.fromkeys(BOX, ''))
  videos.save()
  found = prepare.list_clips('manifest_fas', videos.folder)
  assert found['clips'] == 5 and found['split'] == {
    'dev': 2,
    'test': 2,
    'train': 1,
  }
  (bad,) = found['unusable']
  assert bad['row'] == 2 and bad['path'] == '00.avi' and 'lve' in bad['reason']
  assert found['without_boxes'] == {'live': 1, 'attack': 0}
  json.dumps(found)


def test_folders_that_are_not_there_or_not_needed(tmp_path):
  with pytest.raises(FileNotFoundError, match='no folder .*none'):
    prepare.prepare('manifest_fas', data_dir=tmp_path, manual_dir='/none')
  with pytest.raises(FileNotFoundError, match='no folder .*none'):
    prepare.list_clips('oulu_npu', '/none')
  with pytest.raises(ValueError, match='is rendered: it has no --manual_dir'):
    prepare.prepare('synthetic_fas', data_dir=tmp_path, manual_dir=tmp_path)
  for option, value in (
    ('num_workers', 2),
    ('allow_missing', True),
    ('max_bad_share', 0.5),
    ('face_models', tmp_path),
  ):
    flag = option.removeprefix('num_')
    with pytest.raises(ValueError, match=f'rendered: it has no --{flag}'):
      prepare.prepare('synthetic_fas', data_dir=tmp_path, **{option: value})
  with pytest.raises(ValueError, match='--face_models is .*; allowed with'):
    prepare.prepare('manifest_fas', data_dir=tmp_path, face_models=tmp_path)
  with pytest.raises(FileNotFoundError, match='give --manual_dir=FOLDER'):
    prepare.prepare('manifest_fas', data_dir=tmp_path)
  blocked = tmp_path / 'file'
  blocked.write_text('')
  with pytest.raises(OSError):
    prepare.prepare('manifest_fas', data_dir=blocked, manual_dir=tmp_path)


@pytest.mark.parametrize(
  ('given', 'message'),
  [
    (
      {'beam_option': ['--runner=x']},
      r"--beam_option is \['--runner=x'\]; allo",
    ),
    ({'beam': True, 'workers': 4}, '--workers is 4; allowed with --beam'),
    ({'list': True}, '--list needs --manual_dir'),
    ({'list': True, 'dataset': 'synthetic_fas'}, 'no folder of videos to list'),
  ],
)
def test_flags_that_would_change_nothing_are_refused(given, message):
  plain = {'beam': False, 'beam_option': [], 'workers': 1, 'list': False}
  none = {'dataset': 'manifest_fas', 'manual_dir': None}
  with pytest.raises(ValueError, match=message):
    prepare._run(types.SimpleNamespace(**{**plain, **none, **given}), {})


def test_a_locked_folder_is_free_again_after_the_build(tmp_path):
  waited = []
  with build_lock.alone(tmp_path):
    pass
  with build_lock.alone(tmp_path, lambda: waited.append(1)):
    assert os.listdir(tmp_path) == [build_lock.LOCK_FILE]
  assert not waited


def test_a_file_system_without_locks_builds_all_the_same(tmp_path, monkeypatch):
  def flock(file, flags):
    raise OSError(errno.ENOLCK, 'No locks available')

  monkeypatch.setattr(build_lock.fcntl, 'flock', flock)
  with build_lock.alone(tmp_path):
    pass


def test_properties_are_kept_with_the_finished_clip(videos, tmp_path):
  clip = listing.Clip(
    videos.folder / '00.avi', '00', 's', 'train', 1, 'live', box=(10, 5, 40, 45)
  )
  config = video_builder.CONFIGS[1]
  cache = clip_cache.ClipCache(tmp_path / 'cache', config)
  assert cache.properties(clip) is None and len(cache) == 0
  record = clip_record.make_clip(clip, dataset='x', config=config)
  cache.put(clip, record)
  assert cache.properties(clip) == record['properties'] and len(cache) == 1
  assert record['properties'] == {
    'box': 'given',
    'framing': 0.8333,
    'file_type': '.avi',
    'width': 64,
    'height': 48,
    'file_frames': 4,
    'file_bytes_per_pixel': pytest.approx(
      clip.path.stat().st_size / (64 * 48 * 4), rel=1e-3
    ),
  }
  taken = cache.take(clip)
  assert taken['frames'] == record['frames'] and len(cache) == 0


def test_a_build_with_the_boxes_of_whole_clips_is_not_one_of_first_frames(
  videos, data
):
  shards = videos.prepare(data, train_frames=2)
  assert videos.prepare(data, train_frames=2) == shards
  path = shards / 'made_from.json'
  content = json.loads(path.read_text())
  del content['settings']['boxes']
  path.write_text(json.dumps(content))
  with pytest.raises(ValueError, match='boxes None is now .of the train_fra'):
    videos.prepare(data, train_frames=2)


def test_a_report_that_cannot_be_written_costs_no_finished_clip(
  videos, data, monkeypatch
):
  with monkeypatch.context() as patch:
    patch.setattr(video_builder.VideoBuilder, '_write_report', lambda *a: 1 / 0)
    with pytest.raises(ZeroDivisionError):
      videos.prepare(data)
  made = []
  real = clip_record.make_clip
  monkeypatch.setattr(
    clip_record,
    'make_clip',
    lambda clip, **options: made.append(clip) or real(clip, **options),
  )
  videos.prepare(data)
  assert not made and len(labels(data)) == 6


def test_a_stop_while_the_index_is_written_costs_no_word_of_the_report(
  tmp_path, data, monkeypatch, capsys
):
  videos = Videos(tmp_path / 'mine', 24)
  (videos.folder / '07.avi').write_text('no video\n' * 99)
  shutil.copy(videos.folder / '00.avi', videos.folder / '06.avi')
  # Of one clip the boxes are gone.
  for column in BOX:
    videos.rows[9][column] = ''
  videos.save()
  real = clip_record.make_clip

  def make_clip(clip, **options):
    if clip.clip_id == '11':
      raise listing.NoFaceError(f'{listing.NO_FACE} box.')
    return real(clip, **options)

  monkeypatch.setattr(clip_record, 'make_clip', make_clip)
  options = {'max_bad_share': 0.5}
  shards = videos.prepare(tmp_path / 'whole', **options)
  expected = capsys.readouterr().err.replace(str(shards), 'SHARDS')
  assert 'SKIPPED: 3 of 24' in expected and 'the same bytes' in expected
  assert 'Clips without a face: 1 of' in expected

  def stop(self):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(video_builder.VideoBuilder, '_write_index', stop)
    with pytest.raises(KeyboardInterrupt):
      videos.prepare(data, **options)
  monkeypatch.setattr(clip_record, 'make_clip', lambda *args, **options: 1 / 0)
  shards = videos.prepare(data, **options)
  assert capsys.readouterr().err.replace(str(shards), 'SHARDS') == expected
  assert len(labels(data)) == 21
  # Without the folder there is the index, and the way to what was skipped.
  (shards / records.INDEX_FILE).unlink()
  prepare.prepare('manifest_fas', config='small', data_dir=data)
  said = capsys.readouterr().err
  assert 'Built 21' in said
  assert f'Skipped clips and files are in {shards / "skipped.csv"}' in said
